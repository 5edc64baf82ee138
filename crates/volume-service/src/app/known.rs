//! What creating and removing volumes reads and administrators rarely change, kept between transactions: flavors, where their volumes
//! may be placed, backends, limits.
//!
//! Triggers give all of it a new version with each change, whoever makes it. Where nobody else can write (SQLite) a transaction asks for
//! the version once. On PostgreSQL the first run of a closure has the version judged behind what it writes, and takes the kept one for
//! granted; every other run reads the rows, for what it has seen before it waits for a lock may be changed behind it. So what is used is
//! always what is stored. Rows are kept under a version that is asked for before they are read; when they are newer than that, or are
//! never committed, it never holds again.
//!
//! The room of backends has no version: a reconciler writes it all the time. It is looked at whenever a volume is placed, or was a moment
//! ago ([`Age`]).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::flavors::default_of;
use crate::db::backend_rooms::{self, Choice, Room};
use crate::db::quotas::{self, LimitsByKey, Standing};
use crate::db::service_states::{self, ServiceState};
use crate::db::{Transaction, flavors, known_version};
use crate::error::Result;
use crate::model::backend::Backend;
use crate::model::flavor::{Flavor, FlavorFacts};
use crate::model::id::{BackendId, FlavorId};

/// Entries of one kind that are kept at most; when there are more all are read again as needed.
const KEPT_MAX: usize = 4096;
/// How old the room may be that is [`Age::Recent`]; the reconciler that observes it comes every 15 s.
const ROOM_AGE_MAX: Duration = Duration::from_secs(1);

/// Where volumes of a flavor may be placed in a zone.
pub(crate) struct Places {
    /// What placing must know of the flavor.
    pub(crate) flavor: Arc<FlavorFacts>,
    /// The flavor's own backends, or those of the zone when it has none; without their secrets.
    pub(crate) backends: Arc<[Backend]>,
    /// Set where an administrator stopped the zone's service.
    pub(crate) stopped: Option<ServiceState>,
}

/// How new the room of backends has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// As the database has it.
    Now,
    /// Where looking would cost an exchange with a database server, as it was a moment ago.
    Recent,
}

/// What this process keeps.
#[derive(Default)]
pub(crate) struct Known(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    version: Option<i64>,
    flavors: HashMap<Asked, Flavor>,
    facts: HashMap<FlavorId, Arc<FlavorFacts>>,
    choices: HashMap<Choice, Rows>,
    backends: HashMap<BackendId, Arc<Backend>>,
    restrictions: HashMap<String, Option<ServiceState>>,
    limits: HashMap<(String, FlavorId), LimitsByKey>,
}

/// Backends to choose from.
#[derive(Clone)]
struct Rows {
    backends: Arc<[Backend]>,
    /// When their room was last looked at.
    looked_at: Instant,
}

/// Which flavor was asked for.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Asked {
    /// The only project whose flavors the requester may use; none for an administrator.
    of_project: Option<String>,
    /// The project that it is asked for.
    project_id: String,
    /// Its id or label; none for the project's default.
    wanted: Option<String>,
}

/// What one transaction may take from it.
pub(crate) struct Seen {
    known: Arc<Known>,
    version: i64,
    basis: Basis,
}

/// Why kept rows of a version are those of the database until the transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Basis {
    /// The version is judged behind the writes, and the closure runs again when it is another one.
    Judged,
    /// Nobody else writes.
    Alone,
    /// They need not be: they are read.
    None,
}

impl Known {
    /// Runs a part of a transaction by what is kept. Its version is judged at the end, behind the locks that the part has waited for, and
    /// before the part's refusal is believed.
    pub(crate) fn using<T>(
        self: &Arc<Self>,
        tx: &mut Transaction<'_>,
        part: impl FnOnce(&mut Transaction<'_>, &Seen) -> Result<T>,
    ) -> Result<T> {
        let seen = self.look(tx)?;
        match part(tx, &seen) {
            Ok(done) => {
                seen.judge(tx)?;
                Ok(done)
            }
            Err(error) if tx.has_failed() => Err(error),
            Err(error) => {
                if seen.basis == Basis::Judged {
                    known_version::prove(tx, seen.version)?;
                }
                tx.assumes_no_more();
                Err(error)
            }
        }
    }

    /// What a transaction may use from here on, judged with its next statement.
    pub(crate) fn seen(self: &Arc<Self>, tx: &mut Transaction<'_>) -> Result<Seen> {
        let seen = self.look(tx)?;
        seen.judge(tx)?;
        Ok(seen)
    }

    fn look(self: &Arc<Self>, tx: &mut Transaction<'_>) -> Result<Seen> {
        let basis = if tx.is_sole_writer() {
            Basis::Alone
        } else if tx.assume() {
            Basis::Judged
        } else {
            Basis::None
        };
        let assumed = self.kept().version.filter(|_| basis == Basis::Judged);
        let version = match assumed {
            Some(version) => version,
            None => self.turn_to(known_version::get(tx)?),
        };
        Ok(Seen {
            known: Arc::clone(self),
            version,
            basis,
        })
    }

    /// Drops what is kept of another version.
    fn turn_to(&self, version: i64) -> i64 {
        let mut kept = self.kept();
        if kept.version != Some(version) {
            *kept = Kept {
                version: Some(version),
                ..Kept::default()
            };
        }
        version
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Shows that what was used so far is what is stored, with the next statement.
    pub(crate) fn judge(&self, tx: &mut Transaction<'_>) -> Result<()> {
        if self.basis == Basis::Judged {
            known_version::expect(tx, self.version)?;
        }
        Ok(())
    }

    /// The flavor that is asked for, if the requester may use it; the project's default when none is named.
    pub(crate) fn flavor(
        &self,
        tx: &mut Transaction<'_>,
        of_project: Option<&str>,
        project_id: &str,
        wanted: Option<&str>,
    ) -> Result<Option<Flavor>> {
        let asked = Asked {
            of_project: of_project.map(str::to_owned),
            project_id: project_id.to_owned(),
            wanted: wanted.map(str::to_owned),
        };
        if let Some(found) = self.kept(|kept| kept.flavors.get(&asked).cloned()) {
            return Ok(Some(found));
        }
        let may_keep = self.may_keep(tx)?;
        let found = match wanted {
            Some(wanted) => flavors::find_for(tx, of_project, wanted)?,
            None => default_of(tx, project_id)?,
        };
        // That there is none is not kept: who asks for what there is not may ask for anything.
        if let Some(flavor) = found.as_ref().filter(|_| may_keep) {
            self.keep(|kept| &mut kept.flavors, asked, flavor.clone());
        }
        Ok(found)
    }

    /// The places of a flavor in a zone.
    ///
    /// # Errors
    /// `NotFound` when there is no such flavor.
    pub(crate) fn places(
        &self,
        tx: &mut Transaction<'_>,
        flavor_id: FlavorId,
        zone: &str,
        age: Age,
    ) -> Result<Places> {
        let flavor = self.kept_or_read(
            tx,
            flavor_id,
            |kept| &mut kept.facts,
            |tx| flavors::facts(tx, flavor_id).map(Arc::new),
        )?;
        let choice = match flavor.has_own_backends {
            true => Choice::OfFlavor(flavor_id),
            false => Choice::InZone(zone.to_owned()),
        };
        Ok(Places {
            flavor,
            backends: self.choice(tx, choice, age)?,
            stopped: self.restriction(tx, zone)?,
        })
    }

    fn choice(&self, tx: &mut Transaction<'_>, choice: Choice, age: Age) -> Result<Arc<[Backend]>> {
        let kept = self.kept(|kept| kept.choices.get(&choice).cloned());
        let is_judged = self.basis == Basis::Judged;
        let looked_at = Instant::now();
        if let Some(Rows {
            backends,
            looked_at: before,
        }) = kept
        {
            if is_judged && age == Age::Recent && looked_at.duration_since(before) < ROOM_AGE_MAX {
                return Ok(backends);
            }
            let rooms = backend_rooms::rooms(tx, &choice)?;
            if rooms.into_iter().eq(backends.iter().map(Room::of)) {
                let rows = Rows {
                    backends: Arc::clone(&backends),
                    looked_at,
                };
                self.keep(|kept| &mut kept.choices, choice, rows);
                return Ok(backends);
            }
        }
        let may_keep = self.may_keep(tx)?;
        let backends: Arc<[Backend]> = backend_rooms::list(tx, &choice)?.into();
        if may_keep {
            let rows = Rows {
                backends: Arc::clone(&backends),
                looked_at,
            };
            self.keep(|kept| &mut kept.choices, choice, rows);
        }
        Ok(backends)
    }

    /// A backend without its secrets; none when it is gone, which is not kept.
    pub(crate) fn backend(
        &self,
        tx: &mut Transaction<'_>,
        id: BackendId,
    ) -> Result<Option<Arc<Backend>>> {
        if let Some(found) = self.kept(|kept| kept.backends.get(&id).cloned()) {
            return Ok(Some(found));
        }
        let may_keep = self.may_keep(tx)?;
        let Some(found) = backend_rooms::find(tx, id)?.map(Arc::new) else {
            return Ok(None);
        };
        if may_keep {
            self.keep(|kept| &mut kept.backends, id, Arc::clone(&found));
        }
        Ok(Some(found))
    }

    /// What an administrator said of the service of a zone's volumes, if it is disabled or frozen.
    pub(crate) fn restriction(
        &self,
        tx: &mut Transaction<'_>,
        zone: &str,
    ) -> Result<Option<ServiceState>> {
        self.kept_or_read(
            tx,
            zone.to_owned(),
            |kept| &mut kept.restrictions,
            |tx| service_states::restriction(tx, zone),
        )
    }

    /// The limits that were set for a project and a flavor, if they were read before.
    pub(crate) fn limits(&self, project_id: &str, flavor_id: FlavorId) -> Option<LimitsByKey> {
        let key = (project_id.to_owned(), flavor_id);
        self.kept(|kept| kept.limits.get(&key).cloned())
    }

    /// What a project has of a flavor and in all, and its limits, which are kept.
    pub(crate) fn standing(
        &self,
        tx: &mut Transaction<'_>,
        project_id: &str,
        flavor_id: FlavorId,
    ) -> Result<Standing> {
        let key = (project_id.to_owned(), flavor_id);
        let is_kept = self.kept(|kept| kept.limits.contains_key(&key).then_some(()));
        let may_keep = is_kept.is_none() && self.may_keep(tx)?;
        let standing = quotas::standing(tx, project_id, flavor_id)?;
        if may_keep {
            self.keep(|kept| &mut kept.limits, key, standing.limits.clone());
        }
        Ok(standing)
    }

    /// Whether what is read from here on may be kept. What a transaction sees may be what another closure in it has changed, and not
    /// committed, or what was committed since the version was read: then it is another one by now.
    fn may_keep(&self, tx: &mut Transaction<'_>) -> Result<bool> {
        Ok(known_version::get(tx)? == self.version)
    }

    fn kept_or_read<K: Hash + Eq, V: Clone>(
        &self,
        tx: &mut Transaction<'_>,
        key: K,
        map: impl Fn(&mut Kept) -> &mut HashMap<K, V>,
        read: impl FnOnce(&mut Transaction<'_>) -> Result<V>,
    ) -> Result<V> {
        if let Some(found) = self.kept(|kept| map(kept).get(&key).cloned()) {
            return Ok(found);
        }
        let may_keep = self.may_keep(tx)?;
        let found = read(tx)?;
        if may_keep {
            self.keep(map, key, found.clone());
        }
        Ok(found)
    }

    /// What is kept of this version; none when another transaction has turned to a newer one, or rows have to be read.
    fn kept<V>(&self, get: impl FnOnce(&mut Kept) -> Option<V>) -> Option<V> {
        if self.basis == Basis::None {
            return None;
        }
        let mut kept = self.known.kept();
        if kept.version != Some(self.version) {
            return None;
        }
        get(&mut kept)
    }

    fn keep<K: Hash + Eq, V>(
        &self,
        map: impl Fn(&mut Kept) -> &mut HashMap<K, V>,
        key: K,
        value: V,
    ) {
        let mut kept = self.known.kept();
        if kept.version != Some(self.version) {
            return;
        }
        let map = map(&mut kept);
        if map.len() >= KEPT_MAX {
            map.clear();
        }
        map.insert(key, value);
    }
}
