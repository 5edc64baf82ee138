//! Filters of lists of volumes: times with operators (3.60), and those that only administrators have.

use super::super::timestamp;
use super::caller::Caller;
use super::fault::{Fault, Result};
use super::filter_values;
use crate::app::narrowing::{Comparison, Moment, Narrowing, Place, TIME_BOUNDS_MAX, TimeBound};
use crate::model::id::BackendId;

/// Longest value that a refusal repeats, in characters.
const SHOWN_MAX_CHARS: usize = 64;

/// `gt:2026-11-22T07:00:00,lt:...`
pub(super) fn times(name: &str, value: &str) -> Result<Vec<TimeBound>> {
    let refused = |what: &str, is: &str| {
        let what: String = what.chars().take(SHOWN_MAX_CHARS).collect();
        Fault::BadRequest(format!("Invalid {what} {is}"))
    };
    let moment = if name == "created_at" {
        Moment::Created
    } else {
        Moment::Updated
    };
    let mut bounds = Vec::new();
    for part in value.split(',') {
        let (word, time) = part.split_once(':').unwrap_or((part, ""));
        let comparison = Comparison::parse(word).ok_or_else(|| refused(word, "operator"))?;
        let at_us = time_us(time).ok_or_else(|| refused(time, "value"))?;
        bounds.push(TimeBound {
            moment,
            comparison,
            at_us,
        });
    }
    if bounds.len() > TIME_BOUNDS_MAX {
        return Err(refused(name, "value: it has too many bounds"));
    }
    Ok(bounds)
}

/// A time as clients send it: with or without a zone, with or without a time of the day.
fn time_us(text: &str) -> Option<i64> {
    let text = text.trim();
    timestamp::parse_iso(text)
        .or_else(|| timestamp::parse_iso(&format!("{text}Z")))
        .or_else(|| timestamp::parse_iso(&format!("{text}T00:00:00Z")))
}

/// What is known of a filter.
pub(super) enum Known {
    /// It is one, and taken.
    Taken,
    /// It is one that nothing can meet.
    Nothing,
    /// It is none.
    Not,
}

/// Filters that only administrators have.
pub(super) fn of_administrators(
    caller: &Caller,
    name: &str,
    value: &str,
    narrowing: &mut Narrowing,
) -> Result<Known> {
    match name {
        "name~" if filter_values::knows_likeness(caller) => {
            narrowing.name_part = Some(value.to_owned())
        }
        "user_id" => narrowing.user_id = Some(value.to_owned()),
        "host" => match place(value) {
            Some(place) => narrowing.place = Some(place),
            None => return Ok(Known::Nothing),
        },
        "snapshot_id" => match value.parse() {
            Ok(id) => narrowing.source_snapshot_id = Some(id),
            Err(_) => return Ok(Known::Nothing),
        },
        "source_volid" => match value.parse() {
            Ok(id) => narrowing.source_volume_id = Some(id),
            Err(_) => return Ok(Known::Nothing),
        },
        "glance_metadata" if caller.version.at_least(4) => {
            narrowing.image_metadata = filter_values::dictionary(value)?;
        }
        // Before 3.4 it filters nothing.
        "glance_metadata" => {}
        _ => return Ok(Known::Not),
    }
    Ok(Known::Taken)
}

/// `xensm@<zone>` or `xensm@<zone>#backend-<number>`.
fn place(host: &str) -> Option<Place> {
    let (service, pool) = host.split_once('#').unwrap_or((host, ""));
    let zone = service.strip_prefix("xensm@")?.to_owned();
    let backend_id = match pool {
        "" => None,
        pool => Some(BackendId(pool.strip_prefix("backend-")?.parse().ok()?)),
    };
    Some(Place { zone, backend_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_and_refuses_in_cinders_words() {
        let bound = |comparison, at_us| TimeBound {
            moment: Moment::Created,
            comparison,
            at_us,
        };
        let read = |text: &str| times("created_at", text);
        assert_eq!(
            read("gt:1970-01-01T00:00:01,lte:1970-01-02").expect("two bounds"),
            [
                bound(Comparison::After, 1_000_000),
                bound(Comparison::NotAfter, 86_400_000_000)
            ]
        );
        for text in ["gt:1970-01-01T00:00:01Z", "gt:1970-01-01T01:00:01+01:00"] {
            let only = read(text).expect("a bound");
            assert_eq!(only, [bound(Comparison::After, 1_000_000)], "{text}");
        }
        for (text, refusal) in [
            ("1970-01-01", "Invalid 1970-01-01 operator"),
            ("about:1970-01-01", "Invalid about operator"),
            ("gt:yesterday", "Invalid yesterday value"),
            ("gt", "Invalid  value"),
            ("", "Invalid  operator"),
        ] {
            match read(text) {
                Err(Fault::BadRequest(found)) => assert_eq!(found, refusal),
                other => panic!("{text}: {other:?}"),
            }
        }
        let many = vec!["gt:1970-01-01"; TIME_BOUNDS_MAX + 1].join(",");
        assert!(read(&many).is_err());
    }

    #[test]
    fn reads_places() {
        let pool = place("xensm@nova#backend-3").expect("a place");
        assert_eq!(pool.zone, "nova");
        assert_eq!(pool.backend_id, Some(BackendId(3)));
        assert_eq!(place("xensm@nova").expect("a place").backend_id, None);
        for wrong in ["", "nova", "xensm@nova#pool", "lvm@nova#backend-3"] {
            assert_eq!(place(wrong), None, "{wrong}");
        }
    }
}
