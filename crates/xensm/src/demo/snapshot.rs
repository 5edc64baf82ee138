//! The demo's chapter about snapshots: what was there before comes back as a volume of its own.

use std::path::PathBuf;
use std::time::Instant;

use http::Method;
use serde_json::{Value, json};

use super::{LENGTH, PATIENCE, POLL, Story, nothing_left, read_back, wait_for, write};
use crate::api_client::ApiClient;
use crate::attach;
use crate::failure::Result;

/// Takes a snapshot of a volume while it is attached and written to, and gets its bytes back from it.
pub(super) async fn tell(
    story: &mut Story,
    client: &ApiClient,
    volume: &Value,
    attachment: &Value,
) -> Result<()> {
    let snapshot = story
        .step(
            "... takes a snapshot of it, attached as it is",
            "openstack volume snapshot create --volume first --force before",
            async {
                let wanted = json!({"snapshot": {"volume_id": volume["id"], "name": "before", "force": true}});
                let made = client
                    .call(Method::POST, "/snapshots", Some(&wanted))
                    .await?;
                wait_for(client, "snapshot", &made["snapshot"], Some("available")).await
            },
        )
        .await?;
    story
        .step("... overwrites everything", "", async {
            write(attachment, 2)
        })
        .await?;
    let restored = story
        .step(
            "... makes a second volume from the snapshot",
            "openstack volume create --snapshot before restored",
            async {
                let wanted = json!({"volume": {"name": "restored", "snapshot_id": snapshot["id"]}});
                let made = client.call(Method::POST, "/volumes", Some(&wanted)).await?;
                wait_for(client, "volume", &made["volume"], Some("available")).await
            },
        )
        .await?;
    story
        .step(
            &format!("... and finds in it the {LENGTH} bytes that were there before"),
            "xensm attach restored",
            async {
                let attached = attach::attach_volume(client, &restored, false).await?;
                read_back(&attached, 1)?;
                read_back(attachment, 2)?;
                attach::detach_volume(client, &restored).await
            },
        )
        .await?;
    for (collection, thing, line) in [
        (
            "snapshot",
            &snapshot,
            "openstack volume snapshot delete before",
        ),
        ("volume", &restored, "openstack volume delete restored"),
    ] {
        story
            .step("... and gives it back", line, async {
                let id = thing["id"].as_str().unwrap_or_default();
                let path = format!("/{collection}s/{id}");
                client.call(Method::DELETE, &path, None).await?;
                wait_for(client, collection, thing, None).await
            })
            .await?;
    }
    Ok(())
}

/// Waits until the Storage Manager has also removed the images that only linked others.
pub(super) async fn collected(backends: &[PathBuf]) -> Result<()> {
    let started = Instant::now();
    loop {
        match nothing_left(backends) {
            Err(failure) if started.elapsed() > PATIENCE => return Err(failure),
            Err(_) => tokio::time::sleep(POLL).await,
            Ok(()) => return Ok(()),
        }
    }
}
