//! A flavor: a quality of service with a name, backed by one or more backends.

use super::id::FlavorId;

/// A flavor (OpenStack's volume type, EC2's VolumeType).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flavor {
    /// Its id.
    pub id: FlavorId,
    /// Its name, unique.
    pub label: String,
    /// A sentence for people.
    pub description: String,
    /// Microseconds since 1970.
    pub created_at_us: i64,
}
