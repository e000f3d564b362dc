//! Fields one by one: what each may be written as, and where `<<` leaves it.

use super::*;

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
        check(&format!(
            "defaults: {{match_type: regex}}\nmappings: [{{match: a, name: b, match_type: {text}}}]"
        ))
        .rules[0]
            .match_type
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
