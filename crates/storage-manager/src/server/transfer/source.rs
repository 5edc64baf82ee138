//! What an export sends: the bytes of an open VDI as they are, or as a VHD.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use nbd::{BlockStatus, Export};
use vhd::size::BLOCK_SIZE;
use vhd::stream::{NewStream, StreamWriter};

/// Bytes of a chunk between thread and socket.
pub const CHUNK: usize = 1 << 20;

/// How far ahead the allocation is asked for, in bytes and in extents.
const STATUS_WINDOW: u64 = 1 << 30;
const STATUS_EXTENTS: usize = 4096;

/// What holes are sent from, so that they are neither read nor copied.
static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// What an export is of.
pub enum Content {
    /// The bytes as they are.
    Raw,
    /// A VHD; its blocks are those that some image of the VDI has, or those that differ from a base.
    Vhd {
        /// Its head.
        stream: NewStream,
        /// Against which its blocks are chosen.
        relative_to: RelativeTo,
    },
}

/// Against what the blocks of a VHD are chosen.
pub enum RelativeTo {
    /// Zeros.
    Nothing,
    /// A base, of which it is known which blocks differ: one bit per block, the most significant of each byte first.
    Known(Vec<u8>),
    /// A base of which that is not known: every block that either has is taken to differ.
    Opened(Arc<dyn Export>),
}

/// Sends everything, in order.
///
/// # Errors
/// Those of reading the VDI and those of `send`.
pub fn send(
    export: &dyn Export,
    content: Content,
    send: &mut dyn FnMut(Bytes) -> io::Result<()>,
) -> io::Result<()> {
    match content {
        Content::Raw => send_raw(export, send),
        Content::Vhd {
            mut stream,
            relative_to,
        } => {
            stream.virtual_size = export.size();
            let map = match relative_to {
                RelativeTo::Nothing => allocated(&[export])?,
                RelativeTo::Known(map) => map,
                RelativeTo::Opened(base) => allocated(&[export, &*base])?,
            };
            send_vhd(export, &stream, &map, send)
        }
    }
}

fn send_raw(export: &dyn Export, send: &mut dyn FnMut(Bytes) -> io::Result<()>) -> io::Result<()> {
    for_each_extent(export, &mut |at, length, is_data| {
        let mut done = 0;
        while done < length {
            let step = (length - done).min(CHUNK as u64) as usize;
            if is_data {
                let mut chunk = BytesMut::zeroed(step);
                export.read_at(&mut chunk, at + done)?;
                send(chunk.freeze())?;
            } else {
                send(Bytes::from_static(&ZEROS[..step]))?;
            }
            done += step as u64;
        }
        Ok(())
    })
}

fn send_vhd(
    export: &dyn Export,
    stream: &NewStream,
    map: &[u8],
    send: &mut dyn FnMut(Bytes) -> io::Result<()>,
) -> io::Result<()> {
    let read = |buffer: &mut [u8], offset| export.read_at(buffer, offset);
    let mut writer = StreamWriter::new(stream, map, read)?;
    let length = writer.length();
    while writer.position() < length {
        let step = (length - writer.position()).min(CHUNK as u64) as usize;
        let mut chunk = BytesMut::zeroed(step);
        writer.read_exact(&mut chunk)?;
        send(chunk.freeze())?;
    }
    Ok(())
}

/// The blocks of which one of these has data.
fn allocated(exports: &[&dyn Export]) -> io::Result<Vec<u8>> {
    let size = exports.iter().map(|export| export.size()).max();
    let blocks = size.unwrap_or(0).div_ceil(BLOCK_SIZE);
    let mut map = vec![0; blocks.div_ceil(8) as usize];
    for export in exports {
        for_each_extent(*export, &mut |at, length, is_data| {
            if is_data && length > 0 {
                for block in at / BLOCK_SIZE..=(at + length - 1) / BLOCK_SIZE {
                    map[(block / 8) as usize] |= 0x80 >> (block % 8);
                }
            }
            Ok(())
        })?;
    }
    Ok(map)
}

/// Calls `visit` with offset, length and whether there are data, from the start to the end.
fn for_each_extent(
    export: &dyn Export,
    visit: &mut dyn FnMut(u64, u64, bool) -> io::Result<()>,
) -> io::Result<()> {
    let (size, mut at) = (export.size(), 0);
    while at < size {
        let window = (size - at).min(STATUS_WINDOW);
        let extents = export.block_status(at, window, STATUS_EXTENTS)?;
        let end = at + window;
        let start = at;
        for extent in extents {
            let length = extent.length.min(end - at);
            visit(at, length, extent.status == BlockStatus::Data)?;
            at += length;
        }
        if at == start {
            // An image that says nothing of a range: its bytes are read.
            visit(at, window, true)?;
            at = end;
        }
    }
    Ok(())
}
