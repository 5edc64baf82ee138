//! Stock OpenStack and AWS clients, unmodified, against the routers on real sockets. No worker runs: what is tested here is
//! that every request of theirs is understood and every answer too; volumes stay `creating`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

mod administration;
mod openapi;
mod refusals;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use axum::Router;
use testkit::tool;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;
use volume_service::app::identity::{self, FirstCredentials};
use volume_service::app::{Service, flavors};
use volume_service::config::{Config, Endpoints, Limits, MasterKey, Secret, ZoneConfig};
use volume_service::db::services::{self, Heartbeat};
use volume_service::{Context, RequestContext, api};

const PASSWORD: &str = "a-password-of-the-tests";
const ACCESS_KEY: &str = "AKIAXENSMTEST0000001";
const SECRET_KEY: &str = "secret/key+of=the~tests";
/// How long one command of a client may take; the slowest need seconds only to load.
const COMMAND_DEADLINE: Duration = Duration::from_secs(300);

/// How long the played worker does nothing.
const WORK_PAUSE: Duration = Duration::from_millis(50);

/// The three APIs on loopback; they stop when it is dropped.
struct Servers {
    endpoints: Endpoints,
    service: Service,
    tasks: JoinSet<()>,
    directory: tempfile::TempDir,
}

impl Servers {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut listeners = Vec::new();
        let mut urls = Vec::new();
        for _ in 0..3 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            urls.push(format!("http://{}", listener.local_addr().unwrap()));
            listeners.push(listener);
        }
        let endpoints = Endpoints {
            volume: urls[0].clone(),
            identity: urls[1].clone(),
            ec2: urls[2].clone(),
        };
        let database = directory.path().join("xensm.sqlite");
        let config = Config {
            database_url: Secret::new(format!("sqlite://{}", database.display())),
            master_key: MasterKey([7; 32].into()),
            zones: vec![ZoneConfig {
                name: "nova".to_owned(),
                pools: Vec::new(),
            }],
            default_zone: "nova".to_owned(),
            endpoints: endpoints.clone(),
            limits: Limits {
                page_max: 3,
                ..Limits::default()
            },
            token_lifetime_s: 3600,
            keystone: None,
            audit_dir: None,
            policies: volume_service::auth::policy::Policies::default(),
        };
        let service = Service::open(Context::real(), config).await.unwrap();
        prepare(&service).await;
        let routers = [
            api::volume_router(service.clone()),
            api::identity_router(service.clone()),
            api::ec2_router(service.clone()),
        ];
        let mut tasks = JoinSet::new();
        for (listener, router) in listeners.into_iter().zip(routers) {
            tasks.spawn(serve(listener, router));
        }
        Servers {
            endpoints,
            service,
            tasks,
            directory,
        }
    }

    /// Ends the creation of every volume as a worker would have.
    async fn finish_volumes(&self) {
        let finished = self.service.database.write(|tx| {
            tx.execute("UPDATE operations SET state = 'succeeded'", &[])?;
            tx.execute(
                "UPDATE volumes SET status = 'available', vdi_uuid = id",
                &[],
            )
        });
        assert_ne!(finished.await.unwrap(), 0);
    }

    /// Plays the worker of a pool that answers at once, until the servers stop.
    fn work(&mut self) {
        let database = self.service.database.clone();
        self.tasks.spawn(async move {
            let mut rounds = tokio::time::interval(WORK_PAUSE);
            loop {
                rounds.tick().await;
                let worked = database.write(|tx| {
                    for sql in [
                        "UPDATE operations SET state = 'succeeded'",
                        "UPDATE volumes SET status = 'available', vdi_uuid = id WHERE status = 'creating'",
                        "UPDATE snapshots SET status = 'available', vdi_uuid = id WHERE status = 'creating'",
                        "UPDATE volume_groups SET status = 'available' WHERE status = 'creating'",
                        "UPDATE group_snapshots SET status = 'available' WHERE status = 'creating'",
                        "DELETE FROM snapshots WHERE status = 'deleting'",
                        "DELETE FROM volumes WHERE status = 'deleting'",
                        "DELETE FROM volume_groups WHERE status = 'deleting'",
                        "DELETE FROM group_snapshots WHERE status = 'deleting'",
                    ] {
                        tx.execute(sql, &[])?;
                    }
                    Ok(())
                });
                worked.await.unwrap();
            }
        });
    }

    /// A client's command with everything in its environment that it needs to log in, and nothing of the developer's.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path())
            .env("OS_AUTH_URL", format!("{}/v3", self.endpoints.identity))
            .env("OS_USERNAME", "admin")
            .env("OS_PASSWORD", PASSWORD)
            .env("OS_PROJECT_NAME", "admin")
            .env("OS_USER_DOMAIN_NAME", "Default")
            .env("OS_PROJECT_DOMAIN_NAME", "Default")
            .env("OS_IDENTITY_API_VERSION", "3")
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_DEFAULT_REGION", api::REGION)
            .env("AWS_ENDPOINT_URL_EC2", &self.endpoints.ec2)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("XENSM_VOLUME_URL", &self.endpoints.volume)
            .kill_on_drop(true);
        command
    }
}

async fn prepare(service: &Service) {
    let first = FirstCredentials {
        user_name: "admin".to_owned(),
        password: Secret::new(PASSWORD),
        project_name: "admin".to_owned(),
        ec2_access_key: ACCESS_KEY.to_owned(),
        ec2_secret_key: Secret::new(SECRET_KEY),
    };
    assert!(identity::bootstrap(service, &first).await.unwrap());
    let now_us = service.context.now_us();
    let alive = Heartbeat {
        binary: "xensm-worker".to_owned(),
        machine: "m1".to_owned(),
        zone: "nova".to_owned(),
        updated_at_us: now_us,
    };
    let beaten = service.database.write(move |tx| services::beat(tx, &alive));
    beaten.await.unwrap();
    let operator = RequestContext::operator();
    for label in ["default", "gold"] {
        flavors::create(service, &operator, label, "Not all that glitters")
            .await
            .unwrap();
    }
}

async fn serve(listener: TcpListener, router: Router) {
    axum::serve(listener, router).await.unwrap();
}

async fn output(command: &mut Command) -> Output {
    let running = command.output();
    let output = tokio::time::timeout(COMMAND_DEADLINE, running)
        .await
        .expect("the client answers in time");
    output.unwrap()
}

/// Runs a command that must succeed and returns what it printed.
async fn run(command: &mut Command) -> String {
    let output = output(command).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{said}\n{complaint}");
    said
}

async fn json(command: &mut Command) -> serde_json::Value {
    let said = run(command).await;
    serde_json::from_str(&said).unwrap_or_else(|cause| panic!("{command:?}: {cause}: {said}"))
}

/// Runs a command that must be refused and returns its complaint.
async fn refused(command: &mut Command) -> String {
    let output = output(command).await;
    assert!(!output.status.success(), "{command:?} was not refused");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_openstack_command() {
    let Some(openstack) = tool::python_client("openstack") else {
        return;
    };
    let servers = Servers::start().await;
    let call = |line: &str| {
        let mut command = servers.command(&openstack);
        command.args(line.split(' '));
        command
    };
    run(&mut call("token issue")).await;
    run(&mut call("catalog list")).await;
    let types = json(&mut call("volume type list -f json")).await;
    assert_eq!(types.as_array().unwrap().len(), 2, "{types}");
    let made = json(&mut call(
        "volume create --type gold --size 1 --property k=v one -f json",
    ))
    .await;
    assert_eq!(made["type"], "gold");
    assert_eq!(made["status"], "creating");
    for name in ["two", "three", "four"] {
        run(&mut call(&format!("volume create --size 2 {name}"))).await;
    }
    let listed = json(&mut call("volume list -f json")).await;
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 4, "more than a page, {listed:?}");
    let shown = json(&mut call("volume show one -f json")).await;
    assert_eq!(shown["id"], made["id"]);
    run(&mut call("volume set --name uno --property a=b one")).await;
    run(&mut call("volume unset --property a uno")).await;
    run(&mut call("volume show uno")).await;
    run(&mut call("availability zone list --volume")).await;
    run(&mut call("volume service list")).await;
    run(&mut call("volume backend pool list --long")).await;
    run(&mut call(
        "--os-volume-api-version 3.71 volume message list",
    ))
    .await;
    run(&mut call("--os-volume-api-version 3.71 volume summary")).await;
    run(&mut call(
        "--os-volume-api-version 3.71 volume attachment list",
    ))
    .await;
    run(&mut call("volume snapshot list")).await;
    run(&mut call("volume backup list")).await;
    run(&mut call("application credential create ci")).await;
    run(&mut call("ec2 credentials create")).await;
    run(&mut call("project show admin")).await;
    let missing = refused(&mut call("volume show no-such")).await;
    assert!(missing.contains("no-such"), "{missing}");
    let busy = refused(&mut call("volume delete uno")).await;
    assert!(busy.contains("uno"), "{busy}");
    let early = refused(&mut call("volume snapshot create --volume uno early")).await;
    assert!(early.contains("available"), "{early}");
    let unknown = refused(&mut call("volume create --type lead --size 1 x")).await;
    assert!(unknown.contains("lead"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cinder_command() {
    let Some(cinder) = tool::python_client("cinder") else {
        return;
    };
    let servers = Servers::start().await;
    let call = |line: &str| {
        let mut command = servers.command(&cinder);
        command.args(line.split(' '));
        command
    };
    run(&mut call(
        "create --name one --volume-type gold --metadata k=v 1",
    ))
    .await;
    for line in [
        "list",
        "show one",
        "type-list",
        "type-default",
        "metadata one set a=b",
        "rename one uno",
        "availability-zone-list",
        "absolute-limits",
        "service-list",
        "get-pools --detail",
        "attachment-list",
        "message-list",
        "snapshot-list",
        "backup-list",
        "summary",
        "version-list",
        "list-filters",
        "reset-state --help",
    ] {
        run(&mut call(line)).await;
    }
    let listed = run(&mut call("list --metadata k=v --all-tenants")).await;
    assert!(listed.contains("uno"), "{listed}");
    refused(&mut call("delete uno")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_aws_command() {
    let Some(aws) = tool::python_client("aws") else {
        return;
    };
    let servers = Servers::start().await;
    let call = |line: &str| {
        let mut command = servers.command(&aws);
        command.arg("ec2").args(line.split(' '));
        command
    };
    let tags = "ResourceType=volume,Tags=[{Key=Name,Value=a&b}]";
    let create = "create-volume --size 8 --volume-type gold --availability-zone nova";
    let made = json(call(create).args(["--tag-specifications", tags])).await;
    assert_eq!(made["State"], "creating");
    assert_eq!(made["Tags"][0]["Value"], "a&b");
    for _ in 0..4 {
        json(&mut call(create)).await;
    }
    let all = json(&mut call("describe-volumes")).await;
    let all = all["Volumes"].as_array().unwrap().len();
    assert_eq!(all, 5, "more than a page");
    let named = json(&mut call(
        "describe-volumes --filters Name=tag:Name,Values=a*",
    ))
    .await;
    assert_eq!(named["Volumes"][0]["VolumeId"], made["VolumeId"]);
    let snapshots = json(&mut call("describe-snapshots --owner-ids self")).await;
    assert_eq!(snapshots["Snapshots"], serde_json::json!([]));
    let zones = json(&mut call("describe-availability-zones")).await;
    assert_eq!(zones["AvailabilityZones"][0]["ZoneName"], "nova");
    for (line, code) in [
        (
            "delete-volume --volume-id vol-00000000",
            "InvalidVolume.NotFound",
        ),
        (
            "delete-volume --dry-run --volume-id VOLUME",
            "DryRunOperation",
        ),
        ("delete-volume --volume-id VOLUME", "IncorrectState"),
        ("describe-vpcs", "InvalidAction"),
        (
            "delete-snapshot --snapshot-id snap-00000000",
            "InvalidSnapshot.NotFound",
        ),
        ("create-snapshot --volume-id VOLUME", "IncorrectState"),
        (
            "modify-volume --volume-id VOLUME --iops 3000",
            "IncorrectState",
        ),
        (
            "create-volume --size 1 --availability-zone atlantis",
            "InvalidZone.NotFound",
        ),
    ] {
        let line = line.replace("VOLUME", made["VolumeId"].as_str().unwrap());
        let complaint = refused(&mut call(&line)).await;
        assert!(complaint.contains(code), "{line}: {complaint}");
    }
}

/// Nothing of the table of EC2's actions is our invention.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_of_ec2s_actions() {
    let Some(python) = tool::python_client("python") else {
        return;
    };
    let servers = Servers::start().await;
    let table = servers.directory.path().join("actions.json");
    std::fs::write(&table, api::ec2_table().to_string()).unwrap();
    let mut command = servers.command(&python);
    let said = run(command.arg(script("ec2_model.py")).arg(&table)).await;
    assert!(said.trim_end().ends_with("done"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_libraries() {
    let Some(python) = tool::python_client("python") else {
        return;
    };
    for name in [
        "openstack_requests.py",
        "ec2_requests.py",
        "ec2_snapshots.py",
        "identity_commands.py",
        "type_requests.py",
        "group_requests.py",
    ] {
        let mut servers = Servers::start().await;
        if ["ec2_snapshots.py", "group_requests.py"].contains(&name) {
            servers.work();
        }
        let said = run(servers.command(&python).arg(script(name))).await;
        assert!(said.trim_end().ends_with("done"), "{name}: {said}");
    }
}
