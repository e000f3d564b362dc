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
mod references;

use std::collections::HashMap;

use self::checks::check_rule;
use self::fields::{At, Deprecated, WrittenFile, WrittenRule};
use self::notes::{Notes, quoted};
use super::yaml;
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
    Ok(RuleFile {
        defaults,
        rules,
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
    for rule in rules {
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
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn check(text: &str) -> RuleFile {
        match read(text.as_bytes(), "f.yml") {
            Ok(file) => file,
            Err(errors) => panic!("{text}\n{}", errors[0]),
        }
    }

    /// A rule of its required fields and `more`.
    fn rule_with(more: &str) -> String {
        format!("mappings:\n- match: a.*\n  name: aa\n  {more}\n")
    }

    fn check_rule_with(more: &str) -> RuleText {
        check(&rule_with(more)).rules.remove(0)
    }

    /// Checks the beginning of the first error, and that it names a remedy.
    fn check_error(text: &str, start: &str) {
        let errors = read(text.as_bytes(), "f.yml").expect_err(text);
        let error = errors[0].to_string();
        let rest = error.strip_prefix("f.yml:").unwrap_or("");
        assert!(rest.starts_with(start), "{text}\n{error}");
        let remedies = [
            "use", "add", "must be", "remove", "write", "correct", "quote", "check", "such as",
        ];
        assert!(
            remedies.iter().any(|remedy| rest.contains(remedy)),
            "{error}"
        );
    }

    /// Checks all warnings, each by its line and a fragment.
    fn check_warnings(text: &str, warnings: &[(usize, &str)]) -> RuleFile {
        let file = check(text);
        assert_eq!(
            file.warnings.len(),
            warnings.len(),
            "{text}\n{:?}",
            file.warnings
        );
        for (warning, (line, fragment)) in file.warnings.iter().zip(warnings) {
            assert!(warning.starts_with(&format!("f.yml:{line}: ")), "{warning}");
            assert!(warning.contains(fragment), "{warning}");
        }
        file
    }

    #[test]
    fn a_whole_file() {
        let file = check_warnings(
            "
defaults:
  observer_type: histogram
  match_type: regex
  glob_disable_ordering: true
  ttl: 1m
  summary_options:
    quantiles: [{quantile: 0.5, error: 0.05}]
    max_age: 5m
    age_buckets: 4
    buf_cap: 100
  histogram_options:
    buckets: [0.1, 1, .inf]
    native_histogram_bucket_factor: 1.1
    native_histogram_max_buckets: 50
mappings:
- match: a.*.b
  match_type: glob
  match_metric_type: gauge
  name: aa_$1
  labels: {job: $1, also: x}
  honor_labels: yes
  observer_type: summary
  help: All of it.
  action: drop
  ttl: 30s
  summary_options: {max_age: 1m}
  scale: 0.5
- match: (x+)
  name: xx
  histogram_options:
",
            &[],
        );
        let defaults = Defaults {
            observer_type: Some(ObserverType::Histogram),
            match_type: MatchType::Regex,
            glob_disable_ordering: true,
            ttl_ns: 60 * SECOND,
            summary: SummaryText {
                quantiles: vec![(0.5, 0.05)],
                max_age_ns: 300 * SECOND,
                age_buckets: 4,
                buf_cap: 100,
            },
            histogram: HistogramText {
                buckets: vec![0.1, 1.0, f64::INFINITY],
                native_bucket_factor: 1.1,
                native_buckets_max: 50,
            },
        };
        let first = RuleText {
            line: 17,
            pattern: "a.*.b".to_owned(),
            match_type: MatchType::Glob,
            stat: Some(StatType::Gauge),
            name: "aa_$1".to_owned(),
            labels: vec![
                ("also".to_owned(), "x".to_owned()),
                ("job".to_owned(), "$1".to_owned()),
            ],
            honor_labels: true,
            observer_type: Some(ObserverType::Summary),
            help: Some("All of it.".to_owned()),
            drop: true,
            ttl_ns: 30 * SECOND,
            summary: Some(SummaryText {
                max_age_ns: 60 * SECOND,
                ..SummaryText::default()
            }),
            histogram: None,
            scale: Some(0.5),
        };
        let second = RuleText {
            line: 29,
            pattern: "(x+)".to_owned(),
            match_type: MatchType::Regex,
            stat: None,
            name: "xx".to_owned(),
            labels: Vec::new(),
            honor_labels: false,
            observer_type: None,
            help: None,
            drop: false,
            ttl_ns: 0,
            summary: None,
            histogram: None,
            scale: None,
        };
        assert_eq!(file.defaults, defaults);
        assert_eq!(file.rules, [first, second]);
    }

    #[test]
    fn files_without_rules() {
        for text in [
            "",
            "# only a comment\n",
            "null\n",
            "{}\n",
            "mappings: []\n",
            "mappings:\n",
            "defaults:\nmappings:\n",
            "defaults: {}",
            "%YAML 1.1\n---\n",
        ] {
            assert_eq!(check(text), RuleFile::default(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, nanos) in [
            ("1h2m3s4ms", 3_723_004_000_000),
            ("-5s", -5 * SECOND),
            ("!!str 5s", 5 * SECOND),
            ("'0'", 0),
            ("0", 0),
            ("60", 60),
            ("1.5", 1),
            ("0x3C", 60),
            ("!!int '60'", 60),
            ("1e18", 1_000_000_000 * SECOND),
            ("-.inf", i64::MIN),
            ("", 0),
        ] {
            assert_eq!(
                check_rule_with(&format!("ttl: {text}")).ttl_ns,
                nanos,
                "{text}"
            );
        }
        for text in [
            "5d",
            "5w",
            "soon",
            "yes",
            "'60'",
            "!!str 60",
            ".nan",
            ".inf",
            "9223372036854775808",
            "[5s]",
        ] {
            check_error(&rule_with(&format!("ttl: {text}")), "4: ");
        }
    }

    #[test]
    fn numbers() {
        for (text, scale) in [
            ("0x1F", Some(31.0)),
            ("1_000", Some(1000.0)),
            ("010", Some(8.0)),
            (".inf", Some(f64::INFINITY)),
            ("!!float '5'", Some(5.0)),
            ("0", Some(0.0)),
            ("~", None),
        ] {
            assert_eq!(
                check_rule_with(&format!("scale: {text}")).scale,
                scale,
                "{text}"
            );
        }
        for text in [
            "big",
            "\"2\"",
            "NaN",
            "1e400",
            "yes",
            "{}",
            "! 5",
            "!!int 1.5",
        ] {
            check_error(&rule_with(&format!("scale: {text}")), "4: ");
        }
    }

    #[test]
    fn counts() {
        let check = |text: &str| {
            let rule = check_rule_with(&format!("summary_options: {{age_buckets: {text}}}"));
            rule.summary.unwrap().age_buckets
        };
        for (text, count) in [
            ("2.7", 2),
            ("-0.5", 0),
            ("0x10", 16),
            ("4294967295.9", u32::MAX),
            ("~", 0),
        ] {
            assert_eq!(check(text), count, "{text}");
        }
        for text in ["-1", "4294967296", ".nan", "'3'", "many"] {
            check_error(
                &rule_with(&format!("summary_options: {{age_buckets: {text}}}")),
                "4: `age_buckets` must be",
            );
        }
    }

    #[test]
    fn flags() {
        for (text, flag) in [
            ("y", true),
            ("on", true),
            ("off", false),
            ("~", false),
            ("!!bool 'yes'", true),
        ] {
            assert_eq!(
                check_rule_with(&format!("honor_labels: {text}")).honor_labels,
                flag,
                "{text}"
            );
        }
        for text in ["maybe", "1", "'yes'", "tRUE"] {
            check_error(
                &rule_with(&format!("honor_labels: {text}")),
                "4: `honor_labels` must be true or false",
            );
        }
    }

    #[test]
    fn words() {
        let observer_type =
            |text: &str| check_rule_with(&format!("observer_type: {text}")).observer_type;
        assert_eq!(observer_type("histogram"), Some(ObserverType::Histogram));
        assert_eq!(observer_type("\"\""), Some(ObserverType::Summary));
        assert_eq!(observer_type("null"), None);
        let match_type = |text: &str| {
            check(&format!("defaults: {{match_type: regex}}\nmappings: [{{match: a, name: b, match_type: {text}}}]")).rules[0].match_type
        };
        assert_eq!(match_type("''"), MatchType::Glob);
        assert_eq!(match_type("~"), MatchType::Regex);
        let drop = |text: &str| check_rule_with(&format!("action: {text}")).drop;
        assert_eq!(
            (drop("drop"), drop("map"), drop("''"), drop("~")),
            (true, false, false, false)
        );
        let stat = |text: &str| check_rule_with(&format!("match_metric_type: {text}")).stat;
        assert_eq!(stat("observer"), Some(StatType::Observer));
        assert_eq!(stat("~"), None);

        for (key, words) in [
            ("observer_type", ["timer", "Histogram", "5", "[]"]),
            ("match_type", ["glob2", "'~'", "yes", "{}"]),
            ("action", ["keep", "Drop", "no", "[drop]"]),
            ("match_metric_type", ["wrong", "\"\"", "Counter", "{}"]),
        ] {
            for word in words {
                check_error(
                    &rule_with(&format!("{key}: {word}")),
                    &format!("4: `{key}` must be"),
                );
            }
        }
    }

    #[test]
    fn texts_are_raw() {
        let rule = check_rule_with(
            "labels: {yes_raw: yes, num: 1.50, null_raw: ~, hex: 0x1F, date: 2020-01-02, bin: !!binary aGk=, octal: 017, exp: 1e3, empty: \"\", _12: x}",
        );
        let labels: Vec<(&str, &str)> = rule
            .labels
            .iter()
            .map(|(label, value)| (&label[..], &value[..]))
            .collect();
        assert_eq!(
            labels,
            [
                ("_12", "x"),
                ("bin", "hi"),
                ("date", "2020-01-02"),
                ("empty", ""),
                ("exp", "1e3"),
                ("hex", "0x1F"),
                ("null_raw", ""),
                ("num", "1.50"),
                ("octal", "017"),
                ("yes_raw", "yes"),
            ]
        );
        let help = |text: &str| check_rule_with(&format!("help: {text}")).help;
        assert_eq!(help("12").as_deref(), Some("12"));
        assert_eq!(help(">-\n    one\n    two").as_deref(), Some("one two"));
        assert_eq!(help("''"), None);
        check_error(
            &rule_with("help: !!int x"),
            "4: `x` is not of the type its tag says",
        );
        check_error(
            &rule_with("labels: {ab: [c]}"),
            "4: `ab` must be text, not a list",
        );
    }

    #[test]
    fn merges_apply_where_they_stand() {
        let base = "mappings:\n- &base {match: m.a, name: base, ttl: 1s, scale: 10, labels: &l {team: core}, summary_options: {max_age: 1m}}\n";
        let second = |more: &str| check(&format!("{base}- {more}\n")).rules.remove(1);

        let rule = second("*base");
        assert_eq!((&rule.name[..], rule.ttl_ns), ("base", SECOND));
        let rule = second("<<: *base\n  name: mine\n  scale: ~");
        assert_eq!(
            (&rule.name[..], rule.ttl_ns, rule.scale),
            ("mine", SECOND, None)
        );
        let rule = second("name: mine\n  <<: *base");
        assert_eq!(rule.name, "base");
        let rule = second("<<: [{name: first}, {name: second}, *base]");
        assert_eq!(rule.name, "first");
        let rule = second("<<: *base\n  labels: {job: x}\n  summary_options: {age_buckets: 2}");
        assert_eq!(rule.labels.len(), 2);
        let summary = rule.summary.unwrap();
        assert_eq!((summary.max_age_ns, summary.age_buckets), (60 * SECOND, 2));
        let rule = second("<<: *base\n  labels: ~\n  summary_options: ~");
        assert_eq!((rule.labels.len(), rule.summary), (0, None));
        let rule = second("{match: b, name: bb, labels: {<<: *l, job: x}}");
        assert_eq!(rule.labels.len(), 2);

        check_error(
            &format!("{base}- {{<<: *base, labels: {{team: x}}}}"),
            "3: label `team` is given twice",
        );
        check_error(&rule_with("<<: x"), "4: `<<` must be");
        check_error(&rule_with("<<: [{}, x]"), "4: `<<` must be");
        check_error(&rule_with("'<<': {}"), "4: `<<` is no key of a rule");
        check_warnings(
            &format!("{base}- match: mine\n  ttl: 5s\n  <<: *base\n"),
            &[
                (3, "same pattern `m.a`"),
                (5, "replaces the `match`"),
                (5, "replaces the `ttl`"),
            ],
        );
    }

    #[test]
    fn wrong_types_and_keys() {
        for (text, start) in [
            ("mappings: 5", "1: `mappings` must be a list, not `5`"),
            ("mappings: ''", "1: `mappings` must be a list, not empty"),
            (
                "[]",
                "1: a mapping file must be a map of keys and values, not a list",
            ),
            ("text", "1: a mapping file must be a map"),
            ("mappings:\n- a", "2: a rule must be a map"),
            (
                "mappings:\n  match: a",
                "2: `mappings` must be a list, not a map",
            ),
            ("defaults: [1]", "1: `defaults` must be a map"),
            (
                "unknown: 1",
                "1: `unknown` is no key of a mapping file: use one of defaults, mappings",
            ),
            ("fsm: {}", "1: `fsm` is no key"),
            ("~: {}", "1: `` is no key"),
            ("[a]: {}", "1: `a key` must be text, not a list"),
            (
                "mappings: []\nmappings: []",
                "2: `mappings` is given twice in a mapping file",
            ),
            (
                "defaults: {unknown: 1}",
                "1: `unknown` is no key of `defaults`",
            ),
            (
                "mappings:\n- {match: a, name: b, name: c}",
                "2: `name` is given twice in a rule",
            ),
            ("\tmappings: []", "1: not valid YAML"),
            ("mappings: [", "2: not valid YAML"),
            ("mappings:\n- match: *.a\n  name: b", "2: not valid YAML"),
            ("defaults: {ttl: 5w}", "1: the ttl `5w` has an unknown unit"),
            (
                "defaults: {match_type: re}",
                "1: `match_type` must be glob or regex, not `re`",
            ),
        ] {
            check_error(text, start);
        }
        for (more, start) in [
            ("colour: red", "4: `colour` is no key of a rule"),
            ("labels: [ab]", "4: `labels` must be a map"),
            ("labels: {ab: 1, ab: 2}", "4: label `ab` is given twice"),
            ("labels: {{}: 1}", "4: `a key` must be text, not a map"),
            (
                "summary_options: {colour: 1}",
                "4: `colour` is no key of `summary_options`",
            ),
            ("summary_options: []", "4: `summary_options` must be a map"),
            (
                "summary_options: {quantiles: [0.5]}",
                "4: a quantile must be a map",
            ),
            (
                "histogram_options: {buckets: 1}",
                "4: `buckets` must be a list",
            ),
            (
                "histogram_options: {buckets: [x]}",
                "4: `buckets` must be a number",
            ),
        ] {
            check_error(&rule_with(more), start);
        }
    }

    #[test]
    fn all_type_errors_are_reported() {
        let text =
            "defaults: {ttl: x}\nmappings:\n- {match: [], name: a-b, colour: red}\n- {scale: x}\n";
        let errors = read(text.as_bytes(), "f.yml").unwrap_err();
        let lines: Vec<usize> = errors.iter().map(|error| error.line).collect();
        assert_eq!(lines, [1, 3, 3, 4]);

        let many = format!("mappings:\n{}", "- {colour: red}\n".repeat(1000));
        let errors = read(many.as_bytes(), "f.yml").unwrap_err();
        assert_eq!(errors.len(), 100);
        assert!(errors[99].message.ends_with("left out)"), "{}", errors[99]);
    }

    #[test]
    fn rules_that_cannot_work() {
        for (text, start) in [
            ("mappings:\n- {match: a}", "2: the rule has no `name`"),
            (
                "mappings:\n- {match: a, name: ''}",
                "2: the rule has no `name`",
            ),
            (
                "mappings:\n- {match: '*', action: drop}",
                "2: the rule has no `name`",
            ),
            ("mappings:\n- ~", "2: the rule has no `name`"),
            ("mappings:\n- {name: b}", "2: the rule has no `match`"),
            (
                "mappings:\n- {match: '', name: b}",
                "2: the rule has no `match`",
            ),
            (
                "mappings:\n- match: a\n  name: 0a",
                "3: metric name `0a` is not legal",
            ),
            (
                "mappings:\n- match: a.\n  name: b",
                "2: pattern `a.` is not legal",
            ),
            (
                "mappings:\n- {match: ok, name: ok}\n- {match: bad., name: b}\n- {match: '-'}",
                "3: pattern `bad.`",
            ),
            (
                "defaults: {observer_type: histogram}\nmappings:\n- {match: a, name: b, summary_options: {}}",
                "3: the observer_type is histogram: remove `summary_options`",
            ),
        ] {
            check_error(text, start);
        }
        for (more, start) in [
            (
                "labels:\n    a-b: c",
                "5: label name `a-b` is not legal: use letters, digits and underscores, at least two characters, not starting with a digit",
            ),
            (
                "observer_type: histogram\n  summary_options: {}",
                "5: the observer_type is histogram",
            ),
            (
                "observer_type: summary\n  histogram_options: {}",
                "5: the observer_type is summary",
            ),
        ] {
            check_error(&rule_with(more), start);
        }
        // Labels come first, then the name, then the pattern.
        check_error(
            "mappings: [{match: '!', name: '', labels: {a: b}}]",
            "1: label name `a`",
        );
        check_error(
            "mappings: [{match: '!', name: ''}]",
            "1: the rule has no `name`",
        );

        for text in [
            "mappings: [{match: '', name: b, match_type: regex}]",
            "mappings: [{match: '((', name: b, match_type: regex}]",
            &rule_with("summary_options: {}\n  histogram_options: {}"),
            &rule_with("observer_type: histogram\n  summary_options: null"),
            &rule_with("observer_type: summary\n  histogram_options: ~"),
        ] {
            check(text);
        }
    }

    #[test]
    fn doubtful_rules_are_warned_of() {
        for (more, fragment) in [
            ("ttl: 60", "write `60s` for seconds"),
            ("ttl: -1.5", "write `-1s` for seconds"),
            ("histogram_options: {buckets: [3, 1]}", "sort them"),
            ("histogram_options: {buckets: [1, 1]}", "sort them"),
            ("histogram_options: {buckets: [1, .nan]}", "sort them"),
            (
                "summary_options: {quantiles: [{quantile: 1.5}]}",
                "no quantile 1.5",
            ),
            ("summary_options: {max_age: -1s}", "not above zero"),
            ("labels: {__x: y}", "label name `__x`"),
            ("labels: {le: y}", "label name `le`"),
            ("labels: {quantile: y}", "label name `quantile`"),
            (
                "labels: {ab: $1_x}",
                "in `ab`, `$1_x` stands for nothing: write `${1}_x`",
            ),
            ("match_metric_type: timer", "write `observer`"),
        ] {
            check_warnings(&rule_with(more), &[(4, fragment)]);
        }
        for more in [
            "ttl: 1000000000",
            "ttl: 0",
            "summary_options: {max_age: ~}",
            "labels: {ab: $1}",
            "action: drop\n  labels: {le: $2}",
        ] {
            check_warnings(&rule_with(more), &[]);
        }
        check_warnings(
            "defaults: {ttl: 30}",
            &[(1, "the ttl 30 is one of nanoseconds")],
        );
        check_warnings(
            "mappings: [{match: a, name: 'b_$1'}]",
            &[(1, "in `name`, `$1` stands for nothing")],
        );
        check_warnings("---\n---\nmappings: nonsense", &[(2, "nothing is read")]);
        // An aliased mistake is one mistake.
        check_warnings(
            "mappings:\n- &b {match: a, name: b, ttl: 5}\n- {<<: *b, match: c}",
            &[(2, "`5s`")],
        );
    }

    #[test]
    fn duplicates_are_warned_of() {
        let check = |rules: &[&str], warnings: &[(usize, &str)]| {
            let rule = |rest: &&str| format!("- {{name: nn, match: {rest}}}\n");
            check_warnings(
                &format!("mappings:\n{}", rules.iter().map(rule).collect::<String>()),
                warnings,
            );
        };
        check(&["a.*", "a.b"], &[]);
        check(
            &["a", "a"],
            &[(3, "that in line 2 has the same pattern `a`")],
        );
        check(&["a, match_metric_type: gauge", "a"], &[]);
        check(
            &[
                "a, match_metric_type: gauge",
                "a, match_metric_type: counter",
            ],
            &[],
        );
        check(
            &["a, match_metric_type: gauge", "a, match_metric_type: gauge"],
            &[(3, "line 2")],
        );
        check(&["a", "a, match_metric_type: gauge"], &[(3, "line 2")]);
        check(&["a", "a, match_type: regex"], &[]);
    }

    #[test]
    fn deprecated_keys_are_adopted() {
        let histogram = |buckets: &[f64]| HistogramText {
            buckets: buckets.to_vec(),
            ..HistogramText::default()
        };
        let check_rule = |more: &str, warnings: &[(usize, &str)]| {
            check_warnings(&rule_with(more), warnings).rules.remove(0)
        };

        let rule = check_rule("timer_type: histogram", &[(4, "call it `observer_type`")]);
        assert_eq!(rule.observer_type, Some(ObserverType::Histogram));
        let rule = check_rule(
            "timer_type: histogram\n  observer_type: summary",
            &[(4, "`timer_type` is ignored")],
        );
        assert_eq!(rule.observer_type, Some(ObserverType::Summary));
        let rule = check_rule("match_metric_type: timer", &[(4, "write `observer`")]);
        assert_eq!(rule.stat, Some(StatType::Observer));

        let rule = check_rule(
            "buckets: [1, 2]",
            &[(4, "move it into `histogram_options`")],
        );
        assert_eq!(rule.histogram, Some(histogram(&[1.0, 2.0])));
        let rule = check_rule(
            "buckets: [1, 2]\n  histogram_options: {buckets: [3]}",
            &[(4, "`buckets` is ignored")],
        );
        assert_eq!(rule.histogram, Some(histogram(&[3.0])));
        let rule = check_rule(
            "observer_type: summary\n  buckets: [1]",
            &[(5, "mean nothing to a summary")],
        );
        assert_eq!(rule.histogram, None);

        let rule = check_rule(
            "quantiles: [{quantile: 0.5, error: 0.1}]",
            &[(4, "move it into `summary_options`")],
        );
        assert_eq!(rule.summary.unwrap().quantiles, [(0.5, 0.1)]);
        let rule = check_rule(
            "quantiles: []\n  observer_type: histogram",
            &[(4, "mean nothing to a histogram")],
        );
        assert_eq!(rule.summary, None);

        let rule = check_rule(
            "summary_options: {max_summary_age: 1m, summary_age_buckets: 3, stream_buffer_size: 7}",
            &[
                (4, "call it `max_age`"),
                (4, "call it `age_buckets`"),
                (4, "call it `buf_cap`"),
            ],
        );
        let summary = rule.summary.unwrap();
        assert_eq!(
            (summary.max_age_ns, summary.age_buckets, summary.buf_cap),
            (60 * SECOND, 3, 7)
        );

        let file = check_warnings(
            "defaults: {timer_type: histogram, buckets: [1], quantiles: [{quantile: 0.5}]}",
            &[
                (1, "call it"),
                (1, "`quantiles` in this place"),
                (1, "`buckets` in this place"),
            ],
        );
        assert_eq!(file.defaults.observer_type, Some(ObserverType::Histogram));
        assert_eq!(file.defaults.histogram, histogram(&[1.0]));
        assert_eq!(file.defaults.summary.quantiles, [(0.5, 0.0)]);

        check_error(
            &rule_with("timer_type: wrong"),
            "4: `observer_type` must be",
        );
        check_error(
            &rule_with("timer_type: summary\n  timer_type: summary"),
            "5: `observer_type` is given twice",
        );
    }
}
