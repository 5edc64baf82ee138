//! Flavors and backends: `nova-manage sm ...` and `xensm sm ...`.
//!
//! The commands work on the database directly, as they did in 2011, so that they work while no service runs; running workers
//! notice within a moment.

mod change;
mod parameters;
mod probe;

use std::time::{Duration, Instant};

use clap::Subcommand;
use serde_json::json;
use volume_service::app::backends::{self, AddBackend};
use volume_service::app::{Service, flavors, overview};
use volume_service::context::RequestContext;
use volume_service::model::backend::{Backend, BackendState, BackendUse};
use volume_service::model::id::BackendId;
use volume_service::{Context, ErrorKind};

use crate::command_record::{Change, recorded};
use crate::config::{CommonFlags, ServeFlags};
use crate::failure::{Exit, Failure, Result};
use crate::service_config::service_config;
use crate::ui::{self, Confirmation, Format};
use crate::{config, data_dir::DataDir};

/// How long `backend_add` waits for a running worker to connect the new backend.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// How often it looks.
const CONNECT_POLL: Duration = Duration::from_millis(100);
/// What stands in the place of a secret.
const MASK: &str = "***";

/// The commands of category `sm`.
#[derive(Subcommand)]
pub enum SmCommand {
    /// Lists flavors.
    #[command(name = "flavor_list", alias = "flavor-list")]
    FlavorList {
        /// Only this flavor.
        label: Option<String>,
    },
    /// Makes a flavor.
    #[command(name = "flavor_create", alias = "flavor-create")]
    FlavorCreate {
        /// Its name, which users say as the volume type.
        label: String,
        /// A sentence for people.
        description: String,
    },
    /// Removes a flavor that has no backends and no volumes.
    #[command(name = "flavor_delete", alias = "flavor-delete")]
    FlavorDelete {
        /// Its name.
        label: String,
        /// Does not ask.
        #[arg(long, short = 'y')]
        yes: bool,
    },
    /// Lists backends in the order in which the scheduler tries them.
    #[command(name = "backend_list", alias = "backend-list")]
    BackendList {
        /// Only this backend.
        backend_id: Option<i64>,
    },
    /// Adds a backend to a flavor. Creating one of a type that formats its medium destroys the data there.
    #[command(
        name = "backend_add",
        alias = "backend-add",
        after_help = "Examples:
  nova-manage sm backend_add gold nfs name_label=toybox-renuka server=myserver serverpath=/local/scratch/myname
  nova-manage sm backend_add gold file location=/srv/gold 'name_label=two words' --yes
  nova-manage sm backend_add gold file location=/srv/fast --capability tier=fast"
    )]
    BackendAdd {
        /// The flavor.
        flavor_label: String,
        /// The SR type: file, nfs, lvmoiscsi ...
        sr_type: String,
        /// Parameters as `xe sr-create device-config:` takes them; name_label, name_description and sr_uuid too. A password is
        /// best given as key=@FILE, or key=- to be asked for it
        #[arg(value_name = "KEY=VALUE")]
        parameters: Vec<String>,
        /// The availability zone.
        #[arg(long)]
        zone: Option<String>,
        /// Its place in the flavor's order; lower is tried first.
        #[arg(long)]
        position: Option<i64>,
        /// What extra specs of volume types find at it, beside what it says of itself: tier=fast. May be given several times.
        #[arg(long = "capability", value_name = "KEY=VALUE")]
        capabilities: Vec<String>,
        /// Does not ask.
        #[arg(long, short = 'y')]
        yes: bool,
    },
    /// Shows what is on a medium: SRs that can be taken over, or targets, LUNs, exports and devices to choose from.
    #[command(
        name = "backend_probe",
        alias = "backend-probe",
        after_help = "Examples:
  nova-manage sm backend_probe nfs server=myserver
  nova-manage sm backend_probe lvmoiscsi target=10.0.0.9
  nova-manage sm backend_probe lvmoiscsi target=10.0.0.9 targetIQN=iqn.2011-01.org.example:one chapuser=me chappassword=@chap.txt"
    )]
    BackendProbe {
        /// The SR type: nfs, lvm, lvmoiscsi ...
        sr_type: String,
        /// Parameters as for backend_add, as many as are known.
        #[arg(value_name = "KEY=VALUE")]
        parameters: Vec<String>,
        /// The availability zone whose storage manager looks.
        #[arg(long)]
        zone: Option<String>,
    },
    /// Removes a backend that has no volumes. The data on it stays.
    #[command(name = "backend_remove", aliases = ["backend_delete", "backend-remove", "backend-delete"])]
    BackendRemove {
        /// Its number.
        backend_id: i64,
        /// Does not ask.
        #[arg(long, short = 'y')]
        yes: bool,
    },
    /// Lets the scheduler use a backend.
    #[command(name = "backend_enable", alias = "backend-enable")]
    BackendEnable {
        /// Its number.
        backend_id: i64,
    },
    /// Keeps new volumes off a backend.
    #[command(name = "backend_disable", alias = "backend-disable")]
    BackendDisable {
        /// Its number.
        backend_id: i64,
    },
    /// Moves a backend in its flavor's order.
    #[command(name = "backend_move", alias = "backend-move")]
    BackendMove {
        /// Its number.
        backend_id: i64,
        /// Its place; lower is tried first.
        position: i64,
    },
}

/// Runs one command.
pub fn run(common: &CommonFlags, command: SmCommand, format: Format) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Failure::failed("start the runtime", &cause))?;
    // As nova-manage did: what does not exist is exit status 2.
    runtime
        .block_on(run_async(common, command, format))
        .map_err(|failure| match failure.exit {
            Exit::NotFound => Failure {
                exit: Exit::Usage,
                ..failure
            },
            _ => failure,
        })
}

/// Runs one command inside a runtime.
pub async fn run_async(common: &CommonFlags, command: SmCommand, format: Format) -> Result<()> {
    let change = command.change();
    let service = open_service(common, change.as_ref()).await?;
    let operator = RequestContext::operator();
    let work = execute(&service, &operator, command, format);
    recorded(&service, change, work).await
}

/// Number and name of each backend of a flavor.
pub async fn backends_of(common: &CommonFlags, flavor: &str) -> Result<Vec<(i64, String)>> {
    let service = open_service(common, None).await?;
    let found = backends::list(&service, &RequestContext::operator(), Some(flavor)).await?;
    Ok(found
        .into_iter()
        .map(|backend| (backend.id.0, backend.name_label))
        .collect())
}

/// Opens the service on the database of this machine, as the operator; with its audit log for what changes something.
pub async fn open_service(common: &CommonFlags, change: Option<&Change>) -> Result<Service> {
    let file = config::load(common, &ServeFlags::default())?;
    let data_dir = DataDir::new(&file.data_dir)?;
    if file.database.url.is_none() && !data_dir.file("xensm.db").exists() {
        ui::talk(format!(
            "note: there was no installation in {} and one is made there; name another with --data-dir or XENSM_DATA_DIR",
            data_dir.root().display()
        ));
    }
    data_dir.create()?;
    let mut config = service_config(&file, &data_dir, None)?;
    config.audit_dir = change.map(|_| data_dir.file("audit"));
    Ok(Service::open(Context::real(), config).await?)
}

async fn execute(
    service: &Service,
    request: &RequestContext,
    command: SmCommand,
    format: Format,
) -> Result<()> {
    match command {
        SmCommand::FlavorList { label } => {
            flavor_list(service, request, label.as_deref(), format).await
        }
        SmCommand::FlavorCreate { label, description } => {
            let flavor = flavors::create(service, request, &label, &description).await?;
            report(
                format,
                &json!({"id": flavor.id.to_string(), "label": flavor.label}),
                || format!("flavor {label} created"),
            );
            Ok(())
        }
        SmCommand::FlavorDelete { label, yes } => {
            let flavor = flavors::get(service, request, &label).await?;
            ui::confirm(
                &format!("WARNING: this removes the flavor {}.", flavor.label),
                confirmation(yes),
            )?;
            flavors::delete(service, request, &label).await?;
            report(format, &json!({"deleted": label}), || {
                format!("flavor {label} deleted")
            });
            Ok(())
        }
        SmCommand::BackendList { backend_id } => {
            backend_list(service, request, backend_id, format).await
        }
        SmCommand::BackendAdd {
            flavor_label,
            sr_type,
            parameters,
            zone,
            position,
            capabilities,
            yes,
        } => {
            let parameters = parameters::read(&parameters)?;
            let capabilities = parameters::pairs(&capabilities)?;
            let wanted = AddBackend {
                flavor: flavor_label,
                sr_type,
                parameters,
                zone,
                position,
                capabilities,
            };
            backend_add(service, request, wanted, confirmation(yes), format).await
        }
        SmCommand::BackendProbe {
            sr_type,
            parameters,
            zone,
        } => {
            let parameters = parameters::read(&parameters)?;
            let probed = backends::probe(service, request, &sr_type, &parameters, zone.as_deref());
            probe::show(&sr_type, &probed.await?, format);
            Ok(())
        }
        SmCommand::BackendRemove { backend_id, yes } => {
            let backend = backends::get(service, request, BackendId(backend_id)).await?;
            ui::confirm(
                &format!(
                    "WARNING: this removes backend {backend_id} ({} {}) from flavor {}; the data on it stays.",
                    backend.sr_type, backend.name_label, backend.flavor_label
                ),
                confirmation(yes),
            )?;
            backends::remove(service, request, BackendId(backend_id)).await?;
            report(format, &json!({"removed": backend_id}), || {
                format!("backend {backend_id} removed")
            });
            Ok(())
        }
        SmCommand::BackendEnable { backend_id } => {
            let backend =
                backends::set_use(service, request, BackendId(backend_id), BackendUse::Enabled)
                    .await?;
            report(format, &backend_json(&backend), || {
                format!("backend {backend_id} enabled")
            });
            Ok(())
        }
        SmCommand::BackendDisable { backend_id } => {
            let backend = backends::set_use(
                service,
                request,
                BackendId(backend_id),
                BackendUse::Disabled,
            )
            .await?;
            report(format, &backend_json(&backend), || {
                format!("backend {backend_id} disabled")
            });
            Ok(())
        }
        SmCommand::BackendMove {
            backend_id,
            position,
        } => {
            let backend =
                backends::set_position(service, request, BackendId(backend_id), position).await?;
            report(format, &backend_json(&backend), || {
                format!("backend {backend_id} is at position {position}")
            });
            Ok(())
        }
    }
}

async fn flavor_list(
    service: &Service,
    request: &RequestContext,
    label: Option<&str>,
    format: Format,
) -> Result<()> {
    let found = match label {
        Some(label) => vec![flavors::get(service, request, label).await?],
        None => flavors::list(service, request).await?,
    };
    if format == Format::Json {
        let list: Vec<_> = found
            .iter()
            .map(|flavor| json!({"id": flavor.id.to_string(), "label": flavor.label, "description": flavor.description}))
            .collect();
        ui::json(&json!(list));
        return Ok(());
    }
    ui::result(format!("{:<18}\t{:<20}\t{}", "id", "Label", "Description"));
    for flavor in found {
        ui::result(format!(
            "{:<18}\t{:<20}\t{}",
            flavor.id.to_string(),
            flavor.label,
            flavor.description
        ));
    }
    Ok(())
}

async fn backend_list(
    service: &Service,
    request: &RequestContext,
    id: Option<i64>,
    format: Format,
) -> Result<()> {
    let found = match id {
        Some(id) => vec![backends::get(service, request, BackendId(id)).await?],
        None => backends::list(service, request, None).await?,
    };
    if format == Format::Json {
        ui::json(&json!(found.iter().map(backend_json).collect::<Vec<_>>()));
        return Ok(());
    }
    ui::result(format!(
        "{:<5}\t{:<10}\t{:<40}\t{:<10}\t{}",
        "id", "Flavor id", "SR UUID", "SR Type", "Config Parameters"
    ));
    for backend in found {
        let sr_uuid = backend
            .sr_uuid
            .map(|uuid| uuid.to_string())
            .unwrap_or_default();
        ui::result(format!(
            "{:<5}\t{:<10}\t{:<40}\t{:<10}\t{}",
            backend.id.0,
            backend.flavor_id.to_string(),
            sr_uuid,
            backend.sr_type,
            shown_parameters(&backend)
        ));
        if let Some(note) = state_note(&backend) {
            ui::talk(format!("note: backend {}: {note}", backend.id));
        }
    }
    Ok(())
}

/// What an operator should know of a backend that is not simply in use.
fn state_note(backend: &Backend) -> Option<String> {
    let because = if backend.failure.is_empty() {
        String::new()
    } else {
        format!(": {}", backend.failure)
    };
    match (backend.state, backend.usage) {
        (BackendState::Connected, BackendUse::Enabled) => None,
        (BackendState::Connected, BackendUse::Disabled) => {
            Some("disabled, takes no new volumes".to_owned())
        }
        (BackendState::New, _) => Some(format!("not connected yet{because}")),
        (BackendState::Unreachable, _) => Some(format!("unreachable{because}")),
    }
}

async fn backend_add(
    service: &Service,
    request: &RequestContext,
    wanted: AddBackend,
    confirmation: Confirmation,
    format: Format,
) -> Result<()> {
    let flavor = flavors::get(service, request, &wanted.flavor).await?;
    let given_uuid = wanted
        .parameters
        .iter()
        .find(|(key, _)| key == "sr_uuid")
        .map(|(_, uuid)| uuid.to_lowercase());
    let known = match &given_uuid {
        None => None,
        Some(uuid) => backends::list(service, request, None)
            .await?
            .into_iter()
            .find(|backend| {
                backend
                    .sr_uuid
                    .is_some_and(|known| known.to_string() == *uuid)
            }),
    };
    if let Some(known) = known {
        ui::confirm(
            &format!(
                "Backend {} of flavor {} already has this SR. Recreate it with the new parameters?",
                known.id, known.flavor_label
            ),
            confirmation,
        )?;
        backends::remove(service, request, known.id).await?;
    } else if given_uuid.is_none_or(|uuid| uuid == "new") {
        let warning = probe::warning(service, request, &wanted).await?;
        ui::confirm(&warning, confirmation)?;
    }
    let added = backends::add(
        service,
        request,
        AddBackend {
            flavor: flavor.label,
            ..wanted
        },
    )
    .await?;
    let settled = wait_until_tried(service, request, added).await?;
    report(format, &backend_json(&settled), || {
        format!(
            "backend {} ({} {}) added to flavor {}",
            settled.id, settled.sr_type, settled.name_label, settled.flavor_label
        )
    });
    if format == Format::Table
        && let Some(note) = state_note(&settled)
    {
        ui::talk(format!("note: backend {}: {note}", settled.id));
    }
    Ok(())
}

/// Waits for a running worker to try to connect the backend; at once when none runs.
async fn wait_until_tried(
    service: &Service,
    request: &RequestContext,
    added: Backend,
) -> Result<Backend> {
    let is_served = overview::zones(service, request)
        .await?
        .iter()
        .any(|zone| zone.name == added.zone && zone.available);
    let started = Instant::now();
    let mut backend = added;
    while is_served && backend.state == BackendState::New && started.elapsed() < CONNECT_PATIENCE {
        tokio::time::sleep(CONNECT_POLL).await;
        backend = match backends::get(service, request, backend.id).await {
            Ok(now) => now,
            Err(error) if error.kind == ErrorKind::NotFound => break,
            Err(error) => return Err(error.into()),
        };
    }
    Ok(backend)
}

fn report(format: Format, value: &serde_json::Value, line: impl FnOnce() -> String) {
    match format {
        Format::Json => ui::json(value),
        Format::Table => ui::result(line()),
    }
}

fn confirmation(yes: bool) -> Confirmation {
    if yes {
        Confirmation::Given
    } else {
        Confirmation::Ask
    }
}

/// `key=value` pairs with secrets masked and values that need it quoted.
fn shown_parameters(backend: &Backend) -> String {
    let names = [
        ("name_label", &backend.name_label),
        ("name_description", &backend.name_description),
    ];
    let named = names.into_iter().filter(|(_, value)| !value.is_empty());
    let plain = named.chain(
        backend
            .config
            .iter()
            .map(|(key, value)| (key.as_str(), value)),
    );
    let mut pairs: Vec<String> = plain
        .map(|(key, value)| {
            let pair = format!("{key}={value}");
            if value.contains(char::is_whitespace) {
                format!("'{pair}'")
            } else {
                pair
            }
        })
        .collect();
    pairs.extend(backend.secrets.keys().map(|key| format!("{key}={MASK}")));
    pairs.join(" ")
}

fn backend_json(backend: &Backend) -> serde_json::Value {
    let mut parameters = serde_json::Map::new();
    for (key, value) in &backend.config {
        parameters.insert(key.clone(), json!(value));
    }
    for key in backend.secrets.keys() {
        parameters.insert(key.clone(), json!(MASK));
    }
    json!({
        "id": backend.id.0,
        "flavor_id": backend.flavor_id.to_string(),
        "flavor_label": backend.flavor_label,
        "zone": backend.zone,
        "position": backend.position,
        "sr_uuid": backend.sr_uuid.map(|uuid| uuid.to_string()),
        "sr_type": backend.sr_type,
        "name_label": backend.name_label,
        "name_description": backend.name_description,
        "config_params": parameters,
        "capabilities": backend.capabilities,
        "enabled": backend.usage == BackendUse::Enabled,
        "state": backend.state.as_str(),
        "failure": backend.failure,
        "physical_size": backend.physical_size,
        "physical_utilisation": backend.physical_utilisation,
        "virtual_allocation": backend.virtual_allocation,
    })
}
