//! The LUNs of a target, over all sessions with it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use super::device::IscsiDevice;
use super::error::Error;
use super::session::Session;
use crate::layout::lun_per_vdi::{Look, Lun, LunSource};
use crate::medium::block_device::BlockDevice;
use crate::medium::multipath::Multipath;
use crate::medium::unflushed::{Guard, Unflushed};

/// How long paths that have all failed are tried before I/O fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The same for the owner record of an SR, which speaks of a time that goes on.
const RECORD_PATIENCE: Duration = Duration::from_secs(5);

/// Who is asked before anything is written again.
#[derive(Clone, Default)]
struct Gate(Arc<OnceLock<Guard>>);

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate(set: {})", self.0.get().is_some())
    }
}

/// Where a LUN is found: the session's place among the sessions, and the LUN's number.
type Place = (usize, u16);

/// The LUNs of a target, or of several.
#[derive(Debug)]
pub struct IscsiLuns {
    name: String,
    /// The only LUN that is shown, if it is to be one.
    only: Option<String>,
    /// None are left once they were released.
    sessions: Mutex<Vec<Arc<Session>>>,
    known: Mutex<Known>,
    open: Mutex<BTreeMap<String, Weak<dyn BlockDevice>>>,
    /// Asked before anything is written again that a target may have forgotten.
    gate: Gate,
    /// Held while a LUN is opened: two who come at once get one device.
    opening: Mutex<()>,
}

/// What is known of LUNs from earlier looks.
#[derive(Debug, Default)]
struct Known {
    /// How much the targets had told of changes then.
    changes: u64,
    devices: BTreeMap<Place, Arc<IscsiDevice>>,
}

impl IscsiLuns {
    /// Takes over sessions; `only` is the SCSI id of the one LUN that is shown, if it is to be one.
    pub fn new(name: String, sessions: Vec<Arc<Session>>, only: Option<String>) -> Self {
        IscsiLuns {
            name,
            only,
            sessions: Mutex::new(sessions),
            known: Mutex::default(),
            open: Mutex::default(),
            gate: Gate::default(),
            opening: Mutex::default(),
        }
    }

    /// Names who is asked before what was written and not flushed is written again after a target was away. It is named once.
    pub fn ask_before_repeating(&self, gate: Guard) {
        let _ = self.gate.0.set(gate);
    }

    /// A LUN for an owner record: nothing is written a second time, and what a target does not answer soon fails.
    ///
    /// # Errors
    /// As [`LunSource::open`].
    pub fn open_for_record(&self, scsi_id: &str) -> io::Result<Arc<dyn BlockDevice>> {
        let device: Arc<dyn BlockDevice> = self.paths(scsi_id, RECORD_PATIENCE, None)?;
        Ok(device)
    }

    fn paths(
        &self,
        scsi_id: &str,
        patience: Duration,
        guard: Option<Guard>,
    ) -> io::Result<Arc<Multipath>> {
        let mut devices = self.devices(Look::Known)?;
        devices.retain(|device| self.is_shown(scsi_id) && device.identity().scsi_id == scsi_id);
        for (index, device) in devices.iter().enumerate() {
            let mut before = devices[..index].iter();
            if let Some(twin) = before.find(|it| Arc::ptr_eq(it.session(), device.session())) {
                let text = format!(
                    "LUNs {} and {} of {} both have the SCSI id {scsi_id}, and may be two disks; give one of them another id",
                    twin.lun(),
                    device.lun(),
                    self.name
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        }
        let paths: Vec<Arc<dyn BlockDevice>> = devices
            .into_iter()
            .map(|device| device as Arc<dyn BlockDevice>)
            .collect();
        if paths.is_empty() {
            let text = format!(
                "{} shows no LUN {scsi_id}; see that it is mapped to this initiator",
                self.name
            );
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        Multipath::with_patience(paths, patience, guard).map_err(io::Error::other)
    }

    fn sessions(&self) -> Vec<Arc<Session>> {
        lock(&self.sessions).clone()
    }

    /// The devices that there are: those of LUNs that are known already are kept, unless everything is asked again.
    ///
    /// # Errors
    /// When no session answers. A LUN that does not answer hides no other.
    pub fn devices(&self, look: Look) -> io::Result<Vec<Arc<IscsiDevice>>> {
        let sessions = self.sessions();
        let changes = sessions
            .iter()
            .map(|session| session.lun_changes() + session.resets())
            .sum();
        let mut known = lock(&self.known);
        if look == Look::Rescan || known.changes != changes {
            known.devices.clear();
        }
        let (mut devices, mut answered, mut failure) = (BTreeMap::new(), false, None);
        for (place, session) in sessions.iter().enumerate() {
            // One that is down is waited for only when none is up.
            if !session.is_up() && (answered || sessions.iter().any(|session| session.is_up())) {
                continue;
            }
            let luns = match IscsiDevice::luns(session) {
                Ok(luns) => luns,
                Err(error) => {
                    tracing::warn!(error = error.chain_text(), "a target did not list its LUNs");
                    failure = Some(error);
                    continue;
                }
            };
            answered = true;
            for lun in luns {
                let at = (place, lun);
                if let Some(device) = device(session, lun, known.devices.get(&at)) {
                    devices.insert(at, device);
                }
            }
        }
        if !answered {
            return Err(failure.map_or_else(
                || io::Error::from(io::ErrorKind::NotConnected),
                |error| io::Error::new(io::ErrorKind::NotConnected, error.chain_text()),
            ));
        }
        known.devices.clone_from(&devices);
        known.changes = changes;
        Ok(devices.into_values().collect())
    }

    fn is_shown(&self, scsi_id: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == scsi_id)
    }
}

/// The device of a LUN, with its size as it is now; none for what is no disk, or does not answer.
fn device(
    session: &Arc<Session>,
    lun: u16,
    known: Option<&Arc<IscsiDevice>>,
) -> Option<Arc<IscsiDevice>> {
    if let Some(known) = known {
        if let Err(error) = known.refresh() {
            tracing::warn!(%error, device = known.name(), "a LUN did not tell its size");
        }
        return Some(known.clone());
    }
    match IscsiDevice::open(session, lun) {
        Ok(device) => Some(Arc::new(device)),
        // Targets list their controllers too.
        Err(Error::Command { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(
                error = error.chain_text(),
                lun,
                "a LUN cannot be used and is left out"
            );
            None
        }
    }
}

impl LunSource for IscsiLuns {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn luns(&self, look: Look) -> io::Result<Vec<Lun>> {
        let mut luns: Vec<Lun> = Vec::new();
        let mut seen: Vec<(String, Arc<Session>)> = Vec::new();
        for device in self.devices(look)? {
            let scsi_id = device.identity().scsi_id;
            let mut same = seen.iter().filter(|(id, _)| *id == scsi_id).peekable();
            // Two LUNs of one session with one id are no paths; both are shown, for the caller to doubt.
            let is_path = !scsi_id.is_empty()
                && same.peek().is_some()
                && !same.any(|(_, session)| Arc::ptr_eq(session, device.session()));
            seen.push((scsi_id.clone(), device.session().clone()));
            if is_path || !self.is_shown(&scsi_id) {
                continue;
            }
            luns.push(Lun {
                scsi_id,
                lun_id: device.lun().into(),
                size: device.size()?,
            });
        }
        Ok(luns)
    }

    /// What was written and not flushed is written again after a target was away.
    fn open(&self, scsi_id: &str) -> io::Result<Arc<dyn BlockDevice>> {
        let _opening = lock(&self.opening);
        let known = lock(&self.open).get(scsi_id).and_then(Weak::upgrade);
        if let Some(device) = known {
            return Ok(device);
        }
        let gate = self.gate.0.clone();
        let guard: Guard = Arc::new(move || gate.get().map_or(Ok(()), |gate| gate()));
        let paths = self.paths(scsi_id, PATIENCE, Some(guard.clone()))?;
        let device = Unflushed::wrap(paths, Some(guard));
        let mut open = lock(&self.open);
        open.retain(|_, device| device.strong_count() > 0);
        open.insert(scsi_id.to_owned(), Arc::downgrade(&device));
        Ok(device)
    }

    fn health(&self) -> Option<String> {
        let sessions = self.sessions();
        let down: Vec<String> = sessions
            .iter()
            .filter(|session| !session.is_up())
            .map(|session| {
                let portal = session.logged_in().portal;
                let why = session.failure().unwrap_or_else(|| "no answer".to_owned());
                format!("{portal}: {why}")
            })
            .collect();
        (!down.is_empty()).then(|| {
            format!(
                "{} of {} sessions with {} are down ({})",
                down.len(),
                sessions.len(),
                self.name,
                down.join("; ")
            )
        })
    }

    fn release(&self) {
        lock(&self.sessions).clear();
        lock(&self.known).devices.clear();
        lock(&self.open).clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
