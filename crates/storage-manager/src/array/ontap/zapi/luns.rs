//! LUNs by ZAPI.

use super::super::error::FilerError;
use super::super::luns::OS_TYPE;
use super::super::transport::{LunCalls, LunId, LunRecord, NewContent, NewLunRecord, Svm};
use super::client::{Client, call, query};
use super::element::Element;

/// The number of a size that a LUN has already. Source: NetApp's SDK, `EVDISK_ERROR_SIZE_UNCHANGED`.
const SIZE_UNCHANGED: u32 = 9042;

fn lun(record: &Element) -> Option<LunRecord> {
    let text = |name: &str| record.text(name).unwrap_or_default().to_owned();
    Some(LunRecord {
        path: record.text("path")?.to_owned(),
        uuid: Some(text("uuid")),
        size: record.number("size"),
        used: record.number("size-used").unwrap_or(0),
        serial: text("serial-number"),
        comment: text("comment"),
        is_online: record.flag("online") != Some(false)
            && record.text("state").is_none_or(|it| it == "online"),
        // Not told: one whose FlexVol is offline is not online itself.
        is_flexvol_online: true,
    })
}

/// A clone within a FlexVol, by names in it.
fn clone(flexvol: &str, source: &str, snapshot: Option<&str>, name: &str) -> Element {
    let mut texts = vec![
        ("volume", flexvol),
        ("source-path", source),
        ("destination-path", name),
    ];
    if let Some(snapshot) = snapshot {
        texts.push(("snapshot-name", snapshot));
    }
    call("clone-create", &texts)
}

impl LunCalls for Client {
    fn luns(&self, svm: &Svm, pattern: &str) -> Result<Vec<LunRecord>, FilerError> {
        let texts = [("path", pattern), ("vserver", &svm.name)];
        let records = self.records(Some(svm), "lun-get-iter", query("lun-info", &texts))?;
        Ok(records.iter().filter_map(lun).collect())
    }

    fn create_lun(&self, svm: &Svm, new: &NewLunRecord<'_>) -> Result<(), FilerError> {
        let reserved = if new.is_reserved { "true" } else { "false" };
        let create = match new.content {
            NewContent::Zeros(size) => call(
                "lun-create-by-size",
                &[
                    ("path", &format!("/vol/{}/{}", new.flexvol, new.name)),
                    ("size", &size.to_string()),
                    ("use-exact-size", "true"),
                    ("ostype", OS_TYPE),
                    ("space-reservation-enabled", reserved),
                    ("space-allocation-enabled", "true"),
                    ("comment", new.comment),
                ],
            ),
            NewContent::CloneOf(source, snapshot) => {
                let mut create = clone(new.flexvol, source, snapshot, new.name);
                create
                    .children
                    .push(Element::leaf("space-reserve", reserved));
                create
            }
        };
        self.change(svm, &create)
    }

    fn overwrite_lun(
        &self,
        svm: &Svm,
        lun: LunId<'_>,
        source: LunId<'_>,
    ) -> Result<(), FilerError> {
        let mut over = clone(lun.flexvol, source.name, None, lun.name);
        over.children
            .push(Element::leaf("destination-exists", true));
        self.change(svm, &over)
    }

    /// Before ONTAP 9.5 a LUN grows only as far as its geometry goes. The filer tells how far that is.
    fn resize_lun(&self, svm: &Svm, lun: LunId<'_>, size: u64) -> Result<(), FilerError> {
        let path = lun.path();
        let geometry = self.ask(Some(svm), &call("lun-get-geometry", &[("path", &path)]))?;
        if let Some(most) = geometry.number("max-resize-size")
            && size > most
        {
            let asked = size;
            return Err(FilerError::Geometry { path, asked, most });
        }
        let size = size.to_string();
        let texts = [
            ("path", path.as_str()),
            ("size", &size),
            ("use-exact-size", "true"),
        ];
        match self.change(svm, &call("lun-resize", &texts)) {
            Err(error) if error.zapi_number() == Some(SIZE_UNCHANGED) => Ok(()),
            changed => changed,
        }
    }

    fn comment_lun(&self, svm: &Svm, lun: LunId<'_>, comment: &str) -> Result<(), FilerError> {
        let path = lun.path();
        let texts = [("path", path.as_str()), ("comment", comment)];
        self.change(svm, &call("lun-set-comment", &texts))
    }

    fn delete_lun(&self, svm: &Svm, lun: LunId<'_>) -> Result<(), FilerError> {
        self.change(svm, &call("lun-destroy", &[("path", &lun.path())]))
    }
}
