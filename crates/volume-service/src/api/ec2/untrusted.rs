//! Every reader of this API on any text, for the fuzz targets: what each makes of it is thrown away.

use super::parameters::Parameters;
use super::{filters, page, snapshots, tags, volumes};
use crate::model::id::VolumeId;

/// Names that a filter may have.
const FILTER_NAMES: [&str; 3] = ["volume-id", "status", "size"];
/// The page size of the fuzz targets.
const PAGE_MAX: usize = 1000;

/// Reads a query and a form as the parameters of each action that has some.
pub fn read_parameters(query: &str, form: &[u8]) {
    let Ok(parameters) = Parameters::parse(query, form) else {
        return;
    };
    let _ = volumes::wanted_volume(&parameters);
    let _ = snapshots::wanted_snapshot(&parameters, VolumeId(uuid::Uuid::nil()));
    let _ = tags::read(&parameters, "volume");
    for filter in filters::read(&parameters, &FILTER_NAMES).unwrap_or_default() {
        let _ = filter.matches_any(&["vol-0123456789abcdef0".to_owned(), String::new()]);
        let _ = filter.exact();
    }
    if let Ok(ids) = parameters.list("VolumeId") {
        let _ = page::read(&parameters, PAGE_MAX, &ids, "volumes");
    }
}
