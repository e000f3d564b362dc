//! Names through rules: the official Airflow chart's, and files that have grown.

use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use pitot::mapping::{Mapped, Mapper, profiles, rules};
use pitot::statsd::{Sample, StatType};

fn mapper(text: &str) -> Mapper {
    let file = rules::read(text.as_bytes(), "bench.yml").expect("good rules");
    Mapper::compile([(Arc::from("bench.yml"), file)]).expect("good patterns")
}

fn file(rules: usize, rule: impl Fn(usize) -> String) -> String {
    let mut text = String::from("mappings:\n");
    for number in 0..rules {
        writeln!(text, "- {}", rule(number)).expect("a string takes all");
    }
    text
}

fn mapping(c: &mut Criterion) {
    let globs = |n: usize| {
        format!("{{match: 'app{n}.*.*.count', name: 'app_{n}', labels: {{aa: $1, bb: $2}}}}")
    };
    let regexes = |n: usize| {
        format!(
            "{{match: 'app{n}\\.(.*)\\.(.*)\\.count', match_type: regex, name: 'app_{n}', labels: {{aa: $1, bb: $2}}}}"
        )
    };
    let chart = mapper(profiles::AIRFLOW_CHART);
    let many_globs = mapper(&file(1000, globs));
    let many_regexes = mapper(&file(100, regexes));
    let mut group = c.benchmark_group("mapping");
    for (id, mapper, name) in [
        ("chart, glob", &chart, "airflow.dag.etl_sales.load.duration"),
        (
            "chart, regex",
            &chart,
            "airflow.operator_successes_BashOperator",
        ),
        (
            "chart, no rule",
            &chart,
            "airflow.scheduler.critical_section_busy",
        ),
        ("1000 globs, last", &many_globs, "app999.some.thing.count"),
        ("1000 globs, none", &many_globs, "app999.some.thing.sum"),
        ("100 regexes, last", &many_regexes, "app99.some.thing.count"),
        ("100 regexes, none", &many_regexes, "other.some.thing.count"),
    ] {
        let sample = Sample::new(name, StatType::Counter);
        group.bench_function(id, |b| {
            b.iter(|| matches!(mapper.map(black_box(&sample)), Mapped::Series(_)));
        });
    }
    group.finish();
}

criterion_group!(benches, mapping);
criterion_main!(benches);
