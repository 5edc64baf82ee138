//! Every action of the table with every parameter written wrongly in every way, and every filter: no request ends in a fault of
//! ours, and each answer is well-formed XML. The requests are made from the schema, so that a new action is walked too.

use super::actions::{call, element};
use crate::api::ec2::filters;
use crate::api::ec2::route::{ACTIONS, Action, DryRun};
use crate::api::ec2::schema::{Kind, Parameter, Support};
use crate::api::fixture::{Answer, Fixture};

type Pairs = Vec<(String, String)>;

/// What good requests name.
struct Things {
    fixture: Fixture,
    volume: String,
    snapshot: String,
    instance: String,
}

impl Things {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        let create = [
            ("Action", "CreateVolume"),
            ("AvailabilityZone", "nova"),
            ("Size", "1"),
            ("VolumeType", "gold"),
        ];
        let volume = element(&call(&fixture, &create).await, "volumeId").to_owned();
        let id = fixture.make_volume("another").await;
        fixture.settle(&id).await;
        let other = format!("vol-{}", &id.replace('-', "")[..17]);
        let create = [("Action", "CreateSnapshot"), ("VolumeId", other.as_str())];
        let snapshot = element(&call(&fixture, &create).await, "snapshotId").to_owned();
        assert!(!volume.is_empty() && !snapshot.is_empty());
        let instance = fixture.see_instance(&fixture.project, |_| ()).await;
        Things {
            fixture,
            volume,
            snapshot,
            instance,
        }
    }

    /// A request for an action with all that it must have, and a value for each parameter's first place.
    fn good(&self, action: &Action) -> Pairs {
        let mut pairs = vec![("Action".to_owned(), action.name.to_owned())];
        for parameter in action.parameters {
            let is_needed = matches!(
                (action.name, parameter.name),
                ("CreateVolume", "Size" | "AvailabilityZone" | "VolumeType")
                    | ("CopySnapshot", "SourceRegion")
                    | ("LockSnapshot", "LockDuration")
            );
            if parameter.required.is_some() || is_needed {
                let name = parameter.name;
                let name = match parameter.kind {
                    Kind::List(..) => format!("{name}.1"),
                    Kind::Structs(..) => format!("{name}.1.Key"),
                    _ => name.to_owned(),
                };
                pairs.push((name, self.sample(action, parameter)));
            }
        }
        pairs
    }

    fn sample(&self, action: &Action, parameter: &Parameter) -> String {
        match parameter.name {
            "InstanceId" => self.instance.clone(),
            "Device" => "/dev/sdf".to_owned(),
            "VolumeType" => "gold".to_owned(),
            "Attribute" if action.name == "DescribeInstanceAttribute" => "instanceType".to_owned(),
            "VolumeId" | "ResourceId" | "SourceVolumeId" => self.volume.clone(),
            "Tag" => "colour".to_owned(),
            "SnapshotId" | "SourceSnapshotId" => self.snapshot.clone(),
            "AvailabilityZone" => "nova".to_owned(),
            "Size" | "LockDuration" => "1".to_owned(),
            "LockMode" => "governance".to_owned(),
            "State" => "block-new-sharing".to_owned(),
            "SourceRegion" => "us-east-1".to_owned(),
            "Attribute" => "createVolumePermission".to_owned(),
            other => panic!("the walk needs a sample of {other}"),
        }
    }

    async fn ask(&self, pairs: &Pairs) -> Answer {
        let pairs: Vec<(&str, &str)> = pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let answer = call(&self.fixture, &pairs).await;
        assert!(answer.status < 500, "{pairs:?} {}", answer.text);
        check_xml(&answer.text);
        answer
    }

    /// Asks for what must be refused as a bad request.
    async fn refused(&self, pairs: &Pairs, codes: &[&str]) {
        let answer = self.ask(pairs).await;
        let code = element(&answer, "Code");
        assert!(
            answer.status == 400 && codes.contains(&code),
            "{pairs:?} {codes:?} {}",
            answer.text
        );
    }
}

/// Every start has its end, and no text has markup in it.
fn check_xml(text: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        assert!(!before.contains('>'), "{text}");
        for entity in before.split('&').skip(1) {
            let (name, _) = entity.split_once(';').expect("a whole entity");
            let is_known = ["amp", "lt", "gt", "quot", "apos"].contains(&name);
            assert!(is_known || name.starts_with('#'), "{text}");
        }
        let (tag, behind) = after.split_once('>').expect("a whole tag");
        rest = behind;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{text}");
        } else if !tag.starts_with('?') && !tag.ends_with('/') {
            open.push(tag.split(' ').next().expect("a name"));
        }
    }
    assert!(open.is_empty() && rest.is_empty(), "{text}");
}

/// The paths under which a parameter's scalar values are sent, with their kinds.
fn leaves(prefix: &str, parameter: &Parameter, found: &mut Vec<(String, Kind)>) {
    let name = format!("{prefix}{}", parameter.name);
    match parameter.kind {
        Kind::List(kind, _) => found.push((format!("{name}.1"), *kind)),
        Kind::Struct(parts) => {
            for part in parts {
                leaves(&format!("{name}."), part, found);
            }
        }
        Kind::Structs(parts, _) => {
            for part in parts {
                leaves(&format!("{name}.1."), part, found);
            }
        }
        kind => found.push((name, kind)),
    }
}

/// Values that are not of the kind.
fn wrong_values(kind: Kind) -> Vec<String> {
    match kind {
        Kind::Text { max } => vec!["x".repeat(max + 1)],
        Kind::Number { max, .. } => {
            let mut values = ["1.5", "x", "", "+1", "99999999999999999999"]
                .map(str::to_owned)
                .to_vec();
            values.extend(max.checked_add(1).map(|over| over.to_string()));
            values
        }
        Kind::Boolean => ["maybe", ""].map(str::to_owned).to_vec(),
        Kind::Words(_) => vec!["nobody-says-so".to_owned()],
        Kind::Id(..) => ["x", "vol-", "snap-123", "vol-0123456789ABCDEF0"]
            .map(str::to_owned)
            .to_vec(),
        Kind::List(..) | Kind::Struct(_) | Kind::Structs(..) => Vec::new(),
    }
}

fn replaced(pairs: &Pairs, name: &str, value: &str) -> Pairs {
    let mut pairs: Pairs = pairs
        .iter()
        .filter(|(key, _)| key != name)
        .cloned()
        .collect();
    pairs.push((name.to_owned(), value.to_owned()));
    pairs
}

const BAD_VALUE: &[&str] = &[
    "InvalidParameterValue",
    "InvalidParameterCombination",
    "InvalidVolumeID.Malformed",
    "InvalidSnapshotID.Malformed",
    "InvalidAMIAttributeItemValue",
    "InvalidRegion",
    "InvalidInstanceID.Malformed",
    "InvalidInstanceType",
    "InvalidRequest",
    "InvalidUserID.Malformed",
    "MissingParameter",
    "UnsupportedOperation",
];

#[tokio::test]
async fn every_parameter_in_every_wrong_way() {
    let things = Things::new().await;
    for action in ACTIONS.iter().copied().flatten() {
        let good = things.good(action);
        let rows = things.rows().await;
        for parameter in action.parameters {
            if parameter.required.is_some() {
                let first = |name: &str| name.split('.').next() == Some(parameter.name);
                let without = good.iter().filter(|(name, _)| !first(name));
                things
                    .refused(&without.cloned().collect(), &["MissingParameter"])
                    .await;
            }
            let mut found = Vec::new();
            leaves("", parameter, &mut found);
            for (name, kind) in found {
                for value in wrong_values(kind) {
                    let wrong = replaced(&good, &name, &value);
                    // What is empty and not built asks for nothing.
                    if value.is_empty() && parameter.state == Support::Unbuilt {
                        continue;
                    }
                    things.refused(&wrong, BAD_VALUE).await;
                }
                let mut twice = replaced(&good, &name, "1");
                twice.push((name.clone(), "2".to_owned()));
                things.refused(&twice, &["InvalidParameterValue"]).await;
                let dotted = replaced(&good, &format!("{name}.x"), "1");
                things.refused(&dotted, &["UnknownParameter"]).await;
            }
        }
        let odd = replaced(&good, "Colour", "<red>");
        things.refused(&odd, &["UnknownParameter"]).await;
        let maybe = replaced(&good, "DryRun", "maybe");
        things.refused(&maybe, &["InvalidParameterValue"]).await;
        assert_eq!(things.rows().await, rows, "{}", action.name);
    }
}

impl Things {
    /// How many things there are: what is refused changes nothing.
    async fn rows(&self) -> i64 {
        let count = self.fixture.service.database.read(|tx| {
            let sql = "SELECT (SELECT COUNT(*) FROM volumes) + (SELECT COUNT(*) FROM snapshots) \
                       + (SELECT COUNT(*) FROM operations) + (SELECT COUNT(*) FROM client_tokens) \
                       + (SELECT COUNT(*) FROM volume_metadata)";
            tx.query_first(sql, &[], |row| row.int(0))
        });
        count.await.expect("the database answers").expect("a row")
    }
}

#[tokio::test]
async fn every_action_says_what_a_dry_run_would_do() {
    let things = Things::new().await;
    let rows = things.rows().await;
    for action in ACTIONS.iter().copied().flatten() {
        let dry = replaced(&things.good(action), "DryRun", "true");
        let answer = things.ask(&dry).await;
        let found = (answer.status, element(&answer, "Code"));
        assert_eq!(found, (412, "DryRunOperation"), "{}", action.name);
        if action.dry_run == DryRun::First {
            // Whatever the values are.
            let nothing = vec![dry[0].clone(), ("DryRun".to_owned(), "true".to_owned())];
            assert_eq!(things.ask(&nothing).await.status, 412, "{}", action.name);
        }
    }
    assert_eq!(things.rows().await, rows);
}

#[tokio::test]
async fn every_filter_is_known_to_its_action_and_no_other() {
    let things = Things::new().await;
    for action in ACTIONS.iter().copied().flatten() {
        let good = things.good(action);
        if action.filters.is_empty() {
            let filtered = replaced(&good, "Filter.1.Name", "status");
            things.refused(&filtered, &["UnknownParameter"]).await;
            continue;
        }
        for name in action.filters {
            let name = match *name {
                filters::TAG => "tag:<&>",
                name => name,
            };
            for value in ["*", "x", "vol-0123456789abcdef0", "\u{e9}?\\"] {
                let named = replaced(&good, "Filter.1.Name", name);
                let answer = things
                    .ask(&replaced(&named, "Filter.1.Value.1", value))
                    .await;
                assert_eq!(answer.status, 200, "{name} {}", answer.text);
            }
        }
        let unknown = replaced(&good, "Filter.1.Name", "colour");
        things.refused(&unknown, &["InvalidParameterValue"]).await;
        let nameless = replaced(&good, "Filter.1.Value.1", "x");
        things.refused(&nameless, &["MissingParameter"]).await;
        if action.paging.is_some() {
            let small = replaced(&good, "MaxResults", "4");
            things.refused(&small, &["InvalidParameterValue"]).await;
            let token = replaced(&good, "NextToken", "x");
            things.refused(&token, &["InvalidParameterValue"]).await;
        }
    }
}

#[test]
fn names_of_actions_are_there_once() {
    let mut names: Vec<&str> = ACTIONS
        .iter()
        .copied()
        .flatten()
        .map(|action| action.name)
        .collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}
