//! Every route and action, asked for by everybody: the answer is the one that its rule says, under Cinder's policies and under
//! a policy file's. What is refused changes nothing.

use axum::Router;
use http::Method;
use serde_json::Value;

use super::samples::{Entry, Sample, Whose};
use super::world::{Who, World};
use crate::api::fixture::{Answer, send};
use crate::api::openstack::microversion::Microversion;
use crate::api::openstack::schema::check_value;
use crate::auth::policy::Policies;
use crate::auth::rule::{DefaultCheck, Rule};

/// What the rule says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Granted,
    /// 401
    Unknown,
    /// 403
    Forbidden,
    /// 404
    NotFound,
}

fn verdict(entry: &Entry, whose: Whose, who: Who) -> Verdict {
    let may = match entry.rule().map(Rule::default_check) {
        _ if entry.is_open() => return Verdict::Granted,
        None => true,
        Some(DefaultCheck::Admin) => who == Who::Admin,
        Some(DefaultCheck::Member) => matches!(who, Who::Admin | Who::Member | Who::Foreign),
        Some(DefaultCheck::Reader) => who != Who::NoRole,
    };
    match (who, whose) {
        (Who::Nobody, _) => Verdict::Unknown,
        (Who::Foreign, Whose::Projects) => Verdict::NotFound,
        (Who::Foreign, Whose::Project) => Verdict::Forbidden,
        _ if may => Verdict::Granted,
        _ => Verdict::Forbidden,
    }
}

/// Asks at the newest microversion.
async fn ask(router: &Router, token: Option<&str>, entry: &Entry, sample: &Sample) -> Answer {
    let mut headers = vec![("openstack-api-version", "volume 3.71")];
    headers.extend(token.map(|token| ("x-auth-token", token)));
    let body = match &sample.body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let method: Method = entry.route.verb.as_str().parse().expect("a method");
    let path = format!("/v3{}", sample.path);
    send(router, method, &path, &headers, body).await
}

/// The same on rows of its own where it changes some.
async fn ask_for_once(
    world: &World,
    policies: &Policies,
    who: Who,
    entry: &Entry,
    sample: &Sample,
) -> Answer {
    let token = world.token(who);
    if entry.only_reads() {
        let router = world.fixture.ruled_by(policies.clone());
        return ask(&router, token, entry, sample).await;
    }
    let copy = world.copy(policies.clone()).await;
    ask(&copy.volume, token, entry, sample).await
}

/// What of a success is not as the table says, in the words of a refused body.
fn misfit(entry: &Entry, answer: &Answer) -> Option<String> {
    let schema = entry.answer()?;
    if answer.status != entry.status() {
        return None;
    }
    let checked = check_value(schema, None, &answer.json(), Microversion::MAX);
    let fault = checked.err()?;
    Some(format!("{fault:?} {}", answer.text))
}

#[tokio::test]
async fn everybody_gets_the_answer_that_the_rule_says() {
    let world = World::new().await;
    let before = world.dump();
    let policies = Policies::default();
    let mut wrong = Vec::new();
    for entry in Entry::all() {
        let sample = entry.sample(&world.ids);
        for who in Who::ALL {
            let verdict = verdict(&entry, sample.whose, who);
            let (answer, expected) = match verdict {
                Verdict::Granted => {
                    let status = sample.status.unwrap_or(entry.status());
                    let answer = ask_for_once(&world, &policies, who, &entry, &sample);
                    (answer.await, status)
                }
                refused => {
                    let status = match refused {
                        Verdict::Unknown => 401,
                        Verdict::Forbidden => 403,
                        _ => 404,
                    };
                    let token = world.token(who);
                    let answer = ask(&world.fixture.volume, token, &entry, &sample);
                    (answer.await, status)
                }
            };
            if answer.status != expected {
                wrong.push(format!(
                    "{} as {who:?}: {expected} expected, {} found: {}",
                    entry.name(),
                    answer.status,
                    answer.text
                ));
            } else if let Some(misfit) = misfit(&entry, &answer) {
                wrong.push(format!("{} as {who:?}: {misfit}", entry.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(world.dump(), before, "reading and refusing change nothing");
}

fn file(rules: &[Rule], check: &str) -> Policies {
    let lines: Vec<String> = rules
        .iter()
        .map(|rule| format!("\"{}\": \"{check}\"", rule.name()))
        .collect();
    Policies::parse(&lines.join("\n")).expect("a policy file")
}

/// The rule, and what Cinder asks beside it.
fn with_others(rule: Rule) -> Vec<Rule> {
    match rule {
        Rule::VolumeAdminActionsForceDelete => vec![rule, Rule::VolumeForceDelete],
        _ => vec![rule],
    }
}

#[tokio::test]
async fn a_policy_file_takes_every_route_from_administrators() {
    let world = World::new().await;
    let before = world.dump();
    let mut wrong = Vec::new();
    for entry in Entry::all() {
        let Some(rule) = entry.rule() else { continue };
        let router = world.fixture.ruled_by(file(&[rule], "!"));
        let sample = entry.sample(&world.ids);
        let answer = ask(&router, world.token(Who::Admin), &entry, &sample).await;
        let refusal = format!("Policy doesn't allow {} to be performed.", rule.name());
        let found = &answer.json()["forbidden"]["message"];
        if answer.status != 403 || *found != refusal {
            let (name, text) = (entry.name(), &answer.text);
            wrong.push(format!("{name}: {refusal} Found: {} {text}", answer.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(world.dump(), before, "refusing changes nothing");
}

#[tokio::test]
async fn a_policy_file_gives_every_route_to_members() {
    let world = World::new().await;
    let mut wrong = Vec::new();
    for entry in Entry::all() {
        let Some(rule) = entry.rule() else { continue };
        if rule.default_check() != DefaultCheck::Admin {
            continue;
        }
        let sample = entry.sample(&world.ids);
        let policies = file(&with_others(rule), "role:member");
        let answer = ask_for_once(&world, &policies, Who::Member, &entry, &sample).await;
        let expected = sample.status.unwrap_or(entry.status());
        if answer.status != expected {
            let (name, text) = (entry.name(), &answer.text);
            wrong.push(format!(
                "{name}: {expected} expected, {} found: {text}",
                answer.status
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Rules that no route asks: they decide over a part of an answer or of a request, or over what is not built.
const ASKED_ELSEWHERE: &[Rule] = &[
    Rule::AccessTypesExtraSpecs,
    Rule::AccessTypesQosSpecsId,
    Rule::ExtendedSnapshotAttributes,
    Rule::GroupAccessGroupTypesSpecs,
    Rule::GroupProjectAttribute,
    Rule::GroupSnapshotProjectAttribute,
    Rule::TypesExtraSpecsReadSensitive,
    Rule::UsedLimits,
    Rule::VolumeExtendAttachedVolume,
    Rule::VolumeForceDelete,
    Rule::VolumeHostAttribute,
    Rule::VolumeImageMetadataShow,
    Rule::VolumeMigStatusAttribute,
    Rule::VolumeTenantAttribute,
    Rule::VolumeTypeAccess,
];

/// Rules that nothing asks, for there is nothing that they could decide.
const NEVER_ASKED: &[Rule] = &[
    // There are no backups.
    Rule::BackupBackupProjectAttribute,
    // There are no images.
    Rule::VolumeCreateFromImage,
    Rule::VolumeReimageReserved,
    Rule::VolumeActionsUploadPublic,
    // Cinder has no route for it either.
    Rule::GroupUpdateGroupSnapshot,
    // No volume is attached to several writers.
    Rule::VolumeMultiattach,
    Rule::VolumeMultiattachBootableVolume,
    // Cinder keeps it for extensions of others, and the next one for policy files of before its parts.
    Rule::VolumeUpdateVolumeAdminMetadata,
    Rule::VolumeTypeEncryption,
];

#[test]
fn every_rule_is_asked_or_known_not_to_be() {
    let asked: Vec<Rule> = Entry::all().iter().filter_map(Entry::rule).collect();
    for rule in Rule::ALL {
        let known = [asked.as_slice(), ASKED_ELSEWHERE, NEVER_ASKED];
        let places = known.iter().filter(|list| list.contains(rule)).count();
        assert_eq!(places, 1, "{rule:?} is in {places} lists");
    }
}

#[tokio::test]
async fn a_policy_file_decides_what_is_shown() {
    let world = World::new().await;
    let ids = &world.ids;
    let shown = async |who, check: &str, rule: Rule, path: &str| {
        let router = world.fixture.ruled_by(file(&[rule], check));
        let headers = [
            ("x-auth-token", world.token(who).expect("a token")),
            ("openstack-api-version", "volume 3.71"),
        ];
        let path = format!("/v3{path}");
        let answer = send(&router, Method::GET, &path, &headers, "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.text
    };
    let volume = format!("/volumes/{}", ids.free);
    let snapshot = format!("/snapshots/{}", ids.snapshot);
    let idle = format!("/types/{}", ids.idle);
    for (rule, path, field) in [
        (Rule::VolumeHostAttribute, &volume, "os-vol-host-attr:host"),
        (
            Rule::VolumeTenantAttribute,
            &volume,
            "os-vol-tenant-attr:tenant_id",
        ),
        (
            Rule::VolumeMigStatusAttribute,
            &volume,
            "os-vol-mig-status-attr:migstat",
        ),
        (
            Rule::VolumeImageMetadataShow,
            &volume,
            "volume_image_metadata",
        ),
        (
            Rule::ExtendedSnapshotAttributes,
            &snapshot,
            "os-extended-snapshot-attributes:progress",
        ),
        (Rule::AccessTypesExtraSpecs, &idle, "extra_specs"),
        (Rule::AccessTypesQosSpecsId, &idle, "qos_specs_id"),
        (Rule::TypesExtraSpecsReadSensitive, &idle, "\"k\":\"v\""),
        (
            Rule::VolumeTypeAccess,
            &idle,
            "os-volume-type-access:is_public",
        ),
        (Rule::UsedLimits, &"/limits".to_owned(), "totalVolumesUsed"),
    ] {
        let hidden = shown(Who::Admin, "!", rule, path).await;
        assert!(!hidden.contains(field), "{rule:?}: {hidden}");
        let given = shown(Who::Reader, "@", rule, path).await;
        assert!(given.contains(field), "{rule:?}: {given}");
    }
}
