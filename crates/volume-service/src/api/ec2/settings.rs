//! What EC2 keeps for a whole account and this service has one answer to: whether volumes are encrypted by default, and with what.

use super::fault::Result;
use super::route::{Action, Call, DryRun, Element};
use super::xml::Xml;
use crate::api::identity::REGION;

pub(super) const ACTIONS: &[Action] = &[
    Action::new("GetEbsEncryptionByDefault", |_, xml| {
        Box::pin(encryption(xml))
    })
    .dry_run(DryRun::First)
    .answers(&[
        Element::text("ebsEncryptionByDefault"),
        Element::text("sseType"),
    ])
    .remark("`false`: the type of a volume says whether it is encrypted"),
    Action::new("GetEbsDefaultKmsKeyId", |call, xml| {
        Box::pin(key(call, xml))
    })
    .dry_run(DryRun::First)
    .answers(&[Element::text("kmsKeyId")])
    .remark("the name of AWS's own key; no volume is encrypted with it"),
];

async fn encryption(xml: &mut Xml) -> Result<()> {
    xml.flag("ebsEncryptionByDefault", false);
    xml.text("sseType", "none");
    Ok(())
}

async fn key(call: &Call, xml: &mut Xml) -> Result<()> {
    let project = &call.context.project_id;
    xml.text(
        "kmsKeyId",
        &format!("arn:aws:kms:{REGION}:{project}:alias/aws/ebs"),
    );
    Ok(())
}
