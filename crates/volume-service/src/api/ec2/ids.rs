//! Ids of EC2: `vol-` or `snap-` and 17 (in old days 8) hexadecimal digits in lower case.
//!
//! AWS refuses an id that is not written as one in other words in almost every action. Source of the words: recordings of EC2 of
//! September 2026.

use super::fault::{Code, Ec2Fault, Result};
use super::words;

/// Digits of an id, as it is and as it was before 2016.
const DIGITS: [usize; 2] = [17, 8];

/// What an id is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noun {
    /// `vol-`
    Volume,
    /// `snap-`
    Snapshot,
    /// `i-`
    Instance,
}

impl Noun {
    /// What every id begins with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Noun::Volume => "vol-",
            Noun::Snapshot => "snap-",
            Noun::Instance => "i-",
        }
    }

    /// The word in refusals.
    pub(super) fn word(self) -> &'static str {
        match self {
            Noun::Volume => "volume",
            Noun::Snapshot => "snapshot",
            Noun::Instance => "instance",
        }
    }

    /// The code for one that is not written as an id.
    fn malformed(self) -> Code {
        match self {
            Noun::Volume => Code::InvalidVolumeIdMalformed,
            Noun::Snapshot => Code::InvalidSnapshotIdMalformed,
            Noun::Instance => Code::InvalidInstanceIdMalformed,
        }
    }

    /// The code for one that does not exist.
    pub(super) fn not_found(self) -> Code {
        match self {
            Noun::Volume => Code::InvalidVolumeNotFound,
            Noun::Snapshot => Code::InvalidSnapshotNotFound,
            Noun::Instance => Code::InvalidInstanceIdNotFound,
        }
    }
}

/// How an action refuses an id that is not written as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// As one of a list that has a name: DescribeVolumes.
    Listed(&'static str),
    /// In one sentence whatever is wrong with it: DeleteVolume.
    Blunt,
    /// As a parameter that must be there: ModifyVolume, DescribeSnapshotAttribute.
    Addressed,
    /// As [`Dialect::Addressed`], but what is empty is not there: CreateVolume's snapshot.
    Optional,
    /// As [`Dialect::Blunt`] with the code of its own: ModifyVolumeAttribute, ResetSnapshotAttribute.
    Malformed,
    /// With what it should begin with; what is empty is not there: DescribeVolumeStatus.
    Quoted,
    /// In one sentence that does not repeat it: CopySnapshot.
    Specified,
}

/// How an id fails to be one.
enum Flaw {
    Empty,
    Prefix,
    Length,
    Digits,
}

fn flaw(noun: Noun, text: &str) -> Option<Flaw> {
    if text.is_empty() {
        return Some(Flaw::Empty);
    }
    let Some(digits) = text.strip_prefix(noun.prefix()) else {
        return Some(Flaw::Prefix);
    };
    if !DIGITS.contains(&digits.len()) {
        return Some(Flaw::Length);
    }
    let are_digits = digits
        .bytes()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    (!are_digits).then_some(Flaw::Digits)
}

/// True for an id that begins so and is otherwise written as one.
pub(super) fn has_digits(text: &str, prefix: &str) -> bool {
    let digits = text.strip_prefix(prefix).unwrap_or_default();
    DIGITS.contains(&digits.len())
        && digits
            .bytes()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// Refuses what is not written as an id; `parameter` is the name that the request has for it.
pub(super) fn check(noun: Noun, dialect: Dialect, parameter: &str, text: &str) -> Result<()> {
    let Some(flaw) = flaw(noun, text) else {
        return Ok(());
    };
    if noun == Noun::Instance {
        // In one sentence, whatever the action and whatever is wrong with it.
        return match (dialect, flaw) {
            (Dialect::Optional, Flaw::Empty) => Ok(()),
            _ => Err(words::malformed_instance(text)),
        };
    }
    let expected = format!("Expected: '{}...'.", noun.prefix());
    let parameter = words::lowered(parameter);
    Err(match (dialect, flaw) {
        (Dialect::Optional | Dialect::Quoted, Flaw::Empty) => return Ok(()),
        (Dialect::Quoted, Flaw::Prefix) => {
            let (shown, prefix) = (words::shown(text), noun.prefix());
            let words = format!("Invalid id: \"{shown}\" (expecting \"{prefix}...\")");
            Ec2Fault::coded(noun.malformed(), words)
        }
        (Dialect::Quoted, Flaw::Length | Flaw::Digits) => Ec2Fault::coded(
            noun.malformed(),
            format!("Invalid id: \"{}\"", words::shown(text)),
        ),
        (Dialect::Listed(list), Flaw::Empty) => {
            words::missing(&format!("The request must contain the parameter {list}"))
        }
        (Dialect::Listed(list), Flaw::Prefix | Flaw::Digits) => words::wrong(list, text, &expected),
        (Dialect::Listed(list), Flaw::Length) if noun == Noun::Volume => {
            words::wrong(list, text, &expected)
        }
        (Dialect::Blunt | Dialect::Malformed, _) => Ec2Fault::coded(
            match dialect {
                Dialect::Malformed => noun.malformed(),
                _ => Code::InvalidParameterValue,
            },
            format!(
                "The {} ID '{}' is malformed",
                noun.word(),
                words::shown(text)
            ),
        ),
        (Dialect::Specified, _) => Ec2Fault::coded(
            Code::InvalidParameterValue,
            format!("The specified {}Id is invalid", noun.word()),
        ),
        (Dialect::Addressed, Flaw::Empty) => words::missing(&format!(
            "Value () for parameter {parameter} is invalid. Parameter may not be null or empty."
        )),
        (Dialect::Addressed | Dialect::Optional, Flaw::Prefix | Flaw::Digits) => {
            words::wrong(&parameter, text, &expected)
        }
        (Dialect::Listed(_) | Dialect::Addressed | Dialect::Optional, Flaw::Length) => {
            Ec2Fault::coded(
                noun.malformed(),
                format!(
                    "Value ( {} ) for parameter {} is invalid. ",
                    words::shown(text),
                    noun.word().to_uppercase()
                ),
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(noun: Noun, dialect: Dialect, text: &str) -> (Code, String) {
        let fault = check(noun, dialect, "VolumeId", text).expect_err(text);
        (fault.code(), fault.message())
    }

    #[test]
    fn ids_are_17_or_8_small_digits() {
        for good in ["vol-0123456789abcdef0", "vol-0123abcd"] {
            assert!(check(Noun::Volume, Dialect::Blunt, "VolumeId", good).is_ok());
            assert!(check(Noun::Snapshot, Dialect::Blunt, "VolumeId", good).is_err());
        }
        for bad in ["vol-", "vol-0123456789ABCDEF0", "vol-123", "vol-0123abcg"] {
            assert!(check(Noun::Volume, Dialect::Blunt, "VolumeId", bad).is_err());
        }
    }

    #[test]
    fn each_action_has_its_own_words() {
        let listed = Dialect::Listed("volumes");
        assert_eq!(
            refusal(Noun::Volume, listed, ""),
            (
                Code::MissingParameter,
                "The request must contain the parameter volumes".to_owned()
            )
        );
        assert_eq!(
            refusal(Noun::Volume, listed, "vol-1").1,
            "Value (vol-1) for parameter volumes is invalid. Expected: 'vol-...'."
        );
        assert_eq!(
            refusal(Noun::Volume, Dialect::Blunt, ""),
            (
                Code::InvalidParameterValue,
                "The volume ID '' is malformed".to_owned()
            )
        );
        assert_eq!(
            refusal(Noun::Volume, Dialect::Addressed, ""),
            (
                Code::MissingParameter,
                "Value () for parameter volumeId is invalid. Parameter may not be null or empty."
                    .to_owned()
            )
        );
        assert_eq!(
            refusal(Noun::Volume, Dialect::Addressed, "x"),
            (
                Code::InvalidParameterValue,
                "Value (x) for parameter volumeId is invalid. Expected: 'vol-...'.".to_owned()
            )
        );
        let malformed = |words: &str| (Code::InvalidVolumeIdMalformed, words.to_owned());
        for (dialect, text, words) in [
            (Dialect::Malformed, "x", "The volume ID 'x' is malformed"),
            (
                Dialect::Quoted,
                "x",
                "Invalid id: \"x\" (expecting \"vol-...\")",
            ),
            (Dialect::Quoted, "vol-1", "Invalid id: \"vol-1\""),
        ] {
            assert_eq!(refusal(Noun::Volume, dialect, text), malformed(words));
        }
        assert_eq!(
            refusal(Noun::Snapshot, Dialect::Optional, "snap-1"),
            (
                Code::InvalidSnapshotIdMalformed,
                "Value ( snap-1 ) for parameter SNAPSHOT is invalid. ".to_owned()
            )
        );
        assert!(check(Noun::Snapshot, Dialect::Optional, "SnapshotId", "").is_ok());
        assert_eq!(
            refusal(Noun::Snapshot, Dialect::Malformed, "x"),
            (
                Code::InvalidSnapshotIdMalformed,
                "The snapshot ID 'x' is malformed".to_owned()
            )
        );
        assert_eq!(
            refusal(Noun::Snapshot, Dialect::Specified, ""),
            (
                Code::InvalidParameterValue,
                "The specified snapshotId is invalid".to_owned()
            )
        );
    }
}
