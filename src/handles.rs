//! A worker's memory of lines it has resolved: the bytes of a line without its
//! value, and what they led to.
//!
//! A cluster sends the same few thousand lines over and over, each time with
//! another value. Remembering what a line meant replaces splitting, escaping,
//! mapping and looking up by one probe into a hash table, with the full key
//! compared. Each worker has its own, so a probe shares nothing.
//!
//! This takes the place of the reference's mapping cache, and its three metrics
//! are told from here. The size asked for by flag is not a limit as there: zero
//! turns the cache off, anything else lets it grow with the number of series,
//! since a cache smaller than the working set costs more than it saves.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;

use crate::registry::Series;
use crate::statsd::{Parts, StatType};

/// Longer keys are not worth their memory: no Airflow line comes near.
const KEY_BYTES_MAX: usize = 1024;

/// A worker remembers at least so many lines, however few series there are:
/// several lines may lead to one series.
const ENTRIES_MIN: usize = 65_536;

/// What a line without its value means.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Where its samples go.
    pub target: Target,
    /// The type of its sample.
    pub stat: StatType,
    /// What the number on the wire is divided by: a sampling factor, or 1000
    /// for milliseconds.
    pub divisor: f64,
    /// What the rule multiplies by; 1 without.
    pub scale: f64,
    /// How many observations one line stands for.
    pub count: u64,
    /// It carries tags.
    pub tagged: bool,
    /// A rule took it.
    pub mapped: bool,
    /// A sign before its value is no change of a gauge.
    pub absolute: bool,
    /// A negative value of a counter is dropped, and no error.
    pub drops_negative: bool,
}

/// Where samples go.
#[derive(Clone, Debug)]
pub enum Target {
    /// To a series.
    Series(Arc<Series>),
    /// Nowhere: they are dropped, by a rule or because none takes them.
    Dropped,
}

/// The table.
pub struct Handles {
    enabled: bool,
    hasher: RandomState,
    entries: HashTable<Entry>,
}

struct Entry {
    hash: u64,
    /// The line's name and tail, one after the other.
    key: Box<[u8]>,
    name_len: usize,
    handle: Handle,
}

impl Handles {
    /// An empty table; one that is not `enabled` stays so.
    pub fn new(enabled: bool) -> Handles {
        Handles {
            enabled,
            hasher: RandomState::new(),
            entries: HashTable::new(),
        }
    }

    /// Whether it remembers anything.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Lines remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What a line of these parts means, if that is known.
    pub fn get(&self, parts: &Parts<'_>) -> Option<&Handle> {
        let hash = self.hash(parts);
        let entry = self.entries.find(hash, |entry| entry.is_for(parts, hash));
        entry.map(|entry| &entry.handle)
    }

    /// Remembers a line while there are `series` series in all. When the table
    /// is full it starts anew, which is cheaper than to choose what to forget.
    pub fn insert(&mut self, parts: &Parts<'_>, handle: Handle, series: u64) {
        if !self.enabled || parts.name.len() + parts.tail.len() > KEY_BYTES_MAX {
            return;
        }
        let entries_max = ENTRIES_MIN.max(usize::try_from(series).unwrap_or(usize::MAX / 2) * 2);
        if self.entries.len() >= entries_max {
            self.clear();
        }
        self.remove(parts);
        let hash = self.hash(parts);
        let entry = Entry {
            hash,
            key: [parts.name, parts.tail].concat().into_boxed_slice(),
            name_len: parts.name.len(),
            handle,
        };
        self.entries.insert_unique(hash, entry, |entry| entry.hash);
    }

    /// Forgets one line.
    pub fn remove(&mut self, parts: &Parts<'_>) {
        let hash = self.hash(parts);
        let found = self
            .entries
            .find_entry(hash, |entry| entry.is_for(parts, hash));
        if let Ok(found) = found {
            found.remove();
        }
    }

    /// Forgets everything: the rules have changed, or there is too much.
    pub fn clear(&mut self) {
        self.entries = HashTable::new();
    }

    /// Forgets the lines of retired series, so that their memory is returned.
    pub fn purge(&mut self) {
        self.entries.retain(|entry| match &entry.handle.target {
            Target::Series(series) => !series.is_retired(),
            Target::Dropped => true,
        });
        self.entries.shrink_to_fit(|entry| entry.hash);
    }

    fn hash(&self, parts: &Parts<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(parts.name);
        hasher.write(parts.tail);
        hasher.finish()
    }
}

impl Entry {
    fn is_for(&self, parts: &Parts<'_>, hash: u64) -> bool {
        let (name, tail) = self.key.split_at(self.name_len);
        self.hash == hash && name == parts.name && tail == parts.tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(line: &str) -> Parts<'_> {
        Parts::split(line.as_bytes()).unwrap()
    }

    fn dropped(count: u64) -> Handle {
        Handle {
            target: Target::Dropped,
            stat: StatType::Counter,
            divisor: 1.0,
            scale: 1.0,
            count,
            tagged: false,
            mapped: true,
            absolute: false,
            drops_negative: false,
        }
    }

    fn get(handles: &Handles, line: &str) -> Option<u64> {
        handles.get(&parts(line)).map(|handle| handle.count)
    }

    #[test]
    fn lines_that_differ_in_the_value_are_one() {
        let mut handles = Handles::new(true);
        handles.insert(&parts("a,t=v:1|c|#x:y"), dropped(1), 0);
        handles.insert(&parts("a:1|g"), dropped(2), 0);
        assert_eq!(get(&handles, "a,t=v:22.5|c|#x:y"), Some(1));
        assert_eq!(get(&handles, "a:-1|g"), Some(2));
        for other in ["a:1|c", "a,t=v:1|c", "a,t=v:1|c|#x:z", "a:1|g|@1", "aa:1|g"] {
            assert_eq!(get(&handles, other), None, "{other}");
        }
        handles.insert(&parts("a:5|g"), dropped(3), 0);
        assert_eq!((get(&handles, "a:1|g"), handles.len()), (Some(3), 2));
        handles.remove(&parts("a:1|g"));
        assert_eq!(get(&handles, "a:1|g"), None);
    }

    #[test]
    fn where_the_name_ends_matters() {
        let mut handles = Handles::new(true);
        handles.insert(&parts("ab:1|c"), dropped(1), 0);
        // The same bytes, cut elsewhere.
        let other = Parts {
            name: b"a",
            value: b"1",
            tail: b"bc",
        };
        assert!(handles.get(&other).is_none());
    }

    #[test]
    fn it_is_bounded_and_can_be_off() {
        let mut handles = Handles::new(true);
        for name in 0..ENTRIES_MIN + 10 {
            handles.insert(&parts(&format!("n{name}:1|c")), dropped(1), 0);
        }
        assert_eq!(handles.len(), 10);
        handles.insert(
            &parts(&format!("{}:1|c", "n".repeat(KEY_BYTES_MAX))),
            dropped(1),
            0,
        );
        assert_eq!(handles.len(), 10);
        let mut off = Handles::new(false);
        off.insert(&parts("a:1|c"), dropped(1), 0);
        assert!(off.is_empty());
    }
}
