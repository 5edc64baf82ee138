//! Snapshots that are shared, and copies of them, by two projects. No worker runs.

use super::actions::{call, call_as, element};
use super::snapshots::{ids, settled, snapshot, volume};
use crate::api::fixture::{Answer, Fixture};
use crate::app::identity;
use crate::config::Secret;
use crate::context::RequestContext;

/// Another project with a key of its own.
pub(super) struct Other {
    pub(super) project: String,
    access: String,
    secret: Secret,
}

impl Other {
    pub(super) async fn new(fixture: &Fixture, name: &str, role: &str) -> Self {
        let (token, project) = fixture.other_user(name, role).await;
        let token = identity::validate(&fixture.service, &Secret::new(token)).await;
        let user = token.expect("a good token").user.id;
        let operator = RequestContext::operator();
        let key = identity::create_ec2_key(&fixture.service, &operator, &user, &project).await;
        let (access, secret) = key.expect("a key");
        Other {
            project,
            access,
            secret,
        }
    }

    pub(super) async fn call(&self, fixture: &Fixture, parameters: &[(&str, &str)]) -> Answer {
        call_as(fixture, &self.access, self.secret.expose(), parameters).await
    }
}

async fn share(fixture: &Fixture, ec2_id: &str, how: &str, name: &str, value: &str) -> Answer {
    let entry = format!("CreateVolumePermission.{how}.1.{name}");
    let request = [
        ("Action", "ModifySnapshotAttribute"),
        ("SnapshotId", ec2_id),
        (entry.as_str(), value),
    ];
    call(fixture, &request).await
}

fn refusal(answer: &Answer) -> (u16, &str) {
    (answer.status, element(answer, "Code"))
}

/// A complete snapshot of the first project's, and another project.
async fn world() -> (Fixture, String, Other) {
    let fixture = Fixture::new().await;
    let base = volume(&fixture).await;
    let request = [
        ("Action", "CreateSnapshot"),
        ("VolumeId", base.as_str()),
        ("Description", "mine"),
        ("TagSpecification.1.ResourceType", "snapshot"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "secret"),
    ];
    let source = element(&call(&fixture, &request).await, "snapshotId").to_owned();
    settled(&fixture, &source).await;
    let other = Other::new(&fixture, "tenant", "member").await;
    (fixture, source, other)
}

#[tokio::test]
async fn a_snapshot_is_used_by_whom_it_is_shared_with() {
    let (fixture, source, other) = world().await;
    let by_id = [("Action", "DescribeSnapshots"), ("SnapshotId.1", &source)];
    let create = [
        ("Action", "CreateVolume"),
        ("AvailabilityZone", "nova"),
        ("VolumeType", "gold"),
        ("SnapshotId", source.as_str()),
    ];
    let delete = [("Action", "DeleteSnapshot"), ("SnapshotId", &source)];
    let not_found = (400, "InvalidSnapshot.NotFound");
    for request in [&by_id[..], &create, &delete] {
        assert_eq!(refusal(&other.call(&fixture, request).await), not_found);
    }
    let (project, me) = (other.project.as_str(), fixture.project.as_str());
    let shared = share(&fixture, &source, "Add", "UserId", project).await;
    assert_eq!(element(&shared, "return"), "true", "{}", shared.text);
    let shown = other.call(&fixture, &by_id).await;
    assert_eq!(element(&shown, "ownerId"), me, "{}", shown.text);
    assert_eq!(element(&shown, "description"), "mine");
    assert!(!shown.text.contains("secret"), "tags are the owner's");
    for (name, value, count) in [
        ("MaxResults", "5", 1),
        ("Owner.1", me, 1),
        ("Owner.1", "self", 0),
        ("RestorableBy.1", "self", 1),
        ("RestorableBy.1", project, 1),
        ("RestorableBy.1", me, 0),
        ("RestorableBy.1", "all", 0),
    ] {
        let request = [("Action", "DescribeSnapshots"), (name, value)];
        let shown = other.call(&fixture, &request).await;
        assert_eq!(ids(&shown).len(), count, "{name}={value} {}", shown.text);
    }
    let made = other.call(&fixture, &create).await;
    assert_eq!(element(&made, "snapshotId"), source, "{}", made.text);
    // The right is to make something of it, and no other.
    let attribute = [
        ("Attribute", "createVolumePermission"),
        ("SnapshotId", source.as_str()),
    ];
    let describe = [&[("Action", "DescribeSnapshotAttribute")], &attribute[..]].concat();
    let reset = [&[("Action", "ResetSnapshotAttribute")], &attribute[..]].concat();
    for request in [&delete[..], &describe, &reset] {
        assert_eq!(refusal(&other.call(&fixture, request).await), not_found);
    }
    let listed = call(&fixture, &describe).await;
    assert_eq!(element(&listed, "userId"), project, "{}", listed.text);
    let taken = share(&fixture, &source, "Remove", "UserId", project).await;
    assert_eq!(element(&taken, "return"), "true");
    assert_eq!(refusal(&other.call(&fixture, &by_id).await), not_found);
    let listed = call(&fixture, &describe).await;
    assert!(
        listed.text.contains("<createVolumePermission/>"),
        "{}",
        listed.text
    );
}

#[tokio::test]
async fn a_public_snapshot_is_everybodys() {
    let (fixture, source, other) = world().await;
    let public = share(&fixture, &source, "Add", "Group", "all").await;
    assert_eq!(element(&public, "return"), "true", "{}", public.text);
    for (restorable_by, count) in [("all", 1), ("self", 0)] {
        let request = [
            ("Action", "DescribeSnapshots"),
            ("RestorableBy.1", restorable_by),
        ];
        let shown = other.call(&fixture, &request).await;
        assert_eq!(ids(&shown).len(), count, "{restorable_by} {}", shown.text);
    }
    let reset = [
        ("Action", "ResetSnapshotAttribute"),
        ("Attribute", "createVolumePermission"),
        ("SnapshotId", source.as_str()),
    ];
    assert_eq!(element(&call(&fixture, &reset).await, "return"), "true");
    let by_id = [("Action", "DescribeSnapshots"), ("SnapshotId.1", &source)];
    let hidden = other.call(&fixture, &by_id).await;
    assert_eq!(refusal(&hidden), (400, "InvalidSnapshot.NotFound"));
}

#[tokio::test]
async fn shares_that_cannot_be_are_refused_and_nothing_is_changed() {
    let (fixture, source, other) = world().await;
    let reader = Other::new(&fixture, "watcher", "reader").await;
    let odd = (400, "InvalidAMIAttributeItemValue");
    for (name, value) in [
        ("UserId", "nobody"),
        ("UserId", "a b"),
        ("UserId", ""),
        ("Group", "some"),
    ] {
        let answer = share(&fixture, &source, "Add", name, value).await;
        assert_eq!(refusal(&answer), odd, "{name}={value}");
    }
    let both = [
        ("Action", "ModifySnapshotAttribute"),
        ("SnapshotId", source.as_str()),
        ("CreateVolumePermission.Add.1.UserId", &other.project),
        ("CreateVolumePermission.Add.2.UserId", "nobody"),
    ];
    assert_eq!(refusal(&call(&fixture, &both).await), odd);
    let missing = share(&fixture, "snap-00000000", "Add", "Group", "all").await;
    assert_eq!(refusal(&missing), (400, "InvalidSnapshot.NotFound"));
    let modify = &both[..3];
    let forbidden = reader.call(&fixture, modify).await;
    assert_eq!(refusal(&forbidden), (403, "UnauthorizedOperation"));
    let own = share(&fixture, &source, "Add", "UserId", &fixture.project).await;
    assert_eq!(element(&own, "return"), "true", "it changes nothing");
    let describe = [
        ("Action", "DescribeSnapshotAttribute"),
        ("Attribute", "createVolumePermission"),
        ("SnapshotId", source.as_str()),
    ];
    let listed = call(&fixture, &describe).await;
    assert!(
        listed.text.contains("<createVolumePermission/>"),
        "{}",
        listed.text
    );
}

#[tokio::test]
async fn a_copy_is_a_snapshot_of_the_requesters_own() {
    let (fixture, source, other) = world().await;
    let project = other.project.as_str();
    share(&fixture, &source, "Add", "UserId", project).await;
    let copy = [
        ("Action", "CopySnapshot"),
        ("SourceRegion", "us-east-1"),
        ("DestinationRegion", "us-east-1"),
        ("PresignedUrl", "https://ec2.us-east-1.example/?Action=x"),
        ("SourceSnapshotId", source.as_str()),
        ("TagSpecification.1.ResourceType", "snapshot"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "copy"),
    ];
    let copied = other.call(&fixture, &copy).await;
    let ec2_id = element(&copied, "snapshotId").to_owned();
    assert!(ec2_id != source && !ec2_id.is_empty(), "{}", copied.text);
    assert_eq!(element(&copied, "value"), "copy");
    let by_id = [("Action", "DescribeSnapshots"), ("SnapshotId.1", &ec2_id)];
    let shown = other.call(&fixture, &by_id).await;
    for (name, value) in [
        ("status", "pending"),
        ("volumeId", "vol-ffffffff"),
        ("volumeSize", "0"),
        ("description", ""),
        ("ownerId", project),
        ("progress", "0%"),
    ] {
        assert_eq!(element(&shown, name), value, "{name} {}", shown.text);
    }
    let delete = [("Action", "DeleteSnapshot"), ("SnapshotId", &source)];
    let held = call(&fixture, &delete).await;
    assert_eq!(refusal(&held), (400, "InvalidSnapshot.InUse"));
    let filter = [
        ("Action", "DescribeSnapshots"),
        ("Filter.1.Name", "volume-id"),
        ("Filter.1.Value.1", "vol-ffffffff"),
    ];
    assert_eq!(ids(&other.call(&fixture, &filter).await), [ec2_id.as_str()]);
    assert_eq!(
        ids(&call(&fixture, &filter).await),
        [""; 0],
        "not the owner's"
    );
}

#[tokio::test]
async fn a_copy_of_nothing_says_so_and_bad_requests_make_none() {
    let (fixture, source, other) = world().await;
    let base = volume(&fixture).await;
    let pending = snapshot(&fixture, &base, "").await;
    let copy = |source: &'static str, more: &[(&'static str, &'static str)]| {
        let base = [("Action", "CopySnapshot"), ("SourceSnapshotId", source)];
        [&base, more].concat()
    };
    const REGION: (&str, &str) = ("SourceRegion", "us-east-1");
    let state = async |ec2_id: &str| {
        let by_id = [("Action", "DescribeSnapshots"), ("SnapshotId.1", ec2_id)];
        let shown = call(&fixture, &by_id).await;
        (
            element(&shown, "status").to_owned(),
            element(&shown, "statusMessage").to_owned(),
        )
    };
    for (source, why) in [
        ("snap-0123456789abcdef0", "Source snapshot is not found"),
        (pending.as_str(), "Source snapshot is not complete"),
    ] {
        let request = [
            ("Action", "CopySnapshot"),
            ("SourceSnapshotId", source),
            REGION,
        ];
        let made = call(&fixture, &request).await;
        let ec2_id = element(&made, "snapshotId");
        assert_eq!(state(ec2_id).await, ("error".to_owned(), why.to_owned()));
        let delete = [("Action", "DeleteSnapshot"), ("SnapshotId", ec2_id)];
        assert_eq!(element(&call(&fixture, &delete).await, "return"), "true");
    }
    // One that is not shared is as little there.
    let foreign = [
        ("Action", "CopySnapshot"),
        ("SourceSnapshotId", source.as_str()),
        REGION,
    ];
    let made = other.call(&fixture, &foreign).await;
    let by_id = [
        ("Action", "DescribeSnapshots"),
        ("SnapshotId.1", element(&made, "snapshotId")),
    ];
    let shown = other.call(&fixture, &by_id).await;
    assert_eq!(
        element(&shown, "statusMessage"),
        "Source snapshot is not found"
    );
    let good = "snap-0123456789abcdef0";
    let count = ids(&call(&fixture, &[("Action", "DescribeSnapshots")]).await).len();
    for (request, code) in [
        (copy("snap-x", &[REGION]), "InvalidParameterValue"),
        (copy("", &[REGION]), "InvalidParameterValue"),
        (copy(good, &[]), "MissingParameter"),
        (copy(good, &[("SourceRegion", "")]), "InvalidRegion"),
        (
            copy(good, &[("SourceRegion", "not-a-region")]),
            "InvalidRegion",
        ),
        (
            copy(good, &[REGION, ("DestinationRegion", "us-west-2")]),
            "InvalidParameterValue",
        ),
        (
            copy(good, &[REGION, ("CompletionDurationMinutes", "16")]),
            "InvalidParameterValue",
        ),
        (
            copy(good, &[REGION, ("Encrypted", "true")]),
            "UnsupportedOperation",
        ),
        (
            copy(
                good,
                &[REGION, ("TagSpecification.1.ResourceType", "volume")],
            ),
            "InvalidParameterValue",
        ),
    ] {
        let answer = call(&fixture, &request).await;
        assert_eq!(refusal(&answer), (400, code), "{request:?}");
    }
    let reader = Other::new(&fixture, "watcher", "reader").await;
    let forbidden = reader.call(&fixture, &copy(good, &[REGION])).await;
    assert_eq!(refusal(&forbidden), (403, "UnauthorizedOperation"));
    let after = ids(&call(&fixture, &[("Action", "DescribeSnapshots")]).await).len();
    assert_eq!(after, count);
}
