//! A page of many series, in each format.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pitot::clock::Clock;
use pitot::registry::{Registry, SeriesSpec, Shape, Ttl};
use pitot::render::{Format, render};

const SERIES: usize = 100_000;

fn registry() -> Registry {
    let registry = Registry::new(Clock::system(), |_| false);
    let help: Arc<str> = Arc::from("help");
    let now = registry.clock().now();
    for number in 0..SERIES {
        let name = format!("airflow_metric_{}", number % 100);
        let labels = [
            (
                Cow::Borrowed("dag_id"),
                Cow::Owned(format!("dag_{}", number / 1000)),
            ),
            (
                Cow::Borrowed("task_id"),
                Cow::Owned(format!("task_{number}")),
            ),
        ];
        let spec = SeriesSpec {
            name: &name,
            help: &help,
            shape: &Shape::Counter,
            labels: &labels,
            ttl: Ttl::Never,
        };
        registry
            .series(&spec, now)
            .expect("no conflict")
            .count(number as f64);
    }
    registry
}

fn page(c: &mut Criterion) {
    let registry = registry();
    let mut group = c.benchmark_group("render");
    group
        .throughput(Throughput::Elements(SERIES as u64))
        .sample_size(20);
    for (id, format) in [
        ("text", Format::Text),
        ("protobuf", Format::ProtobufDelimited),
    ] {
        group.bench_function(id, |b| {
            b.iter(|| render(&registry, &[], format, &mut io::sink()).expect("a sink takes all"));
        });
    }
    group.finish();
}

criterion_group!(benches, page);
criterion_main!(benches);
