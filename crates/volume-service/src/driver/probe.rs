//! What is on a medium, before an SR is made there.

use uuid::Uuid;
use xenapi::Failure;
use xenapi::client::{Client, Error, NewSr};
use xenapi::probe::{Document, parse};
use xenapi::reference::HostRef;

use super::error::{PoolError, Trouble};
use super::pool::SrSpec;
use super::xenapi_error::translate;

/// What a storage manager found on a medium.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// The parameter that is missing or wrong, of which `document` tells what can be chosen; none where all are there.
    pub asks_for: Option<&'static str>,
    /// What it said in words, when it asks for a parameter.
    pub words: String,
    /// What it found.
    pub document: Document,
}

impl Probed {
    /// The SRs that are on the medium.
    pub fn srs(&self) -> Vec<Uuid> {
        let uuids = self.document.sr_uuids();
        let mut srs: Vec<Uuid> = uuids.filter_map(|uuid| uuid.parse().ok()).collect();
        srs.sort_unstable();
        srs.dedup();
        srs
    }
}

/// Asks for what is on the medium.
pub(super) async fn probe(
    client: &Client,
    host: &HostRef,
    spec: &SrSpec,
    device_config: &std::collections::BTreeMap<String, String>,
) -> Result<Probed, PoolError> {
    let sm_config = Default::default();
    let calls = client.sr();
    let probed = calls
        .probe(host, device_config, &spec.sr_type, &sm_config)
        .await;
    match probed {
        Ok(text) => {
            let probed = Probed {
                document: read(&text)?,
                ..Probed::default()
            };
            choices(client, host, spec, device_config, probed).await
        }
        Err(Error::Api { failure, method }) => match asked(&failure) {
            Some(probed) => Ok(probed),
            None => Err(translate("SR.probe", &Error::Api { failure, method })),
        },
        Err(error) => Err(translate("SR.probe", &error)),
    }
}

/// The parameter that only the making of an SR asks for, by SR type.
///
/// # Source
/// XenCenter's dialogue with these types: `SR.probe` tells SRs only, and `SR.create` without the parameter what it may be.
const ASKED_BY_CREATE: [(&str, &str); 2] = [("netapp", "aggregate"), ("equal", "storagepool")];

/// Adds to what was found what an SR could be made in. `SR.create` is called for that, as it is meant to be, without the parameter
/// that it cannot do without.
async fn choices(
    client: &Client,
    host: &HostRef,
    spec: &SrSpec,
    device_config: &std::collections::BTreeMap<String, String>,
    mut probed: Probed,
) -> Result<Probed, PoolError> {
    let asked_for = ASKED_BY_CREATE.iter().find(|(sr_type, key)| {
        spec.sr_type.eq_ignore_ascii_case(sr_type) && !device_config.contains_key(*key)
    });
    if asked_for.is_none() {
        return Ok(probed);
    }
    let new = NewSr {
        host: host.clone(),
        device_config: device_config.clone(),
        physical_size: 0,
        name_label: spec.name_label.clone(),
        name_description: spec.name_description.clone(),
        kind: spec.sr_type.clone(),
        content_type: String::new(),
        shared: spec.is_shared,
        sm_config: Default::default(),
    };
    let error = match client.sr().create(&new).await {
        Ok(made) => {
            let text = format!("an SR ({made}) was made by a question; destroy it in the pool");
            return Err(PoolError::new("SR.create", Trouble::Refused, text));
        }
        Err(error) => error,
    };
    match &error {
        Error::Api { failure, .. } if let Some(choice) = asked(failure) => {
            probed.asks_for = choice.asks_for;
            probed.words = choice.words;
            probed.document.found.extend(choice.document.found);
            Ok(probed)
        }
        // What is on the medium is worth telling without.
        _ => {
            let error = translate("SR.create", &error);
            tracing::warn!(
                "ask what an SR of type {} can be made in: {error}",
                spec.sr_type
            );
            Ok(probed)
        }
    }
}

/// The drivers' way of answering a question with a failure: its third parameter is a document.
///
/// # Source
/// The XenServer storage manager's error numbers: 90 ConfigDeviceMissing, 96 ConfigTargetIQNMissing, 101
/// ConfigServerPathMissing, 107 ConfigSCSIid, 123 NAPPAggregate, 163 EQLStoragePool.
fn asked(failure: &Failure) -> Option<Probed> {
    let asks_for = match failure.code.as_str() {
        "SR_BACKEND_FAILURE_90" => "device",
        "SR_BACKEND_FAILURE_96" => "targetIQN",
        "SR_BACKEND_FAILURE_101" => "serverpath",
        "SR_BACKEND_FAILURE_107" => "SCSIid",
        "SR_BACKEND_FAILURE_123" => "aggregate",
        "SR_BACKEND_FAILURE_163" => "storagepool",
        _ => return None,
    };
    let document = parse(failure.params.get(2)?).ok()?;
    Some(Probed {
        asks_for: Some(asks_for),
        words: failure.params.get(1).cloned().unwrap_or_default(),
        document,
    })
}

fn read(text: &str) -> Result<Document, PoolError> {
    // Drivers that find nothing may say nothing.
    if text.trim().is_empty() {
        return Ok(Document::default());
    }
    parse(text).map_err(|error| {
        let text = format!("the answer is no document of a probe: {error}");
        PoolError::new("SR.probe", Trouble::Refused, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_with_a_document_is_an_answer() {
        let text = "<iscsi-target-iqns><TGT><Index>0</Index><TargetIQN>iqn.x</TargetIQN></TGT></iscsi-target-iqns>";
        let failure = Failure::backend(96, "The request is missing", "no targetIQN", text);
        let probed = asked(&failure).unwrap();
        assert_eq!(probed.asks_for, Some("targetIQN"));
        assert_eq!(probed.document.found[0].fact("TargetIQN"), Some("iqn.x"));
        assert!(probed.srs().is_empty());
        assert!(asked(&Failure::backend(96, "", "", "")).is_none());
        assert!(asked(&Failure::backend(73, "", "", text)).is_none());
    }

    #[test]
    fn only_uuids_are_srs() {
        let uuid = Uuid::from_u128(7);
        let text = format!("<SRlist><SR><UUID>{uuid}</UUID></SR><SR><UUID>x</UUID></SR></SRlist>");
        let probed = Probed {
            document: read(&text).unwrap(),
            ..Probed::default()
        };
        assert_eq!(probed.srs(), [uuid]);
        assert_eq!(read(" \n").unwrap(), Document::default());
        assert!(read("nonsense").is_err());
    }
}
