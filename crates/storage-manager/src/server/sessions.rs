//! Who is logged in. Sessions live as long as the process.
//!
//! Source: reference 1.4.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use xenapi::{Failure, Value};

use super::context::{Home, now};
use crate::database::Database;

/// Most sessions of one user and originator; the one that was idle longest makes room.
pub const SESSIONS_PER_USER: usize = 500;

/// A session that was idle for longer is gone.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// `last_active` is not written more often than this.
const LAST_ACTIVE_STEP: Duration = Duration::from_secs(600);

struct Live {
    user: String,
    originator: String,
    last_used: Instant,
    last_written: Instant,
    legacy: Option<LegacyEvents>,
}

/// What `event.register` of a session asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegacyEvents {
    /// Class names in lower case, or `*`.
    pub classes: Vec<String>,
    /// The generation up to which `event.next` has told.
    pub told: u64,
}

/// The live sessions.
#[derive(Default)]
pub struct Sessions {
    live: Mutex<HashMap<String, Live>>,
}

fn invalid(session: &str) -> Failure {
    Failure::new("SESSION_INVALID", [session])
}

impl Sessions {
    fn live(&self) -> MutexGuard<'_, HashMap<String, Live>> {
        // Every change of the map is a single insert or remove, so it is whole even after a panic.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a session.
    pub fn begin(
        &self,
        database: &Database,
        home: &Home,
        user: &str,
        originator: &str,
    ) -> Result<String, Failure> {
        let mut live = self.live();
        let same = |live: &Live| live.user == user && live.originator == originator;
        let mut evicted = Vec::new();
        while live.values().filter(|live| same(live)).count() >= SESSIONS_PER_USER {
            let idlest = live
                .iter()
                .filter(|(_, live)| same(live))
                .min_by_key(|(_, live)| live.last_used);
            let Some(reference) = idlest.map(|(reference, _)| reference.clone()) else {
                break;
            };
            live.remove(&reference);
            evicted.push(reference);
        }
        let time = Value::DateTime(now());
        let session = database.write_volatile(|transaction| {
            evicted
                .iter()
                .for_each(|reference| transaction.remove("session", reference));
            Ok(transaction.insert(
                "session",
                [
                    ("this_host", home.host.as_str().into()),
                    ("last_active", time.clone()),
                    ("validation_time", time.clone()),
                    ("is_local_superuser", true.into()),
                    ("auth_user_name", user.into()),
                    ("originator", originator.into()),
                ],
            ))
        })?;
        let used = Instant::now();
        let (user, originator) = (user.to_owned(), originator.to_owned());
        live.insert(
            session.clone(),
            Live {
                user,
                originator,
                last_used: used,
                last_written: used,
                legacy: None,
            },
        );
        Ok(session)
    }

    /// Lets a call of a live session pass.
    ///
    /// # Errors
    /// `SESSION_INVALID [session]`.
    pub fn check(&self, database: &Database, session: &str) -> Result<(), Failure> {
        let mut sessions = self.live();
        let live = sessions.get_mut(session).ok_or_else(|| invalid(session))?;
        let idle = live.last_used.elapsed();
        live.last_used = Instant::now();
        let write = live.last_written.elapsed() > LAST_ACTIVE_STEP;
        if write {
            live.last_written = live.last_used;
        }
        drop(sessions);
        if idle > IDLE {
            self.end(database, session)?;
            return Err(invalid(session));
        }
        if write {
            database.write_volatile(|t| {
                t.set("session", session, "last_active", Value::DateTime(now()))
            })?;
        }
        Ok(())
    }

    /// Ends a session; a call that waits for events in it is woken and fails.
    pub fn end(&self, database: &Database, session: &str) -> Result<(), Failure> {
        self.live()
            .remove(session)
            .ok_or_else(|| invalid(session))?;
        database.write_volatile(|transaction| {
            transaction.remove("session", session);
            Ok(())
        })
    }

    /// Ends every session that has been idle for too long.
    pub fn sweep(&self, database: &Database) {
        let idle: Vec<String> = {
            let live = self.live();
            live.iter()
                .filter(|(_, live)| live.last_used.elapsed() > IDLE)
                .map(|(session, _)| session.clone())
                .collect()
        };
        for session in idle {
            // It may have logged out in between, which is as good.
            let _ = self.end(database, &session);
        }
    }

    /// Looks at or changes what `event.register` of a session asked for.
    ///
    /// # Errors
    /// `SESSION_INVALID [session]`.
    pub fn legacy<T>(
        &self,
        session: &str,
        change: impl FnOnce(&mut Option<LegacyEvents>) -> T,
    ) -> Result<T, Failure> {
        let mut sessions = self.live();
        let live = sessions.get_mut(session).ok_or_else(|| invalid(session))?;
        Ok(change(&mut live.legacy))
    }
}
