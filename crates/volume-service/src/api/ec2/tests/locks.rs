//! Locked snapshots, the setting for public ones, and what is always empty. No worker runs.

use super::actions::{call, element};
use super::sharing::Other;
use super::snapshots::{full_id, ids, settled, snapshot, volume};
use crate::api::fixture::{Answer, Fixture};

/// A day, in seconds.
const DAY_S: i64 = 86_400;

fn refusal(answer: &Answer) -> (u16, &str) {
    (answer.status, element(answer, "Code"))
}

async fn lock(fixture: &Fixture, ec2_id: &str, mode: &str, more: &[(&str, &str)]) -> Answer {
    let base = [
        ("Action", "LockSnapshot"),
        ("SnapshotId", ec2_id),
        ("LockMode", mode),
    ];
    call(fixture, &[&base, more].concat()).await
}

async fn about(fixture: &Fixture, action: &str, ec2_id: &str) -> Answer {
    call(fixture, &[("Action", action), ("SnapshotId", ec2_id)]).await
}

async fn complete(fixture: &Fixture) -> String {
    let base = volume(fixture).await;
    let ec2_id = snapshot(fixture, &base, "").await;
    settled(fixture, &ec2_id).await;
    ec2_id
}

#[tokio::test]
async fn a_locked_snapshot_goes_in_no_way() {
    let fixture = Fixture::new().await;
    let ec2_id = complete(&fixture).await;
    let answer = lock(&fixture, &ec2_id, "governance", &[("LockDuration", "2")]).await;
    for (name, value) in [
        ("snapshotId", ec2_id.as_str()),
        ("lockState", "governance"),
        ("lockDuration", "2"),
        ("lockCreatedOn", "2026-11-22T07:00:00.123Z"),
        ("lockExpiresOn", "2026-11-24T07:00:00.123Z"),
    ] {
        assert_eq!(element(&answer, name), value, "{}", answer.text);
    }
    let refused = about(&fixture, "DeleteSnapshot", &ec2_id).await;
    assert_eq!(refusal(&refused), (400, "OperationNotPermitted"));
    let locked = format!("The snapshot &apos;{ec2_id}&apos; is locked.");
    assert_eq!(element(&refused, "Message"), locked);
    let id = full_id(&fixture, "/v3/snapshots", &ec2_id).await;
    let path = format!("/v3/snapshots/{id}");
    let shown = fixture
        .call(http::Method::GET, &path, serde_json::Value::Null)
        .await
        .json();
    let volume_id = shown["snapshot"]["volume_id"].as_str().expect("a volume");
    let action = |name: &str| serde_json::json!({name: {}});
    let (force, unmanage) = (action("os-force_delete"), action("os-unmanage"));
    for (method, path, body) in [
        (http::Method::DELETE, path.clone(), serde_json::Value::Null),
        (http::Method::POST, format!("{path}/action"), force),
        (http::Method::POST, format!("{path}/action"), unmanage),
        (
            http::Method::DELETE,
            format!("/v3/volumes/{volume_id}?cascade=true"),
            serde_json::Value::Null,
        ),
        (
            http::Method::POST,
            "/v3/volume-transfers".to_owned(),
            serde_json::json!({"transfer": {"volume_id": volume_id, "name": "t"}}),
        ),
    ] {
        let refused = fixture.call(method, &path, body).await;
        assert_eq!(refused.status, 400, "{path} {}", refused.text);
        assert!(refused.text.contains("t is locked"), "{}", refused.text);
    }
    let unlocked = about(&fixture, "UnlockSnapshot", &ec2_id).await;
    assert_eq!(
        element(&unlocked, "snapshotId"),
        ec2_id,
        "{}",
        unlocked.text
    );
    let again = about(&fixture, "UnlockSnapshot", &ec2_id).await;
    assert_eq!(refusal(&again), (400, "IncorrectState"));
    let deleted = about(&fixture, "DeleteSnapshot", &ec2_id).await;
    assert_eq!(element(&deleted, "return"), "true", "{}", deleted.text);
}

#[tokio::test]
async fn a_lock_that_has_cooled_off_only_grows_and_ends_by_itself() {
    let fixture = Fixture::new().await;
    let ec2_id = complete(&fixture).await;
    let days = |days: &'static str| [("LockDuration", days)];
    let cool = [("LockDuration", "3"), ("CoolOffPeriod", "1")];
    let answer = lock(&fixture, &ec2_id, "compliance", &cool).await;
    assert_eq!(element(&answer, "lockState"), "compliance-cooloff");
    assert_eq!(element(&answer, "coolOffPeriod"), "1");
    let shorter = lock(&fixture, &ec2_id, "compliance", &days("2")).await;
    assert_eq!(
        element(&shorter, "lockState"),
        "compliance",
        "{}",
        shorter.text
    );
    let forbidden = (400, "OperationNotPermitted");
    for (mode, more) in [
        ("compliance", &days("1")[..]),
        ("governance", &days("9")),
        (
            "compliance",
            &[("LockDuration", "9"), ("CoolOffPeriod", "1")],
        ),
    ] {
        let refused = lock(&fixture, &ec2_id, mode, more).await;
        assert_eq!(refusal(&refused), forbidden, "{mode} {more:?}");
    }
    let refused = about(&fixture, "UnlockSnapshot", &ec2_id).await;
    assert_eq!(refusal(&refused), forbidden);
    let longer = lock(&fixture, &ec2_id, "compliance", &days("3")).await;
    assert_eq!(element(&longer, "lockDuration"), "3", "{}", longer.text);
    fixture.advance_s(3 * DAY_S - 1);
    let refused = about(&fixture, "DeleteSnapshot", &ec2_id).await;
    assert_eq!(refusal(&refused), forbidden);
    fixture.advance_s(1);
    let described = [("Action", "DescribeLockedSnapshots")];
    let shown = call(&fixture, &described).await;
    assert_eq!(element(&shown, "lockState"), "expired", "{}", shown.text);
    let deleted = about(&fixture, "DeleteSnapshot", &ec2_id).await;
    assert_eq!(element(&deleted, "return"), "true", "{}", deleted.text);
}

#[tokio::test]
async fn locks_are_described_and_bad_ones_refused() {
    let fixture = Fixture::new().await;
    let base = volume(&fixture).await;
    let mut made = Vec::new();
    for _ in 0..6 {
        let ec2_id = snapshot(&fixture, &base, "").await;
        fixture.advance_s(1);
        let days = [("LockDuration", "1")];
        let answer = lock(&fixture, &ec2_id, "governance", &days).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        // Its days begin when it is complete.
        assert_eq!(element(&answer, "lockExpiresOn"), "");
        made.push(ec2_id);
    }
    let describe = [("Action", "DescribeLockedSnapshots"), ("MaxResults", "5")];
    let first = call(&fixture, &describe).await;
    assert_eq!(ids(&first), made[..5]);
    let token = element(&first, "nextToken");
    let second = call(&fixture, &[&describe[..], &[("NextToken", token)]].concat()).await;
    assert_eq!(ids(&second), made[5..]);
    let filter = |value: &'static str| {
        [
            ("Action", "DescribeLockedSnapshots"),
            ("Filter.1.Name", "lock-state"),
            ("Filter.1.Value.1", value),
        ]
    };
    assert_eq!(ids(&call(&fixture, &filter("gov*")).await).len(), 5);
    assert!(ids(&call(&fixture, &filter("compliance")).await).is_empty());
    let by_id = [
        ("Action", "DescribeLockedSnapshots"),
        ("SnapshotId.1", &made[3]),
    ];
    assert_eq!(ids(&call(&fixture, &by_id).await), [made[3].as_str()]);
    let other = Other::new(&fixture, "tenant", "member").await;
    let not_found = (400, "InvalidSnapshot.NotFound");
    let of_other = [
        ("Action", "LockSnapshot"),
        ("SnapshotId", made[0].as_str()),
        ("LockMode", "governance"),
        ("LockDuration", "1"),
    ];
    let unlock = [("Action", "UnlockSnapshot"), ("SnapshotId", &made[0])];
    for request in [&by_id[..], &of_other, &unlock] {
        assert_eq!(refusal(&other.call(&fixture, request).await), not_found);
    }
    let reader = Other::new(&fixture, "watcher", "reader").await;
    let forbidden = reader.call(&fixture, &of_other).await;
    assert_eq!(refusal(&forbidden), (403, "UnauthorizedOperation"));
    for (more, code) in [
        (&[][..], "MissingParameter"),
        (&[("LockDuration", "36501")], "InvalidParameterValue"),
        (
            &[("ExpirationDate", "2026-11-22T07:00:00Z")],
            "InvalidParameterValue",
        ),
        (
            &[("LockDuration", "1"), ("CoolOffPeriod", "1")],
            "InvalidParameterCombination",
        ),
    ] {
        let refused = lock(&fixture, &made[0], "governance", more).await;
        assert_eq!(refusal(&refused), (400, code), "{more:?} {}", refused.text);
    }
}

#[tokio::test]
async fn a_project_decides_whether_its_snapshots_may_be_public() {
    let fixture = Fixture::new().await;
    let ec2_id = complete(&fixture).await;
    let get = [("Action", "GetSnapshotBlockPublicAccessState")];
    let state = async || {
        let answer = call(&fixture, &get).await;
        assert_eq!(element(&answer, "managedBy"), "account");
        element(&answer, "state").to_owned()
    };
    assert_eq!(state().await, "unblocked");
    let share = [
        ("Action", "ModifySnapshotAttribute"),
        ("SnapshotId", ec2_id.as_str()),
        ("CreateVolumePermission.Add.1.Group", "all"),
    ];
    for word in ["block-new-sharing", "block-all-sharing"] {
        let enable = [
            ("Action", "EnableSnapshotBlockPublicAccess"),
            ("State", word),
        ];
        assert_eq!(element(&call(&fixture, &enable).await, "state"), word);
        assert_eq!(state().await, word);
        let refused = call(&fixture, &share).await;
        assert_eq!(refusal(&refused), (400, "OperationNotPermitted"));
    }
    let bad = [
        ("Action", "EnableSnapshotBlockPublicAccess"),
        ("State", "unblocked"),
    ];
    assert_eq!(
        refusal(&call(&fixture, &bad).await),
        (400, "InvalidParameterValue")
    );
    let other = Other::new(&fixture, "tenant", "member").await;
    let elsewhere = other.call(&fixture, &get).await;
    assert_eq!(element(&elsewhere, "state"), "unblocked", "each its own");
    let disable = [("Action", "DisableSnapshotBlockPublicAccess")];
    let disabled = call(&fixture, &disable).await;
    assert_eq!(element(&disabled, "state"), "unblocked");
    assert_eq!(element(&call(&fixture, &share).await, "return"), "true");
    let reader = Other::new(&fixture, "watcher", "reader").await;
    let forbidden = reader.call(&fixture, &disable).await;
    assert_eq!(refusal(&forbidden), (403, "UnauthorizedOperation"));
}

#[tokio::test]
async fn nothing_is_in_the_recycle_bin_or_another_tier() {
    let fixture = Fixture::new().await;
    for (action, set) in [
        ("ListSnapshotsInRecycleBin", "snapshotSet"),
        ("ListVolumesInRecycleBin", "volumeSet"),
        ("DescribeFastSnapshotRestores", "fastSnapshotRestoreSet"),
        ("DescribeSnapshotTierStatus", "snapshotTierStatusSet"),
    ] {
        let answer = call(&fixture, &[("Action", action)]).await;
        assert!(
            answer.text.contains(&format!("<{set}/>")),
            "{}",
            answer.text
        );
    }
    for (action, name, value, code) in [
        (
            "RestoreSnapshotFromRecycleBin",
            "SnapshotId",
            "snap-0123456789abcdef0",
            "InvalidSnapshot.NotFound",
        ),
        (
            "RestoreVolumeFromRecycleBin",
            "VolumeId",
            "vol-0123456789abcdef0",
            "InvalidVolume.NotFound",
        ),
        (
            "ListVolumesInRecycleBin",
            "VolumeId.1",
            "vol-0123456789abcdef0",
            "InvalidVolume.NotFound",
        ),
    ] {
        let answer = call(&fixture, &[("Action", action), (name, value)]).await;
        assert_eq!(refusal(&answer), (400, code), "{action}");
    }
}
