//! Every operation of the engine on disks that lose power, against a model; the world of `crates/vhd/tests/engine`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/vhd/tests/engine/disk.rs"]
mod disk;
#[path = "../../crates/vhd/tests/engine/merges.rs"]
mod merges;
#[path = "../../crates/vhd/tests/engine/recovery.rs"]
mod recovery;
#[path = "../../crates/vhd/tests/engine/truth.rs"]
mod truth;
#[path = "../../crates/vhd/tests/engine/world.rs"]
mod world;

/// Operations that one input may have, so that it ends within the time limit.
const OPERATIONS: usize = 60;

struct Input<'a>(&'a [u8]);

impl disk::Choices for Input<'_> {
    fn next(&mut self) -> Option<u64> {
        let bytes = self.0.split_off(..self.0.len().min(4))?;
        let mut number = [0; 4];
        number[..bytes.len()].copy_from_slice(bytes);
        (!bytes.is_empty()).then(|| u32::from_le_bytes(number).into())
    }
}

fuzz_target!(|data: &[u8]| {
    world::play(&mut Input(data), OPERATIONS);
});
