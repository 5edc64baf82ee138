//! The envelope of ZAPI, and calls about the system.

use super::element::Element;
use super::{iscsi, iterators, luns, volumes};
use crate::ontap::http::{Request, Response};
use crate::ontap::state::cluster::Cluster;
use crate::ontap::state::error::ApiError;

/// A refusal: number and reason.
pub type Refusal = (u32, String);
/// What is in the results of a call that passed, or why it failed.
pub type Answered = Result<Vec<Element>, Refusal>;

/// Answers a request whose login is good; `scope` is the SVM to which the login is confined.
pub fn handle(cluster: &mut Cluster, request: &Request, scope: Option<&str>) -> Response {
    let (major, minor) = interface(cluster);
    print(answer(cluster, request, scope), major, minor)
}

/// The refusal of whatever was called.
pub fn refused(number: u32, reason: &str) -> Response {
    print(Err((number, reason.to_owned())), 1, 0)
}

/// The name of what a request calls; none when it is no ZAPI document.
pub fn called(request: &Request) -> Option<String> {
    let netapp = Element::parse(&request.body).filter(|root| root.name == "netapp")?;
    netapp.children.first().map(|call| call.name.clone())
}

fn print(answered: Answered, major: u32, minor: u32) -> Response {
    let results = match answered {
        Ok(children) => {
            let mut results = Element::new("results", children);
            results
                .attributes
                .push(("status".to_owned(), "passed".to_owned()));
            results
        }
        Err((number, reason)) => Element {
            attributes: vec![
                ("status".to_owned(), "failed".to_owned()),
                ("errno".to_owned(), number.to_string()),
                ("reason".to_owned(), reason),
            ],
            ..Element::new("results", Vec::new())
        },
    };
    let mut netapp = Element::new("netapp", vec![results]);
    netapp.attributes = vec![
        ("version".to_owned(), format!("{major}.{minor}")),
        (
            "xmlns".to_owned(),
            "http://www.netapp.com/filer/admin".to_owned(),
        ),
    ];
    let mut text = "<?xml version='1.0' encoding='UTF-8' ?>\n".to_owned();
    netapp.print(&mut text);
    Response::xml(text)
}

/// The number of ZAPI for an error of the state. Source of those from 9000 on: `netapp_errno.h` of NetApp's SDK.
pub fn number(error: ApiError) -> Refusal {
    let number = match error.code {
        2_621_462 => 15_698,
        917_927 => 13_040,
        5_374_866 => 13_042,
        917_536 => 17,
        5_374_242 | 1_254_196 => 9_012,
        1_254_197 => 9_013,
        1_254_207 => 9_023,
        1_254_226 => 9_042,
        5_374_125 => 9_034,
        5_374_124 => 9_041,
        5_374_145 => 13_112,
        6 => 13_003,
        5_374_922 => 9_016,
        5_374_023 => 9_004,
        5_374_852 | 5_374_878 => 9_003,
        5_374_035 => 9_008,
        13_565_952 => 14_956,
        525_059 | 5_374_142 => 13_130,
        525_062 => 13_023,
        1_638_543 => 13_024,
        4 | 5_374_875 | 1_638_600 => 15_661,
        _ => 13_001,
    };
    (number, error.message)
}

fn answer(cluster: &mut Cluster, request: &Request, scope: Option<&str>) -> Answered {
    let netapp = Element::parse(&request.body).filter(|root| root.name == "netapp");
    let netapp = netapp.ok_or((13_001, "The request is no ZAPI document.".to_owned()))?;
    let call = netapp
        .children
        .first()
        .ok_or((13_001, "No API was named.".to_owned()))?;
    let tunnel = netapp.attribute("vfiler").or(netapp.attribute("vserver"));
    if let Some(tunnel) = tunnel {
        cluster.svm(tunnel).map_err(number)?;
    }
    let svm = scope.or(tunnel);
    match call.name.as_str() {
        "system-get-ontapi-version" => {
            let (major, minor) = interface(cluster);
            Ok(vec![
                Element::leaf("major-version", major),
                Element::leaf("minor-version", minor),
            ])
        }
        "system-get-version" => Ok(version(cluster)),
        "ems-autosupport-log"
        | "qos-policy-group-delete-iter"
        | "qos-adaptive-policy-group-delete-iter" => Ok(vec![]),
        "clone-split-status" => Ok(vec![]),
        name if name.ends_with("-get-iter") => iterators::answer(cluster, svm, call),
        _ => match svm {
            Some(svm) => volumes::answer(cluster, svm, call)
                .or_else(|| iscsi::answer(cluster, svm, call))
                .unwrap_or_else(|| luns::answer(cluster, svm, call)),
            None => Err(unknown(&call.name)),
        },
    }
}

/// The refusal of a call that there is not.
pub fn unknown(name: &str) -> Refusal {
    (13_005, format!("Unable to find API: {name}"))
}

/// The version of the interface: 1.211 with 9.11.
fn interface(cluster: &Cluster) -> (u32, u32) {
    (1, 100 + cluster.version[1] * 10 + cluster.version[2].min(9))
}

fn version(cluster: &Cluster) -> Vec<Element> {
    let [generation, major, minor] = cluster.version;
    let full = format!("NetApp Release {generation}.{major}.{minor}: Wed Jan 01 00:00:00 UTC 2025");
    let tuple = vec![
        Element::leaf("generation", generation),
        Element::leaf("major", major),
        Element::leaf("minor", minor),
    ];
    vec![
        Element::leaf("build-timestamp", 1_735_689_600),
        Element::leaf("is-clustered", true),
        Element::leaf("version", full),
        Element::new(
            "version-tuple",
            vec![Element::new("system-version-tuple", tuple)],
        ),
    ]
}
