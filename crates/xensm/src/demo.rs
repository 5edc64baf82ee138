//! `xensm demo`: the whole story in front of the reader's eyes, in a temporary directory.

mod ec2;
mod snapshot;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::api_client::ApiClient;
use crate::config::{CommonFlags, File};
use crate::failure::{Exit, Failure, Result};
use crate::serve::{Roles, Running};
use crate::sm::{self, SmCommand};
use crate::ui::{self, Format};
use crate::{attach, serve};

/// How long a volume may take to get where it should.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const POLL: Duration = Duration::from_millis(5);
/// The zone of an installation without configuration.
const ZONE: &str = "nova";

/// What `demo` takes.
#[derive(clap::Args)]
pub struct Options {
    /// Keeps the directory for a look around.
    #[arg(long)]
    keep: bool,
}

/// Runs the demo.
pub fn run(options: &Options) -> Result<()> {
    let directory = tempfile::Builder::new()
        .prefix("xensm-demo-")
        .tempdir()
        .map_err(|cause| Failure::failed("make a temporary directory", &cause))?;
    let root = directory.path().to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|cause| Failure::failed("start the runtime", &cause))?;
    let outcome = runtime.block_on(tell(&root));
    if options.keep {
        ui::result(format!("kept: {}", directory.keep().display()));
    }
    outcome
}

/// Says what is done next, does it and says how long it took.
struct Story {
    step: usize,
}

impl Story {
    async fn step<T>(
        &mut self,
        what: &str,
        command: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.step += 1;
        ui::result(format!("\n{}. {what}", self.step));
        if !command.is_empty() {
            ui::result(format!("   $ {command}"));
        }
        let started = Instant::now();
        let outcome = work.await;
        let took = started.elapsed().as_secs_f64() * 1000.0;
        match &outcome {
            Ok(_) => ui::result(format!("   done in {took:.1} ms")),
            Err(_) => ui::result(format!("   failed after {took:.1} ms")),
        }
        outcome
    }
}

async fn tell(root: &Path) -> Result<()> {
    let data_dir = root.join("xensm-data");
    let mut file = File {
        data_dir: data_dir.clone(),
        ..File::default()
    };
    for address in [
        &mut file.listen.volume,
        &mut file.listen.identity,
        &mut file.listen.ec2,
        &mut file.listen.xenapi,
    ] {
        address.set_port(0);
    }
    let common = CommonFlags {
        data_dir: Some(data_dir.clone()),
        ..CommonFlags::default()
    };
    let mut story = Story { step: 0 };
    let running = story
        .step(
            "Start everything: APIs, a worker and the embedded Storage Manager",
            &format!("xensm serve --data-dir {}", data_dir.display()),
            serve::start(&file, &Roles::everything()),
        )
        .await?;
    let told = tell_with(&mut story, root, &common, &running).await;
    let stopped = story
        .step("Stop everything", "(Ctrl-C)", running.stop())
        .await;
    told?;
    stopped?;
    let backends = [root.join("backend-a"), root.join("backend-b")];
    story
        .step(
            "Look for anything that was left behind",
            "ls backend-a backend-b",
            async { nothing_left(&backends) },
        )
        .await?;
    ui::result("\nNothing is left. That was the main job.");
    Ok(())
}

async fn tell_with(
    story: &mut Story,
    root: &Path,
    common: &CommonFlags,
    running: &Running,
) -> Result<()> {
    let admin = |command: SmCommand| sm::run_async(common, command, Format::Table);
    story
        .step(
            "The administrator makes a flavor",
            "nova-manage sm flavor_create gold \"Not all that glitters\"",
            admin(SmCommand::FlavorCreate {
                label: "gold".into(),
                description: "Not all that glitters".into(),
            }),
        )
        .await?;
    for name in ["backend-a", "backend-b"] {
        let location = root.join(name).display().to_string();
        let parameters = vec![format!("location={location}"), format!("name_label={name}")];
        let line = format!(
            "nova-manage sm backend_add gold file {}",
            parameters.join(" ")
        );
        let command = SmCommand::BackendAdd {
            flavor_label: "gold".into(),
            sr_type: "file".into(),
            parameters,
            zone: None,
            position: None,
            capabilities: Vec::new(),
            yes: true,
        };
        story
            .step("... and gives it a backend", &line, admin(command))
            .await?;
    }

    let client = ApiClient::login(&running.data_dir).await?;
    let volume = story
        .step(
            "A user makes a volume with OpenStack's tools",
            "openstack volume create --type gold --size 1 first",
            async {
                let wanted = json!({"volume": {"name": "first", "size": 1, "volume_type": "gold"}});
                let made = client.call(Method::POST, "/volumes", Some(&wanted)).await?;
                wait_for(&client, "volume", &made["volume"], Some("available")).await
            },
        )
        .await?;
    let ec2 = ec2::Ec2Client::from_files(running)?;
    let second = story
        .step(
            "... and another one with EC2's",
            &format!(
                "aws ec2 create-volume --volume-type gold --size 1 --availability-zone {ZONE}"
            ),
            async {
                let id = ec2.create_volume("gold", 1, ZONE).await?;
                ui::result(format!("   {id}"));
                let found = json!({"id": find_by_ec2_id(&client, &id).await?});
                wait_for(&client, "volume", &found, Some("available")).await
            },
        )
        .await?;

    let attachment = story
        .step(
            "The user attaches the first volume on this machine",
            "xensm attach first",
            attach::attach_volume(&client, &volume, false),
        )
        .await?;
    let uri = attach::uri(&attachment)?;
    ui::result(format!("   {uri}"));
    story
        .step(
            "... writes 4 MiB through NBD and reads them back",
            &format!("nbdcopy data.raw '{uri}'"),
            async {
                write(&attachment, 1)?;
                read_back(&attachment, 1)
            },
        )
        .await?;
    snapshot::tell(story, &client, &volume, &attachment).await?;
    story
        .step(
            "... detaches it",
            "xensm detach first",
            attach::detach_volume(&client, &volume),
        )
        .await?;
    for (volume, line) in [
        (&volume, "openstack volume delete first"),
        (&second, "aws ec2 delete-volume --volume-id vol-..."),
    ] {
        story
            .step("... and deletes the volume", line, async {
                let id = volume["id"].as_str().unwrap_or_default();
                client
                    .call(Method::DELETE, &format!("/volumes/{id}"), None)
                    .await?;
                wait_for(&client, "volume", volume, None).await
            })
            .await?;
    }
    let backends = ["backend-a", "backend-b"].map(|name| root.join(name));
    story
        .step(
            "The Storage Manager removes what snapshots left behind",
            "ls backend-a backend-b",
            snapshot::collected(&backends),
        )
        .await?;
    for (id, _) in backend_ids(common).await? {
        let command = SmCommand::BackendRemove {
            backend_id: id,
            yes: true,
        };
        story
            .step(
                "The administrator removes a backend",
                &format!("nova-manage sm backend_remove {id}"),
                admin(command),
            )
            .await?;
    }
    story
        .step(
            "... and the flavor",
            "nova-manage sm flavor_delete gold",
            admin(SmCommand::FlavorDelete {
                label: "gold".into(),
                yes: true,
            }),
        )
        .await
}

/// Waits until a volume or snapshot has a status, or (with none) until it is gone.
async fn wait_for(
    client: &ApiClient,
    kind: &str,
    thing: &Value,
    status: Option<&str>,
) -> Result<Value> {
    let id = thing["id"].as_str().unwrap_or_default();
    let path = format!("/{kind}s/{id}");
    let started = Instant::now();
    loop {
        match (client.call(Method::GET, &path, None).await, status) {
            (Ok(answer), Some(status)) if answer[kind]["status"] == status => {
                return Ok(answer[kind].clone());
            }
            (Ok(answer), _) if says_error(&answer[kind]) => {
                return Err(
                    Failure::new(Exit::Failed, format!("{kind} {id} is in error")).hint(format!(
                        "openstack volume message list --resource_uuid {id}"
                    )),
                );
            }
            (Err(failure), None) if failure.exit == Exit::NotFound => return Ok(Value::Null),
            (Err(failure), _) => return Err(failure),
            (Ok(_), _) => {}
        }
        if started.elapsed() > PATIENCE {
            return Err(Failure::new(
                Exit::Unavailable,
                format!(
                    "{kind} {id} did not get there within {} s",
                    PATIENCE.as_secs()
                ),
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn says_error(thing: &Value) -> bool {
    let status = thing["status"].as_str();
    status.is_some_and(|now| now.starts_with("error"))
}

/// Both APIs see the same volumes: the EC2 id is made of the volume id's first 17 digits.
async fn find_by_ec2_id(client: &ApiClient, ec2_id: &str) -> Result<String> {
    let digits = ec2_id.trim_start_matches("vol-");
    let answer = client.call(Method::GET, "/volumes", None).await?;
    let volumes = answer["volumes"].as_array().into_iter().flatten();
    let mut ids = volumes.filter_map(|volume| volume["id"].as_str());
    ids.find(|id| id.replace('-', "").starts_with(digits))
        .map(str::to_owned)
        .ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                format!("the Block Storage API does not show {ec2_id}"),
            )
        })
}

async fn backend_ids(common: &CommonFlags) -> Result<Vec<(i64, String)>> {
    sm::backends_of(common, "gold").await
}

/// What the demo writes and reads, in bytes.
const LENGTH: usize = 4 * 1024 * 1024;

/// Bytes that tell where they belong, different for each seed.
fn pattern(seed: usize) -> Vec<u8> {
    (0..LENGTH)
        .map(|index| ((index / 512 + seed * 97) % 251) as u8)
        .collect()
}

/// Connects to an attachment's export, by its socket.
fn connect(attachment: &Value) -> Result<nbd::Client> {
    let info = &attachment["connection_info"];
    let text = |key: &str| {
        info[key]
            .as_str()
            .or_else(|| info["data"][key].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let (socket, export) = (text("socket"), text("export"));
    nbd::Client::connect_unix(
        Path::new(&socket),
        &export,
        &nbd::client::ClientOptions::default(),
    )
    .map_err(|cause| Failure::failed(format!("open {export} on {socket}"), &cause))
}

/// Writes a pattern through NBD and flushes it.
fn write(attachment: &Value, seed: usize) -> Result<()> {
    let failed = |cause: nbd::Error| Failure::failed("write through NBD", &cause);
    let mut writer = connect(attachment)?;
    writer.write(&pattern(seed), 0).map_err(failed)?;
    writer.flush().map_err(failed)?;
    writer.disconnect().map_err(failed)
}

/// Compares what another connection reads with a pattern.
fn read_back(attachment: &Value, seed: usize) -> Result<()> {
    let failed = |cause: nbd::Error| Failure::failed("read through NBD", &cause);
    let mut reader = connect(attachment)?;
    let mut read = vec![0; LENGTH];
    reader.read(&mut read, 0).map_err(failed)?;
    reader.disconnect().map_err(failed)?;
    if read != pattern(seed) {
        return Err(Failure::new(
            Exit::Failed,
            "what was read is not what was written",
        ));
    }
    ui::result(format!("   {LENGTH} bytes read and compared"));
    Ok(())
}

/// No image of any kind is left in the SRs' directories.
fn nothing_left(backends: &[PathBuf]) -> Result<()> {
    for backend in backends {
        let Ok(entries) = std::fs::read_dir(backend) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if [".vhd", ".raw", ".new", ".tmp"]
                .iter()
                .any(|ending| name.ends_with(ending))
            {
                return Err(Failure::new(
                    Exit::Failed,
                    format!("{} was left behind", entry.path().display()),
                ));
            }
        }
    }
    Ok(())
}
