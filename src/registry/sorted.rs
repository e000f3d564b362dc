//! A collection that writers append to in any order and readers see sorted.
//!
//! A scrape shows families and series in a fixed order. Keeping that order on
//! every insertion would make the creating thread pay, and holding a lock while
//! a page is rendered would make it wait. Here a writer pushes to a short list
//! under a lock held for nanoseconds; a reader takes that list away, sorts it,
//! merges it into the last snapshot and publishes the result, all outside the
//! lock. Snapshots are immutable and shared, so a page being rendered is never
//! disturbed, and when nothing changed a reader only clones a pointer.
//!
//! Elements that have gone are let go of by readers too. If nobody reads, whoever
//! removes must do it once [`Sorted::is_mostly_gone`], or they pile up.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module's documentation.
#[derive(Debug)]
pub struct Sorted<T> {
    state: Mutex<State<T>>,
    /// Held by the reader that merges, so that a second one waits for its
    /// result instead of missing what the first has taken away.
    merging: Mutex<()>,
}

#[derive(Debug)]
struct State<T> {
    snapshot: Arc<[T]>,
    /// Not yet in the snapshot.
    pushed: Vec<T>,
    /// How many elements have gone since the snapshot was made.
    gone: usize,
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Sorted {
            state: Mutex::new(State {
                snapshot: Arc::default(),
                pushed: Vec::new(),
                gone: 0,
            }),
            merging: Mutex::default(),
        }
    }
}

impl<T: Clone> Sorted<T> {
    /// Adds an element.
    pub fn push(&self, element: T) {
        lock(&self.state).pushed.push(element);
    }

    /// Notes that an element would no longer be kept by a reader's filter.
    pub fn removed(&self) {
        lock(&self.state).gone += 1;
    }

    /// Whether more than half of what is held here has gone.
    pub fn is_mostly_gone(&self) -> bool {
        let state = lock(&self.state);
        state.gone > (state.snapshot.len() + state.pushed.len()) / 2
    }

    /// All elements for which `keep` holds, in the order of `compare`. The
    /// arguments must be the same each time.
    pub fn snapshot(
        &self,
        keep: impl Fn(&T) -> bool,
        compare: impl Fn(&T, &T) -> Ordering,
    ) -> Arc<[T]> {
        let merging = lock(&self.merging);
        let (old, mut pushed) = {
            let mut state = lock(&self.state);
            if state.pushed.is_empty() && state.gone == 0 {
                return Arc::clone(&state.snapshot);
            }
            state.gone = 0;
            (
                Arc::clone(&state.snapshot),
                std::mem::take(&mut state.pushed),
            )
        };
        pushed.sort_by(&compare);
        let merged: Arc<[T]> = merge(&old, &pushed, compare)
            .filter(|element| keep(element))
            .cloned()
            .collect();
        lock(&self.state).snapshot = Arc::clone(&merged);
        drop(merging);
        merged
    }
}

/// Two sorted slices as one sorted sequence.
fn merge<'a, T>(
    left: &'a [T],
    right: &'a [T],
    compare: impl Fn(&T, &T) -> Ordering,
) -> impl Iterator<Item = &'a T> {
    let mut left = left.iter().peekable();
    let mut right = right.iter().peekable();
    std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some(a), Some(b)) if compare(a, b).is_gt() => right.next(),
        (Some(_), _) => left.next(),
        (None, _) => right.next(),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_what_was_pushed_in_order() {
        let numbers = Sorted::default();
        let odd = |number: &u32| number % 2 == 1;
        let read = || numbers.snapshot(odd, u32::cmp).to_vec();
        assert_eq!(read(), [0; 0]);
        for number in [5, 1, 4, 9] {
            numbers.push(number);
        }
        assert_eq!(read(), [1, 5, 9]);
        for number in [3, 11, 0] {
            numbers.push(number);
        }
        assert_eq!(read(), [1, 3, 5, 9, 11]);
        assert!(Arc::ptr_eq(
            &numbers.snapshot(odd, u32::cmp),
            &numbers.snapshot(odd, u32::cmp)
        ));
    }

    #[test]
    fn what_is_no_longer_kept_goes() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let flags = Sorted::default();
        let flag = Arc::new(AtomicBool::new(true));
        flags.push(Arc::clone(&flag));
        let count = || {
            flags
                .snapshot(
                    |flag| flag.load(Ordering::Relaxed),
                    |_, _| std::cmp::Ordering::Equal,
                )
                .len()
        };
        assert_eq!(count(), 1);
        flag.store(false, Ordering::Relaxed);
        assert!(!flags.is_mostly_gone());
        flags.removed();
        assert!(flags.is_mostly_gone());
        assert_eq!(count(), 0);
        assert!(!flags.is_mostly_gone());
        assert_eq!(Arc::strong_count(&flag), 1);
    }
}
