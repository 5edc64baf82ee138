//! Where this server answers otherwise than the recorded pool, and why.

use std::ops::RangeInclusive;

/// Steps of one scenario with one reason.
pub struct Exception {
    pub scenario: &'static str,
    pub steps: &'static [RangeInclusive<u32>],
    pub reason: &'static str,
}

const fn steps(
    scenario: &'static str,
    steps: &'static [RangeInclusive<u32>],
    reason: &'static str,
) -> Exception {
    Exception {
        scenario,
        steps,
        reason,
    }
}

/// Steps that are not sent.
pub const NOT_REPLAYED: &[Exception] = &[
    steps(
        "event-from-wait",
        &[2..=2],
        "waits 30 s for a second client; tests/events.rs has one",
    ),
    steps(
        "event-from-wait-quiet",
        &[1..=2],
        "waits 30 s for a second client; tests/events.rs has one",
    ),
    steps(
        "async-cancel",
        &[3..=4, 7..=7, 13..=15],
        "the recorded copy is one of data that was written past the API and takes seconds; here the VDI is empty and the copy may have ended before it is cancelled; tests/vdi_content.rs cancels one that is under way",
    ),
];

/// Steps whose answers differ.
pub const DIFFERENT: &[Exception] = &[
    steps(
        "fresh-pool-xmlrpc",
        &[20..=20],
        "a real pool keeps a secret of its own for telemetry",
    ),
    steps(
        "fresh-pool-jsonrpc",
        &[20..=20],
        "a real pool keeps a secret of its own for telemetry",
    ),
    steps(
        "sr-lifecycle",
        &[58..=58],
        "there is no high availability, so no SR can hold its state file",
    ),
    steps(
        "sr-forget-introduce",
        &[22..=22],
        "a PBD of a host that does not exist could never be plugged: it is refused",
    ),
    steps(
        "sr-forget-introduce",
        &[20..=20],
        "a real pool made the record while the PBD was not yet attached, and has not looked since: resize is missing",
    ),
    steps(
        "forget-introduce",
        &[8..=8],
        "a real pool keeps no names on a file SR; here they come back with the VDIs",
    ),
    steps(
        "sr-create-errors",
        &[4..=4],
        "the directory is in use by an SR that is attached: the error says so",
    ),
    steps(
        "sr-create-errors",
        &[10..=10, 12..=12],
        "a device that does not exist: SR.create tells the reference's number for it",
    ),
    steps(
        "sr-create-errors",
        &[14..=14, 16..=16],
        "the recorded host has no initiator name; here the first start makes one",
    ),
    steps(
        "sr-create-errors",
        &[17..=17],
        "the recorded pool lacks the plugin iscsi",
    ),
    steps(
        "sr-create-errors",
        &[18..=19],
        "the recorded host has no SCSI adapters, at which its plugin breaks; here that is told",
    ),
    steps(
        "sr-create-errors",
        &[24..=24],
        "the directory already is an SR that is attached; two SRs in one would share files",
    ),
    steps(
        "sr-destroy",
        &[11..=12],
        "about the SR that was not made twice in one directory",
    ),
    steps(
        "sr-create-errors",
        &[27..=27],
        "SR.probe of a directory works here",
    ),
    steps(
        "sr-create-errors",
        &[29..=29],
        "the error that the reference gives for types of the first interface",
    ),
    steps(
        "resize",
        &[15..=15],
        "a VDI grows online here, so that it cannot shrink is what is said",
    ),
    steps(
        "snapshot",
        &[6..=6, 20..=20],
        "the recorded pool had computed allowed_operations of a VDI that was found before its SR was attached, and not again",
    ),
    steps(
        "destroy",
        &[1..=1, 18..=19],
        "the same VDI, whose allowed_operations lack resize",
    ),
    steps(
        "misc",
        &[10..=10],
        "the same VDI, whose allowed_operations lack resize",
    ),
    steps(
        "misc",
        &[7..=7],
        "VDI.checksum is a hidden call of a pool to itself",
    ),
    steps(
        "cbt-data-destroy",
        &[11..=11],
        "the recorded pool takes the size of the log for that of the VDI; here it keeps the size that its bitmap is of",
    ),
    steps(
        "vbd-errors",
        &[39..=39, 41..=41, 44..=44, 46..=46, 66..=67],
        "the recording lets a VDI be plugged twice for writing and says not to trust it",
    ),
    steps("errors-xmlrpc", &[23..=24], "there is no class VIF"),
    steps(
        "secret",
        &[8..=8],
        "the recording was made twice on one pool, so the uuid was taken",
    ),
    steps(
        "populated-pool-xmlrpc",
        &[6..=6],
        "the recorded VBDs are those that were plugged twice",
    ),
    steps(
        "populated-pool-jsonrpc",
        &[6..=6],
        "the recorded VBDs are those that were plugged twice",
    ),
];
