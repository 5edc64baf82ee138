//! The state together with the data that belong to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::data::files::Files;
use super::data::gate::Gate;
use super::data::relay::Connection;
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
    connections: Mutex<Vec<Weak<Connection>>>,
}

impl Shared {
    /// An array.
    pub fn new(machine: Machine) -> Self {
        Shared {
            machine: Mutex::new(machine),
            gate: Gate::default(),
            connections: Mutex::new(Vec::new()),
        }
    }

    /// The array, for one thread. A thread that panicked has failed its test already.
    pub fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a session; it is forgotten when it ends.
    pub fn register(&self, connection: &Arc<Connection>) {
        let mut all = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(connection));
    }

    /// Tells the sessions that see a LUN that it has grown.
    fn announce(&self, seen: &[(String, String, u16)]) {
        let all = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for connection in all.iter().filter_map(Weak::upgrade) {
            let own = seen.iter().filter(|(svm, initiator, _)| {
                connection.svm == *svm && connection.initiator == *initiator
            });
            for (_, _, number) in own {
                connection.note_growth(*number);
            }
        }
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
                match effect {
                    Effect::Resize(data, _) => {
                        let seen = machine.targets.reopen(&machine.files, *data);
                        self.announce(&seen);
                    }
                    Effect::Overwrite { to, .. } => {
                        machine.targets.reopen(&machine.files, *to);
                    }
                    _ => {}
                }
            }
            drop(closed);
        }
        machine.targets.follow(&machine.cluster, &machine.files);
        result
    }
}
