//! Types with figures: what they allow, what is shown, and how volumes are modified.

use super::actions::{call, element};
use crate::api::fixture::{Answer, Fixture};
use crate::app::flavors;
use crate::context::RequestContext;
use crate::db::flavor_specs;

/// A service with the types gp2, gp3 and io1.
async fn fixture() -> Fixture {
    let fixture = Fixture::new().await;
    for (label, specs) in [
        (
            "gp3",
            &[
                ("ec2:iops", "3000..80000"),
                ("ec2:iops_default", "3000"),
                ("ec2:iops_per_gib", "500"),
                ("ec2:throughput", "125..2000"),
                ("ec2:throughput_default", "125"),
            ][..],
        ),
        ("gp2", &[("ec2:iops_baseline", "3:100..16000")]),
        (
            "io1",
            &[
                ("ec2:iops", "100..64000"),
                ("ec2:iops_per_gib", "50"),
                ("ec2:iops_required", "true"),
                ("ec2:size", "4..16384"),
                ("ec2:multi_attach", "true"),
            ],
        ),
    ] {
        let operator = RequestContext::operator();
        let flavor = flavors::create(&fixture.service, &operator, label, "").await;
        let id = flavor.expect("a flavor").id;
        let specs = specs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let written = fixture
            .service
            .database
            .write(move |tx| flavor_specs::merge(tx, id, &specs));
        written.await.expect("the database answers");
    }
    fixture
}

async fn create(fixture: &Fixture, more: &[(&str, &str)]) -> Answer {
    let base = [("Action", "CreateVolume")];
    let zone = more
        .iter()
        .all(|(name, _)| !name.starts_with("AvailabilityZone"))
        .then_some(("AvailabilityZone", "nova"));
    let all: Vec<(&str, &str)> = base
        .into_iter()
        .chain(zone)
        .chain(more.iter().copied())
        .collect();
    call(fixture, &all).await
}

/// A settled volume of a type.
async fn settled(fixture: &Fixture, kind: &str, size: &str) -> String {
    let made = create(fixture, &[("VolumeType", kind), ("Size", size)]).await;
    let ec2_id = element(&made, "volumeId").to_owned();
    let id = ec2_id.clone();
    let settled = fixture.service.database.write(move |tx| {
        tx.execute("UPDATE operations SET state = 'succeeded'", &[])?;
        let sql = "UPDATE volumes SET status = 'available' WHERE ec2_id = ?1";
        tx.execute(sql, &[id.as_str().into()])
    });
    assert_eq!(settled.await.expect("the database answers"), 1);
    ec2_id
}

#[tokio::test]
async fn a_volume_shows_the_figures_that_it_was_asked_for() {
    let fixture = fixture().await;
    let made = create(
        &fixture,
        &[
            ("VolumeType", "GP3"),
            ("Size", "8"),
            ("Iops", "4000"),
            ("Throughput", "500"),
            ("Encrypted", "false"),
            ("MultiAttachEnabled", "false"),
        ],
    )
    .await;
    let id = element(&made, "volumeId").to_owned();
    let project = fixture.project.as_str();
    let arn = format!("arn:aws:ec2:RegionOne:{project}:volume/{id}");
    let expected = [
        ("volumeType", "gp3"),
        ("iops", "4000"),
        ("throughput", "500"),
        ("availabilityZoneId", "nova"),
        ("ownerId", project),
        ("volumeArn", &arn),
        ("managed", "false"),
        ("encrypted", "false"),
    ];
    let listed = call(&fixture, &[("Action", "DescribeVolumes")]).await;
    for answer in [&made, &listed] {
        for (name, value) in expected {
            assert_eq!(element(answer, name), value, "{}", answer.text);
        }
    }
    assert!(!made.text.contains("attachmentSet"), "{}", made.text);
    assert!(element(&made, "createTime").ends_with(".000Z"));
    let plain = create(
        &fixture,
        &[
            ("VolumeType", "gp3"),
            ("Size", "1"),
            ("AvailabilityZoneId", "nova"),
        ],
    )
    .await;
    assert_eq!(element(&plain, "iops"), "3000", "{}", plain.text);
    assert_eq!(element(&plain, "throughput"), "125");
    let gp2 = create(&fixture, &[("VolumeType", "gp2"), ("Size", "100")]).await;
    assert_eq!(element(&gp2, "iops"), "300", "{}", gp2.text);
    assert!(!gp2.text.contains("<throughput>"), "{}", gp2.text);
    let shared = create(
        &fixture,
        &[
            ("VolumeType", "io1"),
            ("Size", "4"),
            ("Iops", "100"),
            ("MultiAttachEnabled", "true"),
        ],
    )
    .await;
    assert_eq!(element(&shared, "multiAttachEnabled"), "true");
    for (name, value, expected) in [
        ("multi-attach-enabled", "true", element(&shared, "volumeId")),
        ("volume-type", "gp2", element(&gp2, "volumeId")),
    ] {
        let filter = [
            ("Action", "DescribeVolumes"),
            ("Filter.1.Name", name),
            ("Filter.1.Value.1", value),
        ];
        let found = call(&fixture, &filter).await;
        assert_eq!(element(&found, "volumeId"), expected, "{}", found.text);
        assert_eq!(found.text.matches("<volumeId>").count(), 1);
    }
    // The same token with other figures is another request.
    let with = async |iops: &str| {
        let wanted = [
            ("VolumeType", "gp3"),
            ("Size", "8"),
            ("Iops", iops),
            ("ClientToken", "once"),
        ];
        create(&fixture, &wanted).await
    };
    let (first, again, other) = (with("3001").await, with("3001").await, with("3002").await);
    assert_eq!(element(&first, "volumeId"), element(&again, "volumeId"));
    assert_eq!(element(&other, "Code"), "IdempotentParameterMismatch");
}

#[tokio::test]
async fn types_refuse_what_they_do_not_allow_also_on_dry_runs() {
    let fixture = fixture().await;
    let (combination, value) = ("InvalidParameterCombination", "InvalidParameterValue");
    for (more, expected) in [
        (&[("VolumeType", "io1"), ("Size", "8")][..], combination),
        (
            &[("VolumeType", "gp2"), ("Size", "8"), ("Iops", "300")],
            combination,
        ),
        (
            &[("VolumeType", "gp2"), ("Size", "8"), ("Throughput", "300")],
            combination,
        ),
        (
            &[("VolumeType", "gp3"), ("Size", "4"), ("Iops", "2147483647")],
            value,
        ),
        (
            &[("VolumeType", "io1"), ("Size", "1"), ("Iops", "100")],
            value,
        ),
        (
            &[
                ("VolumeType", "gp3"),
                ("Size", "8"),
                ("VolumeInitializationRate", "100"),
            ],
            combination,
        ),
        (
            &[("VolumeType", "gp3"), ("Size", "8"), ("Encrypted", "true")],
            "UnsupportedOperation",
        ),
        (
            &[("VolumeType", "gp3"), ("Size", "8"), ("KmsKeyId", "k")],
            "InvalidParameterDependency",
        ),
        (&[("VolumeType", "tin"), ("Size", "8")], "UnknownVolumeType"),
        (
            &[
                ("AvailabilityZone", "mars"),
                ("Size", "8"),
                ("VolumeType", "gp3"),
            ],
            "InvalidZone.NotFound",
        ),
        (
            &[
                ("AvailabilityZone", "nova"),
                ("AvailabilityZoneId", "nova"),
                ("Size", "8"),
            ],
            combination,
        ),
    ] {
        for dry in [&[][..], &[("DryRun", "true")]] {
            let refused = create(&fixture, &[more, dry].concat()).await;
            let found = (refused.status, element(&refused, "Code"));
            assert_eq!(found, (400, expected), "{more:?} {}", refused.text);
        }
    }
    // EC2 looks at this one only when it means it.
    let shared = [
        ("VolumeType", "gp3"),
        ("Size", "8"),
        ("MultiAttachEnabled", "true"),
    ];
    let refused = create(&fixture, &shared).await;
    assert_eq!(element(&refused, "Code"), combination);
    let dry = create(&fixture, &[&shared[..], &[("DryRun", "true")]].concat()).await;
    assert_eq!(dry.status, 412);
    let none = call(&fixture, &[("Action", "DescribeVolumes")]).await;
    assert!(none.text.contains("<volumeSet/>"), "{}", none.text);
}

#[tokio::test]
async fn figures_and_types_are_modified_at_once() {
    let fixture = fixture().await;
    let id = settled(&fixture, "gp3", "8").await;
    let modify = async |more: &[(&str, &str)]| {
        let base = [("Action", "ModifyVolume"), ("VolumeId", id.as_str())];
        call(&fixture, &[&base, more].concat()).await
    };
    let modified = modify(&[("Iops", "4000"), ("Throughput", "250")]).await;
    for (name, value) in [
        ("modificationState", "completed"),
        ("progress", "100"),
        ("originalIops", "3000"),
        ("targetIops", "4000"),
        ("originalThroughput", "125"),
        ("targetThroughput", "250"),
        ("targetSize", "8"),
        ("targetVolumeType", "gp3"),
    ] {
        assert_eq!(element(&modified, name), value, "{}", modified.text);
    }
    let shown = async |name: &str| {
        let described = call(&fixture, &[("Action", "DescribeVolumes")]).await;
        element(&described, name).to_owned()
    };
    assert_eq!(shown("iops").await, "4000");
    // What was shown may be repeated, and what was asked for before stays.
    let repeated = modify(&[("Throughput", "251")]).await;
    assert_eq!(element(&repeated, "targetIops"), "4000");
    for (more, expected) in [
        (&[("Iops", "4001")][..], "InvalidParameterValue"),
        (&[("VolumeType", "io1")], "InvalidParameterValue"),
        (&[("VolumeType", "gp2")], "UnsupportedOperation"),
        (
            &[("VolumeType", "gp2"), ("Throughput", "300")],
            "InvalidParameterCombination",
        ),
        (
            &[("MultiAttachEnabled", "true")],
            "InvalidParameterCombination",
        ),
        (&[("Size", "7")], "InvalidParameterValue"),
    ] {
        let refused = modify(more).await;
        let found = (refused.status, element(&refused, "Code"));
        assert_eq!(found, (400, expected), "{more:?} {}", refused.text);
    }
    assert_eq!(shown("iops").await, "4000");
    assert_eq!(shown("throughput").await, "251");
    let filtered = [
        ("Action", "DescribeVolumesModifications"),
        ("Filter.1.Name", "target-iops"),
        ("Filter.1.Value.1", "4000"),
    ];
    let found = call(&fixture, &filtered).await;
    assert_eq!(element(&found, "volumeId"), id, "{}", found.text);
}

#[tokio::test]
async fn volumes_are_copied() {
    let fixture = fixture().await;
    let id = settled(&fixture, "gp3", "8").await;
    let copy = async |more: &[(&str, &str)]| {
        let base = [("Action", "CopyVolumes"), ("SourceVolumeId", id.as_str())];
        call(&fixture, &[&base, more].concat()).await
    };
    let copied = copy(&[
        ("Iops", "3500"),
        ("ClientToken", "once"),
        ("TagSpecification.1.ResourceType", "volume"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
    ])
    .await;
    for (name, value) in [
        ("sourceVolumeId", id.as_str()),
        ("size", "8"),
        ("volumeType", "gp3"),
        ("iops", "3500"),
        ("key", "Name"),
        ("availabilityZone", "nova"),
    ] {
        assert_eq!(element(&copied, name), value, "{}", copied.text);
    }
    assert_ne!(element(&copied, "volumeId"), id);
    for (more, expected) in [
        (&[("Size", "7")][..], "InvalidParameterValue"),
        (&[("Iops", "5000")], "InvalidParameterValue"),
        (&[("VolumeType", "tin")], "UnknownVolumeType"),
        (&[("ClientToken", "once")], "IdempotentParameterMismatch"),
    ] {
        let refused = copy(more).await;
        let found = (refused.status, element(&refused, "Code"));
        assert_eq!(found, (400, expected), "{more:?} {}", refused.text);
    }
    let absent = [
        ("Action", "CopyVolumes"),
        ("SourceVolumeId", "vol-0123456789abcdef0"),
    ];
    let absent = call(&fixture, &absent).await;
    assert_eq!(element(&absent, "Code"), "InvalidVolume.NotFound");
}

#[tokio::test]
async fn nothing_is_encrypted_by_default() {
    let fixture = Fixture::new().await;
    let answer = call(&fixture, &[("Action", "GetEbsEncryptionByDefault")]).await;
    assert_eq!(element(&answer, "ebsEncryptionByDefault"), "false");
    let key = call(&fixture, &[("Action", "GetEbsDefaultKmsKeyId")]).await;
    assert!(element(&key, "kmsKeyId").ends_with("alias/aws/ebs"));
}
