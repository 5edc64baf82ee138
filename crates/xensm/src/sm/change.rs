//! What is written down of the commands of category `sm`.

use super::SmCommand;
use crate::command_record::Change;

impl SmCommand {
    /// What is written down of it.
    pub(super) fn change(&self) -> Option<Change> {
        match self {
            SmCommand::FlavorList { .. }
            | SmCommand::BackendList { .. }
            | SmCommand::BackendProbe { .. } => None,
            SmCommand::FlavorCreate { label, .. } => Change::of("sm flavor_create", label),
            SmCommand::FlavorDelete { label, .. } => Change::of("sm flavor_delete", label),
            SmCommand::BackendAdd {
                flavor_label,
                sr_type,
                ..
            } => Change::of("sm backend_add", format!("{flavor_label} {sr_type}")),
            SmCommand::BackendRemove { backend_id, .. } => {
                Change::of("sm backend_remove", backend_id)
            }
            SmCommand::BackendEnable { backend_id } => Change::of("sm backend_enable", backend_id),
            SmCommand::BackendDisable { backend_id } => {
                Change::of("sm backend_disable", backend_id)
            }
            SmCommand::BackendMove { backend_id, .. } => Change::of("sm backend_move", backend_id),
        }
    }
}
