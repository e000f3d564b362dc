//! Keys of mapping files that the reference does not know. A file without them
//! means what it means there.

use super::checks::RuleError;
use super::fields::{Reader, Section, is_null};
use super::names;
use super::notes::quoted;
use crate::mapping::yaml::{Content, Node};
use crate::statsd::Dialect;

/// What a rule, or the `defaults`, say in keys of our own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnText {
    /// Facts that must all be known for the rule to count.
    pub when: Vec<String>,
    /// Facts of which none may be known.
    pub unless: Vec<String>,
    /// Tags that a line must have.
    pub match_tags: Vec<String>,
    /// Tags with the labels they become.
    pub rename_tags: Vec<(String, String)>,
    /// Tags that become no label.
    pub drop_tags: Vec<String>,
    /// Template of a DAG's and a task's id with a dot between them, which
    /// become the labels `dag_id` and `task_id`.
    pub dag_and_task: Option<String>,
    /// Factors; the first that holds counts instead of `scale`.
    pub scale_when: Vec<ScaleText>,
    /// A negative value of a counter is dropped instead of refused.
    pub drop_negative: bool,
    /// What a sign before the value of a gauge means.
    pub gauge_signs: Option<GaugeSigns>,
    /// How values of several senders are combined.
    pub gauge_aggregation: Option<GaugeAggregation>,
    /// Nanoseconds after which a silent sender no longer counts; zero for never.
    pub source_ttl_ns: i64,
}

/// A factor under conditions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScaleText {
    /// Facts that must all be known.
    pub when: Vec<String>,
    /// Facts of which none may be known.
    pub unless: Vec<String>,
    /// Multiplies the value.
    pub scale: f64,
}

/// What a sign before the value of a gauge means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GaugeSigns {
    /// The gauge changes by the value, as StatsD has it.
    Relative,
    /// The gauge becomes the value.
    Absolute,
    /// Absolute from senders of DogStatsD, whose client means it so.
    ByDialect,
}

/// How the values that several senders gave a gauge are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GaugeAggregation {
    /// The last one counts, whoever sent it.
    #[default]
    Last,
    /// They add up.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// Their mean.
    Avg,
}

/// One entry of the `learn` list: a line that fits it tells something.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnText {
    /// Where it starts in the file, counting from 1.
    pub line: usize,
    /// A regular expression, found in the name.
    pub pattern: String,
    /// Only lines with tags of this dialect.
    pub dialect: Option<Dialect>,
    /// Only lines with all these tags.
    pub tags: Vec<String>,
    /// The fact that is known from then on.
    pub fact: Option<String>,
    /// Without a fact: the template of a DAG's id that is.
    pub dag_id: String,
}

/// An entry of which nothing is required yet.
#[derive(Debug, Default)]
pub(super) struct WrittenLearn {
    line: usize,
    pattern: String,
    dialect: Option<Dialect>,
    tags: Vec<String>,
    fact: String,
    dag_id: String,
}

impl OwnText {
    /// Whether the rule leaves some lines that fit its pattern to others.
    pub(in crate::mapping) fn is_conditional(&self) -> bool {
        !(self.when.is_empty() && self.unless.is_empty() && self.match_tags.is_empty())
    }
}

const LEARN: Section<WrittenLearn> = Section {
    title: "an entry of `learn`",
    keys: &["match", "match_dialect", "match_tags", "fact", "dag_id"],
    renamed: &[],
    field: |reader, learn, key, node| {
        match key {
            "match" => learn.pattern = reader.text(key, node),
            "match_dialect" => learn.dialect = reader.word(key, node, &dialects()),
            "match_tags" => learn.tags = texts(reader, key, node),
            "fact" => learn.fact = reader.text(key, node),
            "dag_id" => learn.dag_id = reader.text(key, node),
            _ => return false,
        }
        true
    },
};

const SCALE: Section<ScaleText> = Section {
    title: "an entry of `scale_when`",
    keys: &["when", "unless", "scale"],
    renamed: &[],
    field: |reader, scale, key, node| {
        match key {
            "when" => scale.when = texts(reader, key, node),
            "unless" => scale.unless = texts(reader, key, node),
            "scale" => scale.scale = reader.number(key, node),
            _ => return false,
        }
        true
    },
};

const GAUGE_SIGNS: &[(&str, GaugeSigns)] = &[
    ("relative", GaugeSigns::Relative),
    ("absolute", GaugeSigns::Absolute),
    ("by_dialect", GaugeSigns::ByDialect),
];

const GAUGE_AGGREGATIONS: &[(&str, GaugeAggregation)] = &[
    ("last", GaugeAggregation::Last),
    ("sum", GaugeAggregation::Sum),
    ("min", GaugeAggregation::Min),
    ("max", GaugeAggregation::Max),
    ("avg", GaugeAggregation::Avg),
];

fn dialects() -> Vec<(&'static str, Dialect)> {
    let word = |dialect: Dialect| (dialect.as_str(), dialect);
    Dialect::ALL.map(word).to_vec()
}

/// Reads a key of a rule; false if it is not one of ours.
pub(super) fn read_key(reader: &mut Reader, own: &mut OwnText, key: &str, node: &Node) -> bool {
    match key {
        "when" => own.when = texts(reader, key, node),
        "unless" => own.unless = texts(reader, key, node),
        "match_tags" => own.match_tags = texts(reader, key, node),
        "dag_and_task" => {
            own.dag_and_task = Some(reader.text(key, node)).filter(|text| !text.is_empty());
        }
        "scale_when" => own.scale_when = reader.list(key, node, read_scale),
        "drop_negative" => own.drop_negative = reader.flag(key, node),
        _ => return read_default(reader, own, key, node),
    }
    true
}

/// Reads a key that `defaults` may have too; false if it is none.
pub(super) fn read_default(reader: &mut Reader, own: &mut OwnText, key: &str, node: &Node) -> bool {
    match key {
        "rename_tags" => own.rename_tags = read_renames(reader, key, node),
        "drop_tags" => own.drop_tags = texts(reader, key, node),
        "gauge_signs" => own.gauge_signs = reader.word(key, node, GAUGE_SIGNS),
        "gauge_aggregation" => {
            own.gauge_aggregation = reader.word(key, node, GAUGE_AGGREGATIONS);
        }
        "source_ttl" => own.source_ttl_ns = reader.duration(key, node),
        _ => return false,
    }
    true
}

pub(super) fn read_learn(reader: &mut Reader, _key: &str, node: &Node) -> WrittenLearn {
    let mut learn = WrittenLearn::default();
    reader.section(&LEARN, node, &mut learn);
    learn.line = node.line;
    learn
}

/// Turns entries into their final form.
pub(super) fn finish_learn(written: Vec<WrittenLearn>) -> Result<Vec<LearnText>, RuleError> {
    written.into_iter().map(finish_one).collect()
}

fn finish_one(learn: WrittenLearn) -> Result<LearnText, RuleError> {
    if learn.pattern.is_empty() {
        let message = "the entry has no `match`: add a regular expression";
        return Err((learn.line, message.to_owned()));
    }
    if learn.fact.is_empty() == learn.dag_id.is_empty() {
        let message = "the entry must have either a `fact` or a `dag_id`: add one";
        return Err((learn.line, message.to_owned()));
    }
    Ok(LearnText {
        line: learn.line,
        pattern: learn.pattern,
        dialect: learn.dialect,
        tags: learn.tags,
        fact: Some(learn.fact).filter(|fact| !fact.is_empty()),
        dag_id: learn.dag_id,
    })
}

fn read_scale(reader: &mut Reader, _key: &str, node: &Node) -> ScaleText {
    let mut scale = ScaleText::default();
    reader.section(&SCALE, node, &mut scale);
    scale
}

/// A map from tags to labels.
fn read_renames(reader: &mut Reader, key: &str, node: &Node) -> Vec<(String, String)> {
    if is_null(node) {
        return Vec::new();
    }
    let entries = reader.entries("`rename_tags`", node).unwrap_or_default();
    let mut renames = Vec::with_capacity(entries.len());
    for (tag, label) in entries {
        let line = label.line;
        let (tag, label) = (reader.text(key, tag), reader.text(key, label));
        if !names::is_label_name(&label) {
            let message = format!(
                "{} is no label name: use letters, digits and underscores, or `drop_tags`",
                quoted(&label)
            );
            reader.notes.error(line, message);
        }
        renames.push((tag, label));
    }
    renames
}

/// A list of words, or a single one.
fn texts(reader: &mut Reader, key: &str, node: &Node) -> Vec<String> {
    match &node.content {
        Content::Scalar(_) if !is_null(node) => vec![reader.text(key, node)],
        _ => reader.list(key, node, Reader::text),
    }
}
