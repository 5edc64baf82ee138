//! The bytes of volumes over iSCSI: sessions with targets, shared by the volumes of a target, ended with the last of them.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::error::ArrayError;
use super::fault::Fault;
use super::volume_array::Exposure;
use crate::medium::block_device::BlockDevice;
use crate::medium::iscsi::{Error, IscsiDevice, Login, Portal, Session, resolve};
use crate::medium::multipath::Multipath;
use crate::medium::unflushed::Unflushed;

/// Most portals of a target that are logged in to.
const MAX_PORTALS: usize = 8;

/// After how much silence a connection counts as lost.
const PATIENCE: Duration = Duration::from_secs(8);

/// After how long a command fails that could not be carried out over this connection.
const DEADLINE: Duration = Duration::from_secs(15);

/// After how much silence one of several connections counts as lost.
const PATH_PATIENCE: Duration = Duration::from_secs(4);

/// After how long I/O goes on over another path.
const PATH_DEADLINE: Duration = Duration::from_secs(6);

/// How long paths that have all failed are tried before I/O fails.
const ALL_PATHS_PATIENCE: Duration = Duration::from_secs(60);

/// How long a target may take to show a LUN that was mapped, or a size that was changed.
const SHOW_PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two looks for that.
const SHOW_PAUSE: Duration = Duration::from_millis(100);

/// A volume that can be read and written.
#[derive(Debug)]
pub struct OpenVolume {
    /// The device.
    pub device: Arc<dyn BlockDevice>,
    /// The paths to it, which can be asked for its size again.
    paths: Vec<Arc<IscsiDevice>>,
    /// All sessions with its target, also those that do not show it.
    _sessions: Option<Arc<Sessions>>,
}

impl OpenVolume {
    /// A volume on a device that tells of a new size by itself.
    pub fn of_device(device: Arc<dyn BlockDevice>) -> Self {
        OpenVolume {
            device,
            paths: Vec::new(),
            _sessions: None,
        }
    }

    /// Waits until the device has at least `size` bytes.
    ///
    /// # Errors
    /// When it does not within a few seconds.
    pub fn await_size(&self, size: u64) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            let mut failure = None;
            for path in &self.paths {
                failure = path.refresh().err().or(failure);
            }
            let found = self.device.size()?;
            if found >= size {
                return Ok(());
            }
            if begun.elapsed() >= SHOW_PATIENCE {
                let text = format!(
                    "{} shows {found} bytes {SHOW_PATIENCE:?} after it was given {size}",
                    self.device.name()
                );
                return Err(
                    failure.unwrap_or_else(|| io::Error::new(io::ErrorKind::TimedOut, text))
                );
            }
            std::thread::sleep(SHOW_PAUSE);
        }
    }
}

/// How the bytes of volumes are reached.
pub trait DataPath: Send + Sync + Debug {
    /// Opens a volume that this initiator may see.
    fn open(&self, exposure: &Exposure, vdi: Uuid) -> Result<OpenVolume, ArrayError>;

    /// Why it does not work as it should, in words for an operator; no I/O.
    fn health(&self) -> Option<String> {
        None
    }
}

/// Volumes of iSCSI targets.
#[derive(Debug)]
pub struct IscsiVolumes {
    initiator: String,
    targets: Mutex<HashMap<TargetKey, Slot>>,
}

/// A target at its portals, in their order, and the account.
type TargetKey = (String, Vec<(String, u16)>, Option<String>);

/// Held while a target is logged in to; each has one of its own, so that one that hangs keeps no other waiting.
type Slot = Arc<Mutex<Weak<Sessions>>>;

/// The sessions with a target. Every volume of it holds them.
#[derive(Debug)]
struct Sessions {
    sessions: Vec<Arc<Session>>,
}

impl IscsiVolumes {
    /// Volumes for an initiator.
    pub fn new(initiator: String) -> Self {
        IscsiVolumes {
            initiator,
            targets: Mutex::default(),
        }
    }

    fn slot(&self, exposure: &Exposure) -> Slot {
        let mut portals = exposure.portals.clone();
        portals.sort();
        let user = exposure.credentials.as_ref().map(|it| it.user.clone());
        let mut targets = lock(&self.targets);
        targets.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.lock().is_ok_and(|it| it.strong_count() > 0)
        });
        let key = (exposure.target.clone(), portals, user);
        targets.entry(key).or_default().clone()
    }

    fn sessions(&self, exposure: &Exposure) -> Result<Arc<Sessions>, ArrayError> {
        let slot = self.slot(exposure);
        let mut slot = lock(&slot);
        if let Some(sessions) = slot.upgrade() {
            return Ok(sessions);
        }
        let sessions = Arc::new(self.login(exposure)?);
        *slot = Arc::downgrade(&sessions);
        Ok(sessions)
    }

    /// Logs in to all portals at once; one that does not let us in hides no other.
    fn login(&self, exposure: &Exposure) -> Result<Sessions, ArrayError> {
        let mut portals: Vec<Portal> = Vec::new();
        let mut failure = None;
        for (host, port) in exposure.portals.iter().take(MAX_PORTALS) {
            match resolve(host, *port) {
                Ok(found) => portals.extend(found.first()),
                Err(error) => failure = Some(fault(Fault::Name, error.to_string())),
            }
        }
        let is_one = portals.len() == 1;
        let ends: Vec<_> = std::thread::scope(|scope| {
            let threads = portals.into_iter().map(|portal| {
                let login = self.login_to(portal, exposure, is_one);
                scope.spawn(|| Session::login(login))
            });
            let threads: Vec<_> = threads.collect();
            let ends = threads.into_iter();
            ends.filter_map(|thread| thread.join().ok()).collect()
        });
        let mut sessions = Vec::new();
        for end in ends {
            match end {
                Ok(session) => sessions.push(session),
                Err(error) => {
                    let text = error.chain_text();
                    tracing::warn!(
                        error = text,
                        "a portal of an array could not be logged in to"
                    );
                    let number = match error {
                        Error::Refused { .. } => Fault::IscsiLogin,
                        _ => Fault::Portal,
                    };
                    failure = Some(fault(number, text));
                }
            }
        }
        if sessions.is_empty() {
            let none = || {
                let text = format!("target {} tells no portal", exposure.target);
                fault(Fault::Portal, text)
            };
            return Err(failure.unwrap_or_else(none));
        }
        Ok(Sessions { sessions })
    }

    fn login_to(&self, portal: Portal, exposure: &Exposure, is_one: bool) -> Login {
        // Random: a session with the identifier of another one of ours would end that.
        let [a, b, c, d, e, ..] = *Uuid::new_v4().as_bytes();
        Login {
            portal,
            target: exposure.target.clone(),
            initiator: self.initiator.clone(),
            credentials: exposure.credentials.clone(),
            target_credentials: None,
            isid: (u32::from_be_bytes([0, a, b, c]), u16::from_be_bytes([d, e])),
            digests: false,
            patience: if is_one { PATIENCE } else { PATH_PATIENCE },
            deadline: if is_one { DEADLINE } else { PATH_DEADLINE },
        }
    }
}

impl Sessions {
    /// The paths that show the LUN now.
    fn paths(&self, exposure: &Exposure) -> (Vec<Arc<IscsiDevice>>, Option<String>) {
        let (mut paths, mut failure) = (Vec::new(), None);
        let is_any_up = self.sessions.iter().any(|session| session.is_up());
        for session in &self.sessions {
            // One that is down is waited for only when none is up.
            if is_any_up && !session.is_up() {
                continue;
            }
            match IscsiDevice::open(session, exposure.lun) {
                Ok(device) => match stranger(&device, exposure) {
                    None => paths.push(Arc::new(device)),
                    Some(why) => failure = Some(why),
                },
                Err(error) => failure = Some(error.chain_text()),
            }
        }
        (paths, failure)
    }
}

/// Why a device is not the one that the array means, if it is not.
fn stranger(device: &IscsiDevice, exposure: &Exposure) -> Option<String> {
    let identity = device.identity();
    let (id, serial) = (exposure.scsi_id.as_ref(), exposure.serial.as_ref());
    if id.is_none() && serial.is_none() {
        return None;
    }
    if id == Some(&identity.scsi_id) || serial.is_some_and(|it| *it == identity.serial) {
        return None;
    }
    Some(format!(
        "{} is {:?} with serial number {:?}, where the array said {id:?} and {serial:?}",
        device.name(),
        identity.scsi_id,
        identity.serial
    ))
}

impl DataPath for IscsiVolumes {
    fn open(&self, exposure: &Exposure, vdi: Uuid) -> Result<OpenVolume, ArrayError> {
        let sessions = self.sessions(exposure)?;
        let failed = |action, source: Box<dyn std::error::Error + Send + Sync>| {
            let array = format!("target {} (VDI {vdi})", exposure.target);
            ArrayError::Failed {
                array,
                action,
                source,
            }
        };
        let begun = Instant::now();
        let paths = loop {
            let (paths, failure) = sessions.paths(exposure);
            if !paths.is_empty() {
                break paths;
            }
            if begun.elapsed() >= SHOW_PATIENCE {
                let why = failure.unwrap_or_else(|| "no session shows it".to_owned());
                let text = format!("LUN {} cannot be used: {why}", exposure.lun);
                return Err(failed("open a LUN", text.into()));
            }
            std::thread::sleep(SHOW_PAUSE);
        };
        let devices = paths.iter().map(|path| {
            let path: Arc<dyn BlockDevice> = path.clone();
            path
        });
        let multipath = Multipath::with_patience(devices.collect(), ALL_PATHS_PATIENCE, None)
            .map_err(|error| failed("join the paths of a LUN", Box::new(error)))?;
        Ok(OpenVolume {
            device: Unflushed::wrap(multipath, None),
            paths,
            _sessions: Some(sessions),
        })
    }

    fn health(&self) -> Option<String> {
        let targets = lock(&self.targets);
        let live = targets
            .values()
            .filter_map(|slot| slot.try_lock().ok()?.upgrade());
        let sessions: Vec<Arc<Session>> = live.flat_map(|it| it.sessions.clone()).collect();
        drop(targets);
        let down = sessions.iter().filter(|session| !session.is_up());
        let down: Vec<String> = down
            .map(|session| {
                let login = session.logged_in();
                let why = session.failure().unwrap_or_else(|| "no answer".to_owned());
                format!("{} at {}: {why}", login.target, login.portal)
            })
            .collect();
        (!down.is_empty()).then(|| {
            format!(
                "{} of {} iSCSI sessions are down ({})",
                down.len(),
                sessions.len(),
                down.join("; ")
            )
        })
    }
}

fn fault(fault: Fault, detail: String) -> ArrayError {
    ArrayError::Fault { fault, detail }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
