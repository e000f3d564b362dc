//! Many observations in little memory: logarithmic-linear buckets, kept by
//! hdrhistogram.
//!
//! hdrhistogram counts whole numbers, so magnitudes are counted in a unit, a
//! power of two far below the values met when the sketch was made. At two
//! significant digits each doubling of the value has 128 buckets, so a bucket
//! is at most 1/128 (0.8 %) of its values wide, and values are taken to lie
//! evenly within it. For smooth data the rank of a quantile read back is off by
//! far less than the Go client's 0.05, 0.01 and 0.001 at 0.5, 0.9 and 0.99; where
//! many observations share a few values closer together than 0.8 %, a value
//! between them may be shown. The smallest and the largest value of a sign are
//! exact.
//!
//! Bounds of the accuracy, from the median `m` of the sketch's first values: a
//! magnitude below `m` / 2^17 is only known to `m` / 2^24, and one above
//! `m` × 2^37 only to be above. More than four billion observations in one
//! bucket are shown as four billion.

use hdrhistogram::Histogram;

use super::{Cell, Weighted};

/// See the module's documentation. Takes 15 KiB, at most 29, for each sign that
/// occurs.
#[derive(Clone, Debug, Default)]
pub(super) struct Sketch {
    not_a_number: u64,
    negative_infinity: u64,
    negative: Option<Magnitudes>,
    zero: u64,
    positive: Option<Magnitudes>,
    positive_infinity: u64,
}

impl Sketch {
    /// A sketch of values in ascending order, made for values like them.
    pub(super) fn of(values: &[Weighted]) -> Sketch {
        let around_median_of = |side: &[Weighted]| {
            let median = side.get(side.len() / 2);
            median.map(|(value, _)| Magnitudes::around(value.abs()))
        };
        let finite = |(value, _): &&Weighted| value.is_finite();
        let finite: Vec<Weighted> = values.iter().filter(finite).copied().collect();
        let negatives = finite.partition_point(|(value, _)| *value < 0.0);
        let not_positives = finite.partition_point(|(value, _)| *value <= 0.0);
        let mut sketch = Sketch {
            negative: around_median_of(&finite[..negatives]),
            positive: around_median_of(&finite[not_positives..]),
            ..Sketch::default()
        };
        for (value, count) in values {
            sketch.add(*value, *count);
        }
        sketch
    }

    pub(super) fn add(&mut self, value: f64, count: u64) {
        if value.is_nan() {
            self.not_a_number += count;
        } else if value == f64::NEG_INFINITY {
            self.negative_infinity += count;
        } else if value == f64::INFINITY {
            self.positive_infinity += count;
        } else if value == 0.0 {
            self.zero += count;
        } else {
            let magnitude = value.abs();
            let side = if value < 0.0 {
                &mut self.negative
            } else {
                &mut self.positive
            };
            side.get_or_insert_with(|| Magnitudes::around(magnitude))
                .add(magnitude, count);
        }
    }

    /// Adds all observations of another sketch. Buckets of different units nest
    /// within each other, so this costs no more accuracy than the wider bucket.
    pub(super) fn absorb(&mut self, other: &Sketch) {
        self.not_a_number += other.not_a_number;
        self.negative_infinity += other.negative_infinity;
        self.zero += other.zero;
        self.positive_infinity += other.positive_infinity;
        for (side, other) in [
            (&mut self.negative, &other.negative),
            (&mut self.positive, &other.positive),
        ] {
            match (side, other) {
                (Some(side), Some(other)) => side.absorb(other),
                (side @ None, Some(other)) => *side = Some(other.clone()),
                (_, None) => {}
            }
        }
    }

    /// All observations in ascending order.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        let add_point = |cells: &mut Vec<Cell>, value: f64, count: u64| {
            if count > 0 {
                cells.push(Cell::from((value, count)));
            }
        };
        add_point(&mut cells, f64::NAN, self.not_a_number);
        add_point(&mut cells, f64::NEG_INFINITY, self.negative_infinity);
        if let Some(negative) = &self.negative {
            let mirrored = |cell: Cell| Cell {
                low: -cell.high,
                high: -cell.low,
                ..cell
            };
            cells.extend(negative.cells().into_iter().rev().map(mirrored));
        }
        add_point(&mut cells, 0.0, self.zero);
        if let Some(positive) = &self.positive {
            cells.extend(positive.cells());
        }
        add_point(&mut cells, f64::INFINITY, self.positive_infinity);
        cells
    }
}

/// Significant decimal digits.
const DIGITS: u8 = 2;

/// A unit is the typical value divided by so many doublings.
const UNITS_PER_MEDIAN: f64 = (1_u64 << 24) as f64;

/// Up to here, a thousand medians, hdrhistogram has buckets from the start, so
/// that it rarely grows.
const UNITS_EXPECTED: u64 = 1 << 34;

/// Up to here it grows.
const UNITS_MAX: u64 = (1 << 62) - 1;

/// Finite numbers above zero.
#[derive(Clone, Debug)]
struct Magnitudes {
    /// A power of two, so that scaling does not round.
    unit: f64,
    smallest: f64,
    largest: f64,
    counts: Histogram<u32>,
}

impl Magnitudes {
    /// None yet, but expected to be around `typical`.
    fn around(typical: f64) -> Magnitudes {
        const FRACTION: u64 = (1 << 52) - 1;
        let power_of_two = f64::from_bits(typical.to_bits() & !FRACTION);
        let smallest_denormal = f64::from_bits(1);
        let mut counts = Histogram::new_with_max(UNITS_EXPECTED, DIGITS)
            .expect("hdrhistogram takes two digits of any range");
        counts.auto(true);
        Magnitudes {
            unit: (power_of_two / UNITS_PER_MEDIAN).max(smallest_denormal),
            smallest: f64::INFINITY,
            largest: 0.0,
            counts,
        }
    }

    fn add(&mut self, magnitude: f64, count: u64) {
        self.smallest = self.smallest.min(magnitude);
        self.largest = self.largest.max(magnitude);
        // The conversion saturates.
        let units = ((magnitude / self.unit) as u64).min(UNITS_MAX);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let added = self.counts.record_n(units, count);
        debug_assert!(added.is_ok(), "it grows as needed: {added:?}");
    }

    fn absorb(&mut self, other: &Magnitudes) {
        for cell in other.cells() {
            self.add(cell.low + (cell.high - cell.low) / 2.0, cell.count);
        }
        self.smallest = self.smallest.min(other.smallest);
        self.largest = self.largest.max(other.largest);
    }

    fn cells(&self) -> Vec<Cell> {
        let recorded = self.counts.iter_recorded().map(|bucket| {
            let units = bucket.value_iterated_to();
            Cell {
                low: self.counts.lowest_equivalent(units) as f64 * self.unit,
                high: self.counts.next_non_equivalent(units) as f64 * self.unit,
                count: bucket.count_since_last_iteration(),
            }
        });
        let mut cells: Vec<Cell> = recorded.collect();
        if let Some(first) = cells.first_mut() {
            first.low = self.smallest;
            if first.count == 1 {
                first.high = self.smallest;
            }
        }
        if let Some(last) = cells.last_mut() {
            last.high = self.largest;
            if last.count == 1 {
                last.low = self.largest;
            }
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sketch of `values` shows each of `expect` at its place.
    #[track_caller]
    fn check(values: &[f64], expect: &[(f64, u64)]) {
        let weighted: Vec<Weighted> = values.iter().map(|value| (*value, 1)).collect();
        let cells = Sketch::of(&weighted).cells();
        assert_eq!(cells.len(), expect.len(), "{cells:?}");
        for (cell, (value, count)) in cells.iter().zip(expect) {
            assert_eq!(cell.count, *count, "{cells:?}");
            let is_value = cell.low <= *value && *value <= cell.high;
            assert!(is_value || value.is_nan() && cell.low.is_nan(), "{cells:?}");
            let width = cell.high - cell.low;
            assert!(
                width.is_nan() || width <= value.abs() / 128.0 + f64::from_bits(1),
                "{cells:?}"
            );
        }
    }

    #[test]
    fn every_kind_of_number_has_its_place() {
        let (nan, inf, max, min) = (f64::NAN, f64::INFINITY, f64::MAX, f64::from_bits(1));
        check(
            &[nan, -inf, -2.0, -1.0, -0.0, 0.0, 1.0, 2.0, inf],
            &[
                (nan, 1),
                (-inf, 1),
                (-2.0, 1),
                (-1.0, 1),
                (0.0, 2),
                (1.0, 1),
                (2.0, 1),
                (inf, 1),
            ],
        );
        check(&[nan, inf], &[(nan, 1), (inf, 1)]);
        check(
            &[min, 2.0 * min, 1000.0 * min],
            &[(min, 1), (2.0 * min, 1), (1000.0 * min, 1)],
        );
        check(
            &[max / 4.0, max / 2.0, max],
            &[(max / 4.0, 1), (max / 2.0, 1), (max, 1)],
        );
        check(&[-max, -max / 2.0], &[(-max, 1), (-max / 2.0, 1)]);
        check(
            &[0.001, 0.01, 1.0, 60.0, 3600.0, 1e9],
            &[
                (0.001, 1),
                (0.01, 1),
                (1.0, 1),
                (60.0, 1),
                (3600.0, 1),
                (1e9, 1),
            ],
        );
    }

    #[test]
    fn values_far_from_the_first_are_kept_apart_from_them() {
        // The extremes are exact, what is between them and too far is not.
        let mut sketch = Sketch::of(&[(1.0, 1)]);
        for value in [1e-300, 1e-200, 1e200, 1e300] {
            sketch.add(value, 1);
        }
        let cells = sketch.cells();
        let places: Vec<(f64, u64)> = cells.iter().map(|cell| (cell.low, cell.count)).collect();
        assert_eq!((places[0], places[1]), ((1e-300, 2), (1.0, 1)));
        assert_eq!((places[2].1, cells[2].high), (2, 1e300));
        assert!(places[2].0 > 1e11, "{places:?}");
    }

    #[test]
    fn large_weights_saturate() {
        let mut sketch = Sketch::of(&[(1.0, 1_000_000_000)]);
        for _ in 0..9 {
            sketch.add(1.0, 1_000_000_000);
        }
        assert_eq!(sketch.cells()[0].count, u64::from(u32::MAX));
    }

    #[test]
    fn sketches_of_different_units_add_up() {
        let around = |typical: f64| Sketch::of(&[(typical, 1)]);
        let mut sum = around(1.0);
        sum.add(-5.0, 2);
        sum.add(1000.0, 10);
        let mut other = around(300.0);
        other.add(1000.0, 5);
        other.add(0.0, 3);
        other.add(f64::INFINITY, 1);
        sum.absorb(&other);
        sum.absorb(&Sketch::default());
        let cells = sum.cells();
        let counts: Vec<u64> = cells.iter().map(|cell| cell.count).collect();
        assert_eq!(counts, [2, 3, 1, 1, 15, 1]);
        assert_eq!(cells[4].high, 1000.0);
        let mut empty = Sketch::default();
        empty.absorb(&sum);
        assert_eq!(empty.cells().len(), cells.len());
    }

    #[test]
    fn memory_is_bounded() {
        let bytes = |values: &[Weighted]| {
            let positive = Sketch::of(values).positive.expect("positive values");
            positive.counts.distinct_values() * size_of::<u32>()
        };
        assert!(bytes(&[(0.001, 1), (0.01, 1), (3.0, 1)]) <= 15 << 10);
        assert!(bytes(&[(1e-300, 1), (1.0, 1), (f64::MAX, 1)]) <= 29 << 10);
    }
}
