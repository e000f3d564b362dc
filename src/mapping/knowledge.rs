//! What lines have told of their senders, for rules whose meaning hangs on it.
//!
//! Some lines cannot be read alone. `airflow.dag.a.b.queued_duration:2.7|ms` is
//! 2.7 seconds from Airflow 2 and milliseconds from Airflow 3, and only other
//! lines tell which of them is talking. So there are *facts*, words that a
//! mapping file makes up, and the ids of DAGs, which may contain the dots that
//! otherwise part a DAG from its task.
//!
//! A fact that is known stays known until the process ends, and ids are bounded
//! in number and length, so there is an end to learning. What is known decides
//! what lines mean: whoever remembers that asks [`Knowledge::generation`]
//! whether to forget it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use ahash::RandomState;

use crate::statsd::Dialect;

/// One bit of a word each.
const FACTS_MAX: usize = u64::BITS as usize;

/// Only ids with a dot are kept; no cluster has nearly as many.
const DAG_IDS_MAX: usize = 10_000;

/// The longest id Airflow takes.
const DAG_ID_BYTES_MAX: usize = 250;

/// A set of facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FactSet(u64);

impl FactSet {
    /// What a line's own tags say: its dialect is a fact of that name.
    pub fn of_dialect(dialect: Option<Dialect>) -> FactSet {
        FactSet(dialect.map_or(0, |dialect| 1 << dialect as u64))
    }

    /// Facts of either set.
    pub fn and(self, other: FactSet) -> FactSet {
        FactSet(self.0 | other.0)
    }

    /// Whether all of `other` are in it.
    pub fn has_all(self, other: FactSet) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in it.
    pub fn has_any(self, other: FactSet) -> bool {
        self.0 & other.0 != 0
    }
}

/// There are more facts than can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyFacts;

/// How a DAG's id was told from the task's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// The DAG's id is known.
    Known,
    /// No known id fits, so the DAG's is what stands before the first dot.
    FirstDot,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Knowledge {
    /// The facts that are known.
    facts: AtomicU64,
    /// The word of each bit.
    words: Mutex<Vec<Box<str>>>,
    dag_ids: RwLock<HashSet<Box<str>, RandomState>>,
    generation: AtomicU64,
}

impl Default for Knowledge {
    fn default() -> Knowledge {
        let dialects = Dialect::ALL.iter().map(|dialect| dialect.as_str().into());
        Knowledge {
            facts: AtomicU64::new(0),
            words: Mutex::new(dialects.collect()),
            dag_ids: RwLock::default(),
            generation: AtomicU64::new(0),
        }
    }
}

impl Knowledge {
    /// The set of some words, known or not.
    ///
    /// # Errors
    /// There are more words than bits.
    pub fn set<'w>(
        &self,
        words: impl IntoIterator<Item = &'w String>,
    ) -> Result<FactSet, TooManyFacts> {
        let mut known = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let mut set = 0;
        for word in words {
            let at = known.iter().position(|known| **known == **word);
            let at = at.unwrap_or_else(|| {
                known.push(Box::from(word.as_str()));
                known.len() - 1
            });
            if at >= FACTS_MAX {
                known.truncate(FACTS_MAX);
                return Err(TooManyFacts);
            }
            set |= 1 << at;
        }
        Ok(FactSet(set))
    }

    /// What is known.
    pub fn facts(&self) -> FactSet {
        FactSet(self.facts.load(Ordering::Acquire))
    }

    /// Makes facts known; true if one of them is new.
    pub fn tell(&self, facts: FactSet) -> bool {
        let before = self.facts.fetch_or(facts.0, Ordering::AcqRel);
        let is_new = before & facts.0 != facts.0;
        if is_new {
            self.generation.fetch_add(1, Ordering::Release);
        }
        is_new
    }

    /// Makes the id of a DAG known; true if that is new, and worth knowing.
    pub fn tell_dag_id(&self, id: &str) -> bool {
        let is_worth_it = id.contains('.') && id.len() <= DAG_ID_BYTES_MAX;
        if !is_worth_it || self.read_dag_ids(|ids| ids.contains(id) || ids.len() >= DAG_IDS_MAX) {
            return false;
        }
        let mut ids = self.dag_ids.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = ids.insert(Box::from(id));
        drop(ids);
        if is_new {
            self.generation.fetch_add(1, Ordering::Release);
        }
        is_new
    }

    /// Grows whenever something new is known.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Parts `DAG.TASK`, both of which may contain dots: at the end of the
    /// longest DAG id that is known, else at the first dot.
    pub fn split<'t>(&self, text: &'t str) -> (&'t str, &'t str, Split) {
        let known = self.read_dag_ids(|ids| {
            let mut dots = text.rmatch_indices('.').map(|(dot, _)| dot);
            // Most clusters have no such ids.
            dots.find(|dot| !ids.is_empty() && ids.contains(&text[..*dot]))
        });
        let cut = |dot: usize| (&text[..dot], &text[dot + 1..]);
        match (known, text.find('.')) {
            (Some(dot), _) => (cut(dot).0, cut(dot).1, Split::Known),
            (None, Some(dot)) => (cut(dot).0, cut(dot).1, Split::FirstDot),
            (None, None) => (text, "", Split::FirstDot),
        }
    }

    fn read_dag_ids<T>(&self, read: impl FnOnce(&HashSet<Box<str>, RandomState>) -> T) -> T {
        read(&self.dag_ids.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn facts_become_known_once() {
        let knowledge = Knowledge::default();
        let set = |list: &[&str]| knowledge.set(&words(list)).unwrap();
        let both = set(&["a", "b"]);
        assert_eq!(set(&["b", "a"]), both);
        assert!(!knowledge.facts().has_any(both));
        assert!(knowledge.tell(set(&["a"])));
        assert!(!knowledge.tell(set(&["a"])));
        assert!(knowledge.facts().has_any(both) && !knowledge.facts().has_all(both));
        assert!(knowledge.tell(both));
        assert!(knowledge.facts().has_all(both));
        assert_eq!(knowledge.generation(), 2);
        // The word of a dialect is what a line of that dialect says itself.
        let influxdb = FactSet::of_dialect(Some(Dialect::Influxdb));
        assert_eq!(set(&["influxdb"]), influxdb);
        assert!(!influxdb.has_any(set(&["dogstatsd"])));
        assert!(!FactSet::of_dialect(None).has_any(set(&["dogstatsd", "influxdb"])));
    }

    #[test]
    fn there_is_an_end_to_facts() {
        let knowledge = Knowledge::default();
        let many: Vec<String> = (0..FACTS_MAX).map(|n| format!("f{n}")).collect();
        let fit = FACTS_MAX - Dialect::ALL.len();
        assert!(knowledge.set(&many[..fit]).is_ok());
        assert_eq!(knowledge.set(&many), Err(TooManyFacts));
        assert!(knowledge.set(&many[..fit]).is_ok());
    }

    #[test]
    fn the_longest_known_dag_id_parts_dag_and_task() {
        let knowledge = Knowledge::default();
        let text = "team-a.orders.daily_load.stage_in.copy";
        assert_eq!(
            knowledge.split(text),
            ("team-a", "orders.daily_load.stage_in.copy", Split::FirstDot)
        );
        assert!(!knowledge.tell_dag_id("undotted"));
        assert!(knowledge.tell_dag_id("team-a.orders"));
        assert!(knowledge.tell_dag_id("team-a.orders.daily_load"));
        assert!(!knowledge.tell_dag_id("team-a.orders.daily_load"));
        assert_eq!(
            knowledge.split(text),
            ("team-a.orders.daily_load", "stage_in.copy", Split::Known)
        );
        assert_eq!(
            knowledge.split("team-a.orders.x"),
            ("team-a.orders", "x", Split::Known)
        );
        // What is known is not all of it: a task must be left.
        assert_eq!(
            knowledge.split("team-a.orders"),
            ("team-a", "orders", Split::FirstDot)
        );
        assert_eq!(knowledge.split("alone"), ("alone", "", Split::FirstDot));
        assert_eq!(knowledge.generation(), 2);
    }

    #[test]
    fn ids_are_bounded() {
        let knowledge = Knowledge::default();
        assert!(!knowledge.tell_dag_id(&"a.".repeat(DAG_ID_BYTES_MAX)));
        for id in 0..DAG_IDS_MAX {
            assert!(knowledge.tell_dag_id(&format!("team.{id}")));
        }
        assert!(!knowledge.tell_dag_id("team.late"));
        assert_eq!(knowledge.split("team.7.t").2, Split::Known);
    }
}
