//! The bytes of VDIs in pools behind XenAPI: asks the pool where a VDI is served, and has the binary's client connect.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::error::{PoolError, Trouble};
use super::mover::{Dialer, Disk, Door, Mover, RangeMap};
use super::pool::{NbdEndpoint, PoolFuture};
use super::xenapi_error::translate;
use super::xenapi_pool::{PoolResult, XenApiPool};
use crate::config::{Secret, ZoneConfig};
use crate::error::Result;

/// The plugin of our storage manager that says where readers find a VDI, and what two VDIs may have different.
const PLUGIN: &str = "xensm-blocks";
/// The call in errors.
const CALL: &str = "host.call_plugin";
/// What one bit of `VDI.list_changed_blocks` stands for.
///
/// # Source
/// XenAPI, "Changed block tracking".
const TRACKED_BYTES: u64 = 64 * 1024;

/// Reaches the pools of all zones; nothing is connected before the first call.
pub struct PoolMover {
    pools: BTreeMap<String, XenApiPool>,
    dialer: Arc<dyn Dialer>,
}

/// What the plugin says of a VDI's place.
#[derive(serde::Deserialize)]
struct SaidDoor {
    socket: String,
    export: String,
}

/// What the plugin says of two VDIs.
#[derive(serde::Deserialize)]
struct SaidDiffering {
    block_bytes: u64,
    map: String,
}

impl PoolMover {
    /// Makes the mover of these zones.
    ///
    /// # Errors
    /// `Invalid` for a pool that cannot be used.
    pub fn new(zones: &[ZoneConfig], dialer: Arc<dyn Dialer>) -> Result<Self> {
        let mut pools = BTreeMap::new();
        for zone in zones {
            if let Some(pool) = zone.pools.first() {
                pools.insert(zone.name.clone(), XenApiPool::new(pool)?);
            }
        }
        Ok(PoolMover { pools, dialer })
    }

    fn pool(&self, zone: &str) -> PoolResult<&XenApiPool> {
        let text = || format!("no pool is configured for the zone {zone}");
        let pool = self.pools.get(zone);
        pool.ok_or_else(|| PoolError::new(CALL, Trouble::Unreachable, text()))
    }

    async fn dial(&self, door: Door) -> PoolResult<Box<dyn Disk>> {
        let dialer = Arc::clone(&self.dialer);
        let dialled = tokio::task::spawn_blocking(move || dialer.dial(&door)).await;
        dialled.unwrap_or_else(|failed| {
            let text = format!("the client of the VDI's server failed: {failed}");
            Err(PoolError::new("NBD", Trouble::Refused, text))
        })
    }

    async fn plugged(&self, endpoint: &NbdEndpoint) -> PoolResult<Box<dyn Disk>> {
        self.dial(Door::Local {
            socket: endpoint.socket.clone(),
            export: Secret::new(endpoint.export.clone()),
        })
        .await
    }

    async fn open_for_reading(&self, zone: &str, vdi: Uuid) -> PoolResult<Box<dyn Disk>> {
        let door = self.pool(zone)?.reading_door(vdi).await?;
        self.dial(door).await
    }
}

impl Mover for PoolMover {
    fn open<'a>(&'a self, zone: &'a str, vdi: Uuid) -> PoolFuture<'a, Box<dyn Disk>> {
        Box::pin(self.open_for_reading(zone, vdi))
    }

    fn takes_writes<'a>(&'a self, zone: &'a str) -> PoolFuture<'a, bool> {
        Box::pin(async move { self.pool(zone)?.takes_writes().await })
    }

    fn open_plugged<'a>(&'a self, endpoint: &'a NbdEndpoint) -> PoolFuture<'a, Box<dyn Disk>> {
        Box::pin(self.plugged(endpoint))
    }

    fn differing<'a>(
        &'a self,
        zone: &'a str,
        from: Uuid,
        to: Uuid,
    ) -> PoolFuture<'a, Option<RangeMap>> {
        Box::pin(async move { self.pool(zone)?.differing(from, to).await })
    }
}

impl XenApiPool {
    /// Where a VDI can be read: on this machine if our storage manager is here, else where `VDI.get_nbd_info` says.
    async fn reading_door(&self, vdi: Uuid) -> PoolResult<Door> {
        let uuid = vdi.to_string();
        let said = self
            .blocks_plugin("door", &[("vdi", uuid.as_str())])
            .await?;
        if let Some(said) = said {
            let said: SaidDoor = read(&said)?;
            // It may be on another machine.
            if std::path::Path::new(&said.socket).exists() {
                return Ok(Door::Local {
                    socket: said.socket,
                    export: Secret::new(said.export),
                });
            }
        }
        let reference = self.vdi(vdi).await?;
        let found = self.client.vdi().get_nbd_info(&reference).await;
        let found = found.map_err(|error| translate("VDI.get_nbd_info", &error))?;
        let Some(info) = found.into_iter().next() else {
            let text = "no network of the pool serves NBD";
            return Err(PoolError::new(
                "VDI.get_nbd_info",
                Trouble::Unsupported,
                text,
            ));
        };
        let export = Secret::new(info.export_name);
        let door = Door::remote(
            info.address,
            info.port,
            export,
            &info.certificate,
            info.subject,
        );
        door.ok_or_else(|| {
            let text = "the pool's NBD server has a certificate that cannot be used";
            PoolError::new("VDI.get_nbd_info", Trouble::Refused, text)
        })
    }

    /// Our storage manager serves plugged VBDs of the control domain to writers on its machine.
    async fn takes_writes(&self) -> PoolResult<bool> {
        Ok(self.blocks_plugin("about", &[]).await?.is_some())
    }

    /// Change-tracking logs are exact to 64 KiB; where there are none, our storage manager knows which images both VDIs share.
    async fn differing(&self, from: Uuid, to: Uuid) -> PoolResult<Option<RangeMap>> {
        let (older, newer) = (self.vdi(from).await?, self.vdi(to).await?);
        let tracked = self.client.vdi().list_changed_blocks(&older, &newer).await;
        match tracked {
            Ok(bits) => {
                return Ok(Some(RangeMap {
                    unit_bytes: TRACKED_BYTES,
                    bits,
                }));
            }
            Err(error) => {
                tracing::debug!(%error, from.uuid = %from, to.uuid = %to, "no log of changes joins both VDIs");
            }
        }
        let (from, to) = (from.to_string(), to.to_string());
        let both = [("from", from.as_str()), ("to", to.as_str())];
        let said = match self.blocks_plugin("differing", &both).await {
            Ok(Some(said)) => said,
            Ok(None) => return Ok(None),
            Err(error) if matches!(error.trouble, Trouble::Gone | Trouble::Unreachable) => {
                return Err(error);
            }
            Err(error) => {
                tracing::debug!(%error, from, to, "the storage cannot compare both VDIs");
                return Ok(None);
            }
        };
        let said: SaidDiffering = read(&said)?;
        let bits = STANDARD.decode(&said.map).map_err(|error| {
            let text = format!("the map of differing blocks is no base64: {error}");
            PoolError::new(CALL, Trouble::Refused, text)
        })?;
        Ok(Some(RangeMap {
            unit_bytes: said.block_bytes,
            bits,
        }))
    }

    /// None when the pool's storage manager is not ours.
    async fn blocks_plugin(
        &self,
        function: &str,
        args: &[(&str, &str)],
    ) -> PoolResult<Option<String>> {
        let (host, _) = self.master().await?;
        let hosts = self.client.host();
        match hosts.call_plugin(&host, PLUGIN, function, args).await {
            Ok(said) => Ok(Some(said)),
            Err(error) if error.is("XENAPI_MISSING_PLUGIN") => Ok(None),
            Err(error) => Err(translate(CALL, &error)),
        }
    }
}

fn read<'a, T: serde::Deserialize<'a>>(said: &'a str) -> PoolResult<T> {
    serde_json::from_str(said).map_err(|error| {
        // The text holds a session: it is not shown.
        let text = format!("the plugin {PLUGIN} answered what is not understood: {error}");
        PoolError::new(CALL, Trouble::Refused, text)
    })
}
