//! DescribeAccountAttributes: what this service has none of, and how many.

use super::fault::Result;
use super::route::{Action, Call, Element};
use super::schema::{Kind, LIST_MAX, Parameter};
use super::words;
use super::xml::Xml;

/// Longest name of an attribute, in characters.
const NAME: Kind = Kind::Text { max: 255 };

/// The attributes that there are, in AWS's order: there is nothing but block storage.
const ATTRIBUTES: [(&str, &str); 6] = [
    ("vpc-max-security-groups-per-interface", "0"),
    ("max-instances", "0"),
    ("supported-platforms", "VPC"),
    ("default-vpc", "none"),
    ("max-elastic-ips", "0"),
    ("vpc-max-elastic-ips", "0"),
];

pub(super) const ACTIONS: &[Action] = &[Action::new("DescribeAccountAttributes", |call, xml| {
    Box::pin(describe(call, xml))
})
.parameters(&[Parameter::new("AttributeName", Kind::List(&NAME, LIST_MAX))])
.answers(&[Element::of(
    "accountAttributeSet",
    &[
        Element::text("attributeName"),
        Element::of("attributeValueSet", &[Element::text("attributeValue")]),
    ],
)])
.remark("that there is nothing but block storage")];

async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let names = call.arguments().list("AttributeName");
    let is_known = |name: &&&str| ATTRIBUTES.iter().any(|(known, _)| known == *name);
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        let why = "It is no attribute of an account.";
        return Err(words::wrong("attributeName", unknown, why));
    }
    let shown = ATTRIBUTES
        .iter()
        .filter(|(name, _)| names.is_empty() || names.contains(name));
    xml.items("accountAttributeSet", shown, |xml, (name, value)| {
        xml.text("attributeName", name);
        xml.items("attributeValueSet", [*value], |xml, value| {
            xml.text("attributeValue", value);
        });
    });
    Ok(())
}
