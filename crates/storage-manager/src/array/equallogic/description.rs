//! What the Description of a volume says. Pure.
//!
//! ```text
//! UUID-<VDI's uuid>:DELETED-<True|False>:STATE-<state>:PAGES-<n>:ALLOC-<thick|thin>:SUM-<8 hex>
//!     <state>: new | live | grow.<pages, hex> | revert.<sum of names, 8 hex>.<pages, hex>
//! UUID-<SR's uuid>:POOL-<name>:ALLOC-<thick|thin>:SUM-<8 hex>          of the management volume
//! ```
//!
//! The sum is the beginning of SHA-256 over the object's name, a line feed and what is before `:SUM-`: a text that somebody
//! edited, or that was copied from another volume, is told from ours. 127 characters is what a Description bears; these have at
//! most 127, and a pool whose name would not fit is left out.

use uuid::Uuid;

/// Most characters of a Description. Source: PS Series CLI, `volume create description`.
const MAX_LENGTH: usize = 127;

/// Bytes of the digest that the sum shows.
const SUM_BYTES: usize = 4;

/// How space of a volume is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allocation {
    /// All of it at once.
    #[default]
    Thick,
    /// As it is written.
    Thin,
}

impl Allocation {
    /// As `allocation` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Allocation::Thick => "thick",
            Allocation::Thin => "thin",
        }
    }

    /// Reads `thick` or `thin`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "thick" => Some(Allocation::Thick),
            "thin" => Some(Allocation::Thin),
            _ => None,
        }
    }
}

/// How far a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Made, and perhaps not yet zeros; removed by the next attach.
    New,
    /// A VDI.
    Live,
    /// A VDI whose volume is being grown; what is behind the noted pages is perhaps not yet zeros.
    Grow {
        /// Pages that it is to have.
        pages: u64,
    },
    /// A VDI that is being given the content of one of its snapshots.
    Revert {
        /// The sum of the names of all snapshots that the volume had before: `names::sum_of_all`.
        before: u32,
        /// Pages of the snapshot.
        pages: u64,
    },
}

impl State {
    fn to_text(self) -> String {
        match self {
            State::New => "new".to_owned(),
            State::Live => "live".to_owned(),
            State::Grow { pages } => format!("grow.{pages:x}"),
            State::Revert { before, pages } => format!("revert.{before:08x}.{pages:x}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let word = parts.next()?;
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let state = match word {
            "new" => State::New,
            "live" => State::Live,
            "grow" => State::Grow { pages: number()? },
            "revert" => State::Revert {
                before: number()?.try_into().ok()?,
                pages: number()?,
            },
            _ => return None,
        };
        (state.to_text() == text).then_some(state)
    }
}

/// What is noted of a VDI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VdiNote {
    /// The VDI.
    pub uuid: Uuid,
    /// True once the VDI was destroyed while the volume still has snapshots.
    pub is_deleted: bool,
    /// How far it is.
    pub state: State,
    /// Pages of 15 MB that are the VDI's; a volume that has more was being grown.
    pub pages: u64,
    /// How its space is taken.
    pub allocation: Allocation,
}

/// What is noted of an SR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrNote {
    /// The SR.
    pub uuid: Uuid,
    /// Its pool, if the name fits.
    pub pool: Option<String>,
    /// How space of its VDIs is taken where nothing else is said.
    pub allocation: Allocation,
}

/// Why a Description is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// It has no sum.
    #[error("it is not what the storage manager wrote")]
    Foreign,
    /// The sum is that of another text, or of another volume.
    #[error("it was edited, or copied from another volume")]
    Edited,
    /// The sum is right and the rest makes no sense: another version wrote it.
    #[error("another version of the storage manager wrote it")]
    Unknown,
}

impl VdiNote {
    /// The text for the object of a name.
    pub fn to_text(self, name: &str) -> String {
        let (uuid, pages) = (self.uuid, self.pages);
        let deleted = if self.is_deleted { "True" } else { "False" };
        let state = self.state.to_text();
        let allocation = self.allocation.as_str();
        let text =
            format!("UUID-{uuid}:DELETED-{deleted}:STATE-{state}:PAGES-{pages}:ALLOC-{allocation}");
        sealed(&text, name)
    }

    /// The VDI that a text says it is about, which is not checked: a snapshot that was not given its name yet.
    pub fn claimed_uuid(text: &str) -> Option<Uuid> {
        Uuid::try_parse(text.split(':').next()?.strip_prefix("UUID-")?).ok()
    }

    /// Reads the text of the object of a name.
    pub fn parse(text: &str, name: &str) -> Result<Self, DescriptionError> {
        let body = unsealed(text, name)?;
        let mut parts = body.split(':');
        let note = (|| {
            let note = VdiNote {
                uuid: Uuid::try_parse(parts.next()?.strip_prefix("UUID-")?).ok()?,
                is_deleted: match parts.next()? {
                    "DELETED-True" => true,
                    "DELETED-False" => false,
                    _ => return None,
                },
                state: State::parse(parts.next()?.strip_prefix("STATE-")?)?,
                pages: parts.next()?.strip_prefix("PAGES-")?.parse().ok()?,
                allocation: Allocation::parse(parts.next()?.strip_prefix("ALLOC-")?)?,
            };
            parts.next().is_none().then_some(note)
        })();
        note.ok_or(DescriptionError::Unknown)
    }
}

impl SrNote {
    /// The text for the management volume.
    pub fn to_text(&self, name: &str) -> String {
        let (uuid, allocation) = (self.uuid, self.allocation.as_str());
        if let Some(pool) = &self.pool {
            let text = sealed(&format!("UUID-{uuid}:POOL-{pool}:ALLOC-{allocation}"), name);
            if text.len() <= MAX_LENGTH && is_plain(pool) {
                return text;
            }
        }
        sealed(&format!("UUID-{uuid}:ALLOC-{allocation}"), name)
    }

    /// Reads the text of the management volume.
    pub fn parse(text: &str, name: &str) -> Result<Self, DescriptionError> {
        let body = unsealed(text, name)?;
        let mut parts = body.split(':');
        let note = (|| {
            let uuid = Uuid::try_parse(parts.next()?.strip_prefix("UUID-")?).ok()?;
            let mut next = parts.next()?;
            let mut pool = None;
            if let Some(name) = next.strip_prefix("POOL-") {
                pool = Some(name.to_owned());
                next = parts.next()?;
            }
            let allocation = Allocation::parse(next.strip_prefix("ALLOC-")?)?;
            let note = SrNote {
                uuid,
                pool,
                allocation,
            };
            parts.next().is_none().then_some(note)
        })();
        note.ok_or(DescriptionError::Unknown)
    }
}

/// True when a text can stand between colons and quotes.
fn is_plain(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_graphic() && !":\"\\?%".contains(c);
    !text.is_empty() && text.chars().all(is_plain)
}

fn sealed(body: &str, name: &str) -> String {
    format!("{body}:SUM-{}", sum(body, name))
}

fn unsealed<'a>(text: &'a str, name: &str) -> Result<&'a str, DescriptionError> {
    let (body, found) = text
        .trim()
        .rsplit_once(":SUM-")
        .ok_or(DescriptionError::Foreign)?;
    match found == sum(body, name) {
        true => Ok(body),
        false => Err(DescriptionError::Edited),
    }
}

fn sum(body: &str, name: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, format!("{name}\n{body}").as_bytes());
    let bytes = digest.as_ref().iter().take(SUM_BYTES);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> VdiNote {
        VdiNote {
            uuid: Uuid::from_u128(0xabcd << 70),
            is_deleted: false,
            state: State::New,
            pages: 1_048_576,
            allocation: Allocation::Thick,
        }
    }

    #[test]
    fn notes_are_read_back_and_fit() {
        let (before, pages) = (u32::MAX, 1_048_576);
        for state in [
            State::New,
            State::Live,
            State::Grow { pages },
            State::Revert { before, pages },
            State::Revert {
                before: 0,
                pages: 1,
            },
        ] {
            let note = VdiNote { state, ..note() };
            let text = note.to_text("XenStorage1");
            assert!(text.len() <= MAX_LENGTH, "{text}");
            assert_eq!(VdiNote::parse(&text, "XenStorage1"), Ok(note));
        }
        for text in [
            "",
            "grow",
            "grow.",
            "grow.+1",
            "live.1",
            "revert.1.1",
            "grow.1.1",
        ] {
            assert_eq!(State::parse(text), None, "{text}");
        }
        for pool in [Some("default".to_owned()), None] {
            let sr = SrNote {
                uuid: Uuid::from_u128(5),
                pool,
                allocation: Allocation::Thin,
            };
            assert_eq!(SrNote::parse(&sr.to_text("m"), "m"), Ok(sr));
        }
        for pool in ["p".repeat(63), "a:b".to_owned()] {
            let sr = SrNote {
                uuid: Uuid::from_u128(5),
                pool: Some(pool),
                allocation: Allocation::Thin,
            };
            let text = sr.to_text("m");
            assert!(text.len() <= MAX_LENGTH, "{text}");
            assert_eq!(SrNote::parse(&text, "m").map(|note| note.uuid), Ok(sr.uuid));
        }
    }

    /// Every single character that somebody changes is noticed, and so is the text of another volume.
    #[test]
    fn edited_texts_are_noticed() {
        let text = note().to_text("one");
        assert_eq!(VdiNote::parse(&text, "two"), Err(DescriptionError::Edited));
        assert_eq!(
            VdiNote::parse("a disk of mine", "one"),
            Err(DescriptionError::Foreign)
        );
        for at in 0..text.len() {
            let mut edited = text.clone().into_bytes();
            edited[at] = if edited[at] == b'1' { b'2' } else { b'1' };
            let edited = String::from_utf8(edited).unwrap();
            assert!(VdiNote::parse(&edited, "one").is_err(), "{edited}");
            assert!(VdiNote::parse(&text[..at], "one").is_err());
        }
        let other = sealed("UUID-nobody:DELETED-False", "one");
        assert_eq!(
            VdiNote::parse(&other, "one"),
            Err(DescriptionError::Unknown)
        );
    }
}
