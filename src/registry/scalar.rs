//! Counter and gauge values: one or two words, updated by any thread.
//!
//! Shared atomics rather than one cell a core: an uncontended add costs about
//! 5 ns of the hundred a line takes, a series costs 16 bytes whatever the
//! number of cores, and a gauge is right without further thought, because there
//! is only one place where it stands. See `docs/adr/0006-shared-value-cells.md`.

use std::sync::atomic::{AtomicU64, Ordering};

/// A sum of increments. Whole numbers are added exactly, in an integer of their
/// own; the rest in a float. Not a number sticks.
#[derive(Debug, Default)]
pub struct Counter {
    whole: AtomicU64,
    /// The bits of an `f64`.
    rest: AtomicU64,
}

impl Counter {
    /// Adds `value`, which must not be negative.
    pub fn add(&self, value: f64) {
        debug_assert!(value.is_nan() || value >= 0.0, "{value}");
        // Above 2^64 the conversion saturates and would compare equal.
        let whole = value as u64;
        if whole as f64 == value && whole != u64::MAX {
            self.whole.fetch_add(whole, Ordering::Relaxed);
        } else {
            add_float(&self.rest, value);
        }
    }

    /// The sum.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.rest.load(Ordering::Relaxed))
            + self.whole.load(Ordering::Relaxed) as f64
    }
}

/// The last value set, with what was added since.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Replaces the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds to the value.
    pub fn add(&self, value: f64) {
        add_float(&self.0, value);
    }

    /// The value.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

fn add_float(cell: &AtomicU64, value: f64) {
    let mut bits = cell.load(Ordering::Relaxed);
    loop {
        let sum = (f64::from_bits(bits) + value).to_bits();
        match cell.compare_exchange_weak(bits, sum, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => bits = now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[f64]) -> f64 {
        let counter = Counter::default();
        for value in values {
            counter.add(*value);
        }
        counter.get()
    }

    #[test]
    fn counters_add_up() {
        assert_eq!(sum(&[]), 0.0);
        assert_eq!(sum(&[1.0, 2.0, 0.5]), 3.5);
        assert_eq!(sum(&[-0.0]), 0.0);
        assert_eq!(
            sum(&[9_007_199_254_740_992.0, 1.0, 1.0]),
            9_007_199_254_740_994.0
        );
        assert_eq!(sum(&[2_f64.powi(63)]), 2_f64.powi(63));
        assert_eq!(sum(&[2_f64.powi(64), 1.0]), 2_f64.powi(64));
        assert_eq!(sum(&[1e300, 1.0]), 1e300);
        assert_eq!(sum(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(sum(&[f64::NAN, 1.0]).is_nan());
    }

    #[test]
    fn gauges_set_and_change() {
        let gauge = Gauge::default();
        gauge.add(3.0);
        gauge.add(-10.0);
        assert_eq!(gauge.get(), -7.0);
        gauge.set(1.5);
        assert_eq!(gauge.get(), 1.5);
    }

    #[test]
    fn threads_lose_nothing() {
        let (counter, gauge) = (Counter::default(), Gauge::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        counter.add(1.0);
                        counter.add(0.5);
                        gauge.add(0.25);
                    }
                });
            }
        });
        assert_eq!(counter.get(), 60_000.0);
        assert_eq!(gauge.get(), 10_000.0);
    }
}
