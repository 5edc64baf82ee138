//! EnableSnapshotBlockPublicAccess, DisableSnapshotBlockPublicAccess and GetSnapshotBlockPublicAccessState: whether a project's snapshots
//! may be public.

use super::fault::Result;
use super::route::{Action, Call, Element};
use super::schema::{Kind, Parameter};
use super::xml::Xml;
use crate::app::snapshot_sharing;
use crate::auth::rule::Rule;
use crate::model::snapshot_sharing::PublicAccess;

const STATE: Element = Element::text("state");

pub(super) const ACTIONS: &[Action] = &[
    Action::new("DisableSnapshotBlockPublicAccess", |call, xml| {
        Box::pin(set(call, xml))
    })
    .rules(&[Rule::VolumeUpdateSnapshot])
    .answers(&[STATE]),
    Action::new("EnableSnapshotBlockPublicAccess", |call, xml| {
        Box::pin(set(call, xml))
    })
    .rules(&[Rule::VolumeUpdateSnapshot])
    .parameters(&[Parameter::new(
        "State",
        Kind::Words(&["block-all-sharing", "block-new-sharing"]),
    )
    .required("The request must contain the parameter State")])
    .answers(&[STATE])
    .remark("for the project; with `block-all-sharing` those that are public are nobody else's as long as it holds"),
    Action::new("GetSnapshotBlockPublicAccessState", |call, xml| {
        Box::pin(get(call, xml))
    })
    .rules(&[Rule::VolumeGetAllSnapshots])
    .answers(&[STATE, Element::text("managedBy")]),
];

async fn set(call: &Call, xml: &mut Xml) -> Result<()> {
    let word = call.arguments().text("State");
    let access = word.and_then(PublicAccess::parse).unwrap_or_default();
    snapshot_sharing::set_public_access(&call.service, &call.context, access).await?;
    xml.text("state", access.as_str());
    Ok(())
}

async fn get(call: &Call, xml: &mut Xml) -> Result<()> {
    let access = snapshot_sharing::public_access(&call.service, &call.context).await?;
    xml.text("state", access.as_str());
    xml.text("managedBy", "account");
    Ok(())
}
