//! Quotas, transfers and services by the stock commands.

use testkit::tool;

use crate::{Servers, json, refused, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_transfers_and_services_by_the_openstack_command() {
    let Some(openstack) = tool::python_client("openstack") else {
        return;
    };
    let servers = Servers::start().await;
    let call = |line: &str| {
        let mut command = servers.command(&openstack);
        command.args(line.split(' '));
        command
    };
    run(&mut call(
        "quota set --volumes 3 --gigabytes 7 --volume-type gold admin",
    ))
    .await;
    run(&mut call("quota set --volumes 3 --gigabytes 9 admin")).await;
    let shown = json(&mut call("quota show --volume --usage -f json admin")).await;
    let of = |name: &str| {
        let rows = shown.as_array().unwrap().iter();
        let mut found = rows.filter(|row| row["Resource"] == name);
        found
            .next()
            .unwrap_or_else(|| panic!("{name} in {shown}"))
            .clone()
    };
    assert_eq!(
        (&of("volumes")["Limit"], &of("volumes")["In Use"]),
        (&3.into(), &0.into())
    );
    assert_eq!(of("gigabytes")["Limit"], 9);
    assert_eq!(of("gigabytes_gold")["Limit"], 7);
    run(&mut call("quota list --volume")).await;
    run(&mut call("volume create --type gold --size 2 gift")).await;
    let full = refused(&mut call("volume create --type gold --size 6 large")).await;
    assert!(full.contains("gigabytes_gold"), "{full}");
    run(&mut call("quota delete --volume admin")).await;

    servers.finish_volumes().await;
    run(&mut call("volume set --state available gift")).await;
    let offer = "--os-volume-api-version 3.57 volume transfer request";
    let made = json(&mut call(&format!(
        "{offer} create --no-snapshots --name present gift -f json"
    )))
    .await;
    let (id, key) = (
        made["id"].as_str().unwrap(),
        made["auth_key"].as_str().unwrap(),
    );
    let listed = json(&mut call(&format!("{offer} list -f json"))).await;
    assert_eq!(listed[0]["Name"], "present");
    run(&mut call(&format!("{offer} show {id}"))).await;
    run(&mut call(&format!("{offer} accept --auth-key {key} {id}"))).await;
    run(&mut call("volume transfer request create gift")).await;
    let listed = json(&mut call("volume transfer request list -f json")).await;
    let id = listed[0]["ID"].as_str().unwrap();
    run(&mut call(&format!("volume transfer request delete {id}"))).await;

    let stop = "volume service set --disable --disable-reason rest xensm@nova cinder-volume";
    run(&mut call(stop)).await;
    let listed = json(&mut call("volume service list --long -f json")).await;
    let volume = &listed.as_array().unwrap()[1];
    assert_eq!(
        (&volume["Status"], &volume["Disabled Reason"]),
        (&"disabled".into(), &"rest".into())
    );
    run(&mut call(
        "volume service set --enable xensm@nova cinder-volume",
    ))
    .await;
    run(&mut call("volume host set --disable xensm@nova")).await;
    run(&mut call("volume host set --enable xensm@nova")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_transfers_and_services_by_the_cinder_command() {
    let Some(cinder) = tool::python_client("cinder") else {
        return;
    };
    let servers = Servers::start().await;
    let call = |line: &str| {
        let mut command = servers.command(&cinder);
        command.args(line.split(' '));
        command
    };
    run(&mut call("create --name one --volume-type gold 1")).await;
    servers.finish_volumes().await;
    run(&mut call("reset-state --state available one")).await;
    run(&mut call("transfer-create --name present one")).await;
    let listed = run(&mut call("transfer-list")).await;
    assert!(listed.contains("present"), "{listed}");
    run(&mut call("transfer-show present")).await;
    run(&mut call("transfer-delete present")).await;
    let limits = run(&mut call("quota-class-update --volumes 5 default")).await;
    assert!(!limits.contains("ERROR"), "{limits}");
    for line in [
        "quota-class-show default",
        "quota-defaults admin",
        "quota-usage admin",
        "service-disable --reason rest xensm@nova cinder-volume",
        "service-enable xensm@nova cinder-volume",
        "freeze-host xensm@nova",
        "thaw-host xensm@nova",
        "work-cleanup",
        "message-list --resource_type VOLUME --sort created_at:asc",
    ] {
        run(&mut call(line)).await;
    }
}
