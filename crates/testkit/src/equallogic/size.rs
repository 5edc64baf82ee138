//! Sizes as the group counts and prints them.

/// The group gives out space in pages of this many bytes.
pub const PAGE: u64 = 15 * MEGABYTE;

const MEGABYTE: u64 = 1 << 20;

/// The pages that hold so many bytes.
pub fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE)
}

/// What a volume of the asked size really has: a block device of whole pages.
pub fn rounded(bytes: u64) -> u64 {
    pages(bytes) * PAGE
}

/// Reads `10G`, `10GB`, `1.5TB`, `512MB`, `512` (megabytes); whole megabytes above zero only.
pub fn parse(text: &str) -> Option<u64> {
    let upper = text.to_ascii_uppercase();
    let digits = upper.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &upper[digits.len()..] {
        "" | "M" | "MB" => MEGABYTE,
        "G" | "GB" => MEGABYTE << 10,
        "T" | "TB" => MEGABYTE << 20,
        _ => return None,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.len() > 2 || (digits.contains('.') && fraction.is_empty()) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let hundredths: u64 = match fraction.len() {
        0 => 0,
        1 => fraction.parse::<u64>().ok()? * 10,
        _ => fraction.parse().ok()?,
    };
    let bytes = whole
        .checked_mul(unit)?
        .checked_add(hundredths * unit / 100)?;
    let bytes = bytes / MEGABYTE * MEGABYTE;
    (bytes > 0).then_some(bytes)
}

/// Prints as the CLI does: the largest unit that fits, at most two decimals; whole megabytes after `cli-settings displayinMB on`.
pub fn show(bytes: u64, in_megabytes: bool) -> String {
    let megabytes = bytes / MEGABYTE;
    if in_megabytes || megabytes < 1 << 10 {
        return format!("{megabytes}MB");
    }
    let (unit, name) = if megabytes < 1 << 20 {
        (1_u64 << 10, "GB")
    } else {
        (1 << 20, "TB")
    };
    let hundredths = (megabytes * 100 + unit / 2) / unit;
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match rest {
        0 => format!("{whole}{name}"),
        rest if rest % 10 == 0 => format!("{whole}.{}{name}", rest / 10),
        rest => format!("{whole}.{rest:02}{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pair of a request of 1 GB, of which the array shows 1.01GB, and whose block device has 1085276160 bytes, is from
    /// the troubleshooting page of Cinder's driver.
    #[test]
    fn counts_in_pages() {
        assert_eq!(rounded(1 << 30), 1_085_276_160);
        assert_eq!(show(rounded(1 << 30), false), "1.01GB");
        assert_eq!(pages(0), 0);
        assert_eq!(pages(PAGE + 1), 2);
    }

    #[test]
    fn reads_and_prints() {
        for (text, bytes) in [
            ("10G", 10 << 30),
            ("10GB", 10 << 30),
            ("1.5tb", 3 << 39),
            ("512", 512 << 20),
            ("30MB", 30 << 20),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "0",
            "G",
            "1.G",
            "1.234GB",
            "-1",
            "5KB",
            "99999999999999TB",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(show(15 << 20, false), "15MB");
        assert_eq!(show(3 << 39, false), "1.5TB");
        assert_eq!(show(3 << 39, true), "1572864MB");
        assert_eq!(show(1 << 30, false), "1GB");
    }
}
