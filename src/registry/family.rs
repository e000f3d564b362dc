//! A family: one name with its type, and the series that bear it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::series::Series;
use super::sorted::Sorted;
use super::{Kind, SeriesSpec, Shape};
use crate::clock::Millis;

/// A name and everything on the page under it.
#[derive(Debug)]
pub struct Family {
    /// The metric name.
    pub name: Arc<str>,
    /// The text of the family's first series.
    pub help: Arc<str>,
    /// Its type, which all its series share.
    pub kind: Kind,
    /// By label names, which are few for honest senders and looked up by
    /// bisection for the others.
    vectors: Mutex<Vec<Arc<Vector>>>,
    members: Sorted<Arc<Series>>,
    live: AtomicU64,
    /// When it last lost its last series, in milliseconds, or [`NOT_NOTED`].
    empty_since: AtomicU64,
    forgotten: AtomicBool,
}

/// The expiry has no family of this time in its list.
const NOT_NOTED: u64 = u64::MAX;

/// The series of a family that have the same label names. Their observers share
/// their options, those in force when the first of them was made.
#[derive(Debug)]
pub struct Vector {
    /// Ascending.
    pub label_names: Box<[Box<str>]>,
    /// What new series of this vector are made from.
    pub shape: Shape,
}

impl Family {
    pub(super) fn new(name: Arc<str>, help: Arc<str>, kind: Kind) -> Family {
        Family {
            name,
            help,
            kind,
            vectors: Mutex::default(),
            members: Sorted::default(),
            live: AtomicU64::new(0),
            empty_since: AtomicU64::new(NOT_NOTED),
            forgotten: AtomicBool::new(false),
        }
    }

    /// The series on the page, in its order: fewer labels first, then by label
    /// values; names only decide between equal values.
    pub fn series(&self) -> Arc<[Arc<Series>]> {
        self.members.snapshot(
            |series| !series.is_retired(),
            |a, b| {
                a.label_values
                    .len()
                    .cmp(&b.label_values.len())
                    .then_with(|| a.label_values.cmp(&b.label_values))
                    .then_with(|| a.vector.label_names.cmp(&b.vector.label_names))
            },
        )
    }

    /// The vector for a spec, and whether it had to be made.
    pub(super) fn vector(&self, spec: &SeriesSpec<'_>) -> (Arc<Vector>, bool) {
        let mut vectors = self.vectors.lock().unwrap_or_else(PoisonError::into_inner);
        let place = vectors.binary_search_by(|vector| {
            let names = vector.label_names.iter().map(|name| &**name);
            names.cmp(spec.labels.iter().map(|(name, _)| &**name))
        });
        match place {
            Ok(at) => (Arc::clone(&vectors[at]), false),
            Err(at) => {
                let names = spec.labels.iter().map(|(name, _)| Box::from(&**name));
                let vector = Arc::new(Vector {
                    label_names: names.collect(),
                    shape: spec.shape.clone(),
                });
                vectors.insert(at, Arc::clone(&vector));
                (vector, true)
            }
        }
    }

    pub(super) fn member_created(&self, series: Arc<Series>) {
        self.live.fetch_add(1, Ordering::Relaxed);
        self.members.push(series);
    }

    /// Returns whether that was the last one.
    pub(super) fn member_retired(&self) -> bool {
        self.members.removed();
        if self.members.is_mostly_gone() {
            self.series();
        }
        self.live.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Notes that it has been empty since `now`; returns whether the expiry
    /// does not know it yet as one that is or was.
    pub(super) fn note_empty(&self, now: Millis) -> bool {
        self.empty_since.swap(now.0, Ordering::Relaxed) == NOT_NOTED
    }

    /// Takes back what was noted last.
    pub(super) fn take_empty_since(&self) -> Millis {
        Millis(self.empty_since.swap(NOT_NOTED, Ordering::Relaxed))
    }

    /// No series at present.
    pub(super) fn is_empty(&self) -> bool {
        self.live.load(Ordering::Relaxed) == 0
    }

    /// Takes the family out of use; returns whether it was so already.
    pub(super) fn forget(&self) -> bool {
        self.forgotten.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_forgotten(&self) -> bool {
        self.forgotten.load(Ordering::Relaxed)
    }
}
