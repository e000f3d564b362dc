//! Summaries: sum, count, and quantiles over a sliding window.

use std::sync::Arc;

use super::SummaryOptions;
use crate::clock::Millis;

/// Sum and count since creation, observations of the window.
#[derive(Debug)]
pub struct Summary {
    options: Arc<SummaryOptions>,
}

/// A copy of a summary, to compute quantiles from outside its lock.
#[derive(Clone, Debug)]
pub struct SummaryReading {
    /// Observations since creation.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    options: Arc<SummaryOptions>,
}

impl Summary {
    /// An empty summary whose window starts `now`.
    pub fn new(options: Arc<SummaryOptions>, _now: Millis) -> Summary {
        Summary { options }
    }

    /// Adds `count` observations of `value`.
    pub fn observe(&mut self, _value: f64, _count: u64, _now: Millis) {}

    /// Copies sum, count and the window that ends at `now`.
    pub fn read(&mut self, _now: Millis) -> SummaryReading {
        SummaryReading {
            count: 0,
            sum: 0.0,
            options: Arc::clone(&self.options),
        }
    }
}

impl SummaryReading {
    /// Quantile and value for each quantile asked for, ascending; the values
    /// are NaN if the window is empty.
    pub fn quantiles(&self) -> Vec<(f64, f64)> {
        self.options
            .quantiles
            .iter()
            .map(|q| (*q, f64::NAN))
            .collect()
    }
}
