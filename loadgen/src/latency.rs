//! Short times by the thousand, in microseconds.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

/// Longer times count as this long.
const MAX_US: u64 = 600_000_000;

/// An empty histogram, to a thousandth of each value.
pub fn histogram() -> Result<Histogram<u64>> {
    // One that grows by itself would cut off what `saturating_record` is given.
    Ok(Histogram::new_with_bounds(1, MAX_US, 3)?)
}

/// Adds one time.
pub fn record(histogram: &mut Histogram<u64>, time: Duration) {
    let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    histogram.saturating_record(us);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_are_kept() {
        let mut all = histogram().expect("bounds are good");
        for ms in [1, 20, 3000] {
            record(&mut all, Duration::from_millis(ms));
        }
        let at = |quantile| all.value_at_quantile(quantile) as f64 / 1e3;
        assert!((at(0.5) - 20.0).abs() < 0.1, "{}", at(0.5));
        assert!((at(1.0) - 3000.0).abs() < 10.0, "{}", at(1.0));
        record(&mut all, Duration::from_secs(100_000));
        assert_eq!(all.len(), 4);
    }
}
