//! A consumer of a VDI: what a guest's block driver would be.

#![allow(clippy::unwrap_used)] // a test helper fails its test
#![allow(dead_code)] // each test file uses its own part

use std::path::Path;

use nbd::client::Client as NbdClient;
use xenapi::Value;

use crate::support::{Client, patient_consumer, vbd_record};

/// A VDI that is plugged, and a connection to it.
pub struct Consumer {
    vbd: Value,
    pub nbd: NbdClient,
}

impl Consumer {
    /// Plugs a VDI and connects.
    pub fn attach(client: &mut Client, vdi: &str, mode: &str) -> Consumer {
        let vms = client.call("VM.get_all", []).unwrap();
        let vm = vms.as_array().unwrap()[0].as_str().unwrap().to_owned();
        let vbd = client.call("VBD.create", [vbd_record(&vm, vdi, mode)]);
        let vbd = vbd.unwrap();
        client.call("VBD.plug", [vbd.clone()]).unwrap();
        let config = client.call("VBD.get_other_config", [vbd.clone()]).unwrap();
        let text = |key: &str| config.as_struct().unwrap()[key].as_str().unwrap();
        let (socket, export) = (text("xensm:nbd_socket"), text("xensm:nbd_export"));
        let options = patient_consumer();
        let nbd = NbdClient::connect_unix(Path::new(socket), export, &options).unwrap();
        Consumer { vbd, nbd }
    }

    /// Flushes, disconnects, unplugs and removes the VBD.
    pub fn detach(mut self, client: &mut Client) {
        if !self.nbd.is_read_only() {
            self.nbd.flush().unwrap();
        }
        self.nbd.disconnect().unwrap();
        for method in ["VBD.unplug", "VBD.destroy"] {
            client.call(method, [self.vbd.clone()]).unwrap();
        }
    }

    /// Reads a range.
    pub fn read(&mut self, offset: u64, length: usize) -> Vec<u8> {
        let mut buffer = vec![0xAA; length];
        self.nbd.read(&mut buffer, offset).unwrap();
        buffer
    }
}
