//! The status of volumes, their attributes, and what is done when their storage does not answer.

use std::collections::BTreeMap;

use super::actions::{call, call_as, element};
use crate::api::fixture::{Answer, Fixture};
use crate::app::identity;
use crate::config::Secret;
use crate::context::RequestContext;
use crate::db::backends::{self, NewBackend};
use crate::db::operations;
use crate::model::backend::BackendState;
use crate::model::id::{BackendId, VolumeId};

async fn ask(fixture: &Fixture, action: &str, more: &[(&str, &str)]) -> Answer {
    call(fixture, &[&[("Action", action)], more].concat()).await
}

fn code(answer: &Answer) -> (u16, &str) {
    (answer.status, element(answer, "Code"))
}

/// A settled volume on a backend that does not answer, and the backend.
async fn stalled(fixture: &Fixture) -> (String, BackendId) {
    let id = fixture.make_volume("stalled").await;
    fixture.settle(&id).await;
    let volume_id: VolumeId = id.parse().expect("an id");
    let vault = fixture.service.vault.clone();
    let placed = fixture.service.database.write(move |tx| {
        let flavor_id = crate::db::volumes::get(tx, volume_id)?.flavor_id;
        let new = NewBackend {
            flavor_id,
            zone: "nova".to_owned(),
            position: None,
            sr_type: "nfs".to_owned(),
            sr_uuid: None,
            name_label: String::new(),
            name_description: String::new(),
            config: BTreeMap::new(),
            secrets: BTreeMap::new(),
        };
        let backend = backends::insert(tx, &vault, &new, 7)?;
        backends::set_state(tx, backend, BackendState::Unreachable, "silence", 9_000_000)?;
        crate::db::volumes::place_on(tx, volume_id, backend)?;
        Ok(backend)
    });
    let backend = placed.await.expect("the database answers");
    (name_of(&id), backend)
}

fn name_of(id: &str) -> String {
    format!("vol-{}", &id.replace('-', "")[..17])
}

#[tokio::test]
async fn volumes_are_well_while_their_storage_answers() {
    let fixture = Fixture::new().await;
    let well = fixture.make_volume("well").await;
    let failed = fixture.make_volume("failed").await;
    fixture.set_status(&failed, "creating", "error").await;
    let (stalled, _) = stalled(&fixture).await;
    let well = name_of(&well);
    let status = async |more: &[(&str, &str)]| ask(&fixture, "DescribeVolumeStatus", more).await;
    let of_well = status(&[("VolumeId.1", &well), ("VolumeId.2", "")]).await;
    let text = of_well
        .text
        .replace(element(&of_well, "requestId"), "<request id>");
    insta::assert_snapshot!("volume_status_ok", text);
    let of_stalled = status(&[("VolumeId.1", &stalled)]).await;
    let text = of_stalled
        .text
        .replace(element(&of_stalled, "requestId"), "<request id>");
    insta::assert_snapshot!("volume_status_impaired", text);
    let everything = status(&[("VolumeId.1", "")]).await;
    for (id, is_shown) in [(&well, true), (&stalled, true), (&name_of(&failed), false)] {
        assert_eq!(
            everything.text.contains(id),
            is_shown,
            "{}",
            everything.text
        );
    }
    for (name, value, expected) in [
        ("volume-status.status", "impaired", &stalled),
        ("volume-status.status", "ok", &well),
        ("event.event-type", "io-performance:*", &stalled),
        ("action.code", "enable-volume-io", &stalled),
        ("event.not-before", "1970-*", &stalled),
        ("volume-status.details-status", "not-applicable", &well),
    ] {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        let found = status(&filter).await;
        let other = if *expected == well { &stalled } else { &well };
        assert!(found.text.contains(expected), "{name} {}", found.text);
        assert!(!found.text.contains(other), "{name} {}", found.text);
    }
    for (more, expected) in [
        (
            vec![("VolumeId.1", name_of(&failed))],
            "InvalidVolume.NotFound",
        ),
        (
            vec![("VolumeId.1", "vol-0123456789abcdef0".to_owned())],
            "InvalidVolume.NotFound",
        ),
        (
            vec![("VolumeId.1", "disk".to_owned())],
            "InvalidVolumeID.Malformed",
        ),
        (
            vec![("VolumeId.1", well.clone()), ("MaxResults", "5".to_owned())],
            "InvalidParameterCombination",
        ),
        (vec![("NextToken", "x".to_owned())], "InvalidParameterValue"),
    ] {
        let more: Vec<(&str, &str)> = more
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        assert_eq!(code(&status(&more).await), (400, expected), "{more:?}");
    }
}

#[tokio::test]
async fn whoever_owns_a_volume_has_its_storage_tried_again() {
    let fixture = Fixture::new().await;
    let well = name_of(&fixture.make_volume("well").await);
    let (stalled, backend) = stalled(&fixture).await;
    let enable = async |id: &str| ask(&fixture, "EnableVolumeIO", &[("VolumeId", id)]).await;
    let needless = enable(&well).await;
    assert_eq!(code(&needless), (400, "IncorrectState"));
    assert_eq!(
        element(&needless, "Message"),
        format!("Volume {well} already has IO enabled.")
    );
    // Twice: one try at a time.
    for _ in 0..2 {
        assert_eq!(element(&enable(&stalled).await, "return"), "true");
    }
    let target = backend.to_string();
    let tries = fixture
        .service
        .database
        .read(move |tx| operations::of_target(tx, &target));
    assert_eq!(tries.await.expect("the database answers").len(), 1);
    assert_eq!(
        code(&enable("vol-0123456789abcdef0").await),
        (400, "InvalidVolume.NotFound")
    );
    let dry = [("VolumeId", "nothing"), ("DryRun", "true")];
    assert_eq!(
        code(&ask(&fixture, "EnableVolumeIO", &dry).await),
        (412, "DryRunOperation")
    );
}

#[tokio::test]
async fn attributes_are_kept_and_shown() {
    let fixture = Fixture::new().await;
    let volume = name_of(&fixture.make_volume("one").await);
    let describe = async |attribute: &str| {
        let parameters = [("VolumeId", volume.as_str()), ("Attribute", attribute)];
        ask(&fixture, "DescribeVolumeAttribute", &parameters).await
    };
    let modify = async |more: &[(&str, &str)]| {
        let parameters = [&[("VolumeId", volume.as_str())], more].concat();
        ask(&fixture, "ModifyVolumeAttribute", &parameters).await
    };
    assert_eq!(element(&describe("autoEnableIO").await, "value"), "false");
    for wanted in ["true", "true", "false", "true"] {
        let modified = modify(&[("AutoEnableIO.Value", wanted)]).await;
        assert_eq!(element(&modified, "return"), "true", "{}", modified.text);
        assert_eq!(element(&describe("autoEnableIO").await, "value"), wanted);
    }
    let codes = describe("productCodes").await;
    assert!(codes.text.contains("<productCodes/>"), "{}", codes.text);
    assert_eq!(
        code(&describe("colour").await),
        (400, "InvalidParameterValue")
    );
    assert_eq!(
        code(&describe("").await),
        (400, "InvalidParameterCombination")
    );
    assert_eq!(
        code(&modify(&[]).await),
        (400, "InvalidParameterCombination")
    );
    // Others' volumes are not there, and who only reads changes nothing.
    let (token, project) = fixture.other_user("tenant", "member").await;
    let inside = fixture.insider("reader").await;
    for (token, project, action, expected) in [
        (
            &token,
            &project,
            "DescribeVolumeAttribute",
            (400, "InvalidVolume.NotFound"),
        ),
        (
            &token,
            &project,
            "ModifyVolumeAttribute",
            (400, "InvalidVolume.NotFound"),
        ),
        (
            &token,
            &project,
            "EnableVolumeIO",
            (400, "InvalidVolume.NotFound"),
        ),
        (
            &inside,
            &fixture.project,
            "ModifyVolumeAttribute",
            (403, "UnauthorizedOperation"),
        ),
        (
            &inside,
            &fixture.project,
            "EnableVolumeIO",
            (403, "UnauthorizedOperation"),
        ),
    ] {
        let known = identity::validate(&fixture.service, &Secret::new(token.as_str())).await;
        let user = known.expect("a good token").user.id;
        let operator = RequestContext::operator();
        let key = identity::create_ec2_key(&fixture.service, &operator, &user, project).await;
        let (access, secret) = key.expect("a key");
        let mut parameters = vec![("Action", action), ("VolumeId", volume.as_str())];
        parameters.extend(match action {
            "DescribeVolumeAttribute" => Some(("Attribute", "autoEnableIO")),
            "ModifyVolumeAttribute" => Some(("AutoEnableIO.Value", "false")),
            _ => None,
        });
        let answer = call_as(&fixture, &access, secret.expose(), &parameters).await;
        assert_eq!(code(&answer), expected, "{action}");
    }
    assert_eq!(element(&describe("autoEnableIO").await, "value"), "true");
}
