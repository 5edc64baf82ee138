//! Waiting for a condition, never for a duration.

use std::time::{Duration, Instant};

/// Pause after the first look; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// Longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Looks until `condition` answers something.
///
/// # Panics
/// When it has not within the deadline; the message says what was awaited.
pub fn until<T>(awaited: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            started.elapsed() < deadline,
            "{awaited}: not within {} s",
            deadline.as_secs()
        );
        std::thread::sleep(pause);
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}
