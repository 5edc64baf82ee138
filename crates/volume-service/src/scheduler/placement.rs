//! Which backends are tried for a volume, in which order, and why the others are not.

use std::fmt;

use super::capabilities::capabilities;
use super::space::{Allocation, needed_bytes};
use super::specs::{self, Unmet};
use crate::model::backend::{Backend, BackendState, BackendUse};
use crate::model::flavor::{FlavorFacts, ZONES_SPEC, zone_names};
use crate::model::id::BackendId;

/// What is to be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The flavor asked for.
    pub flavor: &'a FlavorFacts,
    /// The zone asked for.
    pub zone: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// The backend that has what it is made from: a clone there takes no room and no time.
    pub source: Option<BackendId>,
}

/// How the candidates are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Policy {
    /// The flavor's own order: the first backend that can make the volume is used.
    #[default]
    FirstFit,
}

/// The scheduler's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    /// The backends to try, best first.
    pub candidates: Vec<BackendId>,
    /// The other backends that the flavor could use, in the same order, each with its reason.
    pub skipped: Vec<Skipped>,
}

/// A backend that is not tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Skipped {
    /// The backend.
    pub backend: BackendId,
    /// Why not.
    pub reason: SkipReason,
}

/// Why a backend is not tried.
#[derive(Clone, Debug, PartialEq)]
pub enum SkipReason {
    /// It belongs to another flavor, and this one has backends of its own.
    OtherFlavor,
    /// An administrator disabled it.
    Disabled,
    /// It is in another zone.
    OtherZone {
        /// Its zone.
        zone: String,
    },
    /// The flavor is for other zones.
    Zones {
        /// Those zones.
        allowed: Vec<String>,
    },
    /// It does not meet the flavor's extra specs.
    Specs(Unmet),
    /// It could not be connected.
    Unreachable {
        /// When that was last observed; microseconds since 1970.
        since_us: Option<i64>,
        /// What connecting failed with.
        text: String,
    },
    /// Its medium has too little room.
    TooSmall {
        /// Bytes that are free.
        has: u64,
        /// Bytes that the volume needs now.
        needs: u64,
    },
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SkipReason::Disabled => f.write_str("disabled"),
            SkipReason::OtherFlavor => f.write_str("of another flavor"),
            SkipReason::Zones { allowed } => {
                write!(f, "the flavor is for zone {} only", allowed.join(", "))
            }
            SkipReason::Specs(unmet) => write!(f, "does not meet the extra specs: {unmet}"),
            SkipReason::OtherZone { zone } => write!(f, "in zone {zone}"),
            SkipReason::Unreachable { since_us, text } => {
                f.write_str("unreachable")?;
                if let Some(time) = since_us.and_then(utc_second) {
                    write!(f, " since {time}")?;
                }
                if text.is_empty() {
                    return Ok(());
                }
                write!(f, ": {text}")
            }
            SkipReason::TooSmall { has, needs } => {
                write!(f, "too small: has {has} bytes free, needs {needs}")
            }
        }
    }
}

impl SkipReason {
    /// What a tenant may read of it: nothing about servers, paths, or what an administrator asks of backends.
    pub fn for_tenants(&self) -> String {
        match self {
            SkipReason::Unreachable { since_us, .. } => SkipReason::Unreachable {
                since_us: *since_us,
                text: String::new(),
            }
            .to_string(),
            SkipReason::Specs(_) => "does not meet the flavor's extra specs".to_owned(),
            _ => self.to_string(),
        }
    }
}

/// Orders the backends that may hold the volume and says why the others may not.
///
/// A flavor with backends of its own uses only those; one without uses any that meets its extra specs. What is not known (a backend that was never connected, space that was never
/// reported) does not rule a backend out: trying it is the only way to know.
pub fn place(policy: Policy, request: &Request<'_>, backends: &[Backend]) -> Placement {
    let mut ordered: Vec<&Backend> = backends
        .iter()
        .filter(|backend| is_for(request.flavor, backend))
        .collect();
    match policy {
        Policy::FirstFit => ordered.sort_by_key(|backend| (backend.position, backend.id)),
    }
    // A stable sort: the others keep their order.
    ordered.sort_by_key(|backend| request.source != Some(backend.id));
    let mut placement = Placement::default();
    for backend in ordered {
        match skip_reason(request, backend) {
            None => placement.candidates.push(backend.id),
            Some(reason) => placement.skipped.push(Skipped {
                backend: backend.id,
                reason,
            }),
        }
    }
    placement
}

/// Whether a volume of this flavor may lie on a backend, whatever room and connection it has at the moment; what a change of a
/// volume's flavor depends on.
///
/// # Errors
/// Why not.
pub fn may_hold(flavor: &FlavorFacts, backend: &Backend) -> Result<(), SkipReason> {
    if !is_for(flavor, backend) {
        return Err(SkipReason::OtherFlavor);
    }
    if let Some(listed) = flavor.specs.get(ZONES_SPEC) {
        let allowed = zone_names(listed);
        if !allowed.contains(&backend.zone) {
            return Err(SkipReason::Zones { allowed });
        }
    }
    let has = capabilities(backend);
    specs::satisfies(&flavor.specs, &has).map_err(SkipReason::Specs)?;
    if flavor.needs_encryption {
        let needs = [("encryption".to_owned(), "<is> True".to_owned())].into();
        specs::satisfies(&needs, &has).map_err(SkipReason::Specs)?;
    }
    Ok(())
}

fn is_for(flavor: &FlavorFacts, backend: &Backend) -> bool {
    !flavor.has_own_backends || backend.flavor_id == flavor.id
}

fn skip_reason(request: &Request<'_>, backend: &Backend) -> Option<SkipReason> {
    if backend.zone != request.zone {
        return Some(SkipReason::OtherZone {
            zone: backend.zone.clone(),
        });
    }
    if backend.usage == BackendUse::Disabled {
        return Some(SkipReason::Disabled);
    }
    if let Err(reason) = may_hold(request.flavor, backend) {
        return Some(reason);
    }
    if backend.state == BackendState::Unreachable {
        return Some(SkipReason::Unreachable {
            since_us: backend.observed_at_us,
            text: backend.failure.clone(),
        });
    }
    let is_clone = request.source == Some(backend.id);
    if is_clone && Allocation::of(backend) == Allocation::Thin {
        return None;
    }
    let has = backend
        .physical_size?
        .saturating_sub(backend.physical_utilisation?);
    let needs = needed_bytes(backend, request.size_bytes);
    (has < needs).then_some(SkipReason::TooSmall { has, needs })
}

fn utc_second(at_us: i64) -> Option<String> {
    let time = time::OffsetDateTime::from_unix_timestamp(at_us.div_euclid(1_000_000)).ok()?;
    time.format(&time::format_description::well_known::Rfc3339)
        .ok()
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::model::id::FlavorId;

    const GIB: u64 = 1 << 30;

    fn flavor(number: u128) -> FlavorId {
        FlavorId(Uuid::from_u128(number))
    }

    pub(in crate::scheduler) fn backend(id: i64) -> Backend {
        Backend {
            id: BackendId(id),
            flavor_id: flavor(1),
            flavor_label: "gold".to_owned(),
            zone: "nova".to_owned(),
            position: id,
            sr_type: "lvm".to_owned(),
            sr_uuid: Some(Uuid::from_u128(id as u128)),
            name_label: format!("SR-{id}"),
            name_description: String::new(),
            config: BTreeMap::new(),
            secrets: BTreeMap::new(),
            usage: BackendUse::Enabled,
            state: BackendState::Connected,
            failure: String::new(),
            physical_size: Some(100 * GIB),
            physical_utilisation: Some(0),
            virtual_allocation: Some(0),
            observed_at_us: Some(0),
            created_at_us: 0,
            capabilities: BTreeMap::new(),
        }
    }

    fn facts(number: u128, has_own_backends: bool) -> FlavorFacts {
        FlavorFacts {
            id: flavor(number),
            has_own_backends,
            specs: BTreeMap::new(),
            needs_encryption: false,
        }
    }

    fn request(gib: u64) -> Request<'static> {
        static GOLD: LazyLock<FlavorFacts> = LazyLock::new(|| facts(1, true));
        Request {
            flavor: &GOLD,
            zone: "nova".to_owned(),
            size_bytes: gib * GIB,
            source: None,
        }
    }

    #[test]
    fn the_flavors_order_decides() {
        let mut first = backend(7);
        first.position = 0;
        let mut foreign = backend(1);
        foreign.flavor_id = flavor(2);
        let placement = place(
            Policy::FirstFit,
            &request(1),
            &[backend(3), foreign, first, backend(2)],
        );
        assert_eq!(
            placement.candidates,
            [BackendId(7), BackendId(2), BackendId(3)]
        );
        assert!(placement.skipped.is_empty());
    }

    #[test]
    fn what_is_made_from_something_goes_where_that_is() {
        let mut full = backend(2);
        full.sr_type = "nfs".to_owned();
        full.physical_utilisation = full.physical_size;
        let all = [backend(1), full, backend(3)];
        let mut request = request(1);
        request.source = Some(BackendId(2));
        let placement = place(Policy::FirstFit, &request, &all);
        let expected = [BackendId(2), BackendId(1), BackendId(3)];
        assert_eq!(placement.candidates, expected, "a clone needs no room");
        request.source = Some(BackendId(9));
        let placement = place(Policy::FirstFit, &request, &all);
        assert_eq!(placement.candidates, [BackendId(1), BackendId(3)]);
    }

    #[test]
    fn every_reason_is_worded_for_people() {
        let mut disabled = backend(1);
        disabled.usage = BackendUse::Disabled;
        let mut unreachable = backend(2);
        unreachable.state = BackendState::Unreachable;
        unreachable.failure = "mount refused".to_owned();
        let mut elsewhere = backend(3);
        elsewhere.zone = "west".to_owned();
        let mut small = backend(4);
        small.physical_utilisation = Some(100 * GIB - 4096);
        let placement = place(
            Policy::FirstFit,
            &request(1),
            &[disabled, unreachable, elsewhere, small],
        );
        let words: Vec<String> = placement
            .skipped
            .iter()
            .map(|skipped| format!("{}: {}", skipped.backend, skipped.reason))
            .collect();
        assert_eq!(
            words,
            [
                "1: disabled",
                "2: unreachable since 1970-01-01T00:00:00Z: mount refused",
                "3: in zone west",
                "4: too small: has 4096 bytes free, needs 1082130432",
            ]
        );
        assert!(placement.candidates.is_empty());
    }

    #[test]
    fn thin_types_promise_more_than_they_hold() {
        let mut thin = backend(1);
        thin.sr_type = "nfs".to_owned();
        let placement = place(Policy::FirstFit, &request(5000), &[thin.clone()]);
        assert_eq!(placement.candidates, [BackendId(1)]);
        thin.physical_utilisation = thin.physical_size;
        let placement = place(Policy::FirstFit, &request(1), &[thin]);
        assert!(placement.candidates.is_empty(), "the medium is full");
    }

    #[test]
    fn what_was_never_observed_is_tried() {
        let mut new = backend(1);
        new.state = BackendState::New;
        new.physical_size = None;
        let placement = place(Policy::FirstFit, &request(5000), &[new]);
        assert_eq!(placement.candidates, [BackendId(1)]);
    }

    #[test]
    fn a_flavor_without_backends_takes_any_that_meets_its_specs() {
        let mut foreign = backend(1);
        foreign.flavor_id = flavor(2);
        foreign.sr_type = "nfs".to_owned();
        let mut late = backend(2);
        late.position = 9;
        let mut elsewhere = backend(3);
        elsewhere.zone = "west".to_owned();
        let all = [late, foreign, elsewhere];
        let mut free = facts(7, false);
        let placed = |facts: &FlavorFacts| {
            let request = Request {
                flavor: facts,
                ..request(1)
            };
            let placement = place(Policy::FirstFit, &request, &all);
            let skipped = placement.skipped.iter();
            let words: Vec<String> = skipped
                .map(|skipped| format!("{}: {}", skipped.backend, skipped.reason))
                .collect();
            (placement.candidates, words.join("; "))
        };
        let (candidates, skipped) = placed(&free);
        assert_eq!(candidates, [BackendId(1), BackendId(2)]);
        assert_eq!(skipped, "3: in zone west");
        free.specs
            .insert("storage_protocol".to_owned(), "lvm".to_owned());
        let (candidates, skipped) = placed(&free);
        assert_eq!(candidates, [BackendId(2)]);
        assert_eq!(
            skipped,
            "1: does not meet the extra specs: storage_protocol is \"nfs\", wanted \"lvm\"; 3: in zone west"
        );
        free.specs = [(ZONES_SPEC.to_owned(), "west".to_owned())].into();
        let (candidates, skipped) = placed(&free);
        assert!(candidates.is_empty());
        assert!(skipped.starts_with("1: the flavor is for zone west only; "));
        free.specs.clear();
        free.needs_encryption = true;
        let (candidates, skipped) = placed(&free);
        assert!(candidates.is_empty());
        assert!(
            skipped.contains("encryption is unknown, wanted"),
            "{skipped}"
        );
    }

    #[test]
    fn a_tenant_does_not_read_what_backends_are_asked_for() {
        let mut gold = facts(1, true);
        gold.specs
            .insert("storage_protocol".to_owned(), "tape".to_owned());
        let reason = may_hold(&gold, &backend(1)).expect_err("it is lvm");
        assert_eq!(
            reason.for_tenants(),
            "does not meet the flavor's extra specs"
        );
        let of_another = may_hold(&facts(2, true), &backend(1));
        assert_eq!(of_another, Err(SkipReason::OtherFlavor));
        assert_eq!(may_hold(&facts(2, false), &backend(1)), Ok(()));
    }

    prop_compose! {
        fn any_backend()(
            id in 0i64..20,
            position in 0i64..4,
            flavor_number in 1u128..3,
            west in any::<bool>(),
            sr_type in prop::sample::select(vec!["file", "nfs", "lvm", "iscsi", "strange"]),
            disabled in any::<bool>(),
            state in prop::sample::select(vec![
                BackendState::New, BackendState::Connected, BackendState::Unreachable,
            ]),
            size in prop::option::of(any::<u64>()),
            used in prop::option::of(any::<u64>()),
        ) -> Backend {
            let mut backend = backend(id);
            backend.position = position;
            backend.flavor_id = flavor(flavor_number);
            backend.zone = if west { "west" } else { "nova" }.to_owned();
            backend.sr_type = sr_type.to_owned();
            backend.usage = if disabled { BackendUse::Disabled } else { BackendUse::Enabled };
            backend.state = state;
            backend.physical_size = size;
            backend.physical_utilisation = used;
            backend
        }
    }

    proptest! {
        #[test]
        fn each_backend_of_the_flavor_appears_once(
            backends in prop::collection::vec(any_backend(), 0..20),
            gib in 0u64..100_000,
        ) {
            let request = request(gib);
            let placement = place(Policy::FirstFit, &request, &backends);
            let mut seen: Vec<BackendId> = placement.candidates.clone();
            seen.extend(placement.skipped.iter().map(|skipped| skipped.backend));
            seen.sort();
            let mut expected: Vec<BackendId> = backends
                .iter()
                .filter(|backend| is_for(request.flavor, backend))
                .map(|backend| backend.id)
                .collect();
            expected.sort();
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn a_smaller_volume_fits_wherever_a_larger_one_does(
            backends in prop::collection::vec(any_backend(), 0..20),
            gib in 1u64..100_000,
        ) {
            let larger = place(Policy::FirstFit, &request(gib), &backends);
            let smaller = place(Policy::FirstFit, &request(gib - 1), &backends);
            let mut rest = smaller.candidates.iter();
            for candidate in &larger.candidates {
                prop_assert!(rest.any(|id| id == candidate), "{} is kept, in order", candidate);
            }
        }

        #[test]
        fn the_order_of_rows_does_not_matter(
            backends in prop::collection::hash_map(0i64..20, any_backend(), 0..20),
            gib in 0u64..1000,
        ) {
            let mut rows: Vec<Backend> = backends
                .into_iter()
                .map(|(id, mut backend)| { backend.id = BackendId(id); backend })
                .collect();
            let one = place(Policy::FirstFit, &request(gib), &rows);
            rows.reverse();
            prop_assert_eq!(one, place(Policy::FirstFit, &request(gib), &rows));
        }
    }
}
