//! The XML document that tells of LUNs and adapters. Source: reference 4.11; XenServer's `devscan.scan`.

use super::adapters::{Adapter, Transport};
use super::lun_paths::LunPath;
use crate::medium::probe_document::ProbeDocument;

/// Writes the document: each LUN once, with how many paths lead to it, then the adapters.
pub fn devlist(luns: &[Vec<LunPath>], adapters: &[Adapter]) -> String {
    let mut document = ProbeDocument::new("Devlist");
    for paths in luns {
        block_device(&mut document, paths);
    }
    for one in adapters {
        adapter(&mut document, one);
    }
    document.finish()
}

fn block_device(document: &mut ProbeDocument, paths: &[LunPath]) {
    let Some((first, others)) = paths.split_first() else {
        return;
    };
    let mut path = format!("/dev/{}", first.node);
    for other in others {
        path.push_str(&format!(" [{}]", other.node));
    }
    let address = first.address;
    document.open("BlockDevice");
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
        document.element(name, &text);
    }
    document.close();
}

fn adapter(document: &mut ProbeDocument, adapter: &Adapter) {
    document.open("Adapter");
    document.element("host", &adapter.host());
    document.element("name", &adapter.driver);
    document.element("manufacturer", adapter.description());
    document.element("id", &adapter.number.to_string());
    let port = match adapter.transport {
        Transport::FibreChannel => Some("fc_host"),
        Transport::Iscsi => Some("iscsi_host"),
        Transport::Sas | Transport::Other => None,
    };
    if let Some(port) = port {
        document.open(port);
        for (name, text) in &adapter.attributes {
            document.element(name, text);
        }
        document.close();
    }
    document.close();
}
