//! Every operation of the engine in random order on disks that lose power, against a model: writes, zeros, discards,
//! flushes, snapshots, clones, resizes, merges at rest and live, destruction, and failures of the nth change.
//!
//! The same world is the fuzz target `vhd_engine`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod disk;
mod merges;
mod recovery;
mod truth;
mod world;

use disk::Choices;

struct Seeded(u64);

impl Choices for Seeded {
    fn next(&mut self) -> Option<u64> {
        // xorshift64: the same story for the same seed.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Some(self.0 >> 8)
    }
}

/// `XENSM_ENGINE_SEEDS` makes it longer; a failure names the seed of its story.
#[test]
fn every_operation_survives_every_crash() {
    let seeds: u64 = std::env::var("XENSM_ENGINE_SEEDS").map_or(8, |seeds| seeds.parse().unwrap());
    let mut crashes = 0;
    for seed in 1..=seeds {
        let story = || world::play(&mut Seeded(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)), 150);
        match std::panic::catch_unwind(story) {
            Ok(survived) => crashes += survived,
            Err(panic) => {
                eprintln!("in the story of seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(
        crashes > seeds as usize,
        "{crashes} crashes in {seeds} stories"
    );
}
