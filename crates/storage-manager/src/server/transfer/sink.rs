//! What an import does with the bytes that come: raw, in the chunks of XenServer's protocol, or as a VHD.

use std::io::{self, Read};

use nbd::Export;
use vhd::size::BLOCK_SIZE;
use vhd::stream::StreamReader;
use xenapi::Failure;

/// A `Content-Length` from here on says that the client does not know the length: it closes when it has sent everything.
/// Source: reference 1.8; Xen Orchestra sends 2^50.
pub const UNKNOWN_LENGTH: u64 = 1 << 50;

/// Bytes of the head of a chunk: offset and length, little-endian. Source: reference 1.8, "Chunk protocol body".
const CHUNK_HEAD: usize = 12;

/// Zeros that a block is compared with.
static ZEROS: [u8; BLOCK_SIZE as usize] = [0; BLOCK_SIZE as usize];

/// How the bytes of an import come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// From offset 0 on.
    Raw,
    /// Offset, length, bytes, and so on.
    Chunked,
    /// As a VHD.
    Vhd,
}

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is less than there had to be.
    #[error("the stream ended after {received} bytes")]
    EndedEarly {
        /// Bytes that came.
        received: u64,
    },
    /// What comes does not fit.
    #[error(
        "{length} bytes at {offset} do not fit into the VDI of {size} bytes; make a larger one"
    )]
    TooLarge {
        /// Where they belong.
        offset: u64,
        /// How many.
        length: u64,
        /// Bytes of the VDI.
        size: u64,
    },
    /// The stream is no VHD, or a damaged one.
    #[error("read the VHD: {source}")]
    Vhd {
        /// What is wrong.
        source: vhd::Error,
    },
    /// The VDI could not be written.
    #[error("write to the VDI at {offset}: {source}")]
    Write {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// What was written could not be put on stable storage.
    #[error("put the VDI on stable storage: {source}")]
    Flush {
        /// Why.
        source: io::Error,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::EndedEarly { .. } => {
                Failure::new("IMPORT_ERROR_PREMATURE_EOF", Vec::<String>::new())
            }
            error => Failure::new("VDI_IO_ERROR", [error.to_string()]),
        }
    }
}

/// Writes what comes into an open VDI and puts it on stable storage. `length` is that of the stream, where it is known.
///
/// # Errors
/// What came before the error is in the VDI.
///
/// # Durability
/// On return everything is on stable storage and the VDI is closed.
pub fn receive(
    input: &mut dyn Read,
    coding: Coding,
    length: Option<u64>,
    vdi: &dyn Export,
) -> Result<(), Error> {
    match coding {
        Coding::Raw => receive_raw(input, length, vdi),
        Coding::Chunked => receive_chunks(input, vdi),
        Coding::Vhd => receive_vhd(input, length, vdi),
    }?;
    vdi.flush()
        .and_then(|()| vdi.close())
        .map_err(|source| Error::Flush { source })
}

fn receive_raw(input: &mut dyn Read, length: Option<u64>, vdi: &dyn Export) -> Result<(), Error> {
    let size = vdi.size();
    let too_large = |length| Error::TooLarge {
        offset: 0,
        length,
        size,
    };
    if let Some(length) = length.filter(|length| *length > size) {
        return Err(too_large(length));
    }
    // Who does not know the length sends the whole VDI: a connection that breaks must not pass for the end.
    let expected = length.unwrap_or(size);
    let mut buffer = vec![0; BLOCK_SIZE as usize];
    let mut received = 0;
    loop {
        let count = fill(input, &mut buffer, received)?;
        if count == 0 {
            break;
        }
        if received + count as u64 > expected {
            return Err(too_large(received + count as u64));
        }
        put(vdi, received, &buffer[..count])?;
        received += count as u64;
        if length == Some(received) {
            break;
        }
    }
    if received < expected {
        return Err(Error::EndedEarly { received });
    }
    Ok(())
}

fn receive_chunks(input: &mut dyn Read, vdi: &dyn Export) -> Result<(), Error> {
    let size = vdi.size();
    let mut buffer = vec![0; BLOCK_SIZE as usize];
    let mut received = 0;
    loop {
        let mut head = [0; CHUNK_HEAD];
        fill_whole(input, &mut head, &mut received)?;
        let (offset, length) = head.split_at(8);
        let mut offset = u64::from_le_bytes(offset.try_into().expect("8 of 12 bytes"));
        let length = u32::from_le_bytes(length.try_into().expect("4 of 12 bytes"));
        if (offset, length) == (0, 0) {
            return Ok(());
        }
        if offset
            .checked_add(length.into())
            .is_none_or(|end| end > size)
        {
            let length = length.into();
            return Err(Error::TooLarge {
                offset,
                length,
                size,
            });
        }
        let mut left = length as usize;
        while left > 0 {
            let step = left.min(buffer.len());
            fill_whole(input, &mut buffer[..step], &mut received)?;
            put(vdi, offset, &buffer[..step])?;
            offset += step as u64;
            left -= step;
        }
    }
}

fn receive_vhd(input: &mut dyn Read, length: Option<u64>, vdi: &dyn Export) -> Result<(), Error> {
    let size = vdi.size();
    let mut reader = StreamReader::open(input, length).map_err(unreadable)?;
    let virtual_size = reader.info().virtual_size;
    if virtual_size > size {
        return Err(Error::TooLarge {
            offset: 0,
            length: virtual_size,
            size,
        });
    }
    while let Some(piece) = reader.next_piece().map_err(unreadable)? {
        put(vdi, piece.offset, piece.data)?;
    }
    Ok(())
}

fn unreadable(source: vhd::Error) -> Error {
    match (&source, source.io_kind()) {
        (vhd::Error::Io { offset, .. }, Some(io::ErrorKind::UnexpectedEof)) => {
            Error::EndedEarly { received: *offset }
        }
        _ => Error::Vhd { source },
    }
}

/// Writes bytes, block by block; a part of a block that is zero throughout takes no space where the VDI has none of it.
fn put(vdi: &dyn Export, offset: u64, data: &[u8]) -> Result<(), Error> {
    let mut done = 0;
    while done < data.len() {
        let at = offset + done as u64;
        let step = ((BLOCK_SIZE - at % BLOCK_SIZE) as usize).min(data.len() - done);
        let part = &data[done..done + step];
        let written = if *part == ZEROS[..step] {
            vdi.write_zeroes_at(at, step as u64)
        } else {
            vdi.write_at(part, at)
        };
        written.map_err(|source| Error::Write { offset: at, source })?;
        done += step;
    }
    Ok(())
}

/// Fills as much of the buffer as comes.
fn fill(input: &mut dyn Read, buffer: &mut [u8], received: u64) -> Result<usize, Error> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => {
                let received = received + filled as u64;
                return Err(Error::EndedEarly { received });
            }
        }
    }
    Ok(filled)
}

fn fill_whole(input: &mut dyn Read, buffer: &mut [u8], received: &mut u64) -> Result<(), Error> {
    let count = fill(input, buffer, *received)?;
    *received += count as u64;
    if count < buffer.len() {
        return Err(Error::EndedEarly {
            received: *received,
        });
    }
    Ok(())
}
