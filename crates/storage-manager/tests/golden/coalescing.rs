//! When images are merged in the replay: not before the recorded pool had merged them, and then for certain.

use xenapi::Value;

use crate::support::{Client, wait_for};

/// The scenario in which the recorded pool merges an image, between two of its steps.
const SCENARIO: &str = "destroy-and-coalesce";

/// The step before which nothing is merged any more, and the one before which everything was.
const STEPS: (u32, u32) = (1, 7);

/// Holds merging off, or has it done, before a step.
pub fn before(scenario: &str, step: u32, client: &mut Client) {
    if scenario != SCENARIO {
        return;
    }
    if step == STEPS.0 {
        all_srs(client, "pause");
    } else if step == STEPS.1 {
        let vdis = |client: &mut Client| {
            let vdis = client.call("VDI.get_all", []).unwrap();
            vdis.as_array().unwrap().len()
        };
        let before = vdis(client);
        all_srs(client, "resume");
        wait_for("the image is merged, and its record gone", || {
            vdis(client) == before - 1
        });
    }
}

fn all_srs(client: &mut Client, function: &str) {
    let hosts = client.call("host.get_all", []).unwrap();
    let host = hosts.as_array().unwrap()[0].clone();
    let mut call = |function: &str, arguments: Value| {
        let params = [
            host.clone(),
            "xensm-chain".into(),
            function.into(),
            arguments,
        ];
        let answer = client.call("host.call_plugin", params).unwrap();
        serde_json::from_str::<serde_json::Value>(answer.as_str().unwrap()).unwrap()
    };
    let all = call("status", Value::Struct(Default::default()));
    for sr in all.as_array().unwrap() {
        let uuid = sr["sr"].as_str().unwrap();
        let arguments = [("sr".into(), Value::from(uuid))];
        call(function, Value::Struct(arguments.into_iter().collect()));
    }
}
