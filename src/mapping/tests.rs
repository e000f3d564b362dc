//! Behaviour of a compiled mapping file: which rule takes a sample and what
//! series comes out.

use std::time::Duration;

use super::*;
use crate::registry::{Kind, Ttl};
use crate::statsd::{Dialect, StatType};

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

fn sample<'a>(name: &'a str, stat: StatType, tags: &'a [(&'a str, &'a str)]) -> Sample<'a> {
    Sample {
        tags,
        dialect: Some(Dialect::Influxdb).filter(|_| !tags.is_empty()),
        ..Sample::new(name, stat)
    }
}

/// What a sample becomes, as `name{label=value,…}`, with `*scale` behind.
fn show(mapper: &Mapper, name: &str, stat: StatType, tags: &[(&str, &str)]) -> String {
    show_sample(mapper, &sample(name, stat, tags))
}

fn show_sample(mapper: &Mapper, sample: &Sample<'_>) -> String {
    match mapper.map(sample) {
        Mapped::Dropped => "dropped".into(),
        Mapped::Unmapped => "unmapped".into(),
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
    let plan = |name: &'static str| match mapper.map(&sample(name, StatType::Observer, &[])) {
        Mapped::Series(plan) => plan,
        other => panic!("{name}: {other:?}"),
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
        Mapper::empty().untaken.shape(StatType::Observer).kind(),
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
    let verdicts = mapper.verdicts(&sample("a.b", StatType::Counter, &[]));
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
            .verdicts(&sample(name, StatType::Gauge, &[]))
            .into_iter()
            .map(|(_, v)| v)
            .next()
    };
    assert_eq!(takes("a.q"), Some(Verdict::Takes(vec!["q".into()])));
}

#[test]
fn the_profiles_compile() {
    let chart = mapper(profiles::AIRFLOW_CHART);
    let duration = "airflow.dag.etl.load.duration";
    check(
        &chart,
        duration,
        "airflow_task_duration{dag_id=etl,task_id=load}",
    );
    let airflow = mapper(profiles::AIRFLOW);
    let duration = show(&airflow, duration, StatType::Observer, &[]);
    assert_eq!(
        duration,
        "airflow_task_duration_seconds{dag_id=etl,task_id=load}"
    );
    for mapper in [chart, airflow] {
        assert_eq!(mapper.warnings().next(), None);
    }
}

#[test]
fn profiles_take_another_prefix() {
    let with_prefix = |text: &str, prefix| {
        let mut file = rules::read(text.as_bytes(), "p.yml").unwrap();
        profiles::set_prefix(&mut file, prefix);
        Mapper::compile([(Arc::from("p.yml"), file)]).unwrap()
    };
    for (prefix, dot) in [
        ("team.air-flow", "team.air-flow."),
        ("", ""),
        ("airflow", "airflow."),
    ] {
        let chart = with_prefix(profiles::AIRFLOW_CHART, prefix);
        let airflow = with_prefix(profiles::AIRFLOW, prefix);
        let open_slots = format!("{dot}pool.open_slots.p");
        let failures = format!("{dot}operator_failures_Op");
        check(&chart, &failures, "airflow_operator_failures{operator=Op}");
        let pool = "airflow_pool_open_slots{pool=p}";
        assert_eq!(show(&chart, &open_slots, StatType::Gauge, &[]), pool);
        check(
            &airflow,
            &failures,
            "airflow_operator_failures_total{operator=Op}",
        );
        assert_eq!(show(&airflow, &open_slots, StatType::Gauge, &[]), pool);
        // What is learnt is learnt under that prefix too.
        let tags = [("pool_name", "p")];
        let tagged = format!("{dot}pool.open_slots");
        assert_eq!(show(&airflow, &tagged, StatType::Gauge, &tags), pool);
        assert_eq!(show(&airflow, &open_slots, StatType::Gauge, &[]), "dropped");
    }
}

#[test]
fn rules_depend_on_tags() {
    let mapper = mapper(
        "mappings:\n\
         - {match: a.b, match_tags: [t, u], name: both, drop_tags: u, rename_tags: {t: tt}}\n\
         - {match: a.b, match_tags: t, name: one}\n\
         - {match: a.b, name: none}\n\
         - {match: 'a\\.(c)', match_type: regex, match_tags: t, name: regex}\n\
         - {match: a.b.c, match_tags: t, name: longer}\n",
    );
    let show = |name, tags: &[(&str, &str)]| show(&mapper, name, StatType::Counter, tags);
    assert_eq!(show("a.b", &[("u", "1"), ("t", "2")]), "both{tt=2}");
    assert_eq!(show("a.b", &[("t", "2"), ("v", "3")]), "one{t=2,v=3}");
    assert_eq!(show("a.b", &[("u", "1")]), "none{u=1}");
    assert_eq!(show("a.c", &[("t", "1")]), "regex{t=1}");
    assert_eq!(show("a.c", &[]), "unmapped a_c{}");
    assert_eq!(show("a.b.c", &[("t", "1")]), "longer{t=1}");
    assert_eq!(mapper.warnings().next(), None);
}

#[test]
fn tags_are_renamed_and_dropped() {
    let mapper = mapper(
        "defaults: {drop_tags: [gone], rename_tags: {old: new, x: from_defaults}}\n\
         mappings:\n\
         - {match: a, name: aa, rename_tags: {x: from_rule}, labels: {new_too: 1}, drop_tags: [z]}\n",
    );
    let tags = [
        ("gone", "1"),
        ("old", "2"),
        ("x", "3"),
        ("z", "4"),
        ("new", "5"),
    ];
    assert_eq!(
        show(&mapper, "a", StatType::Counter, &tags),
        "aa{from_rule=3,new=5,new_too=1}"
    );
    // What no rule takes stays as it is.
    assert_eq!(
        show(&mapper, "b", StatType::Counter, &tags[..2]),
        "unmapped b{gone=1,old=2}"
    );
}

#[test]
fn rules_depend_on_what_lines_have_told() {
    let mapper = mapper(
        "learn:\n\
         - {fact: two, match: '^only_two$'}\n\
         - {fact: tags, match: '^m', match_tags: id}\n\
         - {fact: dialect, match: '.', match_dialect: influxdb}\n\
         mappings:\n\
         - {match: m, name: told, when: [two, tags], unless: other}\n\
         - {match: m, name: half, when: two, scale: 3, scale_when: [{when: tags, scale: 4}, {unless: dialect, scale: 5}]}\n\
         - {match: m, name: untold}\n\
         - {match: d, name: spoken, when: influxdb}\n",
    );
    let show = |name, tags: &[(&str, &str)]| show(&mapper, name, StatType::Counter, tags);
    assert_eq!(show("m", &[]), "untold{}");
    assert_eq!(mapper.generation(), 0);
    show("only_two", &[]);
    assert_eq!(show("m", &[]), "half{}*5");
    assert_eq!(mapper.generation(), 1);
    show("only_two", &[]);
    assert_eq!(mapper.generation(), 1);
    // A line is read by what it tells itself.
    assert_eq!(show("d", &[("a", "b")]), "spoken{a=b}");
    assert_eq!(show("d", &[]), "unmapped d{}");
    assert_eq!(show("m", &[]), "half{}*3");
    assert_eq!(show("m", &[("id", "1")]), "told{id=1}");
    assert_eq!(show("m", &[]), "told{}");
    assert_eq!(mapper.generation(), 3);
}

#[test]
fn what_is_known_outlasts_a_reload() {
    let knowledge = Arc::<Knowledge>::default();
    let compile = |text: &str| {
        let file = rules::read(text.as_bytes(), "m.yml").unwrap();
        let files = [(Arc::from("m.yml"), file)];
        Mapper::compile_with(files, Unmapped::Keep, Arc::clone(&knowledge)).unwrap()
    };
    let before = compile("learn: [{fact: aa, match: tell}, {fact: bb, match: other}]");
    show(&before, "tell", StatType::Counter, &[]);
    let after = compile("mappings: [{match: x, name: b, when: bb}, {match: x, name: a, when: aa}]");
    check(&after, "x", "a{}");
}

#[test]
fn dag_and_task_are_parted_by_what_is_known() {
    let mapper = mapper(
        "learn: [{dag_id: '$1', match: '^run\\.(.+)$'}]\n\
         mappings:\n\
         - {match: '^d\\.(.+)\\.end$', match_type: regex, name: end, dag_and_task: $1, labels: {task_id: overruled, other: $1}}\n",
    );
    check(
        &mapper,
        "d.a.b.c.end",
        "end{dag_id=a,other=a.b.c,task_id=b.c}",
    );
    check(&mapper, "run.a.b", "unmapped run_a_b{}");
    check(
        &mapper,
        "d.a.b.c.end",
        "end{dag_id=a.b,other=a.b.c,task_id=c}",
    );
    check(&mapper, "d.a.end", "end{dag_id=a,other=a,task_id=}");
    let split = |name| match mapper.map(&sample(name, StatType::Counter, &[])) {
        Mapped::Series(plan) => plan.split,
        other => panic!("{other:?}"),
    };
    assert_eq!(split("d.a.b.c.end"), Some(Split::Known));
    assert_eq!(split("d.x.y.end"), Some(Split::FirstDot));
    assert_eq!(split("other"), None);
}

#[test]
fn the_rest_is_kept_dropped_or_counted() {
    for (unmapped, expect) in [
        (Unmapped::Keep, "unmapped rest{}"),
        (Unmapped::Drop, "dropped"),
        (Unmapped::Count, "unmapped"),
    ] {
        let file = rules::read(b"mappings: [{match: a, name: aa}]", "m.yml").unwrap();
        let files = [(Arc::from("m.yml"), file)];
        let mapper = Mapper::compile_with(files, unmapped, Arc::default()).unwrap();
        check(&mapper, "rest", expect);
        check(&mapper, "a", "aa{}");
    }
}

#[test]
fn the_ways_of_gauges() {
    let mapper = mapper(
        "defaults: {gauge_signs: by_dialect, gauge_aggregation: max, source_ttl: 5m}\n\
         mappings:\n\
         - {match: own, name: own, gauge_signs: absolute, gauge_aggregation: sum, source_ttl: 1m}\n\
         - {match: rel, name: rel, gauge_signs: relative}\n\
         - {match: def, name: def}\n\
         - {match: neg, name: neg, drop_negative: true}\n",
    );
    let plan = |name, stat, dialect| {
        let sample = Sample {
            dialect,
            ..sample(name, stat, &[])
        };
        match mapper.map(&sample) {
            Mapped::Series(plan) => plan,
            other => panic!("{other:?}"),
        }
    };
    let is_absolute = |name, dialect| plan(name, StatType::Gauge, dialect).absolute;
    let dogstatsd = Some(Dialect::Dogstatsd);
    for (name, plain, datadog) in [
        ("own", true, true),
        ("rel", false, false),
        ("def", false, true),
        ("unmapped", false, true),
    ] {
        assert_eq!(is_absolute(name, None), plain, "{name}");
        assert_eq!(is_absolute(name, Some(Dialect::Influxdb)), plain, "{name}");
        assert_eq!(is_absolute(name, dogstatsd), datadog, "{name}");
    }
    assert!(!plan("own", StatType::Counter, dogstatsd).absolute);
    assert!(plan("neg", StatType::Counter, None).drops_negative);
    let combined = |name| {
        let plan = plan(name, StatType::Gauge, None);
        (plan.gauge_aggregation(), plan.source_ttl())
    };
    let minutes = |minutes: u64| Ttl::After(Duration::from_secs(minutes * 60));
    assert_eq!(combined("own"), (GaugeAggregation::Sum, minutes(1)));
    assert_eq!(combined("def"), (GaugeAggregation::Max, minutes(5)));
    assert_eq!(
        Mapper::empty().untaken.gauge_aggregation,
        GaugeAggregation::Last
    );
}

#[test]
fn verdicts_tell_of_conditions() {
    let mapper = mapper(
        "learn: [{fact: told, match: tell}]\n\
         mappings:\n\
         - {match: a, match_tags: t, name: a1}\n\
         - {match: a, when: told, name: a2}\n\
         - {match: a, unless: told, name: a3}\n",
    );
    let verdicts = || {
        let verdicts = mapper.verdicts(&sample("a", StatType::Counter, &[]));
        let verdicts = verdicts.into_iter().map(|(_, verdict)| verdict);
        verdicts.collect::<Vec<_>>()
    };
    let takes = || Verdict::Takes(vec![]);
    let lacks = || Verdict::LacksTag("t");
    assert_eq!(verdicts(), [lacks(), Verdict::NotKnown("told"), takes()]);
    show(&mapper, "tell", StatType::Counter, &[]);
    assert_eq!(verdicts(), [lacks(), takes(), Verdict::Known("told")]);
}
