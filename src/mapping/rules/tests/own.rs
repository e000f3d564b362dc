//! Keys that the reference does not know.

use super::super::*;
use super::{check, check_error, check_rule_with, rule_with};
use crate::statsd::Dialect;

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn keys_of_rules() {
    let rule = check_rule_with(
        "when: [aa, bb]\n  unless: cc\n  match_tags: t\n  rename_tags: {a-b: ab, x: xx}\n  drop_tags: [d]\n  \
         dag_and_task: $1\n  scale_when: [{when: dd, scale: 2}, {unless: [ee], scale: 3}]\n  drop_negative: true\n  \
         gauge_signs: by_dialect\n  gauge_aggregation: sum\n  source_ttl: 5m",
    );
    let scale = |when: &[&str], unless: &[&str], scale| ScaleText {
        when: texts(when),
        unless: texts(unless),
        scale,
    };
    let pair = |tag: &str, label: &str| (tag.to_owned(), label.to_owned());
    let expect = OwnText {
        when: texts(&["aa", "bb"]),
        unless: texts(&["cc"]),
        match_tags: texts(&["t"]),
        rename_tags: vec![pair("a-b", "ab"), pair("x", "xx")],
        drop_tags: texts(&["d"]),
        dag_and_task: Some("$1".to_owned()),
        scale_when: vec![scale(&["dd"], &[], 2.0), scale(&[], &["ee"], 3.0)],
        drop_negative: true,
        gauge_signs: Some(GaugeSigns::ByDialect),
        gauge_aggregation: Some(GaugeAggregation::Sum),
        source_ttl_ns: 300 * 1_000_000_000,
    };
    assert_eq!(rule.own, expect);
    let file = check(&rule_with(
        "when: aa\n  scale_when: [{unless: bb, scale: 1}]",
    ));
    assert_eq!(file.facts().collect::<Vec<_>>(), ["aa", "bb"]);
}

#[test]
fn null_is_as_good_as_nothing() {
    let rule = check_rule_with(
        "when: ~\n  unless: ~\n  match_tags: ~\n  rename_tags: ~\n  drop_tags: ~\n  dag_and_task: ~\n  \
         scale_when: ~\n  drop_negative: ~\n  gauge_signs: ~\n  gauge_aggregation: ~\n  source_ttl: ~",
    );
    assert_eq!(rule.own, OwnText::default());
    assert!(!rule.own.is_conditional());
}

#[test]
fn keys_of_defaults() {
    let own = |text: &str| check(text).defaults.own;
    let all = own(
        "defaults: {rename_tags: {a: aa}, drop_tags: b, gauge_signs: absolute, gauge_aggregation: avg, source_ttl: 1s}",
    );
    assert_eq!(all.drop_tags, ["b"]);
    assert_eq!(all.gauge_signs, Some(GaugeSigns::Absolute));
    assert_eq!(all.gauge_aggregation, Some(GaugeAggregation::Avg));
    assert_eq!(all.source_ttl_ns, 1_000_000_000);
    check_error("defaults: {when: a}", "1: `when` is no key of `defaults`");
}

#[test]
fn lessons() {
    let file = check(
        "learn:\n- {fact: f, match: a, match_dialect: influxdb, match_tags: [t, u]}\n- {dag_id: $1, match: (b)}\n",
    );
    let fact = LearnText {
        line: 2,
        pattern: "a".to_owned(),
        dialect: Some(Dialect::Influxdb),
        tags: texts(&["t", "u"]),
        fact: Some("f".to_owned()),
        dag_id: String::new(),
    };
    let dag_id = LearnText {
        line: 3,
        pattern: "(b)".to_owned(),
        dialect: None,
        tags: Vec::new(),
        fact: None,
        dag_id: "$1".to_owned(),
    };
    assert_eq!(file.learn, [fact, dag_id]);
}

#[test]
fn what_is_wrong_is_named() {
    for (text, start) in [
        ("learn: [{fact: f}]", "1: the entry has no `match`"),
        ("learn: [{match: f}]", "1: the entry must have either"),
        (
            "learn: [{match: f, fact: a, dag_id: b}]",
            "1: the entry must have either",
        ),
        (
            "learn: [{match: f, fact: a, when: b}]",
            "1: `when` is no key of an entry of `learn`",
        ),
        (
            "learn: [{match: f, fact: a, match_dialect: x}]",
            "1: `match_dialect` must be dogstatsd or",
        ),
        (
            &rule_with("gauge_signs: x"),
            "4: `gauge_signs` must be relative or",
        ),
        (
            &rule_with("gauge_aggregation: x"),
            "4: `gauge_aggregation` must be last or",
        ),
        (
            &rule_with("rename_tags: {a: b-c}"),
            "4: `b-c` is no label name",
        ),
        (
            &rule_with("rename_tags: [a]"),
            "4: `rename_tags` must be a map",
        ),
        (
            &rule_with("scale_when: [{scale: x}]"),
            "4: `scale` must be a number",
        ),
        (
            &rule_with("scale_when: [{factor: 1}]"),
            "4: `factor` is no key of an entry of `scale_when`",
        ),
        (&rule_with("when: {a: b}"), "4: `when` must be a list"),
        (
            &rule_with("drop_negative: 1"),
            "4: `drop_negative` must be true or false",
        ),
    ] {
        check_error(text, start);
    }
}

#[test]
fn rules_with_conditions_may_share_a_pattern() {
    let file = check("mappings:\n- {match: a, match_tags: t, name: aa}\n- {match: a, name: bb}\n");
    assert_eq!(file.warnings, [""; 0]);
    let file = check("mappings:\n- {match: a, name: aa}\n- {match: a, name: bb}\n");
    assert_eq!(file.warnings.len(), 1);
}
