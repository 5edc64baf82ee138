//! What every call can reach.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::barrier::Barriers;
use super::coalesce::Coalescing;
use super::lun_users::LunClaims;
use super::operations::Operations;
use super::sessions::Sessions;
use super::storage::Storage;
use super::tasks::Cancellations;
use super::transfer::Transfers;
use crate::config::Secret;
use crate::database::{Database, Intent};
use crate::export::VdiExports;
use crate::sr::SrType;

/// The server: its objects, its storage and who may log in.
pub struct Server {
    /// The objects.
    pub database: Database,
    /// The SR types, in the order in which they were registered.
    pub types: Vec<Arc<dyn SrType>>,
    /// The attached SRs and their threads.
    pub storage: Storage,
    /// The NBD exports of plugged VDIs.
    pub exports: VdiExports,
    /// Who is logged in.
    pub sessions: Sessions,
    /// What is under way on which object.
    pub operations: Operations,
    /// Snapshots that are taken at one moment.
    pub barriers: Barriers,
    /// How the tasks that run are asked to stop.
    pub cancellations: Cancellations,
    /// What merges images in the background.
    pub coalescing: Coalescing,
    /// Told when an SR shall be scanned soon, see `auto_scan`.
    pub scan_wanted: Notify,
    /// Imports and exports under way.
    pub transfers: Transfers,
    /// The LUNs on which SRs are being made.
    pub lun_claims: Arc<LunClaims>,
    /// Intents of an earlier run whose SR was not attached since.
    pub unresolved: Mutex<Vec<Intent>>,
    /// References of the objects that there is one of.
    pub home: Home,
    /// Who may log in over TCP.
    pub credentials: Credentials,
    /// Longest wait for a driver.
    pub driver_deadline: Duration,
    /// Longest wait for an operation that is in the way.
    pub operation_patience: Duration,
    /// Everything that runs on its own and must end before the process does.
    pub running: TaskTracker,
    /// Cancelled when the server shuts down.
    pub shutdown: CancellationToken,
}

/// References of the objects that there is one of.
#[derive(Clone, Debug)]
pub struct Home {
    /// The host that this process is.
    pub host: String,
    /// The VM that VBDs are plugged into.
    pub control_domain: String,
}

impl Server {
    /// Takes the intents of an earlier run that match.
    pub fn take_unresolved(&self, matches: impl Fn(&Intent) -> bool) -> Vec<Intent> {
        let mut unresolved = self
            .unresolved
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (taken, left) = std::mem::take(&mut *unresolved)
            .into_iter()
            .partition(|intent| matches(intent));
        *unresolved = left;
        taken
    }

    /// Looks an SR type up by the name that `SR.create` takes, in any case.
    pub fn sr_type(&self, name: &str) -> Option<&Arc<dyn SrType>> {
        self.types
            .iter()
            .find(|sr_type| sr_type.info().sr_type.eq_ignore_ascii_case(name))
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The user and the password that a login must give, as digests of one length.
pub struct Credentials {
    username: [u8; 32],
    password: [u8; 32],
}

/// Why a login was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginRefused {
    /// There is no such user.
    UnknownUser,
    /// The password is wrong.
    WrongPassword,
}

impl Credentials {
    /// Takes what is configured.
    pub fn new(username: &str, password: &Secret) -> Self {
        Credentials {
            username: sha256(username),
            password: sha256(password.expose()),
        }
    }

    /// Compares in a time that does not depend on what was given, nor on which of the two is wrong.
    pub fn check(&self, username: &str, password: &str) -> Result<(), LoginRefused> {
        let known = self.username.ct_eq(&sha256(username));
        let right = self.password.ct_eq(&sha256(password));
        if bool::from(known & right) {
            Ok(())
        } else if bool::from(known) {
            Err(LoginRefused::WrongPassword)
        } else {
            Err(LoginRefused::UnknownUser)
        }
    }
}

fn sha256(text: &str) -> [u8; 32] {
    digest(&SHA256, text.as_bytes())
        .as_ref()
        .try_into()
        .expect("SHA-256 has 32 bytes")
}
