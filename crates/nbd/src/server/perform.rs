//! Carries out admitted requests on the export.

use std::io;

use super::buffer::Batch;
use super::check::Denied;
use super::connection::Connection;
use super::limits::{MAX_READ_AHEAD, MAX_STATUS_EXTENTS};
use crate::Error;
use crate::protocol::constants::{CHUNK_DONE, chunk, command, command_flag};
use crate::protocol::{
    ChunkHeader, DataHeader, ErrorChunk, ErrorCode, Request, SimpleReply, StatusChunk,
};

/// What is written where zeros must be written.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

impl Connection {
    /// Carries out a request and adds its reply to the batch, which has room for it.
    pub(super) fn perform(
        &self,
        request: &Request,
        data: &[u8],
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let length = u64::from(request.length);
        let outcome = match request.command {
            command::READ if request.length as usize > batch.piece() => {
                return self.read_in_pieces(request, batch);
            }
            command::READ => {
                self.read(request, batch);
                return Ok(());
            }
            command::BLOCK_STATUS => {
                self.block_status(request, batch);
                return Ok(());
            }
            command::FLUSH => self.export.flush(),
            command::CACHE => self.read_ahead(request, batch),
            _ if length == 0 => Ok(()),
            command::WRITE => self.export.write_at(data, request.offset),
            command::TRIM => match self.export.trim_at(request.offset, length) {
                // A trim is advice.
                Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
                other => other,
            },
            command::WRITE_ZEROES => self.write_zeroes(request),
            // `check` lets no other command through.
            _ => Err(io::ErrorKind::InvalidInput.into()),
        };
        self.push_outcome(
            request,
            outcome.and_then(|()| self.flush_if_asked(request)),
            batch,
        );
        Ok(())
    }

    /// Puts the request's effect on stable storage if it carries FUA; flushing reads, too, does no harm.
    pub(super) fn flush_if_asked(&self, request: &Request) -> io::Result<()> {
        let writes = matches!(
            request.command,
            command::WRITE | command::TRIM | command::WRITE_ZEROES
        );
        match writes && request.flags & command_flag::FUA != 0 {
            true => self.export.flush(),
            false => Ok(()),
        }
    }

    fn write_zeroes(&self, request: &Request) -> io::Result<()> {
        if request.flags & command_flag::NO_HOLE == 0 {
            match self
                .export
                .write_zeroes_at(request.offset, request.length.into())
            {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                other => return other,
            }
        }
        // Only written zeros are sure to be allocated.
        let end = request.offset + u64::from(request.length);
        let mut offset = request.offset;
        while offset < end {
            let step = (end - offset).min(ZEROS.len() as u64);
            self.export.write_at(&ZEROS[..step as usize], offset)?;
            offset += step;
        }
        Ok(())
    }

    /// Reads a range for its effect on the caches below, as far as that may be worth it.
    fn read_ahead(&self, request: &Request, batch: &mut Batch) -> io::Result<()> {
        let length = request.length.min(MAX_READ_AHEAD) as usize;
        let mut done = 0;
        while done < length {
            let step = batch.piece().min(length - done);
            let offset = request.offset + done as u64;
            self.export.read_at(batch.space(step), offset)?;
            done += step;
        }
        Ok(())
    }

    fn read(&self, request: &Request, batch: &mut Batch) {
        let length = request.length as usize;
        if length == 0 && self.structured {
            // A data chunk may not be empty.
            let none = ChunkHeader {
                flags: CHUNK_DONE,
                kind: chunk::NONE,
                cookie: request.cookie,
                length: 0,
            };
            return batch.push(&[&none.to_bytes()]);
        }
        if length > 0
            && let Err(error) = self.export.read_at(batch.space(length), request.offset)
        {
            return self.push_failure(request, &error, batch);
        }
        if self.structured {
            let header = data_chunk(request, request.length, CHUNK_DONE);
            batch.push_with_data(
                &[
                    &header,
                    &DataHeader {
                        offset: request.offset,
                    }
                    .to_bytes(),
                ],
                length,
            );
        } else {
            let header = SimpleReply {
                error: None,
                cookie: request.cookie,
            }
            .to_bytes();
            batch.push_with_data(&[&header], length);
        }
    }

    /// Reads more than one buffer holds; the batch is empty before and after.
    fn read_in_pieces(&self, request: &Request, batch: &mut Batch) -> Result<(), Error> {
        if !self.structured {
            return self.with_sender(|channel, sender| {
                let mut done = 0;
                while done < request.length as usize {
                    let step = batch.piece().min(request.length as usize - done);
                    let result = self
                        .export
                        .read_at(batch.space(step), request.offset + done as u64);
                    match result {
                        Err(error) if done == 0 => {
                            self.push_failure(request, &error, batch);
                            return batch.send(channel, sender);
                        }
                        // Success was announced: only closing tells the client ("Request types", NBD_CMD_READ).
                        Err(source) => {
                            return Err(Error::Io {
                                action: "read the rest of a long request",
                                source,
                            });
                        }
                        Ok(()) if done == 0 => {
                            let header = SimpleReply {
                                error: None,
                                cookie: request.cookie,
                            }
                            .to_bytes();
                            batch.push_with_data(&[&header], step);
                        }
                        Ok(()) => batch.push_with_data(&[], step),
                    }
                    batch.send(channel, sender)?;
                    done += step;
                }
                Ok(())
            });
        }
        let mut done = 0;
        while done < request.length {
            let step = (batch.piece() as u32).min(request.length - done);
            let offset = request.offset + u64::from(done);
            if let Err(error) = self.export.read_at(batch.space(step as usize), offset) {
                self.push_failure(request, &error, batch);
                return self.send(batch);
            }
            done += step;
            let flags = if done == request.length {
                CHUNK_DONE
            } else {
                0
            };
            let header = data_chunk(request, step, flags);
            batch.push_with_data(&[&header, &DataHeader { offset }.to_bytes()], step as usize);
            self.send(batch)?;
        }
        Ok(())
    }

    fn block_status(&self, request: &Request, batch: &mut Batch) {
        let limit = if request.flags & command_flag::REQ_ONE != 0 {
            1
        } else {
            MAX_STATUS_EXTENTS
        };
        // One chunk for each context, in one piece: the client may not see some of them and then an error.
        let mut reply = Vec::new();
        for (index, context) in self.contexts.iter().enumerate() {
            let extents = context.extents(&*self.export, request.offset, request.length, limit);
            let extents = match extents {
                Ok(extents) if !extents.is_empty() => extents,
                Ok(_) => {
                    let denied = Denied {
                        code: ErrorCode::Io,
                        message: "the export knows nothing of this range",
                    };
                    return self.push_error(request, denied, batch);
                }
                Err(error) => return self.push_failure(request, &error, batch),
            };
            let context = context.id;
            let payload = StatusChunk { context, extents }.to_bytes();
            let is_last = index + 1 == self.contexts.len();
            let header = ChunkHeader {
                flags: if is_last { CHUNK_DONE } else { 0 },
                kind: chunk::BLOCK_STATUS,
                cookie: request.cookie,
                length: payload.len() as u32,
            };
            reply.extend_from_slice(&header.to_bytes());
            reply.extend_from_slice(&payload);
        }
        batch.push(&[&reply]);
    }

    pub(super) fn push_outcome(
        &self,
        request: &Request,
        outcome: io::Result<()>,
        batch: &mut Batch,
    ) {
        match outcome {
            Ok(()) => batch.push(&[&SimpleReply {
                error: None,
                cookie: request.cookie,
            }
            .to_bytes()]),
            Err(error) => self.push_failure(request, &error, batch),
        }
    }

    /// Answers with what an export's error means; its text stays here, since it may name what the peer must not know.
    fn push_failure(&self, request: &Request, error: &io::Error, batch: &mut Batch) {
        let command = request.command;
        tracing::warn!(command, offset = request.offset, length = request.length, %error, "an NBD request failed");
        self.push_error(
            request,
            Denied {
                code: ErrorCode::from_io(error),
                message: "",
            },
            batch,
        );
    }

    pub(super) fn push_error(&self, request: &Request, denied: Denied, batch: &mut Batch) {
        if !self.structured {
            let reply = SimpleReply {
                error: Some(denied.code),
                cookie: request.cookie,
            };
            return batch.push(&[&reply.to_bytes()]);
        }
        let payload = ErrorChunk {
            code: denied.code,
            message: denied.message.to_owned(),
        }
        .to_bytes();
        let header = ChunkHeader {
            flags: CHUNK_DONE,
            kind: chunk::ERROR,
            cookie: request.cookie,
            length: payload.len() as u32,
        };
        batch.push(&[&header.to_bytes(), &payload]);
    }
}

fn data_chunk(request: &Request, length: u32, flags: u16) -> [u8; ChunkHeader::LENGTH] {
    let length = length + DataHeader::LENGTH as u32;
    ChunkHeader {
        flags,
        kind: chunk::OFFSET_DATA,
        cookie: request.cookie,
        length,
    }
    .to_bytes()
}
