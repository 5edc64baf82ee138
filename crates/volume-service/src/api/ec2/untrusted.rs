//! Every reader of this API on any text, for the fuzz targets: what each makes of it is thrown away.

use super::parameters::Parameters;
use super::route::ACTIONS;
use super::{filters, page, schema, snapshots, tags, volumes};
use crate::model::id::VolumeId;

/// The page size of the fuzz targets.
const PAGE_MAX: usize = 1000;

/// Reads a query and a form as the parameters of each action.
pub fn read_parameters(query: &str, form: &[u8]) {
    let Ok(parameters) = Parameters::parse(query, form) else {
        return;
    };
    let given = parameters.arguments();
    for action in ACTIONS.iter().copied().flatten() {
        let _ = schema::check_names(action.parameters, &parameters);
        let _ = schema::is_dry_run(&parameters);
        let _ = schema::check_values(action.parameters, &parameters);
        for filter in filters::read(given, action.filters).unwrap_or_default() {
            let _ = filter.matches("vol-0123456789abcdef0");
            let _ = filter.exact();
        }
        if let Some(paging) = action.paging {
            let _ = page::read_within(given, paging, PAGE_MAX, &given.list("VolumeId"));
        }
    }
    // Readers do not fail, whether the form was checked or not.
    let _ = volumes::wanted_volume(given);
    let _ = snapshots::wanted_snapshot(given, VolumeId(uuid::Uuid::nil()));
    let _ = tags::read(given, "volume");
}
