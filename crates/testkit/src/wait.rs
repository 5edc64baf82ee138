//! Waiting for a condition, never for a duration.

use std::time::{Duration, Instant};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `condition` answers something.
///
/// # Panics
/// When it has not within the deadline; the message says what was awaited.
pub fn until<T>(awaited: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            started.elapsed() < deadline,
            "{awaited}: not within {} s",
            deadline.as_secs()
        );
        std::thread::sleep(PAUSE);
    }
}
