//! Mapping files as a whole: what rules say together, and what is refused or
//! warned of.

mod fields;
mod own;

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
        own: OwnText::default(),
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
        own: OwnText::default(),
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
        own: OwnText::default(),
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
