//! Families, series and their values: everything a scrape shows.
//!
//! This module knows only Prometheus. It is told what series to make by a
//! [`SeriesSpec`] and refuses what would not make a valid page: a name with two
//! types, a name that a summary's or histogram's own samples take, a label that
//! Prometheus keeps for itself. So rendering cannot fail.
//!
//! Who waits for whom: updating a series takes no lock. Finding one that exists
//! takes a shard of a [`DashMap`] for a moment. Creating and retiring are rare
//! and take one mutex each time. A scrape takes none of these while it renders:
//! it works on sorted snapshots that it makes itself (`sorted`).

mod expiry;
mod family;
mod histogram;
mod scalar;
mod series;
mod sorted;
mod summary;
#[cfg(test)]
mod tests;

use std::borrow::{Borrow, Cow};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;
use dashmap::DashMap;

use crate::clock::{Clock, Millis};
use expiry::Expiry;

pub use family::{Family, Vector};
pub use histogram::{Histogram, HistogramReading, NativeReading, Span};
pub use scalar::{Counter, Gauge};
pub use series::{Reading, Retired, Series, Ttl};
pub use summary::{Summary, SummaryReading};

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A sum of increments.
    Counter,
    /// The last of its values.
    Gauge,
    /// Sum, count and quantiles.
    Summary,
    /// Sum and counts by bucket.
    Histogram,
}

impl Kind {
    /// All kinds, in the order of their discriminants.
    pub const ALL: [Kind; 4] = [Kind::Counter, Kind::Gauge, Kind::Summary, Kind::Histogram];

    /// The word of a `# TYPE` line.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Summary => "summary",
            Kind::Histogram => "histogram",
        }
    }
}

/// A kind with what it takes to make a value of it.
#[derive(Clone, Debug)]
pub enum Shape {
    /// See [`Kind::Counter`].
    Counter,
    /// See [`Kind::Gauge`].
    Gauge,
    /// See [`Kind::Summary`].
    Summary(Arc<SummaryOptions>),
    /// See [`Kind::Histogram`].
    Histogram(Arc<HistogramOptions>),
}

impl Shape {
    /// The kind alone.
    pub fn kind(&self) -> Kind {
        match self {
            Shape::Counter => Kind::Counter,
            Shape::Gauge => Kind::Gauge,
            Shape::Summary(_) => Kind::Summary,
            Shape::Histogram(_) => Kind::Histogram,
        }
    }
}

/// How a summary computes its quantiles.
#[derive(Clone, Debug, PartialEq)]
pub struct SummaryOptions {
    /// Ascending, distinct, each within 0 and 1.
    pub quantiles: Vec<f64>,
    /// How long an observation counts; above zero.
    pub max_age: std::time::Duration,
    /// Into how many steps `max_age` is cut; at least one.
    pub age_buckets: u32,
}

/// How a histogram sorts its observations.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramOptions {
    /// Upper bounds, ascending, distinct, without `+Inf`.
    pub buckets: Vec<f64>,
    /// Growth of a native bucket over the one below; native buckets are kept
    /// only if it is above one.
    pub native_bucket_factor: f64,
    /// Above so many native buckets the resolution is halved; 0 for no limit.
    pub native_buckets_max: u32,
}

/// A series as wanted: the registry's input.
#[derive(Clone, Debug)]
pub struct SeriesSpec<'a> {
    /// A legal metric name.
    pub name: &'a str,
    /// For `# HELP`; the first text given for a name stays.
    pub help: &'a Arc<str>,
    /// For observers the options, which hold for a name with a set of label
    /// names from its first series on.
    pub shape: &'a Shape,
    /// Legal label names in ascending order, each once, with their values.
    pub labels: &'a [(Cow<'a, str>, Cow<'a, str>)],
    /// Replaces the ttl of a series that exists.
    pub ttl: Ttl,
}

/// Why a series was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The name is empty.
    EmptyName,
    /// A label name that Prometheus keeps for itself: `__…`, `le` on a
    /// histogram, `quantile` on a summary.
    ReservedLabelName,
    /// The name is in use with another type, belongs to the samples of a
    /// summary or histogram (or has some that are in use), or is one of the
    /// exporter's own.
    Conflict,
}

/// All series of the process.
pub struct Registry {
    clock: Clock,
    /// Names of the exporter's own families, which nobody else may use.
    is_reserved: fn(&str) -> bool,
    families: DashMap<Arc<str>, Arc<Family>, RandomState>,
    series: DashMap<Entry, (), RandomState>,
    by_name: sorted::Sorted<Arc<Family>>,
    /// Taken to create and to retire, never to update.
    expiry: Mutex<Expiry>,
    vectors: [AtomicU64; Kind::ALL.len()],
    live: [AtomicU64; Kind::ALL.len()],
    retired: AtomicU64,
}

impl Registry {
    /// An empty registry that refuses the names for which `is_reserved` holds.
    pub fn new(clock: Clock, is_reserved: fn(&str) -> bool) -> Registry {
        Registry {
            clock,
            is_reserved,
            families: DashMap::with_hasher(RandomState::new()),
            series: DashMap::with_hasher(RandomState::new()),
            by_name: sorted::Sorted::default(),
            expiry: Mutex::default(),
            vectors: Default::default(),
            live: Default::default(),
            retired: AtomicU64::new(0),
        }
    }

    /// The series of a spec, made if it does not exist, stamped with `now`.
    ///
    /// An existing series is returned without any check but its type's: what
    /// was allowed once stays allowed.
    pub fn series(&self, spec: &SeriesSpec<'_>, now: Millis) -> Result<Arc<Series>, Refusal> {
        if let Some(series) = self.find(spec, now) {
            return self.refresh(series, spec);
        }
        self.create(spec, now)
    }

    /// Retires the series that were silent for longer than their ttl.
    pub fn sweep(&self, now: Millis) {
        let mut expiry = self.lock_expiry();
        expiry.due(now, |series| {
            let retired = series.retire_if_silent(now);
            if retired {
                self.series.remove(&Entry(Arc::clone(series)));
                self.live[series.kind() as usize].fetch_sub(1, Ordering::Relaxed);
                self.retired.fetch_add(1, Ordering::Relaxed);
            }
            retired
        });
        expiry.forget_families(now, |family| {
            if !family.forget() {
                self.families
                    .remove_if(&*family.name, |_, current| Arc::ptr_eq(current, family));
                self.by_name.removed();
            }
        });
        if self.by_name.is_mostly_gone() {
            self.families();
        }
    }

    /// All families with series, by name. Cheap if nothing was created or
    /// retired since the last call.
    pub fn families(&self) -> Arc<[Arc<Family>]> {
        self.by_name
            .snapshot(|family| !family.is_forgotten(), |a, b| a.name.cmp(&b.name))
    }

    /// Label-name sets made since start, by kind: what the reference calls its
    /// metrics.
    pub fn vectors(&self, kind: Kind) -> u64 {
        self.vectors[kind as usize].load(Ordering::Relaxed)
    }

    /// Series that are on the page now, by kind.
    pub fn live(&self, kind: Kind) -> u64 {
        self.live[kind as usize].load(Ordering::Relaxed)
    }

    /// Series of all kinds that are on the page now.
    pub fn live_total(&self) -> u64 {
        Kind::ALL.iter().map(|kind| self.live(*kind)).sum()
    }

    /// Series retired since start. Whoever keeps series looks here to learn
    /// that some of them may be gone.
    pub fn retired(&self) -> u64 {
        self.retired.load(Ordering::Relaxed)
    }

    /// The clock that stamps and creation times come from.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    fn find(&self, spec: &SeriesSpec<'_>, now: Millis) -> Option<Arc<Series>> {
        let entry = self.series.get(spec as &dyn Identity)?;
        let series = &entry.key().0;
        series.touch(now).ok().map(|()| Arc::clone(series))
    }

    fn refresh(&self, series: Arc<Series>, spec: &SeriesSpec<'_>) -> Result<Arc<Series>, Refusal> {
        if series.family.kind != spec.shape.kind() {
            return Err(Refusal::Conflict);
        }
        if series.set_ttl(spec.ttl) {
            self.lock_expiry().schedule(&series);
        }
        Ok(series)
    }

    #[cold]
    fn create(&self, spec: &SeriesSpec<'_>, now: Millis) -> Result<Arc<Series>, Refusal> {
        let kind = spec.shape.kind();
        if spec.name.is_empty() {
            return Err(Refusal::EmptyName);
        }
        if spec
            .labels
            .iter()
            .any(|(name, _)| is_reserved_label(name, kind))
        {
            return Err(Refusal::ReservedLabelName);
        }
        let mut expiry = self.lock_expiry();
        // Another thread may have been faster.
        if let Some(series) = self.find(spec, now) {
            drop(expiry);
            return self.refresh(series, spec);
        }
        if self.conflicts(spec.name, kind) {
            return Err(Refusal::Conflict);
        }
        let family = self.family(spec, kind);
        let (vector, is_new) = family.vector(spec);
        if is_new {
            self.vectors[kind as usize].fetch_add(1, Ordering::Relaxed);
        }
        let label_values = spec.labels.iter().map(|(_, value)| Box::from(&**value));
        let series = Arc::new(Series::new(
            Arc::clone(&family),
            vector,
            label_values.collect(),
            now,
            self.clock.wall_ms(now),
        ));
        if series.set_ttl(spec.ttl) {
            expiry.schedule(&series);
        }
        self.series.insert(Entry(Arc::clone(&series)), ());
        self.live[kind as usize].fetch_add(1, Ordering::Relaxed);
        family.member_created(Arc::clone(&series));
        Ok(series)
    }

    /// The family of a spec that does not conflict.
    fn family(&self, spec: &SeriesSpec<'_>, kind: Kind) -> Arc<Family> {
        let existing = self.families.get(spec.name).map(|entry| Arc::clone(&entry));
        if let Some(family) = existing {
            if family.kind == kind {
                return family;
            }
            // It has no series left, so its type is free again.
            family.forget();
            self.by_name.removed();
        }
        let name: Arc<str> = Arc::from(spec.name);
        let family = Arc::new(Family::new(Arc::clone(&name), Arc::clone(spec.help), kind));
        self.families.insert(name, Arc::clone(&family));
        self.by_name.push(Arc::clone(&family));
        family
    }

    /// Whether a new series of this name and kind would spoil the page, or is
    /// refused by the reference although it would not (a gauge `x` before a
    /// counter `x_count`).
    fn conflicts(&self, name: &str, kind: Kind) -> bool {
        let in_use = |name: &str| {
            let family = self.families.get(name)?;
            (!family.is_empty()).then_some(family.kind)
        };
        let base = |suffix: &str| name.strip_suffix(suffix).and_then(in_use);
        if (self.is_reserved)(name) || in_use(name).is_some_and(|used| used != kind) {
            return true;
        }
        let part_of_base = match kind {
            Kind::Counter | Kind::Gauge => ["_bucket", "_count", "_sum"]
                .into_iter()
                .filter_map(base)
                .any(|used| used != Kind::Counter),
            Kind::Summary | Kind::Histogram => {
                base("_bucket") == Some(Kind::Histogram)
                    || ["_count", "_sum"]
                        .into_iter()
                        .filter_map(base)
                        .any(|used| matches!(used, Kind::Summary | Kind::Histogram))
            }
        };
        let own_parts: &[&str] = match kind {
            Kind::Counter | Kind::Gauge => &[],
            Kind::Summary => &["_count", "_sum"],
            Kind::Histogram => &["_count", "_sum", "_bucket"],
        };
        part_of_base
            || own_parts
                .iter()
                .any(|part| in_use(&format!("{name}{part}")).is_some())
    }

    fn lock_expiry(&self) -> MutexGuard<'_, Expiry> {
        self.expiry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Label names no sender may use, since the page needs them.
fn is_reserved_label(name: &str, kind: Kind) -> bool {
    name.starts_with("__")
        || match kind {
            Kind::Histogram => name == "le",
            Kind::Summary => name == "quantile",
            Kind::Counter | Kind::Gauge => false,
        }
}

/// What makes two series the same: name and labels. Lets a spec look up a
/// series without building one.
trait Identity {
    fn name(&self) -> &str;
    fn label_count(&self) -> usize;
    fn label(&self, index: usize) -> (&str, &str);
}

impl Identity for SeriesSpec<'_> {
    fn name(&self) -> &str {
        self.name
    }
    fn label_count(&self) -> usize {
        self.labels.len()
    }
    fn label(&self, index: usize) -> (&str, &str) {
        let (name, value) = &self.labels[index];
        (name, value)
    }
}

/// A series as a key of the map, by [`Identity`].
struct Entry(Arc<Series>);

impl Identity for Entry {
    fn name(&self) -> &str {
        &self.0.family.name
    }
    fn label_count(&self) -> usize {
        self.0.label_values.len()
    }
    fn label(&self, index: usize) -> (&str, &str) {
        (
            &self.0.vector.label_names[index],
            &self.0.label_values[index],
        )
    }
}

impl PartialEq for dyn Identity + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
            && self.label_count() == other.label_count()
            && (0..self.label_count()).all(|index| self.label(index) == other.label(index))
    }
}

impl Eq for dyn Identity + '_ {}

impl Hash for dyn Identity + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
        for index in 0..self.label_count() {
            self.label(index).hash(state);
        }
    }
}

impl<'a> Borrow<dyn Identity + 'a> for Entry {
    fn borrow(&self) -> &(dyn Identity + 'a) {
        self
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self as &dyn Identity) == (other as &dyn Identity)
    }
}

impl Eq for Entry {}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self as &dyn Identity).hash(state);
    }
}
