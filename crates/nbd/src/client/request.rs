//! Requests and their replies.

use std::io::IoSlice;
use std::time::Instant;

use super::{Client, MAX_CHUNKS, ZeroMode};
use crate::protocol::constants::{
    CHUNK_DONE, CHUNK_MAGIC, MAX_STRING, chunk, command, command_flag, state, transmission_flag,
};
use crate::protocol::{
    ChunkHeader, DataHeader, ErrorChunk, ErrorCode, HoleChunk, Request, SimpleReply, StatusChunk,
};
use crate::{BlockStatus, Error, Extent};

/// Longest trim or zeroing of one request; the wire has 32 bits.
const MAX_EFFECT: u64 = 1 << 30;
/// Longest error chunk: code, length, text and offset.
const MAX_ERROR_CHUNK: u32 = (ErrorChunk::LENGTH + MAX_STRING + 8) as u32;

/// Where the content of a reply goes.
enum Content<'a> {
    None,
    Read(&'a mut [u8]),
    Status(&'a mut Vec<Extent>),
}

impl Client {
    /// Size of the export in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// True when writes are refused.
    pub fn is_read_only(&self) -> bool {
        self.offers(transmission_flag::READ_ONLY)
    }

    /// The transmission flags of the export.
    pub fn flags(&self) -> u16 {
        self.flags
    }

    fn offers(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    fn require(&self, flag: u16, feature: &'static str) -> Result<(), Error> {
        match self.offers(flag) {
            true => Ok(()),
            false => Err(Error::NotOffered { feature }),
        }
    }

    fn in_range(&self, offset: u64, length: u64) -> Result<(), Error> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(Error::OutOfRange {
                offset,
                length,
                size: self.size,
            }),
        }
    }

    /// Fills `buffer` from `offset`.
    pub fn read(&mut self, buffer: &mut [u8], offset: u64) -> Result<(), Error> {
        self.in_range(offset, buffer.len() as u64)?;
        let mut at = offset;
        for piece in buffer.chunks_mut(self.max_payload as usize) {
            let request = self.request(command::READ, 0, at, piece.len() as u32);
            at += piece.len() as u64;
            self.perform("READ", request, &[], Content::Read(piece))?;
        }
        Ok(())
    }

    /// Writes `data` at `offset`.
    ///
    /// # Durability
    /// Nothing is on stable storage before [`Client::flush`] returns.
    pub fn write(&mut self, data: &[u8], offset: u64) -> Result<(), Error> {
        self.write_with(data, offset, 0)
    }

    /// Writes `data` at `offset` and puts it on stable storage.
    pub fn write_durably(&mut self, data: &[u8], offset: u64) -> Result<(), Error> {
        self.require(transmission_flag::SEND_FUA, "forced unit access")?;
        self.write_with(data, offset, command_flag::FUA)
    }

    fn write_with(&mut self, data: &[u8], offset: u64, flags: u16) -> Result<(), Error> {
        self.in_range(offset, data.len() as u64)?;
        let mut at = offset;
        for piece in data.chunks(self.max_payload as usize) {
            let request = self.request(command::WRITE, flags, at, piece.len() as u32);
            at += piece.len() as u64;
            self.perform("WRITE", request, piece, Content::None)?;
        }
        Ok(())
    }

    /// Puts everything written on stable storage.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.require(transmission_flag::SEND_FLUSH, "flushing")?;
        let request = self.request(command::FLUSH, 0, 0, 0);
        self.perform("FLUSH", request, &[], Content::None)
    }

    /// Tells that a range is not needed any more.
    pub fn trim(&mut self, offset: u64, length: u64) -> Result<(), Error> {
        self.require(transmission_flag::SEND_TRIM, "trimming")?;
        self.effect("TRIM", command::TRIM, 0, offset, length)
    }

    /// Makes a range read as zeros.
    pub fn write_zeroes(&mut self, offset: u64, length: u64, mode: ZeroMode) -> Result<(), Error> {
        self.require(transmission_flag::SEND_WRITE_ZEROES, "writing zeros")?;
        let flags = match mode {
            ZeroMode::MayPunch => 0,
            ZeroMode::Allocate => command_flag::NO_HOLE,
        };
        self.effect("WRITE_ZEROES", command::WRITE_ZEROES, flags, offset, length)
    }

    fn effect(
        &mut self,
        name: &'static str,
        command: u16,
        flags: u16,
        offset: u64,
        length: u64,
    ) -> Result<(), Error> {
        self.in_range(offset, length)?;
        let (mut at, end) = (offset, offset + length);
        while at < end {
            let step = (end - at).min(MAX_EFFECT);
            let request = self.request(command, flags, at, step as u32);
            at += step;
            self.perform(name, request, &[], Content::None)?;
        }
        Ok(())
    }

    /// Describes the range, as far as the server does in one reply; at least one extent.
    pub fn block_status(&mut self, offset: u64, length: u64) -> Result<Vec<Extent>, Error> {
        if self.allocation.is_none() {
            return Err(Error::NotOffered {
                feature: "base:allocation",
            });
        }
        self.in_range(offset, length)?;
        let request = self.request(
            command::BLOCK_STATUS,
            0,
            offset,
            length.min(MAX_EFFECT) as u32,
        );
        let mut extents = Vec::new();
        self.perform("BLOCK_STATUS", request, &[], Content::Status(&mut extents))?;
        Ok(extents)
    }

    /// Ends the session.
    pub fn disconnect(mut self) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        let request = self.request(command::DISC, 0, 0, 0);
        self.channel
            .set_deadline(Some(Instant::now() + self.timeout))?;
        self.sender.send_bytes(&self.channel, &request.to_bytes())?;
        self.sender.close(&self.channel);
        Ok(())
    }

    fn request(&mut self, command: u16, flags: u16, offset: u64, length: u32) -> Request {
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        Request {
            flags,
            command,
            cookie,
            offset,
            length,
        }
    }

    fn perform(
        &mut self,
        name: &'static str,
        request: Request,
        payload: &[u8],
        content: Content<'_>,
    ) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        // Until the reply is read whole, the next byte on the wire means nothing.
        self.broken = true;
        self.channel
            .set_deadline(Some(Instant::now() + self.timeout))?;
        let head = request.to_bytes();
        self.sender.send(
            &self.channel,
            &mut [IoSlice::new(&head), IoSlice::new(payload)],
        )?;
        let outcome = self.reply(&request, content)?;
        self.broken = false;
        match outcome {
            None => Ok(()),
            Some(code) => Err(Error::Refused {
                command: name,
                code,
            }),
        }
    }

    /// Reads the reply to `request`, whatever its form.
    fn reply(
        &mut self,
        request: &Request,
        mut content: Content<'_>,
    ) -> Result<Option<ErrorCode>, Error> {
        let mut refused = None;
        let mut received = 0;
        for _ in 0..MAX_CHUNKS {
            let mut head = [0; ChunkHeader::LENGTH];
            let (short, rest) = head.split_at_mut(SimpleReply::LENGTH);
            self.receiver.read_exact(&self.channel, short, "a reply")?;
            if !short.starts_with(&CHUNK_MAGIC.to_be_bytes()) {
                return self.simple_reply(request, short, content);
            }
            if !self.structured {
                return Err(Error::Unexpected {
                    what: "magic of a reply",
                    found: CHUNK_MAGIC.into(),
                });
            }
            self.receiver.read_exact(&self.channel, rest, "a reply")?;
            let header = ChunkHeader::parse(&head)?;
            check_cookie(request, header.cookie)?;
            match (header.kind, &mut content) {
                (chunk::NONE, _) if header.length == 0 => {}
                (chunk::OFFSET_DATA | chunk::OFFSET_HOLE, Content::Read(buffer)) => {
                    received += self.content_chunk(request, header, buffer)?;
                }
                (chunk::BLOCK_STATUS, Content::Status(extents)) => {
                    let payload = self.payload(header.length, StatusChunk::MAX_LENGTH as u32)?;
                    let status = StatusChunk::parse(&payload)?;
                    if Some(status.context) == self.allocation {
                        **extents = status
                            .extents
                            .iter()
                            .map(|one| extent(one.length, one.flags))
                            .collect();
                    }
                }
                (kind, _) if kind & chunk::ERROR_BIT != 0 => {
                    let payload = self.payload(header.length, MAX_ERROR_CHUNK)?;
                    refused = refused.or(Some(ErrorChunk::parse(&payload)?.code));
                }
                (kind, _) => {
                    return Err(Error::Unexpected {
                        what: "kind of a chunk",
                        found: kind.into(),
                    });
                }
            }
            if header.flags & CHUNK_DONE == 0 {
                continue;
            }
            let complete = match &content {
                Content::None => true,
                Content::Read(buffer) => received == buffer.len(),
                Content::Status(extents) => !extents.is_empty(),
            };
            if refused.is_none() && !complete {
                let (found, expected) = (received as u64, request.length.into());
                return Err(Error::Length {
                    what: "content of a reply",
                    found,
                    expected,
                });
            }
            return Ok(refused);
        }
        let limit = MAX_CHUNKS as u64;
        Err(Error::Limit {
            what: "count of chunks in a reply",
            found: limit + 1,
            limit,
        })
    }

    fn simple_reply(
        &mut self,
        request: &Request,
        head: &[u8],
        content: Content<'_>,
    ) -> Result<Option<ErrorCode>, Error> {
        let reply = SimpleReply::parse(head)?;
        check_cookie(request, reply.cookie)?;
        if reply.error.is_some() && !(self.structured && matches!(content, Content::Read(_))) {
            return Ok(reply.error);
        }
        match content {
            Content::None => Ok(reply.error),
            Content::Read(buffer) if !self.structured => {
                self.receiver
                    .read_exact(&self.channel, buffer, "the data of a reply")?;
                Ok(None)
            }
            _ => Err(Error::Unexpected {
                what: "simple reply to a command with content",
                found: request.command.into(),
            }),
        }
    }

    /// Reads a chunk with content of the range and tells how many bytes it filled.
    fn content_chunk(
        &mut self,
        request: &Request,
        header: ChunkHeader,
        buffer: &mut [u8],
    ) -> Result<usize, Error> {
        if header.kind == chunk::OFFSET_HOLE {
            let payload = self.payload(header.length, HoleChunk::LENGTH as u32)?;
            let hole = HoleChunk::parse(&payload)?;
            let place = place(request, hole.offset, hole.length, buffer)?;
            place.fill(0);
            return Ok(place.len());
        }
        let mut field = [0; DataHeader::LENGTH];
        let Some(length @ 1..) = header.length.checked_sub(DataHeader::LENGTH as u32) else {
            let (found, expected) = (header.length.into(), DataHeader::LENGTH as u64 + 1);
            return Err(Error::Length {
                what: "data chunk",
                found,
                expected,
            });
        };
        self.receiver
            .read_exact(&self.channel, &mut field, "a data chunk")?;
        let place = place(request, DataHeader::parse(field).offset, length, buffer)?;
        self.receiver
            .read_exact(&self.channel, place, "the data of a chunk")?;
        Ok(place.len())
    }

    fn payload(&mut self, length: u32, limit: u32) -> Result<Vec<u8>, Error> {
        if length > limit {
            return Err(Error::Limit {
                what: "chunk length",
                found: length.into(),
                limit: limit.into(),
            });
        }
        let mut payload = vec![0; length as usize];
        self.receiver
            .read_exact(&self.channel, &mut payload, "a chunk")?;
        Ok(payload)
    }
}

fn check_cookie(request: &Request, found: u64) -> Result<(), Error> {
    match found == request.cookie {
        true => Ok(()),
        false => Err(Error::Unexpected {
            what: "cookie of a reply",
            found,
        }),
    }
}

/// The part of `buffer` that a content chunk describes.
fn place<'a>(
    request: &Request,
    offset: u64,
    length: u32,
    buffer: &'a mut [u8],
) -> Result<&'a mut [u8], Error> {
    let start = offset
        .checked_sub(request.offset)
        .and_then(|start| usize::try_from(start).ok());
    let range = start.and_then(|start| Some(start..start.checked_add(length as usize)?));
    let outside = Error::OutOfRange {
        offset,
        length: length.into(),
        size: request.offset + u64::from(request.length),
    };
    range.and_then(|range| buffer.get_mut(range)).ok_or(outside)
}

fn extent(length: u32, flags: u32) -> Extent {
    let status = match (flags & state::HOLE != 0, flags & state::ZERO != 0) {
        (true, true) => BlockStatus::Hole,
        (false, true) => BlockStatus::Zero,
        // A hole whose content is not known to be zeros may hold anything.
        (_, false) => BlockStatus::Data,
    };
    Extent {
        length: length.into(),
        status,
    }
}
