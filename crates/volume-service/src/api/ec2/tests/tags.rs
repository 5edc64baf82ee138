//! Tags, and what tools ask before they do anything: regions, accounts, who they are.

use super::actions::{call, call_as, element};
use crate::api::fixture::{Answer, Fixture};
use crate::app::identity;
use crate::config::Secret;
use crate::context::RequestContext;

async fn make(fixture: &Fixture) -> (String, String) {
    let id = fixture.make_volume("one").await;
    fixture.settle(&id).await;
    let volume = format!("vol-{}", &id.replace('-', "")[..17]);
    let create = [("Action", "CreateSnapshot"), ("VolumeId", volume.as_str())];
    let snapshot = element(&call(fixture, &create).await, "snapshotId").to_owned();
    assert!(!snapshot.is_empty());
    (volume, snapshot)
}

/// The texts of all elements of a name.
fn all(answer: &Answer, name: &str) -> Vec<String> {
    let start = format!("<{name}>");
    let text_of = |after: &str| Some(after.split_once('<')?.0.to_owned());
    answer
        .text
        .split(&start)
        .skip(1)
        .filter_map(text_of)
        .collect()
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, element(answer, "Code").to_owned())
}

#[tokio::test]
async fn tags_are_written_described_and_removed() {
    let fixture = Fixture::new().await;
    let (volume, snapshot) = make(&fixture).await;
    let value = "v".repeat(256);
    let create = [
        ("Action", "CreateTags"),
        ("ResourceId.1", volume.as_str()),
        ("ResourceId.2", snapshot.as_str()),
        // Once more, by its short name.
        ("ResourceId.3", &volume[.."vol-01234567".len()]),
        ("Tag.1.Key", "Na<me"),
        ("Tag.1.Value", "a & b"),
        ("Tag.2.Key", "empty"),
        ("Tag.3.Key", "long"),
        ("Tag.3.Value", &value),
    ];
    let created = call(&fixture, &create).await;
    assert_eq!(element(&created, "return"), "true", "{}", created.text);
    let describe = async |more: &[(&str, &str)]| {
        let parameters = [&[("Action", "DescribeTags")], more].concat();
        let answer = call(&fixture, &parameters).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer
    };
    // The whole list, whatever the pages are.
    let whole = async |name: &str| {
        let mut found = Vec::new();
        let mut token = String::new();
        loop {
            let page = describe(&[("NextToken", &token)]).await;
            found.extend(all(&page, name));
            element(&page, "nextToken").clone_into(&mut token);
            if token.is_empty() {
                return found;
            }
        }
    };
    let keys = ["Na&lt;me", "empty", "long"];
    assert_eq!(whole("key").await, [keys, keys].concat());
    let of_each = |snapshots, volumes| [[snapshots; 3], [volumes; 3]].concat();
    let ids = of_each(snapshot.as_str(), volume.as_str());
    assert_eq!(whole("resourceId").await, ids);
    let types = of_each("snapshot", "volume");
    assert_eq!(whole("resourceType").await, types);
    for (name, value, expected) in [
        ("key", "empty", 2),
        ("key", "l*", 2),
        ("resource-id", volume.as_str(), 3),
        ("resource-id", "vol-*", 3),
        ("resource-type", "snap*", 3),
        ("resource-type", "instance", 0),
        ("value", "a & b", 2),
        ("value", "", 2),
        ("value", "v?*", 2),
        ("tag:Na<me", "a & b", 2),
        ("tag:Na<me", "b", 0),
        ("tag:long", "*", 2),
    ] {
        let filtered = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        let found = all(&describe(&filtered).await, "key");
        assert_eq!(found.len(), expected, "{name}={value}");
    }
    assert!(
        describe(&[("Filter.1.Name", "key")])
            .await
            .text
            .contains("<tagSet/>")
    );
    let first = describe(&[("MaxResults", "5")]).await;
    assert_eq!(all(&first, "key").len(), 5);
    let token = element(&first, "nextToken");
    let rest = describe(&[("NextToken", token)]).await;
    assert_eq!(all(&rest, "key"), ["long"]);
    assert_eq!(element(&rest, "nextToken"), "");

    // A pair goes only whole, a key whatever its value.
    let delete = async |more: &[(&str, &str)]| {
        let base = [("Action", "DeleteTags"), ("ResourceId.1", volume.as_str())];
        let answer = call(&fixture, &[&base, more].concat()).await;
        assert_eq!(element(&answer, "return"), "true", "{}", answer.text);
        let of_volume = [
            ("Filter.1.Name", "resource-id"),
            ("Filter.1.Value.1", volume.as_str()),
        ];
        all(&describe(&of_volume).await, "key")
    };
    let untouched = delete(&[("Tag.1.Key", "Na<me"), ("Tag.1.Value", "")]).await;
    assert_eq!(untouched, keys);
    let left = delete(&[("Tag.1.Key", "Na<me"), ("Tag.2.Key", "never there")]).await;
    assert_eq!(left, keys[1..]);
    let left = delete(&[("Tag.1.Key", "empty"), ("Tag.1.Value", "")]).await;
    assert_eq!(left, keys[2..]);
    assert!(delete(&[]).await.is_empty());
    let of_snapshots = describe(&[]).await;
    assert_eq!(all(&of_snapshots, "key"), keys);
}

#[tokio::test]
async fn tags_are_refused_with_ec2s_codes() {
    let fixture = Fixture::new().await;
    let (volume, _) = make(&fixture).await;
    let nobody = "vol-0123456789abcdef0";
    let refusal = async |more: &[(&str, &str)]| {
        let base = [("Action", "CreateTags"), ("ResourceId.1", volume.as_str())];
        let answer = call(&fixture, &[&base, more].concat()).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        element(&answer, "Code").to_owned()
    };
    let long = "k".repeat(129);
    let tag = ("Tag.1.Key", "k");
    for (more, expected) in [
        (vec![], "MissingParameter"),
        (vec![("Tag.1.Value", "v")], "MissingParameter"),
        (vec![("Tag.1.Key", "")], "InvalidTagKey.Malformed"),
        (vec![("Tag.1.Key", &long)], "InvalidParameterValue"),
        (vec![("Tag.1.Key", "aws:x")], "InvalidParameterValue"),
        (vec![tag, ("Tag.2.Key", "k")], "InvalidParameterValue"),
        (
            vec![tag, ("ResourceId.2", nobody)],
            "InvalidVolume.NotFound",
        ),
        (
            vec![tag, ("ResourceId.2", "snap-0123456789abcdef0")],
            "InvalidSnapshot.NotFound",
        ),
        (vec![tag, ("ResourceId.2", "vol-1")], "InvalidID"),
        (vec![tag, ("ResourceId.2", "")], "InvalidID"),
        (vec![tag, ("ResourceId.2", "ami-01234567")], "InvalidID"),
        (
            vec![tag, ("ResourceId.2", nobody), ("DryRun", "true")],
            "InvalidVolume.NotFound",
        ),
    ] {
        assert_eq!(refusal(&more).await, expected, "{more:?}");
    }
    let names: Vec<(String, String)> = (1..=51)
        .map(|number| (format!("Tag.{number}.Key"), format!("k{number}")))
        .collect();
    let many: Vec<(&str, &str)> = names
        .iter()
        .map(|(name, key)| (name.as_str(), key.as_str()))
        .collect();
    assert_eq!(refusal(&many).await, "TagLimitExceeded");
    // What is refused is not written at all, also to what was found.
    let describe = [("Action", "DescribeTags")];
    assert!(call(&fixture, &describe).await.text.contains("<tagSet/>"));
    // Fifty and no more; those that are there may get other values.
    let parts = |tags: &[(&'static str, &'static str)], all: &[(&str, &str)]| {
        let base = [("Action", "CreateTags"), ("ResourceId.1", volume.as_str())];
        let pairs = base.iter().chain(all).chain(tags);
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<Vec<_>>()
    };
    let ask = async |pairs: Vec<(String, String)>| {
        let pairs: Vec<(&str, &str)> = pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        call(&fixture, &pairs).await
    };
    assert_eq!(ask(parts(&[], &many[..50])).await.status, 200);
    assert_eq!(ask(parts(&[], &many[..50])).await.status, 200);
    let over = ask(parts(&[], &many[50..])).await;
    assert_eq!(code(&over), (400, "TagLimitExceeded".to_owned()));
    let dry = ask(parts(&[("DryRun", "true")], &many[..1])).await;
    assert_eq!(code(&dry), (412, "DryRunOperation".to_owned()));
    let bad_token = [("Action", "DescribeTags"), ("NextToken", "x")];
    let refused = call(&fixture, &bad_token).await;
    assert_eq!(code(&refused).1, "InvalidParameterValue");
}

#[tokio::test]
async fn tags_are_the_projects_and_a_reader_writes_none() {
    let fixture = Fixture::new().await;
    let (volume, snapshot) = make(&fixture).await;
    let tag = [
        ("Action", "CreateTags"),
        ("ResourceId.1", volume.as_str()),
        ("Tag.1.Key", "k"),
    ];
    assert_eq!(call(&fixture, &tag).await.status, 200);
    let (token, project) = fixture.other_user("tenant", "member").await;
    let inside = fixture.insider("reader").await;
    let mut keys = Vec::new();
    for (token, project) in [(token, &project), (inside, &fixture.project)] {
        let token = identity::validate(&fixture.service, &Secret::new(token)).await;
        let user = token.expect("a good token").user.id;
        let operator = RequestContext::operator();
        let key = identity::create_ec2_key(&fixture.service, &operator, &user, project).await;
        keys.push(key.expect("a key"));
    }
    let ask = async |index: usize, parameters: &[(&str, &str)]| {
        let (access, secret) = &keys[index];
        call_as(&fixture, access, secret.expose(), parameters).await
    };
    let delete = [
        ("Action", "DeleteTags"),
        ("ResourceId.1", snapshot.as_str()),
    ];
    for (index, volumes, snapshots) in [
        (
            0,
            (400, "InvalidVolume.NotFound"),
            (400, "InvalidSnapshot.NotFound"),
        ),
        (
            1,
            (403, "UnauthorizedOperation"),
            (403, "UnauthorizedOperation"),
        ),
    ] {
        for dry in [&[][..], &[("DryRun", "true")]] {
            let refused = code(&ask(index, &[&tag[..], dry].concat()).await);
            assert_eq!((refused.0, refused.1.as_str()), volumes, "{index}");
            let refused = code(&ask(index, &[&delete[..], dry].concat()).await);
            assert_eq!((refused.0, refused.1.as_str()), snapshots, "{index}");
        }
    }
    let describe = [("Action", "DescribeTags")];
    assert!(all(&ask(0, &describe).await, "key").is_empty());
    assert_eq!(all(&ask(1, &describe).await, "key"), ["k"]);
}

#[tokio::test]
async fn there_is_one_region_and_an_account_without_anything() {
    let fixture = Fixture::new().await;
    let regions = [("Action", "DescribeRegions")];
    let answer = call(&fixture, &regions).await;
    assert_eq!(all(&answer, "regionName"), ["RegionOne"]);
    let endpoint = element(&answer, "regionEndpoint");
    assert!(
        !endpoint.is_empty() && !endpoint.contains('/'),
        "{endpoint}"
    );
    let filtered = [
        regions[0],
        ("Filter.1.Name", "region-name"),
        ("Filter.1.Value.1", "us-*"),
    ];
    assert!(
        call(&fixture, &filtered)
            .await
            .text
            .contains("<regionInfo/>")
    );
    let unknown = [regions[0], ("RegionName.1", "us-east-1")];
    assert_eq!(
        code(&call(&fixture, &unknown).await),
        (400, "InvalidParameterValue".to_owned())
    );
    let attributes = [("Action", "DescribeAccountAttributes")];
    let answer = call(&fixture, &attributes).await;
    assert_eq!(all(&answer, "attributeName").len(), 6);
    let one = [attributes[0], ("AttributeName.1", "supported-platforms")];
    assert_eq!(
        element(&call(&fixture, &one).await, "attributeValue"),
        "VPC"
    );
    let unknown = [attributes[0], ("AttributeName.1", "colour")];
    assert_eq!(
        code(&call(&fixture, &unknown).await).1,
        "InvalidParameterValue"
    );
}

#[tokio::test]
async fn callers_learn_who_they_are() {
    let fixture = Fixture::new().await;
    let ask = async |secret: &str, more: &[(&str, &str)]| {
        let parameters = [&[("Action", "GetCallerIdentity")], more].concat();
        call_as(
            &fixture,
            crate::api::fixture::ACCESS_KEY,
            secret,
            &parameters,
        )
        .await
    };
    let secret = crate::api::fixture::SECRET_KEY;
    // The helper signs for EC2's newest version, which this service does not have.
    let answer = ask(secret, &[]).await;
    assert_eq!(
        (answer.status, element(&answer, "Code")),
        (400, "NoSuchVersion")
    );
    let wrong = ask("not the secret", &[]).await;
    assert_eq!(
        (wrong.status, element(&wrong, "Code")),
        (403, "SignatureDoesNotMatch")
    );
    assert!(wrong.text.contains("<ErrorResponse"), "{}", wrong.text);
    assert!(!element(&wrong, "RequestId").is_empty());
    let unknown = ask(secret, &[("Colour", "red")]).await;
    assert_eq!(element(&unknown, "Code"), "UnknownParameter");
}
