//! Behaviour of a compiled mapping file: which rule takes a sample and what
//! series comes out.

use std::time::Duration;

use super::*;
use crate::registry::{Kind, Ttl};

fn mapper_of(files: &[&str]) -> Mapper {
    let files = files.iter().enumerate().map(|(index, text)| {
        let name = format!("f{index}.yml");
        let file = rules::read(text.as_bytes(), &name).expect("a good file");
        (Arc::from(name), file)
    });
    Mapper::compile(files).expect("good patterns")
}

fn mapper(text: &str) -> Mapper {
    mapper_of(&[text])
}

/// What a sample becomes, as `name{label=value,…}`, with `*scale` behind.
fn show(mapper: &Mapper, name: &str, stat: StatType, tags: &[(&str, &str)]) -> String {
    let sample = Sample {
        name,
        stat,
        value: 1.0,
        relative: false,
        count: 1,
        tags,
        divisor: None,
    };
    match mapper.map(&sample) {
        Mapped::Dropped => "dropped".into(),
        Mapped::Nameless => "nameless".into(),
        Mapped::Series(plan) => {
            let labels = plan
                .labels
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            let labels = labels.collect::<Vec<_>>().join(",");
            let scale = if plan.scale == 1.0 {
                String::new()
            } else {
                format!("*{}", plan.scale)
            };
            let unmapped = if plan.mapped { "" } else { "unmapped " };
            format!("{unmapped}{}{{{labels}}}{scale}", plan.name)
        }
    }
}

#[track_caller]
fn check(mapper: &Mapper, name: &str, expect: &str) {
    assert_eq!(show(mapper, name, StatType::Counter, &[]), expect, "{name}");
}

#[test]
fn without_rules_names_and_tags_are_made_legal() {
    let mapper = Mapper::empty();
    check(&mapper, "a.b-c", "unmapped a_b_c{}");
    let tags = &[("t.a", "1"), ("b", "x"), ("t-a", "2"), ("b", "y")];
    assert_eq!(
        show(&mapper, "9a", StatType::Gauge, tags),
        "unmapped _9a{b=y,t_a=2}"
    );
}

#[test]
fn rules_name_and_label() {
    let mapper = mapper(
        "mappings:\n\
         - {match: a.*.*, name: 'm_${2}', labels: {one: '$1', fixed: x}, scale: 10}\n\
         - {match: 'r\\.(?P<who>\\w+)', match_type: regex, name: regex_$1, labels: {who: '<$who>'}}\n\
         - {match: d.*, name: d, action: drop}\n\
         - {match: e.*, name: $1}\n",
    );
    check(&mapper, "a.b.c-d", "m_c_d{fixed=x,one=b}*10");
    check(&mapper, "x.r.you", "regex_you{who=<you>}");
    check(&mapper, "d.x", "dropped");
    check(&mapper, "e.", "nameless");
    check(&mapper, "e.9", "_9{}");
    check(&mapper, "other", "unmapped other{}");
}

#[test]
fn rule_labels_win_unless_tags_are_honoured() {
    let mapper = mapper(
        "mappings:\n\
         - {match: a, name: a, labels: {job: rule, more: rule}}\n\
         - {match: b, name: b, honor_labels: true, labels: {job: rule, more: rule}}\n",
    );
    let tags = &[("job", "tag"), ("zone", "tag")];
    assert_eq!(
        show(&mapper, "a", StatType::Counter, tags),
        "a{job=rule,more=rule,zone=tag}"
    );
    assert_eq!(
        show(&mapper, "b", StatType::Counter, tags),
        "b{job=tag,more=rule,zone=tag}"
    );
}

#[test]
fn globs_come_before_regexes_and_files_in_order() {
    let first = "mappings:\n\
        - {match: '.*', match_type: regex, match_metric_type: gauge, name: rx}\n\
        - {match: a.b, name: glob}\n";
    let second = "mappings:\n- {match: '*', name: second}\n- {match: '*.*', name: second}\n";
    let mapper = mapper_of(&[first, second]);
    check(&mapper, "a.b", "glob{}");
    check(&mapper, "a.c", "second{}");
    assert_eq!(show(&mapper, "a.b", StatType::Gauge, &[]), "glob{}");
    assert_eq!(show(&mapper, "a.c", StatType::Gauge, &[]), "rx{}");
    check(&mapper, "a.b.c", "unmapped a_b_c{}");
}

#[test]
fn options_come_from_the_rule_or_the_defaults() {
    let mapper = mapper(
        "defaults: {observer_type: histogram, ttl: 5s, histogram_options: {buckets: [3, 1, .inf, 3]}}\n\
         mappings:\n\
         - {match: own, name: own, ttl: -1s, help: text, histogram_options: {native_histogram_bucket_factor: 1}}\n\
         - {match: sum, name: sum, observer_type: summary, summary_options: {quantiles: [{quantile: 1.5, error: 1}, {quantile: 0.9, error: 0}, {quantile: 0.1, error: 0}]}}\n",
    );
    let plan = |name: &'static str| {
        let sample = Sample {
            name,
            stat: StatType::Observer,
            value: 1.0,
            relative: false,
            count: 1,
            tags: &[],
            divisor: None,
        };
        match mapper.map(&sample) {
            Mapped::Series(plan) => plan,
            other => panic!("{name}: {other:?}"),
        }
    };
    let unmapped = plan("x");
    let spec = unmapped.spec();
    assert_eq!(spec.ttl, Ttl::After(Duration::from_secs(5)));
    let Shape::Histogram(options) = spec.shape else {
        panic!("{:?}", spec.shape)
    };
    assert_eq!(options.buckets, [1.0, 3.0]);
    assert_eq!(options.native_bucket_factor, 1.1);
    let own = plan("own");
    let spec = own.spec();
    assert_eq!(
        (&**spec.help, spec.ttl),
        ("text", Ttl::After(Duration::ZERO))
    );
    let Shape::Histogram(options) = spec.shape else {
        panic!("{:?}", spec.shape)
    };
    assert_eq!(options.buckets, [1.0, 3.0]);
    assert_eq!(options.native_bucket_factor, 1.0);
    let sum = plan("sum");
    let Shape::Summary(options) = sum.spec().shape else {
        panic!("{:?}", sum.spec().shape)
    };
    assert_eq!(options.quantiles, [0.1, 0.9]);
    assert_eq!(
        Mapper::empty().unmapped.shape(StatType::Observer).kind(),
        Kind::Summary
    );
}

#[test]
fn patterns_that_do_not_compile_are_named() {
    let text = "mappings:\n- match: 'a(?=b)'\n  match_type: regex\n  name: a\n";
    let file = rules::read(text.as_bytes(), "m.yml").unwrap();
    let error = Mapper::compile([(Arc::from("m.yml"), file)]).unwrap_err();
    assert_eq!((error.file.as_str(), error.line), ("m.yml", 2));
    assert!(error.message.contains("a(?=b)"), "{error}");
}

#[test]
fn verdicts_say_why() {
    let mapper = mapper(
        "mappings:\n\
         - {match: a.*, name: a, match_metric_type: gauge}\n\
         - {match: a.*.c, name: abc}\n\
         - {match: b.*, name: b}\n\
         - {match: 'a\\.(x)?', match_type: regex, name: rx}\n\
         - {match: a.b, name: ab}\n\
         - {match: 'zz', match_type: regex, name: zz}\n\
         - {match: a.*, name: late}\n\
         - {match: a, name: shadowed}\n",
    );
    let verdicts = mapper.verdicts("a.b", StatType::Counter);
    let verdicts: Vec<Verdict<'_>> = verdicts.into_iter().map(|(_, verdict)| verdict).collect();
    assert_eq!(
        verdicts,
        [
            Verdict::OtherType(StatType::Gauge),
            Verdict::OtherLength {
                pattern: 3,
                name: 2
            },
            Verdict::OtherSegment {
                at: 1,
                pattern: "b",
                name: "a".into()
            },
            Verdict::GlobFirst("f0.yml", 6),
            Verdict::Takes(vec![]),
            Verdict::NotFound,
            Verdict::NeverReached,
            Verdict::OtherLength {
                pattern: 1,
                name: 2
            },
        ]
    );
    let takes = |name| {
        mapper
            .verdicts(name, StatType::Gauge)
            .into_iter()
            .map(|(_, v)| v)
            .next()
    };
    assert_eq!(takes("a.q"), Some(Verdict::Takes(vec!["q".into()])));
}

#[test]
fn the_airflow_profile_compiles() {
    let mapper = mapper(profiles::AIRFLOW);
    check(
        &mapper,
        "airflow.dag.etl.load.duration",
        "airflow_task_duration{dag_id=etl,task_id=load}",
    );
    assert_eq!(mapper.warnings().next(), None);
}
