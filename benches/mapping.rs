//! Names through rules: the official Airflow chart's, files that have grown, and
//! the Airflow profile with every line of captured traffic that is unlike the
//! others.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pitot::mapping::{Mapped, Mapper, profiles, rules};
use pitot::statsd::{Dialect, Dialects, Parts, Sample, StatType, Tally, for_each_line, parse_line};
use pitot_loadgen::trace::Trace;

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

/// What a line that is not remembered costs beyond being parsed.
fn profile(c: &mut Criterion) {
    let mut group = c.benchmark_group("airflow profile");
    for trace in [
        "airflow-2.11.2-plain",
        "airflow-3.3.2-plain",
        "airflow-3.3.2-datadog",
    ] {
        let lines = distinct_lines(trace);
        let mapper = mapper(profiles::AIRFLOW);
        group.throughput(Throughput::Elements(lines.len() as u64));
        let map = |sample: &Sample<'_>| {
            black_box(matches!(mapper.map(sample), Mapped::Series(_)));
        };
        let samples: Vec<OwnedSample> = lines.iter().filter_map(|line| owned(line)).collect();
        group.bench_function(trace, |b| {
            b.iter(|| samples.iter().for_each(|sample| sample.lend(map)));
        });
    }
    group.finish();
}

/// A sample with what it borrows.
struct OwnedSample {
    name: String,
    tags: Vec<(String, String)>,
    stat: StatType,
    dialect: Option<Dialect>,
}

impl OwnedSample {
    fn lend(&self, each: impl Fn(&Sample<'_>)) {
        let tags: Vec<(&str, &str)> = self.tags.iter().map(|(k, v)| (&**k, &**v)).collect();
        each(&Sample {
            tags: &tags,
            dialect: self.dialect,
            ..Sample::new(&self.name, self.stat)
        });
    }
}

/// The only sample of a line; none of one that is refused.
fn owned(line: &[u8]) -> Option<OwnedSample> {
    let mut owned = None;
    parse_line(line, &Dialects::ALL, &mut Tally::default(), |sample| {
        let tag = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        owned = Some(OwnedSample {
            name: sample.name.to_owned(),
            tags: sample.tags.iter().map(tag).collect(),
            stat: sample.stat,
            dialect: sample.dialect,
        });
    });
    owned
}

/// The lines of a trace, one of those that differ only in the value.
fn distinct_lines(trace: &str) -> Vec<Vec<u8>> {
    let path = format!(
        "{}/tests/data/traces/{trace}.jsonl.gz",
        env!("CARGO_MANIFEST_DIR")
    );
    let trace = Trace::read(Path::new(&path)).expect("the trace is in the repository");
    let mut lines = BTreeMap::new();
    for (datagram, _) in trace.datagrams() {
        for_each_line(datagram.payload, |line| {
            if let Some(parts) = Parts::split(line) {
                lines.insert((parts.name.to_vec(), parts.tail.to_vec()), line.to_vec());
            }
        });
    }
    lines.into_values().collect()
}

criterion_group!(benches, mapping, profile);
criterion_main!(benches);
