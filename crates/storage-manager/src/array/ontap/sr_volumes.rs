//! An SR on a filer: made, found, taken away.
//!
//! The FlexVol with the number 0 is made last and deleted first: an SR without it is none, and what is left of it is deleted by the
//! next SR that is made, or by the same call once more.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::error::FilerError;
use super::filer::Filer;
use super::flexvols::FlexVol;
use super::layout::SrMark;
use crate::array::{ArrayError, Fault};

/// How old the FlexVols of an SR without its first must be to count as left over, in seconds: an SR is made within minutes.
const LEFT_OVER_S: u64 = 3600;

/// An SR that is to be made.
#[derive(Clone, Debug)]
pub struct NewSr {
    /// Its uuid.
    pub sr: Uuid,
    /// How many FlexVols, where.
    pub flexvols: u32,
    /// The aggregate, by its name on the filer.
    pub aggregate: String,
    /// True when no space is to be reserved.
    pub is_thin: bool,
    /// True when FlexVols are to be deduplicated.
    pub is_deduplicated: bool,
}

/// An SR that a filer has.
#[derive(Clone, Debug)]
pub struct FoundSr {
    /// Its uuid.
    pub sr: Uuid,
    /// Bytes of its FlexVols.
    pub size: u64,
    /// What its first FlexVol says.
    pub mark: SrMark,
}

/// Makes an SR. On error nothing is left, as far as the filer answers.
pub fn create_sr(filer: &Filer, new: &NewSr) -> Result<(), ArrayError> {
    let there = filer.flexvols(new.sr);
    let there = there.map_err(filer.failed("look for an SR with this uuid"))?;
    if there.iter().any(|flexvol| flexvol.index == 0) {
        return Err(ArrayError::Failed {
            array: filer.name(),
            action: "make the SR",
            source: "there is one with this uuid already; introduce it instead".into(),
        });
    }
    sweep(filer);
    let mark = SrMark {
        flexvols: new.flexvols,
        aggregate: new.aggregate.clone(),
        is_thin: new.is_thin,
        is_deduplicated: new.is_deduplicated,
        begun_s: now_s(),
        labels: None,
    };
    let mut made = Vec::new();
    for index in (0..new.flexvols).rev() {
        match filer.create_flexvol(new.sr, index, &mark) {
            Ok(flexvol) => made.push(flexvol),
            Err(error) => {
                // What a lost answer may have made, too.
                let left = filer.flexvols(new.sr).unwrap_or(made);
                for flexvol in left {
                    delete_if_empty(filer, &flexvol);
                }
                return Err(refused(filer, error, new));
            }
        }
    }
    Ok(())
}

/// The failure of a FlexVol that could not be made, by the filer's words where codes say little.
fn refused(filer: &Filer, error: FilerError, new: &NewSr) -> ArrayError {
    let text = error.chain_text();
    let lower = text.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let is_about_dedup = new.is_deduplicated && has(&["dedup", "a-sis", "efficiency"]);
    let (fault, hint) = if is_about_dedup && has(&["license", "licence"]) {
        (Fault::NetappDedupLicence, "license it, or leave asis out")
    } else if is_about_dedup {
        (
            Fault::NetappDedup,
            "take another aggregate, or leave asis out",
        )
    } else if has(&[
        "maximum number of volumes",
        "volume limit",
        "too many volumes",
    ]) {
        let hint = "delete FlexVols that nobody needs, or ask for fewer by device_config:FlexVols";
        (Fault::NetappFlexVols, hint)
    } else {
        return error.of(&filer.name(), "make a FlexVol");
    };
    let detail = format!("make a FlexVol on {}: {text}; {hint}", filer.name());
    ArrayError::Fault { fault, detail }
}

/// Deletes what is left of SRs that were not made to the end, or not deleted to the end, an hour ago. What holds a LUN stays.
fn sweep(filer: &Filer) {
    let all = match filer.all_flexvols() {
        Ok(all) => all,
        Err(error) => {
            let error = error.chain_text();
            tracing::info!(error, "FlexVols left over could not be looked for");
            return;
        }
    };
    let mut by_sr: BTreeMap<Uuid, Vec<FlexVol>> = BTreeMap::new();
    for flexvol in all {
        by_sr.entry(flexvol.sr).or_default().push(flexvol);
    }
    let left = by_sr.into_values().filter(|of_sr| {
        let is_old = |flexvol: &FlexVol| {
            let mark = SrMark::parse(&flexvol.comment);
            mark.is_some_and(|mark| now_s().saturating_sub(mark.begun_s) >= LEFT_OVER_S)
        };
        of_sr
            .iter()
            .all(|flexvol| flexvol.index != 0 && is_old(flexvol))
    });
    for flexvol in left.flatten() {
        delete_if_empty(filer, &flexvol);
    }
}

/// Deletes a FlexVol of which it is known for certain that it holds no LUN: one that is offline does not show them.
fn delete_if_empty(filer: &Filer, flexvol: &FlexVol) {
    if flexvol.is_online && matches!(filer.has_luns(&flexvol.name), Ok(None)) {
        delete_or_tell(filer, flexvol);
    }
}

fn delete_or_tell(filer: &Filer, flexvol: &FlexVol) {
    match filer.delete_flexvol(flexvol) {
        Ok(()) => tracing::info!(flexvol = flexvol.name, "deleted a FlexVol left over"),
        Err(error) => {
            let error = error.chain_text();
            tracing::warn!(
                flexvol = flexvol.name,
                error,
                "a FlexVol left over could not be deleted; the next SR.create on this filer tries again"
            );
        }
    }
}

/// The SRs that a filer has.
pub fn find_srs(filer: &Filer) -> Result<Vec<FoundSr>, ArrayError> {
    let all = filer.all_flexvols().map_err(filer.failed("look for SRs"))?;
    let first = all.iter().filter(|flexvol| flexvol.index == 0);
    let found = first.filter_map(|first| {
        let of_sr = all.iter().filter(|flexvol| flexvol.sr == first.sr);
        Some(FoundSr {
            sr: first.sr,
            size: of_sr.map(|it| it.size).fold(0, u64::saturating_add),
            mark: SrMark::parse(&first.comment)?,
        })
    });
    Ok(found.collect())
}

/// Deletes the FlexVols of an SR, the first one first; those that are gone are no error.
///
/// # Errors
/// `Ok(Some(path))` when a LUN is left, ours or another's; then nothing was deleted.
pub fn delete_sr(filer: &Filer, sr: Uuid) -> Result<Option<String>, ArrayError> {
    let flexvols = filer
        .flexvols(sr)
        .map_err(filer.failed("list the FlexVols of the SR"))?;
    if let Some(offline) = flexvols.iter().find(|flexvol| !flexvol.is_online) {
        let what = format!(
            "FlexVol {} is offline and may hold LUNs; bring it online, or delete it on the filer",
            offline.name
        );
        return Err(ArrayError::Failed {
            array: filer.name(),
            action: "delete the SR",
            source: what.into(),
        });
    }
    for flexvol in &flexvols {
        let lun = filer.has_luns(&flexvol.name);
        if let Some(lun) = lun.map_err(filer.failed("look for LUNs of the SR"))? {
            return Ok(Some(lun));
        }
    }
    for flexvol in &flexvols {
        filer
            .delete_flexvol(flexvol)
            .map_err(filer.failed("delete a FlexVol of the SR"))?;
    }
    Ok(None)
}

fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
