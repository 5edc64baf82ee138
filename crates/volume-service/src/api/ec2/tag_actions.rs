//! CreateTags and DeleteTags.

use super::fault::{Code, Ec2Fault, Result};
use super::route::{Action, Call, DryRun, Element};
use super::schema::{Kind, LIST_MAX, Parameter};
use super::xml::Xml;
use super::{ids, tags, words};
use crate::app::tags::{Change, RESERVED, Removal};
use crate::app::tags::{Kind as ResourceKind, TAGS_MAX};

/// Longest id that is read at all, in characters.
const ID: Kind = Kind::Text { max: 255 };

/// Whatever has tags.
const RESOURCES: Parameter = Parameter::new("ResourceId", Kind::List(&ID, LIST_MAX))
    .required("The request must contain the parameter resourceIdSet");

pub(super) const ACTIONS: &[Action] = &[
    Action::new("CreateTags", |call, xml| Box::pin(create(call, xml)))
        .dry_run(DryRun::AfterLookup)
        .parameters(&[
            RESOURCES,
            tags::TAGS.required("The request must contain the parameter tags"),
        ])
        .answers(&[Element::text("return")])
        .remark(
            "of volumes and snapshots, all or none; tags are OpenStack's metadata. The policies are those of OpenStack's metadata \
             (`volume:update_volume_metadata`, `volume:update_snapshot_metadata`)",
        ),
    Action::new("DeleteTags", |call, xml| Box::pin(delete(call, xml)))
        .dry_run(DryRun::AfterLookup)
        .parameters(&[RESOURCES, tags::TAGS])
        .answers(&[Element::text("return")])
        .remark(
            "with a key alone whatever its value, with a value only that pair, without tags all of them; what is not there is \
             passed over. The policies are `volume:delete_volume_metadata` and `volume:delete_snapshot_metadata`",
        ),
];

/// What an id is of; refuses what is not written as the id of a thing that has tags.
pub(super) fn resource_of(id: &str) -> Result<ResourceKind> {
    let kind = ResourceKind::of(id);
    kind.filter(|kind| ids::has_digits(id, kind.prefix()))
        .ok_or_else(|| {
            Ec2Fault::coded(
                Code::InvalidId,
                format!("The ID '{}' is not valid", words::shown(id)),
            )
        })
}

/// The ids of a request, each once.
fn resources(call: &Call) -> Result<Vec<String>> {
    let mut ids: Vec<String> = Vec::new();
    for id in call.arguments().list(RESOURCES.name) {
        resource_of(id)?;
        ids.push(id.to_owned());
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

async fn create(call: &Call, xml: &mut Xml) -> Result<()> {
    let ids = resources(call)?;
    let added = tags::read_added(call.arguments())?;
    change(call, ids, Change::Add(added), xml).await
}

async fn delete(call: &Call, xml: &mut Xml) -> Result<()> {
    let ids = resources(call)?;
    let mut removals = Vec::new();
    for tag in call.arguments().members(tags::TAGS.name) {
        let (key, value) = tags::pair(tag)?;
        removals.push(match value {
            None => Removal::Key(key.to_owned()),
            Some(value) => Removal::Pair(key.to_owned(), value.to_owned()),
        });
    }
    if removals.len() > TAGS_MAX {
        return Err(Ec2Fault::coded(
            Code::TagLimitExceeded,
            format!("A request has at most {TAGS_MAX} tags."),
        ));
    }
    if removals.is_empty() {
        removals.push(Removal::AllBut(RESERVED));
    }
    change(call, ids, Change::Remove(removals), xml).await
}

async fn change(call: &Call, ids: Vec<String>, change: Change, xml: &mut Xml) -> Result<()> {
    let (service, context) = (&call.service, &call.context);
    if call.is_dry_run() {
        crate::app::tags::check(service, context, ids, &change).await?;
        return call.stop_if_dry();
    }
    crate::app::tags::change(service, context, ids, change).await?;
    xml.text("return", "true");
    Ok(())
}
