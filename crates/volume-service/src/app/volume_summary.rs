//! How many volumes a list would show, how large they are together, and what their metadata says.

use std::collections::BTreeMap;

use super::volumes::VolumeQuery;
use super::{Service, limits, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::volume_list::Decided;
use crate::db::{flavors, narrowing};
use crate::error::{Error, ErrorKind, Result, Subject};

/// Different pairs of key and value that a summary shows at most.
pub const PAIRS_MAX: usize = 10_000;

/// What volumes are together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many there are.
    pub count: u64,
    /// Their GiB.
    pub size_gib: u64,
    /// Their different metadata, when asked for.
    pub metadata: Option<BTreeMap<String, Vec<String>>>,
}

/// Sums up what a list would show on all of its pages.
///
/// # Errors
/// `NotSupported` for more than [`PAIRS_MAX`] different pairs of metadata.
pub async fn summarize(
    service: &Service,
    request: &RequestContext,
    query: VolumeQuery,
    with_metadata: bool,
) -> Result<Summary> {
    policy::check(request, Rule::VolumeGetAll)?;
    if query.all_projects || query.project_id.is_some() {
        policy::is_admin(request)?;
    }
    limits::check_list(query.ids.len(), query.metadata.len(), query.offset)?;
    let project_id = match (&query.project_id, query.all_projects) {
        (Some(project_id), _) => Some(project_id.clone()),
        (None, true) => None,
        (None, false) => Some(request.project_id.clone()),
    };
    let mut decided = Decided {
        project_id,
        flavor_id: None,
        limit: 0,
        query,
    };
    let summed = service.database.read(move |tx| {
        if let Some(flavor) = decided.query.flavor.clone() {
            let Some(flavor) = flavors::find(tx, &flavor)? else {
                return Ok((0, 0, with_metadata.then(|| Some(BTreeMap::new()))));
            };
            decided.flavor_id = Some(flavor.id);
        }
        let (count, size_gib) = narrowing::sum(tx, &decided)?;
        let metadata = match with_metadata {
            true => Some(narrowing::distinct_metadata(tx, &decided, PAIRS_MAX)?),
            false => None,
        };
        Ok((count, size_gib, metadata))
    });
    let (count, size_gib, metadata) = summed.await?;
    let metadata = match metadata {
        None => None,
        Some(Some(metadata)) => Some(metadata),
        Some(None) => {
            let text = format!(
                "The volumes have more than {PAIRS_MAX} different pairs of metadata, which no summary shows."
            );
            return Err(Error::new(ErrorKind::NotSupported, Subject::Request, text));
        }
    };
    Ok(Summary {
        count,
        size_gib,
        metadata,
    })
}
