//! A mapping file as written, strictly read.

use crate::statsd::StatType;

/// Everything a mapping file says, checked but not compiled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleFile {
    /// The `defaults` section.
    pub defaults: Defaults,
    /// The `mappings` list, in order.
    pub rules: Vec<RuleText>,
    /// What is accepted but hardly meant, one sentence each, with its line.
    pub warnings: Vec<String>,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// Reads a mapping file; the error is the first rule that is wrong, or
/// everything of the wrong type, one sentence each.
pub fn read(_text: &[u8], _file: &str) -> Result<RuleFile, Vec<ConfigError>> {
    Ok(RuleFile::default())
}
