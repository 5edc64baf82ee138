//! Filters of lists that have several values: any of a filter's values must fit, and all of the filters.

/// Most values of one filter that the database is asked for; with more, what comes back is looked through.
pub const NARROWED_VALUES_MAX: usize = 32;
/// Most filters of the kind that the database is asked for: what passes these is little enough to be looked through.
pub const NARROWED_FILTERS_MAX: usize = 3;

/// Filters by exact values. Each entry of a list is one filter; one without values fits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnyOf {
    /// EC2 names.
    pub ec2_ids: Vec<Vec<String>>,
    /// EC2 names of what it was made from: a volume's snapshot, a snapshot's volume.
    pub source_ec2_ids: Vec<Vec<String>>,
    /// Labels of a volume's flavor.
    pub flavor_labels: Vec<Vec<String>>,
    /// Instances that a volume is attached to.
    pub instance_ids: Vec<Vec<String>>,
    /// Values of one key of the metadata.
    pub tags: Vec<(String, Vec<String>)>,
    /// Keys of the metadata.
    pub tag_keys: Vec<Vec<String>>,
}

impl AnyOf {
    /// True when the database may be asked for one more filter, and for so many values.
    pub fn has_room_for(&self, values: usize) -> bool {
        let filters = self.ec2_ids.len()
            + self.source_ec2_ids.len()
            + self.flavor_labels.len()
            + self.instance_ids.len()
            + self.tags.len()
            + self.tag_keys.len();
        filters < NARROWED_FILTERS_MAX && values <= NARROWED_VALUES_MAX
    }
}
