//! Asking workers to look for what a worker that died left behind.
//!
//! Nobody needs to ask: a lease that is not renewed ends, and another worker of the zone takes the operation over. What is asked for
//! makes them look at once.

use super::{Service, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::operations;
use crate::error::{Error, Result};

/// Wakes every worker.
///
/// # Errors
/// `Invalid` for a resource that no operation is at work on.
pub async fn clean_up(
    service: &Service,
    request: &RequestContext,
    resource_id: Option<&str>,
) -> Result<()> {
    policy::check(request, Rule::WorkersCleanup)?;
    let resource_id = resource_id.map(str::to_owned);
    service
        .database
        .write(move |tx| {
            if let Some(id) = &resource_id
                && operations::find_unfinished(tx, id)?.is_none()
            {
                return Err(Error::invalid(format!(
                    "Invalid input received: There is no resource with UUID {id} pending cleanup."
                )));
            }
            tx.wake_workers();
            Ok(())
        })
        .await
}
