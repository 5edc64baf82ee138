//! The calls of [`Protocol`] as requests of version 4.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::super::error::{NfsError, Result};
use super::super::pieces::{Piece, Pieces, read_pieces, write_pieces};
use super::super::protocol::{
    Attributes, DIRECTORY_MODE, FILE_MODE, Found, Handle, LISTING_BYTES, MAX_HANDLE, MAX_NAME,
    Protocol, Stability, Verifier, Written,
};
use super::super::status::Status;
use super::super::transport::{Gate, Transport};
use super::super::xdr::{Malformed, Reader};
use super::attributes::{self, Choice, Values};
use super::compound::{Answer, Operation, Request};
use super::session::{MinorVersions, Sessions};
use crate::sr::SrSpace;

/// The state id of nobody, by which anybody may read and write what is not locked.
///
/// Source: RFC 8881, section 8.2.3.
const ANONYMOUS: [u8; 16] = [0; 16];

/// The state id that the operation before has returned: sequence number 1, all else 0.
///
/// Source: RFC 8881, section 8.2.3.
const CURRENT: [u8; 16] = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// `stable_how4`.
const UNSTABLE: u32 = 0;

/// `stable_how4`.
const FILE_SYNC: u32 = 2;

/// `OPEN4_SHARE_ACCESS_WRITE` and `OPEN4_SHARE_ACCESS_WANT_NO_DELEG`.
const SHARE_ACCESS: u32 = 2 | 0x0400;

/// `opentype4`.
const OPEN_CREATE: u32 = 1;

/// `createmode4`: the verifier tells a repetition from another file, and attributes are set at once.
const EXCLUSIVE4_1: u32 = 3;

/// `open_claim_type4`: by name.
const CLAIM_NULL: u32 = 0;

/// `NF4DIR`.
const DIRECTORY: u32 = 2;

/// Transfer size of a server that does not say what it prefers.
const MODEST_TRANSFER: u32 = 64 * 1024;

/// An export, by version 4.
#[derive(Debug)]
pub struct Version4 {
    sessions: Sessions,
    path: Vec<String>,
    /// Limits from the options; the server has its own.
    wanted: Pieces,
    /// What the server says of transfers, beside what the session allows.
    server: OnceLock<Pieces>,
    /// False once the server said that it knows no holes.
    may_punch: AtomicBool,
}

impl Version4 {
    /// The export `path` of the server at the end of `transport`.
    pub fn new(transport: Transport, versions: MinorVersions, path: &str, wanted: Pieces) -> Self {
        let names = path.split('/').filter(|name| !name.is_empty());
        Version4 {
            sessions: Sessions::new(transport, versions),
            path: names.map(str::to_owned).collect(),
            wanted,
            server: OnceLock::new(),
            may_punch: AtomicBool::new(true),
        }
    }

    fn run<T>(
        &self,
        request: Request<'_>,
        mut read: impl FnMut(&mut Answer<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut result = None;
        self.sessions
            .run(std::slice::from_ref(&request), &mut |_, mut answer| {
                result = Some(read(&mut answer)?);
                Ok(())
            })?;
        Ok(result.expect("a run without error has an answer"))
    }

    fn pieces(&self, file: &Handle) -> Result<Pieces> {
        let server = match self.server.get() {
            Some(server) => *server,
            None => {
                let values = self.get_attributes("GETATTR", file, Choice::of_transfers())?;
                let size = |size: Option<u64>| {
                    size.map_or(0, |size| u32::try_from(size).unwrap_or(u32::MAX))
                };
                let server = Pieces {
                    read: size(values.max_read),
                    write: size(values.max_write),
                };
                *self.server.get_or_init(|| server)
            }
        };
        let within = self.wanted.within(server, MODEST_TRANSFER);
        Ok(within.within(self.sessions.pieces()?, MODEST_TRANSFER))
    }

    /// The names of the directories in a directory, of the first page of its listing.
    pub fn directories(&self, directory: &Handle) -> Result<Vec<String>> {
        let mut request = Request::on("READDIR", directory);
        let arguments = request.operation(Operation::READDIR);
        arguments.u64(0).fixed(&Verifier::default());
        arguments.u32(LISTING_BYTES).u32(LISTING_BYTES);
        Choice::of_kind().write(arguments);
        self.run(request, |answer| {
            let mut names = Vec::new();
            answer.done(Operation::PUTFH)?;
            answer.result(Operation::READDIR, |reader| {
                reader.take(8)?;
                while reader.bool()? {
                    reader.u64()?;
                    let name = reader.text(MAX_NAME)?;
                    if Values::read(reader)?.is_directory() {
                        names.push(name);
                    }
                }
                Ok(names)
            })
        })
    }

    fn get_attributes(
        &self,
        procedure: &'static str,
        file: &Handle,
        choice: Choice,
    ) -> Result<Values> {
        let mut request = Request::on(procedure, file);
        choice.write(request.operation(Operation::GETATTR));
        self.run(request, |answer| {
            answer.done(Operation::PUTFH)?;
            answer.result(Operation::GETATTR, Values::read)
        })
    }
}

impl Protocol for Version4 {
    fn root(&self) -> Result<Found> {
        let mut request = Request::new("LOOKUP");
        request.operation(Operation::PUTROOTFH);
        for name in &self.path {
            request.operation(Operation::LOOKUP).opaque(name.as_bytes());
        }
        ask_for_found(&mut request);
        self.run(request, |answer| {
            answer.done(Operation::PUTROOTFH)?;
            for _ in &self.path {
                answer.done(Operation::LOOKUP)?;
            }
            read_found(answer)
        })
    }

    fn lookup(&self, directory: &Handle, name: &str) -> Result<Found> {
        let mut request = Request::on("LOOKUP", directory);
        request.operation(Operation::LOOKUP).opaque(name.as_bytes());
        ask_for_found(&mut request);
        self.run(request, |answer| {
            answer.done(Operation::PUTFH)?;
            answer.done(Operation::LOOKUP)?;
            read_found(answer)
        })
    }

    fn attributes(&self, file: &Handle) -> Result<Attributes> {
        let values = self.get_attributes("GETATTR", file, Choice::of_file())?;
        complete(&values)
    }

    fn set_size(&self, file: &Handle, size: u64) -> Result<()> {
        let mut request = Request::on("SETATTR", file);
        let arguments = request.operation(Operation::SETATTR).fixed(&ANONYMOUS);
        attributes::write_size(arguments, size);
        self.run(request, |answer| {
            answer.done(Operation::PUTFH)?;
            answer.done(Operation::SETATTR)
        })
    }

    fn read(&self, file: &Handle, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let size = self.pieces(file)?.read;
        read_pieces(size, offset, buffer, |pieces, take| {
            let requests: Vec<Request<'_>> = pieces
                .iter()
                .map(|piece| {
                    let mut request = Request::on("READ", file);
                    let arguments = request.operation(Operation::READ).fixed(&ANONYMOUS);
                    arguments.u64(piece.offset).u32(piece.length as u32);
                    request
                })
                .collect();
            self.sessions.run(&requests, &mut |index, mut answer| {
                answer.done(Operation::PUTFH)?;
                let limit = pieces[index].length;
                let (is_end, data) = answer.result(Operation::READ, |reader| {
                    Ok((reader.bool()?, reader.opaque(limit)?))
                })?;
                take(index, data, is_end);
                Ok(())
            })
        })
    }

    fn write(
        &self,
        file: &Handle,
        offset: u64,
        data: &[u8],
        stability: Stability,
    ) -> Result<Vec<Written>> {
        let size = self.pieces(file)?.write;
        let how = match stability {
            Stability::Unstable => UNSTABLE,
            Stability::Stable => FILE_SYNC,
        };
        let request = |piece: &Piece| {
            let mut request = Request::on("WRITE", file);
            let arguments = request.operation(Operation::WRITE).fixed(&ANONYMOUS);
            arguments.u64(piece.offset).u32(how);
            arguments.u32(piece.length as u32);
            request.data(piece.of(data));
            request
        };
        write_pieces(size, offset, data, |pieces, take| {
            let requests: Vec<Request<'_>> = pieces.iter().map(request).collect();
            self.sessions.run(&requests, &mut |index, mut answer| {
                answer.done(Operation::PUTFH)?;
                let written = answer.result(Operation::WRITE, |reader| {
                    let length = reader.u32()? as usize;
                    let committed = reader.u32()?;
                    let verifier: Verifier = reader.array()?;
                    Ok((length, (committed != FILE_SYNC).then_some(verifier)))
                })?;
                take(index, written);
                Ok(())
            })
        })
    }

    fn commit(&self, file: &Handle) -> Result<Verifier> {
        let mut request = Request::on("COMMIT", file);
        request.operation(Operation::COMMIT).u64(0).u32(0);
        self.run(request, |answer| {
            answer.done(Operation::PUTFH)?;
            answer.result(Operation::COMMIT, |reader| reader.array())
        })
    }

    /// The file is opened to be made and closed in one request.
    fn create(&self, directory: &Handle, name: &str) -> Result<Found> {
        let verifier = uuid::Uuid::new_v4();
        let client = self.sessions.client()?;
        let mut request = Request::on("CREATE", directory).kept();
        let arguments = request.operation(Operation::OPEN);
        arguments.u32(0).u32(SHARE_ACCESS).u32(0);
        arguments.u64(client).opaque(b"xensm");
        arguments.u32(OPEN_CREATE).u32(EXCLUSIVE4_1);
        arguments.fixed(&verifier.as_bytes()[..8]);
        attributes::write_mode(arguments, FILE_MODE);
        arguments.u32(CLAIM_NULL).opaque(name.as_bytes());
        request.operation(Operation::CLOSE).u32(0).fixed(&CURRENT);
        ask_for_found(&mut request);
        self.run(request, |answer| {
            answer.done(Operation::PUTFH)?;
            answer.result(Operation::OPEN, skip_open)?;
            answer.result(Operation::CLOSE, |reader| reader.take(16).map(|_| ()))?;
            read_found(answer)
        })
    }

    fn make_directory(&self, directory: &Handle, name: &str) -> Result<()> {
        let mut request = Request::on("MKDIR", directory).kept();
        let arguments = request.operation(Operation::CREATE);
        arguments.u32(DIRECTORY).opaque(name.as_bytes());
        attributes::write_mode(arguments, DIRECTORY_MODE);
        self.run(request, |answer| {
            answer.done(Operation::PUTFH)?;
            answer.done(Operation::CREATE)
        })
    }

    fn remove(&self, directory: &Handle, name: &str) -> Result<()> {
        let mut request = Request::on("REMOVE", directory).kept();
        request.operation(Operation::REMOVE).opaque(name.as_bytes());
        self.run(request, |answer| {
            answer.done(Operation::PUTFH)?;
            answer.done(Operation::REMOVE)
        })
    }

    fn remove_directory(&self, directory: &Handle, name: &str) -> Result<()> {
        self.remove(directory, name)
    }

    fn rename(&self, directory: &Handle, from: &str, to: &str) -> Result<()> {
        let mut request = Request::on("RENAME", directory).kept();
        request.operation(Operation::SAVEFH);
        request
            .operation(Operation::RENAME)
            .opaque(from.as_bytes())
            .opaque(to.as_bytes());
        self.run(request, |answer| {
            answer.done(Operation::PUTFH)?;
            answer.done(Operation::SAVEFH)?;
            answer.done(Operation::RENAME)
        })
    }

    fn link(&self, file: &Handle, directory: &Handle, name: &str) -> Result<()> {
        let mut request = Request::on("LINK", file).kept();
        request.operation(Operation::SAVEFH);
        request
            .operation(Operation::PUTFH)
            .opaque(directory.bytes());
        request.operation(Operation::LINK).opaque(name.as_bytes());
        self.run(request, |answer| {
            answer.done(Operation::PUTFH)?;
            answer.done(Operation::SAVEFH)?;
            answer.done(Operation::PUTFH)?;
            answer.done(Operation::LINK)
        })
    }

    fn entries(&self, directory: &Handle, limit: usize) -> Result<Option<Vec<String>>> {
        let mut names = Vec::new();
        let mut place = (0, Verifier::default());
        loop {
            let before = names.len();
            let mut request = Request::on("READDIR", directory);
            let arguments = request.operation(Operation::READDIR);
            arguments.u64(place.0).fixed(&place.1);
            arguments.u32(LISTING_BYTES).u32(LISTING_BYTES);
            Choice::nothing().write(arguments);
            let mut last = place.0;
            let (is_last, verifier) = self.run(request, |answer| {
                names.truncate(before);
                answer.done(Operation::PUTFH)?;
                answer.result(Operation::READDIR, |reader| {
                    let verifier = reader.array()?;
                    while reader.bool()? {
                        last = reader.u64()?;
                        names.push(reader.text(MAX_NAME)?);
                        Values::read(reader)?;
                    }
                    Ok((reader.bool()?, verifier))
                })
            })?;
            if names.len() > limit {
                return Ok(None);
            }
            if is_last {
                return Ok(Some(names));
            }
            if names.len() == before {
                return Err(NfsError::Malformed {
                    procedure: "READDIR",
                    source: Malformed("a page of a listing is empty and not the last"),
                });
            }
            place = (last, verifier);
        }
    }

    fn space(&self, directory: &Handle) -> Result<SrSpace> {
        let values = self.get_attributes("GETATTR", directory, Choice::of_space())?;
        Ok(values.space())
    }

    /// The hole is made and committed in one request, so that a restart of the server in between cannot bring old bytes back.
    fn punch_hole(&self, file: &Handle, offset: u64, length: u64) -> Result<bool> {
        if self.sessions.minor() < 2 || !self.may_punch.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let mut request = Request::on("DEALLOCATE", file);
        request
            .operation(Operation::DEALLOCATE)
            .fixed(&ANONYMOUS)
            .u64(offset)
            .u64(length);
        request.operation(Operation::COMMIT).u64(0).u32(0);
        let punched = self.run(request, |answer| {
            answer.done(Operation::PUTFH)?;
            answer.done(Operation::DEALLOCATE)?;
            answer.result(Operation::COMMIT, |reader| reader.take(8).map(|_| ()))
        });
        match punched {
            Ok(()) => Ok(true),
            Err(error)
                if [Status::NOTSUPP, Status::OP_ILLEGAL, Status::INVAL]
                    .iter()
                    .any(|status| error.is(*status)) =>
            {
                self.may_punch.store(false, Ordering::Relaxed);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn close(&self) {
        self.sessions.close();
    }

    fn set_gate(&self, gate: Gate) {
        self.sessions.transport().set_gate(gate);
    }

    fn hurry(&self, until: Option<Instant>) {
        self.sessions.transport().hurry(until);
    }

    fn silence(&self) -> Option<Duration> {
        self.sessions.transport().silence()
    }
}

fn ask_for_found(request: &mut Request<'_>) {
    request.operation(Operation::GETFH);
    Choice::of_file().write(request.operation(Operation::GETATTR));
}

fn read_found(answer: &mut Answer<'_>) -> Result<Found> {
    let handle = answer.result(Operation::GETFH, |reader| Handle::read(reader, MAX_HANDLE))?;
    let values = answer.result(Operation::GETATTR, Values::read)?;
    Ok(Found {
        handle,
        attributes: complete(&values)?,
    })
}

fn complete(values: &Values) -> Result<Attributes> {
    values.attributes().map_err(|source| NfsError::Malformed {
        procedure: "GETATTR",
        source,
    })
}

/// `OPEN4resok`.
fn skip_open(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    // State id, what changed in the directory, flags.
    reader.take(16 + 20 + 4)?;
    attributes::skip_choice(reader)?;
    match reader.u32()? {
        // No delegation.
        0 => Ok(()),
        // No delegation, and why.
        3 => match reader.u32()? {
            1 | 2 => reader.bool().map(|_| ()),
            _ => Ok(()),
        },
        _ => Err(Malformed("it gives a delegation that was not asked for")),
    }
}
