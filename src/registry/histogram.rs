//! Histograms: classic buckets, and native ones beside them.
//!
//! Native buckets follow the Prometheus specification of native histograms
//! (<https://prometheus.io/docs/specs/native_histograms/>), with the details of
//! the Go client, which dashboards were made with: where a value next to a
//! bound falls, which gaps a span bridges, when resolution is given up. A
//! series of Airflow fills a handful of its thousands of possible buckets, so
//! they are kept as short sorted lists.

use std::sync::Arc;

use super::HistogramOptions;

/// Sum, and counts by bucket.
#[derive(Debug)]
pub struct Histogram {
    options: Arc<HistogramOptions>,
    count: u64,
    sum: f64,
    /// One for each bound, not cumulative; what is above the last is only in
    /// `count`.
    buckets: Box<[u64]>,
    native: Option<Native>,
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
        Histogram {
            count: 0,
            sum: 0.0,
            buckets: vec![0; options.buckets.len()].into_boxed_slice(),
            native: Native::new(options.native_bucket_factor),
            options,
        }
    }

    /// Adds `count` observations of `value`.
    ///
    /// Not a number is above every bound and in no native bucket; it is counted
    /// and spoils the sum.
    pub fn observe(&mut self, value: f64, count: u64) {
        if count == 0 {
            return;
        }
        self.count += count;
        self.sum += value * count as f64;
        if value.is_nan() {
            return;
        }
        let bounds = &self.options.buckets;
        let bucket = bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            *bucket += count;
        }
        if let Some(native) = &mut self.native {
            native.observe(value, count, self.options.native_buckets_max);
        }
    }

    /// Copies the counts.
    pub fn read(&self) -> HistogramReading {
        let mut cumulative = 0;
        let bounds = self.options.buckets.iter();
        let buckets = bounds.zip(&self.buckets).map(|(bound, count)| {
            cumulative += count;
            (*bound, cumulative)
        });
        HistogramReading {
            count: self.count,
            sum: self.sum,
            buckets: buckets.collect(),
            native: self.native.as_ref().map(Native::read),
        }
    }
}

/// The lowest and highest resolutions.
const SCHEMA_MIN: i8 = -4;
const SCHEMA_MAX: i8 = 8;

/// 2^-128, which bounds the zero bucket.
const ZERO_THRESHOLD: f64 = f64::from_bits((1023 - 128) << 52);

/// Gaps of so many empty buckets do not end a span: their zeros take no more
/// room than a new span.
const GAP_MAX: i32 = 2;

#[derive(Debug)]
struct Native {
    schema: i8,
    zero_count: u64,
    negative: Buckets,
    positive: Buckets,
}

impl Native {
    /// With the lowest resolution at which a bucket grows by no more than
    /// `factor`; none if that is no growth.
    fn new(factor: f64) -> Option<Native> {
        if factor.is_nan() || factor <= 1.0 {
            return None;
        }
        // The conversion to an integer saturates.
        let schema = -(factor.log2().log2().floor() as i8).clamp(-SCHEMA_MAX, -SCHEMA_MIN);
        Some(Native {
            schema,
            zero_count: 0,
            negative: Buckets::default(),
            positive: Buckets::default(),
        })
    }

    /// Adds to the bucket of `value`, which is a number, then halves the
    /// resolution while there are more than `buckets_max` buckets (if not 0),
    /// at most once for each observation.
    fn observe(&mut self, value: f64, count: u64, buckets_max: u32) {
        let index = bucket_index(value.abs(), self.schema);
        if value > ZERO_THRESHOLD {
            self.positive.add(index, count);
        } else if value < -ZERO_THRESHOLD {
            self.negative.add(index, count);
        } else {
            self.zero_count += count;
        }
        for _ in 0..count {
            let buckets = self.positive.0.len() + self.negative.0.len();
            if buckets_max == 0 || buckets <= buckets_max as usize || self.schema == SCHEMA_MIN {
                break;
            }
            self.schema -= 1;
            self.negative.halve();
            self.positive.halve();
        }
    }

    fn read(&self) -> NativeReading {
        NativeReading {
            schema: i32::from(self.schema),
            zero_threshold: ZERO_THRESHOLD,
            zero_count: self.zero_count,
            negative: self.negative.spans(),
            positive: self.positive.spans(),
        }
    }
}

/// Indices of buckets, ascending, with their counts, which are not zero.
#[derive(Debug, Default)]
struct Buckets(Vec<(i32, u64)>);

impl Buckets {
    fn add(&mut self, index: i32, count: u64) {
        match self.0.binary_search_by_key(&index, |(index, _)| *index) {
            Ok(at) => self.0[at].1 += count,
            Err(at) => self.0.insert(at, (index, count)),
        }
    }

    /// Joins each bucket of an odd index with the next one.
    fn halve(&mut self) {
        for (index, _) in &mut self.0 {
            *index = shift_right_up(*index, 1);
        }
        self.0.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
    }

    fn spans(&self) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let mut next_index = 0;
        for &(index, count) in &self.0 {
            let gap = index - next_index;
            match spans.last_mut() {
                Some(span) if gap <= GAP_MAX => {
                    span.counts.extend((0..gap).map(|_| 0));
                    span.counts.push(count);
                }
                _ => spans.push(Span {
                    offset: gap,
                    counts: vec![count],
                }),
            }
            next_index = index + 1;
        }
        spans
    }
}

/// The index of the native bucket of a magnitude above zero: bucket `i` ends
/// with, and includes, 2^(i × 2^-schema). Infinity has the bucket after the one
/// of the largest number.
fn bucket_index(magnitude: f64, schema: i8) -> i32 {
    let (fraction, exponent) = split(magnitude.min(f64::MAX));
    let finest = (exponent - 1) * BOUNDS.len() as i32
        + BOUNDS.partition_point(|bound| *bound < fraction) as i32;
    let index = shift_right_up(finest, (SCHEMA_MAX - schema) as u32);
    index + i32::from(magnitude.is_infinite())
}

/// `number / 2^bits`, rounded up.
fn shift_right_up(number: i32, bits: u32) -> i32 {
    -(-number >> bits)
}

/// A finite magnitude as a fraction from 0.5 up to but not including 1, and an
/// exponent of two (C's `frexp`). Zero gives something that nobody looks at.
fn split(magnitude: f64) -> (f64, i32) {
    const FRACTION_BITS: u32 = 52;
    const BIAS_OF_HALF: u64 = 1022;
    // A denormal is moved to where it has an exponent of its own.
    let (bits, moved) = if magnitude < f64::MIN_POSITIVE {
        ((magnitude * 2_f64.powi(54)).to_bits(), 54)
    } else {
        (magnitude.to_bits(), 0)
    };
    let exponent = (bits >> FRACTION_BITS) as i32 - BIAS_OF_HALF as i32 - moved;
    let fraction = bits & ((1 << FRACTION_BITS) - 1) | BIAS_OF_HALF << FRACTION_BITS;
    (f64::from_bits(fraction), exponent)
}

/// The lower bounds of the buckets of the highest resolution from 0.5 to 1;
/// every second is one of the resolution below, and so on down.
///
/// Each resolution adds the bounds halfway between those of the one below, as
/// a product. The products are the Go client's, which are up to four units in
/// the last place off the true powers, so a value right at a bound falls into
/// the same bucket as there.
static BOUNDS: [f64; 1 << SCHEMA_MAX] = {
    // 2^(1/2), 2^(1/4) and so on; the first is one unit too small there.
    const FACTORS: [f64; SCHEMA_MAX as usize] = [
        std::f64::consts::SQRT_2.next_down(),
        1.189_207_115_002_721,
        1.090_507_732_665_257_7,
        1.044_273_782_427_413_8,
        1.021_897_148_654_116_6,
        1.010_889_286_051_700_5,
        1.005_429_901_112_802_7,
        1.002_711_275_050_202_5,
    ];
    let mut bounds = [0.5; 1 << SCHEMA_MAX];
    let mut stride = bounds.len();
    let mut schema = 0;
    while schema < FACTORS.len() {
        let mut at = 0;
        while at < bounds.len() {
            bounds[at + stride / 2] = bounds[at] * FACTORS[schema];
            at += stride;
        }
        stride /= 2;
        schema += 1;
    }
    bounds
};

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT_BOUNDS: [f64; 11] = [
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ];

    fn histogram(bounds: &[f64], factor: f64, max: u32) -> Histogram {
        Histogram::new(Arc::new(HistogramOptions {
            buckets: bounds.to_vec(),
            native_bucket_factor: factor,
            native_buckets_max: max,
        }))
    }

    fn read(bounds: &[f64], factor: f64, max: u32, values: &[f64]) -> HistogramReading {
        let mut histogram = histogram(bounds, factor, max);
        for value in values {
            histogram.observe(*value, 1);
        }
        histogram.read()
    }

    #[track_caller]
    fn check_classic(values: &[f64], counts: [u64; 3], count: u64) {
        let reading = read(&[-1.0, 1.0, 2.0], 1.0, 0, values);
        let cumulative: Vec<u64> = reading.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(cumulative, counts);
        assert_eq!(reading.count, count);
        assert_eq!(reading.native, None);
    }

    #[test]
    fn classic_bounds_are_inclusive_and_counts_cumulative() {
        check_classic(&[], [0, 0, 0], 0);
        check_classic(&[-1.0, 1.0, 2.0], [1, 2, 3], 3);
        check_classic(&[-1.1, -0.9, 1.1, 2.1], [1, 2, 3], 4);
        check_classic(&[f64::NEG_INFINITY, f64::INFINITY], [1, 1, 1], 2);
        check_classic(&[f64::NAN, 0.0], [0, 1, 1], 2);
    }

    #[test]
    fn a_weight_counts_as_so_many_observations() {
        let mut histogram = histogram(&[1.0], 2.0, 0);
        histogram.observe(0.5, 10);
        histogram.observe(f64::INFINITY, 0);
        let reading = histogram.read();
        assert_eq!((reading.count, reading.sum), (10, 5.0));
        assert_eq!(reading.buckets, [(1.0, 10)]);
        let native = reading.native.unwrap();
        assert_eq!(native.positive, [span(-1, &[10])]);
    }

    fn span(offset: i32, counts: &[u64]) -> Span {
        Span {
            offset,
            counts: counts.to_vec(),
        }
    }

    /// Observes values natively and compares with what the Go client makes of
    /// them.
    #[track_caller]
    fn check_native(
        (factor, max): (f64, u32),
        values: &[f64],
        (schema, zero_count): (i32, u64),
        negative: &[Span],
        positive: &[Span],
    ) {
        let native = read(&DEFAULT_BOUNDS, factor, max, values).native;
        let expect = NativeReading {
            schema,
            zero_threshold: 2_f64.powi(-128),
            zero_count,
            negative: negative.to_vec(),
            positive: positive.to_vec(),
        };
        assert_eq!(native, Some(expect));
    }

    #[test]
    fn native_buckets() {
        let smooth = (1.1, 256);
        check_native(smooth, &[], (3, 0), &[], &[]);
        check_native(smooth, &[0.0, -0.0, 5e-324], (3, 3), &[], &[]);
        check_native(smooth, &[f64::NAN], (3, 0), &[], &[]);
        check_native(
            smooth,
            &[1.0, 1.05, 2.0, 2.1, -0.5],
            (3, 0),
            &[span(-8, &[1])],
            &[span(0, &[1, 1]), span(6, &[1, 1])],
        );
        // Two empty buckets are bridged, three are not.
        check_native(
            (2.0, 0),
            &[1.0, 8.0, 128.0],
            (0, 0),
            &[],
            &[span(0, &[1, 0, 0, 1]), span(3, &[1])],
        );
        check_native(
            (2.0, 0),
            &[f64::MAX, f64::INFINITY, f64::NEG_INFINITY],
            (0, 0),
            &[span(1025, &[1])],
            &[span(1024, &[1, 1])],
        );
        // The zero bucket includes its threshold.
        let threshold = 2_f64.powi(-128);
        check_native(
            (2.0, 0),
            &[threshold, -threshold, threshold.next_up()],
            (0, 2),
            &[],
            &[span(-127, &[1])],
        );
    }

    #[test]
    fn resolution_is_halved_when_there_are_too_many_buckets() {
        let values = [0.1, 0.2, 0.3, 1.0, 1.5, 3.0, -3.0];
        check_native(
            (2.0, 4),
            &values,
            (-1, 0),
            &[span(1, &[1])],
            &[span(-1, &[2, 2, 2])],
        );
        // Wide apart, one step does not help; the next observation takes the
        // next step, and a weight of two is two observations.
        let mut histogram = histogram(&[], 2.0, 1);
        let schema = |histogram: &Histogram| histogram.read().native.unwrap().schema;
        histogram.observe(1.0, 1);
        histogram.observe(1e9, 1);
        assert_eq!(schema(&histogram), -1);
        histogram.observe(1.0, 2);
        assert_eq!(schema(&histogram), -3);
        histogram.observe(0.0, 1_000_000_000);
        assert_eq!(schema(&histogram), -4);
    }

    #[test]
    fn the_schema_follows_from_the_factor() {
        let schema = |factor| Native::new(factor).map(|native| native.schema);
        for (factor, expect) in [
            (1.1, 3),
            (1.5, 1),
            (2.0, 0),
            (4.0, -1),
            (65536.0, -4),
            (1e300, -4),
            (f64::INFINITY, -4),
            (1.003, 8),
            (1.000_000_000_1, 8),
            (1.0_f64.next_up(), 8),
        ] {
            assert_eq!(schema(factor), Some(expect), "{factor}");
        }
        for factor in [1.0, 0.0, -2.0, f64::NAN] {
            assert_eq!(schema(factor), None, "{factor}");
        }
    }

    #[test]
    fn bounds_halve_each_other() {
        assert!(BOUNDS.is_sorted_by(|a, b| a < b));
        for (at, bound) in BOUNDS.iter().enumerate() {
            let exact = 2_f64.powf(at as f64 / 256.0 - 1.0);
            assert!((bound - exact).abs() < 5e-16, "{at}");
        }
    }

    #[test]
    fn little_data_takes_little_memory() {
        let mut histogram = histogram(&DEFAULT_BOUNDS, 1.1, 256);
        for value in [0.1, 0.2, 0.25, 3.0] {
            histogram.observe(value, 1);
        }
        let native = histogram.native.as_ref().unwrap();
        let bytes = size_of::<Histogram>()
            + size_of_val(&*histogram.buckets)
            + (native.positive.0.capacity() + native.negative.0.capacity())
                * size_of::<(i32, u64)>();
        assert!(bytes <= 300, "{bytes}");
    }
}
