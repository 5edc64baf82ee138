//! Class `VM`: only the control domain exists, for VBDs to be plugged into.

use xenapi::{Failure, Value};

use crate::database::text_set;
use crate::server::call::{Args, Call, not_implemented};

/// Number of device positions of a VM.
pub const DEVICES: u32 = 255;

/// Runs a message of the class.
pub fn run(call: &Call, name: &str, args: &Args) -> Result<Value, Failure> {
    match name {
        "get_allowed_VBD_devices" => {
            let objects = call.server.database.read();
            objects.get("VM", args.text(0))?;
            let used: Vec<&str> = objects
                .pointing_at("VBD", "VM", args.text(0))
                .map(|vbd| vbd.text("userdevice"))
                .collect();
            let free = (0..DEVICES)
                .map(|device| device.to_string())
                .filter(|device| !used.contains(&device.as_str()));
            Ok(text_set(free))
        }
        "get_allowed_VIF_devices" => Ok(Value::Array(Vec::new())),
        _ => Err(not_implemented(&format!("VM.{name}"))),
    }
}
