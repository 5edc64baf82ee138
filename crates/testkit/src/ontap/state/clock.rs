//! Times as the array prints them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in UTC: `2026-11-22T17:00:00+00:00`.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    print(since.map_or(0, |since| since.as_secs()))
}

/// Seconds since 1970, as the array prints them.
fn print(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil date of a count of days, with years that begin in March (proleptic Gregorian calendar).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_of_year = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_of_year + 2) / 5 + 1;
    let month = if month_of_year < 10 {
        month_of_year + 3
    } else {
        month_of_year - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+00:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_days_at_the_ends_of_months() {
        assert_eq!(print(0), "1970-01-01T00:00:00+00:00");
        assert_eq!(print(951_782_399), "2000-02-28T23:59:59+00:00");
        assert_eq!(print(951_782_400), "2000-02-29T00:00:00+00:00");
        assert_eq!(print(1_796_083_199), "2026-11-30T23:59:59+00:00");
    }
}
