//! Instances as a reconciler saw them.

use uuid::Uuid;

use super::actions::{call, element};
use crate::api::fixture::{Answer, Fixture};
use crate::auth::policy::Policies;
use crate::db::instance_tags;
use crate::model::id::InstanceId;
use crate::model::instance::{BlockDevice, EVERY_PROJECT, PowerState};

/// A disk that is none of ours.
fn foreign(position: u32) -> BlockDevice {
    BlockDevice {
        vbd_uuid: Uuid::from_u128(0xabcd_ef01_2345_6789_0000_0000_0000_0000 + u128::from(position)),
        position: Some(position),
        device: if position == 0 {
            "xvda".to_owned()
        } else {
            String::new()
        },
        is_bootable: position == 0,
        attachment: None,
    }
}

fn shows(answer: &Answer, ids: &[&str]) {
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        answer.text.matches("<instanceId>").count(),
        ids.len(),
        "{}",
        answer.text
    );
    for id in ids {
        assert!(
            answer
                .text
                .contains(&format!("<instanceId>{id}</instanceId>")),
            "{}",
            answer.text
        );
    }
}

#[tokio::test]
async fn describe_instances_shows_what_the_project_may_attach_to() {
    let fixture = Fixture::new().await;
    let own = fixture
        .see_instance(&fixture.project, |vm| {
            vm.devices = vec![foreign(0), foreign(1)]
        })
        .await;
    let everybodys = fixture
        .see_instance(EVERY_PROJECT, |vm| {
            vm.is_control_domain = true;
            vm.devices = vec![foreign(7)];
        })
        .await;
    let others = fixture.see_instance("another", |_| ()).await;
    let list = [("Action", "DescribeInstances")];
    shows(&call(&fixture, &list).await, &[&own, &everybodys]);
    let named = call(&fixture, &[list[0], ("InstanceId.1", own.as_str())]).await;
    insta::assert_snapshot!("describe_instances", named.text);
    // Other projects' disks in a control domain are nobody's business.
    let shared = call(&fixture, &[list[0], ("InstanceId.1", everybodys.as_str())]).await;
    assert!(
        shared.text.contains("<blockDeviceMapping/>"),
        "{}",
        shared.text
    );
    let short = &own[..10];
    shows(
        &call(&fixture, &[list[0], ("InstanceId.1", short)]).await,
        &[&own],
    );
    let refused = call(&fixture, &[list[0], ("InstanceId.1", others.as_str())]).await;
    assert_eq!(element(&refused, "Code"), "InvalidInstanceID.NotFound");
    assert_eq!(
        element(&refused, "Message"),
        format!("The instance ID &apos;{others}&apos; does not exist")
    );
    let malformed = call(&fixture, &[list[0], ("InstanceId.1", "vol-01234567")]).await;
    assert_eq!(element(&malformed, "Code"), "InvalidInstanceID.Malformed");
}

#[tokio::test]
async fn instances_have_pages_filters_and_states() {
    let fixture = Fixture::new().await;
    let mut ids = Vec::new();
    for number in 0..7 {
        let id = fixture
            .see_instance(&fixture.project, |vm| {
                vm.created_at_us += number;
                vm.devices = vec![foreign(0)];
                if number == 3 {
                    vm.power_state = PowerState::Halted;
                }
                if number == 4 {
                    vm.gone_at_us = Some(vm.created_at_us);
                }
            })
            .await;
        ids.push(id);
    }
    let list = [("Action", "DescribeInstances")];
    let first = call(&fixture, &[list[0], ("MaxResults", "5")]).await;
    shows(
        &first,
        &ids[..5].iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let token = element(&first, "nextToken").to_owned();
    let rest = call(&fixture, &[list[0], ("NextToken", token.as_str())]).await;
    shows(&rest, &[&ids[5], &ids[6]]);
    assert_eq!(element(&rest, "nextToken"), "");
    for (name, value, expected) in [
        ("instance-state-name", "stopped", vec![&ids[3]]),
        ("instance-state-code", "48", vec![&ids[4]]),
        ("instance-id", ids[6].as_str(), vec![&ids[6]]),
        (
            "block-device-mapping.device-name",
            "/dev/xvda",
            ids.iter().collect(),
        ),
        ("availability-zone", "east", vec![]),
        ("vpc-id", "*", vec![]),
    ] {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        let mut found = call(&fixture, &[&list[..], &filter].concat()).await;
        let mut shown = found.text.matches("<instanceId>").count();
        while !element(&found, "nextToken").is_empty() {
            let next = element(&found, "nextToken").to_owned();
            let more = [&list[..], &filter, &[("NextToken", next.as_str())]].concat();
            found = call(&fixture, &more).await;
            shown += found.text.matches("<instanceId>").count();
        }
        assert_eq!(shown, expected.len(), "{name}={value}");
    }
    let status = [("Action", "DescribeInstanceStatus")];
    let running = call(&fixture, &status).await;
    assert_eq!(
        running.text.matches("<code>16</code>").count(),
        5,
        "{}",
        running.text
    );
    let stopped = [status[0], ("InstanceId.1", ids[3].as_str())];
    shows(&call(&fixture, &stopped).await, &[]);
    let all = [&stopped[..], &[("IncludeAllInstances", "true")]].concat();
    let answer = call(&fixture, &all).await;
    shows(&answer, &[&ids[3]]);
    assert!(answer.text.contains("not-applicable"), "{}", answer.text);
    let both = [&stopped[..], &[("MaxResults", "5")]].concat();
    let refused = call(&fixture, &both).await;
    assert_eq!(element(&refused, "Code"), "InvalidParameterCombination");
}

#[tokio::test]
async fn tags_of_an_instance_are_each_projects_own() {
    let fixture = Fixture::new().await;
    let id = fixture.see_instance(EVERY_PROJECT, |_| ()).await;
    let list = [
        ("Action", "DescribeInstances"),
        ("InstanceId.1", id.as_str()),
    ];
    let project = fixture.project.clone();
    let id = id.clone();
    let set = fixture.service.database.write(move |tx| {
        let found = crate::db::instances::find(tx, &project, &id)?;
        let id: InstanceId = found.expect("the instance").id;
        instance_tags::set(tx, &project, id, "Name", "ours")?;
        instance_tags::set(tx, "another", id, "Name", "theirs")
    });
    set.await.expect("the database answers");
    let answer = call(&fixture, &list).await;
    assert!(
        answer.text.contains("<value>ours</value>"),
        "{}",
        answer.text
    );
    assert!(!answer.text.contains("theirs"), "{}", answer.text);
}

#[tokio::test]
async fn types_and_attributes_are_those_of_the_instances() {
    let fixture = Fixture::new().await;
    let id = fixture
        .see_instance(&fixture.project, |vm| vm.devices = vec![foreign(0)])
        .await;
    let hidden = |vm: &mut crate::model::instance::Instance| vm.instance_type = "hidden".to_owned();
    fixture.see_instance("another", hidden).await;
    let types = [("Action", "DescribeInstanceTypes")];
    let answer = call(&fixture, &types).await;
    insta::assert_snapshot!("describe_instance_types", answer.text);
    let known = [types[0], ("InstanceType.1", "xen.2x4")];
    assert_eq!(
        element(&call(&fixture, &known).await, "instanceType"),
        "xen.2x4"
    );
    let unknown = call(&fixture, &[types[0], ("InstanceType.1", "hidden")]).await;
    assert_eq!(element(&unknown, "Code"), "InvalidInstanceType");
    let attribute = async |name: &str| {
        let ask = [
            ("Action", "DescribeInstanceAttribute"),
            ("InstanceId", id.as_str()),
            ("Attribute", name),
        ];
        call(&fixture, &ask).await
    };
    assert_eq!(
        element(&attribute("instanceType").await, "value"),
        "xen.2x4"
    );
    assert_eq!(
        element(&attribute("rootDeviceName").await, "value"),
        "/dev/xvda"
    );
    assert_eq!(
        element(&attribute("blockDeviceMapping").await, "deviceName"),
        "/dev/xvda"
    );
    assert_eq!(
        element(&attribute("userData").await, "Code"),
        "InvalidParameterValue"
    );
}

#[tokio::test]
async fn a_policy_hides_instances() {
    let policies = Policies::parse("\"volume:get_all\": \"!\"").expect("a policy file");
    let fixture = Fixture::under(policies).await;
    fixture.see_instance(EVERY_PROJECT, |_| ()).await;
    for action in [
        "DescribeInstances",
        "DescribeInstanceStatus",
        "DescribeInstanceTypes",
    ] {
        let answer = call(&fixture, &[("Action", action)]).await;
        let found = (answer.status, element(&answer, "Code"));
        assert_eq!(found, (403, "UnauthorizedOperation"), "{action}");
    }
}
