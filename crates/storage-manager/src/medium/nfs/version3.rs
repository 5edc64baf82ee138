//! NFS version 3.
//!
//! Source: RFC 1813; procedure numbers from its section 3.3, layouts from sections 2.5 and 3.3.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::MAX_TRANSFER;
use super::error::{NfsError, Result};
use super::mountd::MountService;
use super::pieces::{Piece, Pieces, read_pieces, write_pieces};
use super::protocol::{
    Attributes, DIRECTORY_MODE, FILE_MODE, FileKind, Found, Handle, LISTING_BYTES, MAX_NAME,
    Protocol, Stability, Verifier, Written, time,
};
use super::rpc::{Call, Program};
use super::status::Status;
use super::transport::{Gate, OnAnswer, Pause, Transport, check};
use super::xdr::{Malformed, Reader, Writer};
use crate::medium::files::FileId;
use crate::sr::SrSpace;

const NFS: Program = Program {
    number: 100_003,
    version: 3,
};

/// Longest handle: `NFS3_FHSIZE`.
const MAX_HANDLE: usize = 64;

const GETATTR: (&str, u32) = ("GETATTR", 1);
const SETATTR: (&str, u32) = ("SETATTR", 2);
const LOOKUP: (&str, u32) = ("LOOKUP", 3);
const READ: (&str, u32) = ("READ", 6);
const WRITE: (&str, u32) = ("WRITE", 7);
const CREATE: (&str, u32) = ("CREATE", 8);
const MKDIR: (&str, u32) = ("MKDIR", 9);
const REMOVE: (&str, u32) = ("REMOVE", 12);
const RMDIR: (&str, u32) = ("RMDIR", 13);
const RENAME: (&str, u32) = ("RENAME", 14);
const LINK: (&str, u32) = ("LINK", 15);
const READDIR: (&str, u32) = ("READDIR", 16);
const FSSTAT: (&str, u32) = ("FSSTAT", 18);
const FSINFO: (&str, u32) = ("FSINFO", 19);
const COMMIT: (&str, u32) = ("COMMIT", 21);

/// `stable_how`: the server may keep the data in memory.
const UNSTABLE: u32 = 0;

/// `stable_how`: data and metadata are stable.
const FILE_SYNC: u32 = 2;

/// `createmode3`: the verifier tells a repetition from another file.
const EXCLUSIVE: u32 = 2;

/// `time_how`: the server's clock.
const SET_TO_SERVER_TIME: u32 = 1;

/// Transfer size of a server that does not say what it prefers.
const MODEST_TRANSFER: u32 = 32 * 1024;

/// An export, by version 3.
#[derive(Debug)]
pub struct Version3 {
    transport: Transport,
    mounts: MountService,
    path: String,
    /// Limits from the options; the server has its own.
    wanted: Pieces,
    pieces: OnceLock<Pieces>,
}

impl Version3 {
    /// The export `path` of the server at the end of `transport`.
    pub fn new(transport: Transport, mounts: MountService, path: &str, wanted: Pieces) -> Self {
        Version3 {
            transport,
            mounts,
            path: path.to_owned(),
            wanted,
            pieces: OnceLock::new(),
        }
    }

    /// Makes one call; again while the server asks for patience.
    fn call<T>(
        &self,
        procedure: (&'static str, u32),
        arguments: &Writer,
        mut read: impl FnMut(&mut Reader<'_>) -> Result<T, Malformed>,
    ) -> Result<T> {
        let deadline = self.transport.deadline();
        let mut pause = Pause::default();
        loop {
            let call = self.transport.call(procedure, NFS, arguments, &[]);
            let mut result = None;
            let outcome = self.transport.exchange(
                std::slice::from_ref(&call),
                deadline,
                &mut |_, mut reader, repeated| {
                    result = Some(answer(procedure.0, &mut reader, repeated, &mut read)?);
                    Ok(())
                },
            );
            match outcome {
                Err(error) if error.is(Status::DELAY) => {
                    if !self.transport.pause(&mut pause, deadline) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
                Ok(()) => return Ok(result.expect("an exchange without error has an answer")),
            }
        }
    }

    /// Makes one call for each piece, all at once; all again while the server asks for patience.
    fn batch<'a>(
        &self,
        pieces: &[Piece],
        make: impl Fn(&Piece) -> Call<'a>,
        on_answer: OnAnswer<'_>,
    ) -> Result<()> {
        let deadline = self.transport.deadline();
        let mut pause = Pause::default();
        loop {
            let calls: Vec<Call<'_>> = pieces.iter().map(&make).collect();
            match self.transport.exchange(&calls, deadline, on_answer) {
                Err(error) if error.is(Status::DELAY) => {
                    if !self.transport.pause(&mut pause, deadline) {
                        return Err(error);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// The transfer sizes that the server and the options allow.
    fn pieces(&self, file: &Handle) -> Result<Pieces> {
        if let Some(pieces) = self.pieces.get() {
            return Ok(*pieces);
        }
        let mut arguments = Writer::default();
        arguments.opaque(file.bytes());
        let server = self.call(FSINFO, &arguments, |reader| {
            skip_attributes(reader)?;
            let read = reader.u32()?;
            reader.take(8)?;
            Ok(Pieces {
                read,
                write: reader.u32()?,
            })
        })?;
        Ok(*self
            .pieces
            .get_or_init(|| self.wanted.within(server, MODEST_TRANSFER)))
    }

    /// Sets the length and what `EXCLUSIVE` left unset.
    fn finish_creation(&self, file: &Handle) -> Result<()> {
        let mut arguments = Writer::default();
        arguments.opaque(file.bytes());
        arguments.bool(true).u32(FILE_MODE).bool(false).bool(false);
        arguments.bool(true).u64(0);
        // The verifier may lie in the times.
        arguments.u32(SET_TO_SERVER_TIME).u32(SET_TO_SERVER_TIME);
        arguments.bool(false);
        self.call(SETATTR, &arguments, |_| Ok(()))
    }

    fn found(&self, handle: Handle, attributes: Option<Attributes>) -> Result<Found> {
        let attributes = match attributes {
            Some(attributes) => attributes,
            None => self.attributes(&handle)?,
        };
        Ok(Found { handle, attributes })
    }

    /// One page of a listing: true when it was the last.
    fn page(
        &self,
        directory: &Handle,
        (cookie, verifier): (u64, Verifier),
        take: &mut dyn FnMut(u64, String),
    ) -> Result<(bool, Verifier)> {
        let mut arguments = Writer::default();
        arguments.opaque(directory.bytes());
        arguments.u64(cookie).fixed(&verifier).u32(LISTING_BYTES);
        self.call(READDIR, &arguments, |reader| {
            skip_attributes(reader)?;
            let verifier = reader.array()?;
            while reader.bool()? {
                reader.u64()?;
                let name = reader.text(MAX_NAME)?;
                take(reader.u64()?, name);
            }
            Ok((reader.bool()?, verifier))
        })
    }
}

impl Protocol for Version3 {
    fn root(&self) -> Result<Found> {
        let handle = self.mounts.mount(&self.path)?;
        self.found(handle, None)
    }

    fn lookup(&self, directory: &Handle, name: &str) -> Result<Found> {
        let arguments = name_in(directory, name);
        let (handle, attributes) = self.call(LOOKUP, &arguments, |reader| {
            Ok((
                Handle::read(reader, MAX_HANDLE)?,
                optional_attributes(reader)?,
            ))
        })?;
        self.found(handle, attributes)
    }

    fn attributes(&self, file: &Handle) -> Result<Attributes> {
        let mut arguments = Writer::default();
        arguments.opaque(file.bytes());
        self.call(GETATTR, &arguments, read_attributes)
    }

    fn set_size(&self, file: &Handle, size: u64) -> Result<()> {
        let mut arguments = Writer::default();
        arguments.opaque(file.bytes());
        arguments.bool(false).bool(false).bool(false);
        arguments.bool(true).u64(size);
        arguments.u32(0).u32(0).bool(false);
        self.call(SETATTR, &arguments, |_| Ok(()))
    }

    fn read(&self, file: &Handle, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let size = self.pieces(file)?.read;
        read_pieces(size, offset, buffer, |pieces, take| {
            let make = |piece: &Piece| {
                let mut arguments = Writer::default();
                arguments.opaque(file.bytes()).u64(piece.offset);
                arguments.u32(piece.length as u32);
                self.transport.call(READ, NFS, &arguments, &[])
            };
            self.batch(pieces, make, &mut |index, mut reader, repeated| {
                let limit = pieces[index].length;
                let (data, is_end) = answer(READ.0, &mut reader, repeated, |reader| {
                    skip_attributes(reader)?;
                    reader.u32()?;
                    let is_end = reader.bool()?;
                    Ok((reader.opaque(limit)?, is_end))
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
        write_pieces(size, offset, data, |pieces, take| {
            let make = |piece: &Piece| {
                let length = piece.length as u32;
                let mut arguments = Writer::default();
                arguments.opaque(file.bytes()).u64(piece.offset);
                arguments.u32(length).u32(how).u32(length);
                self.transport.call(WRITE, NFS, &arguments, piece.of(data))
            };
            self.batch(pieces, make, &mut |index, mut reader, repeated| {
                let written = answer(WRITE.0, &mut reader, repeated, |reader| {
                    skip_change(reader)?;
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
        let mut arguments = Writer::default();
        // Nothing as a length says: to the end.
        arguments.opaque(file.bytes()).u64(0).u32(0);
        self.call(COMMIT, &arguments, |reader| {
            skip_change(reader)?;
            reader.array()
        })
    }

    /// Write order: the file is made with a verifier that only this call knows, then its mode and times are set. A crash in
    /// between leaves an empty file of whatever mode the server chose, under a temporary name.
    fn create(&self, directory: &Handle, name: &str) -> Result<Found> {
        let mut arguments = name_in(directory, name);
        let verifier = uuid::Uuid::new_v4();
        arguments.u32(EXCLUSIVE).fixed(&verifier.as_bytes()[..8]);
        let (handle, attributes) = self.call(CREATE, &arguments, |reader| {
            let handle = match reader.bool()? {
                true => Some(Handle::read(reader, MAX_HANDLE)?),
                false => None,
            };
            Ok((handle, optional_attributes(reader)?))
        })?;
        let found = match handle {
            Some(handle) => self.found(handle, attributes)?,
            None => self.lookup(directory, name)?,
        };
        self.finish_creation(&found.handle)?;
        Ok(found)
    }

    fn make_directory(&self, directory: &Handle, name: &str) -> Result<()> {
        let mut arguments = name_in(directory, name);
        arguments.bool(true).u32(DIRECTORY_MODE);
        arguments.bool(false).bool(false).bool(false).u32(0).u32(0);
        self.call(MKDIR, &arguments, |_| Ok(()))
    }

    fn remove(&self, directory: &Handle, name: &str) -> Result<()> {
        self.call(REMOVE, &name_in(directory, name), |_| Ok(()))
    }

    fn remove_directory(&self, directory: &Handle, name: &str) -> Result<()> {
        self.call(RMDIR, &name_in(directory, name), |_| Ok(()))
    }

    fn rename(&self, directory: &Handle, from: &str, to: &str) -> Result<()> {
        let mut arguments = name_in(directory, from);
        arguments.append(&name_in(directory, to));
        self.call(RENAME, &arguments, |_| Ok(()))
    }

    fn link(&self, file: &Handle, directory: &Handle, name: &str) -> Result<()> {
        let mut arguments = Writer::default();
        arguments.opaque(file.bytes());
        arguments.append(&name_in(directory, name));
        self.call(LINK, &arguments, |_| Ok(()))
    }

    fn entries(&self, directory: &Handle, limit: usize) -> Result<Option<Vec<String>>> {
        let mut names = Vec::new();
        let mut place = (0, Verifier::default());
        loop {
            let (before, mut last) = (names.len(), place.0);
            let (is_last, verifier) = self.page(directory, place, &mut |cookie, name| {
                last = cookie;
                names.push(name);
            })?;
            if names.len() > limit.saturating_add(2) {
                return Ok(None);
            }
            if is_last {
                break;
            }
            if names.len() == before {
                return Err(NfsError::Malformed {
                    procedure: READDIR.0,
                    source: Malformed("a page of a listing is empty and not the last"),
                });
            }
            place = (last, verifier);
        }
        names.retain(|name| name != "." && name != "..");
        Ok(Some(names))
    }

    fn space(&self, directory: &Handle) -> Result<SrSpace> {
        let mut arguments = Writer::default();
        arguments.opaque(directory.bytes());
        self.call(FSSTAT, &arguments, |reader| {
            skip_attributes(reader)?;
            let (total, free) = (reader.u64()?, reader.u64()?);
            Ok(SrSpace {
                physical_size: total,
                physical_utilisation: total.saturating_sub(free),
            })
        })
    }

    /// Version 3 knows no holes.
    fn punch_hole(&self, _: &Handle, _: u64, _: u64) -> Result<bool> {
        Ok(false)
    }

    fn close(&self) {
        self.transport.close();
        self.mounts.close();
    }

    fn set_gate(&self, gate: Gate) {
        self.transport.set_gate(gate);
    }

    fn hurry(&self, until: Option<Instant>) {
        self.transport.hurry(until);
    }

    fn silence(&self) -> Option<Duration> {
        self.transport.silence()
    }
}

/// Reads a status and, after success, the results.
fn answer<'r, T>(
    procedure: &'static str,
    reader: &mut Reader<'r>,
    repeated: bool,
    read: impl FnOnce(&mut Reader<'r>) -> Result<T, Malformed>,
) -> Result<T> {
    let malformed = |source| NfsError::Malformed { procedure, source };
    check(procedure, reader.u32().map_err(malformed)?, repeated)?;
    read(reader).map_err(malformed)
}

/// `diropargs3`.
fn name_in(directory: &Handle, name: &str) -> Writer {
    let mut arguments = Writer::default();
    arguments.opaque(directory.bytes()).opaque(name.as_bytes());
    arguments
}

/// `fattr3`.
fn read_attributes(reader: &mut Reader<'_>) -> Result<Attributes, Malformed> {
    let kind = match reader.u32()? {
        1 => FileKind::Regular,
        2 => FileKind::Directory,
        _ => FileKind::Other,
    };
    reader.u32()?;
    let links = reader.u32()?;
    reader.take(8)?;
    let size = reader.u64()?;
    // Space in use, device numbers.
    reader.take(16)?;
    let (file_system, number) = (reader.u64()?, reader.u64()?);
    // Last read.
    reader.take(8)?;
    let modified = time(i64::from(reader.u32()?), reader.u32()?);
    // Attributes last changed.
    reader.take(8)?;
    Ok(Attributes {
        kind,
        size,
        links,
        id: FileId(u128::from(file_system) << 64 | u128::from(number)),
        modified,
    })
}

/// `post_op_attr`.
fn optional_attributes(reader: &mut Reader<'_>) -> Result<Option<Attributes>, Malformed> {
    match reader.bool()? {
        true => read_attributes(reader).map(Some),
        false => Ok(None),
    }
}

fn skip_attributes(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    optional_attributes(reader).map(|_| ())
}

/// `wcc_data`.
fn skip_change(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    if reader.bool()? {
        reader.take(24)?;
    }
    skip_attributes(reader)
}

const _: () = assert!(
    MAX_TRANSFER <= super::connection::MAX_RECORD,
    "a read fits into a record"
);
