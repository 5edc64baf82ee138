//! Which flavor a new volume has, and which zone that leaves it.

use super::known::Seen;
use super::volume_source::Origin;
use crate::db::{Transaction, flavors};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::flavor::Flavor;

/// The flavor that is asked for, if the project may use it, else the source's, else the project's default.
pub(super) fn flavor(
    tx: &mut Transaction<'_>,
    seen: &Seen,
    tenancy: &super::policy::Tenancy,
    project_id: &str,
    wanted: Option<&str>,
    origin: Option<&Origin>,
) -> Result<Flavor> {
    if let Some(wanted) = wanted {
        let found = seen.flavor(tx, tenancy.as_deref(), project_id, Some(wanted))?;
        return found.ok_or_else(|| Error::not_found(Subject::Flavor, wanted));
    }
    if let Some(id) = origin.and_then(|origin| origin.flavor_id) {
        return flavors::by_id(tx, id)?.ok_or_else(|| Error::not_found(Subject::Flavor, id));
    }
    let default = seen.flavor(tx, tenancy.as_deref(), project_id, None)?;
    default.ok_or_else(no_default)
}

/// The refusal of a request that names no flavor where there is no default.
pub(super) fn no_default() -> Error {
    Error::new(
        ErrorKind::Invalid,
        Subject::Flavor,
        "The request names no volume type, and there is none called default.",
    )
}

/// The zone of a volume of this flavor: the one that is asked for, else the default where the flavor allows it, else the
/// first that it does allow.
///
/// # Errors
/// `Invalid` when the flavor is not for the zone that is asked for, or for none that there is.
pub(super) fn zone(
    flavor: &Flavor,
    asked: Option<&String>,
    default_zone: &str,
    configured: &[String],
) -> Result<String> {
    if flavor.zones.is_empty() {
        return Ok(asked.map_or(default_zone, String::as_str).to_owned());
    }
    let allowed: Vec<&String> = flavor
        .zones
        .iter()
        .filter(|zone| configured.contains(zone))
        .collect();
    let Some(first) = allowed.first() else {
        return Err(Error::invalid(format!(
            "Volume type is only supported in these availability zones: {}",
            flavor.zones.join(", ")
        )));
    };
    match asked {
        Some(asked) if allowed.contains(&asked) => Ok(asked.clone()),
        Some(asked) => Err(invalid_zone(asked)),
        None if allowed.iter().any(|zone| *zone == default_zone) => Ok(default_zone.to_owned()),
        None => Ok((*first).clone()),
    }
}

/// The refusal of a zone that there is not, or not for this.
pub(super) fn invalid_zone(zone: &str) -> Error {
    Error::new(
        ErrorKind::Invalid,
        Subject::Zone,
        format!("Availability zone '{zone}' is invalid."),
    )
    .on(zone)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::id::FlavorId;

    #[test]
    fn a_flavor_may_be_for_some_zones_only() {
        let mut flavor = Flavor {
            id: FlavorId(Uuid::nil()),
            label: "gold".to_owned(),
            description: String::new(),
            is_public: true,
            qos_id: None,
            encryption: None,
            zones: Vec::new(),
            created_at_us: 0,
        };
        let names = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let configured = names(&["nova", "east", "west"]);
        let chosen = |flavor: &Flavor, asked: Option<&str>| {
            let asked = asked.map(str::to_owned);
            zone(flavor, asked.as_ref(), "nova", &configured).map_err(|error| error.public)
        };
        assert_eq!(chosen(&flavor, None), Ok("nova".to_owned()));
        assert_eq!(chosen(&flavor, Some("east")), Ok("east".to_owned()));
        flavor.zones = names(&["mars", "west", "nova"]);
        assert_eq!(chosen(&flavor, None), Ok("nova".to_owned()));
        assert_eq!(
            chosen(&flavor, Some("east")),
            Err("Availability zone 'east' is invalid.".to_owned())
        );
        flavor.zones = names(&["west"]);
        assert_eq!(chosen(&flavor, None), Ok("west".to_owned()));
        flavor.zones = names(&["mars"]);
        assert_eq!(
            chosen(&flavor, None),
            Err("Volume type is only supported in these availability zones: mars".to_owned())
        );
    }
}
