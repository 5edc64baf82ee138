//! Dates as XenAPI spells them: `YYYYMMDDTHH:MM:SSZ`, and the looser forms that clients send.

/// The earliest date that can be written, 0000-01-01T00:00:00Z, in seconds since 1970.
pub const EARLIEST: i64 = -62_167_219_200;

/// The latest date that can be written, 9999-12-31T23:59:59Z, in seconds since 1970.
pub const LATEST: i64 = 253_402_300_799;

const SECONDS_OF_DAY: i64 = 86_400;

/// Writes a date as `YYYYMMDDTHH:MM:SSZ`, or returns nothing when it lies outside [`EARLIEST`]..=[`LATEST`].
///
/// # Units
/// Seconds since 1970-01-01T00:00:00Z.
pub fn format(seconds: i64) -> Option<String> {
    if !(EARLIEST..=LATEST).contains(&seconds) {
        return None;
    }
    let (year, month, day) = civil(seconds.div_euclid(SECONDS_OF_DAY));
    let second = seconds.rem_euclid(SECONDS_OF_DAY);
    Some(format!(
        "{year:04}{month:02}{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    ))
}

/// Reads a date: with or without dashes in the day and colons in the time, with or without a fraction (dropped), and
/// with no zone (UTC), `Z` or an offset.
///
/// Returns nothing when the text is no date.
pub fn parse(text: &str) -> Option<i64> {
    let mut rest = Digits(text.trim_ascii().as_bytes());
    let year = rest.number(4)?;
    rest.skip(b'-');
    let month = rest.number(2)?;
    rest.skip(b'-');
    let day = rest.number(2)?;
    if !rest.skip(b'T') && !rest.skip(b' ') {
        return None;
    }
    let hour = rest.number(2)?;
    rest.skip(b':');
    let minute = rest.number(2)?;
    rest.skip(b':');
    let second = rest.number(2)?;
    if rest.skip(b'.') {
        while rest.number(1).is_some() {}
    }
    let offset = rest.zone()?;
    if !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days(year, month, day) * SECONDS_OF_DAY + hour * 3600 + minute * 60 + second - offset)
}

struct Digits<'a>(&'a [u8]);

impl Digits<'_> {
    fn number(&mut self, count: usize) -> Option<i64> {
        let digits = self.0.get(..count)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.0 = &self.0[count..];
        Some(
            digits
                .iter()
                .fold(0, |number, digit| number * 10 + i64::from(digit - b'0')),
        )
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.0.first() == Some(&byte);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    /// Reads the zone, which must end the text, and returns its offset in seconds.
    fn zone(&mut self) -> Option<i64> {
        let sign = if self.skip(b'+') {
            1
        } else if self.skip(b'-') {
            -1
        } else {
            self.skip(b'Z');
            return self.0.is_empty().then_some(0);
        };
        let hours = self.number(2)?;
        self.skip(b':');
        let minutes = if self.0.is_empty() {
            0
        } else {
            self.number(2)?
        };
        (self.0.is_empty() && hours < 24 && minutes < 60)
            .then_some(sign * (hours * 3600 + minutes * 60))
    }
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, counting years from March so that the leap day is last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse of [`days`]: year, month, day.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_dates() {
        assert_eq!(format(0).as_deref(), Some("19700101T00:00:00Z"));
        assert_eq!(parse("20261122T05:55:47Z"), Some(1_795_326_947));
        assert_eq!(format(1_795_326_947).as_deref(), Some("20261122T05:55:47Z"));
        assert_eq!(parse("2026-11-22T05:55:47"), Some(1_795_326_947));
        assert_eq!(parse("20261122T055547.25Z"), Some(1_795_326_947));
        assert_eq!(parse("2026-11-22T06:55:47+01:00"), Some(1_795_326_947));
        assert_eq!(format(EARLIEST).as_deref(), Some("00000101T00:00:00Z"));
        assert_eq!(format(LATEST).as_deref(), Some("99991231T23:59:59Z"));
        assert_eq!(format(LATEST + 1), None);
        assert_eq!(format(i64::MIN), None);
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "now",
            "20261322T00:00:00Z",
            "20260229T00:00:00Z",
            "20261122",
            "20261122T05:55:47Zx",
            "2026",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(seconds in EARLIEST..=LATEST) {
            prop_assert_eq!(parse(&format(seconds).expect("in range")), Some(seconds));
        }

        #[test]
        fn any_text_is_judged(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
