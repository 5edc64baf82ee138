//! `xensm attach` and `xensm detach`: a volume on this machine, through the attachments of the API.

use http::Method;
use serde_json::{Value, json};

use crate::api_client::ApiClient;
use crate::config::{self, CommonFlags, ServeFlags};
use crate::data_dir::DataDir;
use crate::failure::{Exit, Failure, Result};
use crate::ui::{self, Format};

/// Marks the attachments that this command made, so that `detach` finds them.
const INITIATOR: &str = "xensm-attach";

/// What `attach` takes.
#[derive(clap::Args)]
pub struct AttachArguments {
    /// The volume, by id or name.
    volume: String,
    /// Attaches it for reading only.
    #[arg(long)]
    read_only: bool,
    /// How the result is written.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// What `detach` takes.
#[derive(clap::Args)]
pub struct DetachArguments {
    /// The volume, by id or name.
    volume: String,
}

/// Attaches a volume and prints its NBD URI.
pub fn attach(common: &CommonFlags, arguments: &AttachArguments) -> Result<()> {
    block_on(async {
        let client = login(common).await?;
        let volume = client.find_volume(&arguments.volume).await?;
        let attachment = attach_volume(&client, &volume, arguments.read_only).await?;
        match arguments.format {
            Format::Table => ui::result(uri(&attachment)?),
            Format::Json => ui::json(&attachment),
        }
        Ok(())
    })
}

/// Ends the attachments that `attach` made on this machine.
pub fn detach(common: &CommonFlags, arguments: &DetachArguments) -> Result<()> {
    block_on(async {
        let client = login(common).await?;
        let volume = client.find_volume(&arguments.volume).await?;
        let ended = detach_volume(&client, &volume).await?;
        if ended == 0 {
            return Err(Failure::new(
                Exit::NotFound,
                format!(
                    "volume {} is not attached on this machine",
                    arguments.volume
                ),
            )
            .hint(
                "`openstack --os-volume-api-version 3.27 volume attachment list` shows who uses it",
            ));
        }
        ui::talk(format!("volume {} detached", arguments.volume));
        Ok(())
    })
}

/// Makes an attachment for a consumer on this machine; returns it.
pub async fn attach_volume(
    client: &ApiClient,
    volume: &Value,
    is_read_only: bool,
) -> Result<Value> {
    let mode = if is_read_only { "ro" } else { "rw" };
    let connector = json!({
        "host": machine_name(), "initiator": INITIATOR, "protocols": ["nbd"], "mode": mode, "os_type": "linux",
        "multipath": false, "mountpoint": Value::Null,
    });
    let wanted =
        json!({"attachment": {"volume_uuid": volume["id"], "connector": connector, "mode": mode}});
    let answer = client
        .call(Method::POST, "/attachments", Some(&wanted))
        .await?;
    let attachment = answer["attachment"].clone();
    let id = attachment["id"].as_str().unwrap_or_default();
    // In use from here on: a consumer may open the URI at any time.
    client
        .call(
            Method::POST,
            &format!("/attachments/{id}/action"),
            Some(&json!({"os-complete": {}})),
        )
        .await?;
    Ok(attachment)
}

/// Removes the attachments of this machine; returns how many there were.
pub async fn detach_volume(client: &ApiClient, volume: &Value) -> Result<usize> {
    let id = volume["id"].as_str().unwrap_or_default();
    let answer = client
        .call(
            Method::GET,
            &format!("/attachments/detail?volume_id={id}"),
            None,
        )
        .await?;
    let machine = machine_name();
    let mut ended = 0;
    for attachment in answer["attachments"].as_array().into_iter().flatten() {
        let attachment_id = attachment["id"].as_str().unwrap_or_default();
        let shown = client
            .call(Method::GET, &format!("/attachments/{attachment_id}"), None)
            .await?;
        let info = &shown["attachment"]["connection_info"];
        let is_ours = info["driver_volume_type"] == "nbd"
            && (info["host"].is_null() || info["host"] == machine.as_str());
        if is_ours {
            client
                .call(
                    Method::DELETE,
                    &format!("/attachments/{attachment_id}"),
                    None,
                )
                .await?;
            ended += 1;
        }
    }
    Ok(ended)
}

/// The NBD URI of an attachment.
pub fn uri(attachment: &Value) -> Result<String> {
    let info = &attachment["connection_info"];
    let uri = info["uri"]
        .as_str()
        .or_else(|| info["data"]["uri"].as_str());
    uri.map(str::to_owned).ok_or_else(|| {
        Failure::new(Exit::Failed, "the attachment has no NBD URI")
            .hint("the volume's pool does not export volumes over NBD; attach it to a VM of that pool instead")
    })
}

async fn login(common: &CommonFlags) -> Result<ApiClient> {
    let file = config::load(common, &ServeFlags::default())?;
    ApiClient::login(&DataDir::new(&file.data_dir)?).await
}

fn machine_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Failure::failed("start the runtime", &cause))?
        .block_on(work)
}
