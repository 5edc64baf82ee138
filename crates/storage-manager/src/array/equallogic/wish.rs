//! What `sm_config` of a VDI asks for. Pure.

use std::collections::BTreeMap;

use super::description::Allocation;
use crate::array::{ArrayError, Fault};

/// Bytes of snapshots in percent of a volume, where nothing is said. Source: reference 2.3.
const SNAP_RESERVE: u32 = 100;

/// Most of it. Source: PS Series CLI, `snap-reserve`.
const MAX_SNAP_RESERVE: u32 = 10_000;

/// What happens when those are full, where nothing is said. Source: reference 2.3.
const SNAP_DEPLETION: &str = "delete-oldest";

/// What a volume is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// How its space is taken.
    pub allocation: Allocation,
    /// Bytes of snapshots in percent of its own.
    pub snap_reserve: u32,
    /// What happens when those are full.
    pub snap_depletion: Option<&'static str>,
}

impl Wish {
    /// Reads `allocation`, `snap-reserve-percentage` and `snap-depletion`.
    pub fn of(
        sm_config: &BTreeMap<String, String>,
        allocation: Allocation,
    ) -> Result<Self, ArrayError> {
        let get = |key: &str| {
            sm_config
                .get(key)
                .map(|text| text.trim())
                .filter(|text| !text.is_empty())
        };
        let refused = |fault, detail: String| ArrayError::Fault { fault, detail };
        let allocation = match get("allocation") {
            None => allocation,
            Some(text) => Allocation::parse(text).ok_or_else(|| ArrayError::Unsupported {
                array: "an EqualLogic group".to_owned(),
                action: "make a volume",
                detail: format!("sm_config:allocation is {text:?}; it is thick or thin"),
            })?,
        };
        let snap_reserve = match get("snap-reserve-percentage") {
            None => SNAP_RESERVE,
            Some(text) => match text.parse() {
                Ok(percent) if percent <= MAX_SNAP_RESERVE => percent,
                _ => {
                    let detail = format!(
                        "sm_config:snap-reserve-percentage is {text:?}; it is a number from 0 to {MAX_SNAP_RESERVE}"
                    );
                    return Err(refused(Fault::EqualSnapReserve, detail));
                }
            },
        };
        let snap_depletion = match get("snap-depletion") {
            None | Some(SNAP_DEPLETION) => SNAP_DEPLETION,
            Some("volume-offline") => "volume-offline",
            Some(text) => {
                let detail = format!(
                    "sm_config:snap-depletion is {text:?}; it is delete-oldest or volume-offline"
                );
                return Err(refused(Fault::EqualSnapDepletion, detail));
            }
        };
        Ok(Wish {
            allocation,
            snap_reserve,
            snap_depletion: Some(snap_depletion),
        })
    }
}
