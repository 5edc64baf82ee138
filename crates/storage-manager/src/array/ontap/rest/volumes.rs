//! FlexVols and their snapshots by REST.

use http::Method;
use serde_json::{Value, json};

use super::super::error::FilerError;
use super::super::transport::{
    FlexVolId, FlexVolRecord, NewFlexVol, SnapshotRecord, Svm, VolumeCalls,
};
use super::client::Client;
use super::json::{id, number, text};

/// What is asked for.
const FIELDS: &str = "name,uuid,state,comment,space.size,space.used,guarantee.type,aggregates.name";

impl Client {
    fn change_flexvol(&self, flexvol: FlexVolId<'_>, body: &Value) -> Result<(), FilerError> {
        let path = format!("/storage/volumes/{}", flexvol.uuid);
        self.change(Method::PATCH, &path, &[], Some(body))
    }
}

fn snapshots_of(flexvol: FlexVolId<'_>) -> String {
    format!("/storage/volumes/{}/snapshots", flexvol.uuid)
}

fn flexvol(record: &Value) -> Option<FlexVolRecord> {
    Some(FlexVolRecord {
        name: text(record, "name")?.to_owned(),
        uuid: id(record, "uuid")?.to_owned(),
        is_online: text(record, "state").is_none_or(|state| state == "online"),
        size: number(record, "space.size").unwrap_or(0),
        used: number(record, "space.used").unwrap_or(0),
        is_guaranteed: text(record, "guarantee.type") != Some("none"),
        comment: text(record, "comment").unwrap_or_default().to_owned(),
    })
}

impl VolumeCalls for Client {
    fn flexvols(&self, svm: &Svm, pattern: &str) -> Result<Vec<FlexVolRecord>, FilerError> {
        let query = [
            ("svm.name", svm.name.as_str()),
            ("name", pattern),
            ("fields", FIELDS),
        ];
        let records = self.records("/storage/volumes", &query)?;
        Ok(records.iter().filter_map(flexvol).collect())
    }

    fn create_flexvol(&self, svm: &Svm, new: &NewFlexVol<'_>) -> Result<(), FilerError> {
        let mut body = json!({
            "svm": {"name": svm.name},
            "name": new.name,
            "aggregates": [{"name": new.aggregate}],
            "style": "flexvol",
            "size": new.size,
            "guarantee": {"type": if new.is_guaranteed { "volume" } else { "none" }},
            "snapshot_policy": {"name": "none"},
            "space": {"snapshot": {"reserve_percent": 0}},
            "comment": new.comment,
        });
        if new.is_deduplicated {
            body["efficiency"] = json!({"dedupe": "background"});
        }
        self.change(Method::POST, "/storage/volumes", &[], Some(&body))
    }

    /// Was done when it was made.
    fn deduplicate_flexvol(&self, _: &Svm, _: &str) -> Result<(), FilerError> {
        Ok(())
    }

    fn resize_flexvol(&self, _: &Svm, flexvol: FlexVolId<'_>, size: u64) -> Result<(), FilerError> {
        self.change_flexvol(flexvol, &json!({"size": size}))
    }

    fn comment_flexvol(
        &self,
        _: &Svm,
        flexvol: FlexVolId<'_>,
        comment: &str,
    ) -> Result<(), FilerError> {
        self.change_flexvol(flexvol, &json!({"comment": comment}))
    }

    fn delete_flexvol(&self, _: &Svm, flexvol: FlexVolId<'_>) -> Result<(), FilerError> {
        let path = format!("/storage/volumes/{}", flexvol.uuid);
        self.change(Method::DELETE, &path, &[], None)
    }

    fn snapshots(
        &self,
        _: &Svm,
        flexvol: FlexVolId<'_>,
        pattern: &str,
    ) -> Result<Vec<SnapshotRecord>, FilerError> {
        let query = [("name", pattern), ("fields", "name,uuid,comment")];
        let records = self.records(&snapshots_of(flexvol), &query)?;
        let all = records.iter().filter_map(|record| {
            Some(SnapshotRecord {
                name: text(record, "name")?.to_owned(),
                uuid: id(record, "uuid")?.to_owned(),
                comment: text(record, "comment").unwrap_or_default().to_owned(),
            })
        });
        Ok(all.collect())
    }

    fn create_snapshot(
        &self,
        _: &Svm,
        flexvol: FlexVolId<'_>,
        name: &str,
        comment: &str,
    ) -> Result<(), FilerError> {
        let body = json!({"name": name, "comment": comment});
        self.change(Method::POST, &snapshots_of(flexvol), &[], Some(&body))
    }

    fn delete_snapshot(
        &self,
        _: &Svm,
        flexvol: FlexVolId<'_>,
        snapshot: &SnapshotRecord,
    ) -> Result<(), FilerError> {
        let path = format!("{}/{}", snapshots_of(flexvol), snapshot.uuid);
        self.change(Method::DELETE, &path, &[], None)
    }
}
