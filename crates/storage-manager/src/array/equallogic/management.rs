//! The bytes of the management volume: shown to this initiator while they are used and some seconds after, and to nobody else.
//!
//! ```text
//! access record -> online -> login     reads and writes     logout -> offline -> access record taken back
//! ```
//!
//! Showing it takes commands and a login, which takes a second, and changes of names come several at a time. What a crash leaves in sight
//! goes with the next attach. Test: `names_are_kept_on_the_group`.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::CliError;
use super::group::{Group, Object, Shelf};
use super::names;
use super::sight;
use super::size::PAGE;
use super::sr_volume;
use super::volumes::{EqualOptions, failure, lock};
use crate::array::{ArrayError, DataPath, OpenVolume};
use crate::medium::block_device::BlockDevice;

/// How long it is shown after it was used.
const SHOWN_FOR: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct ManagementVolume {
    group: Group,
    options: EqualOptions,
    data: Arc<dyn DataPath>,
    /// None while it is concealed.
    shown: Mutex<Option<Shown>>,
    /// It was concealed before its time.
    concealed: Condvar,
}

struct Shown {
    volume: OpenVolume,
    until: Instant,
}

impl ManagementVolume {
    pub fn new(group: Group, options: EqualOptions, data: Arc<dyn DataPath>) -> Self {
        ManagementVolume {
            group,
            options,
            data,
            shown: Mutex::default(),
            concealed: Condvar::new(),
        }
    }

    /// Reads or writes it; one use at a time. What fails by a login of before is tried once more, by a new one.
    pub fn with_device<T>(
        self: &Arc<Self>,
        action: &'static str,
        mut work: impl FnMut(&dyn BlockDevice) -> io::Result<T>,
    ) -> Result<T, ArrayError> {
        let mut shown = lock(&self.shown);
        if let Some(open) = shown.as_mut() {
            match work(&*open.volume.device) {
                Ok(done) => {
                    open.until = Instant::now() + SHOWN_FOR;
                    return Ok(done);
                }
                Err(error) => {
                    tracing::debug!(%error, action, "the management volume is shown once more");
                    drop(shown.take());
                }
            }
        }
        let done = self.show(action).and_then(|volume| {
            let done = work(&*volume.device).map_err(|source| ArrayError::Failed {
                array: self.group.address(),
                action,
                source: Box::new(source),
            })?;
            let until = Instant::now() + SHOWN_FOR;
            *shown = Some(Shown { volume, until });
            Ok(done)
        });
        let watch = || {
            let own = Arc::clone(self);
            let thread = std::thread::Builder::new().name("equal-names".to_owned());
            thread.spawn(move || own.conceal_in_time())
        };
        if done.is_err() || watch().is_err() {
            shown.take();
            self.conceal_or_note();
        }
        done
    }

    /// Conceals it once nobody has used it for a while.
    fn conceal_in_time(&self) {
        let mut shown = lock(&self.shown);
        while let Some(open) = shown.as_ref() {
            let left = open.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                shown.take();
                self.conceal_or_note();
                return;
            }
            let waited = self.concealed.wait_timeout(shown, left);
            (shown, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Conceals it at once, for the SR to be detached. A group that does not answer is not waited for.
    pub fn release(&self) {
        let mut shown = lock(&self.shown);
        if shown.take().is_some() && self.group.health().is_none() {
            self.conceal_or_note();
        }
        self.concealed.notify_all();
    }

    /// Conceals it, if a crash left it shown.
    pub fn conceal_leftover(&self) -> Result<(), ArrayError> {
        let action = "conceal the management volume";
        let shelf = self.shelf(action)?;
        if !shelf.is_online || shelf.connections > 0 {
            return Ok(());
        }
        self.conceal().map_err(|error| self.failed(action, error))
    }

    fn show(&self, action: &'static str) -> Result<OpenVolume, ArrayError> {
        let (name, shelf) = (names::management(self.options.sr), self.shelf(action)?);
        let (initiator, user) = (&self.options.initiator, self.options.chap_user());
        let shown = sight::let_in(&self.group, &name, initiator, user).and_then(|()| {
            match shelf.is_online {
                true => Ok(()),
                false => self.group.set_online(Object::Volume(&name), true),
            }
        });
        shown.map_err(|error| self.failed("let an initiator see a volume", error))?;
        let pages = sr_volume::PAGES.min(shelf.size.pages(sr_volume::PAGES));
        let exposure = sight::exposure(&self.options, &shelf.target, pages * PAGE);
        self.data.open(&exposure, self.options.sr)
    }

    fn conceal(&self) -> Result<(), CliError> {
        let name = names::management(self.options.sr);
        self.group.set_online(Object::Volume(&name), false)?;
        sight::shut_out(&self.group, &name, &self.options.initiator)
    }

    fn conceal_or_note(&self) {
        if let Err(error) = self.conceal() {
            let error = error.chain_text();
            let sr = self.options.sr;
            tracing::warn!(%sr, error, "the management volume stays in this initiator's sight; the next use of it, or the next attach, conceals it");
        }
    }

    fn shelf(&self, action: &'static str) -> Result<Shelf, ArrayError> {
        let name = names::management(self.options.sr);
        let shown = self.group.show(Object::Volume(&name));
        let shelf = shown.map_err(|error| self.failed(action, error))?;
        shelf.ok_or_else(|| ArrayError::Missing {
            array: self.group.address(),
            vdi: self.options.sr,
        })
    }

    fn failed(&self, action: &'static str, error: CliError) -> ArrayError {
        failure(&self.group.address(), action, error)
    }
}
