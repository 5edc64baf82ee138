//! The storage manager as a whole: open, serve, close.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config::Config;
use crate::database::Database;
use crate::export::{ExportOptions, VdiExports};
use crate::server::attachments::Door;
use crate::server::context::Credentials;
use crate::server::listen::{self, Listeners};
use crate::server::transfer::Transfers;
use crate::server::{Server, allowed, auto_scan, coalesce, first_start, health, recovery, tasks};
use crate::sr::SrType;
use crate::{Error, sr};

/// How often old sessions and tasks are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// Longest wait for one SR when it is detached at a shutdown.
const DETACH: Duration = Duration::from_secs(5);

/// Longest wait for the exports of one SR to be flushed and closed at a shutdown, and then for their server to stop.
const CLOSE_EXPORTS: Duration = Duration::from_secs(15);

/// Where a running storage manager listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalAddresses {
    /// The unix socket of XenAPI.
    pub unix_socket: PathBuf,
    /// The TCP address of XenAPI, with the port that was bound.
    pub http: Option<SocketAddr>,
    /// The TCP address of NBD with TLS, with the port that was bound.
    pub nbd_tls: Option<SocketAddr>,
}

/// An opened storage manager; [`StorageManager::serve`] runs it.
pub struct StorageManager {
    server: Arc<Server>,
    listeners: Listeners,
    addresses: LocalAddresses,
    shutdown_deadline: Duration,
}

impl StorageManager {
    /// Opens the data directory, made if it is absent, and listens; nobody is answered before [`StorageManager::serve`].
    ///
    /// # Errors
    /// A data directory that is in use, damaged or of a newer program, and addresses that cannot be listened on.
    pub fn open(config: Config) -> Result<Self, Error> {
        Self::open_with(config, sr::types())
    }

    /// Opens with SR types of the caller's choice; tests use it.
    ///
    /// # Errors
    /// As [`StorageManager::open`].
    pub fn open_with(config: Config, types: Vec<Arc<dyn SrType>>) -> Result<Self, Error> {
        make_data_dir(&config.data_dir)?;
        let (database, intents) = Database::open(&config.data_dir, allowed::operations)?;
        let tcp = config.http.map(listen::bind_tcp).transpose()?;
        let http = tcp.as_ref().and_then(|listener| listener.local_addr().ok());
        let tls = config.tls.as_ref().map(listen::load_tls).transpose()?;
        let unix = listen::bind_unix(&config.unix_socket)?;
        let address = http.map_or_else(
            || "127.0.0.1".to_owned(),
            |address| address.ip().to_string(),
        );
        let home = database.write_blocking(|transaction| {
            first_start::types(transaction, &types)?;
            first_start::home(transaction, &config.host_name, &address)
        });
        let home = home.map_err(|source| Error::FirstRecord {
            class: "pool",
            source,
        })?;
        let door = Arc::new(Door::default());
        let options = ExportOptions {
            data_dir: config.data_dir.clone(),
            host_name: config.host_name.clone(),
            tls_address: config.nbd_tls,
        };
        let exports = VdiExports::start(&options, door.clone())
            .map_err(|source| Error::Exports { source })?;
        let addresses = LocalAddresses {
            unix_socket: config.unix_socket.clone(),
            http,
            nbd_tls: exports.tls_endpoint().map(|endpoint| endpoint.address),
        };
        let server = Arc::new(Server {
            database,
            types,
            storage: Default::default(),
            exports,
            sessions: Default::default(),
            operations: Default::default(),
            barriers: Default::default(),
            cancellations: Default::default(),
            coalescing: Default::default(),
            scan_wanted: Default::default(),
            transfers: Transfers::new(config.transfer_patience),
            lun_claims: Default::default(),
            unresolved: std::sync::Mutex::new(intents),
            home,
            credentials: Credentials::new(&config.username, &config.password),
            driver_deadline: config.driver_deadline,
            operation_patience: config.operation_patience,
            running: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        });
        door.set_server(&server);
        let listeners = Listeners { unix, tcp, tls };
        Ok(StorageManager {
            server,
            listeners,
            addresses,
            shutdown_deadline: config.shutdown_deadline,
        })
    }

    /// Where it listens.
    pub fn local_addresses(&self) -> &LocalAddresses {
        &self.addresses
    }

    /// Recovers what the last run left, serves until `shutdown` is cancelled and closes: running calls end within a
    /// deadline, exports are flushed, SRs detached. VBDs stay plugged in the records and are exported again by the next run.
    ///
    /// # Errors
    /// When a socket fails as a whole; what fails while closing is logged.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), Error> {
        let StorageManager {
            server,
            listeners,
            addresses,
            shutdown_deadline,
        } = self;
        recovery::run(&server).await;
        let sweeper = tokio::spawn(sweep(server.clone()));
        let scanner = tokio::spawn(auto_scan::run(server.clone()));
        let watcher = tokio::spawn(health::watch(server.clone()));
        let served = listen::serve(server.clone(), listeners, shutdown, shutdown_deadline).await;
        sweeper.abort();
        scanner.abort();
        watcher.abort();
        close(&server, shutdown_deadline).await;
        if let Err(error) = std::fs::remove_file(&addresses.unix_socket) {
            tracing::debug!(%error, "the unix socket was not there any more");
        }
        served.map_err(|source| Error::ListenUnix {
            path: addresses.unix_socket,
            source,
        })
    }
}

async fn sweep(server: Arc<Server>) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        server.sessions.sweep(&server.database);
        tasks::sweep(&server);
    }
}

async fn close(server: &Arc<Server>, deadline: Duration) {
    server.shutdown.cancel();
    server.running.close();
    if tokio::time::timeout(deadline, server.running.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            calls = server.running.len(),
            "some calls did not end in time; the next start resolves what they left"
        );
    }
    withdraw_exports(server).await;
    let mut detaching = JoinSet::new();
    for sr in server.storage.attached() {
        let server = server.clone();
        detaching.spawn(async move { detach(&server, &sr).await });
    }
    while detaching.join_next().await.is_some() {}
    server.database.close();
}

/// Flushes and closes all exports, those of each SR on a thread of their own: a medium that hangs keeps those of no other SR
/// open, and no thread of the runtime.
async fn withdraw_exports(server: &Arc<Server>) {
    let mut of_sr: BTreeMap<String, Vec<Uuid>> = BTreeMap::new();
    {
        let objects = server.database.read();
        for vdi in server.exports.published() {
            let record = objects.find_by_uuid("VDI", &vdi.to_string());
            let sr = record.map_or_else(String::new, |record| record.text("SR").to_owned());
            of_sr.entry(sr).or_default().push(vdi);
        }
    }
    let mut closing = JoinSet::new();
    for (sr, vdis) in of_sr {
        let server = server.clone();
        closing.spawn(async move {
            let closed = on_a_thread(CLOSE_EXPORTS, move || {
                for vdi in vdis {
                    if let Err(error) = server.exports.withdraw(vdi) {
                        tracing::error!(%error, vdi.uuid = %vdi, "an export did not close cleanly");
                    }
                }
            });
            if closed.await.is_none() {
                tracing::error!(sr.reference = sr, "the exports of an SR did not close in time; what their consumers had flushed is on the medium");
            }
        });
    }
    while closing.join_next().await.is_some() {}
    let exports = server.clone();
    match on_a_thread(CLOSE_EXPORTS, move || exports.exports.stop()).await {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::error!(%error, "the exports did not stop cleanly"),
        None => tracing::error!("the exports did not stop in time"),
    }
}

/// Runs work on a thread that nobody waits for when the deadline has passed.
async fn on_a_thread<T: Send + 'static>(
    deadline: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (send, answer) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = send.send(work());
    });
    tokio::time::timeout(deadline, answer).await.ok()?.ok()
}

async fn detach(server: &Arc<Server>, sr: &str) {
    coalesce::stop(server, sr);
    let state = server.storage.state(sr);
    let Some(driver) = state.sr() else { return };
    match state.threads().run(DETACH, move || driver.detach()).await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => {
            tracing::warn!(%failure, sr.reference = sr, "an SR did not detach cleanly")
        }
        Err(reason) => {
            tracing::warn!(?reason, sr.reference = sr, "an SR did not detach in time")
        }
    }
    state.set_sr(None);
}

fn make_data_dir(path: &Path) -> Result<(), Error> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|source| Error::File {
        action: "create data directory",
        path: path.to_owned(),
        source,
    })
}
