//! The state together with the data that belong to it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::data::files::Files;
use super::data::gate::Gate;
use super::data::target::Targets;
use super::state::cluster::{Cluster, Effect};

/// The array: what it knows, and where the bytes are.
pub struct Machine {
    /// What it knows.
    pub cluster: Cluster,
    /// The contents of LUNs.
    pub files: Files,
    /// Who is shown what.
    pub targets: Targets,
}

/// The array, for all threads that serve it.
pub struct Shared {
    machine: Mutex<Machine>,
    /// Holds back SCSI commands while data change below them.
    pub gate: Gate,
}

impl Shared {
    /// An array.
    pub fn new(machine: Machine) -> Self {
        Shared {
            machine: Mutex::new(machine),
            gate: Gate::default(),
        }
    }

    /// The array, for one thread. A thread that panicked has failed its test already.
    pub fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and then the data and the targets so that they are as the state says.
    pub fn change<T>(&self, change: impl FnOnce(&mut Cluster) -> T) -> T {
        let mut machine = self.lock();
        let machine = &mut *machine;
        machine.files.measure(&mut machine.cluster);
        let result = change(&mut machine.cluster);
        let effects = std::mem::take(&mut machine.cluster.effects);
        if !effects.is_empty() {
            let closed = self.gate.close();
            for effect in &effects {
                machine.files.apply(effect);
                if let Effect::Resize(data, _) | Effect::Overwrite { to: data, .. } = effect {
                    machine.targets.reopen(&machine.files, *data);
                }
            }
            drop(closed);
        }
        machine.targets.follow(&machine.cluster, &machine.files);
        result
    }
}
