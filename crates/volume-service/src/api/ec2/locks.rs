//! LockSnapshot, UnlockSnapshot and DescribeLockedSnapshots.
//!
//! Source: the EC2 API reference. What a refusal of a locked snapshot's deletion is called is told nowhere: ours is
//! `OperationNotPermitted`, which EC2 documents for what is not allowed of a thing.

use super::super::timestamp;
use super::fault::{Code, Ec2Fault, Result};
use super::filters::{self, FILTER, Filter};
use super::ids::Noun;
use super::page::{self, BadToken, MAX_RESULTS, NEXT_TOKEN, Paging, Place};
use super::parameters::Arguments;
use super::route::{Action, Call, DryRun, Element};
use super::schema::{Kind, Parameter};
use super::snapshots::{self, SNAPSHOT_ID};
use super::words;
use super::xml::Xml;
use crate::app::snapshot_locks::{self, Locked, WantedLock};
use crate::app::snapshot_sharing;
use crate::auth::rule::Rule;
use crate::error::{Error, Subject};
use crate::model::id::SnapshotId;
use crate::model::snapshot_lock::{LockMode, LockTerm};

/// Longest time for which a snapshot is locked, in days.
const DAYS_MAX: i64 = 36_500;
/// Longest time to cool off, in hours.
const COOL_OFF_HOURS_MAX: i64 = 72;
/// Longest date that is read, in characters.
const DATE_MAX_CHARS: usize = 64;

/// A lock in an answer.
const LOCK: [Element; 8] = [
    Element::text("snapshotId"),
    Element::text("lockState"),
    Element::text("lockDuration"),
    Element::text("coolOffPeriod"),
    Element::text("coolOffPeriodExpiresOn"),
    Element::text("lockCreatedOn"),
    Element::text("lockDurationStartTime"),
    Element::text("lockExpiresOn"),
];
const OF_OWNER: &[Element] = &{
    let [a, b, c, d, e, f, g, h] = LOCK;
    [a, b, c, d, e, f, g, h, Element::text("ownerId")]
};

pub(super) const ACTIONS: &[Action] = &[
    Action::new("DescribeLockedSnapshots", |call, xml| {
        Box::pin(describe(call, xml))
    })
    .rules(&[Rule::VolumeGetAllSnapshots])
    .parameters(&[
        FILTER,
        MAX_RESULTS,
        NEXT_TOKEN,
        page::ids("SnapshotId", &page::SNAPSHOT_IDS),
    ])
    .filters(&["lock-state"])
    .paging(&PAGING)
    .answers(&[
        Element::of("snapshotSet", OF_OWNER),
        Element::text("nextToken"),
    ])
    .remark("the project's own, also those whose locks are over"),
    Action::new("LockSnapshot", |call, xml| Box::pin(lock(call, xml)))
        .rules(&[Rule::VolumeUpdateSnapshot])
        .dry_run(DryRun::AfterLookup)
        .parameters(&[
            Parameter::new("LockMode", Kind::Words(&["compliance", "governance"]))
                .required("The request must contain the parameter LockMode"),
            SNAPSHOT_ID,
            Parameter::new(
                "CoolOffPeriod",
                Kind::Number {
                    min: 1,
                    max: COOL_OFF_HOURS_MAX,
                },
            ),
            Parameter::new(
                "ExpirationDate",
                Kind::Text {
                    max: DATE_MAX_CHARS,
                },
            ),
            Parameter::new(
                "LockDuration",
                Kind::Number {
                    min: 1,
                    max: DAYS_MAX,
                },
            ),
        ])
        .answers(&LOCK)
        .remark(
            "holds against every way in which a snapshot goes, also through OpenStack and by administrators: deletion, with its volume \
             or group snapshot, transfer, `unmanage`",
        ),
    Action::new("UnlockSnapshot", |call, xml| Box::pin(unlock(call, xml)))
        .rules(&[Rule::VolumeUpdateSnapshot])
        .dry_run(DryRun::AfterLookup)
        .parameters(&[SNAPSHOT_ID])
        .answers(&[Element::text("snapshotId")])
        .remark("not of a `compliance` lock that has cooled off"),
];

const PAGING: Paging = Paging {
    mark: 20,
    ids: "snapshotIdsSet",
    max_results: "maxResults",
    bad_token: BadToken::Unparsed,
};

async fn lock(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let wanted = wanted_lock(given)?;
    let ec2_id = given.text("SnapshotId").unwrap_or_default();
    let snapshot = snapshots::find_own(call, ec2_id).await?;
    call.stop_if_dry()?;
    let locked = snapshot_locks::lock(&call.service, &call.context, snapshot.id, wanted).await;
    let locked = locked.map_err(|error| refused(error, ec2_id))?;
    write(xml, &locked);
    Ok(())
}

async fn unlock(call: &Call, xml: &mut Xml) -> Result<()> {
    let ec2_id = call.arguments().text("SnapshotId").unwrap_or_default();
    let snapshot = snapshots::find_own(call, ec2_id).await?;
    call.stop_if_dry()?;
    let unlocked = snapshot_locks::unlock(&call.service, &call.context, snapshot.id).await;
    unlocked.map_err(|error| refused(error, ec2_id))?;
    xml.text("snapshotId", &snapshot.ec2_id);
    Ok(())
}

fn refused(error: Error, ec2_id: &str) -> Ec2Fault {
    if error.subject != Subject::SnapshotLock {
        return snapshots::named(error, ec2_id);
    }
    Ec2Fault::coded(
        Code::OperationNotPermitted,
        format!(
            "The compliance lock of the snapshot '{ec2_id}' has cooled off: it can be extended only, and not taken off."
        ),
    )
}

fn wanted_lock(given: Arguments<'_>) -> Result<WantedLock> {
    let combined = |words: &str| Ec2Fault::coded(Code::InvalidParameterCombination, words);
    let mode = given.text("LockMode").and_then(LockMode::parse);
    let mode = mode.unwrap_or(LockMode::Governance);
    let cool_off_hours = given.number("CoolOffPeriod");
    if cool_off_hours.is_some() && mode == LockMode::Governance {
        return Err(combined(
            "The parameter CoolOffPeriod cannot be used with the lock mode governance",
        ));
    }
    let (days, date) = (given.number("LockDuration"), given.text("ExpirationDate"));
    let term = match (days, date) {
        (Some(days), None) => LockTerm::Days(days),
        (None, Some(date)) => LockTerm::Until(timestamp::parse_iso(date).ok_or_else(|| {
            let why = "It must be a date and time in UTC: YYYY-MM-DDThh:mm:ss.sssZ.";
            words::wrong("expirationDate", date, why)
        })?),
        (Some(_), Some(_)) => {
            return Err(combined(
                "The parameter LockDuration cannot be used with the parameter ExpirationDate",
            ));
        }
        (None, None) => {
            return Err(words::missing(
                "The request must contain the parameter LockDuration or ExpirationDate",
            ));
        }
    };
    Ok(WantedLock {
        mode,
        term,
        cool_off_hours,
    })
}

async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let ids = given.list("SnapshotId");
    let wanted = page::read(call, &PAGING, &ids)?;
    let filters = filters::read(given, call.action.filters)?;
    let (found, next) = match ids.is_empty() {
        true => scan(call, &filters, &wanted).await?,
        false => (named(call, &ids).await?, None),
    };
    let passing = found.iter().filter(|locked| passes(&filters, locked));
    xml.items("snapshotSet", passing, |xml, locked| {
        write(xml, locked);
        xml.text("ownerId", &locked.snapshot.project_id);
    });
    if let Some(last) = next {
        xml.text("nextToken", &page::token_of(&PAGING, last));
    }
    Ok(())
}

fn passes(filters: &[Filter], locked: &Locked) -> bool {
    filters
        .iter()
        .all(|filter| filter.matches(locked.state.as_str()))
}

/// The locks of the snapshots with these names, of which each must exist.
async fn named(call: &Call, ids: &[&str]) -> Result<Vec<Locked>> {
    let wanted = ids.iter().map(|id| (*id).to_owned()).collect();
    let (service, context) = (&call.service, &call.context);
    let found = snapshot_sharing::get_by_ec2_ids(service, context, wanted).await?;
    let mut own: Vec<SnapshotId> = Vec::new();
    let mut missing = Vec::new();
    for (ec2_id, snapshot) in ids.iter().zip(found) {
        match snapshot.filter(|one| one.project_id == context.project_id) {
            Some(snapshot) if own.contains(&snapshot.id) => {}
            Some(snapshot) => own.push(snapshot.id),
            None => missing.push(*ec2_id),
        }
    }
    if !missing.is_empty() {
        return Err(words::absent(Noun::Snapshot, &missing));
    }
    Ok(snapshot_locks::of(service, context, own).await?)
}

/// A page of the project's locks; as in EC2 the filters say which of them are shown.
async fn scan(
    call: &Call,
    filters: &[Filter],
    wanted: &page::Wanted,
) -> Result<(Vec<Locked>, Option<Place>)> {
    if filters.iter().any(Filter::matches_nothing) {
        return Ok((Vec::new(), None));
    }
    let after = wanted.after.map(|(us, id)| (us, SnapshotId(id)));
    let (service, context) = (&call.service, &call.context);
    let page = snapshot_locks::list(service, context, after, wanted.max_results).await?;
    let last = page.items.last().filter(|_| page.has_more);
    let next = last.map(|last| (last.lock.created_at_us, last.snapshot.id.0));
    Ok((page.items, next))
}

fn write(xml: &mut Xml, locked: &Locked) {
    let lock = &locked.lock;
    let number = |number: i64| u64::try_from(number).unwrap_or_default();
    xml.text("snapshotId", &locked.snapshot.ec2_id);
    xml.text("lockState", locked.state.as_str());
    xml.number("lockDuration", number(lock.days()));
    if let Some(hours) = lock.cool_off_hours {
        xml.number("coolOffPeriod", number(hours));
    }
    for (name, at_us) in [
        ("coolOffPeriodExpiresOn", lock.cool_off_until_us),
        ("lockCreatedOn", Some(lock.created_at_us)),
        ("lockDurationStartTime", locked.starts_at_us()),
        ("lockExpiresOn", locked.ends_at_us()),
    ] {
        if let Some(at_us) = at_us {
            xml.time(name, at_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parameters::Parameters;
    use super::*;

    fn wanted(query: &str) -> std::result::Result<WantedLock, Code> {
        let parameters = Parameters::parse(query, b"").expect("text");
        wanted_lock(parameters.arguments()).map_err(|fault| fault.code())
    }

    #[test]
    fn reads_days_and_dates() {
        let days = wanted("LockMode=compliance&LockDuration=3&CoolOffPeriod=2").expect("a lock");
        assert_eq!(
            (days.mode, days.term),
            (LockMode::Compliance, LockTerm::Days(3))
        );
        assert_eq!(days.cool_off_hours, Some(2));
        let date = wanted("LockMode=governance&ExpirationDate=2030-01-01T00:00:00Z");
        let until = timestamp::parse_iso("2030-01-01T00:00:00Z").expect("a date");
        assert_eq!(date.expect("a lock").term, LockTerm::Until(until));
    }

    #[test]
    fn refuses_what_excludes_each_other() {
        for (query, code) in [
            ("LockMode=governance", Code::MissingParameter),
            (
                "LockMode=governance&LockDuration=1&CoolOffPeriod=1",
                Code::InvalidParameterCombination,
            ),
            (
                "LockMode=governance&LockDuration=1&ExpirationDate=2030-01-01T00:00:00Z",
                Code::InvalidParameterCombination,
            ),
            (
                "LockMode=governance&ExpirationDate=tomorrow",
                Code::InvalidParameterValue,
            ),
        ] {
            assert_eq!(wanted(query).expect_err(query), code, "{query}");
        }
    }
}
