//! Summaries: sum, count, and quantiles over a sliding window.
//!
//! The window moves in steps, as it does in the Go client: `max_age` is cut
//! into `age_buckets` steps counted from the summary's creation, and a query
//! sees the observations of the current step and of the `age_buckets - 1` steps
//! before it. The client keeps a stream for each step still to come and adds
//! each observation to all of them; here an observation is kept once, in the
//! slot of its own step, and a query puts the slots of the window together. So
//! a summary that hears nothing costs nothing, and neither does one whose steps
//! are nanoseconds long.
//!
//! A task of Airflow that ends once an hour leaves one or two values in its
//! window. A slot therefore keeps values as they are, with their number, and
//! quantiles are exact order statistics. Only a slot with many different values
//! becomes a [`Sketch`], which is accurate to 0.8 % of a value.

mod sketch;

use std::cmp::Ordering;
use std::sync::Arc;

use super::SummaryOptions;
use crate::clock::Millis;
use sketch::Sketch;

/// More age buckets than this are treated as this many: the window then moves
/// in sixtieths of `max_age`, which nobody can tell on a graph, and the memory
/// of a busy summary stays bounded.
const AGE_BUCKETS_MAX: u32 = 60;

/// So many observations, less one, a slot keeps exactly whatever their values;
/// beyond, it stays exact while at most half as many are different. The Go
/// client is exact below 500 in a window.
const EXACT_MAX: usize = 2048;

/// Up to so many observations Go's sort is an insertion sort.
const INSERTION_SORT_MAX: usize = 12;

/// Sum and count since creation, observations of the window.
#[derive(Debug)]
pub struct Summary {
    options: Arc<SummaryOptions>,
    created: Millis,
    count: u64,
    sum: f64,
    /// One for each step of the window that has observations, oldest first.
    slots: Vec<Slot>,
}

/// A copy of a summary, to compute quantiles from outside its lock.
#[derive(Clone, Debug)]
pub struct SummaryReading {
    /// Observations since creation.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    options: Arc<SummaryOptions>,
    /// What the slots of the window hold: values in no order, and sketches.
    values: Vec<Weighted>,
    sketches: Vec<Sketch>,
}

impl Summary {
    /// An empty summary whose window starts `now`.
    pub fn new(options: Arc<SummaryOptions>, now: Millis) -> Summary {
        Summary {
            options,
            created: now,
            count: 0,
            sum: 0.0,
            slots: Vec::new(),
        }
    }

    /// Adds `count` observations of `value`. Infinities and not-a-number are
    /// values too.
    pub fn observe(&mut self, value: f64, count: u64, now: Millis) {
        if count == 0 {
            return;
        }
        self.count += count;
        self.sum += value * count as f64;
        if self.options.quantiles.is_empty() {
            return;
        }
        let step = self.forget(now);
        match self.slots.last_mut() {
            // The clock of another core may be a batch ahead.
            Some(slot) if slot.step >= step => slot.values.add(value, count),
            _ => {
                self.slots.reserve_exact(1);
                self.slots.push(Slot {
                    step,
                    values: Values::Exact(vec![(value, count)]),
                });
            }
        }
    }

    /// Copies sum, count and the window that ends at `now`.
    pub fn read(&mut self, now: Millis) -> SummaryReading {
        self.forget(now);
        let mut reading = SummaryReading {
            count: self.count,
            sum: self.sum,
            options: Arc::clone(&self.options),
            values: Vec::new(),
            sketches: Vec::new(),
        };
        for slot in &self.slots {
            match &slot.values {
                Values::Exact(values) => reading.values.extend(values),
                Values::Sketch(sketch) => reading.sketches.push(Sketch::clone(sketch)),
            }
        }
        reading
    }

    /// Drops the slots that have left the window; returns the current step.
    fn forget(&mut self, now: Millis) -> u64 {
        let steps = self.options.age_buckets.clamp(1, AGE_BUCKETS_MAX);
        let step_ns = (self.options.max_age / steps).as_nanos().max(1);
        // Five hundred years fit into the nanoseconds of a `u64`.
        let step_ns = u64::try_from(step_ns).unwrap_or(u64::MAX);
        let age_ns = now
            .0
            .saturating_sub(self.created.0)
            .saturating_mul(1_000_000);
        let step = age_ns / step_ns;
        let is_past = |slot: &Slot| slot.step.saturating_add(u64::from(steps)) <= step;
        if self.slots.first().is_some_and(is_past) {
            self.slots.retain(|slot| !is_past(slot));
        }
        step
    }
}

impl SummaryReading {
    /// Quantile and value for each quantile asked for, ascending; the values
    /// are NaN if the window is empty.
    ///
    /// The value of quantile `q` of `n` observations is the one that
    /// `max(ceil(q × n), 1)` of them do not exceed. It is exact for fewer than
    /// 500 observations and for more of few different values; for busier
    /// windows it comes from two-digit hdrhistograms and is within 0.8 % of
    /// that value, if that is not a hundred thousand times below the median.
    pub fn quantiles(&self) -> Vec<(f64, f64)> {
        let cells = self.cells();
        let total = cells.iter().map(|cell| cell.count).sum();
        let quantiles = self.options.quantiles.iter();
        quantiles
            .map(|quantile| (*quantile, value_at(&cells, rank(*quantile, total))))
            .collect()
    }

    /// The window in ascending order.
    fn cells(&self) -> Vec<Cell> {
        let Some((first, rest)) = self.sketches.split_first() else {
            let mut cells: Vec<Cell> = self.values.iter().copied().map(Cell::from).collect();
            sort(&mut cells);
            return cells;
        };
        let mut sum = first.clone();
        for sketch in rest {
            sum.absorb(sketch);
        }
        for (value, count) in &self.values {
            sum.add(*value, *count);
        }
        sum.cells()
    }
}

/// A value and how often it was observed.
type Weighted = (f64, u64);

/// The observations of one step.
#[derive(Debug)]
struct Slot {
    step: u64,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// In no order, the same value perhaps more than once.
    Exact(Vec<Weighted>),
    Sketch(Box<Sketch>),
}

impl Values {
    fn add(&mut self, value: f64, count: u64) {
        if let Values::Exact(values) = self {
            if make_room(values) {
                values.push((value, count));
                return;
            }
            *self = Values::Sketch(Box::new(Sketch::of(values)));
        }
        if let Values::Sketch(sketch) = self {
            sketch.add(value, count);
        }
    }
}

/// Makes room for one more value: first by joining equal ones, which leaves
/// them in order, and if that frees less than half, by growing. Returns false
/// if there are too many.
fn make_room(values: &mut Vec<Weighted>) -> bool {
    let capacity = values.capacity();
    if values.len() < capacity {
        return true;
    }
    if capacity <= INSERTION_SORT_MAX {
        // Their order still matters, see `sort`.
        values.reserve_exact(capacity.max(1));
        return true;
    }
    values.sort_unstable_by(|a, b| compare(a.0, b.0));
    values.dedup_by(|next, kept| {
        let same = compare(next.0, kept.0).is_eq();
        if same {
            kept.1 += next.1;
        }
        same
    });
    if values.len() > capacity / 2 {
        if capacity >= EXACT_MAX {
            return false;
        }
        values.reserve_exact(capacity * 2 - values.len());
    }
    true
}

/// Sorts the values of a window that were kept as they are.
///
/// Not-a-number has no place among numbers. The Go client sorts with `<` alone,
/// so in a small window, which it sorts by insertion, values do not move past
/// it. That is done here as well; in larger ones it comes first.
fn sort(cells: &mut [Cell]) {
    let total: u64 = cells.iter().map(|cell| cell.count).sum();
    if total > INSERTION_SORT_MAX as u64 {
        return cells.sort_unstable_by(|a, b| compare(a.low, b.low));
    }
    for end in 1..cells.len() {
        let mut at = end;
        while at > 0 && cells[at].low < cells[at - 1].low {
            cells.swap(at, at - 1);
            at -= 1;
        }
    }
}

/// The order of observations: not-a-number, then by value.
fn compare(a: f64, b: f64) -> Ordering {
    b.is_nan().cmp(&a.is_nan()).then_with(|| a.total_cmp(&b))
}

/// Some observations that lie evenly between two values, or on one.
#[derive(Clone, Copy, Debug)]
struct Cell {
    low: f64,
    high: f64,
    count: u64,
}

impl From<Weighted> for Cell {
    fn from((value, count): Weighted) -> Cell {
        Cell {
            low: value,
            high: value,
            count,
        }
    }
}

impl Cell {
    /// The value of its observation number `at`, from 1 to `count`.
    fn value_at(&self, at: u64) -> f64 {
        if self.low < self.high {
            let share = match self.count {
                1 => 0.5,
                count => (at - 1) as f64 / (count - 1) as f64,
            };
            self.low + (self.high - self.low) * share
        } else {
            self.low
        }
    }
}

/// Which of `total` observations, from 1, is the quantile.
fn rank(quantile: f64, total: u64) -> u64 {
    // In floating point, as the Go client does it: 0.07 of 100 is the eighth.
    ((total as f64 * quantile).ceil() as u64).clamp(1, total.max(1))
}

/// The value of an observation of ascending cells; NaN if there is none.
fn value_at(cells: &[Cell], rank: u64) -> f64 {
    let mut rest = rank;
    for cell in cells {
        if rest <= cell.count {
            return cell.value_at(rest);
        }
        rest -= cell.count;
    }
    f64::NAN
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

    fn options(quantiles: &[f64], max_age_ms: u64, age_buckets: u32) -> Arc<SummaryOptions> {
        Arc::new(SummaryOptions {
            quantiles: quantiles.to_vec(),
            max_age: Duration::from_millis(max_age_ms),
            age_buckets,
        })
    }

    /// The values of the quantiles of what was observed at once.
    fn quantiles(quantiles: &[f64], values: &[f64]) -> Vec<f64> {
        let mut summary = Summary::new(options(quantiles, 1000, 5), Millis(0));
        for value in values {
            summary.observe(*value, 1, Millis(0));
        }
        let reading = summary.read(Millis(0));
        assert_eq!(reading.count, values.len() as u64);
        let quantiles = reading.quantiles();
        quantiles.into_iter().map(|(_, value)| value).collect()
    }

    #[track_caller]
    fn check(values: &[f64], expect: [f64; 3]) {
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let got = quantiles(&QUANTILES, values);
        assert_eq!(bits(&got), bits(&expect), "{got:?}");
    }

    #[test]
    fn small_windows_give_order_statistics() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        check(&[], [nan; 3]);
        check(&[7.0], [7.0; 3]);
        check(&[2.0, 1.0], [1.0, 2.0, 2.0]);
        check(&[3.0, 1.0, 2.0], [2.0, 3.0, 3.0]);
        check(
            &[-1.0, -2.0, 0.0, 5e-324, f64::MAX],
            [0.0, f64::MAX, f64::MAX],
        );
        check(&[inf, -inf, 1.0, inf], [1.0, inf, inf]);
        check(&[nan], [nan; 3]);
        check(&[1.0, nan, 2.0], [nan, 2.0, 2.0]);
        check(&[3.0, nan, 2.0, 1.0], [nan, 2.0, 2.0]);
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        check(&hundred, [50.0, 90.0, 99.0]);
        assert_eq!(quantiles(&[0.0, 0.07, 1.0], &hundred), [1.0, 8.0, 100.0]);
    }

    #[test]
    fn exact_below_five_hundred() {
        let values: Vec<f64> = (0..499).map(|i| f64::from(i * 7919 % 499) * 1e-3).collect();
        check(&values, [0.249, 0.449, 0.494]);
        // Any number of observations of not too many values.
        let values: Vec<f64> = (0..100_000).map(|i| f64::from(i % 200)).collect();
        check(&values, [99.0, 179.0, 197.0]);
    }

    #[test]
    fn a_weight_counts_as_so_many_observations() {
        let mut summary = Summary::new(options(&QUANTILES, 1000, 5), Millis(0));
        summary.observe(1.0, 1_000_000_000, Millis(0));
        summary.observe(2.0, 3_000_000_000, Millis(0));
        summary.observe(f64::INFINITY, 0, Millis(0));
        let reading = summary.read(Millis(0));
        assert_eq!((reading.count, reading.sum), (4_000_000_000, 7e9));
        assert_eq!(reading.quantiles(), [(0.5, 2.0), (0.9, 2.0), (0.99, 2.0)]);
    }

    /// Observes 1, 2, 3 … at the given times and reads the smallest of the
    /// window at `now`.
    #[track_caller]
    fn check_window(max_age: Duration, age_buckets: u32, times: &[u64], now: u64, expect: f64) {
        let options = Arc::new(SummaryOptions {
            quantiles: vec![0.0],
            max_age,
            age_buckets,
        });
        let created = Millis(1_000_000);
        let mut summary = Summary::new(options, created);
        for (at, time) in times.iter().enumerate() {
            summary.observe(at as f64 + 1.0, 1, Millis(created.0.saturating_add(*time)));
        }
        let reading = summary.read(Millis(created.0.saturating_add(now)));
        let value = reading.quantiles()[0].1;
        assert_eq!(value.to_bits(), expect.to_bits(), "{value}");
        assert_eq!(reading.count, times.len() as u64);
    }

    #[test]
    fn the_window_moves_in_steps() {
        let nan = f64::NAN;
        let second = Duration::from_secs(1);
        check_window(second, 5, &[0, 199, 200], 999, 1.0);
        check_window(second, 5, &[0, 199, 200], 1000, 3.0);
        check_window(second, 5, &[0, 199, 200], 1199, 3.0);
        check_window(second, 5, &[0, 199, 200], 1200, nan);
        check_window(second, 1, &[0, 999], 999, 1.0);
        check_window(second, 1, &[0, 999], 1000, nan);
        // A clock that is behind does not reach back.
        check_window(second, 5, &[500, 100], 1399, 1.0);
        check_window(second, 5, &[500, 100], 1400, nan);
    }

    #[test]
    fn steps_may_have_any_length_and_number() {
        let nan = f64::NAN;
        let (nano, century) = (
            Duration::from_nanos(60),
            Duration::from_secs(100 * 365 * 86_400),
        );
        for age_buckets in [1, 5, 1000, u32::MAX] {
            check_window(nano, age_buckets, &[0, 5], 5, 2.0);
            check_window(nano, age_buckets, &[0, 5], 6, nan);
            check_window(century, age_buckets, &[0, 5], 6, 1.0);
            check_window(Duration::MAX, age_buckets, &[0], 1 << 40, 1.0);
            check_window(nano, age_buckets, &[0], u64::MAX, nan);
        }
        check_window(Duration::from_secs(60), 1000, &[0, 1000], 59_999, 1.0);
        check_window(Duration::from_secs(60), 1000, &[0, 1000], 60_000, 2.0);
        check_window(nano, 0, &[0], 0, 1.0);
    }

    #[test]
    fn two_observations_take_little_memory() {
        let mut summary = Summary::new(options(&QUANTILES, 600_000, 5), Millis(0));
        summary.observe(1.0, 1, Millis(0));
        summary.observe(2.0, 1, Millis(300_000));
        let vectors: usize = summary
            .slots
            .iter()
            .map(|slot| match &slot.values {
                Values::Exact(values) => values.capacity() * size_of::<Weighted>(),
                Values::Sketch(_) => panic!("two values need no sketch"),
            })
            .sum();
        let slots = summary.slots.capacity() * size_of::<Slot>();
        let bytes = size_of::<std::sync::Mutex<Summary>>() + slots + vectors;
        assert!(bytes <= 200, "{bytes}");
    }

    #[test]
    fn without_quantiles_nothing_is_kept() {
        let mut summary = Summary::new(options(&[], 1000, 5), Millis(0));
        summary.observe(1.0, 1, Millis(0));
        let reading = summary.read(Millis(0));
        assert_eq!((reading.count, reading.sum), (1, 1.0));
        assert!(reading.quantiles().is_empty() && summary.slots.is_empty());
    }

    /// Quantile and the error in rank that the reference's default allows.
    const ALLOWED: [(f64, f64); 3] = [(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)];

    fn check_ranks(name: &str, mut value: impl FnMut() -> f64) {
        const COUNT: usize = 50_000;
        let mut summary = Summary::new(options(&QUANTILES, 5000, 5), Millis(0));
        let mut values: Vec<f64> = (0..COUNT).map(|_| value()).collect();
        for (at, value) in values.iter().enumerate() {
            // The last slot stays exact: 300 values.
            let time = if at + 300 < COUNT {
                at % 4 * 1000
            } else {
                4000
            };
            summary.observe(*value, 1, Millis(time as u64));
        }
        values.sort_by(f64::total_cmp);
        let quantiles = summary.read(Millis(4000)).quantiles();
        for ((quantile, value), (_, allowed)) in quantiles.into_iter().zip(ALLOWED) {
            let below = values.partition_point(|other| *other < value);
            let not_above = values.partition_point(|other| *other <= value);
            let rank = quantile * COUNT as f64;
            let error = (below as f64 - rank).max(rank - not_above as f64).max(0.0);
            let error = error / COUNT as f64;
            assert!(
                error <= allowed,
                "{name} {quantile}: {value} is off by {error}"
            );
        }
    }

    #[test]
    fn large_windows_keep_the_ranks_of_ordinary_data() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut uniform = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
        };
        let normal = {
            let mut uniform = uniform;
            move || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
        };
        let mut exponent = normal;
        check_ranks("uniform", uniform);
        check_ranks("shifted", || 1000.0 + 10.0 * uniform());
        check_ranks("negative", || -uniform());
        check_ranks("exponential", || -uniform().ln());
        check_ranks("tiny", || -uniform().ln() * 1e-300);
        check_ranks("pareto", || uniform().powf(-1.0 / 1.5));
        check_ranks("whole milliseconds", || {
            (uniform() * 900.0).round() / 1000.0
        });
        check_ranks("two modes", || {
            if uniform() < 0.6 {
                uniform()
            } else {
                3600.0 * uniform()
            }
        });
        check_ranks("normal", normal);
        check_ranks("log-normal", || (2.0 * exponent()).exp());
    }

    /// An observation after some time: milliseconds, value, count.
    fn observation() -> impl Strategy<Value = (u64, f64, u64)> {
        let value = prop_oneof![
            4 => (-20..20_i32).prop_map(f64::from),
            1 => any::<f64>(),
            1 => Just(f64::NAN),
        ];
        (prop_oneof![0..3_u64, 0..200_u64], value, 1..4_u64)
    }

    proptest! {
        #[test]
        fn windows_hold_what_a_naive_model_holds(
            max_age_ms in 1..300_u64,
            age_buckets in 1..8_u32,
            observations in prop::collection::vec(observation(), 0..120),
            pause_ms in 0..300_u64,
        ) {
            let wanted = [0.0, 0.1, 0.5, 0.99, 1.0];
            let mut summary = Summary::new(options(&wanted, max_age_ms, age_buckets), Millis(7));
            let step = |now: u64| (now - 7) * 1_000_000 / (max_age_ms * 1_000_000 / u64::from(age_buckets));
            let mut now = 7;
            let mut heard = Vec::new();
            for (after, value, count) in observations {
                now += after;
                summary.observe(value, count, Millis(now));
                heard.extend((0..count).map(|_| (step(now), value)));
            }
            now += pause_ms;
            heard.retain(|(at, _)| at + u64::from(age_buckets) > step(now));
            if heard.len() > INSERTION_SORT_MAX {
                heard.sort_by(|a, b| compare(a.1, b.1));
            } else {
                for end in 1..heard.len() {
                    let place = heard[..end].iter().rposition(|(_, before)| {
                        !matches!(heard[end].1.partial_cmp(before), Some(Ordering::Less))
                    });
                    heard[place.map_or(0, |place| place + 1)..=end].rotate_right(1);
                }
            }
            for (quantile, value) in summary.read(Millis(now)).quantiles() {
                let rank = (heard.len() as f64 * quantile).ceil() as usize;
                let expect = heard.get(rank.max(1) - 1).map_or(f64::NAN, |(_, value)| *value);
                prop_assert!(compare(value, expect).is_eq(), "{quantile}: {value}, not {expect}");
            }
        }

        #[test]
        fn sketches_are_within_a_bucket_and_in_order(
            values in prop::collection::vec(prop_oneof![0.001..1e6_f64, -1e3..-1e-3_f64], 600..1200),
        ) {
            let wanted: Vec<f64> = (0..=100).map(|percent| f64::from(percent) / 100.0).collect();
            let found = quantiles(&wanted, &values);
            let mut sorted = values;
            sorted.sort_by(f64::total_cmp);
            prop_assert!(found.is_sorted());
            prop_assert_eq!((found[0], found[100]), (sorted[0], sorted[sorted.len() - 1]));
            for (quantile, found) in wanted.iter().zip(found) {
                let exact = sorted[rank(*quantile, sorted.len() as u64) as usize - 1];
                prop_assert!((found - exact).abs() <= exact.abs() / 128.0, "{exact} as {found}");
            }
        }
    }
}
