//! What is sent again, how often, and for how long.
//!
//! A question is asked again when its answer was lost. A change is sent once; who wants it repeated looks first whether it was
//! carried out: [`until`].

use std::time::{Duration, Instant};

use super::error::FilerError;

/// How often a question is asked, or a change that says that it can be repeated is tried.
const TRIES: usize = 4;

/// After this long nothing is asked or tried once more.
const REPEAT_PATIENCE: Duration = Duration::from_secs(15);

/// Pause before the first repetition; it doubles each time.
const PAUSE: Duration = Duration::from_millis(50);

/// Longest time for a change with its job and its repetitions.
pub const CHANGE_PATIENCE: Duration = Duration::from_secs(40);

/// Asks a question, or sends a change that may be carried out twice, again if its answer was lost or the filer was busy.
pub fn repeated<T>(mut attempt: impl FnMut() -> Result<T, FilerError>) -> Result<T, FilerError> {
    let (begun, mut pause) = (Instant::now(), PAUSE);
    for _ in 1..TRIES {
        match attempt() {
            Err(error)
                if (error.is_lost() || error.is_busy()) && begun.elapsed() < REPEAT_PATIENCE =>
            {
                tracing::debug!(error = error.chain_text(), "a call of a filer is repeated");
                std::thread::sleep(pause);
                pause *= 2;
            }
            result => return result,
        }
    }
    attempt()
}

/// Sends a change until `look` finds what it makes. What is there already is not made again.
pub fn until<T>(
    mut look: impl FnMut() -> Result<Option<T>, FilerError>,
    mut change: impl FnMut() -> Result<(), FilerError>,
) -> Result<T, FilerError> {
    let begun = Instant::now();
    let (mut pause, mut tries, mut failure) = (PAUSE, 0, None);
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if tries >= TRIES || begun.elapsed() >= CHANGE_PATIENCE {
            return Err(failure.unwrap_or(FilerError::NotThere));
        }
        tries += 1;
        match change() {
            Ok(()) => failure = None,
            Err(error) if error.is_lost() || error.is_busy() || error.is_duplicate() => {
                let text = error.chain_text();
                tracing::info!(
                    error = text,
                    "a change on a filer is looked for and tried again"
                );
                failure = Some(error);
                std::thread::sleep(pause);
                pause *= 2;
            }
            Err(error) => return Err(error),
        }
    }
}
