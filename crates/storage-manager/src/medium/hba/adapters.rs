//! The SCSI hosts of the machine that are host bus adapters.

use std::io;

use super::sysfs::Sysfs;

/// Drivers whose disks are the machine's own, or are served by the software initiator of another SR type.
///
/// Source: XenServer's `devscan`, which leaves out the same.
const LEFT_OUT: [&str; 5] = ["ahci", "pdc_adma", "iscsi_tcp", "usb-storage", "uas"];

/// What such drivers' names begin with.
const LEFT_OUT_FAMILIES: [&str; 3] = ["ata_", "sata_", "pata_"];

/// What the modules of common drivers say of themselves; sysfs does not have it.
const DESCRIPTIONS: [(&str, &str); 11] = [
    ("bfa", "QLogic BR-series Fibre Channel HBA Driver"),
    ("fnic", "Cisco FCoE HBA Driver"),
    ("lpfc", "Emulex LightPulse Fibre Channel SCSI driver"),
    ("megaraid_sas", "Broadcom MegaRAID SAS Driver"),
    ("mpt3sas", "LSI MPT Fusion SAS 3.0 Device Driver"),
    ("mptsas", "Fusion MPT SAS Host driver"),
    ("qedf", "QLogic FastLinQ FCoE Module"),
    ("qla2xxx", "QLogic Fibre Channel HBA Driver"),
    ("qla4xxx", "QLogic iSCSI HBA Driver"),
    ("virtio_scsi", "Virtio SCSI HBA driver"),
    ("vmw_pvscsi", "VMware PVSCSI driver"),
];

/// What is told of Fibre Channel adapters, in this order.
const FC_ATTRIBUTES: [&str; 5] = [
    "node_name",
    "port_name",
    "port_state",
    "speed",
    "supported_speeds",
];

/// What is told of iSCSI adapters, in this order.
const ISCSI_ATTRIBUTES: [&str; 5] = [
    "hwaddress",
    "initiatorname",
    "ipaddress",
    "port_speed",
    "port_state",
];

/// What an adapter speaks to its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Fibre Channel, also over Ethernet.
    FibreChannel,
    /// iSCSI by the adapter itself.
    Iscsi,
    /// Serial attached SCSI.
    Sas,
    /// Anything else.
    Other,
}

/// A SCSI host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// The kernel's number of it.
    pub number: u32,
    /// Its driver: `qla2xxx`, `virtio_scsi`.
    pub driver: String,
    /// What it speaks.
    pub transport: Transport,
    /// What sysfs says of it as a port of its transport, in the order of documents; what is empty is left out.
    pub attributes: Vec<(&'static str, String)>,
}

impl Adapter {
    /// The kernel's name of it.
    pub fn host(&self) -> String {
        format!("host{}", self.number)
    }

    /// What its driver is, in words.
    pub fn description(&self) -> &'static str {
        let known = DESCRIPTIONS
            .iter()
            .find(|(driver, _)| *driver == self.driver);
        known.map_or("Unknown", |(_, text)| text)
    }

    /// Says whether it is of a family as `device_config:type` names it: what its driver's name begins with, or what it
    /// speaks (`fc`, `iscsi`, `sas`); `any` and nothing mean all.
    pub fn is_of(&self, family: &str) -> bool {
        let spoken = match self.transport {
            Transport::FibreChannel => "fc",
            Transport::Iscsi => "iscsi",
            Transport::Sas => "sas",
            Transport::Other => "",
        };
        let family = family.to_ascii_lowercase();
        matches!(family.as_str(), "" | "any")
            || family == spoken
            || self.driver.to_ascii_lowercase().starts_with(&family)
    }
}

/// The adapters of a family, by their numbers.
///
/// # Errors
/// When the directory cannot be listed; a machine without SCSI has no adapters.
pub fn adapters(sysfs: &Sysfs, family: &str) -> io::Result<Vec<Adapter>> {
    let hosts = sysfs.names("class/scsi_host")?;
    let numbers = hosts
        .iter()
        .filter_map(|name| name.strip_prefix("host")?.parse().ok());
    let mut found: Vec<Adapter> = numbers
        .map(|number| adapter(sysfs, number))
        .filter(|adapter| !is_left_out(&adapter.driver) && adapter.is_of(family))
        .collect();
    found.sort_by_key(|adapter| adapter.number);
    Ok(found)
}

fn is_left_out(driver: &str) -> bool {
    LEFT_OUT.contains(&driver)
        || LEFT_OUT_FAMILIES
            .iter()
            .any(|family| driver.starts_with(family))
}

fn adapter(sysfs: &Sysfs, number: u32) -> Adapter {
    let of = |class: &str, names: &[&'static str]| -> Vec<(&'static str, String)> {
        names
            .iter()
            .map(|name| {
                (
                    *name,
                    sysfs.text(&format!("class/{class}/host{number}/{name}")),
                )
            })
            .filter(|(_, text)| !text.is_empty())
            .collect()
    };
    let is = |class: &str| sysfs.has(&format!("class/{class}/host{number}"));
    let (transport, attributes) = if is("fc_host") {
        (Transport::FibreChannel, of("fc_host", &FC_ATTRIBUTES))
    } else if is("iscsi_host") {
        (Transport::Iscsi, of("iscsi_host", &ISCSI_ATTRIBUTES))
    } else if is("sas_host") {
        (Transport::Sas, Vec::new())
    } else {
        (Transport::Other, Vec::new())
    };
    Adapter {
        number,
        driver: driver(sysfs, number),
        transport,
        attributes,
    }
}

/// The name that the driver gives itself, or that of the bus driver of the device that the host belongs to.
fn driver(sysfs: &Sysfs, number: u32) -> String {
    let own = sysfs.text(&format!("class/scsi_host/host{number}/proc_name"));
    if !matches!(own.as_str(), "" | "<NULL>" | "(NULL)" | "(null)") {
        return own;
    }
    let of_bus = sysfs.link(&format!("class/scsi_host/host{number}/device/../driver"));
    of_bus.unwrap_or_else(|| "Unknown".to_owned())
}
