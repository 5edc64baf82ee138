//! The SR types that a backend may have, and the keys of their `device_config`.
//!
//! Source: the device_config tables of the XenServer storage manager's drivers, per type.

use crate::error::{Error, Result};

/// What is known of an SR type: used to refuse unknown types and missing keys with the list of what is expected.
#[derive(Clone, Copy, Debug)]
pub struct SrTypeFacts {
    /// The type: `nfs`.
    pub sr_type: &'static str,
    /// What people call it: `NFS VHD`.
    pub name: &'static str,
    /// Keys that must be given.
    pub required: &'static [&'static str],
    /// Keys that may be given.
    pub optional: &'static [&'static str],
    /// Whether several hosts of a pool use one SR of it.
    pub is_shared: bool,
    /// What making an SR does to its medium.
    pub creation: Creation,
}

/// What making an SR does to its medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// It gets a directory or an area of its own beside what is there.
    Beside,
    /// The medium becomes the SR: what was on it is gone.
    Formats,
    /// Nothing is written: the SR is what is there.
    Nothing,
}

/// What each key means. One name has one meaning in all types, but for `type` and `device`.
const MEANINGS: [(&str, &str); 35] = [
    ("location", "a directory of the storage host"),
    (
        "device",
        "block devices of the storage host, joined by commas",
    ),
    ("server", "name or address of the file server"),
    ("serverpath", "the path that the server exports"),
    ("nfsversion", "3 or 4.1"),
    ("options", "further mount options"),
    ("useUDP", "true for UDP"),
    ("target", "address of the portal, or of the array"),
    ("targetIQN", "name of the iSCSI target"),
    ("port", "TCP port of the target"),
    ("SCSIid", "identity of the LUN"),
    ("LUNid", "number of the LUN, in the place of SCSIid"),
    ("chapuser", "user at the target"),
    ("chappassword", "password at the target"),
    ("incoming_chapuser", "user that the target gives"),
    ("incoming_chappassword", "password that the target gives"),
    ("multihomed", "true to log in to all portals"),
    ("usediscoverynumber", "which discovery record to use"),
    ("localIQN", "name of this initiator"),
    ("force_tapdisk", "true to give LUNs through tapdisk"),
    ("allocation", "thick or thin"),
    ("type", "family of adapters"),
    ("username", "user at the server or array"),
    ("password", "password at the server or array"),
    ("aggregate", "the aggregate that holds the SR"),
    ("FlexVols", "number of FlexVols, 1 to 32"),
    ("asis", "true to deduplicate"),
    ("usehttps", "true to manage the array by HTTPS"),
    ("storagepool", "the pool that holds the SR"),
    ("svm", "the SVM, where there are several"),
    ("controlport", "port that the array is managed by"),
    ("tls_verify", "false accepts any certificate"),
    ("tls_fingerprint", "SHA-256 of the certificate"),
    ("ca_certificate", "PEM file with who signed it"),
    ("ssh_host_key", "fingerprint of the SSH key"),
];

/// What a key means, where the table says so.
pub fn meaning(key: &str) -> Option<&'static str> {
    let known = MEANINGS.iter().find(|(name, _)| *name == key);
    known.map(|(_, meaning)| *meaning)
}

/// Every SR type of the specification and of XenServer that a backend may have.
pub fn sr_types() -> &'static [SrTypeFacts] {
    &SR_TYPES
}

/// Other names of the same types, which XenServer takes too.
const ALIASES: [(&str, &str); 2] = [("lvhdoiscsi", "lvmoiscsi"), ("lvhdohba", "lvmohba")];

/// Keys that may stand in for a required one.
const ALTERNATIVES: [(&str, &str); 2] = [("SCSIid", "LUNid"), ("SCSIid", "device")];

/// Keys that only the making of an SR needs, not its introduction by `sr_uuid=`.
const CREATE_ONLY: [&str; 2] = ["aggregate", "storagepool"];

/// Keys whose values a probe shows.
const PROBED: [&str; 6] = [
    "serverpath",
    "targetIQN",
    "SCSIid",
    "device",
    "aggregate",
    "storagepool",
];

const SR_TYPES: [SrTypeFacts; 12] = [
    SrTypeFacts {
        sr_type: "file",
        name: "local directory",
        required: &["location"],
        optional: &[],
        is_shared: false,
        creation: Creation::Beside,
    },
    SrTypeFacts {
        sr_type: "ext",
        name: "local ext4 file system of its own",
        required: &["device"],
        optional: &[],
        is_shared: false,
        creation: Creation::Formats,
    },
    SrTypeFacts {
        sr_type: "nfs",
        name: "NFS VHD",
        required: &["server", "serverpath"],
        optional: &["nfsversion", "options", "useUDP"],
        is_shared: true,
        creation: Creation::Beside,
    },
    SrTypeFacts {
        sr_type: "smb",
        name: "SMB VHD",
        required: &["server"],
        optional: &["username", "password"],
        is_shared: true,
        creation: Creation::Beside,
    },
    SrTypeFacts {
        sr_type: "lvm",
        name: "local VHD on LVM",
        required: &["device"],
        optional: &["allocation"],
        is_shared: false,
        creation: Creation::Formats,
    },
    SrTypeFacts {
        sr_type: "lvmoiscsi",
        name: "LVHD over iSCSI",
        required: &["target", "targetIQN", "SCSIid"],
        optional: &[
            "port",
            "LUNid",
            "chapuser",
            "chappassword",
            "incoming_chapuser",
            "incoming_chappassword",
            "multihomed",
            "usediscoverynumber",
            "localIQN",
            "allocation",
        ],
        is_shared: true,
        creation: Creation::Formats,
    },
    SrTypeFacts {
        sr_type: "lvmohba",
        name: "LVHD over FC",
        required: &["SCSIid"],
        optional: &["device", "allocation"],
        is_shared: true,
        creation: Creation::Formats,
    },
    SrTypeFacts {
        sr_type: "iscsi",
        name: "iSCSI, LUN per VDI",
        required: &["target", "targetIQN"],
        optional: &[
            "port",
            "SCSIid",
            "chapuser",
            "chappassword",
            "incoming_chapuser",
            "incoming_chappassword",
            "multihomed",
            "usediscoverynumber",
            "localIQN",
            "force_tapdisk",
        ],
        is_shared: true,
        creation: Creation::Nothing,
    },
    SrTypeFacts {
        sr_type: "hba",
        name: "HBA, LUN per VDI",
        required: &[],
        optional: &["type"],
        is_shared: true,
        creation: Creation::Nothing,
    },
    SrTypeFacts {
        sr_type: "rawhba",
        name: "HBA, one raw LUN",
        required: &["SCSIid"],
        optional: &["type"],
        is_shared: true,
        creation: Creation::Nothing,
    },
    SrTypeFacts {
        sr_type: "netapp",
        name: "NetApp",
        required: &["target", "username", "password", "aggregate"],
        optional: &[
            "FlexVols",
            "allocation",
            "asis",
            "chapuser",
            "chappassword",
            "svm",
            "port",
            "controlport",
            "usehttps",
            "tls_verify",
            "tls_fingerprint",
            "ca_certificate",
            "localIQN",
        ],
        is_shared: true,
        creation: Creation::Beside,
    },
    SrTypeFacts {
        sr_type: "equal",
        name: "EqualLogic",
        required: &["target", "username", "password", "storagepool"],
        optional: &[
            "allocation",
            "chapuser",
            "chappassword",
            "port",
            "controlport",
            "ssh_host_key",
            "localIQN",
        ],
        is_shared: true,
        creation: Creation::Beside,
    },
];

/// Whether a key is a secret: anything that holds a password, or the uuid of a pool's secret.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.contains("password") || key.ends_with("_secret") || key == "secret"
}

/// The facts of a type, by its name in any case or an alias of it.
///
/// # Errors
/// `Invalid` with the list of all types.
pub(crate) fn facts(asked: &str) -> Result<&'static SrTypeFacts> {
    let asked_lower = asked.to_ascii_lowercase();
    let name = ALIASES
        .iter()
        .find(|(alias, _)| *alias == asked_lower)
        .map_or(asked_lower.as_str(), |(_, name)| name);
    SR_TYPES
        .iter()
        .find(|facts| facts.sr_type == name)
        .ok_or_else(|| {
            let known: Vec<&str> = SR_TYPES.iter().map(|facts| facts.sr_type).collect();
            Error::invalid(format!(
                "SR type '{asked}' is unknown; expected one of: {}.",
                known.join(", ")
            ))
            .on(asked)
        })
}

/// Refuses when a required key is missing. Keys that the table does not know are accepted: drivers of a pool take more.
pub(super) fn check_keys(
    facts: &SrTypeFacts,
    is_given: impl Fn(&str) -> bool,
    sr_exists: bool,
) -> Result<()> {
    let satisfied = |key: &str| {
        is_given(key)
            || is_given(&format!("{key}_secret"))
            || ALTERNATIVES.iter().any(|(wanted, other)| {
                *wanted == key && facts.optional.contains(other) && is_given(other)
            })
            || (sr_exists && CREATE_ONLY.contains(&key))
    };
    let missing: Vec<&str> = facts
        .required
        .iter()
        .copied()
        .filter(|key| !satisfied(key))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let explained = |key: &&str| match meaning(key) {
        Some(meaning) => format!("{key} ({meaning})"),
        None => (*key).to_owned(),
    };
    let missing_words: Vec<String> = missing.iter().map(explained).collect();
    let optional = if facts.optional.is_empty() {
        "none".to_owned()
    } else {
        facts.optional.join(", ")
    };
    // What a medium can be asked for, nobody needs to know by heart.
    let hint = if missing.iter().any(|key| PROBED.contains(key)) {
        format!(
            " `nova-manage sm backend_probe {}` with the others shows what there is.",
            facts.sr_type
        )
    } else {
        String::new()
    };
    Err(Error::invalid(format!(
        "SR type {} ({}) needs {}; missing: {}. Optional: {optional}.{hint}",
        facts.sr_type,
        facts.name,
        facts.required.join(", "),
        missing_words.join(", ")
    ))
    .on(facts.sr_type))
}
