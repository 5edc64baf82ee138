//! Wires the rooms together and keeps them running: `xensm serve`, `api`, `worker`, `storage-manager`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use volume_service::app::backends::{self, AddBackend};
use volume_service::app::log_levels::LogFilter;
use volume_service::app::{Service, flavors, identity};
use volume_service::config::{Endpoints, Secret, ZoneConfig};
use volume_service::driver::PoolMover;
use volume_service::notify::Notifier;
use volume_service::operation::Worker;
use volume_service::{Context, ErrorKind, RequestContext, api};

use crate::config::{self, CommonFlags, File, ServeFlags};
use crate::credentials::{self, CloudLogin, Pending, Secrets};
use crate::data_dir::{DataDir, ServeLock};
use crate::failure::{Exit, Failure, Result};
use crate::http_server::HttpServer;
use crate::mover::NbdDialer;
use crate::service_config::{DEFAULT_ZONE, XENAPI_USER, service_config};
use crate::{logging, tls, ui};

/// The flavor and backend of a first start.
const DEFAULT_FLAVOR: &str = "default";
const DEFAULT_FLAVOR_DESCRIPTION: &str = "Made at the first start, on a local directory";
/// How long everything may take to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// Which rooms this process runs.
#[derive(Clone, Debug)]
pub struct Roles {
    has_api: bool,
    has_storage_manager: bool,
    workers: Workers,
}

#[derive(Clone, Debug)]
enum Workers {
    None,
    EveryZone,
    Zone(String),
}

impl Roles {
    /// `xensm serve`.
    pub fn everything() -> Self {
        Roles {
            has_api: true,
            has_storage_manager: true,
            workers: Workers::EveryZone,
        }
    }

    /// `xensm api`.
    pub fn api() -> Self {
        Roles {
            has_api: true,
            has_storage_manager: false,
            workers: Workers::None,
        }
    }

    /// `xensm worker --zone Z`.
    pub fn worker(zone: String) -> Self {
        Roles {
            has_api: false,
            has_storage_manager: false,
            workers: Workers::Zone(zone),
        }
    }

    /// `xensm storage-manager`.
    pub fn storage_manager() -> Self {
        Roles {
            has_api: false,
            has_storage_manager: true,
            workers: Workers::None,
        }
    }

    fn needs_service(&self) -> bool {
        self.has_api || !matches!(self.workers, Workers::None)
    }
}

/// What runs, and how to stop it.
pub struct Running {
    /// Where everything of this installation is.
    pub data_dir: DataDir,
    /// Public base URLs of the APIs, when they run here.
    pub endpoints: Option<Endpoints>,
    /// The embedded Storage Manager's XenAPI address, when it runs here.
    pub xenapi: Option<SocketAddr>,
    /// True when this was the first start.
    pub is_first_start: bool,
    shutdown: CancellationToken,
    tasks: JoinSet<(&'static str, Result<()>)>,
    _lock: Option<ServeLock>,
}

/// Starts what the roles say and runs until SIGTERM or SIGINT.
pub fn run(common: &CommonFlags, flags: &ServeFlags, roles: &Roles) -> Result<()> {
    let started = Instant::now();
    let file = config::load(common, flags)?;
    let filter = logging::start(&file)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|cause| Failure::failed("start the runtime", &cause))?;
    runtime.block_on(async {
        // Registered before anything runs, so that an early signal is a clean stop too.
        let mut terminate = signal(SignalKind::terminate())
            .map_err(|cause| Failure::failed("listen for SIGTERM", &cause))?;
        let mut interrupt = signal(SignalKind::interrupt())
            .map_err(|cause| Failure::failed("listen for SIGINT", &cause))?;
        let mut running = start_logged(&file, roles, Some(filter)).await?;
        announce(&running, started.elapsed());
        let failed = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            failed = running.first_failure() => Some(failed),
        };
        tracing::info!("stopping");
        let stopped = running.stop().await;
        match failed {
            Some(failure) => Err(failure),
            None => stopped,
        }
    })
}

/// Starts what the roles say.
pub async fn start(file: &File, roles: &Roles) -> Result<Running> {
    start_logged(file, roles, None).await
}

/// As [`start`], with what changes the filter of the log.
async fn start_logged(
    file: &File,
    roles: &Roles,
    filter: Option<Arc<dyn LogFilter>>,
) -> Result<Running> {
    let data_dir = DataDir::new(&file.data_dir)?;
    data_dir.create()?;
    let lock = if roles.has_storage_manager {
        Some(data_dir.lock()?)
    } else {
        None
    };
    let secrets = Secrets::load_or_create(&data_dir)?;
    let mut running = Running {
        data_dir: data_dir.clone(),
        endpoints: None,
        xenapi: None,
        is_first_start: false,
        shutdown: CancellationToken::new(),
        tasks: JoinSet::new(),
        _lock: lock,
    };
    if roles.has_storage_manager {
        start_storage_manager(file, &secrets, &mut running)?;
    }
    if roles.needs_service() {
        start_service(file, roles, filter, &mut running).await?;
    }
    Ok(running)
}

fn start_storage_manager(file: &File, secrets: &Secrets, running: &mut Running) -> Result<()> {
    let data_dir = &running.data_dir;
    let password = secrets.xenapi_password.clone();
    let mut config =
        storage_manager::Config::new(data_dir.storage_manager(), XENAPI_USER, password.as_str());
    config.unix_socket = data_dir.socket();
    config.http = Some(file.listen.xenapi);
    config.nbd_tls = file.listen.nbd;
    let manager = storage_manager::StorageManager::open(config).map_err(|cause| {
        Failure::failed("start the embedded Storage Manager", &cause).hint(
            "another address can be given with --listen-xenapi, another directory with --data-dir",
        )
    })?;
    running.xenapi = manager.local_addresses().http;
    if let Some(address) = running.xenapi {
        credentials::write_xenapi(
            data_dir,
            &format!("http://{address}"),
            XENAPI_USER,
            &password,
        )?;
    }
    let shutdown = running.shutdown.clone();
    running.tasks.spawn(async move {
        let served = manager.serve(shutdown).await;
        (
            "storage manager",
            served.map_err(|cause| Failure::failed("run the embedded Storage Manager", &cause)),
        )
    });
    Ok(())
}

async fn start_service(
    file: &File,
    roles: &Roles,
    filter: Option<Arc<dyn LogFilter>>,
    running: &mut Running,
) -> Result<()> {
    let data_dir = running.data_dir.clone();
    let listeners = if roles.has_api {
        Some(Listeners::bind(file).await?)
    } else {
        None
    };
    let bound = match &listeners {
        Some(listeners) => Some(listeners.endpoints(file)?),
        None => None,
    };
    let mut config = service_config(file, &data_dir, bound.clone())?;
    config.audit_dir = Some(data_dir.file("audit"));
    let service = Service::open(Context::real(), config).await?;
    if let Some(filter) = filter {
        service.log.is_decided_by(filter);
    }
    if roles.has_api {
        let mover = PoolMover::new(&service.config.zones, Arc::new(NbdDialer))?;
        service.moves_bytes_by(Arc::new(mover));
        let is_embedded = roles.has_storage_manager && service.config.zones.iter().any(is_embedded);
        if service.config.keystone.is_some() {
            // Nobody is made here: users are Keystone's. An install without any flavor is a first start.
            let none = flavors::list(&service, &RequestContext::operator()).await?;
            if is_embedded && none.is_empty() {
                default_flavor(&service, &data_dir).await?;
            }
        } else {
            // Before the first user: a start that was cut off in between is a first start again.
            if is_embedded && !identity::has_users(&service).await? {
                default_flavor(&service, &data_dir).await?;
            }
            running.is_first_start = first_start(&service, file, &data_dir).await?;
        }
    }
    if let (Some(listeners), Some(endpoints)) = (listeners, bound) {
        let tls = match (&file.tls.cert_file, &file.tls.key_file) {
            (Some(cert), Some(key)) => Some(tls::server_config(cert, key)?),
            _ => None,
        };
        let routers = [
            (
                "volume API",
                listeners.volume,
                api::volume_router(service.clone()),
            ),
            (
                "identity API",
                listeners.identity,
                api::identity_router(service.clone()),
            ),
            ("EC2 API", listeners.ec2, api::ec2_router(service.clone())),
        ];
        for (name, listener, router) in routers {
            let server = HttpServer {
                listener,
                router,
                tls: tls.clone(),
                connections_max: file.limits.connections_max,
            };
            let shutdown = running.shutdown.clone();
            running.tasks.spawn(async move {
                server.serve(shutdown).await;
                (name, Ok(()))
            });
        }
        running.endpoints = Some(endpoints);
    }
    if !matches!(roles.workers, Workers::None) {
        let notifier = Notifier::new(service.clone());
        let shutdown = running.shutdown.clone();
        running.tasks.spawn(async move {
            notifier.run(shutdown).await;
            ("webhooks", Ok(()))
        });
    }
    for zone in worker_zones(&service, &roles.workers)? {
        let worker = Worker::new(service.clone(), &zone)?;
        let shutdown = running.shutdown.clone();
        running
            .tasks
            .spawn(async move { ("worker", worker.run(shutdown).await.map_err(Failure::from)) });
    }
    Ok(())
}

fn worker_zones(service: &Service, workers: &Workers) -> Result<Vec<String>> {
    let zones: Vec<String> = service
        .config
        .zones
        .iter()
        .map(|zone| zone.name.clone())
        .collect();
    match workers {
        Workers::None => Ok(Vec::new()),
        Workers::EveryZone => Ok(zones),
        Workers::Zone(zone) if zones.contains(zone) => Ok(vec![zone.clone()]),
        Workers::Zone(zone) => Err(Failure::new(
            Exit::Usage,
            format!("zone {zone} is not configured"),
        )
        .hint(format!("the configured zones are: {}", zones.join(", ")))),
    }
}

/// Makes the first user and its keys when the database is empty; writes the credential files.
async fn first_start(service: &Service, file: &File, data_dir: &DataDir) -> Result<bool> {
    let endpoints = &service.config.endpoints;
    let ca_file = match &file.tls.ca_file {
        Some(path) => Some(absolute(path)?.display().to_string()),
        None => None,
    };
    let made = Pending::load_or_create(data_dir)?;
    let is_first = identity::bootstrap(service, &made.first()).await?;
    // Another machine may have filled the database that this one shares.
    if identity::ec2_key(service, &made.access_key).await.is_ok() {
        // Ports may differ from the last start's, so these are written at each.
        let login = CloudLogin {
            auth_url: format!("{}/v3", endpoints.identity),
            username: made.user.clone(),
            password: Secret::new(made.password.clone()),
            project: made.project.clone(),
            ca_file: ca_file.clone(),
        };
        credentials::write_openstack(data_dir, &login)?;
        credentials::write_ec2(
            data_dir,
            &endpoints.ec2,
            &made.access_key,
            &made.secret_key,
            ca_file.as_deref(),
        )?;
    }
    Ok(is_first)
}

/// Makes the flavor and its backend, or what an earlier try left out. A flavor of that name that an operator made stays as it is.
async fn default_flavor(service: &Service, data_dir: &DataDir) -> Result<()> {
    let request = RequestContext::operator();
    let made = flavors::create(
        service,
        &request,
        DEFAULT_FLAVOR,
        DEFAULT_FLAVOR_DESCRIPTION,
    )
    .await;
    match made {
        Ok(_) => {}
        Err(error) if error.kind == ErrorKind::Conflict => {
            let flavor = flavors::get(service, &request, DEFAULT_FLAVOR).await?;
            let backends = backends::list(service, &request, Some(DEFAULT_FLAVOR)).await?;
            if flavor.description != DEFAULT_FLAVOR_DESCRIPTION || !backends.is_empty() {
                return Ok(());
            }
        }
        Err(error) => return Err(error.into()),
    }
    let zone = service
        .config
        .zones
        .iter()
        .find(|zone| is_embedded(zone))
        .map(|zone| zone.name.clone());
    let location = data_dir.default_backend();
    let parameters = vec![
        ("location".to_owned(), location.display().to_string()),
        ("name_label".to_owned(), "default".to_owned()),
    ];
    let wanted = AddBackend {
        flavor: DEFAULT_FLAVOR.to_owned(),
        sr_type: "file".to_owned(),
        parameters,
        zone,
        position: None,
        capabilities: Vec::new(),
    };
    backends::add(service, &request, wanted).await?;
    Ok(())
}

/// True for a zone that was given the embedded Storage Manager.
fn is_embedded(zone: &ZoneConfig) -> bool {
    zone.pools.iter().all(|pool| pool.url.starts_with("unix:"))
}

struct Listeners {
    volume: TcpListener,
    identity: TcpListener,
    ec2: TcpListener,
}

impl Listeners {
    async fn bind(file: &File) -> Result<Self> {
        let listen = &file.listen;
        Ok(Listeners {
            volume: bind("volume", listen.volume).await?,
            identity: bind("identity", listen.identity).await?,
            ec2: bind("ec2", listen.ec2).await?,
        })
    }

    fn endpoints(&self, file: &File) -> Result<Endpoints> {
        let scheme = if file.tls.cert_file.is_some() {
            "https"
        } else {
            "http"
        };
        let base = |given: &Option<String>, listener: &TcpListener| -> Result<String> {
            if let Some(url) = given {
                return Ok(url.trim_end_matches('/').to_owned());
            }
            let address = listener
                .local_addr()
                .map_err(|cause| Failure::failed("read a listener's address", &cause))?;
            Ok(format!("{scheme}://{address}"))
        };
        Ok(Endpoints {
            volume: base(&file.endpoints.volume, &self.volume)?,
            identity: base(&file.endpoints.identity, &self.identity)?,
            ec2: base(&file.endpoints.ec2, &self.ec2)?,
        })
    }
}

async fn bind(name: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|cause| {
        Failure::failed(format!("listen on {address} for the {name} API"), &cause).hint(format!(
            "give another address with --listen-{name} IP:PORT; port 0 takes a free one"
        ))
    })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|cause| Failure::failed(format!("find {}", path.display()), &cause))
}

impl Running {
    /// Waits until a part ends that should run until it is told to stop, and says why it did.
    pub async fn first_failure(&mut self) -> Failure {
        match self.tasks.join_next().await {
            Some(Ok((_, Err(failure)))) => failure,
            Some(Ok((name, Ok(())))) => {
                Failure::new(Exit::Failed, format!("the {name} ended by itself"))
            }
            Some(Err(cause)) => Failure::failed("run a part of this process", &cause),
            None => std::future::pending().await,
        }
    }

    /// Stops everything: finishes or hands over what is running.
    pub async fn stop(mut self) -> Result<()> {
        self.shutdown.cancel();
        let mut outcome = Ok(());
        let joined = tokio::time::timeout(STOP_DEADLINE, async {
            while let Some(ended) = self.tasks.join_next().await {
                match ended {
                    Ok((_, Ok(()))) => {}
                    Ok((_, Err(failure))) => outcome = Err(failure),
                    Err(cause) => {
                        outcome = Err(Failure::failed("stop a part of this process", &cause))
                    }
                }
            }
        });
        if joined.await.is_err() {
            return Err(Failure::new(
                Exit::Failed,
                "some parts did not stop in time; what they did is taken up at the next start",
            ));
        }
        outcome
    }
}

/// Says what listens where and what to try.
fn announce(running: &Running, took: Duration) {
    let version = env!("CARGO_PKG_VERSION");
    ui::result(format!(
        "xensm {version} is ready after {} ms; everything is in {}",
        took.as_millis(),
        running.data_dir.root().display()
    ));
    if let Some(endpoints) = &running.endpoints {
        ui::result(format!("  Block Storage v3  {}/v3", endpoints.volume));
        ui::result(format!("  Identity v3       {}/v3", endpoints.identity));
        ui::result(format!("  EC2 Query         {}", endpoints.ec2));
    }
    if let Some(address) = running.xenapi {
        ui::result(format!(
            "  XenAPI            http://{address} and {}",
            running.data_dir.socket().display()
        ));
    }
    if running.endpoints.is_some() && running.xenapi.is_some() {
        let directory = running.data_dir.root().display();
        let nova_manage = std::env::current_exe()
            .ok()
            .map(|path| path.with_file_name("nova-manage"));
        let nova_manage = nova_manage
            .as_deref()
            .unwrap_or(Path::new("nova-manage"))
            .display();
        ui::result("Try, in another terminal:");
        ui::result(format!(
            "  . {directory}/openrc.sh && openstack volume create --type default --size 1 first"
        ));
        ui::result(format!(
            "  . {directory}/ec2rc.sh && aws ec2 create-volume --availability-zone {DEFAULT_ZONE} --volume-type default --size 1"
        ));
        ui::result(format!(
            "  {nova_manage} --data-dir {directory} sm backend_list"
        ));
    }
    ui::result("Ctrl-C stops it.");
}
