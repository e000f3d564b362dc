//! From the tree of a mapping file to its fields, each of the type it must be.
//!
//! Everything of the wrong type is noted before the file is refused, so that
//! one run shows it all. Whether the fields make sense together is not asked
//! here.
//!
//! The odd rules are those of Go's yaml.v2, which files rely on: text may be
//! written as any scalar (`help: 12`), a number may not be quoted, null stands
//! for the zero value, a key must not be given twice. The keys of `<<` are read
//! where it stands: they replace those above it and are replaced by those below.

mod values;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use super::notes::{Notes, quoted};
use super::own::{self, OwnText, WrittenLearn};
use super::{Defaults, HistogramText, MatchType, ObserverType, SummaryText};
use crate::mapping::yaml::{Content, Node, Value};
use crate::statsd::StatType;

/// A value and its line in the file; the default is not in the file.
#[derive(Debug, Default)]
pub(super) struct At<T> {
    pub(super) line: usize,
    pub(super) value: T,
}

/// The whole file.
#[derive(Debug, Default)]
pub(super) struct WrittenFile {
    pub(super) defaults: WrittenDefaults,
    pub(super) rules: Vec<WrittenRule>,
    pub(super) learn: Vec<WrittenLearn>,
}

/// The `defaults` section.
#[derive(Debug, Default)]
pub(super) struct WrittenDefaults {
    pub(super) defaults: Defaults,
    pub(super) deprecated: Deprecated,
}

/// One rule, of which nothing is required yet.
#[derive(Debug, Default)]
pub(super) struct WrittenRule {
    pub(super) line: usize,
    pub(super) pattern: At<String>,
    pub(super) match_type: Option<MatchType>,
    pub(super) stat: Option<StatType>,
    pub(super) name: At<String>,
    pub(super) labels: BTreeMap<String, At<String>>,
    pub(super) honor_labels: bool,
    pub(super) observer_type: Option<ObserverType>,
    pub(super) help: String,
    pub(super) drop: bool,
    pub(super) ttl_ns: i64,
    pub(super) summary: Option<At<SummaryText>>,
    pub(super) histogram: Option<At<HistogramText>>,
    pub(super) scale: Option<f64>,
    pub(super) own: OwnText,
    pub(super) deprecated: Deprecated,
}

impl WrittenRule {
    pub(super) fn effective_match_type(&self, defaults: &Defaults) -> MatchType {
        self.match_type.unwrap_or(defaults.match_type)
    }

    pub(super) fn effective_observer_type(&self, defaults: &Defaults) -> Option<ObserverType> {
        self.observer_type.or(defaults.observer_type)
    }
}

/// Options from before there was `summary_options` and `histogram_options`.
#[derive(Debug, Default)]
pub(super) struct Deprecated {
    pub(super) quantiles: Option<At<Vec<(f64, f64)>>>,
    pub(super) buckets: Option<At<Vec<f64>>>,
}

/// Reads the tree as a mapping file.
pub(super) fn read(tree: &Node, notes: &mut Notes) -> WrittenFile {
    let mut file = WrittenFile::default();
    Reader { notes }.section(&FILE, tree, &mut file);
    file
}

/// A map with known keys, and how their values are read into a `T`.
pub(super) struct Section<T> {
    /// For messages.
    pub(super) title: &'static str,
    pub(super) keys: &'static [&'static str],
    /// Former names of keys.
    pub(super) renamed: &'static [(&'static str, &'static str)],
    /// Reads the value of one of `keys`; false for another.
    pub(super) field: fn(&mut Reader, &mut T, &str, &Node) -> bool,
}

const FILE: Section<WrittenFile> = Section {
    title: "a mapping file",
    keys: &["defaults", "mappings", "learn"],
    renamed: &[],
    field: |reader, file, key, node| {
        match key {
            "defaults" => reader.section(&DEFAULTS, node, &mut file.defaults),
            "mappings" => file.rules = reader.list(key, node, Reader::rule),
            "learn" => file.learn = reader.list(key, node, own::read_learn),
            _ => return false,
        }
        true
    },
};

const DEFAULTS: Section<WrittenDefaults> = Section {
    title: "`defaults`",
    keys: &[
        "observer_type",
        "match_type",
        "glob_disable_ordering",
        "ttl",
        "summary_options",
        "histogram_options",
        "rename_tags",
        "drop_tags",
        "gauge_signs",
        "gauge_aggregation",
        "source_ttl",
    ],
    renamed: &[("timer_type", "observer_type")],
    field: |reader, section, key, node| {
        let defaults = &mut section.defaults;
        match key {
            "observer_type" => defaults.observer_type = reader.word(key, node, OBSERVER_TYPES),
            "match_type" => {
                defaults.match_type = reader.word(key, node, MATCH_TYPES).unwrap_or_default();
            }
            "glob_disable_ordering" => defaults.glob_disable_ordering = reader.flag(key, node),
            "ttl" => defaults.ttl_ns = reader.duration(key, node),
            "summary_options" => reader.section(&SUMMARY, node, &mut defaults.summary),
            "histogram_options" => reader.section(&HISTOGRAM, node, &mut defaults.histogram),
            _ if own::read_default(reader, &mut defaults.own, key, node) => {}
            _ => return reader.deprecated(&mut section.deprecated, key, node),
        }
        true
    },
};

const RULE: Section<WrittenRule> = Section {
    title: "a rule",
    keys: &[
        "match",
        "match_type",
        "match_metric_type",
        "name",
        "labels",
        "honor_labels",
        "observer_type",
        "help",
        "action",
        "ttl",
        "summary_options",
        "histogram_options",
        "scale",
        "when",
        "unless",
        "match_tags",
        "rename_tags",
        "drop_tags",
        "dag_and_task",
        "scale_when",
        "drop_negative",
        "gauge_signs",
        "gauge_aggregation",
        "source_ttl",
    ],
    renamed: &[("timer_type", "observer_type")],
    field: |reader, rule, key, node| {
        match key {
            "match" => rule.pattern = at(node, reader.text(key, node)),
            "match_type" => rule.match_type = reader.word(key, node, MATCH_TYPES),
            "match_metric_type" => rule.stat = reader.stat_type(key, node),
            "name" => rule.name = at(node, reader.text(key, node)),
            "labels" => reader.labels(node, &mut rule.labels),
            "honor_labels" => rule.honor_labels = reader.flag(key, node),
            "observer_type" => rule.observer_type = reader.word(key, node, OBSERVER_TYPES),
            "help" => rule.help = reader.text(key, node),
            "action" => rule.drop = reader.word(key, node, ACTIONS_DROP).unwrap_or_default(),
            "ttl" => rule.ttl_ns = reader.duration(key, node),
            "summary_options" => reader.optional_section(&SUMMARY, node, &mut rule.summary),
            "histogram_options" => reader.optional_section(&HISTOGRAM, node, &mut rule.histogram),
            "scale" => rule.scale = (!is_null(node)).then(|| reader.number(key, node)),
            _ if own::read_key(reader, &mut rule.own, key, node) => {}
            _ => return reader.deprecated(&mut rule.deprecated, key, node),
        }
        true
    },
};

const SUMMARY: Section<SummaryText> = Section {
    title: "`summary_options`",
    keys: &["quantiles", "max_age", "age_buckets", "buf_cap"],
    renamed: &[
        ("max_summary_age", "max_age"),
        ("summary_age_buckets", "age_buckets"),
        ("stream_buffer_size", "buf_cap"),
    ],
    field: |reader, summary, key, node| {
        match key {
            "quantiles" => summary.quantiles = reader.quantiles(key, node),
            "max_age" => summary.max_age_ns = reader.max_age(key, node),
            "age_buckets" => summary.age_buckets = reader.count(key, node),
            "buf_cap" => summary.buf_cap = reader.count(key, node),
            _ => return false,
        }
        true
    },
};

const QUANTILE: Section<(f64, f64)> = Section {
    title: "a quantile",
    keys: &["quantile", "error"],
    renamed: &[],
    field: |reader, quantile, key, node| {
        match key {
            "quantile" => quantile.0 = reader.number(key, node),
            "error" => quantile.1 = reader.number(key, node),
            _ => return false,
        }
        true
    },
};

const HISTOGRAM: Section<HistogramText> = Section {
    title: "`histogram_options`",
    keys: &[
        "buckets",
        "native_histogram_bucket_factor",
        "native_histogram_max_buckets",
    ],
    renamed: &[],
    field: |reader, histogram, key, node| {
        match key {
            "buckets" => histogram.buckets = reader.buckets(key, node),
            "native_histogram_bucket_factor" => {
                histogram.native_bucket_factor = reader.number(key, node);
            }
            "native_histogram_max_buckets" => {
                histogram.native_buckets_max = reader.count(key, node);
            }
            _ => return false,
        }
        true
    },
};

const OBSERVER_TYPES: &[(&str, ObserverType)] = &[
    ("histogram", ObserverType::Histogram),
    ("summary", ObserverType::Summary),
    ("", ObserverType::Summary),
];

const MATCH_TYPES: &[(&str, MatchType)] = &[
    ("glob", MatchType::Glob),
    ("regex", MatchType::Regex),
    ("", MatchType::Glob),
];

/// Whether each action drops the sample.
const ACTIONS_DROP: &[(&str, bool)] = &[("map", false), ("drop", true), ("", false)];

/// The former and the present name of a key, and whether the latter is given.
type Renamed = (&'static str, &'static str, bool);

pub(super) struct Reader<'a> {
    pub(super) notes: &'a mut Notes,
}

// === Maps and lists ===

impl Reader<'_> {
    /// Reads a map into `target`; null makes that empty.
    pub(super) fn section<T: Default>(
        &mut self,
        section: &Section<T>,
        node: &Node,
        target: &mut T,
    ) {
        if is_null(node) {
            *target = T::default();
            return;
        }
        let Some(entries) = self.entries(section.title, node) else {
            return;
        };
        let has = |name| entries.iter().any(|(key, _)| is_text(key, name));
        let renamed: Vec<Renamed> = section
            .renamed
            .iter()
            .map(|&(old, new)| (old, new, has(new)))
            .collect();
        let mut seen = Vec::new();
        for (key_node, value) in entries {
            if is_merge(key_node) {
                for merged in self.merged(value) {
                    self.warn_of_replaced(key_node.line, &seen, merged);
                    self.section(section, merged, target);
                }
                continue;
            }
            let Some(key) = self.key(key_node) else {
                continue;
            };
            let Some(key) = self.current_name(&renamed, key, key_node.line) else {
                continue;
            };
            if seen.contains(&key) {
                let message = format!("`{key}` is given twice in {}: remove one", section.title);
                self.notes.error(key_node.line, message);
            } else if (section.field)(self, target, &key, value) {
                seen.push(key);
            } else {
                let keys = section.keys.join(", ");
                let (key, title) = (quoted(&key), section.title);
                let message = format!("{key} is no key of {title}: use one of {keys}");
                self.notes.error(key_node.line, message);
            }
        }
    }

    /// The same for a section that may be absent, as null is.
    fn optional_section<T: Default>(
        &mut self,
        section: &Section<T>,
        node: &Node,
        target: &mut Option<At<T>>,
    ) {
        if is_null(node) {
            *target = None;
            return;
        }
        let target = target.get_or_insert_with(|| at(node, T::default()));
        self.section(section, node, &mut target.value);
    }

    /// What `key` is called today; none if it is there under that name too.
    fn current_name(&mut self, renamed: &[Renamed], key: String, line: usize) -> Option<String> {
        let Some((old, new, is_superseded)) = renamed.iter().find(|(old, ..)| *old == key) else {
            return Some(key);
        };
        if *is_superseded {
            let message = format!("`{old}` is ignored, since `{new}` is given too: remove it");
            self.notes.warn(line, message);
            return None;
        }
        let message = format!("`{old}` is deprecated: call it `{new}`");
        self.notes.warn(line, message);
        Some((*new).to_owned())
    }

    /// Keys that had a section of their own before the options had one.
    fn deprecated(&mut self, deprecated: &mut Deprecated, key: &str, node: &Node) -> bool {
        match key {
            "quantiles" => deprecated.quantiles = Some(at(node, self.quantiles(key, node))),
            "buckets" => deprecated.buckets = Some(at(node, self.buckets(key, node))),
            _ => return false,
        }
        true
    }

    fn rule(&mut self, _key: &str, node: &Node) -> WrittenRule {
        let mut rule = WrittenRule::default();
        self.section(&RULE, node, &mut rule);
        rule.line = node.line;
        rule
    }

    /// Unlike in a section, a label must not replace one that was merged.
    fn labels(&mut self, node: &Node, labels: &mut BTreeMap<String, At<String>>) {
        if is_null(node) {
            labels.clear();
            return;
        }
        for (key_node, value) in self.entries("`labels`", node).unwrap_or_default() {
            if is_merge(key_node) {
                for merged in self.merged(value) {
                    self.labels(merged, labels);
                }
                continue;
            }
            let Some(name) = self.key(key_node) else {
                continue;
            };
            let template = self.text(&name, value);
            match labels.entry(name) {
                Entry::Vacant(free) => {
                    free.insert(at(key_node, template));
                }
                Entry::Occupied(taken) => {
                    let name = quoted(taken.key());
                    let message = format!("label {name} is given twice: remove one");
                    self.notes.error(key_node.line, message);
                }
            }
        }
    }

    /// The elements of a list, of which null is an empty one.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        node: &Node,
        mut element: impl FnMut(&mut Self, &str, &Node) -> T,
    ) -> Vec<T> {
        match &node.content {
            Content::List(list) => list.iter().map(|node| element(self, key, node)).collect(),
            _ if is_null(node) => Vec::new(),
            _ => {
                self.mismatch(key, "a list", node);
                Vec::new()
            }
        }
    }

    pub(super) fn entries<'n>(
        &mut self,
        title: &str,
        node: &'n Node,
    ) -> Option<&'n [(Rc<Node>, Rc<Node>)]> {
        match &node.content {
            Content::Map(entries) => Some(entries),
            _ => {
                let what = describe(node);
                let message = format!("{title} must be a map of keys and values, not {what}");
                self.notes.error(node.line, message);
                None
            }
        }
    }

    /// The maps under a merge key, in the order in which they apply: of a list,
    /// the first counts most.
    fn merged<'n>(&mut self, node: &'n Rc<Node>) -> Vec<&'n Node> {
        let maps: Vec<&Node> = match &node.content {
            Content::List(list) => list.iter().rev().map(Rc::as_ref).collect(),
            _ => vec![node],
        };
        if maps
            .iter()
            .all(|map| matches!(map.content, Content::Map(_)))
        {
            return maps;
        }
        let message = "`<<` must be followed by a map or a list of maps: correct its alias";
        self.notes.error(node.line, message);
        Vec::new()
    }

    fn warn_of_replaced(&mut self, line: usize, seen: &[String], merged: &Node) {
        let Content::Map(entries) = &merged.content else {
            return;
        };
        for key in seen {
            if entries
                .iter()
                .any(|(merged_key, _)| is_text(merged_key, key))
            {
                let message =
                    format!("`<<` replaces the `{key}` above it: move `<<` to the top of the map");
                self.notes.warn(line, message);
            }
        }
    }
}

fn at<T>(node: &Node, value: T) -> At<T> {
    At {
        line: node.line,
        value,
    }
}

pub(super) fn is_null(node: &Node) -> bool {
    matches!(&node.content, Content::Scalar(scalar) if scalar.value() == Ok(Value::Null))
}

fn is_merge(node: &Node) -> bool {
    matches!(&node.content, Content::Scalar(scalar) if scalar.is_merge())
}

fn is_text(node: &Node, text: &str) -> bool {
    matches!(&node.content, Content::Scalar(scalar) if scalar.text() == text)
}

/// For a message that wants something else.
fn describe(node: &Node) -> String {
    match &node.content {
        Content::Scalar(scalar) if scalar.text().is_empty() => "empty".to_owned(),
        Content::Scalar(scalar) => quoted(scalar.text()),
        Content::List(_) => "a list".to_owned(),
        Content::Map(_) => "a map".to_owned(),
    }
}
