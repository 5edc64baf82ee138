//! The object database as a whole: memory in front, the file behind.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;
use uuid::Uuid;
use xenapi::{Failure, Value};

use super::class::Class;
use super::codec::{self, Stored};
use super::object::Object;
use super::objects::{AllowedOperations, Objects};
use super::seal::Sealer;
use super::store::{Store, StoreClosed, Write};
use super::transaction::{IntendedWork, Intent, Transaction};
use crate::Error;

/// Name of the database in the data directory.
const FILE_NAME: &str = "objects.redb";

/// Name of the key file in the data directory.
const KEY_NAME: &str = "secrets.key";

/// How far generations jump at a start, so that those of volatile changes, which are not stored, are never given twice.
const GENERATION_JUMP: u64 = 1 << 20;

/// The object database.
pub struct Database {
    objects: RwLock<Objects>,
    store: Store,
    sealer: Sealer,
    changed: watch::Sender<u64>,
}

impl Database {
    /// Opens or makes the database in `data_dir`. The intents that an earlier run left are returned with it.
    ///
    /// # Errors
    /// A damaged file, one of a newer program and one that is in use are told apart.
    pub fn open(
        data_dir: &Path,
        allowed_operations: AllowedOperations,
    ) -> Result<(Self, Vec<Intent>), Error> {
        let path = data_dir.join(FILE_NAME);
        let (store, contents) = Store::open(&path)?;
        let sealer = Sealer::open(&data_dir.join(KEY_NAME), contents.objects.is_empty())?;
        let generation = contents.generation.saturating_add(GENERATION_JUMP);
        let mut objects = Objects::new(generation, allowed_operations);
        let damaged = |table: &str, key: &str, reason| Error::DatabaseCorrupt {
            path: path.clone(),
            row: format!("{table}/{key}"),
            reason,
        };
        for (class, reference, row) in contents.objects {
            // A class that this program does not know comes from a newer one; its rows stay in the file.
            let Some(class) = Class::find(&class) else {
                continue;
            };
            load(&mut objects, &sealer, class, &reference, &row).map_err(|reason| {
                damaged("objects", &format!("{}/{reference}", class.name), reason)
            })?;
        }
        let intents = contents
            .intents
            .iter()
            .map(|(uuid, row)| {
                decode_intent(uuid, row).map_err(|reason| damaged("intents", uuid, reason))
            })
            .collect::<Result<_, _>>()?;
        let (changed, _) = watch::channel(objects.generation());
        Ok((
            Database {
                objects: RwLock::new(objects),
                store,
                sealer,
                changed,
            },
            intents,
        ))
    }

    /// Looks at the objects.
    pub fn read(&self) -> RwLockReadGuard<'_, Objects> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes changes together; on an error none of them happened.
    ///
    /// # Durability
    /// The changes are on stable storage at return. Others see them a little earlier.
    ///
    /// # Cancel safety
    /// When the future is dropped, either all changes happen or none.
    pub async fn write<T>(
        &self,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let place = self.store.place().await.map_err(closed)?;
        let (result, durable) = {
            let mut objects = self.lock();
            let (result, writes) = self.apply(&mut objects, change)?;
            if writes.is_empty() {
                (result, None)
            } else {
                // After a failed write memory would run ahead of the file; `place` refuses from then on, and what slips
                // through here is answered with an error.
                let generation = objects.generation();
                (
                    result,
                    Some(
                        self.store
                            .enqueue(place, writes, generation)
                            .map_err(closed)?,
                    ),
                )
            }
        };
        self.announce();
        if let Some(durable) = durable {
            durable.wait().await.map_err(closed)?;
        }
        Ok(result)
    }

    /// Like [`Database::write`], for a thread that may block; only at start, when nobody else writes.
    pub fn write_blocking<T: Send>(
        &self,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure> + Send,
    ) -> Result<T, Failure> {
        // A thread of its own, because the caller may be inside a runtime, where blocking is refused.
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build();
                let runtime =
                    runtime.map_err(|error| Failure::internal_error(&error.to_string()))?;
                runtime.block_on(self.write(change))
            });
            writer.join().unwrap_or_else(|_| {
                Err(Failure::internal_error(
                    "the first records could not be made",
                ))
            })
        })
    }

    /// Makes changes to volatile classes and fields only (sessions, tasks, operations in flight).
    pub fn write_volatile<T>(
        &self,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let result = {
            let mut objects = self.lock();
            let (result, writes) = self.apply(&mut objects, change)?;
            debug_assert!(writes.is_empty(), "a volatile change wrote {writes:?}");
            result
        };
        self.announce();
        Ok(result)
    }

    /// Tells of every change: the value is a generation.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// True when no change can be made any more.
    pub fn is_closed(&self) -> bool {
        self.store.is_closed()
    }

    /// Writes what is queued and closes the file; every later change fails.
    pub fn close(&self) {
        self.store.close();
    }

    fn lock(&self) -> RwLockWriteGuard<'_, Objects> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self) {
        let generation = self.read().generation();
        self.changed.send_if_modified(|last| {
            let newer = generation > *last;
            *last = generation.max(*last);
            newer
        });
    }

    fn apply<T>(
        &self,
        objects: &mut Objects,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<(T, Vec<Write>), Failure> {
        let mut transaction = Transaction::new(objects);
        match change(&mut transaction) {
            Ok(result) => {
                let writes = self.writes(&transaction);
                Ok((result, writes))
            }
            Err(failure) => {
                transaction.roll_back();
                Err(failure)
            }
        }
    }

    /// The rows of everything durable that a transaction changed.
    fn writes(&self, transaction: &Transaction<'_>) -> Vec<Write> {
        let mut writes = Vec::new();
        let mut seen = HashSet::new();
        for change in transaction
            .undo
            .iter()
            .filter(|change| change.class.is_durable)
        {
            let (class, reference, before) = (change.class, &change.reference, &change.object);

            if !seen.insert(reference.clone()) {
                continue;
            }
            let after = transaction.find(class.name, reference);
            let unchanged = |after: &Arc<Object>| {
                before.as_ref().is_some_and(|before| {
                    let stored = class
                        .fields
                        .iter()
                        .enumerate()
                        .filter(|(_, field)| field.is_stored);
                    stored
                        .into_iter()
                        .all(|(index, _)| before.values[index] == after.values[index])
                })
            };
            if after.is_some_and(unchanged) {
                continue;
            }
            let row = after.map(|object| self.encode(object));
            writes.push(Write::Object {
                class: class.name,
                reference: reference.clone(),
                row,
            });
        }
        for (uuid, intent) in &transaction.intents {
            writes.push(Write::Intent {
                uuid: uuid.to_string(),
                row: intent.as_ref().map(encode_intent),
            });
        }
        writes
    }

    fn encode(&self, object: &Object) -> Vec<u8> {
        let fields = object.class.fields.iter().zip(&object.values);
        codec::encode(
            fields
                .filter(|(field, value)| field.is_stored && **value != field.default)
                .map(|(field, value)| match (field.is_sealed, value) {
                    (true, Value::String(clear)) => (
                        field.name,
                        Stored::Sealed(self.sealer.seal(&object.reference, clear)),
                    ),
                    _ => (field.name, Stored::Clear(value.clone())),
                }),
        )
    }
}

fn closed(_: StoreClosed) -> Failure {
    Failure::new(
        "INTERNAL_ERROR",
        ["the object database cannot be written; see the log and start the storage manager again"],
    )
}

fn load(
    objects: &mut Objects,
    sealer: &Sealer,
    class: &'static Class,
    reference: &str,
    row: &[u8],
) -> Result<(), &'static str> {
    let mut values: Vec<Value> = class
        .fields
        .iter()
        .map(|field| field.default.clone())
        .collect();
    for (name, stored) in codec::decode(row)? {
        let Some(index) = class.find_index(&name) else {
            continue;
        };
        values[index] = match stored {
            Stored::Clear(value) => value,
            Stored::Sealed(bytes) => sealer
                .open_sealed(reference, &bytes)
                .map_err(|_| "its secret does not open with the key file that is here")?
                .into(),
        };
    }
    let reference: Arc<str> = reference.into();
    let generation = objects.note(class, &reference, None, false);
    let object = Object {
        class,
        reference: reference.clone(),
        created: generation,
        modified: generation,
        values,
    };
    objects.replace(class, &reference, Some(Arc::new(object)));
    Ok(())
}

fn encode_intent(intent: &Intent) -> Vec<u8> {
    let work = match intent.work {
        IntendedWork::Create => "create",
        IntendedWork::Destroy => "destroy",
    };
    let fields = [("sr_uuid", intent.sr_uuid.as_str()), ("work", work)];
    codec::encode(
        fields
            .into_iter()
            .map(|(name, text)| (name, Stored::Clear(text.into()))),
    )
}

fn decode_intent(uuid: &str, row: &[u8]) -> Result<Intent, &'static str> {
    let uuid = Uuid::parse_str(uuid).map_err(|_| "its key is no uuid")?;
    let fields = codec::decode(row)?;
    let text = |name: &str| {
        fields
            .iter()
            .find(|(found, _)| found == name)
            .and_then(|(_, stored)| match stored {
                Stored::Clear(value) => value.as_str(),
                Stored::Sealed(_) => None,
            })
    };
    let work = match text("work") {
        Some("create") => IntendedWork::Create,
        Some("destroy") => IntendedWork::Destroy,
        _ => return Err("its work is unknown"),
    };
    Ok(Intent {
        uuid,
        sr_uuid: text("sr_uuid").ok_or("it names no SR")?.to_owned(),
        work,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &Objects, _: &Object) -> Vec<&'static str> {
        Vec::new()
    }

    fn open(dir: &Path) -> (Database, Vec<Intent>) {
        Database::open(dir, nothing).unwrap()
    }

    #[tokio::test]
    async fn a_failed_change_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let (database, _) = open(dir.path());
        let sr = database
            .write(|t| Ok(t.insert("SR", [("name_label", "a".into())])))
            .await
            .unwrap();
        let vdi = database
            .write(|t| Ok(t.insert("VDI", [("SR", sr.as_str().into())])))
            .await
            .unwrap();
        let before = database
            .read()
            .record(database.read().get("SR", &sr).unwrap());
        let token = database.read().generation();
        let failed = database.write(|t| {
            t.set("SR", &sr, "name_label", "b")?;
            t.remove("VDI", &vdi);
            t.insert("VDI", [("SR", sr.as_str().into())]);
            Err::<(), _>(Failure::internal_error("on purpose"))
        });
        assert!(failed.await.is_err());
        let objects = database.read();
        assert_eq!(objects.record(objects.get("SR", &sr).unwrap()), before);
        assert_eq!(objects.count("VDI"), 1);
        assert_eq!(objects.by_name_label("SR", "b").len(), 0);
        assert_eq!(objects.pointing_at("VDI", "SR", &sr).count(), 1);
        // A client that looks now is not told that the VDI went.
        assert!(
            !objects
                .changes_after(token)
                .any(|(_, change)| change.deleted && *change.reference == *vdi)
        );
    }

    #[tokio::test]
    async fn relations_labels_and_intents_are_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (database, _) = open(dir.path());
        let intent = Intent {
            uuid: Uuid::new_v4(),
            sr_uuid: "s".to_owned(),
            work: IntendedWork::Destroy,
        };
        let kept = intent.clone();
        let written = database.write(|t| {
            let sr = t.insert("SR", [("name_label", "a".into())]);
            let vdi = t.insert("VDI", [("SR", sr.as_str().into())]);
            let task = t.insert("task", [("name_label", "gone".into())]);
            t.put_intent(intent);
            Ok((sr, vdi, task))
        });
        let (sr, vdi, task) = written.await.unwrap();
        let generation = database.read().generation();
        drop(database);
        let (database, intents) = open(dir.path());
        let objects = database.read();
        assert_eq!(intents, [kept]);
        assert_eq!(
            objects.by_name_label("SR", "a"),
            [Arc::<str>::from(sr.as_str())]
        );
        assert_eq!(
            objects
                .pointing_at("VDI", "SR", &sr)
                .next()
                .map(|o| o.reference.to_string()),
            Some(vdi)
        );
        assert!(objects.find("task", &task).is_none());
        assert!(objects.generation() > generation);
    }
}
