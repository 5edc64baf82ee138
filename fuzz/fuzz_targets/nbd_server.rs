//! Arbitrary bytes from a client: the handshake, and transmission behind a handshake that succeeded.
//!
//! The first byte says how much of an honest session comes in front of the rest.
#![no_main]

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nbd::protocol::constants::option;
use nbd::protocol::{ExportRequest, MetaContextRequest, OptionHeader};
use nbd::server::{Limits, ListenerOptions};
use nbd::{BlockStatus, Export, Exports, Extent, Found, Peer, Refusal, Server};

const SIZE: u64 = 1 << 20;
/// What fits into a socket without a reader, so that the fuzzer never waits for a server that has hung up.
const MAX_INPUT: usize = 64 * 1024;

struct Memory(Mutex<Vec<u8>>);

impl Memory {
    /// Fails on a range that the server should have refused.
    fn range(&self, offset: u64, length: u64) -> std::ops::Range<usize> {
        let end = offset
            .checked_add(length)
            .expect("the server checks for overflow");
        assert!(end <= SIZE, "the server lets no range out of the export");
        offset as usize..end as usize
    }
}

impl Export for Memory {
    fn size(&self) -> u64 {
        SIZE
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let range = self.range(offset, buffer.len() as u64);
        buffer.copy_from_slice(&self.0.lock().expect("no panic under the lock")[range]);
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let range = self.range(offset, data.len() as u64);
        self.0.lock().expect("no panic under the lock")[range].copy_from_slice(data);
        Ok(())
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        let range = self.range(offset, length);
        self.0.lock().expect("no panic under the lock")[range].fill(0);
        Ok(())
    }

    fn trim_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.range(offset, length);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn block_status(&self, offset: u64, length: u64, _limit: usize) -> io::Result<Vec<Extent>> {
        self.range(offset, length);
        Ok(vec![Extent {
            length,
            status: BlockStatus::Data,
        }])
    }

    fn close(&self) -> io::Result<()> {
        Ok(())
    }
}

struct One(Arc<Memory>);

impl Exports for One {
    fn find(&self, name: &str, _peer: &Peer) -> Result<Found, Refusal> {
        match name {
            "" => Ok(Found {
                key: "memory".to_owned(),
                export: self.0.clone(),
            }),
            _ => Err(Refusal::Unknown),
        }
    }

    fn list(&self, _peer: &Peer) -> Result<Vec<String>, Refusal> {
        Ok(vec![String::new()])
    }
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let limits = Limits {
            handshake: Duration::from_secs(5),
            ..Limits::default()
        };
        Server::new(
            Arc::new(One(Arc::new(Memory(Mutex::new(vec![0; SIZE as usize]))))),
            limits,
        )
    })
}

/// An honest session up to a point.
fn beginning(steps: u8) -> Vec<u8> {
    let mut out = Vec::new();
    if steps == 0 {
        return out;
    }
    out.extend_from_slice(&[0, 0, 0, 3]);
    let mut append = |code, data: &[u8]| {
        out.extend_from_slice(
            &OptionHeader {
                option: code,
                length: data.len() as u32,
            }
            .to_bytes(),
        );
        out.extend_from_slice(data);
    };
    if steps >= 3 {
        append(option::STRUCTURED_REPLY, &[]);
        let queries = vec!["base:allocation".to_owned()];
        append(
            option::SET_META_CONTEXT,
            &MetaContextRequest {
                name: String::new(),
                queries,
            }
            .to_bytes(),
        );
    }
    if steps >= 2 {
        append(
            option::GO,
            &ExportRequest {
                name: String::new(),
                info: vec![],
            }
            .to_bytes(),
        );
    }
    out
}

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let (mut ours, theirs) = UnixStream::pair().expect("a socket pair");
    server()
        .serve(theirs, &ListenerOptions::plaintext())
        .expect("each connection ends before the next");
    let mut bytes = beginning(first % 4);
    bytes.extend_from_slice(&rest[..rest.len().min(MAX_INPUT)]);
    // Replies to many short reads may fill the socket, so a second thread takes them.
    let mut reader = ours.try_clone().expect("a second handle");
    let draining = std::thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
    // The server may hang up at any byte.
    let _ = ours.write_all(&bytes);
    let _ = ours.shutdown(Shutdown::Write);
    let _ = draining.join().expect("draining does not panic");
    while !server().connections().is_empty() {
        std::thread::yield_now();
    }
});
