//! Sizes as a group shows and takes them. Pure.
//!
//! Volumes are made of pages of 15 MB; units are binary, with up to two decimals. Source: reference 6.3.

/// Bytes of a megabyte of the group.
pub const MEGABYTE: u64 = 1 << 20;

/// Bytes of a page.
pub const PAGE: u64 = 15 * MEGABYTE;

/// Most pages of a volume: 15 TB. Source: PS Series firmware 5 and later.
pub const MAX_PAGES: u64 = 1 << 20;

/// A size that was shown: somewhere from `least` to `most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The value as it was shown, in bytes.
    pub bytes: u64,
    /// How far the truth may be from it.
    pub tolerance: u64,
}

impl Shown {
    /// Reads `1.01GB`, `0MB`, `2 TB`. What follows the unit after a blank or a bracket is ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest) = text.split_at(digits);
        let unit: String = rest
            .trim_start()
            .chars()
            .take_while(char::is_ascii_alphabetic)
            .collect();
        let unit: u64 = match unit.as_str() {
            "KB" => 1 << 10,
            "MB" => MEGABYTE,
            "GB" => 1 << 30,
            "TB" => 1 << 40,
            "PB" => 1 << 50,
            _ => return None,
        };
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        // Six digits each bound what follows; sizes of groups are far smaller.
        if whole.is_empty() || whole.len() > 9 || decimals.len() > 3 || decimals.contains('.') {
            return None;
        }
        let scale = 10_u128.pow(decimals.len() as u32);
        let decimals: u128 = if decimals.is_empty() {
            0
        } else {
            decimals.parse().ok()?
        };
        let value = whole.parse::<u128>().ok()? * scale + decimals;
        let bytes = value * u128::from(unit) / scale;
        // The last digit may be rounded in either direction.
        let tolerance = match unit > MEGABYTE {
            true => u128::from(unit) / 100,
            false => 0,
        };
        Some(Shown {
            bytes: bytes.try_into().ok()?,
            tolerance: tolerance.try_into().ok()?,
        })
    }

    /// The pages of a volume that shows this size, of which `noted` were noted when it was made. Never more than there are.
    pub fn pages(self, noted: u64) -> u64 {
        let noted_bytes = noted.saturating_mul(PAGE);
        // A volume that was not made in whole pages shows up to a page less than it has.
        if noted_bytes.abs_diff(self.bytes) <= self.tolerance.max(PAGE - 1) {
            return noted;
        }
        self.bytes.saturating_sub(self.tolerance) / PAGE
    }
}

/// The pages that hold so many bytes; none when no volume is that large.
pub fn pages_for(bytes: u64) -> Option<u64> {
    let pages = bytes.div_ceil(PAGE).max(1);
    (pages <= MAX_PAGES).then_some(pages)
}

/// A size as commands take it.
pub fn argument(pages: u64) -> String {
    format!("{}MB", pages * (PAGE / MEGABYTE))
}

/// Reads `100%`, `100% (1.01GB)`.
pub fn percent(text: &str) -> Option<u32> {
    text.trim().split_once('%')?.0.trim().parse().ok()
}
