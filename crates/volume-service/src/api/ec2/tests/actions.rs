//! Volumes and zones, signed here with version 2, which takes three lines.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use ring::hmac;

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
    let refused = call(&fixture, &larger).await;
    assert_eq!(refused.status, 400);
    assert_eq!(element(&refused, "Code"), "IdempotentParameterMismatch");
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
    let (first, next) = found(&[("MaxResults", "3")]).await;
    assert_eq!(first, ids[..3]);
    let (second, next) = found(&[("MaxResults", "3"), ("NextToken", &next)]).await;
    assert_eq!(second, ids[3..6]);
    let (third, next) = found(&[("MaxResults", "3"), ("NextToken", &next)]).await;
    assert_eq!((third.as_slice(), next.as_str()), (&ids[6..], ""));
    for (name, value, expected) in [
        ("size", "7", vec![6]),
        ("size", "?", vec![0, 1, 2, 3, 4]),
        ("tag:Number", "3", vec![2]),
        ("tag:Number", "[3]", vec![]),
        ("tag-key", "Num*", vec![0, 1, 2, 3, 4]),
        ("volume-type", "gold", vec![0, 1, 2, 3, 4]),
        ("status", "available", vec![]),
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
    let (named, _) = found(&[("VolumeId.1", &ids[1]), ("VolumeId.2", &ids[0])]).await;
    assert_eq!(named, [ids[1].clone(), ids[0].clone()]);
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
        (vec![], 400, "MissingParameter"),
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
            "InvalidNextToken",
        ),
        (
            vec![("Action", "DescribeVolumes"), ("MaxResults", "0")],
            400,
            "InvalidParameterValue",
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
