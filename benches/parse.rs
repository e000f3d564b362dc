//! Numbers and lines, without what becomes of them.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pitot::statsd::{Dialects, Parts, Tally, parse_line, parse_number};

const LINES: [&str; 4] = [
    "airflow.scheduler.dag_bag.cache_hit:1|c",
    "airflow.dag.etl_sales.load.duration:2674.997000|ms",
    "airflow.ti.queued:3|g|#queue:default,dag_id:etl_sales,task_id:load,env:prod",
    "airflow.pool.open_slots,pool_name=default_pool:128|g",
];

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    for text in ["1", "2674.997000", "1.7732000287651317e-05", "0x1.8p3"] {
        group.bench_function(format!("number {text}"), |b| {
            b.iter(|| parse_number(black_box(text.as_bytes())));
        });
    }
    group.throughput(Throughput::Elements(LINES.len() as u64));
    group.bench_function("parts", |b| {
        b.iter(|| LINES.map(|line| Parts::split(black_box(line.as_bytes())).is_some()));
    });
    group.bench_function("lines", |b| {
        let mut tally = Tally::default();
        b.iter(|| {
            for line in LINES {
                parse_line(
                    black_box(line.as_bytes()),
                    &Dialects::ALL,
                    &mut tally,
                    |sample| {
                        black_box(sample.value);
                    },
                );
            }
        });
    });
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
