//! `allowed_operations`: what could be asked of an object as it is now. Advisory; every call checks for itself.
//!
//! Source: reference 2.4, 2.6 and 2.7, table "Gates"; golden 03, 04 and 08. What no driver of ours can do is left out.

use crate::database::{Object, Objects};

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

fn of_vdi(objects: &Objects, vdi: &Object) -> Vec<&'static str> {
    let Some(sr) = objects.find("SR", vdi.text("SR")) else {
        return Vec::new();
    };
    let can = |capability| is_capable(objects, sr, capability);
    let mut allowed = Vec::new();
    if can("VDI_CLONE") {
        allowed.push("clone");
    }
    if can("VDI_SNAPSHOT") && !vdi.flag("sharable") {
        allowed.push("snapshot");
    }
    if is_plugged(objects, &vdi.reference) {
        return allowed;
    }
    allowed.push("forget");
    let gated = [
        ("destroy", "VDI_DELETE"),
        ("resize", "VDI_RESIZE"),
        ("generate_config", "VDI_GENERATE_CONFIG"),
        ("update", "VDI_UPDATE"),
    ];
    allowed.extend(
        gated
            .iter()
            .filter(|(_, capability)| can(capability))
            .map(|(operation, _)| *operation),
    );
    allowed
}

fn of_vbd(vbd: &Object) -> Vec<&'static str> {
    if vbd.flag("currently_attached") {
        vec!["unplug", "unplug_force"]
    } else {
        vec!["attach", "plug"]
    }
}
