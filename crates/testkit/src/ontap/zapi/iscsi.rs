//! The calls of ZAPI about CHAP accounts of initiators.

use super::element::Element;
use super::luns::required;
use super::system::{Answered, Refusal, number};
use crate::ontap::state::cluster::Cluster;
use crate::ontap::state::iscsi::{Account, Authentication, Credentials};

/// Answers a call within an SVM; none for one of another family.
pub fn answer(cluster: &mut Cluster, svm: &str, call: &Element) -> Option<Answered> {
    Some(match call.name.as_str() {
        "iscsi-initiator-get-auth" => get(cluster, svm, call),
        "iscsi-initiator-add-auth" => add(cluster, svm, call),
        "iscsi-initiator-modify-chap-params" => modify(cluster, svm, call),
        _ => return None,
    })
}

fn get(cluster: &Cluster, svm: &str, call: &Element) -> Answered {
    let initiator = required(call, "initiator")?;
    let found = cluster.credentials_of(svm, initiator);
    let found = found.ok_or((13_112, format!("There are no credentials for {initiator}.")))?;
    let mut results = vec![Element::leaf("initiator", &found.initiator)];
    match &found.authentication {
        Authentication::None => results.push(Element::leaf("auth-type", "none")),
        Authentication::Deny => results.push(Element::leaf("auth-type", "deny")),
        Authentication::Chap { inbound, .. } => {
            results.push(Element::leaf("auth-type", "CHAP"));
            results.push(Element::leaf("user-name", &inbound.user));
        }
    }
    Ok(results)
}

/// The field `password` is for one that is obfuscated, which is not read here.
fn chap(call: &Element) -> Result<Authentication, Refusal> {
    let inbound = Account {
        user: required(call, "user-name")?.to_owned(),
        password: required(call, "passphrase")?.to_owned(),
    };
    Ok(Authentication::Chap {
        inbound,
        outbound: None,
    })
}

fn add(cluster: &mut Cluster, svm: &str, call: &Element) -> Answered {
    let authentication = match required(call, "auth-type")? {
        "CHAP" => chap(call)?,
        "none" => Authentication::None,
        "deny" => Authentication::Deny,
        word => return Err((13_115, format!("Invalid input: auth-type is {word}."))),
    };
    let new = Credentials {
        svm: svm.to_owned(),
        initiator: required(call, "initiator")?.to_owned(),
        authentication,
    };
    cluster.create_credentials(new).map_err(number)?;
    Ok(vec![])
}

fn modify(cluster: &mut Cluster, svm: &str, call: &Element) -> Answered {
    let initiator = required(call, "initiator")?;
    let changed = cluster.change_credentials(svm, initiator, chap(call)?);
    changed.map_err(number)?;
    Ok(vec![])
}
