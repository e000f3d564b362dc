//! The whole way of a datagram, from bytes to updated series, on one thread and
//! without a socket: captured Airflow traffic, and made-up series in numbers.

use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::sync::Arc;

use arc_swap::ArcSwap;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flate2::read::GzDecoder;
use pitot::clock::Clock;
use pitot::mapping::{Mapper, profiles, rules};
use pitot::receive::Sink;
use pitot::registry::Registry;
use pitot::statsd::Dialects;
use pitot::telemetry::{self, BuildInfo, Telemetry};
use pitot::worker::{Shared, Transport, Worker};

/// Datagrams handed over at once, as by a busy receiver.
const BATCH: usize = 64;

fn worker(mapper: Mapper, cache: bool) -> Worker {
    let shared = Shared {
        registry: Arc::new(Registry::new(Clock::system(), telemetry::is_reserved)),
        mapper: ArcSwap::from_pointee(mapper),
        telemetry: Telemetry::new(&BuildInfo::default(), cache),
        dialects: Dialects::ALL,
        cache,
    };
    Worker::new(Arc::new(shared), Transport::Udp, None)
}

fn airflow() -> Mapper {
    let rules = rules::read(profiles::AIRFLOW.as_bytes(), "airflow").expect("a good profile");
    Mapper::compile([(Arc::from("airflow"), rules)]).expect("a good profile")
}

/// The payloads of a captured trace.
fn trace(name: &str) -> Vec<Vec<u8>> {
    let path = format!(
        "{}/tests/data/traces/{name}.jsonl.gz",
        env!("CARGO_MANIFEST_DIR")
    );
    let file = std::fs::File::open(path).expect("the trace is in the repository");
    BufReader::new(GzDecoder::new(file))
        .lines()
        .map(|line| {
            let object: serde_json::Value =
                serde_json::from_str(&line.expect("text")).expect("JSON");
            object["d"].as_str().expect("a payload").as_bytes().to_vec()
        })
        .collect()
}

/// Lines of so many series, in the mix of Airflow's types.
fn lines(series: usize) -> Vec<Vec<u8>> {
    let line = |n: usize| match n % 4 {
        0 => format!("airflow.ti.finish.dag_{}.task_{n}.success:1|c", n / 16),
        1 => format!(
            "airflow.dag.dag_{}.task_{n}.duration:2674.997000|ms",
            n / 16
        ),
        2 => format!("airflow.pool.open_slots.pool_{n}:128|g"),
        _ => format!("airflow.ti.start.dag_{}.task_{n}:1|c", n / 16),
    };
    // A stride that is prime to the count visits all in no order of memory.
    (0..series)
        .map(|n| line(n * 7919 % series).into_bytes())
        .collect()
}

fn feed(worker: &mut Worker, datagrams: &[Vec<u8>]) {
    for batch in datagrams.chunks(BATCH) {
        worker.batch_start();
        for datagram in batch {
            worker.datagram(black_box(datagram));
        }
        worker.batch_end();
    }
}

fn pipeline(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline");
    for name in ["airflow-2.11.2-plain", "airflow-3.3.2-datadog"] {
        let datagrams = trace(name);
        group.throughput(Throughput::Elements(datagrams.len() as u64));
        for (id, cache) in [("trace", true), ("trace, no cache", false)] {
            let mut worker = worker(airflow(), cache);
            group.bench_function(BenchmarkId::new(id, name), |b| {
                b.iter(|| feed(&mut worker, &datagrams));
            });
        }
    }
    for series in [1_000, 10_000, 100_000] {
        let datagrams = lines(series);
        let mut worker = worker(airflow(), true);
        group.throughput(Throughput::Elements(series as u64));
        group.bench_function(BenchmarkId::new("series", series), |b| {
            b.iter(|| feed(&mut worker, &datagrams));
        });
    }
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
