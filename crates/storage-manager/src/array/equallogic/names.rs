//! Names of volumes and snapshots. Pure.
//!
//! ```text
//! XenStorage<SR, 32 hex><VDI, the first 20 hex>    62 characters; a snapshot has the same rule with its own VDI
//! XenStorage<SR, 32 hex>                           the management volume
//! ```
//!
//! Source: reference 2.5; names of volumes end at 63 characters.

use uuid::Uuid;

/// What names of ours begin with.
const PREFIX: &str = "XenStorage";

/// Hexadecimal digits of a VDI's uuid that a name has.
const VDI_DIGITS: usize = 20;

/// The name of the volume that says that there is an SR.
pub fn management(sr: Uuid) -> String {
    format!("{PREFIX}{}", sr.simple())
}

/// The name of a VDI's volume or snapshot.
pub fn volume(sr: Uuid, vdi: Uuid) -> String {
    let vdi = vdi.simple().to_string();
    format!("{PREFIX}{}{}", sr.simple(), &vdi[..VDI_DIGITS])
}

/// True for a text that stands in a command as one word and as nothing else.
pub fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(is_plain)
}

/// True for a text that stands in a command between quotes.
pub fn is_quotable(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !text.ends_with(' ')
        && text.chars().all(|c| c == ' ' || is_plain(c))
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._:@+=/,~".contains(c)
}

/// What stands for a volume and its snapshots: the digits of the VDI that the volume's name has.
pub fn family(volume: &str) -> Uuid {
    let digits = volume.get(volume.len().saturating_sub(VDI_DIGITS)..);
    let number = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
    Uuid::from_u128(number.unwrap_or_default())
}

/// A sum over a set of names, in whatever order they come: the beginning of SHA-256 over the sorted names, each with a line feed.
pub fn sum_of_all<'a>(names: impl Iterator<Item = &'a String>) -> u32 {
    let mut names: Vec<&String> = names.collect();
    names.sort();
    let mut text = String::new();
    for name in names {
        text.push_str(name);
        text.push('\n');
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let first = digest.as_ref().iter().take(4);
    first.fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// What a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// The management volume of an SR.
    Management(Uuid),
    /// A VDI of an SR.
    Vdi(Uuid),
}

/// Reads a name; none for volumes that are not ours.
pub fn parse(name: &str) -> Option<Named> {
    let digits = name.strip_prefix(PREFIX)?;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if !digits.bytes().all(is_hex) {
        return None;
    }
    let sr = Uuid::try_parse(digits.get(..32)?).ok()?;
    match digits.len() - 32 {
        0 => Some(Named::Management(sr)),
        VDI_DIGITS => Some(Named::Vdi(sr)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let (sr, vdi) = (Uuid::from_u128(7 << 90), Uuid::from_u128(0xfeed << 60));
        assert_eq!(volume(sr, vdi).len(), 62);
        assert_eq!(parse(&volume(sr, vdi)), Some(Named::Vdi(sr)));
        assert_eq!(parse(&management(sr)), Some(Named::Management(sr)));
        let of_snapshot = format!("{}-2017-01-01-10:00:00.1.1", volume(sr, vdi));
        for foreign in ["", "XenStorage", "data", "XenStorage0123", &of_snapshot] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
        assert_eq!(parse(&management(sr).to_uppercase()), None);
        let (one, other) = (volume(sr, vdi), volume(sr, Uuid::from_u128(0xfeee << 60)));
        assert_eq!(family(&one), family(&volume(Uuid::from_u128(8), vdi)));
        assert_ne!(family(&one), family(&other));
        assert_eq!(family("x"), Uuid::nil());
    }

    /// Nothing ends a word, a quoted text or a line, and nothing begins an option.
    #[test]
    fn commands_are_made_of_words() {
        for c in (0..=0xff_u8)
            .map(char::from)
            .filter(|c| !c.is_ascii_alphanumeric())
        {
            let text = format!("a{c}b");
            let is_harmless = "-._:@+=/,~".contains(c);
            assert_eq!(is_word(&text), is_harmless, "{text:?}");
            assert_eq!(is_quotable(&text), is_harmless || c == ' ', "{text:?}");
        }
        for text in ["", " ", " a", "-a", "-"] {
            assert!(!is_word(text) && !is_quotable(text), "{text:?}");
        }
        assert!(!is_quotable("a "));
    }
}
