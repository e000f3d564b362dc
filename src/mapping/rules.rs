//! A mapping file as written, strictly read.
//!
//! The text becomes a tree (`yaml`), the tree becomes fields of the right type
//! (`fields`), and what is left to check here is whether each rule makes sense.
//! Nothing is compiled or inherited yet. Whatever the reference loads is loaded;
//! what it loads and then stumbles over is warned of, as are keys of its past
//! that it refuses today.

mod checks;
mod fields;
mod names;
mod notes;
mod own;
mod references;

use std::collections::HashMap;

use self::checks::check_rule;
use self::fields::{At, Deprecated, WrittenFile, WrittenRule};
use self::notes::{Notes, quoted};
use super::yaml;
use crate::statsd::StatType;

pub use self::own::{GaugeAggregation, GaugeSigns, LearnText, OwnText, ScaleText};

/// Everything a mapping file says, checked but not compiled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleFile {
    /// The `defaults` section.
    pub defaults: Defaults,
    /// The `mappings` list, in order.
    pub rules: Vec<RuleText>,
    /// The `learn` list, unknown to the reference.
    pub learn: Vec<LearnText>,
    /// What is accepted but hardly meant, one sentence each, with its line.
    pub warnings: Vec<String>,
}

impl RuleFile {
    /// The facts that rules ask for.
    pub fn facts(&self) -> impl Iterator<Item = &String> {
        self.rules.iter().flat_map(|rule| {
            let scales = rule.own.scale_when.iter();
            let of_scales = scales.flat_map(|scale| scale.when.iter().chain(&scale.unless));
            rule.own
                .when
                .iter()
                .chain(&rule.own.unless)
                .chain(of_scales)
        })
    }
}

/// What holds for metrics whose rule does not say, and for those without rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Defaults {
    /// `None` behaves as summary, but its options are not inherited by rules.
    pub observer_type: Option<ObserverType>,
    /// How patterns are read.
    pub match_type: MatchType,
    /// The most specific glob wins instead of the first.
    pub glob_disable_ordering: bool,
    /// Nanoseconds; zero for never; negative expires at the next sweep.
    pub ttl_ns: i64,
    /// For summaries.
    pub summary: SummaryText,
    /// For histograms.
    pub histogram: HistogramText,
    /// Keys unknown to the reference; only those that `defaults` may have.
    pub own: OwnText,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleText {
    /// Where it starts in the file, counting from 1.
    pub line: usize,
    /// Glob or regular expression.
    pub pattern: String,
    /// How `pattern` is read.
    pub match_type: MatchType,
    /// Only samples of this type; all if `None`.
    pub stat: Option<StatType>,
    /// Template of the metric name.
    pub name: String,
    /// Label names with the templates of their values, ascending.
    pub labels: Vec<(String, String)>,
    /// A tag wins over a label of the rule.
    pub honor_labels: bool,
    /// As written, before defaults.
    pub observer_type: Option<ObserverType>,
    /// For `# HELP`.
    pub help: Option<String>,
    /// The sample is dropped instead of mapped.
    pub drop: bool,
    /// Nanoseconds; zero for the default.
    pub ttl_ns: i64,
    /// Present if written, even if empty.
    pub summary: Option<SummaryText>,
    /// Present if written, even if empty.
    pub histogram: Option<HistogramText>,
    /// Multiplies the value.
    pub scale: Option<f64>,
    /// Keys unknown to the reference.
    pub own: OwnText,
}

/// What an observer becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObserverType {
    /// Buckets.
    Histogram,
    /// Quantiles.
    Summary,
}

/// How a pattern is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MatchType {
    /// Segments between dots, `*` for any one.
    #[default]
    Glob,
    /// RE2 syntax, found anywhere in the name.
    Regex,
}

/// `summary_options`; zero and empty mean absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SummaryText {
    /// Quantile and allowed error.
    pub quantiles: Vec<(f64, f64)>,
    /// Nanoseconds.
    pub max_age_ns: i64,
    /// Steps of the window.
    pub age_buckets: u32,
    /// Accepted, without meaning here.
    pub buf_cap: u32,
}

/// `histogram_options`; zero and empty mean absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramText {
    /// Upper bounds, as written.
    pub buckets: Vec<f64>,
    /// Growth from one native bucket to the next.
    pub native_bucket_factor: f64,
    /// Resolution is halved above so many.
    pub native_buckets_max: u32,
}

/// One thing wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct ConfigError {
    /// The file's name as given.
    pub file: String,
    /// Counting from 1.
    pub line: usize,
    /// What is wrong and how to mend it.
    pub message: String,
}

/// Reads a mapping file, of which `file` is the name in messages.
///
/// # Errors
/// All fields of a wrong type or key; if there are none, the first rule that
/// cannot work. Regular expressions are not looked at.
pub fn read(text: &[u8], file: &str) -> Result<RuleFile, Vec<ConfigError>> {
    let mut notes = Notes::new(file);
    let document =
        yaml::parse(text).map_err(|error| vec![notes.note(error.line, error.message)])?;
    let written = match document.root {
        Some(root) => fields::read(&root, &mut notes),
        None => WrittenFile::default(),
    };
    if let Some(line) = document.unread_line {
        let message = "from here on nothing is read, since the first YAML document ends above: check the indentation, or remove what follows";
        notes.warn(line, message);
    }
    notes.check()?;

    let mut defaults = written.defaults.defaults;
    let Deprecated { quantiles, buckets } = written.defaults.deprecated;
    if let Some(old) = quantiles {
        adopt_quantiles(old, &mut defaults.summary, &mut notes);
    }
    if let Some(old) = buckets {
        adopt_buckets(old, &mut defaults.histogram, &mut notes);
    }
    let mut rules = Vec::with_capacity(written.rules.len());
    for rule in written.rules {
        check_rule(&rule, &defaults).map_err(|(line, message)| vec![notes.note(line, message)])?;
        rules.push(finish_rule(rule, &defaults, &mut notes));
    }
    warn_of_duplicates(&rules, &mut notes);
    let learn =
        own::finish_learn(written.learn).map_err(|(line, text)| vec![notes.note(line, text)])?;
    Ok(RuleFile {
        defaults,
        rules,
        learn,
        warnings: notes.into_warnings(),
    })
}

/// Turns a rule that passed the checks into its final form.
fn finish_rule(mut rule: WrittenRule, defaults: &Defaults, notes: &mut Notes) -> RuleText {
    adopt_deprecated(&mut rule, defaults, notes);
    let match_type = rule.effective_match_type(defaults);
    if !rule.drop {
        warn_of_templates(&rule, match_type, notes);
    }
    RuleText {
        line: rule.line,
        pattern: rule.pattern.value,
        match_type,
        stat: rule.stat,
        name: rule.name.value,
        labels: rule
            .labels
            .into_iter()
            .map(|(label, template)| (label, template.value))
            .collect(),
        honor_labels: rule.honor_labels,
        observer_type: rule.observer_type,
        help: Some(rule.help).filter(|help| !help.is_empty()),
        drop: rule.drop,
        ttl_ns: rule.ttl_ns,
        summary: rule.summary.map(|options| options.value),
        histogram: rule.histogram.map(|options| options.value),
        scale: rule.scale,
        own: rule.own,
    }
}

/// Moves options into the sections that were made for them later. They may
/// contradict the observer type; that was never an error, they meant nothing.
fn adopt_deprecated(rule: &mut WrittenRule, defaults: &Defaults, notes: &mut Notes) {
    let observer_type = rule.effective_observer_type(defaults);
    let Deprecated { quantiles, buckets } = std::mem::take(&mut rule.deprecated);
    if let Some(old) = quantiles {
        if observer_type == Some(ObserverType::Histogram) {
            let message = "`quantiles` mean nothing to a histogram: remove them";
            notes.warn(old.line, message);
        } else {
            let summary = rule.summary.get_or_insert_default();
            adopt_quantiles(old, &mut summary.value, notes);
        }
    }
    if let Some(old) = buckets {
        if observer_type == Some(ObserverType::Summary) {
            let message = "`buckets` mean nothing to a summary: remove them";
            notes.warn(old.line, message);
        } else {
            let histogram = rule.histogram.get_or_insert_default();
            adopt_buckets(old, &mut histogram.value, notes);
        }
    }
}

fn adopt_quantiles(old: At<Vec<(f64, f64)>>, summary: &mut SummaryText, notes: &mut Notes) {
    adopt(
        "quantiles",
        "summary_options",
        old,
        &mut summary.quantiles,
        notes,
    );
}

fn adopt_buckets(old: At<Vec<f64>>, histogram: &mut HistogramText, notes: &mut Notes) {
    adopt(
        "buckets",
        "histogram_options",
        old,
        &mut histogram.buckets,
        notes,
    );
}

/// Takes `old` where nothing is given in its new place.
fn adopt<T>(key: &str, section: &str, old: At<Vec<T>>, new: &mut Vec<T>, notes: &mut Notes) {
    if new.is_empty() {
        let message = format!("`{key}` in this place is deprecated: move it into `{section}`");
        notes.warn(old.line, message);
        *new = old.value;
    } else {
        let message = format!("`{key}` is ignored, since `{section}` has it too: remove it");
        notes.warn(old.line, message);
    }
}

fn warn_of_templates(rule: &WrittenRule, match_type: MatchType, notes: &mut Notes) {
    let mut warn = |place: &str, template: &At<String>| {
        for complaint in references::complaints(&template.value, match_type, &rule.pattern.value) {
            let message = format!("in {}, {complaint}", quoted(place));
            notes.warn(template.line, message);
        }
    };
    warn("name", &rule.name);
    for (label, template) in &rule.labels {
        warn(label, template);
    }
    for (label, template) in &rule.labels {
        if names::is_reserved_label(label) {
            let label = quoted(label);
            let message =
                format!("Prometheus keeps the label name {label} for itself: choose another");
            notes.warn(template.line, message);
        }
    }
}

/// Warns of rules that can never match, since one above has the same pattern.
fn warn_of_duplicates(rules: &[RuleText], notes: &mut Notes) {
    let mut lines = HashMap::new();
    // Rules with conditions may share a pattern.
    for rule in rules.iter().filter(|rule| !rule.own.is_conditional()) {
        let key = |stat| (rule.match_type, rule.pattern.as_str(), stat);
        if let Some(line) = lines.get(&key(None)).or_else(|| lines.get(&key(rule.stat))) {
            let message = format!(
                "the rule never matches, since that in line {line} has the same pattern {}: remove one",
                quoted(&rule.pattern)
            );
            notes.warn(rule.line, message);
        }
        lines.entry(key(rule.stat)).or_insert(rule.line);
    }
}

#[cfg(test)]
mod tests;
