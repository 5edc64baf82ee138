//! Class `network`. Source: reference 1.9; golden 11 "nbd".

use xenapi::{Failure, Value};

use crate::server::call::{Args, Call, not_implemented};

/// Runs a message of the class.
pub async fn run(call: &Call, name: &str, args: &Args) -> Result<Value, Failure> {
    let network = args.text(0);
    let written = call.server.database.write(|transaction| {
        let mut purposes: Vec<Value> = transaction
            .get("network", network)?
            .value("purpose")
            .as_array()
            .map(<[Value]>::to_vec)
            .unwrap_or_default();
        let purpose = args.text(1);
        match name {
            "add_purpose" => {
                if let Some(other) = purposes
                    .iter()
                    .filter_map(Value::as_str)
                    .find(|other| *other != purpose)
                {
                    return Err(Failure::new(
                        "NETWORK_INCOMPATIBLE_PURPOSES",
                        [purpose, other],
                    ));
                }
                if purposes.is_empty() {
                    purposes.push(purpose.into());
                }
                transaction.set("network", network, "purpose", Value::Array(purposes))?;
            }
            "remove_purpose" => {
                purposes.retain(|other| other.as_str() != Some(purpose));
                transaction.set("network", network, "purpose", Value::Array(purposes))?;
            }
            _ => return Err(not_implemented(&format!("network.{name}"))),
        }
        Ok(Value::Nil)
    });
    written.await
}
