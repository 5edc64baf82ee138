//! Tags: what EC2 calls the metadata of volumes and snapshots, written to many things at once and listed over all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::policy::Tenancy;
use super::short_names::ShortNames;
use super::volume_flags::check_maintenance;
use super::{Page, Service, limits, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{Transaction, snapshots, tags, volumes};
use crate::error::{Error, ErrorKind, Result, Subject};

/// Most tags of a thing that EC2 writes one to; with OpenStack it may have more.
pub const TAGS_MAX: usize = 50;
/// What keys begin with that nobody but the service itself may write or remove.
pub const RESERVED: &str = "aws:";

/// What has tags, in the order of the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `snap-`
    Snapshot,
    /// `vol-`
    Volume,
}

impl Kind {
    /// Every kind, in the order of the names.
    pub const ALL: [Kind; 2] = [Kind::Snapshot, Kind::Volume];

    /// The kind of thing that an EC2 name names.
    pub fn of(ec2_id: &str) -> Option<Self> {
        Kind::ALL
            .into_iter()
            .find(|kind| ec2_id.starts_with(kind.prefix()))
    }

    /// What its names begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Kind::Snapshot => "snap-",
            Kind::Volume => "vol-",
        }
    }

    /// EC2's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Snapshot => "snapshot",
            Kind::Volume => "volume",
        }
    }

    fn subject(self) -> Subject {
        match self {
            Kind::Snapshot => Subject::Snapshot,
            Kind::Volume => Subject::Volume,
        }
    }

    /// Who may write the tags of such a thing.
    fn rule(self, change: &Change) -> Rule {
        match (self, change) {
            (Kind::Snapshot, Change::Add(_)) => Rule::VolumeUpdateSnapshotMetadata,
            (Kind::Snapshot, Change::Remove(_)) => Rule::VolumeDeleteSnapshotMetadata,
            (Kind::Volume, Change::Add(_)) => Rule::VolumeUpdateVolumeMetadata,
            (Kind::Volume, Change::Remove(_)) => Rule::VolumeDeleteVolumeMetadata,
        }
    }
}

/// A tag of a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// What the thing is.
    pub kind: Kind,
    /// Its EC2 name.
    pub resource: String,
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// What is done to the tags of things.
#[derive(Clone, Debug)]
pub enum Change {
    /// These are added, or get these values.
    Add(BTreeMap<String, String>),
    /// These go.
    Remove(Vec<Removal>),
}

/// Which tags go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The one with this key.
    Key(String),
    /// The one with this key if it has this value.
    Pair(String, String),
    /// All of which the key does not begin so; with four characters.
    AllBut(&'static str),
}

/// Which tags, and where the page begins. A list of lists is filters, each with its values.
#[derive(Clone, Debug, Default)]
pub struct TagQuery {
    /// Of things of these kinds.
    pub kinds: Vec<Kind>,
    /// Of things with these names.
    pub resources: Vec<Vec<String>>,
    /// With these keys.
    pub keys: Vec<Vec<String>>,
    /// With these values.
    pub values: Vec<Vec<String>>,
    /// The thing and the key of the last tag of the page before; both may be gone.
    pub after: Option<(String, String)>,
    /// How many at most; none and larger numbers mean the configured page size.
    pub limit: Option<usize>,
}

/// The ids of things, by their kinds.
type Found = BTreeMap<Kind, BTreeSet<String>>;

/// Finds out whether a change of the tags of these things, by their EC2 names, would be let through.
///
/// # Errors
/// `NotFound` about the first that is not there, `Forbidden`.
pub async fn check(
    service: &Service,
    request: &RequestContext,
    ec2_ids: Vec<String>,
    change: &Change,
) -> Result<()> {
    limits::check_list(ec2_ids.len(), 0, 0)?;
    let tenancies = tenancies(request, change);
    service
        .database
        .read(move |tx| find(tx, &tenancies, &ec2_ids).map(drop))
        .await
}

/// Changes the tags of things by their EC2 names, of all of them or of none.
///
/// # Errors
/// As [`check`], and `QuotaExceeded` about `Metadata` when one of them would have more than [`TAGS_MAX`].
pub async fn change(
    service: &Service,
    request: &RequestContext,
    ec2_ids: Vec<String>,
    change: Change,
) -> Result<()> {
    limits::check_list(ec2_ids.len(), 0, 0)?;
    if let Change::Add(added) = &change {
        limits::check_metadata(added)?;
    }
    let tenancies = tenancies(request, &change);
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            let found = find(tx, &tenancies, &ec2_ids)?;
            for kind in [Kind::Volume, Kind::Snapshot] {
                let ids: Vec<String> = found.get(&kind).into_iter().flatten().cloned().collect();
                let locked = tags::lock(tx, kind, &ids)?;
                if let Some(gone) = ids.iter().find(|id| !locked.contains(id)) {
                    return Err(Error::not_found(kind.subject(), ec2_name(kind, gone)));
                }
                match &change {
                    Change::Add(added) => add(tx, kind, &ids, added, now_us)?,
                    Change::Remove(removals) => {
                        for removal in removals {
                            tags::remove(tx, kind, &ids, removal, now_us)?;
                        }
                    }
                }
            }
            Ok(())
        })
        .await
}

fn add(
    tx: &mut Transaction<'_>,
    kind: Kind,
    ids: &[String],
    added: &BTreeMap<String, String>,
    now_us: i64,
) -> Result<()> {
    let before = tags::counts(tx, kind, ids)?;
    tags::add(tx, kind, ids, added, now_us)?;
    let after = tags::counts(tx, kind, ids)?;
    let most = i64::try_from(TAGS_MAX).unwrap_or(i64::MAX);
    let has_too_many = |(id, count): &(&String, &i64)| {
        **count > most && before.get(*id).is_none_or(|before| before < *count)
    };
    match after.iter().find(has_too_many) {
        None => Ok(()),
        Some((id, count)) => {
            let (word, name) = (kind.word(), ec2_name(kind, id));
            let words =
                format!("The {word} '{name}' would have {count} tags, more than {TAGS_MAX}.");
            Err(Error::new(
                ErrorKind::QuotaExceeded,
                Subject::Metadata,
                words,
            ))
        }
    }
}

/// The EC2 name of what has this id.
fn ec2_name(kind: Kind, id: &str) -> String {
    let digits: String = id.chars().filter(|letter| *letter != '-').collect();
    format!("{}{}", kind.prefix(), digits.get(..17).unwrap_or_default())
}

fn tenancies(request: &RequestContext, change: &Change) -> HashMap<Kind, Tenancy> {
    let of_kind = |kind: Kind| (kind, policy::tenancy_of(request, kind.rule(change)));
    Kind::ALL.into_iter().map(of_kind).collect()
}

/// The things with these names that the requester may know of and write the tags of.
fn find(
    tx: &mut Transaction<'_>,
    tenancies: &HashMap<Kind, Tenancy>,
    ec2_ids: &[String],
) -> Result<Found> {
    let mut found = Found::new();
    for kind in Kind::ALL {
        let of_kind = |ec2_id: &&String| Kind::of(ec2_id) == Some(kind);
        let named: Vec<String> = ec2_ids.iter().filter(of_kind).cloned().collect();
        if named.is_empty() {
            continue;
        }
        let ids = match kind {
            Kind::Snapshot => named_snapshots(tx, &tenancies[&kind], &named)?,
            Kind::Volume => named_volumes(tx, &tenancies[&kind], &named)?,
        };
        found.insert(kind, ids);
    }
    Ok(found)
}

fn named_volumes(
    tx: &mut Transaction<'_>,
    tenancy: &Tenancy,
    ec2_ids: &[String],
) -> Result<BTreeSet<String>> {
    let whole = volumes::find_by_ec2_ids(tx, tenancy.project(), ec2_ids)?;
    let (mut found, mut short) = (BTreeSet::new(), ShortNames::default());
    for ec2_id in ec2_ids {
        let volume = match whole.get(ec2_id) {
            Some(volume) => Some(volume.clone()),
            None => short.look_up(ec2_id, || {
                volumes::find_by_short_ec2_id(tx, tenancy.project(), ec2_id)
            })?,
        };
        let volume = volume.ok_or_else(|| Error::not_found(Subject::Volume, ec2_id))?;
        tenancy.check(&volume.project_id, Some(&volume.user_id))?;
        check_maintenance(&volume, "change the tags of the volume")?;
        found.insert(volume.id.to_string());
    }
    Ok(found)
}

fn named_snapshots(
    tx: &mut Transaction<'_>,
    tenancy: &Tenancy,
    ec2_ids: &[String],
) -> Result<BTreeSet<String>> {
    let whole = snapshots::find_by_ec2_ids(tx, tenancy.project(), ec2_ids)?;
    let (mut found, mut short) = (BTreeSet::new(), ShortNames::default());
    for ec2_id in ec2_ids {
        let snapshot = match whole.get(ec2_id) {
            Some(snapshot) => Some(snapshot.clone()),
            None => short.look_up(ec2_id, || {
                snapshots::find_by_short_ec2_id(tx, tenancy.project(), ec2_id)
            })?,
        };
        let snapshot = snapshot.ok_or_else(|| Error::not_found(Subject::Snapshot, ec2_id))?;
        tenancy.check(&snapshot.project_id, Some(&snapshot.user_id))?;
        found.insert(snapshot.id.to_string());
    }
    Ok(found)
}

/// A page of the tags of the requester's project, by the names of things and by keys.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    query: TagQuery,
) -> Result<Page<Tag>> {
    policy::check(request, Rule::VolumeGetAll)?;
    policy::check(request, Rule::VolumeGetAllSnapshots)?;
    let (project_id, limit) = (request.project_id.clone(), service.page_size(query.limit));
    service
        .database
        .read(move |tx| {
            let behind = |kind: &&Kind| match &query.after {
                Some((resource, _)) => Kind::of(resource).is_none_or(|last| last <= **kind),
                None => true,
            };
            let mut items = Vec::new();
            for kind in query.kinds.iter().filter(behind) {
                if items.len() > limit {
                    break;
                }
                let left = limit - items.len();
                items.extend(tags::page(tx, *kind, &project_id, &query, left)?);
            }
            Ok(Page::cut(items, limit))
        })
        .await
}
