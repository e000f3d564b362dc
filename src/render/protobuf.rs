//! The messages of `io.prometheus.client`, and their delimited encoding.
//!
//! Field numbers are those of `metrics.proto` in
//! <https://github.com/prometheus/client_model>; fields that this exporter never
//! fills (exemplars, float histograms, units) are left out. Only this format
//! carries native histograms and creation times.

use std::io::{self, Write};

use prost::{Enumeration, Message};

use super::Encoder;
use super::chunks::Chunks;
use crate::registry::{HistogramReading, Kind, Reading, Span, SummaryReading};

/// A family; all series of a name.
#[derive(Clone, PartialEq, Message)]
pub(super) struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(super) help: Option<String>,
    #[prost(enumeration = "MetricType", optional, tag = "3")]
    pub(super) r#type: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    pub(super) metric: Vec<Metric>,
}

/// The kind of a family, of those that occur here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub(super) enum MetricType {
    Counter = 0,
    Gauge = 1,
    Summary = 2,
    Histogram = 4,
}

impl From<Kind> for MetricType {
    fn from(kind: Kind) -> MetricType {
        match kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Summary => MetricType::Summary,
            Kind::Histogram => MetricType::Histogram,
        }
    }
}

/// A series; one of the values is there.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub(super) label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    pub(super) gauge: Option<Gauge>,
    #[prost(message, optional, tag = "3")]
    pub(super) counter: Option<Counter>,
    #[prost(message, optional, tag = "4")]
    pub(super) summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    pub(super) histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LabelPair {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(super) value: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Gauge {
    #[prost(double, optional, tag = "1")]
    pub(super) value: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Counter {
    #[prost(double, optional, tag = "1")]
    pub(super) value: Option<f64>,
    #[prost(message, optional, tag = "3")]
    pub(super) created_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Summary {
    #[prost(uint64, optional, tag = "1")]
    pub(super) sample_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub(super) sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    pub(super) quantile: Vec<Quantile>,
    #[prost(message, optional, tag = "4")]
    pub(super) created_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Quantile {
    #[prost(double, optional, tag = "1")]
    pub(super) quantile: Option<f64>,
    #[prost(double, optional, tag = "2")]
    pub(super) value: Option<f64>,
}

/// A histogram with either kind of buckets or both. The deltas are the counts
/// of the native buckets, each less the one before.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    pub(super) sample_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub(super) sample_sum: Option<f64>,
    /// Without the bucket up to infinity, which is `sample_count`.
    #[prost(message, repeated, tag = "3")]
    pub(super) bucket: Vec<Bucket>,
    #[prost(sint32, optional, tag = "5")]
    pub(super) schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    pub(super) zero_threshold: Option<f64>,
    #[prost(uint64, optional, tag = "7")]
    pub(super) zero_count: Option<u64>,
    #[prost(message, repeated, tag = "9")]
    pub(super) negative_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, packed = "false", tag = "10")]
    pub(super) negative_delta: Vec<i64>,
    #[prost(message, repeated, tag = "12")]
    pub(super) positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, packed = "false", tag = "13")]
    pub(super) positive_delta: Vec<i64>,
    #[prost(message, optional, tag = "15")]
    pub(super) created_timestamp: Option<Timestamp>,
}

/// A classic bucket.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Bucket {
    #[prost(uint64, optional, tag = "1")]
    pub(super) cumulative_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub(super) upper_bound: Option<f64>,
}

/// Consecutive native buckets.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BucketSpan {
    #[prost(sint32, optional, tag = "1")]
    pub(super) offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    pub(super) length: Option<u32>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

impl MetricFamily {
    /// A family without series.
    pub(super) fn head(name: &str, help: &str, kind: Kind) -> MetricFamily {
        MetricFamily {
            name: Some(name.to_owned()),
            help: Some(help.to_owned()),
            r#type: Some(MetricType::from(kind).into()),
            metric: Vec::new(),
        }
    }
}

impl Metric {
    /// A series, by what an encoder is given.
    pub(super) fn new<'a>(
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        created_ms: Option<u64>,
        reading: &Reading,
    ) -> Metric {
        let label = labels.map(|(name, value)| LabelPair {
            name: Some(name.to_owned()),
            value: Some(value.to_owned()),
        });
        let mut metric = Metric {
            label: label.collect(),
            ..Metric::default()
        };
        let created_timestamp = created_ms.map(Timestamp::from_ms);
        match reading {
            Reading::Counter(value) => {
                metric.counter = Some(Counter {
                    value: Some(*value),
                    created_timestamp,
                });
            }
            Reading::Gauge(value) => {
                metric.gauge = Some(Gauge {
                    value: Some(*value),
                });
            }
            Reading::Summary(reading) => {
                metric.summary = Some(summary(reading, created_timestamp));
            }
            Reading::Histogram(reading) => {
                metric.histogram = Some(histogram(reading, created_timestamp));
            }
        }
        metric
    }
}

fn summary(reading: &SummaryReading, created_timestamp: Option<Timestamp>) -> Summary {
    let quantiles = reading.quantiles().into_iter();
    let quantile = quantiles.map(|(quantile, value)| Quantile {
        quantile: Some(quantile),
        value: Some(value),
    });
    Summary {
        sample_count: Some(reading.count),
        sample_sum: Some(reading.sum),
        quantile: quantile.collect(),
        created_timestamp,
    }
}

fn histogram(reading: &HistogramReading, created_timestamp: Option<Timestamp>) -> Histogram {
    let bucket = reading.buckets.iter().map(|(bound, count)| Bucket {
        cumulative_count: Some(*count),
        upper_bound: Some(*bound),
    });
    let mut histogram = Histogram {
        sample_count: Some(reading.count),
        sample_sum: Some(reading.sum),
        bucket: bucket.collect(),
        created_timestamp,
        ..Histogram::default()
    };
    if let Some(native) = &reading.native {
        histogram.schema = Some(native.schema);
        histogram.zero_threshold = Some(native.zero_threshold);
        histogram.zero_count = Some(native.zero_count);
        (histogram.negative_span, histogram.negative_delta) = native_buckets(&native.negative);
        (histogram.positive_span, histogram.positive_delta) = native_buckets(&native.positive);
    }
    histogram
}

fn native_buckets(spans: &[Span]) -> (Vec<BucketSpan>, Vec<i64>) {
    let bucket_spans = spans.iter().map(|span| BucketSpan {
        offset: Some(span.offset),
        length: Some(span.counts.len() as u32),
    });
    let mut before = 0;
    let counts = spans.iter().flat_map(|span| &span.counts);
    let deltas = counts.map(|count| {
        let delta = count.wrapping_sub(before).cast_signed();
        before = *count;
        delta
    });
    (bucket_spans.collect(), deltas.collect())
}

impl Timestamp {
    fn from_ms(ms: u64) -> Timestamp {
        Timestamp {
            // Milliseconds have a thousand times the range.
            seconds: (ms / 1000).cast_signed(),
            nanos: (ms % 1000) as i32 * 1_000_000,
        }
    }
}

/// `MetricFamily` messages, each behind its length as a varint.
pub(super) struct Delimited<'a> {
    chunks: Chunks<'a>,
    /// The family so far, whose length is not known before it ends.
    family: Vec<u8>,
}

impl<'a> Delimited<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Delimited<'a> {
        Delimited {
            chunks: Chunks::new(out),
            family: Vec::new(),
        }
    }
}

/// A message may be encoded in parts, one after the other: that is how protobuf
/// merges messages. So a family need not be built before it is encoded.
impl Encoder for Delimited<'_> {
    fn begin_family(&mut self, name: &str, help: &str, kind: Kind) -> io::Result<()> {
        self.family.clear();
        MetricFamily::head(name, help, kind).encode(&mut self.family)?;
        Ok(())
    }

    fn series<'a>(
        &mut self,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        created_ms: Option<u64>,
        reading: &Reading,
    ) -> io::Result<()> {
        let part = MetricFamily {
            metric: vec![Metric::new(labels, created_ms, reading)],
            ..MetricFamily::default()
        };
        part.encode(&mut self.family)?;
        Ok(())
    }

    fn end_family(&mut self) -> io::Result<()> {
        prost::encode_length_delimiter(self.family.len(), &mut self.chunks.bytes)?;
        self.chunks.append(&self.family)
    }

    fn finish(self) -> io::Result<()> {
        self.chunks.finish()
    }
}
