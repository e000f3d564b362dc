//! A worker on a registry of its own: what is remembered, retired and learnt.

use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::mapping::rules;
use crate::registry::Reading;
use crate::telemetry::{self, BuildInfo};

fn worker(mapping: &str) -> Worker {
    let file = rules::read(mapping.as_bytes(), "m.yml").expect("good rules");
    let mapper = Mapper::compile([(Arc::from("m.yml"), file)]).expect("good patterns");
    let shared = Shared {
        registry: Arc::new(Registry::new(Clock::manual(), telemetry::is_reserved)),
        mapper: ArcSwap::from_pointee(mapper),
        telemetry: Telemetry::new(&BuildInfo::default(), true),
        dialects: Dialects::ALL,
        cache: true,
    };
    Worker::new(Arc::new(shared), Transport::Udp, None)
}

fn send(worker: &mut Worker, datagram: &str) {
    Sink::batch_start(worker);
    worker.datagram(datagram.as_bytes());
    Sink::batch_end(worker);
}

/// The value of a counter without labels, if it is on the page.
fn counter(worker: &Worker, name: &str) -> Option<f64> {
    let registry = &worker.shared.registry;
    let families = registry.families();
    let family = families.iter().find(|family| &*family.name == name)?;
    let series = family.series();
    match series.first()?.read(registry.clock().now()) {
        Reading::Counter(value) => Some(value),
        other => panic!("{name} is {other:?}"),
    }
}

fn pass(worker: &Worker, seconds: u64) {
    let registry = &worker.shared.registry;
    registry.clock().advance(Duration::from_secs(seconds));
    registry.sweep(registry.clock().now());
}

/// With many lines in memory those of retired series are not purged at
/// once; they must not swallow what comes for them.
#[test]
fn a_retired_series_is_made_anew() {
    let mut worker = worker("mappings:\n- {match: short.*, name: '$1', ttl: 1s}\n");
    for name in 0..100 {
        send(&mut worker, &format!("stays_{name}:1|c"));
    }
    for round in 0..3 {
        send(&mut worker, "short.a:2|c");
        send(&mut worker, "short.a:3|c\nshort.t:1:2|h");
        assert_eq!(counter(&worker, "a"), Some(5.0), "round {round}");
        pass(&worker, 5);
        assert_eq!(counter(&worker, "a"), None, "round {round}");
    }
    assert_eq!(worker.counts[Count::CounterEvents], 100 + 6);
    assert_eq!(worker.counts[Count::ObserverEvents], 6);
}

#[test]
fn new_rules_hold_from_the_next_batch_on() {
    let mut worker = worker("mappings:\n- {match: a, name: before}\n");
    send(&mut worker, "a:1|c");
    send(&mut worker, "a:1|c");
    let file = rules::read(b"mappings:\n- {match: a, name: after}\n", "m.yml").unwrap();
    let mapper = Mapper::compile([(Arc::from("m.yml"), file)]).unwrap();
    worker.shared.mapper.store(Arc::new(mapper));
    send(&mut worker, "a:1|c");
    assert_eq!(counter(&worker, "before"), Some(2.0));
    assert_eq!(counter(&worker, "after"), Some(1.0));
}

#[test]
fn what_is_remembered_counts_as_what_is_not() {
    let mut worker = worker("mappings:\n- {match: d, name: d, action: drop}\n");
    for _ in 0..3 {
        send(
            &mut worker,
            "c,t=v:1|c\nc,t=v:-1|c\no:1|h|@0.1\nd:1|g\ng:+1|g\nx:y|c",
        );
    }
    for (count, expect) in [
        (Count::Lines, 18),
        (Count::Samples, 18),
        (Count::Tagged, 6),
        (Count::MalformedValue, 3),
        (Count::CounterEvents, 3),
        (Count::IllegalNegativeCounter, 3),
        (Count::ObserverEvents, 30),
        (Count::GaugeEvents, 3),
        (Count::Dropped, 3),
        (Count::Unmapped, 39),
        // The negative counter is remembered from its first good sample.
        (Count::CacheHits, 11),
    ] {
        assert_eq!(worker.counts[count], expect, "{count:?}");
    }
}

/// What a line tells holds from the next line on, also for those remembered.
#[test]
fn what_is_learnt_changes_what_lines_mean() {
    let mut worker = worker(
        "learn: [{fact: told, match: tell}]\n\
         mappings:\n\
         - {match: a, when: told, name: after}\n\
         - {match: a, name: before}\n\
         - {match: n, name: '${1}nn', drop_negative: true}\n\
         - {match: g, name: gg, gauge_signs: absolute}\n",
    );
    send(&mut worker, "a:1|c");
    send(&mut worker, "a:1|c\ntell:1|c\na:1|c");
    send(&mut worker, "a:1|c");
    assert_eq!(counter(&worker, "before"), Some(2.0));
    assert_eq!(counter(&worker, "after"), Some(2.0));
    // Negative values are dropped, remembered or not; signs set a gauge.
    for line in ["n:-1|c", "n:1|c", "n:-1|c", "n:1|c"] {
        send(&mut worker, line);
    }
    assert_eq!(counter(&worker, "nn"), Some(2.0));
    assert_eq!(worker.counts[Count::Dropped], 2);
    assert_eq!(worker.counts[Count::IllegalNegativeCounter], 0);
    for line in ["g:-1|g", "g:-2.5|g", "g:-2.5|g"] {
        send(&mut worker, line);
    }
    let families = worker.shared.registry.families();
    let family = families.iter().find(|family| &*family.name == "gg");
    let series = family.expect("gg").series();
    let reading = series[0].read(worker.shared.registry.clock().now());
    assert!(
        matches!(reading, Reading::Gauge(value) if value == -2.5),
        "{reading:?}"
    );
}
