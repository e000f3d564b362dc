//! Values of fields: what each may be written as, and what is noted of others.

use super::{QUANTILE, Reader, describe, is_null, is_text};
use crate::go_duration::{self, Units};
use crate::mapping::rules::notes::quoted;
use crate::mapping::yaml::{Content, Node, Scalar, Value};
use crate::statsd::StatType;

const STAT_TYPES: &[(&str, StatType)] = &[
    ("counter", StatType::Counter),
    ("gauge", StatType::Gauge),
    ("observer", StatType::Observer),
    (DEPRECATED_OBSERVER, StatType::Observer),
];

/// What the type `observer` was called once.
const DEPRECATED_OBSERVER: &str = "timer";

impl Reader<'_> {
    /// Any scalar as it is written; null is empty.
    pub(in crate::mapping::rules) fn text(&mut self, key: &str, node: &Node) -> String {
        self.written(key, node).unwrap_or_default()
    }

    pub(in crate::mapping::rules) fn key(&mut self, node: &Node) -> Option<String> {
        self.written("a key", node)
    }

    fn written(&mut self, key: &str, node: &Node) -> Option<String> {
        let (scalar, value) = self.scalar(key, node, "text")?;
        Some(match value {
            Value::Null => String::new(),
            Value::Text(text) => text.into_owned(),
            _ => scalar.text().to_owned(),
        })
    }

    /// One of some words; none for null.
    pub(in crate::mapping::rules) fn word<T: Copy>(
        &mut self,
        key: &str,
        node: &Node,
        words: &[(&str, T)],
    ) -> Option<T> {
        if is_null(node) {
            return None;
        }
        let text = self.written(key, node)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words: Vec<&str> = words
                .iter()
                .map(|(word, _)| *word)
                .filter(|word| !word.is_empty() && *word != DEPRECATED_OBSERVER)
                .collect();
            self.mismatch(key, &words.join(" or "), node);
        }
        found.map(|(_, value)| *value)
    }

    pub(in crate::mapping::rules) fn stat_type(
        &mut self,
        key: &str,
        node: &Node,
    ) -> Option<StatType> {
        if is_text(node, DEPRECATED_OBSERVER) {
            let message = format!("the {key} `timer` is deprecated: write `observer`");
            self.notes.warn(node.line, message);
        }
        self.word(key, node, STAT_TYPES)
    }

    pub(in crate::mapping::rules) fn flag(&mut self, key: &str, node: &Node) -> bool {
        const WANTED: &str = "true or false";
        match self.scalar(key, node, WANTED) {
            Some((_, Value::Bool(flag))) => flag,
            Some((_, Value::Null)) | None => false,
            Some(_) => {
                self.mismatch(key, WANTED, node);
                false
            }
        }
    }

    pub(in crate::mapping::rules) fn number(&mut self, key: &str, node: &Node) -> f64 {
        const WANTED: &str = "a number without quotes";
        match self.scalar(key, node, WANTED) {
            Some((_, Value::Int(number))) => number as f64,
            Some((_, Value::Float(number))) => number,
            Some((_, Value::Null)) | None => 0.0,
            Some(_) => {
                self.mismatch(key, WANTED, node);
                0.0
            }
        }
    }

    /// A fraction is cut off.
    pub(in crate::mapping::rules) fn count(&mut self, key: &str, node: &Node) -> u32 {
        const WANTED: &str = "a number from 0 to 4294967295 without quotes";
        const MAX: f64 = u32::MAX as f64;
        let count = match self.scalar(key, node, WANTED) {
            Some((_, Value::Int(number))) => u32::try_from(number).ok(),
            Some((_, Value::Float(number))) => (0.0..=MAX)
                .contains(&number.trunc())
                .then_some(number as u32),
            Some((_, Value::Null)) | None => Some(0),
            Some(_) => None,
        };
        count.unwrap_or_else(|| {
            self.mismatch(key, WANTED, node);
            0
        })
    }

    /// In nanoseconds. A bare number is one of nanoseconds, though most who
    /// write one mean seconds.
    pub(in crate::mapping::rules) fn duration(&mut self, key: &str, node: &Node) -> i64 {
        const WANTED: &str = "a duration such as 30s";
        let nanos = match self.scalar(key, node, WANTED) {
            Some((_, Value::Int(number))) => i64::try_from(number).ok(),
            Some((_, Value::Float(number))) => (number <= i64::MAX as f64).then_some(number as i64),
            Some((_, Value::Text(text))) => match go_duration::parse(&text, Units::Go) {
                Ok(nanos) => return nanos,
                Err(problem) => {
                    let message = format!("the {key} {} {problem}", quoted(&text));
                    self.notes.error(node.line, message);
                    return 0;
                }
            },
            Some((_, Value::Null)) | None => Some(0),
            Some((_, Value::Bool(_))) => None,
        };
        let Some(nanos) = nanos else {
            self.mismatch(key, WANTED, node);
            return 0;
        };
        if nanos != 0 && nanos.unsigned_abs() < 1_000_000_000 {
            let message = format!(
                "the {key} {nanos} is one of nanoseconds, as it has no unit: write `{nanos}s` for seconds, or `{nanos}ns`"
            );
            self.notes.warn(node.line, message);
        }
        nanos
    }

    pub(in crate::mapping::rules) fn max_age(&mut self, key: &str, node: &Node) -> i64 {
        let nanos = self.duration(key, node);
        if nanos <= 0 && !is_null(node) {
            let message =
                format!("the {key} is not above zero: remove it, or write one such as 10m");
            self.notes.warn(node.line, message);
        }
        nanos
    }

    pub(in crate::mapping::rules) fn quantiles(
        &mut self,
        key: &str,
        node: &Node,
    ) -> Vec<(f64, f64)> {
        self.list(key, node, |reader, _, node| {
            let mut quantile = (0.0, 0.0);
            reader.section(&QUANTILE, node, &mut quantile);
            if !(0.0..=1.0).contains(&quantile.0) {
                let message = format!(
                    "there is no quantile {}: write one from 0 to 1, such as 0.99",
                    quantile.0
                );
                reader.notes.warn(node.line, message);
            }
            quantile
        })
    }

    pub(in crate::mapping::rules) fn buckets(&mut self, key: &str, node: &Node) -> Vec<f64> {
        let buckets = self.list(key, node, Reader::number);
        if !buckets.is_sorted_by(|lower, upper| lower < upper) {
            let message = format!("the {key} do not increase: sort them and remove doubles");
            self.notes.warn(node.line, message);
        }
        buckets
    }

    /// The scalar at `node` and what it means.
    fn scalar<'n>(
        &mut self,
        key: &str,
        node: &'n Node,
        wanted: &str,
    ) -> Option<(&'n Scalar, Value<'n>)> {
        let Content::Scalar(scalar) = &node.content else {
            self.mismatch(key, wanted, node);
            return None;
        };
        match scalar.value() {
            Ok(value) => Some((scalar, value)),
            Err(problem) => {
                let text = quoted(scalar.text());
                self.notes
                    .error(node.line, format!("{text} {problem}: correct either"));
                None
            }
        }
    }

    pub(in crate::mapping::rules) fn mismatch(&mut self, key: &str, wanted: &str, node: &Node) {
        let message = format!("{} must be {wanted}, not {}", quoted(key), describe(node));
        self.notes.error(node.line, message);
    }
}
