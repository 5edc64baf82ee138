//! The durable half of the object database: one redb file, one writer thread, group commit.
//!
//! ```text
//! table objects   (class, reference) -> row (see codec)
//! table intents   uuid of the VDI    -> row
//! table meta      name               -> u64    format, generation
//! ```
//!
//! Calls hand their rows over in the order in which they changed memory, and wait. The writer takes everything that is
//! queued, writes it in one redb transaction with an fsync, and answers all of them: while one fsync runs the next group
//! gathers, so that the number of calls per fsync grows with the load.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::{Semaphore, oneshot};

use crate::Error;

/// The format of the file that this program writes.
pub const FILE_FORMAT: u64 = 1;

/// Most transactions that wait for the writer; further callers wait before they change anything.
const QUEUE_LIMIT: usize = 1024;

/// Cache of redb in bytes. Objects are served from memory, so the cache only serves the B-tree's upper pages.
const CACHE_BYTES: usize = 4 << 20;

const OBJECTS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("objects");
const INTENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("intents");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// One row to write; no bytes means that the row goes.
#[derive(Debug)]
pub enum Write {
    /// A row of table `objects`.
    Object {
        /// The class.
        class: &'static str,
        /// The object's reference.
        reference: Arc<str>,
        /// The row.
        row: Option<Vec<u8>>,
    },
    /// A row of table `intents`.
    Intent {
        /// The key: the VDI's uuid.
        uuid: String,
        /// The row.
        row: Option<Vec<u8>>,
    },
}

/// Everything a file holds, as read at start.
#[derive(Debug, Default)]
pub struct Contents {
    /// Class, reference and row of every object.
    pub objects: Vec<(String, String, Vec<u8>)>,
    /// Uuid and row of every intent.
    pub intents: Vec<(String, Vec<u8>)>,
    /// The generation that the last transaction stored.
    pub generation: u64,
}

/// The writer is gone: an earlier transaction failed, or the program is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreClosed;

struct Transaction {
    writes: Vec<Write>,
    generation: u64,
    done: oneshot::Sender<()>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Transaction>,
    closing: bool,
    failed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    permits: Arc<Semaphore>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // The queue's invariants hold at every point where a holder could panic, so a poisoned lock is usable.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The open file and its writer thread.
pub struct Store {
    path: PathBuf,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// A place in the queue, taken before memory is changed.
pub struct Place {
    _permit: tokio::sync::OwnedSemaphorePermit,
}

/// Resolves when a transaction is on stable storage.
pub struct Durable {
    done: oneshot::Receiver<()>,
    _place: Place,
}

impl Durable {
    /// Waits for stable storage.
    pub async fn wait(self) -> Result<(), StoreClosed> {
        self.done.await.map_err(|_| StoreClosed)
    }
}

impl Store {
    /// Opens or makes the file, reads all of it and starts the writer.
    pub fn open(path: &Path) -> Result<(Self, Contents), Error> {
        let database = open_file(path)?;
        let contents = read_all(&database, path)?;
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            permits: Arc::new(Semaphore::new(QUEUE_LIMIT)),
        });
        let writer = std::thread::Builder::new()
            .name("database".to_owned())
            .spawn({
                let shared = shared.clone();
                let path = path.to_owned();
                move || write_groups(&database, &shared, &path)
            })
            .map_err(|source| Error::File {
                action: "start the writer of",
                path: path.to_owned(),
                source,
            })?;
        Ok((
            Store {
                path: path.to_owned(),
                shared,
                writer: Mutex::new(Some(writer)),
            },
            contents,
        ))
    }

    /// Waits for a place in the queue.
    ///
    /// # Cancel safety
    /// Nothing is taken when the future is dropped.
    pub async fn place(&self) -> Result<Place, StoreClosed> {
        let permit = self
            .shared
            .permits
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| StoreClosed)?;
        Ok(Place { _permit: permit })
    }

    /// Hands a transaction over. The caller holds the lock under which it changed memory, so that the order here is the
    /// order of the changes.
    pub fn enqueue(
        &self,
        place: Place,
        writes: Vec<Write>,
        generation: u64,
    ) -> Result<Durable, StoreClosed> {
        let (done, wait) = oneshot::channel();
        let mut queue = self.shared.queue();
        if queue.closing || queue.failed {
            return Err(StoreClosed);
        }
        queue.waiting.push_back(Transaction {
            writes,
            generation,
            done,
        });
        self.shared.wake.notify_one();
        Ok(Durable {
            done: wait,
            _place: place,
        })
    }

    /// True when nothing can be written any more.
    pub fn is_closed(&self) -> bool {
        let queue = self.shared.queue();
        queue.closing || queue.failed
    }

    /// Writes what is queued, then ends the writer and closes the file.
    pub fn close(&self) {
        self.shared.queue().closing = true;
        self.shared.wake.notify_one();
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!(path = %self.path.display(), "the writer of the object database panicked");
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

fn open_file(path: &Path) -> Result<Database, Error> {
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create(path)
        .map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => Error::DatabaseBusy {
                path: path.to_owned(),
            },
            other => Error::DatabaseOpen {
                path: path.to_owned(),
                source: Box::new(other.into()),
            },
        })?;
    let opened = |source: redb::Error| Error::DatabaseOpen {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let transaction = database.begin_write().map_err(|e| opened(e.into()))?;
    {
        let mut meta = transaction.open_table(META).map_err(|e| opened(e.into()))?;
        let format = meta
            .get("format")
            .map_err(|e| opened(e.into()))?
            .map(|format| format.value());
        match format {
            None => {
                meta.insert("format", FILE_FORMAT)
                    .map_err(|e| opened(e.into()))?;
            }
            Some(FILE_FORMAT) => {}
            Some(found) => {
                return Err(Error::DatabaseVersion {
                    path: path.to_owned(),
                    found: u32::try_from(found).unwrap_or(u32::MAX),
                    expected: FILE_FORMAT as u32,
                });
            }
        }
        transaction
            .open_table(OBJECTS)
            .map_err(|e| opened(e.into()))?;
        transaction
            .open_table(INTENTS)
            .map_err(|e| opened(e.into()))?;
    }
    transaction.commit().map_err(|e| opened(e.into()))?;
    Ok(database)
}

fn read_all(database: &Database, path: &Path) -> Result<Contents, Error> {
    let read = || -> Result<Contents, redb::Error> {
        let transaction = database.begin_read()?;
        let mut contents = Contents::default();
        for entry in transaction.open_table(OBJECTS)?.iter()? {
            let (key, row) = entry?;
            let (class, reference) = key.value();
            contents
                .objects
                .push((class.to_owned(), reference.to_owned(), row.value().to_vec()));
        }
        for entry in transaction.open_table(INTENTS)?.iter()? {
            let (key, row) = entry?;
            contents
                .intents
                .push((key.value().to_owned(), row.value().to_vec()));
        }
        contents.generation = transaction
            .open_table(META)?
            .get("generation")?
            .map_or(0, |g| g.value());
        Ok(contents)
    };
    read().map_err(|source| Error::DatabaseOpen {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

/// The writer thread.
fn write_groups(database: &Database, shared: &Shared, path: &Path) {
    loop {
        let group = {
            let mut queue = shared.queue();
            while queue.waiting.is_empty() {
                if queue.closing {
                    return;
                }
                queue = shared
                    .wake
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::take(&mut queue.waiting)
        };
        match write_group(database, &group) {
            Ok(()) => group.into_iter().for_each(|transaction| {
                // A caller that went away does not need the answer; its change is durable all the same.
                let _ = transaction.done.send(());
            }),
            Err(source) => {
                let error = Error::DatabaseWrite {
                    path: path.to_owned(),
                    source: Box::new(source),
                };
                tracing::error!(
                    error = error.detail(),
                    "the object database cannot be written; every change is refused from now on"
                );
                let mut queue = shared.queue();
                queue.failed = true;
                queue.waiting.clear();
                shared.permits.close();
                return;
            }
        }
    }
}

fn write_group(database: &Database, group: &VecDeque<Transaction>) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut objects = transaction.open_table(OBJECTS)?;
        let mut intents = transaction.open_table(INTENTS)?;
        for write in group.iter().flat_map(|transaction| &transaction.writes) {
            match write {
                Write::Object {
                    class,
                    reference,
                    row: Some(row),
                } => {
                    objects.insert((*class, &**reference), row.as_slice())?;
                }
                Write::Object {
                    class,
                    reference,
                    row: None,
                } => {
                    objects.remove((*class, &**reference))?;
                }
                Write::Intent {
                    uuid,
                    row: Some(row),
                } => {
                    intents.insert(uuid.as_str(), row.as_slice())?;
                }
                Write::Intent { uuid, row: None } => {
                    intents.remove(uuid.as_str())?;
                }
            }
        }
        let mut meta = transaction.open_table(META)?;
        if let Some(last) = group.back() {
            meta.insert("generation", last.generation)?;
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(reference: &str, row: Option<&[u8]>) -> Vec<Write> {
        vec![Write::Object {
            class: "VDI",
            reference: reference.into(),
            row: row.map(<[u8]>::to_vec),
        }]
    }

    #[tokio::test]
    async fn what_was_answered_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("objects.redb");
        let (store, contents) = Store::open(&path).unwrap();
        assert!(contents.objects.is_empty());
        let mut waits = Vec::new();
        for (generation, reference) in ["a", "b", "c"].iter().enumerate() {
            let place = store.place().await.unwrap();
            waits.push(
                store
                    .enqueue(place, object(reference, Some(b"row")), generation as u64)
                    .unwrap(),
            );
        }
        let place = store.place().await.unwrap();
        waits.push(store.enqueue(place, object("b", None), 9).unwrap());
        for wait in waits {
            wait.wait().await.unwrap();
        }
        drop(store);
        let (_store, contents) = Store::open(&path).unwrap();
        let found: Vec<&str> = contents
            .objects
            .iter()
            .map(|(_, reference, _)| reference.as_str())
            .collect();
        assert_eq!(found, ["a", "c"]);
        assert_eq!(contents.generation, 9);
    }

    #[test]
    fn a_second_process_and_a_foreign_file_are_refused_clearly() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("objects.redb");
        let (store, _) = Store::open(&path).unwrap();
        assert!(matches!(
            Store::open(&path),
            Err(Error::DatabaseBusy { .. })
        ));
        drop(store);
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction
            .open_table(META)
            .unwrap()
            .insert("format", FILE_FORMAT + 1)
            .unwrap();
        transaction.commit().unwrap();
        drop(database);
        assert!(matches!(
            Store::open(&path),
            Err(Error::DatabaseVersion {
                found: 2,
                expected: 1,
                ..
            })
        ));
        std::fs::write(&path, vec![7; 9000]).unwrap();
        assert!(matches!(
            Store::open(&path),
            Err(Error::DatabaseOpen { .. })
        ));
    }
}
