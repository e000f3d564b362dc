//! One number of 16 bits for each source of a trace.
//!
//! The format names a source by its port, which is enough on one machine. Two
//! pods of a cluster may well have the same, and then one of them gets another
//! number, as two sources must not become one.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// Gives out numbers.
#[derive(Debug)]
pub(crate) struct Ports<K> {
    numbers: HashMap<K, u16>,
    taken: HashSet<u16>,
    next: u16,
}

impl<K> Default for Ports<K> {
    fn default() -> Ports<K> {
        Ports {
            numbers: HashMap::new(),
            taken: HashSet::new(),
            // Where Linux begins to look for a port.
            next: 32_768,
        }
    }
}

impl<K: Eq + Hash> Ports<K> {
    /// The number of a source, the one that it prefers if that is free. When
    /// all are given out it is the preferred one too.
    pub(crate) fn number(&mut self, key: K, preferred: Option<u16>) -> u16 {
        if let Some(&number) = self.numbers.get(&key) {
            return number;
        }
        let preferred = preferred.unwrap_or(self.next);
        let number = match self.taken.contains(&preferred) {
            true => self.free().unwrap_or(preferred),
            false => preferred,
        };
        self.taken.insert(number);
        self.numbers.insert(key, number);
        number
    }

    /// The source is gone; somebody else may have its number, though not soon.
    pub(crate) fn release(&mut self, key: &K) {
        if let Some(number) = self.numbers.remove(key) {
            self.taken.remove(&number);
        }
    }

    /// How many have a number.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    fn free(&mut self) -> Option<u16> {
        for _ in 0..=u16::MAX {
            self.next = self.next.checked_add(1).unwrap_or(1024);
            if !self.taken.contains(&self.next) {
                return Some(self.next);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_its_own() {
        let mut ports = Ports::default();
        assert_eq!(ports.number("a", Some(40_000)), 40_000);
        let other = ports.number("b", Some(40_000));
        assert_ne!(other, 40_000);
        assert_eq!(ports.number("a", Some(40_000)), 40_000);
        assert_eq!(ports.number("b", Some(40_000)), other);
        ports.release(&"a");
        assert_eq!(ports.number("c", Some(40_000)), 40_000);
        let free: HashSet<u16> = ["d", "e", "f"].map(|key| ports.number(key, None)).into();
        assert_eq!((free.len(), ports.len()), (3, 5));
    }

    #[test]
    fn when_all_are_taken_they_are_shared() {
        let mut ports = Ports::default();
        for key in 0..70_000_u32 {
            ports.number(key, Some(key as u16));
        }
        assert_eq!(ports.number(80_000, Some(7)), 7);
    }
}
