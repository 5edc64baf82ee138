//! Snapshots, volumes from them, and modifications. No worker runs.

use super::actions::{call, element};
use crate::api::fixture::{Answer, Fixture};

/// The OpenStack ids begin with the digits of the EC2 ids; the fixture knows the former.
pub(super) async fn full_id(fixture: &Fixture, path: &str, ec2_id: &str) -> String {
    let (_, digits) = ec2_id.split_once('-').expect("an EC2 id");
    let listed = fixture
        .call(http::Method::GET, path, serde_json::Value::Null)
        .await
        .json();
    let lists = listed.as_object().expect("a list").values();
    let items = lists.filter_map(|list| list.as_array()).flatten();
    let mut ids = items.filter_map(|item| item["id"].as_str());
    ids.find(|id| id.replace('-', "").starts_with(digits))
        .expect("it is listed")
        .to_owned()
}

pub(super) async fn volume(fixture: &Fixture) -> String {
    let answer = call(
        fixture,
        &[
            ("Action", "CreateVolume"),
            ("AvailabilityZone", "nova"),
            ("Size", "2"),
            ("VolumeType", "gold"),
        ],
    )
    .await;
    let ec2_id = element(&answer, "volumeId").to_owned();
    let id = full_id(fixture, "/v3/volumes", &ec2_id).await;
    fixture.settle(&id).await;
    ec2_id
}

pub(super) async fn snapshot(fixture: &Fixture, volume: &str, description: &str) -> String {
    let answer = call(
        fixture,
        &[
            ("Action", "CreateSnapshot"),
            ("VolumeId", volume),
            ("Description", description),
        ],
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    element(&answer, "snapshotId").to_owned()
}

pub(super) async fn settled(fixture: &Fixture, ec2_id: &str) {
    let id = full_id(fixture, "/v3/snapshots", ec2_id).await;
    fixture.settle_snapshot(&id).await;
}

pub(super) fn ids(answer: &Answer) -> Vec<String> {
    let parts = answer.text.split("<snapshotId>").skip(1);
    parts
        .filter_map(|after| Some(after.split_once('<')?.0.to_owned()))
        .collect()
}

#[tokio::test]
async fn create_answers_the_snapshot_at_top_level() {
    let fixture = Fixture::new().await;
    let base = volume(&fixture).await;
    let answer = call(
        &fixture,
        &[
            ("Action", "CreateSnapshot"),
            ("VolumeId", &base),
            ("Description", "a < b"),
            ("TagSpecification.1.ResourceType", "snapshot"),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", "x & y"),
        ],
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    insta::assert_snapshot!("create_snapshot", answer.text);
    let shown = call(&fixture, &[("Action", "DescribeSnapshots")]).await;
    assert_eq!(element(&shown, "status"), "pending");
    assert_eq!(element(&shown, "progress"), "0%");
    assert_eq!(element(&shown, "storageTier"), "standard");
    assert_eq!(element(&shown, "transferType"), "standard");
}

#[tokio::test]
async fn snapshots_are_described_filtered_and_paged() {
    let fixture = Fixture::new().await;
    let base = volume(&fixture).await;
    let none = call(&fixture, &[("Action", "DescribeSnapshots")]).await;
    assert!(none.text.contains("<snapshotSet/>"), "{}", none.text);
    let mut made = Vec::new();
    for description in ["one", "two", "three", "four", "five", "six"] {
        fixture.advance_s(1);
        made.push(snapshot(&fixture, &base, description).await);
    }
    settled(&fixture, &made[1]).await;
    let found = async |parameters: &[(&str, &str)]| {
        let all = [&[("Action", "DescribeSnapshots")], parameters].concat();
        let answer = call(&fixture, &all).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        (ids(&answer), element(&answer, "nextToken").to_owned())
    };
    let (first, next) = found(&[("MaxResults", "5"), ("Owner.1", "self")]).await;
    assert_eq!(first, made[..5]);
    let (second, next) = found(&[("MaxResults", "5"), ("NextToken", &next)]).await;
    assert_eq!((second.as_slice(), next.as_str()), (&made[5..], ""));
    let project = fixture.project.as_str();
    for (name, value, expected) in [
        ("status", "completed", vec![1]),
        ("status", "comp*", vec![1]),
        ("status", "frozen", vec![]),
        ("progress", "0%", vec![0, 2, 3, 4, 5]),
        ("volume-id", "vol-0123456789abcdef0", vec![]),
        ("tag:Name", "x", vec![]),
        ("tag-value", "*", vec![]),
        ("description", "three", vec![2]),
        ("description", "t*", vec![1, 2]),
        ("volume-size", "2", vec![0, 1, 2, 3, 4]),
        ("volume-size", "3", vec![]),
        ("volume-id", &base, vec![0, 1, 2, 3, 4]),
        ("volume-id", "vol-?", vec![]),
        ("owner-id", project, vec![0, 1, 2, 3, 4]),
        ("owner-alias", "*", vec![]),
        ("encrypted", "false", vec![0, 1, 2, 3, 4]),
        ("progress", "100%", vec![1]),
        ("start-time", "2026-11-22T07:00:02*", vec![1]),
        ("snapshot-id", &made[3], vec![3]),
        ("tag-key", "*", vec![]),
        ("storage-tier", "archive", vec![]),
        ("transfer-type", "standard", vec![0, 1, 2, 3, 4]),
    ] {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        let (mut hits, _) = found(&filter).await;
        hits.truncate(5);
        let expected: Vec<_> = expected.iter().map(|index| made[*index].clone()).collect();
        assert_eq!(hits, expected, "{name}={value}");
    }
    for (name, value, count) in [
        ("Owner.1", "amazon", 0),
        ("Owner.1", project, 5),
        ("RestorableBy.1", "all", 0),
        ("RestorableBy.1", "self", 5),
        ("SnapshotId.1", made[0].as_str(), 1),
    ] {
        assert_eq!(
            found(&[(name, value)]).await.0.len(),
            count,
            "{name}={value}"
        );
    }
    let attribute = [
        ("Action", "DescribeSnapshotAttribute"),
        ("Attribute", "createVolumePermission"),
        ("SnapshotId", &made[0]),
    ];
    let answer = call(&fixture, &attribute).await;
    assert!(
        answer.text.contains("<createVolumePermission/>"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn volumes_are_made_from_snapshots() {
    let fixture = Fixture::new().await;
    let base = volume(&fixture).await;
    let source = snapshot(&fixture, &base, "").await;
    let create = async |more: &[(&str, &str)]| {
        let all = [
            ("Action", "CreateVolume"),
            ("AvailabilityZone", "nova"),
            ("VolumeType", "gold"),
            ("SnapshotId", source.as_str()),
        ];
        call(&fixture, &[&all, more].concat()).await
    };
    let early = create(&[]).await;
    assert_eq!(
        element(&early, "Code"),
        "IncorrectState",
        "it is being taken"
    );
    assert_eq!(
        element(&early, "Message"),
        "Snapshot is in invalid state - pending"
    );
    settled(&fixture, &source).await;
    for (more, size) in [
        (&[][..], "2"),
        (&[("Size", "2")], "2"),
        (&[("Size", "5")], "5"),
    ] {
        let answer = create(more).await;
        assert_eq!(element(&answer, "size"), size, "{}", answer.text);
        assert_eq!(element(&answer, "snapshotId"), source);
    }
    // As large as its snapshot, as EC2 makes it.
    let smaller = create(&[("Size", "1")]).await;
    assert_eq!(element(&smaller, "size"), "2", "{}", smaller.text);
    let once = [("ClientToken", "once")];
    let (first, again) = (create(&once).await, create(&once).await);
    assert_eq!(element(&first, "volumeId"), element(&again, "volumeId"));
    let described = [
        ("Action", "DescribeVolumes"),
        ("Filter.1.Name", "snapshot-id"),
        ("Filter.1.Value.1", source.as_str()),
    ];
    let answer = call(&fixture, &described).await;
    assert_eq!(
        answer.text.matches("<volumeId>").count(),
        5,
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn a_volume_grows_and_tells_so() {
    let fixture = Fixture::new().await;
    let base = volume(&fixture).await;
    let describe = [("Action", "DescribeVolumesModifications")];
    let of_base = [&describe[..], &[("VolumeId.1", base.as_str())]].concat();
    let none = call(&fixture, &describe).await;
    assert!(
        none.text.contains("<volumeModificationSet/>"),
        "{}",
        none.text
    );
    let missing = call(&fixture, &of_base).await;
    assert_eq!(
        element(&missing, "Code"),
        "InvalidVolumeModification.NotFound"
    );
    let modify = async |more: &[(&str, &str)]| {
        let all = [("Action", "ModifyVolume"), ("VolumeId", base.as_str())];
        call(&fixture, &[&all, more].concat()).await
    };
    for (more, status, code) in [
        (&[][..], 400, "InvalidParameterValue"),
        (&[("Size", "1")], 400, "InvalidParameterValue"),
        (&[("Size", "9999")], 400, "InvalidParameterValue"),
        (&[("Iops", "100")], 400, "InvalidParameterCombination"),
        (
            &[("VolumeType", "lead"), ("Size", "3")],
            400,
            "UnknownVolumeType",
        ),
        (&[("Colour", "red")], 400, "UnknownParameter"),
        (&[("DryRun", "true"), ("Size", "3")], 412, "DryRunOperation"),
    ] {
        let answer = modify(more).await;
        assert_eq!(
            (answer.status, element(&answer, "Code")),
            (status, code),
            "{more:?}"
        );
    }
    // The same once more is a modification that is done.
    let same = modify(&[("Size", "2")]).await;
    assert_eq!(element(&same, "modificationState"), "completed");
    assert_eq!(element(&same, "progress"), "100");
    let answer = modify(&[("Size", "3"), ("VolumeType", "gold")]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let again = modify(&[("Size", "4")]).await;
    assert_eq!(element(&again, "Code"), "IncorrectModificationState");
    for parameters in [&describe[..], &of_base] {
        let shown = call(&fixture, parameters).await;
        for (name, value) in [
            ("volumeId", base.as_str()),
            ("modificationState", "modifying"),
            ("originalSize", "2"),
            ("targetSize", "3"),
        ] {
            assert_eq!(element(&shown, name), value, "{}", shown.text);
        }
    }
    let shown = call(&fixture, &[("Action", "DescribeVolumes")]).await;
    assert_eq!(element(&shown, "status"), "available", "it is what it was");
    let completed = [
        ("Filter.1.Name", "modification-state"),
        ("Filter.1.Value.1", "completed"),
    ];
    let none = call(&fixture, &[&describe[..], &completed].concat()).await;
    assert!(
        none.text.contains("<volumeModificationSet/>"),
        "{}",
        none.text
    );
}

#[tokio::test]
async fn refusals_have_ec2s_codes() {
    let fixture = Fixture::new().await;
    let base = volume(&fixture).await;
    let source = snapshot(&fixture, &base, "").await;
    let nothing = "snap-00000000000000000";
    let delete = |id: &'static str| vec![("Action", "DeleteSnapshot"), ("SnapshotId", id)];
    let cases = [
        (delete(nothing), "InvalidSnapshot.NotFound"),
        (delete("snap-xyz"), "InvalidSnapshotID.Malformed"),
        (delete("vol-00000000"), "InvalidParameterValue"),
        (vec![("Action", "DeleteSnapshot")], "MissingParameter"),
        (
            vec![
                ("Action", "CreateVolume"),
                ("AvailabilityZone", "nova"),
                ("SnapshotId", &source),
            ],
            "IncorrectState",
        ),
        (vec![("Action", "CreateSnapshot")], "MissingParameter"),
        (
            vec![("Action", "CreateSnapshot"), ("VolumeId", "vol-00000000")],
            "InvalidVolume.NotFound",
        ),
        (
            vec![
                ("Action", "CreateSnapshot"),
                ("VolumeId", &base),
                ("Location", "local"),
            ],
            "InvalidParameterValue",
        ),
        (
            vec![
                ("Action", "CreateSnapshot"),
                ("VolumeId", &base),
                ("TagSpecification.1.ResourceType", "volume"),
            ],
            "InvalidParameterValue",
        ),
        (
            vec![("Action", "DescribeSnapshots"), ("SnapshotId.1", nothing)],
            "InvalidSnapshot.NotFound",
        ),
        (
            vec![
                ("Action", "DescribeSnapshots"),
                ("SnapshotId.1", &source),
                ("MaxResults", "5"),
            ],
            "InvalidParameterCombination",
        ),
        (
            vec![("Action", "DescribeSnapshots"), ("Owner.1", "me & you")],
            "InvalidUserID.Malformed",
        ),
        (
            vec![("Action", "DescribeSnapshots"), ("NextToken", "x")],
            "InvalidParameterValue",
        ),
        (
            vec![
                ("Action", "DescribeSnapshots"),
                ("Filter.1.Name", "colour"),
                ("Filter.1.Value.1", "red"),
            ],
            "InvalidParameterValue",
        ),
        (
            vec![
                ("Action", "DescribeSnapshotAttribute"),
                ("SnapshotId", &source),
                ("Attribute", "x"),
            ],
            "InvalidRequest",
        ),
        (
            vec![
                ("Action", "CreateVolume"),
                ("AvailabilityZone", "nova"),
                ("SnapshotId", nothing),
            ],
            "InvalidSnapshot.NotFound",
        ),
    ];
    for (parameters, code) in cases {
        let answer = call(&fixture, &parameters).await;
        assert_eq!(
            (answer.status, element(&answer, "Code")),
            (400, code),
            "{parameters:?} {}",
            answer.text
        );
    }
    let missing = call(&fixture, &delete(nothing)).await;
    assert_eq!(
        element(&missing, "Message"),
        "The snapshot &apos;snap-00000000000000000&apos; does not exist."
    );
    settled(&fixture, &source).await;
    let deleted = call(
        &fixture,
        &[("Action", "DeleteSnapshot"), ("SnapshotId", &source)],
    )
    .await;
    assert_eq!(element(&deleted, "return"), "true", "{}", deleted.text);
}

#[tokio::test]
async fn one_that_is_deleted_is_gone_at_once_be_it_complete_or_not() {
    let fixture = Fixture::new().await;
    let base = volume(&fixture).await;
    let (pending, complete) = (
        snapshot(&fixture, &base, "").await,
        snapshot(&fixture, &base, "").await,
    );
    settled(&fixture, &complete).await;
    for ec2_id in [&pending, &complete] {
        let delete = [("Action", "DeleteSnapshot"), ("SnapshotId", ec2_id)];
        let deleted = call(&fixture, &delete).await;
        assert_eq!(element(&deleted, "return"), "true", "{}", deleted.text);
        let attribute = [
            ("Action", "DescribeSnapshotAttribute"),
            ("Attribute", "createVolumePermission"),
            ("SnapshotId", ec2_id),
        ];
        let describe = [("Action", "DescribeSnapshots"), ("SnapshotId.1", ec2_id)];
        for request in [&delete[..], &attribute, &describe] {
            let answer = call(&fixture, request).await;
            assert_eq!(
                element(&answer, "Code"),
                "InvalidSnapshot.NotFound",
                "{request:?}"
            );
        }
    }
    for filter in [
        &[][..],
        &[("Filter.1.Name", "status"), ("Filter.1.Value.1", "pending")],
    ] {
        let request = [&[("Action", "DescribeSnapshots")], filter].concat();
        let shown = call(&fixture, &request).await;
        assert!(shown.text.contains("<snapshotSet/>"), "{}", shown.text);
    }
    // OpenStack shows them on their way; the worker's operations are asked for once each.
    let id = full_id(&fixture, "/v3/snapshots", &complete).await;
    let path = format!("/v3/snapshots/{id}");
    let shown = fixture
        .call(http::Method::GET, &path, serde_json::Value::Null)
        .await;
    assert_eq!(shown.json()["snapshot"]["status"], "deleting");
}
