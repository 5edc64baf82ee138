//! Devices for the tests.

// Each test is a program of its own and uses a part of this.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lvm::device::Device;

/// A device in a file.
pub struct FileDevice {
    file: File,
    path: PathBuf,
}

impl FileDevice {
    /// Opens a file.
    pub fn open(path: &Path) -> Arc<dyn Device> {
        let file = File::options().read(true).write(true).open(path).unwrap();
        Arc::new(FileDevice {
            file,
            path: path.to_owned(),
        })
    }

    /// Makes a sparse file of this many MiB.
    pub fn create(path: &Path, mib: u64) -> Arc<dyn Device> {
        File::create(path).unwrap().set_len(mib << 20).unwrap();
        FileDevice::open(path)
    }
}

impl Device for FileDevice {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// What a [`Recorder`] saw.
#[derive(Clone, Debug)]
pub enum Event {
    /// A write of bytes at an offset of the device with this number.
    Write(usize, u64, Vec<u8>),
    /// A flush of the device with this number.
    Flush(usize),
}

/// A device in memory that tells what is done to it, and can fail.
pub struct Recorder {
    number: usize,
    bytes: Mutex<Vec<u8>>,
    log: Arc<Mutex<Log>>,
}

/// What several devices saw, in order.
#[derive(Default)]
pub struct Log {
    /// Writes and flushes.
    pub events: Vec<Event>,
    /// After so many events the next one fails.
    pub fails_after: Option<usize>,
}

impl Recorder {
    /// Devices with these contents that share a log.
    pub fn new(contents: Vec<Vec<u8>>) -> (Vec<Arc<Recorder>>, Arc<Mutex<Log>>) {
        let log = Arc::new(Mutex::new(Log::default()));
        let devices = contents.into_iter().enumerate().map(|(number, bytes)| {
            Arc::new(Recorder {
                number,
                bytes: Mutex::new(bytes),
                log: Arc::clone(&log),
            })
        });
        (devices.collect(), log)
    }

    /// What the device holds.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    fn record(&self, event: Event) -> io::Result<()> {
        let mut log = self.log.lock().unwrap();
        if log
            .fails_after
            .is_some_and(|count| log.events.len() >= count)
        {
            return Err(io::Error::other("the device was told to fail"));
        }
        log.events.push(event);
        Ok(())
    }
}

impl Device for Recorder {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        let end = offset as usize + buffer.len();
        let range = bytes.get(offset as usize..end);
        buffer.copy_from_slice(range.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.record(Event::Write(self.number, offset, data.to_vec()))?;
        let mut bytes = self.bytes.lock().unwrap();
        let end = offset as usize + data.len();
        let range = bytes.get_mut(offset as usize..end);
        range
            .ok_or(io::ErrorKind::UnexpectedEof)?
            .copy_from_slice(data);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.record(Event::Flush(self.number))
    }

    fn name(&self) -> String {
        format!("device {}", self.number)
    }
}

/// Empty devices of this many MiB.
pub fn memory(mib: &[u64]) -> Vec<Vec<u8>> {
    mib.iter()
        .map(|mib| vec![0; (mib << 20) as usize])
        .collect()
}

/// Recorders as devices.
pub fn devices(recorders: &[Arc<Recorder>]) -> Vec<Arc<dyn Device>> {
    let devices = recorders
        .iter()
        .map(|one| Arc::clone(one) as Arc<dyn Device>);
    devices.collect()
}
