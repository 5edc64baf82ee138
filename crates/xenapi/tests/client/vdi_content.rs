//! The calls that make, change and compare content, as they go over the wire.

use crate::pool_server::{Reply, Server, with_login};
use std::collections::BTreeMap;
use xenapi::client::{Client, CopyTarget, Credentials, Endpoint, Error, Options};
use xenapi::reference::{SrRef, VdiRef};
use xenapi::{Failure, NULL_REF, Value};

/// Answers each call with its name and parameters, where the result is a text.
fn reply(method: &str, params: &[Value]) -> Reply {
    match method {
        "VDI.list_changed_blocks" if params[2] == Value::from("OpaqueRef:none") => {
            Failure::new("VDI_NO_CBT_METADATA", ["OpaqueRef:none"]).into()
        }
        "VDI.list_changed_blocks" => "wAE=".into(),
        "VDI.snapshot" | "VDI.clone" | "VDI.copy" | "Async.VDI.copy" => {
            let texts: Vec<&str> = params[1..].iter().filter_map(Value::as_str).collect();
            format!("{method} {}", texts.join(" ")).as_str().into()
        }
        "VDI.resize" | "VDI.resize_online" => {
            assert_eq!(params[2], Value::from("4294967296"));
            Value::Nil.into()
        }
        "VDI.enable_cbt" | "VDI.disable_cbt" | "VDI.data_destroy" | "VDI.update" | "VDI.forget"
        | "VDI.revert" => Value::Nil.into(),
        method => panic!("{method}"),
    }
}

#[tokio::test]
async fn content_calls_have_the_parameters_of_the_api() {
    let server = Server::tcp(
        "127.0.0.1:0",
        with_login(|call| reply(&call.method, &call.params)),
    )
    .await;
    let endpoint = Endpoint::parse(&server.url("http")).unwrap();
    let credentials = Credentials::new("root", "hunter2");
    let client = Client::connect(endpoint, None, credentials, Options::default()).unwrap();
    let (vdi, other) = (VdiRef::from("v"), VdiRef::from("w"));
    let sr = SrRef::from("s");
    let none = BTreeMap::new();

    let vdis = client.vdi();
    assert_eq!(
        vdis.snapshot(&vdi, &none).await.unwrap().as_str(),
        "VDI.snapshot v"
    );
    assert_eq!(
        vdis.clone_vdi(&vdi, &none).await.unwrap().as_str(),
        "VDI.clone v"
    );
    let copied = vdis.copy(&vdi, CopyTarget::NewIn(&sr), None).await.unwrap();
    assert_eq!(
        copied.as_str(),
        format!("VDI.copy v s {NULL_REF} {NULL_REF}")
    );
    let target = CopyTarget::Into(&other);
    let task = vdis.start_copy(&vdi, target, Some(&vdi)).await.unwrap();
    assert_eq!(task.as_str(), format!("Async.VDI.copy v {NULL_REF} v w"));

    vdis.resize(&vdi, 1 << 32).await.unwrap();
    vdis.resize_online(&vdi, 1 << 32).await.unwrap();
    vdis.revert(&vdi).await.unwrap();
    vdis.enable_cbt(&vdi).await.unwrap();
    vdis.disable_cbt(&vdi).await.unwrap();
    vdis.data_destroy(&vdi).await.unwrap();
    vdis.update(&vdi).await.unwrap();
    vdis.forget(&vdi).await.unwrap();
    assert_eq!(
        vdis.list_changed_blocks(&vdi, &other).await.unwrap(),
        [0xC0, 0x01]
    );
    let none = VdiRef::from("OpaqueRef:none");
    let refused = vdis.list_changed_blocks(&vdi, &none).await.unwrap_err();
    assert!(matches!(refused, Error::Api { .. }) && refused.is("VDI_NO_CBT_METADATA"));
}
