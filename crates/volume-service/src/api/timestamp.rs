//! Times as each API writes and reads them. Inside they are microseconds since 1970.

use time::format_description::well_known::{Iso8601, Rfc2822};
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

fn civil(us: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// As Cinder writes it: UTC, six digits, no zone.
pub(super) fn openstack(us: i64) -> String {
    let t = civil(us);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}",
        t.year(),
        u8::from(t.month()),
        t.day(),
        t.hour(),
        t.minute(),
        t.second(),
        t.microsecond()
    )
}

/// As Keystone writes it: UTC, six digits, `Z`.
pub(super) fn identity(us: i64) -> String {
    format!("{}Z", openstack(us))
}

/// As EC2 writes it: UTC, milliseconds, `Z`.
pub(super) fn ec2(us: i64) -> String {
    let mut text = String::with_capacity("2015-08-30T12:36:00.120Z".len());
    write_ec2(&mut text, us);
    text
}

/// The same behind what is there already.
pub(super) fn write_ec2(out: &mut String, us: i64) {
    let t = civil(us);
    let year = t.year().unsigned_abs();
    digits(out, year / 100);
    digits(out, year % 100);
    for (before, number) in [
        ('-', u8::from(t.month())),
        ('-', t.day()),
        ('T', t.hour()),
        (':', t.minute()),
        (':', t.second()),
    ] {
        out.push(before);
        digits(out, u32::from(number));
    }
    let milliseconds = u32::from(t.millisecond());
    out.push('.');
    out.push(digit(milliseconds / 100));
    digits(out, milliseconds % 100);
    out.push('Z');
}

/// Two digits.
fn digits(out: &mut String, number: u32) {
    out.push(digit(number / 10));
    out.push(digit(number));
}

fn digit(number: u32) -> char {
    char::from_digit(number % 10, 10).unwrap_or('0')
}

/// Reads an ISO 8601 time; without a zone it is UTC.
pub(super) fn parse_iso(text: &str) -> Option<i64> {
    let moment = OffsetDateTime::parse(text, &Iso8601::PARSING)
        .or_else(|_| {
            PrimitiveDateTime::parse(text, &Iso8601::PARSING).map(PrimitiveDateTime::assume_utc)
        })
        .ok()?;
    i64::try_from(moment.unix_timestamp_nanos() / 1000).ok()
}

/// Reads the basic form that version 4 signatures use: `20150830T123600Z`.
pub(super) fn parse_basic(text: &str) -> Option<i64> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let moment = PrimitiveDateTime::parse(text, &format).ok()?.assume_utc();
    i64::try_from(moment.unix_timestamp_nanos() / 1000).ok()
}

/// Reads the form of the HTTP header `Date`: `Sun, 30 Aug 2015 12:36:00 GMT`.
pub(super) fn parse_http(text: &str) -> Option<i64> {
    let moment = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    i64::try_from(moment.unix_timestamp_nanos() / 1000).ok()
}

/// As version 4 signatures write it: `20150830T123600Z`.
pub(super) fn basic(us: i64) -> String {
    let mut text = openstack(us);
    text.truncate("2015-08-30T12:36:00".len());
    text.retain(|letter| letter != '-' && letter != ':');
    text.push('Z');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT_US: i64 = 1_440_938_160_120_345;

    #[test]
    fn each_api_has_its_own_form() {
        assert_eq!(openstack(MOMENT_US), "2015-08-30T12:36:00.120345");
        assert_eq!(identity(MOMENT_US), "2015-08-30T12:36:00.120345Z");
        assert_eq!(ec2(MOMENT_US), "2015-08-30T12:36:00.120Z");
        assert_eq!(basic(MOMENT_US), "20150830T123600Z");
        assert_eq!(openstack(i64::MAX), "1970-01-01T00:00:00.000000");
    }

    #[test]
    fn reads_what_clients_send() {
        let whole_second = Some(1_440_938_160_000_000);
        assert_eq!(parse_basic("20150830T123600Z"), whole_second);
        assert_eq!(parse_http("Sun, 30 Aug 2015 12:36:00 GMT"), whole_second);
        assert_eq!(parse_http("20150830T123600Z"), None);
        assert_eq!(parse_iso("2015-08-30T12:36:00"), whole_second);
        assert_eq!(parse_iso("2015-08-30T12:36:00Z"), whole_second);
        assert_eq!(parse_iso("2015-08-30T12:36:00.000Z"), whole_second);
        assert_eq!(parse_iso("2015-08-30T14:36:00+02:00"), whole_second);
        assert_eq!(parse_basic("20151330T123600Z"), None);
        assert_eq!(parse_iso("yesterday"), None);
    }
}
