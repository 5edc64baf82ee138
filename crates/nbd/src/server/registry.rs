//! The live connections, and how they are ended.

use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::exports::{Peer, PeerAddress};
use super::limits::Limits;
use crate::Error;
use crate::channel::Socket;

/// A live connection, for people to look at.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Number of the connection, unique in this server.
    pub id: u64,
    /// Key of its export; none during the handshake.
    pub key: Option<String>,
    /// Where it comes from.
    pub peer: Peer,
}

struct Live {
    socket: Arc<Socket>,
    ending: Arc<AtomicBool>,
    info: ConnectionInfo,
}

#[derive(Default)]
struct State {
    next_id: u64,
    /// Counts disconnections, so that a handshake notices one that came between finding an export and using it.
    disconnections: u64,
    closing: bool,
    live: HashMap<u64, Live>,
}

/// The live connections of a server.
#[derive(Default)]
pub(super) struct Registry {
    state: Mutex<State>,
    changed: Condvar,
}

/// What became of an attempt to tie a connection to an export.
pub(super) enum Bind {
    Bound,
    /// Exports were disconnected meanwhile: find it anew.
    Stale,
    /// The server is going down.
    Closing,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is changed by single assignments, so a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection unless there are as many as the limits allow or the server is going down.
    pub(super) fn add(
        self: &Arc<Self>,
        socket: Arc<Socket>,
        peer: Peer,
        limits: &Limits,
    ) -> Option<Registration> {
        let mut state = self.lock();
        if state.closing || state.live.len() >= limits.connections {
            return None;
        }
        let is_tcp = |peer: &Peer| matches!(peer.address, PeerAddress::Tcp { .. });
        let in_handshake = |live: &&Live| live.info.key.is_none() && is_tcp(&live.info.peer);
        if is_tcp(&peer)
            && state.live.values().filter(in_handshake).count() >= limits.tcp_handshakes
        {
            return None;
        }
        state.next_id += 1;
        let id = state.next_id;
        let ending = Arc::new(AtomicBool::new(false));
        let info = ConnectionInfo {
            id,
            key: None,
            peer,
        };
        state.live.insert(
            id,
            Live {
                socket,
                ending: ending.clone(),
                info,
            },
        );
        Some(Registration {
            registry: self.clone(),
            id,
            ending,
        })
    }

    pub(super) fn connections(&self) -> Vec<ConnectionInfo> {
        let mut all: Vec<_> = self
            .lock()
            .live
            .values()
            .map(|live| live.info.clone())
            .collect();
        all.sort_by_key(|info| info.id);
        all
    }

    pub(super) fn count(&self) -> usize {
        self.lock().live.len()
    }

    /// Lets no further connection in.
    pub(super) fn close(&self) {
        self.lock().closing = true;
    }

    /// Ends the connections that `chosen` picks and waits until their threads have left the export.
    ///
    /// Requests in flight are finished and answered in the first half of the time, then the sockets are cut.
    pub(super) fn end(
        &self,
        chosen: impl Fn(&ConnectionInfo) -> bool,
        patience: Duration,
    ) -> Result<usize, Error> {
        let started = Instant::now();
        let mut state = self.lock();
        state.disconnections += 1;
        let ids: Vec<u64> = state
            .live
            .values()
            .filter(|live| chosen(&live.info))
            .map(|live| live.info.id)
            .collect();
        for live in ids.iter().filter_map(|id| state.live.get(id)) {
            live.ending.store(true, Ordering::Release);
            live.socket.shutdown(Shutdown::Read);
        }
        let mut state = self.wait_gone(state, &ids, started + patience / 2);
        for live in ids.iter().filter_map(|id| state.live.get(id)) {
            live.socket.shutdown(Shutdown::Both);
        }
        state = self.wait_gone(state, &ids, started + patience);
        match ids.iter().filter(|id| state.live.contains_key(id)).count() {
            0 => Ok(ids.len()),
            connections => Err(Error::StillBusy {
                connections,
                waited: patience,
            }),
        }
    }

    fn wait_gone<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        ids: &[u64],
        until: Instant,
    ) -> MutexGuard<'a, State> {
        while ids.iter().any(|id| state.live.contains_key(id)) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state
    }
}

/// A connection's place in the registry; dropped when its last thread is done with the export.
pub(super) struct Registration {
    registry: Arc<Registry>,
    id: u64,
    ending: Arc<AtomicBool>,
}

impl Registration {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// True when the server wants the connection to end.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// What [`Registration::bind`] must be given, taken before the export is looked up.
    pub(super) fn epoch(&self) -> u64 {
        self.registry.lock().disconnections
    }

    /// Ties the connection to the export named by `key`.
    pub(super) fn bind(&self, epoch: u64, key: &str) -> Bind {
        let mut state = self.registry.lock();
        if state.closing || self.is_ending() {
            return Bind::Closing;
        }
        if state.disconnections != epoch {
            return Bind::Stale;
        }
        if let Some(live) = state.live.get_mut(&self.id) {
            live.info.key = Some(key.to_owned());
        }
        Bind::Bound
    }

    pub(super) fn set_tls(&self) {
        if let Some(live) = self.registry.lock().live.get_mut(&self.id) {
            live.info.peer.tls = true;
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.lock().live.remove(&self.id);
        self.registry.changed.notify_all();
    }
}
