//! FlexVols and their snapshots by ZAPI.

use super::super::error::{FilerError, plain_words};
use super::super::transport::{
    FlexVolId, FlexVolRecord, NewFlexVol, SnapshotRecord, Svm, VolumeCalls,
};
use super::client::{Client, call, query};
use super::element::Element;

fn flexvol(record: &Element) -> Option<FlexVolRecord> {
    let of = |part: &str, name: &str| format!("volume-{part}-attributes/{name}");
    let id = |name: &str| record.text(&of("id", name)).unwrap_or_default().to_owned();
    let space = |name: &str| record.number(&of("space", name)).unwrap_or(0);
    Some(FlexVolRecord {
        name: record.text(&of("id", "name"))?.to_owned(),
        uuid: id("uuid"),
        is_online: record
            .text(&of("state", "state"))
            .is_none_or(|state| state == "online"),
        size: space("size"),
        used: space("size-used"),
        is_guaranteed: record.text(&of("space", "space-guarantee")) != Some("none"),
        comment: id("comment"),
    })
}

impl VolumeCalls for Client {
    fn flexvols(&self, svm: &Svm, pattern: &str) -> Result<Vec<FlexVolRecord>, FilerError> {
        let name = call(
            "volume-id-attributes",
            &[("name", pattern), ("owning-vserver-name", &svm.name)],
        );
        let wanted = Some(Element::new("volume-attributes", [name]));
        let records = self.records(Some(svm), "volume-get-iter", wanted)?;
        Ok(records.iter().filter_map(flexvol).collect())
    }

    fn create_flexvol(&self, svm: &Svm, new: &NewFlexVol<'_>) -> Result<(), FilerError> {
        let guarantee = if new.is_guaranteed { "volume" } else { "none" };
        let create = call(
            "volume-create",
            &[
                ("volume", new.name),
                ("containing-aggr-name", new.aggregate),
                ("size", &new.size.to_string()),
                ("space-reserve", guarantee),
                ("snapshot-policy", "none"),
                ("percentage-snapshot-reserve", "0"),
                ("volume-comment", new.comment),
            ],
        );
        self.change(svm, &create)
    }

    fn deduplicate_flexvol(&self, svm: &Svm, name: &str) -> Result<(), FilerError> {
        let path = format!("/vol/{name}");
        let wanted = query("sis-status-info", &[("path", &path)]);
        let found = self.records(Some(svm), "sis-get-iter", wanted)?;
        let is_on = |it: &Element| it.text("state").is_some_and(|it| it == "enabled");
        match found.iter().any(is_on) {
            true => Ok(()),
            false => self.change(svm, &call("sis-enable", &[("path", &path)])),
        }
    }

    fn resize_flexvol(
        &self,
        svm: &Svm,
        flexvol: FlexVolId<'_>,
        size: u64,
    ) -> Result<(), FilerError> {
        let size = size.to_string();
        let resize = call(
            "volume-size",
            &[("volume", flexvol.name), ("new-size", &size)],
        );
        self.change(svm, &resize)
    }

    fn comment_flexvol(
        &self,
        svm: &Svm,
        flexvol: FlexVolId<'_>,
        comment: &str,
    ) -> Result<(), FilerError> {
        let of = |texts: &[(&str, &str)]| {
            let id = call("volume-id-attributes", texts);
            Element::new("volume-attributes", [id])
        };
        let name = Element::new("query", [of(&[("name", flexvol.name)])]);
        let change = Element::new("attributes", [of(&[("comment", comment)])]);
        let modify = Element::new("volume-modify-iter", [name, change]);
        // Passes also when it changes nothing.
        let answer = self.ask(Some(svm), &modify)?;
        if answer.number("num-succeeded") == Some(1) {
            return Ok(());
        }
        let failed = answer.list("failure-list").first();
        let number = failed.and_then(|it| it.number("error-code"));
        let reason = failed.and_then(|it| it.text("error-message"));
        Err(FilerError::Zapi {
            what: modify.name,
            number: number.and_then(|it| it.try_into().ok()).unwrap_or(0),
            reason: plain_words(reason.or(Some("no FlexVol was changed"))),
        })
    }

    fn delete_flexvol(&self, svm: &Svm, flexvol: FlexVolId<'_>) -> Result<(), FilerError> {
        let destroy = call(
            "volume-destroy",
            &[("name", flexvol.name), ("unmount-and-offline", "true")],
        );
        self.change(svm, &destroy)
    }

    fn snapshots(
        &self,
        svm: &Svm,
        flexvol: FlexVolId<'_>,
        pattern: &str,
    ) -> Result<Vec<SnapshotRecord>, FilerError> {
        let texts = [("name", pattern), ("volume", flexvol.name)];
        let wanted = query("snapshot-info", &texts);
        let records = self.records(Some(svm), "snapshot-get-iter", wanted)?;
        let all = records.iter().filter_map(|record| {
            Some(SnapshotRecord {
                name: record.text("name")?.to_owned(),
                uuid: String::new(),
                comment: record.text("comment").unwrap_or_default().to_owned(),
            })
        });
        Ok(all.collect())
    }

    fn create_snapshot(
        &self,
        svm: &Svm,
        flexvol: FlexVolId<'_>,
        name: &str,
        comment: &str,
    ) -> Result<(), FilerError> {
        let texts = [
            ("volume", flexvol.name),
            ("snapshot", name),
            ("comment", comment),
        ];
        self.change(svm, &call("snapshot-create", &texts))
    }

    fn delete_snapshot(
        &self,
        svm: &Svm,
        flexvol: FlexVolId<'_>,
        snapshot: &SnapshotRecord,
    ) -> Result<(), FilerError> {
        let texts = [("volume", flexvol.name), ("snapshot", &snapshot.name)];
        self.change(svm, &call("snapshot-delete", &texts))
    }
}
