//! The array's iSCSI portals: each listens on an address of its own at port 3260, which is where every initiator looks for an
//! array that tells it addresses only.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::discovery::{self, Offer};
use super::gate::Gate;
use super::login::{Introduction, Refusal, redirect};
use super::pdu::Pdu;
use super::relay::{Connection, UnderWay, to_initiator, to_target};
use crate::ontap::machine::Shared;
use crate::ontap::state::iscsi::{Authentication, Session};

/// The port of iSCSI.
pub const PORT: u16 = 3260;
/// How long a new connection may take to say who it is.
const INTRODUCTION_WAIT: Duration = Duration::from_secs(20);
/// Connections that a portal holds at once.
const MOST_CONNECTIONS: usize = 256;

static NEXT_SESSION: AtomicU64 = AtomicU64::new(1);

/// A portal; it closes with the value.
pub struct Portal {
    address: SocketAddr,
    shared: Arc<PortalShared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct PortalShared {
    interface: Uuid,
    machine: Arc<Shared>,
    is_closing: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Portal {
    /// Listens for an interface.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn open(address: &str, interface: Uuid, machine: Arc<Shared>) -> io::Result<Self> {
        let listener = TcpListener::bind((address, PORT))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(PortalShared {
            interface,
            machine,
            is_closing: AtomicBool::new(false),
            connections: Mutex::new(Vec::new()),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("portal".to_owned());
        let thread = thread.spawn(move || {
            for connection in listener.incoming() {
                if own.is_closing.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(connection) = connection {
                    own.accept(connection);
                }
            }
        })?;
        Ok(Portal {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// Cuts all connections. New ones are let in.
    pub fn cut(&self) {
        for connection in self.shared.connections().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.cut();
    }
}

impl PortalShared {
    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, connection: TcpStream) {
        let mut all = self.connections();
        all.retain(|one| one.peer_addr().is_ok());
        if let Ok(copy) = connection.try_clone()
            && all.len() < MOST_CONNECTIONS
        {
            all.push(copy);
            let own = Arc::clone(self);
            let thread = std::thread::Builder::new().name("session".to_owned());
            let _ = thread.spawn(move || {
                let _ = own.serve(&connection);
                let _ = connection.shutdown(Shutdown::Both);
            });
        }
    }

    fn serve(&self, connection: &TcpStream) -> io::Result<()> {
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(INTRODUCTION_WAIT))?;
        let Some(mut login) = Pdu::read(&mut &*connection)? else {
            return Ok(());
        };
        connection.set_read_timeout(None)?;
        let who = Introduction::of(&login);
        if matches!(&who, Ok(who) if who.target.is_none()) {
            return match self.offer() {
                Ok(offer) => discovery::serve(&mut &*connection, login, &offer),
                Err(refusal) => refusal.answer(&login).write(&mut &*connection),
            };
        }
        let admitted = who.and_then(|who| self.admit(&who).map(|to| (who, to)));
        let (who, (svm, target, portal)) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => return refusal.answer(&login).write(&mut &*connection),
        };
        redirect(&mut login, &target);
        let tgt = TcpStream::connect(portal)?;
        tgt.set_nodelay(true)?;
        login.write(&mut &tgt)?;
        let session = Session {
            number: NEXT_SESSION.fetch_add(1, Ordering::Relaxed),
            svm,
            interface: self.interface_name(),
            initiator: who.initiator,
        };
        self.relay(connection, &tgt, &target, &session)
    }

    fn relay(
        &self,
        initiator: &TcpStream,
        tgt: &TcpStream,
        target: &str,
        session: &Session,
    ) -> io::Result<()> {
        let under_way = Arc::new(UnderWay::default());
        let known = Arc::new(Connection::new(&session.svm, &session.initiator));
        self.machine.register(&known);
        let gate: &Gate = &self.machine.gate;
        let machine = &self.machine;
        let back = (tgt.try_clone()?, initiator.try_clone()?);
        let forth = (initiator.try_clone()?, tgt.try_clone()?);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let note = || machine.lock().cluster.sessions.push(session.clone());
                let _ = to_initiator(back.0, back.1, gate, &under_way, note);
                let _ = initiator.shutdown(Shutdown::Both);
            });
            let _ = to_target(forth.0, forth.1, target, &known, gate, &under_way);
            let _ = tgt.shutdown(Shutdown::Both);
        });
        gate.leave(under_way.abandon());
        machine
            .lock()
            .cluster
            .sessions
            .retain(|one| one.number != session.number);
        Ok(())
    }

    /// Whether an initiator may come in: the SVM, the target that tgt has for it, and where tgt listens.
    fn admit(&self, who: &Introduction) -> Result<(String, String, String), Refusal> {
        let mut machine = self.machine.lock();
        let machine = &mut *machine;
        let cluster = &machine.cluster;
        let svm = cluster
            .served_at(self.interface)
            .ok_or(Refusal::Unavailable)?
            .to_owned();
        let service = cluster.svm(&svm).ok().and_then(|svm| svm.iscsi.as_ref());
        let wanted = who.target.as_ref().ok_or(Refusal::Missing)?;
        if service.is_none_or(|service| service.target != *wanted) {
            return Err(Refusal::NotFound);
        }
        if cluster.authentication(&svm, &who.initiator) == Authentication::Deny {
            return Err(Refusal::Forbidden);
        }
        let target = machine
            .targets
            .of(cluster, &machine.files, &svm, &who.initiator);
        Ok((svm, target, machine.targets.portal()))
    }

    /// What an initiator is told that looks for targets.
    fn offer(&self) -> Result<Offer, Refusal> {
        let machine = self.machine.lock();
        let cluster = &machine.cluster;
        let svm = cluster
            .served_at(self.interface)
            .ok_or(Refusal::Unavailable)?;
        let service = cluster.svm(svm).ok().and_then(|svm| svm.iscsi.as_ref());
        let interfaces = cluster.interfaces.iter().enumerate();
        let on = interfaces.filter(|(_, one)| one.svm == svm && one.enabled);
        Ok(Offer {
            target: service.ok_or(Refusal::Unavailable)?.target.clone(),
            portals: on
                .map(|(index, one)| format!("{}:{PORT},{}", one.address, 1026 + index))
                .collect(),
        })
    }

    fn interface_name(&self) -> String {
        let machine = self.machine.lock();
        let mut all = machine.cluster.interfaces.iter();
        let found = all.find(|one| one.uuid == self.interface);
        found.map_or_else(String::new, |one| one.name.clone())
    }
}
