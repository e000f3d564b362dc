//! Series: found, made and updated. The last group weighs the choice of
//! `docs/adr/0006-shared-value-cells.md`.

use std::borrow::Cow;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use pitot::clock::Clock;
use pitot::registry::{
    Counter, HistogramOptions, Registry, SeriesSpec, Shape, SummaryOptions, Ttl,
};

fn summary() -> Shape {
    Shape::Summary(Arc::new(SummaryOptions {
        quantiles: vec![0.5, 0.9, 0.99],
        max_age: Duration::from_secs(600),
        age_buckets: 5,
    }))
}

fn histogram(native_bucket_factor: f64) -> Shape {
    Shape::Histogram(Arc::new(HistogramOptions {
        buckets: vec![
            0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
        ],
        native_bucket_factor,
        native_buckets_max: 256,
    }))
}

fn registry(c: &mut Criterion) {
    let mut group = c.benchmark_group("registry");
    let help: Arc<str> = Arc::from("help");
    let labels = [
        (Cow::Borrowed("dag_id"), Cow::Borrowed("etl_sales")),
        (Cow::Borrowed("task_id"), Cow::Borrowed("load")),
    ];
    fn spec<'a>(
        name: &'a str,
        help: &'a Arc<str>,
        labels: &'a [(Cow<'a, str>, Cow<'a, str>)],
        shape: &'a Shape,
    ) -> SeriesSpec<'a> {
        SeriesSpec {
            name,
            help,
            shape,
            labels,
            ttl: Ttl::Never,
        }
    }
    let name = "airflow_task_duration";
    let counter = spec(name, &help, &labels, &Shape::Counter);
    let registry = Registry::new(Clock::system(), |_| false);
    let now = registry.clock().now();
    let found = registry
        .series(&counter, now)
        .expect("nothing is in its way");
    group.bench_function("find", |b| {
        b.iter(|| registry.series(black_box(&counter), now));
    });
    group.bench_function("make 1000", |b| {
        let names: Vec<String> = (0..1000).map(|n| format!("metric_{n}")).collect();
        b.iter_batched(
            || Registry::new(Clock::system(), |_| false),
            |registry| {
                for name in &names {
                    let spec = spec(name, &help, &labels, &Shape::Counter);
                    black_box(registry.series(&spec, now).expect("no conflict"));
                }
                registry
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("touch and count", |b| {
        b.iter(|| found.touch(now).map(|()| found.count(black_box(1.0))));
    });
    for (id, shape) in [
        ("observe: summary", summary()),
        ("observe: classic histogram", histogram(1.0)),
        ("observe: dual histogram", histogram(1.1)),
    ] {
        let registry = Registry::new(Clock::system(), |_| false);
        let series = registry
            .series(&spec(name, &help, &labels, &shape), now)
            .expect("nothing is in its way");
        let mut value = 0.0;
        group.bench_function(id, |b| {
            b.iter(|| {
                value = (value + 0.37) % 20.0;
                series.try_observe(black_box(value), 1, now)
            });
        });
    }
    group.finish();
}

/// What one update costs when the cell is shared, and what it would cost if
/// only one core ever wrote to it.
fn cells(c: &mut Criterion) {
    let mut group = c.benchmark_group("cells");
    let shared = Counter::default();
    group.bench_function("shared, add", |b| b.iter(|| shared.add(black_box(1.0))));
    let own = AtomicU64::new(0);
    group.bench_function("one writer, add", |b| {
        b.iter(|| {
            let sum = own.load(Ordering::Relaxed) + black_box(1.0) as u64;
            own.store(sum, Ordering::Relaxed);
        });
    });
    group.bench_function("shared, add, another core adds too", |b| {
        let stop = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while stop.load(Ordering::Relaxed) == 0 {
                    shared.add(1.0);
                }
            });
            b.iter(|| shared.add(black_box(1.0)));
            stop.store(1, Ordering::Relaxed);
        });
    });
    group.finish();
}

criterion_group!(benches, registry, cells);
criterion_main!(benches);
