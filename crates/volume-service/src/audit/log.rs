//! Writes the lines: a thread with a bounded queue, a flush to stable storage at most every 100 ms.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown, lchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::record::Event;
use super::verify::heads;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result, Subject};

/// Lines that may wait to be written; more are lost, which is written down as soon as there is room.
const QUEUE_MAX: usize = 8192;
/// Longest time between a line and its flush to stable storage.
const FLUSH_EVERY: Duration = Duration::from_millis(100);
/// Longest wait for a line that must be on stable storage.
const FLUSH_DEADLINE: Duration = Duration::from_secs(30);
/// Size at which a file ends and the next begins.
const FILE_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// The hash before the first line of a file.
pub(super) const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The audit log of this process. Dropping it writes and flushes what waits.
///
/// # Durability
/// A line is on stable storage 100 ms after its event at the latest; a crash loses what is younger, and cuts at most the
/// last line, which `verify` tells. [`AuditLog::note_flushed`] waits for that.
pub struct AuditLog {
    queue: Mutex<Option<SyncSender<Box<Queued>>>>,
    lost: std::sync::Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
    context: Context,
}

impl AuditLog {
    /// Begins a file in the directory, which is made.
    ///
    /// # Errors
    /// `Internal` when the directory or the file cannot be made: without its audit log the service does not start.
    pub fn open(context: Context, directory: &Path) -> Result<Self> {
        let failed = |cause: std::io::Error| {
            Error::new(
                ErrorKind::Internal,
                Subject::Request,
                "The audit log cannot be written.",
            )
            .detail(format!("open the audit log in {}", directory.display()))
            .caused_by(cause)
        };
        let is_new = !directory.exists();
        std::fs::create_dir_all(directory).map_err(failed)?;
        if is_new {
            give_to_owner_of_parent(directory);
        }
        let name = format!("{}-{}", context.now_us(), std::process::id());
        let mut writer = Writer {
            directory: directory.to_owned(),
            name,
            part: 0,
            file: None,
            written: 0,
            previous: NOTHING.to_owned(),
            number: 0,
        };
        writer.begin(context.now_us()).map_err(failed)?;
        Self::start(context, writer).map_err(failed)
    }

    /// Starts the thread that writes.
    fn start(context: Context, writer: Writer) -> std::io::Result<Self> {
        let (queue, events) = sync_channel(QUEUE_MAX);
        let lost = std::sync::Arc::new(AtomicU64::new(0));
        let lost_there = lost.clone();
        let thread = std::thread::Builder::new()
            .name("xensm-audit".to_owned())
            .spawn(move || writer.run(&events, &lost_there))?;
        Ok(AuditLog {
            queue: Mutex::new(Some(queue)),
            lost,
            thread: Mutex::new(Some(thread)),
            context,
        })
    }

    /// Queues a line; never waits.
    pub fn note(&self, event: Event) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else { return };
        let queued = Queued {
            at_us: self.context.now_us(),
            event,
            flushed: None,
        };
        if let Err(TrySendError::Full(_)) = queue.try_send(Box::new(queued)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes a line and waits until it, and all before it, are on stable storage. Blocks the thread, for `FLUSH_DEADLINE` at most:
    /// it is for commands, which do nothing else meanwhile.
    ///
    /// # Errors
    /// `Internal` when the line cannot be written, or is not in time: what it announces must not happen then.
    pub fn note_flushed(&self, event: Event) -> Result<()> {
        let (flushed, outcome) = sync_channel(1);
        let queued = Queued {
            at_us: self.context.now_us(),
            event,
            flushed: Some(flushed),
        };
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let is_queued = queue
            .as_ref()
            .is_some_and(|queue| queue.try_send(Box::new(queued)).is_ok());
        drop(queue);
        let written = match is_queued {
            true => outcome
                .recv_timeout(FLUSH_DEADLINE)
                .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())),
            false => Err(std::io::Error::other("its queue is full or closed")),
        };
        written.map_err(|cause| {
            let text = "The audit log cannot be written.";
            Error::new(ErrorKind::Internal, Subject::Request, text)
                .detail("write a line of the audit log to stable storage")
                .caused_by(cause)
        })
    }

    /// Writes and flushes what waits, and ends.
    pub fn close(&self) {
        let queue = self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(queue);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the audit log's thread panicked");
        }
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.close();
    }
}

/// A line that waits, and when it was noted. Boxed in the queue, which has all its places from the start.
struct Queued {
    at_us: i64,
    event: Event,
    /// Who waits for its flush.
    flushed: Option<SyncSender<std::io::Result<()>>>,
}

struct Writer {
    directory: PathBuf,
    name: String,
    part: u32,
    file: Option<BufWriter<File>>,
    written: u64,
    previous: String,
    number: u64,
}

impl Writer {
    fn run(mut self, events: &Receiver<Box<Queued>>, lost: &AtomicU64) {
        let mut dirty_since: Option<Instant> = None;
        loop {
            let wait = dirty_since.map_or(Duration::from_secs(3600), |since| {
                FLUSH_EVERY.saturating_sub(since.elapsed())
            });
            let outcome = match events.recv_timeout(wait) {
                Ok(queued) => {
                    dirty_since.get_or_insert_with(Instant::now);
                    let missing = lost.swap(0, Ordering::Relaxed);
                    let written = self.write(queued.at_us, queued.event.fields(), missing);
                    match queued.flushed {
                        None => written,
                        Some(flushed) => {
                            dirty_since = None;
                            // Whoever waited too long was told so.
                            let _ = flushed.try_send(written.and_then(|()| self.flush()));
                            Ok(())
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    dirty_since = None;
                    self.flush()
                }
                Err(RecvTimeoutError::Disconnected) => {
                    if let Err(error) = self.flush() {
                        tracing::error!(%error, "cannot write the end of the audit log");
                    }
                    return;
                }
            };
            if let Err(error) = outcome {
                tracing::error!(%error, directory = %self.directory.display(), "cannot write the audit log");
            }
            if dirty_since.is_some_and(|since| since.elapsed() >= FLUSH_EVERY) {
                dirty_since = None;
                if let Err(error) = self.flush() {
                    tracing::error!(%error, "cannot flush the audit log");
                }
            }
        }
    }

    /// Begins the next file: its first line says how the others in the directory ended, so that one that is cut or taken
    /// away is missed.
    fn begin(&mut self, at_us: i64) -> std::io::Result<()> {
        self.flush()?;
        self.part += 1;
        let path = self
            .directory
            .join(format!("{}-{}.jsonl", self.name, self.part));
        let before: Vec<Value> = heads(&self.directory)?
            .into_iter()
            .map(|report| {
                let mut head =
                    json!({"file": report.file, "lines": report.lines, "hash": report.head});
                if let Some(cause) = report.not_read() {
                    head["not_read"] = json!(cause);
                }
                head
            })
            .collect();
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .mode(0o600)
            .open(&path)?;
        let directory = File::open(&self.directory)?;
        // Best effort: only root may, and a file that stays its maker's is noted as not read, which stops nobody.
        if let Err(error) = give_to_owner_of(&directory, &file) {
            tracing::debug!(%error, file = %path.display(), "cannot give the audit log's file to the directory's owner");
        }
        directory.sync_all()?;
        self.file = Some(BufWriter::new(file));
        self.written = 0;
        self.previous = NOTHING.to_owned();
        self.number = 0;
        self.line(at_us, json!({"kind": "begin", "before": before}))?;
        self.flush()
    }

    fn write(&mut self, at_us: i64, fields: Value, missing: u64) -> std::io::Result<()> {
        if self.written >= FILE_MAX_BYTES {
            self.begin(at_us)?;
        }
        if missing > 0 {
            self.line(at_us, json!({"kind": "lost", "lines": missing}))?;
        }
        self.line(at_us, fields)
    }

    fn line(&mut self, at_us: i64, mut fields: Value) -> std::io::Result<()> {
        fields["n"] = json!(self.number);
        fields["at_us"] = json!(at_us);
        fields["previous"] = json!(self.previous);
        let text = fields.to_string();
        let file = self
            .file
            .as_mut()
            .ok_or_else(|| std::io::Error::other("no file is open"))?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        self.written += text.len() as u64 + 1;
        self.number += 1;
        self.previous = hash(text.as_bytes());
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let Some(file) = self.file.as_mut() else {
            return Ok(());
        };
        file.flush()?;
        file.get_ref().sync_data()
    }
}

/// Gives a new audit directory the owner of the data directory: a command that root types before the service ran once must not keep
/// the service out. Best effort: only root may. A link is not followed: whoever owns the data directory may have put one there since,
/// and must not get what it names.
fn give_to_owner_of_parent(directory: &Path) {
    let given = directory.parent().map_or(Ok(()), |parent| {
        let owner = std::fs::metadata(parent)?;
        if std::fs::symlink_metadata(directory)?.uid() == owner.uid() {
            return Ok(());
        }
        lchown(directory, Some(owner.uid()), Some(owner.gid()))
    });
    if let Err(error) = given {
        tracing::debug!(%error, directory = %directory.display(), "cannot give the audit directory to the data directory's owner");
    }
}

/// Gives a file the owner of its directory: what a command writes as root must stay readable to a service that is not root.
fn give_to_owner_of(directory: &File, file: &File) -> std::io::Result<()> {
    let owner = directory.metadata()?;
    if file.metadata()?.uid() == owner.uid() {
        return Ok(());
    }
    fchown(file, Some(owner.uid()), Some(owner.gid()))
}

/// The hash of a line without its end, in hex.
pub(super) fn hash(line: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, line);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::verify::{Fault, verify};
    use super::*;

    fn noted(directory: &Path, count: u16) {
        let log = AuditLog::open(Context::real(), directory).unwrap();
        for status in 0..count {
            log.note(Event::Request {
                api: "volume",
                request_id: "req-1".to_owned(),
                method: "POST".to_owned(),
                route: "/v3/volumes".to_owned(),
                path: "/v3/volumes".to_owned(),
                status,
                who: None,
            });
        }
    }

    fn files(directory: &Path) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
    }

    fn faults(directory: &Path) -> Vec<Fault> {
        let reports = verify(directory).unwrap();
        reports
            .into_iter()
            .flat_map(|report| report.faults)
            .collect()
    }

    #[test]
    fn what_was_written_is_verified() {
        let directory = tempfile::tempdir().unwrap();
        noted(directory.path(), 5);
        noted(directory.path(), 3);
        assert_eq!(faults(directory.path()), []);
        let reports = verify(directory.path()).unwrap();
        let lines: Vec<u64> = reports.iter().map(|report| report.lines).collect();
        assert_eq!(lines, [6, 4]);
    }

    #[test]
    fn a_new_directory_belongs_to_the_owner_of_the_one_above() {
        if testkit::tool::root().is_none() {
            return;
        }
        let above = tempfile::tempdir().unwrap();
        fchown(File::open(above.path()).unwrap(), Some(4321), Some(4321)).unwrap();
        let directory = above.path().join("audit");
        noted(&directory, 1);
        let owner = |path: &Path| std::fs::metadata(path).unwrap().uid();
        assert_eq!(owner(&directory), 4321);
        assert_eq!(owner(&files(&directory)[0]), 4321);
        assert_eq!(faults(&directory), []);
    }

    fn command(outcome: &str) -> Event {
        Event::command("sm flavor_create", "gold", "uid 0", outcome)
    }

    #[test]
    fn a_line_that_is_waited_for_is_there_before_anything_else_happens() {
        let directory = tempfile::tempdir().unwrap();
        let log = AuditLog::open(Context::real(), directory.path()).unwrap();
        log.note(command("queued"));
        log.note_flushed(command("begun")).unwrap();
        // The log is still open: nothing but the wait has brought them to the file.
        let text = std::fs::read_to_string(&files(directory.path())[0]).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[2].contains("begun"), "{text}");
        drop(log);
        assert_eq!(faults(directory.path()), []);
    }

    #[test]
    fn a_line_that_cannot_be_written_is_an_error_for_who_waits() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("read-only");
        std::fs::write(&path, "").unwrap();
        let writer = Writer {
            directory: directory.path().to_owned(),
            name: "0-0".to_owned(),
            part: 1,
            // Opened to be read only: its writes fail, as those on a full disk do.
            file: Some(BufWriter::new(File::open(&path).unwrap())),
            written: 0,
            previous: NOTHING.to_owned(),
            number: 0,
        };
        let log = AuditLog::start(Context::real(), writer).unwrap();
        let refused = log.note_flushed(command("begun")).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Internal);
        log.close();
        let refused = log.note_flushed(command("begun")).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Internal, "closed");
    }

    #[test]
    fn every_change_is_found() {
        let directory = tempfile::tempdir().unwrap();
        noted(directory.path(), 5);
        noted(directory.path(), 3);
        let first = files(directory.path()).remove(0);
        let good = std::fs::read_to_string(&first).unwrap();
        let lines: Vec<&str> = good.lines().collect();
        let joined = |lines: &[&str]| lines.join("\n") + "\n";
        let changed = [
            (
                "a changed line",
                good.replacen("\"status\":1", "\"status\":9", 1),
            ),
            (
                "the last line changed",
                good.replacen("\"status\":4", "\"status\":9", 1),
            ),
            (
                "a line taken out",
                joined(&[&lines[..2], &lines[3..]].concat()),
            ),
            (
                "two lines changed over",
                joined(&[lines[0], lines[2], lines[1], lines[3]]),
            ),
            ("cut at the end", joined(&lines[..3])),
            ("cut within a line", good[..good.len() - 9].to_owned()),
            ("everything taken out", String::new()),
        ];
        for (what, text) in changed {
            std::fs::write(&first, text).unwrap();
            assert_ne!(faults(directory.path()), [], "{what}");
        }
        std::fs::write(&first, &good).unwrap();
        assert_eq!(faults(directory.path()), []);
        std::fs::remove_file(&first).unwrap();
        assert_ne!(faults(directory.path()), [], "the file taken away");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_noted_and_reported() {
        let directory = tempfile::tempdir().unwrap();
        noted(directory.path(), 2);
        // A directory can be opened but not read, also by root, whom no mode stops.
        let unreadable = directory.path().join("0-0-1.jsonl");
        std::fs::create_dir(&unreadable).unwrap();
        noted(directory.path(), 1);
        let last = std::fs::read_to_string(files(directory.path()).remove(2)).unwrap();
        let begin: Value = serde_json::from_str(last.lines().next().unwrap()).unwrap();
        let before = begin["before"].as_array().unwrap();
        assert_eq!(before.len(), 2);
        assert_eq!(before[0]["file"], "0-0-1.jsonl");
        assert_eq!(before[0]["lines"], 0);
        assert!(before[0]["not_read"].is_string(), "{begin}");
        assert_eq!(before[1]["lines"], 3);
        assert!(before[1]["not_read"].is_null(), "{begin}");
        let found = faults(directory.path());
        assert!(
            matches!(found.as_slice(), [Fault::NotRead { .. }]),
            "{found:?}"
        );
        std::fs::remove_dir(&unreadable).unwrap();
        let found = faults(directory.path());
        assert!(
            matches!(found.as_slice(), [Fault::Shortened { .. }]),
            "taken away: {found:?}"
        );
    }

    #[test]
    fn a_file_that_is_remembered_and_cannot_be_read_has_one_fault() {
        let directory = tempfile::tempdir().unwrap();
        noted(directory.path(), 2);
        noted(directory.path(), 1);
        let first = files(directory.path()).remove(0);
        std::fs::remove_file(&first).unwrap();
        std::fs::create_dir(&first).unwrap();
        let found = faults(directory.path());
        assert!(
            matches!(found.as_slice(), [Fault::NotRead { .. }]),
            "{found:?}"
        );
    }

    #[test]
    fn the_files_written_last_are_remembered() {
        let directory = tempfile::tempdir().unwrap();
        for begun in 0..20 {
            let path = directory.path().join(format!("{begun:02}-0-1.jsonl"));
            // The oldest name is a service's, which still writes.
            let written = if begun == 0 { 1000 } else { begun };
            let at = std::time::UNIX_EPOCH + Duration::from_secs(written);
            File::create(&path).unwrap().set_modified(at).unwrap();
        }
        let reports = heads(directory.path()).unwrap();
        let names: Vec<&str> = reports.iter().map(|report| report.file.as_str()).collect();
        assert_eq!(names.len(), 16);
        assert_eq!(names[..2], ["00-0-1.jsonl", "05-0-1.jsonl"]);
        assert_eq!(names[15], "19-0-1.jsonl");
    }

    #[test]
    fn a_file_belongs_to_the_owner_of_the_directory() {
        if testkit::tool::root().is_none() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let nobody = 65_534;
        std::os::unix::fs::chown(directory.path(), Some(nobody), Some(nobody)).unwrap();
        noted(directory.path(), 1);
        let file = files(directory.path()).remove(0);
        assert_eq!(std::fs::metadata(file).unwrap().uid(), nobody);
    }
}
