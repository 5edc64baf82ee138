//! The FlexVols of SRs.

use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::RestError;
use super::filer::Filer;
use super::json::{id, number, text};
use super::layout::{FLEXVOL_PREFIX, SrMark, flexvol_name, flexvol_stem, parse_flexvol};
use super::space::LEAST_FLEXVOL;

/// A FlexVol of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct FlexVol {
    /// Its uuid on the filer.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// The SR.
    pub sr: Uuid,
    /// Its number in the SR.
    pub index: u32,
    /// True while it is online.
    pub is_online: bool,
    /// Bytes.
    pub size: u64,
    /// Bytes that are free in it.
    pub available: u64,
    /// Bytes that are used in it.
    pub used: u64,
    /// True when its space is reserved in the aggregate.
    pub is_guaranteed: bool,
    /// The aggregate.
    pub aggregate: String,
    /// Its comment.
    pub comment: String,
}

/// What is asked for.
const FIELDS: &str =
    "name,uuid,state,comment,space.size,space.available,space.used,guarantee.type,aggregates.name";

impl FlexVol {
    fn parse(record: &Value) -> Option<FlexVol> {
        let name = text(record, "name")?;
        let (sr, index) = parse_flexvol(name)?;
        let aggregate = super::json::list(record, "aggregates").first();
        let aggregate = aggregate.and_then(|it| text(it, "name"));
        Some(FlexVol {
            uuid: id(record, "uuid")?.to_owned(),
            name: name.to_owned(),
            sr,
            index,
            is_online: text(record, "state").is_none_or(|state| state == "online"),
            size: number(record, "space.size").unwrap_or(0),
            available: number(record, "space.available").unwrap_or(0),
            used: number(record, "space.used").unwrap_or(0),
            is_guaranteed: text(record, "guarantee.type") != Some("none"),
            aggregate: aggregate.unwrap_or_default().to_owned(),
            comment: text(record, "comment").unwrap_or_default().to_owned(),
        })
    }
}

impl Filer {
    /// The FlexVols of an SR, in the order of their numbers.
    pub fn flexvols(&self, sr: Uuid) -> Result<Vec<FlexVol>, RestError> {
        self.flexvols_named(&format!("{}*", flexvol_stem(sr)))
    }

    /// The FlexVols of all SRs.
    pub fn all_flexvols(&self) -> Result<Vec<FlexVol>, RestError> {
        self.flexvols_named(&format!("{FLEXVOL_PREFIX}*"))
    }

    fn flexvols_named(&self, pattern: &str) -> Result<Vec<FlexVol>, RestError> {
        let query = [
            ("svm.name", self.svm.name.as_str()),
            ("name", pattern),
            ("fields", FIELDS),
        ];
        let records = self.client.records("/storage/volumes", &query)?;
        let mut found: Vec<FlexVol> = records.iter().filter_map(FlexVol::parse).collect();
        found.sort_by_key(|flexvol| (flexvol.sr, flexvol.index));
        Ok(found)
    }

    fn flexvol(&self, name: &str) -> Result<Option<FlexVol>, RestError> {
        Ok(self.flexvols_named(name)?.pop())
    }

    /// Makes a FlexVol; one that is there already stays as it is.
    pub fn create_flexvol(
        &self,
        sr: Uuid,
        index: u32,
        mark: &SrMark,
    ) -> Result<FlexVol, RestError> {
        let name = flexvol_name(sr, index);
        let mut body = json!({
            "svm": {"name": self.svm.name},
            "name": name,
            "aggregates": [{"name": mark.aggregate}],
            "style": "flexvol",
            "size": LEAST_FLEXVOL,
            "guarantee": {"type": if mark.is_thin { "none" } else { "volume" }},
            "snapshot_policy": {"name": "none"},
            "space": {"snapshot": {"reserve_percent": 0}},
            "comment": mark.to_comment(),
        });
        if mark.is_deduplicated {
            body["efficiency"] = json!({"dedupe": "background"});
        }
        self.client.until(
            || self.flexvol(&name),
            || {
                self.client
                    .change(Method::POST, "/storage/volumes", &[], Some(&body))
            },
        )
    }

    /// Gives a FlexVol a size.
    pub fn resize_flexvol(&self, flexvol: &FlexVol, size: u64) -> Result<(), RestError> {
        self.change_flexvol(flexvol, &json!({"size": size}))
    }

    /// Gives a FlexVol a comment.
    pub fn comment_flexvol(&self, flexvol: &FlexVol, mark: &SrMark) -> Result<(), RestError> {
        self.change_flexvol(flexvol, &json!({"comment": mark.to_comment()}))
    }

    fn change_flexvol(&self, flexvol: &FlexVol, body: &Value) -> Result<(), RestError> {
        let path = format!("/storage/volumes/{}", flexvol.uuid);
        self.client
            .repeatable(Method::PATCH, &path, &[], Some(body))
    }

    /// Deletes a FlexVol; one that is gone is no error.
    pub fn delete_flexvol(&self, flexvol: &FlexVol) -> Result<(), RestError> {
        let path = format!("/storage/volumes/{}", flexvol.uuid);
        match self.client.repeatable(Method::DELETE, &path, &[], None) {
            Err(error) if error.is_missing() => Ok(()),
            ended => ended,
        }
    }
}
