//! Class `host`. Source: reference 2.3; golden 02 and 11.

use xenapi::{Failure, Value};

use crate::server::call::{Args, Call, not_implemented};
use crate::server::context::now;
use crate::server::{blocks_plugin, coalesce_plugin};

/// Runs a message of the class.
pub async fn run(call: &Call, name: &str, args: &Args) -> Result<Value, Failure> {
    if name == "list_methods" {
        return Err(not_implemented("list_method"));
    }
    let host = args.text(0);
    call.server.database.read().get("host", host)?;
    let set = |field: &'static str, value: Value| {
        call.server
            .database
            .write(move |t| t.set("host", host, field, value))
    };
    match name {
        "get_servertime" | "get_server_localtime" => return Ok(Value::DateTime(now())),
        "get_server_certificate" => {
            // The certificate that the NBD listener shows; XenAPI itself may have another one, which clients see anyway.
            let endpoint = call.server.exports.tls_endpoint();
            let endpoint =
                endpoint.ok_or_else(|| not_implemented("host.get_server_certificate"))?;
            return Ok(endpoint.certificate_pem.as_str().into());
        }
        "call_plugin" if args.text(1) == coalesce_plugin::PLUGIN => {
            return coalesce_plugin::run(&call.server, args.text(2), &args.texts(3)).await;
        }
        "call_plugin" if args.text(1) == blocks_plugin::PLUGIN => {
            return blocks_plugin::run(call, args.text(2), &args.texts(3)).await;
        }
        "call_plugin" => return Err(Failure::new("XENAPI_MISSING_PLUGIN", [args.text(1)])),
        "set_iscsi_iqn" => {
            let iqn = args.text(1).to_owned();
            let written = call.server.database.write(|transaction| {
                transaction.set("host", host, "iscsi_iqn", iqn.as_str())?;
                transaction.set_entry("host", host, "other_config", "iscsi_iqn", Some(&iqn))
            });
            written.await?;
        }
        "set_multipathing" => set("multipathing", args.flag(1).into()).await?,
        "enable" => set("enabled", true.into()).await?,
        "disable" => set("enabled", false.into()).await?,
        _ => return Err(not_implemented(&format!("host.{name}"))),
    }
    Ok(Value::Nil)
}
