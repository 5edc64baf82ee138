//! Volumes and zones, signed here with version 2, which takes three lines.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use ring::hmac;
use serde_json::{Value, json};

use crate::api::ec2::signature::{canonical_query, encode};
use crate::api::fixture::{ACCESS_KEY, Answer, Fixture, NOW_US, SECRET_KEY, send};
use crate::api::timestamp;
use crate::app::identity;
use crate::config::Secret;
use crate::context::RequestContext;

pub(super) async fn call(fixture: &Fixture, parameters: &[(&str, &str)]) -> Answer {
    call_with(fixture, SECRET_KEY, parameters).await
}

async fn call_with(fixture: &Fixture, secret: &str, parameters: &[(&str, &str)]) -> Answer {
    call_as(fixture, ACCESS_KEY, secret, parameters).await
}

pub(super) async fn call_as(
    fixture: &Fixture,
    access_key: &str,
    secret: &str,
    parameters: &[(&str, &str)],
) -> Answer {
    let now = timestamp::ec2(fixture.service.context.now_us());
    let mut all = vec![
        ("AWSAccessKeyId", access_key),
        ("SignatureVersion", "2"),
        ("SignatureMethod", "HmacSHA256"),
        ("Timestamp", now.as_str()),
        ("Version", "2016-11-15"),
    ];
    all.extend_from_slice(parameters);
    all.sort_unstable();
    let query = canonical_query(all.iter().copied());
    let text = format!("POST\nec2.test\n/\n{query}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = STANDARD.encode(hmac::sign(&key, text.as_bytes()));
    let form = format!("{query}&Signature={}", encode(&signature, false));
    send(
        &fixture.ec2,
        Method::POST,
        "/",
        &[("host", "ec2.test")],
        form,
    )
    .await
}

/// The text of the first element of this name.
pub(super) fn element<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let start = format!("<{name}>");
    let after = answer
        .text
        .split_once(&start)
        .map_or("", |(_, after)| after);
    after.split_once('<').map_or("", |(text, _)| text)
}

const CREATE: [(&str, &str); 4] = [
    ("Action", "CreateVolume"),
    ("AvailabilityZone", "nova"),
    ("Size", "8"),
    ("VolumeType", "gold"),
];

fn with<'a>(base: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [base, more].concat()
}

#[tokio::test]
async fn create_answers_the_volume_at_top_level() {
    let fixture = Fixture::new().await;
    let tags = [
        ("TagSpecification.1.ResourceType", "volume"),
        ("TagSpecification.1.Tag.1.Key", "Na<me"),
        ("TagSpecification.1.Tag.1.Value", "a & b"),
    ];
    let answer = call(&fixture, &with(&CREATE, &tags)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "text/xml;charset=UTF-8");
    let request_id = element(&answer, "requestId").to_owned();
    assert_eq!(
        answer.header("x-openstack-request-id"),
        format!("req-{request_id}")
    );
    assert_eq!(answer.header("x-amzn-requestid"), request_id);
    insta::assert_snapshot!("create_volume", answer.text);
}

#[tokio::test]
async fn a_client_token_makes_one_volume() {
    let fixture = Fixture::new().await;
    let token = [("ClientToken", "once")];
    let first = call(&fixture, &with(&CREATE, &token)).await;
    let again = call(&fixture, &with(&CREATE, &token)).await;
    assert_eq!(element(&first, "volumeId"), element(&again, "volumeId"));
    let mut larger = with(&CREATE, &token);
    larger[2].1 = "9";
    let mismatch = |answer: &Answer| {
        assert_eq!(answer.status, 400);
        assert_eq!(element(answer, "Code"), "IdempotentParameterMismatch");
        element(answer, "Message").to_owned()
    };
    let other = mismatch(&call(&fixture, &larger).await);
    assert!(other.starts_with("Parameters on this idempotent request"));
    // A repetition that comes when the volume is gone does not make another one.
    let ec2_id = element(&first, "volumeId");
    let listed = fixture.call(Method::GET, "/v3/volumes", Value::Null).await;
    let id = listed.json()["volumes"][0]["id"].clone();
    let id = id.as_str().expect("an id");
    fixture.set_status(id, "creating", "error").await;
    let delete = [("Action", "DeleteVolume"), ("VolumeId", ec2_id)];
    assert_eq!(call(&fixture, &delete).await.status, 200);
    let gone = mismatch(&call(&fixture, &with(&CREATE, &token)).await);
    assert_eq!(
        gone,
        format!(
            "The client token &apos;once&apos; is associated with resource &apos;{ec2_id}&apos; which has already been \
             deleted. Please use a different client token."
        )
    );
    assert_eq!(mismatch(&call(&fixture, &larger).await), other);
}

#[tokio::test]
async fn a_client_token_is_known_when_the_snapshot_is_gone_and_forgets_what_is_going() {
    let fixture = Fixture::new().await;
    let id = fixture.make_volume("source").await;
    fixture.settle(&id).await;
    let source = format!("vol-{}", &id.replace('-', "")[..17]);
    let take = [("Action", "CreateSnapshot"), ("VolumeId", source.as_str())];
    let taken = call(&fixture, &take).await;
    let snapshot = element(&taken, "snapshotId");
    let database = &fixture.service.database;
    let done = database.write(|tx| tx.execute("UPDATE snapshots SET status = 'available'", &[]));
    assert_eq!(done.await.unwrap(), 1);
    let create = [
        ("Action", "CreateVolume"),
        ("AvailabilityZone", "nova"),
        ("SnapshotId", snapshot),
        ("ClientToken", "once"),
    ];
    let first = call(&fixture, &create).await;
    let made = element(&first, "volumeId").to_owned();
    assert!(!made.is_empty(), "{}", first.text);
    let gone = database.write(|tx| tx.execute("DELETE FROM snapshots", &[]));
    assert_eq!(gone.await.unwrap(), 1);
    let again = call(&fixture, &create).await;
    assert_eq!(element(&again, "volumeId"), made, "{}", again.text);
    let other = with(&create[..3], &[("ClientToken", "another")]);
    let refused = call(&fixture, &other).await;
    assert_eq!(element(&refused, "Code"), "InvalidSnapshot.NotFound");

    // What is being deleted is as good as gone: for who repeats the request, and for who deletes it again.
    for status in ["deleting", "unmanaging"] {
        let going = database.write(move |tx| {
            let sql = "UPDATE volumes SET status = ?1 WHERE client_token = 'once'";
            tx.execute(sql, &[status.into()])
        });
        assert_eq!(going.await.unwrap(), 1, "older versions find the token too");
        let again = call(&fixture, &create).await;
        assert_eq!(element(&again, "Code"), "IdempotentParameterMismatch");
        let delete = [("Action", "DeleteVolume"), ("VolumeId", made.as_str())];
        let again = call(&fixture, &delete).await;
        assert_eq!(
            (again.status, element(&again, "Code")),
            (400, "InvalidVolume.NotFound")
        );
    }
}

#[tokio::test]
async fn states_limits_and_reserved_keys_have_codes_of_their_own() {
    let fixture = Fixture::new().await;
    let id = fixture.make_volume("v").await;
    fixture.settle(&id).await;
    let ec2_id = format!("vol-{}", &id.replace('-', "")[..17]);
    let quota = format!("/v3/os-quota-sets/{}", fixture.project);
    let set = json!({"quota_set": {"gigabytes": 10}});
    assert_eq!(fixture.call(Method::PUT, &quota, set).await.status, 200);
    let modify = [
        ("Action", "ModifyVolume"),
        ("VolumeId", ec2_id.as_str()),
        ("Size", "100"),
    ];
    let refused = call(&fixture, &modify).await;
    assert_eq!(
        (refused.status, element(&refused, "Code")),
        (400, "VolumeModificationSizeLimitExceeded"),
        "{}",
        refused.text
    );
    for key in ["aws:x", "AWS:x"] {
        let tags = [
            ("TagSpecification.1.ResourceType", "volume"),
            ("TagSpecification.1.Tag.1.Key", key),
        ];
        let refused = call(&fixture, &with(&CREATE, &tags)).await;
        assert_eq!(element(&refused, "Code"), "InvalidParameterValue");
        assert!(refused.text.contains("reserved for internal use"));
    }
    fixture.set_status(&id, "available", "reserved").await;
    let take = [("Action", "CreateSnapshot"), ("VolumeId", ec2_id.as_str())];
    let refused = call(&fixture, &take).await;
    assert_eq!(
        (refused.status, element(&refused, "Code")),
        (400, "IncorrectState"),
        "{}",
        refused.text
    );
}

#[tokio::test]
async fn volumes_are_described_filtered_and_paged() {
    let fixture = Fixture::new().await;
    let describe = [("Action", "DescribeVolumes")];
    let none = call(&fixture, &describe).await;
    assert!(none.text.contains("<volumeSet/>"), "{}", none.text);
    let mut ids = Vec::new();
    for number in ["1", "2", "3", "4", "5", "6", "7"] {
        let mut create = with(
            &CREATE,
            &[
                ("TagSpecification.1.ResourceType", "volume"),
                ("TagSpecification.1.Tag.1.Key", "Number"),
                ("TagSpecification.1.Tag.1.Value", number),
            ],
        );
        create[2].1 = number;
        ids.push(element(&call(&fixture, &create).await, "volumeId").to_owned());
        fixture.advance_s(1);
    }
    let found = async |parameters: &[(&str, &str)]| {
        let answer = call(&fixture, &with(&describe, parameters)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let ids: Vec<String> = answer
            .text
            .split("<volumeId>")
            .skip(1)
            .filter_map(|after| Some(after.split_once('<')?.0.to_owned()))
            .collect();
        (ids, element(&answer, "nextToken").to_owned())
    };
    let (first, token) = found(&[("MaxResults", "5")]).await;
    assert_eq!(first, ids[..5]);
    let (second, next) = found(&[("MaxResults", "5"), ("NextToken", &token)]).await;
    assert_eq!((second.as_slice(), next.as_str()), (&ids[5..], ""));
    for (name, value, expected) in [
        ("size", "7", vec![6]),
        ("size", "?", vec![0, 1, 2, 3, 4]),
        ("tag:Number", "3", vec![2]),
        ("tag:Number", "[3]", vec![]),
        ("tag-key", "Num*", vec![0, 1, 2, 3, 4]),
        ("volume-type", "gold", vec![0, 1, 2, 3, 4]),
        ("status", "available", vec![]),
        ("status", "creat*", vec![0, 1, 2, 3, 4]),
        ("status", "frozen", vec![]),
        ("volume-type", "lead", vec![]),
        ("snapshot-id", "snap-0123456789abcdef0", vec![]),
        ("snapshot-id", "snap-01234567", vec![]),
        ("attachment.instance-id", "i-1", vec![]),
        ("tag-value", "4", vec![3]),
        ("tag-key", "Number", vec![0, 1, 2, 3, 4]),
        ("volume-id", "vol-*", vec![0, 1, 2, 3, 4]),
        ("availability-zone", "nova", vec![0, 1, 2, 3, 4]),
        ("create-time", "2026-11-22T07:00:02*", vec![2]),
        ("attachment.status", "attached", vec![]),
        ("volume-id", &ids[6], vec![6]),
    ] {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        let (mut hits, _) = found(&filter).await;
        hits.truncate(5);
        let expected: Vec<_> = expected.iter().map(|index| ids[*index].clone()).collect();
        assert_eq!(hits, expected, "{name}={value}");
    }
    let two = [
        ("Filter.1.Name", "tag:Number"),
        ("Filter.1.Value.1", "2"),
        ("Filter.1.Value.2", "7"),
        ("Filter.2.Name", "volume-id"),
        ("Filter.2.Value.1", &ids[6]),
        ("Filter.2.Value.2", &ids[0]),
    ];
    assert_eq!(found(&two).await.0, ids[6..]);
    let no_values = [("Filter.1.Name", "size")];
    assert_eq!(found(&no_values).await, (Vec::new(), String::new()));
    let short = &ids[2][.."vol-01234567".len()];
    let three = [
        ("VolumeId.1", ids[1].as_str()),
        ("VolumeId.2", &ids[0]),
        ("VolumeId.3", short),
        ("VolumeId.4", &ids[1]),
    ];
    let expected = [ids[1].clone(), ids[0].clone(), ids[2].clone()];
    assert_eq!(found(&three).await.0, expected);

    // The token goes on when what it names is gone.
    let removed = fixture
        .service
        .database
        .write(|tx| tx.execute("DELETE FROM volumes WHERE size_gib = 5", &[]));
    assert_eq!(removed.await.expect("the database answers"), 1);
    assert_eq!(found(&[("NextToken", &token)]).await.0, ids[5..]);
}

/// EC2 has no administrators over accounts, and a short name is one of the project's.
#[tokio::test]
async fn nobody_reaches_beyond_the_project() {
    let fixture = Fixture::new().await;
    let own = element(&call(&fixture, &CREATE).await, "volumeId").to_owned();
    let (token, _) = fixture.other_user("tenant", "member").await;
    let body = serde_json::json!({"volume": {"size": 1, "volume_type": "gold"}});
    let made = fixture
        .call_as(&token, "3.71", Method::POST, "/v3/volumes", body)
        .await;
    let foreign = made.json()["volume"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let foreign = format!("vol-{}", &foreign.replace('-', "")[..17]);
    let renamed = format!("{}fffffffff", &own[..own.len() - 9]);
    let twin = fixture.service.database.write({
        let (foreign, renamed) = (foreign.clone(), renamed.clone());
        move |tx| {
            let sql = "UPDATE volumes SET ec2_id = ?1 WHERE ec2_id = ?2";
            tx.execute(sql, &[renamed.as_str().into(), foreign.as_str().into()])
        }
    });
    assert_eq!(twin.await.expect("the database answers"), 1);
    let describe = async |id: &str| {
        let parameters = [("Action", "DescribeVolumes"), ("VolumeId.1", id)];
        call(&fixture, &parameters).await
    };
    let by_short = describe(&own[.."vol-01234567".len()]).await;
    assert_eq!(element(&by_short, "volumeId"), own, "{}", by_short.text);
    let absent = describe(&renamed).await;
    assert_eq!(element(&absent, "Code"), "InvalidVolume.NotFound");
    let delete = [("Action", "DeleteVolume"), ("VolumeId", renamed.as_str())];
    let absent = call(&fixture, &delete).await;
    assert_eq!(element(&absent, "Code"), "InvalidVolume.NotFound");
}

#[tokio::test]
async fn zones_are_described() {
    let fixture = Fixture::new().await;
    let answer = call(&fixture, &[("Action", "DescribeAvailabilityZones")]).await;
    assert_eq!(answer.status, 200);
    let text = answer
        .text
        .replace(element(&answer, "requestId"), "<request id>");
    insta::assert_snapshot!("describe_availability_zones", text);
    let unknown = [("Action", "DescribeAvailabilityZones"), ("ZoneName.1", "x")];
    assert_eq!(
        element(&call(&fixture, &unknown).await, "Code"),
        "InvalidParameterValue"
    );
}

#[tokio::test]
async fn refusals_have_ec2s_codes() {
    let fixture = Fixture::new().await;
    let made = call(&fixture, &CREATE).await;
    let id = element(&made, "volumeId").to_owned();
    let changed = |index: usize, value: &'static str| {
        let mut create = CREATE.to_vec();
        create[index].1 = value;
        create
    };
    let cases = [
        (vec![("Action", "FlyToTheMoon")], 400, "InvalidAction"),
        (vec![], 400, "MissingAction"),
        (vec![("Action", "")], 400, "MissingAction"),
        (
            vec![("Action", "CreateVolume"), ("Size", "1")],
            400,
            "MissingParameter",
        ),
        (changed(1, "atlantis"), 400, "InvalidZone.NotFound"),
        (changed(2, "-1"), 400, "InvalidParameterValue"),
        (changed(3, "lead"), 400, "UnknownVolumeType"),
        (with(&CREATE, &[("DryRun", "true")]), 412, "DryRunOperation"),
        (
            with(&CREATE, &[("SnapshotId", "snap-1")]),
            400,
            "InvalidSnapshotID.Malformed",
        ),
        (vec![("Action", "DeleteVolume")], 400, "MissingParameter"),
        (
            vec![("Action", "DeleteVolume"), ("VolumeId", "disk-1")],
            400,
            "InvalidParameterValue",
        ),
        (
            vec![("Action", "DeleteVolume"), ("VolumeId", "vol-00000000")],
            400,
            "InvalidVolume.NotFound",
        ),
        (
            vec![("Action", "DeleteVolume"), ("VolumeId", &id)],
            400,
            "IncorrectState",
        ),
        (
            vec![
                ("Action", "DescribeVolumes"),
                ("VolumeId.1", "vol-00000000"),
            ],
            400,
            "InvalidVolume.NotFound",
        ),
        (
            vec![("Action", "DescribeVolumes"), ("NextToken", "x")],
            400,
            "InvalidParameterValue",
        ),
        (
            vec![("Action", "DescribeVolumes"), ("MaxResults", "4")],
            400,
            "InvalidParameterValue",
        ),
        (
            vec![
                ("Action", "DescribeVolumes"),
                ("VolumeId.1", &id),
                ("NextToken", "x"),
            ],
            400,
            "InvalidParameterCombination",
        ),
        (
            vec![("Action", "DescribeVolumes"), ("VolumeId.1", "")],
            400,
            "MissingParameter",
        ),
        (
            vec![
                ("Action", "DescribeVolumes"),
                ("Filter.1.Name", "colour"),
                ("Filter.1.Value.1", "red"),
            ],
            400,
            "InvalidParameterValue",
        ),
    ];
    for (parameters, status, code) in cases {
        let answer = call(&fixture, &parameters).await;
        assert_eq!(
            (answer.status, element(&answer, "Code")),
            (status, code),
            "{parameters:?} {}",
            answer.text
        );
    }
    let several = [
        ("Action", "DescribeVolumes"),
        ("VolumeId.1", "vol-00000000"),
        ("VolumeId.2", id.as_str()),
        ("VolumeId.3", "vol-0123456789abcdef0"),
    ];
    assert_eq!(
        element(&call(&fixture, &several).await, "Message"),
        "The volumes &apos;vol-00000000, vol-0123456789abcdef0&apos; do not exist."
    );
    let missing = call(
        &fixture,
        &[("Action", "DeleteVolume"), ("VolumeId", "vol-00000000")],
    )
    .await;
    assert_eq!(
        element(&missing, "Message"),
        "The volume &apos;vol-00000000&apos; does not exist."
    );
}

#[tokio::test]
async fn who_is_not_known_learns_nothing() {
    let fixture = Fixture::new().await;
    let describe = [("Action", "DescribeVolumes")];
    let wrong = call_with(&fixture, "not the secret", &describe).await;
    assert_eq!(
        (wrong.status, element(&wrong, "Code")),
        (403, "SignatureDoesNotMatch")
    );
    let unsigned = send(
        &fixture.ec2,
        Method::GET,
        "/?Action=DescribeVolumes",
        &[],
        "",
    )
    .await;
    assert_eq!(
        (unsigned.status, element(&unsigned, "Code")),
        (401, "AuthFailure")
    );
    let text = unsigned
        .text
        .replace(element(&unsigned, "RequestID"), "<request id>");
    insta::assert_snapshot!("auth_failure", text);
    let now = timestamp::ec2(NOW_US);
    let unknown = format!(
        "/?Action=DescribeVolumes&AWSAccessKeyId=nobody&SignatureVersion=2&SignatureMethod=HmacSHA256&Timestamp={now}&Signature=AAAA"
    );
    let unknown = send(
        &fixture.ec2,
        Method::GET,
        &unknown,
        &[("host", "ec2.test")],
        "",
    )
    .await;
    assert_eq!(
        (unknown.status, element(&unknown, "Code")),
        (401, "AuthFailure")
    );
    let huge = send(&fixture.ec2, Method::POST, "/", &[], vec![b'a'; 200_000]).await;
    assert_eq!(huge.status, 413);
    let binary = send(&fixture.ec2, Method::POST, "/", &[], vec![0xff; 100]).await;
    assert_eq!(
        (binary.status, element(&binary, "Code")),
        (400, "MalformedQueryString")
    );
    let method = send(&fixture.ec2, Method::PUT, "/", &[], "").await;
    assert_eq!(method.status, 405);
    let version = with(&describe, &[("Version", "2030-01-01")]);
    let unsigned = canonical_query(version.iter().copied());
    let unsigned = send(&fixture.ec2, Method::GET, &format!("/?{unsigned}"), &[], "").await;
    assert_eq!(element(&unsigned, "Code"), "AuthFailure", "before all else");
    let health = send(&fixture.ec2, Method::GET, "/healthz", &[], "").await;
    assert_eq!(health.status, 200);
}

#[tokio::test]
async fn keys_act_for_their_project_and_role_only() {
    let fixture = Fixture::new().await;
    let made = call(&fixture, &CREATE).await;
    let id = element(&made, "volumeId").to_owned();
    let mut keys = Vec::new();
    for (name, role) in [("tenant", "member"), ("watcher", "reader")] {
        let (token, project) = fixture.other_user(name, role).await;
        let token = identity::validate(&fixture.service, &Secret::new(token)).await;
        let user = token.expect("a good token").user.id;
        let operator = RequestContext::operator();
        let key = identity::create_ec2_key(&fixture.service, &operator, &user, &project).await;
        keys.push(key.expect("a key"));
    }
    let refusal = async |index: usize, parameters: &[(&str, &str)]| {
        let (access, secret) = &keys[index];
        let answer = call_as(&fixture, access, secret.expose(), parameters).await;
        (answer.status, element(&answer, "Code").to_owned())
    };
    let delete = [("Action", "DeleteVolume"), ("VolumeId", id.as_str())];
    let not_found = (400, "InvalidVolume.NotFound".to_owned());
    assert_eq!(
        refusal(0, &delete).await,
        not_found,
        "another project's volume"
    );
    let describe = [("Action", "DescribeVolumes"), ("VolumeId.1", id.as_str())];
    assert_eq!(refusal(0, &describe).await, not_found);
    let unauthorized = (403, "UnauthorizedOperation".to_owned());
    assert_eq!(refusal(1, &CREATE).await, unauthorized);
    let dry = with(&CREATE, &[("DryRun", "true")]);
    assert_eq!(
        refusal(1, &dry).await,
        unauthorized,
        "a dry run says what would happen"
    );
    assert_eq!(refusal(0, &dry).await, (412, "DryRunOperation".to_owned()));
}
