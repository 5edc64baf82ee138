//! Reads and writes in the sizes that a server takes, several at a time.

use super::MAX_TRANSFER;
use super::error::{NfsError, Result};
use super::protocol::{Verifier, Written};
use super::transport::MAX_BATCH;
use super::xdr::Malformed;

/// Smallest transfer size that is believed of a server.
const MIN_TRANSFER: u32 = 1024;

/// Most bytes of one read and of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// Of a read.
    pub read: u32,
    /// Of a write.
    pub write: u32,
}

/// A part of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where in the file.
    pub offset: u64,
    /// Where in the caller's buffer.
    pub start: usize,
    /// Bytes.
    pub length: usize,
}

/// What a server answered to a read: bytes, and whether the file ends there.
type ReadAnswer = (usize, bool);

/// What a server answered to a write: bytes, and the verifier unless they are stable.
pub type WriteAnswer = (usize, Option<Verifier>);

impl Default for Pieces {
    fn default() -> Self {
        Pieces {
            read: MAX_TRANSFER as u32,
            write: MAX_TRANSFER as u32,
        }
    }
}

impl Pieces {
    /// The smaller of what is wanted and what the server takes; `modest` where it does not say.
    pub fn within(self, server: Pieces, modest: u32) -> Self {
        let within = |wanted: u32, server: u32| {
            let server = if server == 0 { modest } else { server };
            wanted.min(server).max(MIN_TRANSFER)
        };
        Pieces {
            read: within(self.read, server.read),
            write: within(self.write, server.write),
        }
    }
}

/// Reads into `buffer` by as many reads as it takes; fewer bytes at the end of the file.
///
/// `batch` makes one read of each piece and hands over what came, each piece once or, if it is made again, more often.
pub fn read_pieces(
    size: u32,
    offset: u64,
    buffer: &mut [u8],
    mut batch: impl FnMut(&[Piece], &mut dyn FnMut(usize, &[u8], bool)) -> Result<()>,
) -> Result<usize> {
    let mut pending = split(size, offset, buffer.len());
    let mut end = buffer.len();
    while !pending.is_empty() {
        let now: Vec<Piece> = pending.drain(..pending.len().min(MAX_BATCH)).collect();
        let mut answers: [ReadAnswer; MAX_BATCH] = [(0, false); MAX_BATCH];
        batch(&now, &mut |index, data, is_end| {
            let start = now[index].start;
            buffer[start..start + data.len()].copy_from_slice(data);
            answers[index] = (data.len(), is_end);
        })?;
        let mut again = Vec::new();
        for (piece, (length, is_end)) in now.iter().zip(answers) {
            if length == piece.length {
                continue;
            }
            if is_end || length == 0 {
                end = end.min(piece.start + length);
            } else {
                again.push(piece.after(length));
            }
        }
        pending.splice(0..0, again);
        pending.retain(|piece| piece.start < end);
    }
    Ok(end)
}

/// Writes all of `data` by as many writes as it takes.
pub fn write_pieces(
    size: u32,
    offset: u64,
    data: &[u8],
    mut batch: impl FnMut(&[Piece], &mut dyn FnMut(usize, WriteAnswer)) -> Result<()>,
) -> Result<Vec<Written>> {
    let mut pending = split(size, offset, data.len());
    let mut written = Vec::with_capacity(pending.len());
    while !pending.is_empty() {
        let now: Vec<Piece> = pending.drain(..pending.len().min(MAX_BATCH)).collect();
        let mut answers: [WriteAnswer; MAX_BATCH] = [(0, None); MAX_BATCH];
        batch(&now, &mut |index, answer| answers[index] = answer)?;
        let mut again = Vec::new();
        for (piece, (length, unstable)) in now.iter().zip(answers) {
            if length == 0 || length > piece.length {
                return Err(NfsError::Malformed {
                    procedure: "WRITE",
                    source: Malformed("the server wrote nothing, or more than it was given"),
                });
            }
            written.push(Written {
                offset: piece.offset,
                length,
                unstable,
            });
            if length < piece.length {
                again.push(piece.after(length));
            }
        }
        pending.splice(0..0, again);
    }
    Ok(written)
}

impl Piece {
    /// The part of a buffer.
    pub fn of<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        &buffer[self.start..self.start + self.length]
    }

    fn after(&self, done: usize) -> Self {
        Piece {
            offset: self.offset + done as u64,
            start: self.start + done,
            length: self.length - done,
        }
    }
}

fn split(size: u32, offset: u64, length: usize) -> Vec<Piece> {
    let size = size as usize;
    (0..length)
        .step_by(size)
        .map(|start| Piece {
            offset: offset + start as u64,
            start,
            length: size.min(length - start),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that gives and takes at most `most` bytes at a time.
    fn read_from(file: &[u8], most: usize, offset: u64, length: usize) -> (usize, Vec<u8>) {
        let mut buffer = vec![0xee; length];
        let read = read_pieces(1024, offset, &mut buffer, |pieces, take| {
            for (index, piece) in pieces.iter().enumerate() {
                let start = (piece.offset as usize).min(file.len());
                let end = (start + piece.length.min(most)).min(file.len());
                take(index, &file[start..end], end == file.len());
            }
            Ok(())
        });
        let read = read.unwrap();
        buffer.truncate(read);
        (read, buffer)
    }

    #[test]
    fn short_answers_are_completed_and_the_end_is_found() {
        let file: Vec<u8> = (0..20_000u32).map(|number| number as u8).collect();
        for most in [1024, 700, 1] {
            assert_eq!(read_from(&file, most, 0, 20_000).1, file);
            assert_eq!(read_from(&file, most, 100, 3000).1, file[100..3100]);
            assert_eq!(read_from(&file, most, 15_000, 20_000).1, file[15_000..]);
            assert_eq!(read_from(&file, most, 30_000, 10).0, 0);
        }
    }

    #[test]
    fn short_writes_are_completed() {
        let data: Vec<u8> = (0..20_000u32).map(|number| number as u8).collect();
        let mut file = vec![0; 20_100];
        let written = write_pieces(1024, 100, &data, |pieces, take| {
            for (index, piece) in pieces.iter().enumerate() {
                let length = piece.length.min(700);
                let start = piece.offset as usize;
                file[start..start + length].copy_from_slice(&piece.of(&data)[..length]);
                take(index, (length, None));
            }
            Ok(())
        });
        let written = written.unwrap();
        assert_eq!(&file[100..], data);
        assert_eq!(
            written.iter().map(|piece| piece.length).sum::<usize>(),
            20_000
        );
        let nothing = write_pieces(1024, 0, &data, |_, _| Ok(()));
        assert!(nothing.is_err());
    }

    #[test]
    fn sizes_stay_within_what_both_sides_take() {
        let server = Pieces {
            read: 1 << 16,
            write: 0,
        };
        let pieces = Pieces::default().within(server, 8192);
        assert_eq!((pieces.read, pieces.write), (1 << 16, 8192));
    }
}
