//! A flavor: a quality of service with a name, backed by one or more backends.

use std::collections::BTreeMap;

use uuid::Uuid;

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
    /// True when every project may use it; else those that were given access.
    pub is_public: bool,
    /// The QoS specs of its volumes.
    pub qos_id: Option<Uuid>,
    /// Who encrypts its volumes; none when nobody does.
    pub encryption: Option<ControlLocation>,
    /// The zones that its volumes may be in; empty for all.
    pub zones: Vec<String>,
    /// Microseconds since 1970.
    pub created_at_us: i64,
}

/// The extra spec that restricts a flavor to zones.
pub const ZONES_SPEC: &str = "RESKEY:availability_zones";

/// The zones in the value of that spec.
pub fn zone_names(listed: &str) -> Vec<String> {
    let zones = listed.split(',').map(str::trim);
    zones
        .filter(|zone| !zone.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Who encrypts a volume's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlLocation {
    /// Whoever attaches it.
    FrontEnd,
    /// The backend.
    BackEnd,
}

impl ControlLocation {
    /// The word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            ControlLocation::FrontEnd => "front-end",
            ControlLocation::BackEnd => "back-end",
        }
    }

    /// Parses the word.
    pub fn parse(text: &str) -> Option<Self> {
        [ControlLocation::FrontEnd, ControlLocation::BackEnd]
            .into_iter()
            .find(|location| location.as_str() == text)
    }
}

/// What placing a volume of a flavor must know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlavorFacts {
    /// Its id.
    pub id: FlavorId,
    /// True when backends were added to it. Its volumes go to those only; without, to whatever the zone has.
    pub has_own_backends: bool,
    /// Its extra specs.
    pub specs: BTreeMap<String, String>,
    /// True when the backend is to encrypt its volumes.
    pub needs_encryption: bool,
}

/// How a flavor's volumes are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// Its id.
    pub id: Uuid,
    /// What encrypts: `luks`, or the name of a class.
    pub provider: String,
    /// Who does it.
    pub control_location: ControlLocation,
    /// The cipher: `aes-xts-plain64`.
    pub cipher: Option<String>,
    /// Bits of the key.
    pub key_size: Option<i64>,
    /// Microseconds since 1970.
    pub created_at_us: i64,
    /// Microseconds since 1970; that of its creation when it was never changed.
    pub updated_at_us: i64,
}
