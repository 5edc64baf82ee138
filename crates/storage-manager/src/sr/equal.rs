//! SR type `equal`: volumes that an EqualLogic group makes.
//!
//! Parameters, limits and errors: `docs/sr-types.md`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use uuid::Uuid;
use xenapi::Failure;

use super::array_sr::{ArraySrOptions, AttachedArraySr};
use super::backend_error::{self as backend, Command};
use super::equal_config::{EqualConfig, HOST_KEY, STORAGE_POOL};
use super::{AttachedSr, ConfigChanges, DriverInfo, SrParams, SrType};
use crate::array::equallogic::{
    CliError, EqualOptions, EqualVolumes, Group, Pool, Sessions, SrVolume, SshDial, failure,
};
use crate::array::{ArrayError, Fault, IscsiVolumes};
use crate::medium::iscsi::{Portal, resolve};
use crate::medium::probe_document::ProbeDocument;

/// The oldest firmware. Source: reference arrays 2.1.
const LEAST_FIRMWARE: u32 = 4;

/// What the SM record says.
static INFO: DriverInfo = DriverInfo {
    sr_type: "equal",
    name_label: "Dell EqualLogic",
    name_description: "SR driver which manages volumes of a Dell EqualLogic group, one for each VDI",
    capabilities: &[
        "SR_PROBE",
        "SR_UPDATE",
        "VDI_CREATE",
        "VDI_DELETE",
        "VDI_ATTACH",
        "VDI_DETACH",
        "VDI_RESIZE",
        "VDI_RESIZE_ONLINE",
        "VDI_SNAPSHOT",
        "VDI_CLONE",
        "VDI_REVERT",
    ],
    configuration: &[
        (
            "target",
            "IP address or name of the EqualLogic group (required)",
        ),
        ("username", "account of the group's CLI (required)"),
        ("password", "its password (required)"),
        (
            STORAGE_POOL,
            "storage pool of the volumes (required to create an SR)",
        ),
        (
            "allocation",
            "thick or thin: how space of VDIs is taken that do not say (optional, thick)",
        ),
        ("chapuser", "account of iSCSI on the group (optional)"),
        ("chappassword", "its password (optional)"),
        ("controlport", "port of the CLI (optional, 22)"),
        ("port", "port of iSCSI (optional, 3260)"),
        (
            HOST_KEY,
            "fingerprint of the group's SSH key, SHA256:... (optional; the first one that is seen is recorded)",
        ),
        ("localIQN", "name of this initiator (optional, the host's)"),
    ],
    required_count: 3,
};

/// Longest time for calls on the SR as a whole: a question for each volume.
const PATIENCE: Duration = Duration::from_secs(110);

/// The driver. Attaching an attached SR answers the one that is attached; SRs of one group share its sessions.
#[derive(Default)]
pub struct EqualSr {
    attached: Mutex<HashMap<Uuid, Slot>>,
    groups: Mutex<HashMap<GroupKey, KnownGroup>>,
}

/// Held while an SR is attached, so that two calls do not attach it twice.
type Slot = Arc<Mutex<Weak<AttachedArraySr>>>;

/// Place, account, digest of the password, and the pinned key.
type GroupKey = (String, u16, String, Vec<u8>, Option<String>);

/// Its sessions, and what makes them.
type KnownGroup = (Weak<Sessions>, Weak<SshDial>);

/// A group that answered.
struct Contact {
    config: EqualConfig,
    group: Group,
    dial: Arc<SshDial>,
    /// What messages call it.
    name: String,
}

impl SrType for EqualSr {
    fn info(&self) -> &'static DriverInfo {
        &INFO
    }

    fn patience(&self) -> Option<Duration> {
        Some(PATIENCE)
    }

    /// Makes the management volume, which says that there is an SR. One that an earlier try made is taken.
    ///
    /// # Errors
    /// 163 without `storagepool`, with a document of the pools; 172 for a pool that is not there.
    fn create(&self, params: &SrParams) -> Result<(), Failure> {
        let contact = self.contact(params, Command::SrCreate)?;
        let pool = contact.chosen_pool()?;
        let allocation = contact.config.allocation.unwrap_or_default();
        let volume = SrVolume {
            sr: params.sr_uuid,
            pool,
            allocation,
        };
        let made = volume.make(&contact.group);
        made.map_err(|error| {
            contact.failed(
                Command::SrCreate,
                params.sr_uuid,
                "make the management volume",
                error,
            )
        })
    }

    fn probe(&self, params: &SrParams) -> Result<String, Failure> {
        let contact = self.contact(params, Command::SrScan)?;
        let found = SrVolume::all(&contact.group);
        let found = found.map_err(|error| {
            contact.failed(Command::SrScan, params.sr_uuid, "look for SRs", error)
        })?;
        let mut document = ProbeDocument::new("SRlist");
        for volume in found {
            let space = contact.group.pool_space(&volume.pool);
            let space = space.map_err(|error| {
                contact.failed(Command::SrScan, params.sr_uuid, "look at a pool", error)
            })?;
            document.open("SR");
            document.element("UUID", &volume.sr.to_string());
            document.element("StoragePool", &volume.pool);
            document.element("Size", &space.map_or(0, |(size, _)| size).to_string());
            document.element("Allocation", volume.allocation.as_str());
            document.close();
        }
        Ok(document.finish())
    }

    fn attach(&self, params: &SrParams) -> Result<Arc<dyn AttachedSr>, Failure> {
        let slot = self.slot(params.sr_uuid);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sr) = slot.upgrade().filter(|sr| sr.is_attached()) {
            return Ok(sr);
        }
        let contact = self.contact(params, Command::SrAttach)?;
        let (volumes, changes) = self.volumes(params, &contact, Command::SrAttach)?;
        let concealed = volumes.conceal_leftovers();
        concealed.map_err(|error| backend::array(Command::SrAttach, params.sr_uuid, &error))?;
        let data = volumes.data_path();
        let options = ArraySrOptions {
            initiator: contact.config.initiator()?.to_owned(),
            config_changes: changes,
        };
        let sr = Arc::new(AttachedArraySr::new(
            params.sr_uuid,
            Arc::new(volumes),
            data,
            options,
        ));
        *slot = Arc::downgrade(&sr);
        Ok(sr)
    }

    /// Removes the management volume, and volumes that are deleted already.
    fn delete(&self, params: &SrParams) -> Result<(), Failure> {
        let contact = self.contact(params, Command::SrDelete)?;
        let failed = |error| {
            contact.failed(
                Command::SrDelete,
                params.sr_uuid,
                "look for the management volume",
                error,
            )
        };
        let Some(volume) = SrVolume::find(&contact.group, params.sr_uuid).map_err(failed)? else {
            return Ok(());
        };
        let (volumes, _) = self.volumes(params, &contact, Command::SrDelete)?;
        let left = volumes
            .empty()
            .map_err(|error| backend::array(Command::SrDelete, params.sr_uuid, &error))?;
        if let Some(left) = left {
            tracing::info!(left, "an SR is not empty");
            return Err(Failure::new("SR_NOT_EMPTY", [""]));
        }
        volume.remove(&contact.group).map_err(failed)
    }
}

impl EqualSr {
    /// The place of an SR; places that nobody uses are dropped.
    fn slot(&self, sr_uuid: Uuid) -> Slot {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        attached.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.lock().is_ok_and(|sr| sr.strong_count() > 0)
        });
        attached.entry(sr_uuid).or_default().clone()
    }

    /// Reads the configuration, logs on, and sees that this is the address of a group with a firmware that can be used.
    fn contact(&self, params: &SrParams, command: Command) -> Result<Contact, Failure> {
        let config = EqualConfig::of(params)?;
        // Before the dial, whose failure says nothing of names.
        let addresses = resolve(&config.target, config.port)
            .map_err(|error| Fault::Name.failure(&error.to_string()))?;
        let (sessions, dial) = self.sessions(&config);
        let group = Group::new(sessions);
        let name = config.description(params.sr_uuid);
        let contact = Contact {
            config,
            group,
            dial,
            name,
        };
        let failed = |error| contact.failed(command, params.sr_uuid, "log on", error);
        let address = contact.group.group_address().map_err(failed)?;
        contact.check_address(&address, &addresses)?;
        for version in contact.group.firmware().map_err(failed)? {
            if major(&version).is_some_and(|major| major < LEAST_FIRMWARE) {
                let detail = format!(
                    "a member of the group has the firmware {version}; {LEAST_FIRMWARE}.0 and later can be used"
                );
                return Err(Fault::EqualFirmware.failure(&detail));
            }
        }
        Ok(contact)
    }

    /// The sessions with the group, which other SRs may use too.
    fn sessions(&self, config: &EqualConfig) -> (Arc<Sessions>, Arc<SshDial>) {
        let digest =
            ring::digest::digest(&ring::digest::SHA256, config.password.expose().as_bytes());
        let key = (
            config.target.clone(),
            config.control_port,
            config.username.clone(),
            digest.as_ref().to_vec(),
            config.host_key.clone(),
        );
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.retain(|_, (sessions, _)| sessions.strong_count() > 0);
        let known = groups.get(&key);
        let known = known.and_then(|(sessions, dial)| Some((sessions.upgrade()?, dial.upgrade()?)));
        if let Some(known) = known {
            return known;
        }
        let dial = Arc::new(SshDial::new(
            &config.target,
            config.control_port,
            &config.username,
            config.password.clone(),
            config.host_key.as_deref(),
        ));
        let sessions = Arc::new(Sessions::new(dial.clone()));
        groups.insert(key, (Arc::downgrade(&sessions), Arc::downgrade(&dial)));
        (sessions, dial)
    }

    /// The volumes of an SR that is on the group, and what is to be recorded of it.
    fn volumes(
        &self,
        params: &SrParams,
        contact: &Contact,
        command: Command,
    ) -> Result<(EqualVolumes, ConfigChanges), Failure> {
        let found = SrVolume::find(&contact.group, params.sr_uuid);
        let found = found.map_err(|error| {
            contact.failed(
                command,
                params.sr_uuid,
                "look for the management volume",
                error,
            )
        })?;
        let volume = found.ok_or_else(|| {
            let detail = format!("{} is not there: its management volume is missing; a probe shows which SRs there are", contact.name);
            backend::failed(command, &detail)
        })?;
        let pool = contact.config.pool.clone().unwrap_or(volume.pool);
        let allocation = contact.config.allocation.unwrap_or(volume.allocation);
        let initiator = contact.config.initiator()?.to_owned();
        let mut changes = ConfigChanges::default()
            .sm("allocation", allocation.as_str())
            .device(STORAGE_POOL, pool.clone());
        if let Some(key) = contact.dial.host_key() {
            changes = changes.device(HOST_KEY, key);
        }
        let options = EqualOptions {
            sr: params.sr_uuid,
            pool,
            allocation,
            portal: (contact.config.target.clone(), contact.config.port),
            credentials: contact.config.credentials.clone(),
            initiator: initiator.clone(),
        };
        let data = Arc::new(IscsiVolumes::new(initiator));
        Ok((
            EqualVolumes::new(contact.group.clone(), options, data),
            changes,
        ))
    }
}

impl Contact {
    fn failed(
        &self,
        command: Command,
        sr_uuid: Uuid,
        action: &'static str,
        error: CliError,
    ) -> Failure {
        let error: ArrayError = failure(&self.name, action, error);
        backend::array(command, sr_uuid, &error)
    }

    /// 173: an address of a member moves nowhere when that member fails.
    fn check_address(&self, group: &str, addresses: &[Portal]) -> Result<(), Failure> {
        let target = &self.config.target;
        let mut addresses = addresses
            .iter()
            .map(|portal| portal.address.ip().to_string());
        if target == group || addresses.any(|address| address == group) {
            return Ok(());
        }
        let detail =
            format!("device_config:target is {target}, the group's address is {group}; give that");
        Err(Fault::EqualGroupAddress.failure(&detail))
    }

    /// The pool that is configured, if there is one of that name.
    fn chosen_pool(&self) -> Result<String, Failure> {
        let pools = self.group.pools();
        let pools = pools.map_err(|error| {
            self.failed(
                Command::SrCreate,
                Uuid::nil(),
                "list the storage pools",
                error,
            )
        })?;
        let document = pool_document(&pools);
        let Some(pool) = &self.config.pool else {
            let detail = format!("name one of the storage pools by device_config:{STORAGE_POOL}");
            return Err(Fault::EqualPool.with_document(&detail, &document));
        };
        if pools.iter().any(|known| known.name == *pool) {
            return Ok(pool.clone());
        }
        let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
        let detail = format!(
            "there is no storage pool {pool}; there are: {}",
            names.join(", ")
        );
        Err(Fault::EqualUnknownPool.with_document(&detail, &document))
    }
}

/// The document of error 163. Source: reference arrays 2.4.
fn pool_document(pools: &[Pool]) -> String {
    let mut document = ProbeDocument::new("StoragePools");
    for pool in pools {
        document.open("StoragePool");
        document.element("Name", &pool.name);
        document.element("Default", if pool.is_default { "true" } else { "false" });
        document.element("Members", &pool.members.to_string());
        document.element("Volumes", &pool.volumes.to_string());
        document.element("Capacity", &pool.capacity.to_string());
        document.element("Freespace", &pool.free.to_string());
        document.close();
    }
    document.finish()
}

/// The first number of a version such as `V5.0.2 (R138185)`.
fn major(version: &str) -> Option<u32> {
    let digits = version.trim_start_matches(['V', 'v', ' ']);
    digits
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_first_number() {
        for (text, expected) in [
            ("V5.0.2 (R138185)", Some(5)),
            ("v10.0.3", Some(10)),
            ("3.3", Some(3)),
            ("Storage Array Firmware", None),
            ("", None),
        ] {
            assert_eq!(major(text), expected, "{text}");
        }
    }
}
