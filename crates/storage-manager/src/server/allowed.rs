//! `allowed_operations`: what could be asked of an object as it is now. Advisory; every call checks for itself.
//!
//! Source: reference 2.4, 2.6 and 2.7, table "Gates"; golden 03, 04 and 08. What no driver of ours can do is left out.

use xenapi::Failure;

use crate::database::{Object, Objects};

/// The type of a VDI of which only the change-tracking log is left.
pub const CBT_METADATA: &str = "cbt_metadata";

/// That type in the words of failures.
pub const CBT_METADATA_WORDS: &str = "CBT metadata";

/// Computes `allowed_operations` of an object.
pub fn operations(objects: &Objects, object: &Object) -> Vec<&'static str> {
    match object.class.name {
        "SR" => of_sr(objects, object),
        "VDI" => of_vdi(objects, object),
        "VBD" => of_vbd(object),
        "task"
            if object.text("status") == "pending"
                && object
                    .text("name_label")
                    .starts_with(super::tasks::ASYNC_PREFIX) =>
        {
            vec!["cancel"]
        }
        _ => Vec::new(),
    }
}

/// Says whether the driver of an SR can do something.
pub fn is_capable(objects: &Objects, sr: &Object, capability: &str) -> bool {
    let sm = objects
        .all("SM")
        .find(|sm| sm.text("type") == sr.text("type"));
    sm.and_then(|sm| sm.value("capabilities").as_array())
        .is_some_and(|all| all.iter().any(|c| c.as_str() == Some(capability)))
}

/// True while a VBD of the VDI is plugged.
pub fn is_plugged(objects: &Objects, vdi: &str) -> bool {
    objects
        .pointing_at("VBD", "VDI", vdi)
        .any(|vbd| vbd.flag("currently_attached"))
}

/// True while a PBD of the SR is plugged.
pub fn is_attached(objects: &Objects, sr: &str) -> bool {
    objects
        .pointing_at("PBD", "SR", sr)
        .any(|pbd| pbd.flag("currently_attached"))
}

fn of_sr(objects: &Objects, sr: &Object) -> Vec<&'static str> {
    const GATED: [(&str, &str); 12] = [
        ("update", "SR_UPDATE"),
        ("vdi_create", "VDI_CREATE"),
        ("vdi_introduce", "VDI_INTRODUCE"),
        ("vdi_destroy", "VDI_DELETE"),
        ("vdi_resize", "VDI_RESIZE"),
        ("vdi_clone", "VDI_CLONE"),
        ("vdi_snapshot", "VDI_SNAPSHOT"),
        ("vdi_mirror", "VDI_MIRROR"),
        ("vdi_enable_cbt", "VDI_CONFIG_CBT"),
        ("vdi_disable_cbt", "VDI_CONFIG_CBT"),
        ("vdi_data_destroy", "VDI_CONFIG_CBT"),
        ("vdi_list_changed_blocks", "VDI_CONFIG_CBT"),
    ];
    let mut allowed = vec!["scan", "plug", "unplug", "pbd_create", "pbd_destroy"];
    allowed.extend(
        GATED
            .iter()
            .filter(|(_, capability)| is_capable(objects, sr, capability))
            .map(|(operation, _)| operation),
    );
    if !is_attached(objects, &sr.reference) {
        allowed.push("forget");
        if objects
            .pointing_at("PBD", "SR", &sr.reference)
            .next()
            .is_some()
        {
            allowed.push("destroy");
        }
    }
    allowed
}

/// What must hold for an operation on a VDI.
struct Rule {
    operation: &'static str,
    /// What the driver must be able to do.
    capability: Option<&'static str>,
    live: Live,
    /// Whether it can be done with a VDI of which only the change-tracking log is left.
    without_data: bool,
    /// Whether `allowed_operations` lists it: those that old clients know.
    is_listed: bool,
}

/// Whether an operation is possible while a VBD of the VDI is plugged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Live {
    Yes,
    /// As long as nobody can write.
    ReadOnly,
    No,
}

const fn rule(operation: &'static str, capability: Option<&'static str>, live: Live) -> Rule {
    Rule {
        operation,
        capability,
        live,
        without_data: false,
        is_listed: true,
    }
}

impl Rule {
    const fn without_data(mut self) -> Rule {
        self.without_data = true;
        self
    }

    const fn unlisted(mut self) -> Rule {
        self.is_listed = false;
        self
    }
}

/// Every operation on a VDI that has rules. Source: reference 2.6, "Rules for allowing a VDI operation"; golden 05 to 08 for
/// what is listed.
const VDI_RULES: [Rule; 14] = [
    rule("copy", None, Live::ReadOnly),
    rule("clone", Some("VDI_CLONE"), Live::Yes),
    rule("snapshot", Some("VDI_SNAPSHOT"), Live::Yes),
    rule("forget", None, Live::No).without_data(),
    rule("destroy", Some("VDI_DELETE"), Live::No).without_data(),
    rule("resize", Some("VDI_RESIZE"), Live::No),
    rule("update", Some("VDI_UPDATE"), Live::No),
    rule("generate_config", Some("VDI_GENERATE_CONFIG"), Live::No).without_data(),
    rule("resize_online", Some("VDI_RESIZE_ONLINE"), Live::Yes).unlisted(),
    rule("revert", Some("VDI_REVERT"), Live::No).unlisted(),
    // What the snapshot must be that a VDI is reverted to.
    rule("revert_from", Some("VDI_REVERT"), Live::Yes).unlisted(),
    rule("enable_cbt", Some("VDI_CONFIG_CBT"), Live::Yes).unlisted(),
    rule("disable_cbt", Some("VDI_CONFIG_CBT"), Live::Yes).unlisted(),
    rule("data_destroy", Some("VDI_CONFIG_CBT"), Live::No)
        .without_data()
        .unlisted(),
];

/// Checks whether an operation is possible with a VDI as things are.
///
/// # Errors
/// `HANDLE_INVALID`, `VDI_IN_USE [vdi, operation]`, `SR_HAS_NO_PBDS [sr]`, `SR_OPERATION_NOT_SUPPORTED [sr]`,
/// `VDI_INCOMPATIBLE_TYPE [vdi, "CBT metadata"]`, `VDI_NOT_MANAGED [vdi]` and `VDI_IS_SHARABLE [vdi]`.
pub fn check_vdi(objects: &Objects, vdi: &str, operation: &str) -> Result<(), Failure> {
    let record = objects.get("VDI", vdi)?;
    let Some(rule) = VDI_RULES.iter().find(|rule| rule.operation == operation) else {
        return if is_plugged(objects, vdi) {
            Err(Failure::new("VDI_IN_USE", [vdi, operation]))
        } else {
            Ok(())
        };
    };
    if !is_free(objects, record, rule.live) {
        return Err(Failure::new("VDI_IN_USE", [vdi, operation]));
    }
    if operation == "resize" && !is_attached(objects, record.text("SR")) {
        return Err(Failure::new("SR_HAS_NO_PBDS", [record.text("SR")]));
    }
    if let Some(capability) = rule.capability {
        let sr = objects.get("SR", record.text("SR"))?;
        if !is_capable(objects, sr, capability) {
            return Err(Failure::new("SR_OPERATION_NOT_SUPPORTED", [&*sr.reference]));
        }
    }
    if !rule.without_data && record.text("type") == CBT_METADATA {
        return Err(Failure::new(
            "VDI_INCOMPATIBLE_TYPE",
            [vdi, CBT_METADATA_WORDS],
        ));
    }
    if operation != "forget" && !record.flag("managed") {
        return Err(Failure::new("VDI_NOT_MANAGED", [vdi]));
    }
    if operation == "snapshot" && record.flag("sharable") {
        return Err(Failure::new("VDI_IS_SHARABLE", [vdi]));
    }
    Ok(())
}

/// Refuses what needs a VDI that nobody uses: one that is not plugged, not copied and not copied into.
///
/// # Errors
/// `VDI_IN_USE [vdi, operation]`, `HANDLE_INVALID`.
pub fn refuse_used(objects: &Objects, vdi: &str, operation: &str) -> Result<(), Failure> {
    if is_free(objects, objects.get("VDI", vdi)?, Live::No) {
        Ok(())
    } else {
        Err(Failure::new("VDI_IN_USE", [vdi, operation]))
    }
}

/// Says whether nobody uses the VDI in a way that is in the way of an operation.
fn is_free(objects: &Objects, vdi: &Object, live: Live) -> bool {
    let mut plugged = objects
        .pointing_at("VBD", "VDI", &vdi.reference)
        .filter(|vbd| vbd.flag("currently_attached"));
    match live {
        Live::Yes => true,
        Live::ReadOnly => plugged.all(|vbd| vbd.text("mode") == "RO"),
        Live::No => plugged.next().is_none() && !is_copied(vdi),
    }
}

/// True while the VDI is copied, or copied into.
fn is_copied(vdi: &Object) -> bool {
    let operations = vdi.value("current_operations").as_struct();
    operations.is_some_and(|all| {
        all.values()
            .any(|operation| operation.as_str() == Some("copy"))
    })
}

fn of_vdi(objects: &Objects, vdi: &Object) -> Vec<&'static str> {
    VDI_RULES
        .iter()
        .filter(|rule| rule.is_listed)
        .filter(|rule| check_vdi(objects, &vdi.reference, rule.operation).is_ok())
        .map(|rule| rule.operation)
        .collect()
}

fn of_vbd(vbd: &Object) -> Vec<&'static str> {
    if vbd.flag("currently_attached") {
        vec!["unplug", "unplug_force"]
    } else {
        vec!["attach", "plug"]
    }
}
