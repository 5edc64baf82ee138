//! Compares what the triggers counted for each project with its volumes and snapshots.
//!
//! Both are read in one transaction, so that nothing that is being made or removed makes a difference, and nobody waits. A difference
//! would be a bug, or a database that was changed by hand: it is repaired, and told by `xensm_reconcile_repairs_total`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Report;
use crate::db::{Transaction, quotas};
use crate::error::Result;
use crate::model::quota::Usage as Counted;
use crate::operation::Engine;

/// The reconciler of usage.
pub struct Usage {
    engine: Arc<Engine>,
}

impl Usage {
    /// Makes the reconciler.
    pub fn new(engine: Arc<Engine>) -> Self {
        Usage { engine }
    }

    /// Looks at each project once, in a transaction of its own.
    pub async fn pass(&self) -> Result<Report> {
        let database = self.engine.database();
        let mut report = Report::default();
        let mut behind = String::new();
        loop {
            let from = behind.clone();
            let looked = database.read(move |tx| look(tx, &from)).await?;
            let Some((project_id, differs)) = looked else {
                return Ok(report);
            };
            report.looked += 1;
            if differs {
                tracing::error!(
                    project = project_id,
                    "the usage of a project was not what it has; it is counted anew"
                );
                let project = project_id.clone();
                database
                    .write(move |tx| quotas::recount(tx, &project))
                    .await?;
                report.repaired += 1;
            }
            behind = project_id;
        }
    }
}

/// The next project, and whether its usage is not what it has.
fn look(tx: &mut Transaction<'_>, behind: &str) -> Result<Option<(String, bool)>> {
    let Some(project_id) = quotas::project_behind(tx, behind)? else {
        return Ok(None);
    };
    let kept = without_zeros(quotas::usage_by_flavor(tx, &project_id)?);
    let counted = without_zeros(quotas::counted_by_flavor(tx, &project_id)?);
    Ok(Some((project_id, kept != counted)))
}

fn without_zeros(mut usage: BTreeMap<String, Counted>) -> BTreeMap<String, Counted> {
    usage.retain(|_, counted| *counted != Counted::default());
    usage
}
