//! What a device says when it does not do as it was told, in words.

use std::io;

use crate::io::libiscsi::{Sense, Status};

/// The sense key of news that are no failure. SPC-4, 4.5.6.
const UNIT_ATTENTION: u8 = 6;

/// What a unit attention tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// The device was reset or switched on: what it had not put on stable storage may be lost.
    Reset,
    /// LUNs have come or gone, or have another size.
    LunsChanged,
    /// Something else.
    Other,
}

/// The news in an answer, if it has some; the command was not carried out.
///
/// # Source
/// SPC-4, annex D: 29h/xx power on, reset; 2Ah/09h capacity data has changed; 3Fh/0Eh reported LUNs data has changed;
/// 3Fh/03h inquiry data has changed.
pub fn attention(sense: Option<Sense>) -> Option<Attention> {
    let sense = sense.filter(|sense| sense.key == UNIT_ATTENTION)?;
    Some(match sense.code {
        0x2900..=0x29ff => Attention::Reset,
        0x2a09 | 0x3f0e | 0x3f03 => Attention::LunsChanged,
        _ => Attention::Other,
    })
}

/// The failure of a command.
///
/// The kind tells whether another path could help: `InvalidInput`, `InvalidData`, `StorageFull`, `Unsupported` and
/// `PermissionDenied` are answers of the device itself.
pub fn failure(status: Status, sense: Option<Sense>) -> io::Error {
    let error = |kind, text: String| io::Error::new(kind, text);
    match (status, sense) {
        (Status::ReservationConflict, _) => error(
            io::ErrorKind::ResourceBusy,
            "another initiator has reserved the LUN; release its reservation".to_owned(),
        ),
        (_, Some(sense)) => {
            let (kind, text) = meaning(sense);
            let numbers = format!("sense key {:#x}, code {:#06x}", sense.key, sense.code);
            error(kind, format!("the device says: {text} ({numbers})"))
        }
        (status, None) => error(
            io::ErrorKind::Other,
            format!("the device answered with status {status:?}"),
        ),
    }
}

/// # Source
/// SPC-4, table 43 (keys) and annex D (codes).
fn meaning(sense: Sense) -> (io::ErrorKind, &'static str) {
    use io::ErrorKind::{
        InvalidData, InvalidInput, NotFound, Other, PermissionDenied, StorageFull, Unsupported,
    };
    match (sense.key, sense.code) {
        (_, 0x2500) => (NotFound, "the LUN is not there any more"),
        (_, 0x2100) => (
            InvalidInput,
            "a block past the end of the LUN was asked for",
        ),
        (_, 0x2000) => (Unsupported, "it does not know the command"),
        (_, 0x2707) => (StorageFull, "the storage behind the LUN is full"),
        (_, 0x0404) => (Other, "it is being formatted"),
        (_, 0x0401) => (Other, "it is becoming ready"),
        (_, 0x040a..=0x040c) => (Other, "this path is in standby or unavailable"),
        (0x2, _) => (Other, "it is not ready"),
        (0x3, _) => (InvalidData, "the medium is damaged here"),
        (0x4, _) => (Other, "its hardware failed"),
        (0x5, _) => (InvalidInput, "it refuses the request"),
        (0x6, _) => (Other, "it keeps telling of changes"),
        (0x7, _) => (PermissionDenied, "it is protected against writes"),
        (0xb, _) => (Other, "it aborted the command"),
        (0xd, _) => (StorageFull, "it has no room left"),
        _ => (Other, "it failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_news_from_failures() {
        let sense = |key, code| Some(Sense { key, code });
        assert_eq!(attention(sense(6, 0x2900)), Some(Attention::Reset));
        assert_eq!(attention(sense(6, 0x3f0e)), Some(Attention::LunsChanged));
        assert_eq!(attention(sense(6, 0x2a09)), Some(Attention::LunsChanged));
        assert_eq!(attention(sense(6, 0x3f01)), Some(Attention::Other));
        assert_eq!(attention(sense(5, 0x2900)), None);
        assert_eq!(attention(None), None);
    }

    #[test]
    fn says_what_is_wrong() {
        let fail = |key, code| failure(Status::CheckCondition, Some(Sense { key, code }));
        for (key, code, kind, text) in [
            (5, 0x2500, io::ErrorKind::NotFound, "not there any more"),
            (7, 0x2707, io::ErrorKind::StorageFull, "full"),
            (7, 0x2700, io::ErrorKind::PermissionDenied, "protected"),
            (3, 0x1100, io::ErrorKind::InvalidData, "damaged"),
        ] {
            let error = fail(key, code);
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().contains(text), "{error}");
        }
        let error = failure(Status::ReservationConflict, None);
        assert!(error.to_string().contains("reserved"), "{error}");
    }
}
