//! Identities of volume groups, physical volumes and logical volumes.

use std::fmt;

/// Characters of an identity.
pub const LENGTH: usize = 32;
/// What an identity is made of. Old ones also hold the last two.
///
/// # Source
/// LVM2, `lib/uuid/uuid.c`.
const ALPHABET: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!#";
/// How many characters of the alphabet new identities use.
const NEW: u128 = 62;
/// Lengths of the groups between dashes when an identity is shown.
const GROUPS: [usize; 7] = [6, 4, 4, 4, 4, 4, 6];

/// What LVM2 calls a uuid: 32 characters, shown in seven groups.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id([u8; LENGTH]);

impl Id {
    /// A new identity of at least 170 random bits.
    pub fn random() -> Self {
        let mut characters = [0; LENGTH];
        for half in characters.chunks_exact_mut(LENGTH / 2) {
            // A half takes 95 bits, six of which are the same in each version 4 uuid.
            let mut number = uuid::Uuid::new_v4().as_u128();
            for character in half {
                *character = ALPHABET[(number % NEW) as usize];
                number /= NEW;
            }
        }
        Id(characters)
    }

    /// Reads the 32 characters as they lie on a device.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let characters: [u8; LENGTH] = bytes.try_into().ok()?;
        let known = characters.iter().all(|byte| ALPHABET.contains(byte));
        known.then_some(Id(characters))
    }

    /// Reads an identity with or without its dashes.
    pub fn parse(text: &str) -> Option<Self> {
        // Longer texts cannot be one, however many dashes they hold.
        if text.len() > LENGTH + GROUPS.len() {
            return None;
        }
        let characters: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        Id::from_bytes(&characters)
    }

    /// The 32 characters as they lie on a device.
    pub fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_slice();
        for (number, length) in GROUPS.into_iter().enumerate() {
            let (group, after) = rest.split_at(length);
            if number > 0 {
                f.write_str("-")?;
            }
            for byte in group {
                write!(f, "{}", char::from(*byte))?;
            }
            rest = after;
        }
        Ok(())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Id;

    #[test]
    fn is_read_as_it_is_shown() {
        let shown = "0zd3UT-wbYT-lDHq-lMPs-EjoE-0o18-wL28X4";
        let id = Id::parse(shown).unwrap();
        assert_eq!(id.to_string(), shown);
        assert_eq!(Id::from_bytes(id.as_bytes()), Some(id));
    }

    #[test]
    fn refuses_what_is_none() {
        for text in ["", "0zd3UT", "0zd3UT-wbYT-lDHq-lMPs-EjoE-0o18-wL28X?"] {
            assert_eq!(Id::parse(text), None, "{text}");
        }
    }

    #[test]
    fn new_ones_differ() {
        let ids: std::collections::BTreeSet<Id> = (0..1000).map(|_| Id::random()).collect();
        assert_eq!(ids.len(), 1000);
    }
}
