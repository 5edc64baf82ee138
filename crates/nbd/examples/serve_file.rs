//! Serves a plain file over NBD, for measuring the server without an image format behind it.
//!
//! `cargo run --release -p nbd --example serve_file -- /tmp/nbd.sock FILE [WORKERS [direct]]`
//!
//! With `direct` the file is opened with `O_DIRECT`, so that requests are as slow as the disk; they must be aligned then.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use nbd::server::{Limits, ListenerOptions};
use nbd::{BlockStatus, Export, Exports, Extent, Found, Peer, Refusal, Server};

struct FileExport {
    file: File,
    size: u64,
}

impl Export for FileExport {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn write_zeroes_at(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn trim_at(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn block_status(&self, _offset: u64, length: u64, _limit: usize) -> io::Result<Vec<Extent>> {
        Ok(vec![Extent {
            length,
            status: BlockStatus::Data,
        }])
    }

    fn close(&self) -> io::Result<()> {
        self.flush()
    }
}

struct One(Arc<FileExport>);

impl Exports for One {
    fn find(&self, _name: &str, _peer: &Peer) -> Result<Found, Refusal> {
        Ok(Found {
            key: "file".to_owned(),
            export: self.0.clone(),
        })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args_os().collect();
    let [_, socket, path, rest @ ..] = arguments.as_slice() else {
        return Err("usage: serve_file SOCKET FILE [WORKERS [direct]]".into());
    };
    let mut limits = Limits::default();
    if let Some(workers) = rest.first() {
        limits.workers_per_connection = workers.to_str().ok_or("not a number")?.parse()?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    if rest.get(1).is_some_and(|word| word == "direct") {
        options.custom_flags(rustix::fs::OFlags::DIRECT.bits() as i32);
    }
    let file = options.open(path)?;
    let size = file.metadata()?.len();
    let exports = One(Arc::new(FileExport { file, size }));
    let server = Server::new(Arc::new(exports), limits);
    server.listen_unix(Path::new(socket), ListenerOptions::plaintext())?;
    loop {
        std::thread::park();
    }
}
