//! The XML document that tells of LUNs and adapters. Source: reference 4.11; XenServer's `devscan.scan`.

use super::adapters::{Adapter, Transport};
use super::lun_paths::LunPath;

/// Writes the document: each LUN once, with how many paths lead to it, then the adapters.
pub fn devlist(luns: &[Vec<LunPath>], adapters: &[Adapter]) -> String {
    let mut document = String::from("<?xml version=\"1.0\" ?>\n");
    if luns.is_empty() && adapters.is_empty() {
        document.push_str("<Devlist/>\n");
        return document;
    }
    document.push_str("<Devlist>\n");
    for paths in luns {
        block_device(&mut document, paths);
    }
    for one in adapters {
        adapter(&mut document, one);
    }
    document.push_str("</Devlist>\n");
    document
}

fn block_device(document: &mut String, paths: &[LunPath]) {
    let Some((first, others)) = paths.split_first() else {
        return;
    };
    let mut path = format!("/dev/{}", first.node);
    for other in others {
        path.push_str(&format!(" [{}]", other.node));
    }
    let address = first.address;
    open(document, 1, "BlockDevice");
    for (name, text) in [
        ("path", path),
        ("numpaths", paths.len().to_string()),
        ("SCSIid", first.identity.scsi_id.clone()),
        ("vendor", first.identity.vendor.clone()),
        ("serial", first.identity.serial.clone()),
        ("size", first.size.to_string()),
        ("adapter", address.host.to_string()),
        ("channel", address.channel.to_string()),
        ("id", address.target.to_string()),
        ("lun", address.lun.to_string()),
        ("hba", first.driver.clone()),
    ] {
        element(document, 2, name, &text);
    }
    close(document, 1, "BlockDevice");
}

fn adapter(document: &mut String, adapter: &Adapter) {
    open(document, 1, "Adapter");
    element(document, 2, "host", &adapter.host());
    element(document, 2, "name", &adapter.driver);
    element(document, 2, "manufacturer", adapter.description());
    element(document, 2, "id", &adapter.number.to_string());
    let port = match adapter.transport {
        Transport::FibreChannel => Some("fc_host"),
        Transport::Iscsi => Some("iscsi_host"),
        Transport::Sas | Transport::Other => None,
    };
    if let Some(port) = port {
        open(document, 2, port);
        for (name, text) in &adapter.attributes {
            element(document, 3, name, text);
        }
        close(document, 2, port);
    }
    close(document, 1, "Adapter");
}

fn open(document: &mut String, depth: usize, name: &str) {
    document.push_str(&format!("{}<{name}>\n", "\t".repeat(depth)));
}

fn close(document: &mut String, depth: usize, name: &str) {
    document.push_str(&format!("{}</{name}>\n", "\t".repeat(depth)));
}

fn element(document: &mut String, depth: usize, name: &str, text: &str) {
    let indent = "\t".repeat(depth);
    if text.is_empty() {
        document.push_str(&format!("{indent}<{name}/>\n"));
        return;
    }
    document.push_str(&format!("{indent}<{name}>{}</{name}>\n", escaped(text)));
}

/// What a device says of itself may hold anything; what XML cannot carry becomes `?`.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            ' '..='~' => escaped.push(character),
            _ => escaped.push('?'),
        }
    }
    escaped
}
