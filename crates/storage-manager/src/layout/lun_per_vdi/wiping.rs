//! The LUNs of an SR that are being made zeros, one after the other, by a thread that lives as long as there are any.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::open_luns::OpenLun;
use super::wipe;
use crate::medium::block_device::BlockDevice;

/// See the module.
#[derive(Debug, Default)]
pub struct Wiping {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Marked>,
    current: Option<Uuid>,
    has_thread: bool,
    must_stop: bool,
}

/// A LUN that is marked, with the right to write to it alone.
#[derive(Debug)]
pub struct Marked {
    /// The VDI that it was.
    pub vdi: Uuid,
    /// The LUN.
    pub device: Arc<dyn BlockDevice>,
    /// Released when the LUN is zeros, or left to be gone on with later.
    pub open: OpenLun,
}

impl Wiping {
    /// Has a LUN made zeros.
    ///
    /// # Errors
    /// When no thread can be started; the LUN stays marked.
    pub fn start(self: &Arc<Self>, marked: Marked) -> io::Result<()> {
        let mut state = self.state();
        state.waiting.push_back(marked);
        if !state.has_thread {
            let own = Arc::clone(self);
            let thread = std::thread::Builder::new().name("wipe".to_owned());
            if let Err(error) = thread.spawn(move || own.run()) {
                state.waiting.clear();
                return Err(error);
            }
            state.has_thread = true;
        }
        Ok(())
    }

    /// True for a LUN that is being made zeros, or waits for it.
    pub fn has(&self, vdi: Uuid) -> bool {
        let state = self.state();
        state.current == Some(vdi) || state.waiting.iter().any(|marked| marked.vdi == vdi)
    }

    /// Lets go of all LUNs, which stay marked. False when the thread does not end within `patience`; it ends with its next answer
    /// of the device then.
    pub fn stop(&self, patience: Duration) -> bool {
        let mut state = self.state();
        state.waiting.clear();
        state.must_stop = true;
        let waited = self
            .changed
            .wait_timeout_while(state, patience, |state| state.has_thread);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.must_stop = state.has_thread;
        !state.has_thread
    }

    fn run(&self) {
        loop {
            let mut state = self.state();
            state.current = None;
            let next = state.waiting.pop_front().filter(|_| !state.must_stop);
            let Some(marked) = next else {
                state.waiting.clear();
                state.has_thread = false;
                state.must_stop = false;
                self.changed.notify_all();
                return;
            };
            state.current = Some(marked.vdi);
            drop(state);
            let name = marked.device.name();
            match wipe::go_on(&*marked.device, &|| self.state().must_stop) {
                Ok(true) => tracing::info!(device = name, "a LUN given back is blank"),
                Ok(false) => tracing::info!(
                    device = name,
                    "a LUN given back is not blank yet; VDI.create goes on with it"
                ),
                Err(error) => tracing::warn!(
                    device = name, %error,
                    "a LUN given back could not be made blank; VDI.create goes on with it"
                ),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
