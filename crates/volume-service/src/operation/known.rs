//! What placing volumes reads, read once for all operations that one transaction begins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::auth::vault::Vault;
use crate::db::service_states::{self, ServiceState};
use crate::db::{Transaction, backends, flavors};
use crate::error::Result;
use crate::model::backend::Backend;
use crate::model::flavor::FlavorFacts;
use crate::model::id::FlavorId;

/// Where volumes of a flavor may be placed in a zone.
pub(super) struct Places {
    /// What placing must know of the flavor.
    pub(super) flavor: FlavorFacts,
    /// The flavor's own backends in its order, or those of the zone when it has none.
    pub(super) backends: Vec<Backend>,
    /// Set where an administrator stopped the zone's service.
    pub(super) stopped: Option<ServiceState>,
}

/// The places that a transaction has read; a fresh one for each, for another may have changed them since.
#[derive(Clone, Default)]
pub(super) struct Known(Arc<Mutex<ByFlavorAndZone>>);

type ByFlavorAndZone = HashMap<(FlavorId, String), Arc<Places>>;

impl Known {
    /// The places of a flavor in a zone.
    ///
    /// # Errors
    /// `NotFound` when there is no such flavor.
    pub(super) fn places(
        &self,
        tx: &mut Transaction<'_>,
        vault: &Vault,
        flavor_id: FlavorId,
        zone: &str,
    ) -> Result<Arc<Places>> {
        let key = (flavor_id, zone.to_owned());
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = kept.get(&key) {
            return Ok(Arc::clone(places));
        }
        let flavor = flavors::facts(tx, flavor_id)?;
        let backends = if flavor.has_own_backends {
            backends::of_flavor(tx, vault, flavor_id)?
        } else {
            backends::of_zone(tx, vault, zone)?
        };
        let places = Arc::new(Places {
            flavor,
            backends,
            stopped: service_states::restriction(tx, zone)?,
        });
        kept.insert(key, Arc::clone(&places));
        Ok(places)
    }
}
