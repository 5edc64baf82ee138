//! Why no backend took a volume.

use super::create_volume::Refused;
use super::definition::Reason;
use crate::model::id::BackendId;
use crate::model::volume::Volume;
use crate::scheduler::Placement;

/// Words for a volume that no backend took: every backend that the flavor could use, with its reason.
pub(super) fn reason(volume: &Volume, placement: &Placement, refused: &[Refused]) -> Reason {
    let skipped = placement.skipped.iter().map(|skipped| {
        let reason = Reason {
            public: skipped.reason.for_tenants(),
            full: skipped.reason.to_string(),
        };
        (skipped.backend, reason)
    });
    let refused = refused
        .iter()
        .map(|refused| (refused.backend, refused.reason.clone()));
    let mut reasons: Vec<(BackendId, Reason)> = refused.collect();
    for (backend, reason) in skipped {
        if reasons.iter().all(|(known, _)| *known != backend) {
            reasons.push((backend, reason));
        }
    }
    let flavor = &volume.flavor_label;
    if reasons.is_empty() {
        return Reason::new(format!("flavor {flavor} has no backend"));
    }
    let worded = |text: fn(&Reason) -> &String| {
        let list: Vec<String> = reasons
            .iter()
            .map(|(backend, reason)| format!("backend {backend}: {}", text(reason)))
            .collect();
        format!(
            "no backend of flavor {flavor} can hold it: {}",
            list.join("; ")
        )
    };
    Reason {
        public: worded(|reason| &reason.public),
        full: worded(|reason| &reason.full),
    }
}
