//! One series: its labels, its value, and when it was last heard of.
//!
//! A worker keeps series in its cache and updates them without asking anyone,
//! while the sweep retires series that were silent for longer than their ttl.
//! Both must agree, or updates go to a series that no page shows any more. They
//! meet in one atomic, `stamp`: a worker moves it from the old time to the new
//! one before it updates, the sweep moves it from the old time to [`RETIRED`],
//! and each does so by compare-and-exchange, so only one of them can win. A
//! worker that finds `RETIRED` forgets the series and looks its name up again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::expiry::NO_SLOT;
use super::family::{Family, Vector};
use super::histogram::{Histogram, HistogramReading};
use super::scalar::{Counter, Gauge};
use super::summary::{Summary, SummaryReading};
use super::{Kind, Shape};
use crate::clock::Millis;

/// The stamp of a series that was taken out of the registry.
const RETIRED: u64 = u64::MAX;

/// The ttl of a series that never expires.
const NEVER: u64 = u64::MAX;

/// How long a series may be silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ttl {
    /// It stays until the process ends.
    #[default]
    Never,
    /// It is retired by the first sweep that finds it silent for longer.
    After(Duration),
}

/// The series was retired; resolve its name anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retired;

/// A value with its labels. Updates may come from any thread.
#[derive(Debug)]
pub struct Series {
    pub(super) family: Arc<Family>,
    pub(super) vector: Arc<Vector>,
    /// One for each of the vector's label names.
    pub(super) label_values: Box<[Box<str>]>,
    /// Wall-clock milliseconds since the Unix epoch.
    created_ms: u64,
    /// Monotonic milliseconds of the last update, or [`RETIRED`].
    stamp: AtomicU64,
    /// Milliseconds, or [`NEVER`].
    ttl_ms: AtomicU64,
    /// Where the expiry has noted this series; only read and written under its
    /// lock.
    slot: AtomicU64,
    value: Value,
}

/// What a series holds. Observers are more than a few words, so each has a
/// mutex, which nobody holds for longer than it takes to add an observation or
/// to copy one observer. A worker only tries it, see [`Series::try_observe`].
#[derive(Debug)]
enum Value {
    Counter(Counter),
    Gauge(Gauge),
    Summary(Box<Mutex<Summary>>),
    Histogram(Box<Mutex<Histogram>>),
}

/// What a scrape reads from a series.
#[derive(Clone, Debug)]
pub enum Reading {
    /// The sum of all increments.
    Counter(f64),
    /// The last value.
    Gauge(f64),
    /// Sum, count and what the window holds.
    Summary(SummaryReading),
    /// Sum and counts by bucket.
    Histogram(HistogramReading),
}

impl Series {
    /// A series without ttl, last heard of `now`.
    pub(super) fn new(
        family: Arc<Family>,
        vector: Arc<Vector>,
        label_values: Box<[Box<str>]>,
        now: Millis,
        created_ms: u64,
    ) -> Series {
        let value = match &vector.shape {
            Shape::Counter => Value::Counter(Counter::default()),
            Shape::Gauge => Value::Gauge(Gauge::default()),
            Shape::Summary(options) => {
                Value::Summary(Box::new(Mutex::new(Summary::new(Arc::clone(options), now))))
            }
            Shape::Histogram(options) => {
                Value::Histogram(Box::new(Mutex::new(Histogram::new(Arc::clone(options)))))
            }
        };
        Series {
            family,
            vector,
            label_values,
            created_ms,
            stamp: AtomicU64::new(now.0),
            ttl_ms: AtomicU64::new(NEVER),
            slot: AtomicU64::new(NO_SLOT),
            value,
        }
    }

    /// The family it belongs to.
    pub fn family(&self) -> &Family {
        &self.family
    }

    /// Its type.
    pub fn kind(&self) -> Kind {
        self.family.kind
    }

    /// What new series with the same name and label names are made from.
    pub fn shape(&self) -> &Shape {
        &self.vector.shape
    }

    /// Label names, ascending, with their values.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        let names = self.vector.label_names.iter().map(|name| &**name);
        names.zip(self.label_values.iter().map(|value| &**value))
    }

    /// When it was made, in wall-clock milliseconds since the Unix epoch.
    pub fn created_ms(&self) -> u64 {
        self.created_ms
    }

    // --- Updates: first `touch`, then one of the others.

    /// Notes that something was heard at `now`. After `Ok` an update counts: if
    /// the series is retired before it lands, it is as if it had expired after.
    pub fn touch(&self, now: Millis) -> Result<(), Retired> {
        let mut stamp = self.stamp.load(Ordering::Relaxed);
        loop {
            if stamp == RETIRED {
                return Err(Retired);
            }
            // Already stamped in this batch, or by a later one of another core.
            if stamp >= now.0 {
                return Ok(());
            }
            match self.stamp.compare_exchange_weak(
                stamp,
                now.0,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(current) => stamp = current,
            }
        }
    }

    /// Adds to a counter. The value must not be negative.
    pub fn count(&self, value: f64) {
        if let Value::Counter(counter) = &self.value {
            counter.add(value);
        }
    }

    /// Sets a gauge.
    pub fn set(&self, value: f64) {
        if let Value::Gauge(gauge) = &self.value {
            gauge.set(value);
        }
    }

    /// Adds to a gauge.
    pub fn change(&self, value: f64) {
        if let Value::Gauge(gauge) = &self.value {
            gauge.add(value);
        }
    }

    /// Adds `count` observations of `value` to a summary or histogram, unless
    /// another thread is at it this very moment: then it returns false at once,
    /// and the caller tries again later.
    #[must_use]
    pub fn try_observe(&self, value: f64, count: u64, now: Millis) -> bool {
        match &self.value {
            Value::Summary(summary) => match summary.try_lock() {
                Ok(mut summary) => summary.observe(value, count, now),
                Err(_) => return false,
            },
            Value::Histogram(histogram) => match histogram.try_lock() {
                Ok(mut histogram) => histogram.observe(value, count),
                Err(_) => return false,
            },
            Value::Counter(_) | Value::Gauge(_) => {}
        }
        true
    }

    /// Reads the value. Summaries show the window that ends at `now`.
    pub fn read(&self, now: Millis) -> Reading {
        match &self.value {
            Value::Counter(counter) => Reading::Counter(counter.get()),
            Value::Gauge(gauge) => Reading::Gauge(gauge.get()),
            Value::Summary(summary) => {
                let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                Reading::Summary(summary.read(now))
            }
            Value::Histogram(histogram) => {
                let histogram = histogram.lock().unwrap_or_else(PoisonError::into_inner);
                Reading::Histogram(histogram.read())
            }
        }
    }

    // --- Expiry.

    /// Whether the registry has let go of it.
    pub fn is_retired(&self) -> bool {
        self.stamp.load(Ordering::Relaxed) == RETIRED
    }

    /// Changes the ttl; returns whether the expiry must be told.
    pub(super) fn set_ttl(&self, ttl: Ttl) -> bool {
        let new = match ttl {
            Ttl::Never => NEVER,
            Ttl::After(ttl) => u64::try_from(ttl.as_millis()).unwrap_or(NEVER),
        };
        let old = self.ttl_ms.load(Ordering::Relaxed);
        if old == new {
            return false;
        }
        self.ttl_ms.store(new, Ordering::Relaxed);
        new != NEVER
    }

    /// The time from which on it is silent for too long, if nothing more comes.
    pub(super) fn expires_at(&self) -> Option<Millis> {
        let ttl = self.ttl_ms.load(Ordering::Relaxed);
        let stamp = self.stamp.load(Ordering::Relaxed);
        (ttl != NEVER).then(|| Millis(stamp.saturating_add(ttl)))
    }

    /// Retires the series if it was silent for longer than its ttl.
    pub(super) fn retire_if_silent(&self, now: Millis) -> bool {
        let stamp = self.stamp.load(Ordering::Relaxed);
        let ttl = self.ttl_ms.load(Ordering::Relaxed);
        if ttl == NEVER || stamp.saturating_add(ttl) >= now.0 {
            return false;
        }
        self.stamp
            .compare_exchange(stamp, RETIRED, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    pub(super) fn slot(&self) -> u64 {
        self.slot.load(Ordering::Relaxed)
    }

    pub(super) fn set_slot(&self, slot: u64) {
        self.slot.store(slot, Ordering::Relaxed);
    }
}
