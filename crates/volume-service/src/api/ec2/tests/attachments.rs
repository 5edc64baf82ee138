//! Attaching and detaching; what a worker would do is not done.

use http::Method;
use serde_json::Value;
use uuid::Uuid;

use super::actions::{call, call_as, element};
use crate::api::fixture::{Answer, Fixture, NOW_US};
use crate::app::identity;
use crate::config::Secret;
use crate::context::RequestContext;
use crate::db::{Transaction, attachments, instance_attachments, volume_traits, volumes};
use crate::model::attachment::AttachmentStatus;
use crate::model::id::{InstanceId, VolumeId};
use crate::model::instance::{BlockDevice, EVERY_PROJECT};

/// A project with a volume and an instance.
struct Stage {
    fixture: Fixture,
    volume: VolumeId,
    ec2_id: String,
    instance: String,
}

impl Stage {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        let id = fixture.make_volume("data").await;
        fixture.settle(&id).await;
        let volume: VolumeId = id.parse().expect("an id");
        let instance = fixture
            .see_instance(&fixture.project, |vm| {
                vm.devices = vec![BlockDevice {
                    vbd_uuid: Uuid::from_u128(9),
                    position: Some(0),
                    device: "xvda".to_owned(),
                    is_bootable: true,
                    attachment: None,
                }];
            })
            .await;
        Stage {
            fixture,
            volume,
            ec2_id: volume.ec2_id(),
            instance,
        }
    }

    async fn attach_as(&self, device: &str, more: &[(&str, &str)]) -> Answer {
        let all = [
            ("Action", "AttachVolume"),
            ("VolumeId", self.ec2_id.as_str()),
            ("InstanceId", self.instance.as_str()),
            ("Device", device),
        ];
        let kept = all
            .iter()
            .filter(|(name, _)| more.iter().all(|(other, _)| other != name));
        let all: Vec<(&str, &str)> = kept.chain(more).copied().collect();
        call(&self.fixture, &all).await
    }

    async fn detach(&self, more: &[(&str, &str)]) -> Answer {
        let all = [
            ("Action", "DetachVolume"),
            ("VolumeId", self.ec2_id.as_str()),
        ];
        call(&self.fixture, &[&all[..], more].concat()).await
    }

    async fn described(&self) -> Answer {
        let all = [
            ("Action", "DescribeVolumes"),
            ("VolumeId.1", self.ec2_id.as_str()),
        ];
        call(&self.fixture, &all).await
    }

    /// Does what a worker would: the volume is attached.
    async fn settle(&self) {
        let volume = self.volume;
        self.write(move |tx| {
            for attachment in attachments::of_volume(tx, volume)? {
                let (from, to) = (AttachmentStatus::Attaching, AttachmentStatus::Attached);
                if attachments::change_status(tx, attachment.id, &[from], to)? {
                    attachments::set_attached_at(tx, attachment.id, NOW_US)?;
                }
                let sql = "UPDATE operations SET state = 'succeeded' WHERE target = ?1";
                tx.execute(sql, &[attachment.id.into()])?;
            }
            volumes::settle(tx, volume, NOW_US)
        })
        .await;
    }

    async fn write(
        &self,
        change: impl FnMut(&mut Transaction<'_>) -> crate::error::Result<()> + Send + 'static,
    ) {
        let written = self.fixture.service.database.write(change).await;
        written.expect("the database answers");
    }

    async fn status(&self) -> String {
        let path = format!("/v3/volumes/{}", self.volume);
        let shown = self.fixture.call(Method::GET, &path, Value::Null).await;
        let status = shown.json()["volume"]["status"].clone();
        status.as_str().expect("a status").to_owned()
    }
}

fn refused(answer: &Answer, code: &str, words: &str) {
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert_eq!(element(answer, "Code"), code, "{}", answer.text);
    let message = element(answer, "Message").replace("&apos;", "'");
    assert!(message.contains(words), "{message}");
}

#[tokio::test]
async fn attach_answers_at_once_and_detach_too() {
    let stage = Stage::new().await;
    let answer = stage.attach_as("/dev/sdf", &[]).await;
    insta::assert_snapshot!("attach_volume", answer.text);
    assert_eq!(stage.status().await, "attaching");
    let attaching = stage.described().await;
    assert_eq!(
        element(&attaching, "status"),
        "in-use",
        "{}",
        attaching.text
    );
    assert!(attaching.text.contains("<status>attaching</status>"));
    assert!(attaching.text.contains("<device>/dev/sdf</device>"));
    stage.settle().await;
    let attached = stage.described().await;
    assert!(
        attached.text.contains("<status>attached</status>"),
        "{}",
        attached.text
    );
    let list = [
        ("Action", "DescribeInstances"),
        ("InstanceId.1", stage.instance.as_str()),
    ];
    let mapped = call(&stage.fixture, &list).await;
    for device in ["/dev/sdf", "/dev/xvda"] {
        let shown = format!("<deviceName>{device}</deviceName>");
        assert!(mapped.text.contains(&shown), "{}", mapped.text);
    }
    assert!(mapped.text.contains(&stage.ec2_id), "{}", mapped.text);
    for (name, value) in [
        ("attachment.instance-id", stage.instance.as_str()),
        ("attachment.device", "/dev/sdf"),
        ("attachment.status", "attached"),
        ("attachment.delete-on-termination", "false"),
    ] {
        let all = [
            ("Action", "DescribeVolumes"),
            ("Filter.1.Name", name),
            ("Filter.1.Value.1", value),
        ];
        let found = call(&stage.fixture, &all).await;
        assert!(found.text.contains(&stage.ec2_id), "{name} {}", found.text);
    }
    let answer = stage.detach(&[("Device", "/dev/sdf")]).await;
    assert_eq!(element(&answer, "status"), "detaching", "{}", answer.text);
    assert_eq!(stage.status().await, "detaching");
    let again = stage
        .detach(&[("InstanceId", stage.instance.as_str())])
        .await;
    assert_eq!(element(&again, "status"), "detaching", "the same again");
}

#[tokio::test]
async fn attach_refuses_in_ec2s_words() {
    let stage = Stage::new().await;
    let absent = "i-0123456789abcdef0";
    let other = stage.attach_as("/dev/sdf", &[("InstanceId", absent)]).await;
    refused(
        &other,
        "InvalidInstanceID.NotFound",
        "The instance ID 'i-0123456789abcdef0' does not exist",
    );
    let absent = "vol-0123456789abcdef0";
    let other = stage.attach_as("/dev/sdf", &[("VolumeId", absent)]).await;
    refused(&other, "InvalidVolume.NotFound", "does not exist");
    for device in ["sda1", "/dev/vdb", "disk", "/dev/nbd0"] {
        let words = "is not a valid EBS device name.";
        refused(
            &stage.attach_as(device, &[]).await,
            "InvalidParameterValue",
            words,
        );
    }
    let taken = stage.attach_as("/dev/sda", &[]).await;
    refused(
        &taken,
        "InvalidParameterValue",
        "Attachment point /dev/sda is already in use",
    );
    let foreign = stage.fixture.see_instance("another", |_| ()).await;
    let hidden = stage
        .attach_as("/dev/sdf", &[("InstanceId", foreign.as_str())])
        .await;
    refused(&hidden, "InvalidInstanceID.NotFound", "does not exist");
    let project = stage.fixture.project.clone();
    let east = stage
        .fixture
        .see_instance(&project, |vm| vm.zone = "east".to_owned())
        .await;
    let elsewhere = stage
        .attach_as("/dev/sdf", &[("InstanceId", east.as_str())])
        .await;
    refused(
        &elsewhere,
        "InvalidVolume.ZoneMismatch",
        "is not in the same availability zone",
    );
    let gone = stage
        .fixture
        .see_instance(&project, |vm| vm.gone_at_us = Some(NOW_US))
        .await;
    let gone = stage
        .attach_as("/dev/sdf", &[("InstanceId", gone.as_str())])
        .await;
    refused(&gone, "IncorrectState", "is not 'running'.");
    let dry = stage.attach_as("/dev/sdf", &[("DryRun", "true")]).await;
    assert_eq!(
        (dry.status, element(&dry, "Code")),
        (412, "DryRunOperation")
    );
    assert_eq!(stage.status().await, "available", "nothing has changed");

    let answer = stage.attach_as("xvdf", &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let twice = stage.attach_as("/dev/sdg", &[]).await;
    refused(&twice, "VolumeInUse", "is already attached to an instance");
    let second = stage.fixture.make_volume("second").await;
    let second_id = second.parse::<VolumeId>().expect("an id").ec2_id();
    let early = stage
        .attach_as("/dev/sdg", &[("VolumeId", second_id.as_str())])
        .await;
    refused(&early, "IncorrectState", "is not 'available'.");
    stage.fixture.settle(&second).await;
    let same_place = stage
        .attach_as("/dev/hdf", &[("VolumeId", second_id.as_str())])
        .await;
    refused(&same_place, "InvalidParameterValue", "is already in use");
}

#[tokio::test]
async fn detach_refuses_in_ec2s_words() {
    let stage = Stage::new().await;
    refused(
        &stage.detach(&[]).await,
        "IncorrectState",
        "is in the 'available' state.",
    );
    stage.attach_as("/dev/sdf", &[]).await;
    stage.settle().await;
    let wrong = stage.detach(&[("Device", "/dev/sdg")]).await;
    refused(&wrong, "InvalidAttachment.NotFound", "is not attached");
    let project = stage.fixture.project.clone();
    let other = stage.fixture.see_instance(&project, |_| ()).await;
    let wrong = stage.detach(&[("InstanceId", other.as_str())]).await;
    refused(&wrong, "InvalidAttachment.NotFound", "is not attached");
    let absent = "i-0123456789abcdef0";
    let wrong = stage.detach(&[("InstanceId", absent)]).await;
    refused(&wrong, "InvalidInstanceID.NotFound", "does not exist");
    let dry = stage.detach(&[("DryRun", "true")]).await;
    assert_eq!(dry.status, 412);
    assert_eq!(stage.status().await, "in-use", "nothing has changed");
    let forced = stage.detach(&[("Force", "true")]).await;
    assert_eq!(element(&forced, "status"), "detaching", "{}", forced.text);
    let volume = stage.volume;
    stage
        .write(move |tx| {
            let held = attachments::of_volume(tx, volume)?;
            let known = instance_attachments::find(tx, held[0].id)?;
            assert!(known.expect("it is ours").is_forced);
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn what_a_project_may_not_see_or_do_is_refused() {
    let stage = Stage::new().await;
    let shared = stage.fixture.see_instance(EVERY_PROJECT, |_| ()).await;
    for (name, role, code) in [
        ("tenant", "member", "InvalidVolume.NotFound"),
        ("watcher", "reader", "UnauthorizedOperation"),
    ] {
        let (token, project) = stage.fixture.other_user(name, role).await;
        let token = identity::validate(&stage.fixture.service, &Secret::new(token)).await;
        let user = token.expect("a good token").user.id;
        let operator = RequestContext::operator();
        let key = identity::create_ec2_key(&stage.fixture.service, &operator, &user, &project);
        let (access, secret) = key.await.expect("a key");
        for action in [
            &[
                ("Action", "AttachVolume"),
                ("VolumeId", stage.ec2_id.as_str()),
                ("InstanceId", shared.as_str()),
                ("Device", "/dev/sdf"),
            ][..],
            &[
                ("Action", "DetachVolume"),
                ("VolumeId", stage.ec2_id.as_str()),
            ],
        ] {
            let answer = call_as(&stage.fixture, &access, secret.expose(), action).await;
            assert_eq!(element(&answer, "Code"), code, "{name} {}", answer.text);
        }
        let modify = [
            ("Action", "ModifyInstanceAttribute"),
            ("InstanceId", stage.instance.as_str()),
            ("BlockDeviceMapping.1.DeviceName", "/dev/sdf"),
            ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
        ];
        let answer = call_as(&stage.fixture, &access, secret.expose(), &modify).await;
        let code = if role == "reader" {
            code
        } else {
            "InvalidInstanceID.NotFound"
        };
        assert_eq!(element(&answer, "Code"), code, "{name} {}", answer.text);
    }
    assert_eq!(stage.status().await, "available");
}

#[tokio::test]
async fn projects_do_not_meet_in_a_control_domain() {
    let stage = Stage::new().await;
    let shared = stage
        .fixture
        .see_instance(EVERY_PROJECT, |vm| vm.is_control_domain = true)
        .await;
    // Another project has the same name for a device there.
    let id: InstanceId = {
        let (project, name) = (stage.fixture.project.clone(), shared.clone());
        let found = stage
            .fixture
            .service
            .database
            .read(move |tx| crate::db::instances::find(tx, &project, &name));
        found
            .await
            .expect("the database answers")
            .expect("the instance")
            .id
    };
    let other = stage.fixture.make_volume("other").await;
    let other: VolumeId = other.parse().expect("an id");
    stage
        .write(move |tx| {
            let volume = volumes::get(tx, other)?;
            let mut attachment = crate::model::attachment::Attachment {
                id: crate::model::id::AttachmentId(Uuid::from_u128(77)),
                volume_id: volume.id,
                project_id: "another".to_owned(),
                instance_id: Some(id.to_string()),
                host_name: None,
                mountpoint: Some("/dev/nbd3".to_owned()),
                status: AttachmentStatus::Attached,
                mode: crate::model::attachment::AttachMode::ReadWrite,
                connector: serde_json::json!({}),
                connection_info: serde_json::json!({}),
                failure: String::new(),
                attached_at_us: None,
                detached_at_us: None,
                created_at_us: NOW_US,
                delete_on_termination: false,
            };
            attachment.attached_at_us = Some(NOW_US);
            attachments::insert(tx, &attachment)?;
            let known = crate::model::instance::InstanceAttachment {
                instance_id: id,
                scope: "another".to_owned(),
                position: 3,
                delete_on_termination: false,
                is_forced: false,
                is_terminated: false,
                vbd_uuid: None,
            };
            assert!(instance_attachments::insert(tx, attachment.id, &known)?);
            Ok(())
        })
        .await;
    let own = [("InstanceId", shared.as_str())];
    let answer = stage.attach_as("/dev/nbd3", &own).await;
    assert_eq!(element(&answer, "status"), "attaching", "{}", answer.text);
    let list = [
        ("Action", "DescribeInstances"),
        ("InstanceId.1", shared.as_str()),
    ];
    let mapped = call(&stage.fixture, &list).await;
    assert_eq!(
        mapped.text.matches("<deviceName>").count(),
        1,
        "{}",
        mapped.text
    );
    assert!(mapped.text.contains(&stage.ec2_id), "{}", mapped.text);
}

#[tokio::test]
async fn delete_on_termination_is_kept_and_shown() {
    let stage = Stage::new().await;
    stage.attach_as("/dev/sdf", &[]).await;
    stage.settle().await;
    let modify = async |device: &str, more: &[(&str, &str)]| {
        let all = [
            ("Action", "ModifyInstanceAttribute"),
            ("InstanceId", stage.instance.as_str()),
            ("BlockDeviceMapping.1.DeviceName", device),
        ];
        call(&stage.fixture, &[&all[..], more].concat()).await
    };
    let yes = [("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true")];
    refused(
        &modify("/dev/sdf", &[]).await,
        "MissingParameter",
        "DeleteOnTermination",
    );
    let unknown = modify("/dev/sdz", &yes).await;
    refused(
        &unknown,
        "InvalidInstanceAttributeValue",
        "No device is currently mapped at /dev/sdz",
    );
    assert!(
        stage
            .described()
            .await
            .text
            .contains("<deleteOnTermination>false<")
    );
    let answer = modify("/dev/sdf", &yes).await;
    assert_eq!(element(&answer, "return"), "true", "{}", answer.text);
    assert!(
        stage
            .described()
            .await
            .text
            .contains("<deleteOnTermination>true<")
    );
}

#[tokio::test]
async fn a_volume_for_several_is_attached_to_several() {
    let stage = Stage::new().await;
    let volume = stage.volume;
    stage
        .write(move |tx| volume_traits::set_multiattach(tx, volume, true))
        .await;
    stage.attach_as("/dev/sdf", &[]).await;
    stage.settle().await;
    refused(
        &stage.attach_as("/dev/sdg", &[]).await,
        "VolumeInUse",
        "is already attached",
    );
    let project = stage.fixture.project.clone();
    let second = stage.fixture.see_instance(&project, |_| ()).await;
    let answer = stage
        .attach_as("/dev/sdf", &[("InstanceId", second.as_str())])
        .await;
    assert_eq!(element(&answer, "status"), "attaching", "{}", answer.text);
    stage.settle().await;
    refused(
        &stage.detach(&[]).await,
        "InvalidParameterCombination",
        "InstanceId is needed",
    );
    let answer = stage.detach(&[("InstanceId", second.as_str())]).await;
    assert_eq!(element(&answer, "status"), "detaching", "{}", answer.text);
    assert_eq!(stage.described().await.text.matches("<device>").count(), 2);
}
