//! Histograms: classic buckets, and native ones beside them.

use std::sync::Arc;

use super::HistogramOptions;

/// Sum, and counts by bucket.
#[derive(Debug)]
pub struct Histogram {
    options: Arc<HistogramOptions>,
}

/// A copy of a histogram.
#[derive(Clone, Debug)]
pub struct HistogramReading {
    /// Observations since creation.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Upper bound and cumulative count of each classic bucket, without `+Inf`,
    /// whose count is `count`.
    pub buckets: Vec<(f64, u64)>,
    /// The native buckets, if they are kept.
    pub native: Option<NativeReading>,
}

/// Native buckets as protobuf shows them.
#[derive(Clone, Debug, PartialEq)]
pub struct NativeReading {
    /// Resolution: a bucket is wider than the one below by 2^(2^-schema).
    pub schema: i32,
    /// Observations up to here, either sign, are zeros.
    pub zero_threshold: f64,
    /// How many.
    pub zero_count: u64,
    /// Negative buckets, from zero outwards.
    pub negative: Vec<Span>,
    /// Positive buckets, from zero outwards.
    pub positive: Vec<Span>,
}

/// Consecutive native buckets.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Buckets skipped since the span before; for the first its own index.
    pub offset: i32,
    /// Absolute counts of its buckets.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// An empty histogram.
    pub fn new(options: Arc<HistogramOptions>) -> Histogram {
        Histogram { options }
    }

    /// Adds `count` observations of `value`.
    pub fn observe(&mut self, _value: f64, _count: u64) {}

    /// Copies the counts.
    pub fn read(&self) -> HistogramReading {
        HistogramReading {
            count: 0,
            sum: 0.0,
            buckets: self.options.buckets.iter().map(|b| (*b, 0)).collect(),
            native: None,
        }
    }
}
