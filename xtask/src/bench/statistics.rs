//! Medians and percentiles.

use std::time::Duration;

/// The value below which `percent` of the samples lie, in milliseconds; 0 without samples.
pub fn percentile_ms(samples: &mut [Duration], percent: f64) -> f64 {
    samples.sort_unstable();
    let Some(last) = samples.len().checked_sub(1) else {
        return 0.0;
    };
    let index = (last as f64 * percent / 100.0).round() as usize;
    samples[index].as_secs_f64() * 1000.0
}

/// The middle of the figures; the upper one of an even number.
///
/// # Panics
/// Without figures.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
