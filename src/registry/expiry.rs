//! When to look at which series again: a timing structure instead of a sweep
//! over everything.
//!
//! Each series with a ttl stands in the slot of the time at which it would
//! expire if nothing more came. Updates do not move it (they only stamp the
//! series); when its time comes, a series that was heard of meanwhile is put
//! into the slot of its new time. So a sweep costs as much as there are series
//! due, and an update costs nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::family::Family;
use super::series::Series;
use crate::clock::Millis;

/// Series due within the same slot are looked at together.
const SLOT_MS: u64 = 100;

/// The slot of a series that is nowhere noted.
pub(super) const NO_SLOT: u64 = u64::MAX;

/// A family without series keeps its name, help and options for so long, in
/// case they come back, which with a ttl they often do.
const FAMILY_GRACE: Duration = Duration::from_secs(600);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// Series by the end of their slot in milliseconds.
    slots: BTreeMap<u64, Vec<Arc<Series>>>,
    /// Families that lost their last series, and when to forget them.
    empty: VecDeque<(Millis, Arc<Family>)>,
}

impl Expiry {
    /// Notes when to look at a series, by its stamp and ttl of now. One that is
    /// looked at before that anyway is not noted again: lines that map to it
    /// with different ttls would fill the memory.
    pub(super) fn schedule(&mut self, series: &Arc<Series>) {
        let Some(slot) = series.expires_at().map(slot_of) else {
            return;
        };
        if slot < series.slot() {
            series.set_slot(slot);
            self.slots.entry(slot).or_default().push(Arc::clone(series));
        }
    }

    /// Calls `retire` for each series that is due; one for which it returns
    /// false is scheduled anew.
    pub(super) fn due(&mut self, now: Millis, mut retire: impl FnMut(&Arc<Series>) -> bool) {
        let later = self.slots.split_off(&now.0);
        for (slot, due) in std::mem::replace(&mut self.slots, later) {
            for series in due {
                // Noted twice, because its ttl became shorter meanwhile.
                if series.slot() != slot || series.is_retired() {
                    continue;
                }
                series.set_slot(NO_SLOT);
                if !retire(&series) {
                    self.schedule(&series);
                } else if series.family.member_retired() {
                    self.note_empty(&series.family, now);
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn notes(&self) -> usize {
        self.slots.values().map(Vec::len).sum()
    }

    #[cfg(test)]
    pub(super) fn empty_families(&self) -> usize {
        self.empty.len()
    }

    /// Notes a family as empty since `since`; once, however often it was so.
    fn note_empty(&mut self, family: &Arc<Family>, since: Millis) {
        if family.note_empty(since) {
            self.empty.push_back((forget_at(since), Arc::clone(family)));
        }
    }

    /// Calls `forget` for each family that has been empty for long enough.
    pub(super) fn forget_families(&mut self, now: Millis, mut forget: impl FnMut(&Arc<Family>)) {
        while let Some((_, family)) = self.empty.pop_front_if(|(at, _)| *at <= now) {
            let since = family.take_empty_since();
            if !family.is_empty() {
                continue;
            }
            if forget_at(since) > now {
                // It came back meanwhile, and was emptied again.
                self.note_empty(&family, since);
            } else {
                forget(&family);
            }
        }
    }
}

fn forget_at(empty_since: Millis) -> Millis {
    Millis(empty_since.0 + FAMILY_GRACE.as_millis() as u64)
}

/// The end of the slot that `at` falls in, so that a slot is never due early.
fn slot_of(at: Millis) -> u64 {
    (at.0 / SLOT_MS + 1).saturating_mul(SLOT_MS)
}
