//! DescribeRegions: there is one.

use super::fault::{Code, Ec2Fault, Result};
use super::filters::{self, FILTER, Filter};
use super::route::{Action, Call, Element};
use super::schema::{Kind, LIST_MAX, Parameter};
use super::words;
use super::xml::Xml;
use crate::api::identity::REGION;

/// Longest name of a region, in characters.
const NAME: Kind = Kind::Text { max: 255 };
const OPT_IN: &str = "opt-in-not-required";

pub(super) const ACTIONS: &[Action] =
    &[
        Action::new("DescribeRegions", |call, xml| Box::pin(describe(call, xml)))
            .parameters(&[
                Parameter::new("RegionName", Kind::List(&NAME, LIST_MAX)),
                FILTER,
                Parameter::new("AllRegions", Kind::Boolean),
            ])
            .filters(&["endpoint", "opt-in-status", "region-name"])
            .answers(&[Element::of(
                "regionInfo",
                &[
                    Element::text("regionName"),
                    Element::text("regionEndpoint"),
                    Element::text("optInStatus"),
                    Element::text("geographySet"),
                ],
            )])
            .remark("one, `RegionOne`, whatever region a request is signed for"),
    ];

async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let names = given.list("RegionName");
    let filters = filters::read(given, call.action.filters)?;
    let unknown: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| *name != REGION)
        .collect();
    if !unknown.is_empty() {
        return Err(Ec2Fault::coded(
            Code::InvalidParameterValue,
            format!(
                "Invalid region names: [{}]",
                words::shown(&unknown.join(", "))
            ),
        ));
    }
    let endpoint = host(&call.service.config.endpoints.ec2);
    let passes = |filter: &Filter| {
        filter.matches(match filter.name.as_str() {
            "endpoint" => endpoint,
            "opt-in-status" => OPT_IN,
            "region-name" => REGION,
            // The names are checked before.
            _ => return false,
        })
    };
    let shown = filters.iter().all(passes).then_some(REGION);
    xml.items("regionInfo", shown, |xml, name| {
        xml.text("regionName", name);
        xml.text("regionEndpoint", endpoint);
        xml.text("optInStatus", OPT_IN);
        xml.empty("geographySet");
    });
    Ok(())
}

/// The host and port of a URL.
fn host(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    rest.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_port() {
        assert_eq!(
            host("https://ec2.example.org:8788/services/Cloud"),
            "ec2.example.org:8788"
        );
        assert_eq!(host("http://[::1]:8788"), "[::1]:8788");
        assert_eq!(host("ec2"), "ec2");
        assert_eq!(host(""), "");
    }
}
