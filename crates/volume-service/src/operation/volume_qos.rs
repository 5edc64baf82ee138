//! The traffic that whoever uses a volume may make: the QoS specs of its type, and what EC2's requests asked of it.

use std::collections::BTreeMap;

use crate::app::volume_performance;
use crate::db::{Transaction, qos_specs};
use crate::error::Result;
use crate::model::volume::Volume;

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// Who is told what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct VolumeQos {
    /// The pool, in the VBD; empty for nothing.
    pub(super) pool: BTreeMap<String, String>,
    /// Whoever attaches the volume.
    pub(super) told: Option<BTreeMap<String, String>>,
}

/// Of a volume. A figure that the operator's QoS specs name is theirs.
pub(super) fn of_volume(tx: &mut Transaction<'_>, volume: &Volume) -> Result<VolumeQos> {
    let mut found = VolumeQos::default();
    if let Some(qos) = qos_specs::of_flavor(tx, volume.flavor_id)? {
        if qos.consumer.is_back_end() {
            found.pool.clone_from(&qos.specs);
        }
        found.told = qos.consumer.is_front_end().then_some(qos.specs);
    }
    let performance = volume_performance::of_volume(tx, volume)?;
    let figures = [
        ("total_iops_sec", performance.iops),
        (
            "total_bytes_sec",
            performance.throughput.map(|mib| mib.saturating_mul(MIB)),
        ),
    ];
    for (name, figure) in figures {
        let Some(figure) = figure else {
            continue;
        };
        for specs in [&mut found.pool, found.told.get_or_insert_default()] {
            specs
                .entry(name.to_owned())
                .or_insert_with(|| figure.to_string());
        }
    }
    Ok(found)
}
