//! How far a transfer is: one line on a terminal, nothing elsewhere.

use std::time::{Duration, Instant};

use crate::ui;

/// Between two looks at the line.
const STEP: Duration = Duration::from_millis(200);

const MIB: f64 = (1 << 20) as f64;

/// The progress of one transfer.
pub struct Progress {
    started: Instant,
    shown: Option<Instant>,
    total: Option<u64>,
    is_watched: bool,
    /// Bytes so far.
    pub done: u64,
}

impl Progress {
    /// Begins; `total` is in bytes, where it is known.
    pub fn new(total: Option<u64>) -> Self {
        Progress {
            started: Instant::now(),
            shown: None,
            total: total.filter(|total| *total > 0),
            is_watched: ui::is_watched(),
            done: 0,
        }
    }

    /// Counts bytes, and shows it now and then.
    pub fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.is_watched && self.shown.is_none_or(|shown| shown.elapsed() >= STEP) {
            self.shown = Some(Instant::now());
            ui::status(&self.line());
        }
    }

    /// Ends the line; returns the seconds that it took.
    pub fn finish(&mut self) -> f64 {
        if self.is_watched && self.shown.is_some() {
            ui::status(&self.line());
            ui::talk("");
        }
        self.started.elapsed().as_secs_f64()
    }

    fn line(&self) -> String {
        let done = self.done as f64 / MIB;
        let rate = done / self.started.elapsed().as_secs_f64().max(0.001);
        match self.total {
            Some(total) => {
                let share = (self.done as f64 / total as f64).min(1.0);
                let filled = (share * 30.0) as usize;
                format!(
                    "[{}{}] {:3.0} %  {done:.0} MiB  {rate:.0} MiB/s",
                    "#".repeat(filled),
                    ".".repeat(30 - filled),
                    share * 100.0
                )
            }
            None => format!("{done:.0} MiB  {rate:.0} MiB/s"),
        }
    }
}
