//! Behaviour of the registry as a whole: what is refused, what expires, and
//! that threads agree.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::*;

fn registry() -> Registry {
    Registry::new(Clock::manual(), |name| name.starts_with("own_"))
}

fn shape(kind: Kind) -> Shape {
    match kind {
        Kind::Counter => Shape::Counter,
        Kind::Gauge => Shape::Gauge,
        Kind::Summary => Shape::Summary(Arc::new(SummaryOptions {
            quantiles: vec![0.5],
            max_age: Duration::from_secs(600),
            age_buckets: 5,
        })),
        Kind::Histogram => Shape::Histogram(Arc::new(HistogramOptions {
            buckets: vec![1.0],
            native_bucket_factor: 1.1,
            native_buckets_max: 160,
        })),
    }
}

/// Asks for a series of this name, kind, ttl in seconds and labels.
fn ask(
    registry: &Registry,
    name: &str,
    kind: Kind,
    ttl: Option<u64>,
    labels: &[(&str, &str)],
) -> Result<Arc<Series>, Refusal> {
    let labels: Vec<_> = labels
        .iter()
        .map(|(name, value)| (Cow::Borrowed(*name), Cow::Borrowed(*value)))
        .collect();
    let spec = SeriesSpec {
        name,
        help: &Arc::from("help"),
        shape: &shape(kind),
        labels: &labels,
        ttl: ttl.map_or(Ttl::Never, |seconds| {
            Ttl::After(Duration::from_secs(seconds))
        }),
    };
    registry.series(&spec, registry.clock().now())
}

fn page(registry: &Registry) -> Vec<String> {
    let mut page = Vec::new();
    for family in registry.families().iter() {
        for series in family.series().iter() {
            let labels = series
                .labels()
                .map(|(name, value)| format!("{name}={value}"));
            page.push(format!(
                "{}{{{}}}",
                family.name,
                labels.collect::<Vec<_>>().join(",")
            ));
        }
    }
    page
}

fn pass(registry: &Registry, seconds: u64) {
    registry.clock().advance(Duration::from_secs(seconds));
    registry.sweep(registry.clock().now());
}

#[test]
fn the_same_name_and_labels_are_one_series() {
    let registry = registry();
    let a = ask(&registry, "m", Kind::Counter, None, &[("a", "1")]).unwrap();
    let again = ask(&registry, "m", Kind::Counter, None, &[("a", "1")]).unwrap();
    let other = ask(&registry, "m", Kind::Counter, None, &[("a", "2")]).unwrap();
    assert!(Arc::ptr_eq(&a, &again) && !Arc::ptr_eq(&a, &other));
    assert_eq!(
        (
            registry.vectors(Kind::Counter),
            registry.live(Kind::Counter)
        ),
        (1, 2)
    );
}

#[test]
fn the_page_is_ordered_by_label_count_then_values() {
    let registry = registry();
    for (name, labels) in [
        ("b", vec![]),
        ("a", vec![("z", "1"), ("y", "0")]),
        ("a", vec![("a", "1")]),
        ("a", vec![("z", "0")]),
        ("a", vec![("b", "1")]),
        ("a", vec![]),
        ("C", vec![]),
    ] {
        ask(&registry, name, Kind::Gauge, None, &labels).unwrap();
    }
    assert_eq!(
        page(&registry),
        [
            "C{}",
            "a{}",
            "a{z=0}",
            "a{a=1}",
            "a{b=1}",
            "a{z=1,y=0}",
            "b{}"
        ]
    );
}

#[test]
fn names_that_would_spoil_the_page_are_refused() {
    use Kind::*;
    // What is there, then what is asked for, and whether it may be.
    for (first, second, allowed) in [
        (("a", Counter), ("a", Gauge), false),
        (("a", Summary), ("a", Histogram), false),
        // Counters and gauges with a suffix: refused under any base but a
        // counter, as in the reference.
        (("a", Counter), ("a_count", Gauge), true),
        (("a", Gauge), ("a_count", Counter), false),
        (("a", Gauge), ("a_bucket", Gauge), false),
        (("a", Summary), ("a_bucket", Counter), false),
        (("a_count", Counter), ("a", Gauge), true),
        (("a_count", Counter), ("a", Summary), false),
        (("a_bucket", Counter), ("a", Summary), true),
        (("a_bucket", Counter), ("a", Histogram), false),
        // Observers among themselves.
        (("a", Summary), ("a_count", Summary), false),
        (("a", Summary), ("a_sum", Histogram), false),
        (("a", Summary), ("a_bucket", Summary), true),
        (("a", Histogram), ("a_bucket", Summary), false),
        (("a_sum", Summary), ("a", Summary), false),
        (("a_bucket", Histogram), ("a", Histogram), false),
        (("a", Gauge), ("a_count", Summary), true),
    ] {
        let registry = registry();
        ask(&registry, first.0, first.1, None, &[]).unwrap();
        let got = ask(&registry, second.0, second.1, None, &[]);
        let expect = if allowed {
            Ok(())
        } else {
            Err(Refusal::Conflict)
        };
        assert_eq!(got.map(drop), expect, "{first:?} then {second:?}");
    }
}

#[test]
fn labels_that_the_page_needs_are_refused() {
    use Kind::*;
    for (kind, label, allowed) in [
        (Counter, "__name__", false),
        (Gauge, "__x", false),
        (Gauge, "_x", true),
        (Histogram, "le", false),
        (Histogram, "quantile", true),
        (Summary, "quantile", false),
        (Summary, "le", true),
        (Counter, "le", true),
    ] {
        let got = ask(&registry(), "m", kind, None, &[(label, "v")]);
        let expect = if allowed {
            Ok(())
        } else {
            Err(Refusal::ReservedLabelName)
        };
        assert_eq!(got.map(drop), expect, "{kind:?} {label}");
    }
    let registry = registry();
    let refused = |name| ask(&registry, name, Counter, None, &[]).map(drop);
    assert_eq!(refused(""), Err(Refusal::EmptyName));
    assert_eq!(refused("own_lines"), Err(Refusal::Conflict));
    assert_eq!(page(&registry), [""; 0]);
}

#[test]
fn silent_series_expire() {
    let registry = registry();
    let short = ask(&registry, "short", Kind::Counter, Some(2), &[]).unwrap();
    ask(&registry, "long", Kind::Counter, Some(10), &[]).unwrap();
    ask(&registry, "ever", Kind::Counter, None, &[]).unwrap();
    pass(&registry, 2);
    assert_eq!(page(&registry), ["ever{}", "long{}", "short{}"]);
    // Heard of in time.
    short.touch(registry.clock().now()).unwrap();
    pass(&registry, 2);
    assert_eq!(page(&registry), ["ever{}", "long{}", "short{}"]);
    pass(&registry, 1);
    assert_eq!(page(&registry), ["ever{}", "long{}"]);
    assert_eq!(short.touch(registry.clock().now()), Err(Retired));
    assert_eq!((registry.live(Kind::Counter), registry.retired()), (2, 1));
    // It comes back from zero.
    short.count(5.0);
    let again = ask(&registry, "short", Kind::Counter, Some(2), &[]).unwrap();
    assert!(matches!(again.read(Millis(0)), Reading::Counter(0.0)));
    assert_eq!(page(&registry), ["ever{}", "long{}", "short{}"]);
    pass(&registry, 20);
    assert_eq!(page(&registry), ["ever{}"]);
}

#[test]
fn a_ttl_may_change_while_the_series_lives() {
    let registry = registry();
    for (ttl, survives) in [
        (None, true),
        (Some(5), true),
        (Some(100), true),
        (Some(1), false),
    ] {
        ask(&registry, "m", Kind::Gauge, ttl, &[]).unwrap();
        pass(&registry, 3);
        assert_eq!(!page(&registry).is_empty(), survives, "{ttl:?}");
    }
    ask(&registry, "m", Kind::Gauge, Some(1), &[]).unwrap();
    ask(&registry, "m", Kind::Gauge, None, &[]).unwrap();
    pass(&registry, 1000);
    assert_eq!(page(&registry), ["m{}"]);
}

#[test]
fn a_name_without_series_may_change_its_type() {
    let registry = registry();
    ask(&registry, "m", Kind::Counter, Some(1), &[]).unwrap();
    ask(&registry, "n", Kind::Counter, Some(1), &[]).unwrap();
    pass(&registry, 5);
    ask(&registry, "m", Kind::Gauge, Some(1), &[]).unwrap();
    ask(&registry, "n_count", Kind::Counter, None, &[]).unwrap();
    // The old vector is known again within the grace period.
    ask(&registry, "n", Kind::Counter, None, &[]).unwrap();
    assert_eq!(page(&registry), ["m{}", "n{}", "n_count{}"]);
    assert_eq!(
        (
            registry.vectors(Kind::Counter),
            registry.vectors(Kind::Gauge)
        ),
        (3, 1)
    );
}

#[test]
fn empty_families_are_forgotten_in_the_end() {
    let registry = registry();
    for name in 0..100 {
        ask(&registry, &format!("m{name}"), Kind::Counter, Some(1), &[]).unwrap();
    }
    pass(&registry, 5);
    assert_eq!(registry.families().len(), 100);
    ask(&registry, "m7", Kind::Counter, None, &[]).unwrap();
    pass(&registry, 3600);
    assert_eq!(page(&registry), ["m7{}"]);
    assert_eq!(registry.families().len(), 1);
    assert_eq!(registry.families.len(), 1);
    assert_eq!(registry.series.len(), 1);
}

/// Series come and go while nobody scrapes.
#[test]
fn what_has_expired_is_let_go_of_unread() {
    let registry = registry();
    let mut all = Vec::new();
    for round in 0..100 {
        for name in ["one", "other"] {
            let labels = [("round", &*round.to_string())];
            let series = ask(&registry, name, Kind::Counter, Some(1), &labels).unwrap();
            all.push(Arc::downgrade(&series));
        }
        pass(&registry, 3);
    }
    let held = all.iter().filter(|series| series.strong_count() > 0);
    assert_eq!(held.count(), 0);
    assert_eq!(registry.lock_expiry().empty_families(), 2);
}

/// The grace period counts from the last time a family became empty.
#[test]
fn a_family_that_comes_back_is_kept_longer() {
    let registry = registry();
    for _ in 0..3 {
        ask(&registry, "m", Kind::Counter, Some(1), &[]).unwrap();
        pass(&registry, 400);
        assert_eq!(registry.families.len(), 1);
    }
    pass(&registry, 700);
    assert_eq!(registry.families.len(), 0);
    assert_eq!(registry.lock_expiry().empty_families(), 0);
}

/// Two rules that give one series different ttls, line by line.
#[test]
fn changing_ttls_are_noted_once() {
    let registry = registry();
    for _ in 0..1000 {
        for ttl in [20, 10, 30] {
            ask(&registry, "m", Kind::Counter, Some(ttl), &[]).unwrap();
        }
    }
    assert_eq!(registry.lock_expiry().notes(), 2);
    pass(&registry, 21);
    assert_eq!(page(&registry), ["m{}"]);
    pass(&registry, 10);
    assert_eq!(page(&registry), [""; 0]);
    pass(&registry, 0);
    assert_eq!(registry.lock_expiry().notes(), 0);
}

/// Workers update series that a sweep keeps retiring: every update must land in
/// a series that was on the page at that time, so counted updates and seen
/// values agree in the end.
#[test]
fn no_update_goes_to_an_orphan() {
    let registry = Registry::new(Clock::system(), |_| false);
    let spec = SeriesSpec {
        name: "m",
        help: &Arc::from("help"),
        shape: &Shape::Counter,
        labels: &[],
        ttl: Ttl::After(Duration::ZERO),
    };
    let (updates, sweeps) = (20_000_u64, std::sync::atomic::AtomicBool::new(true));
    let orphans = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let sweeper = scope.spawn(|| {
            while sweeps.load(Ordering::Relaxed) {
                registry.sweep(registry.clock().now());
            }
        });
        let worker = || {
            let mut held: Option<Arc<Series>> = None;
            for _ in 0..updates {
                let now = registry.clock().now();
                let series = match held.take().filter(|series| series.touch(now).is_ok()) {
                    Some(series) => series,
                    None => registry.series(&spec, now).unwrap(),
                };
                // A series that was touched at `now` may only be retired later.
                if series.is_retired() && registry.clock().now() <= now {
                    orphans.fetch_add(1, Ordering::Relaxed);
                }
                series.count(1.0);
                held = Some(series);
            }
        };
        let workers = [scope.spawn(worker), scope.spawn(worker)];
        for worker in workers {
            worker.join().unwrap();
        }
        sweeps.store(false, Ordering::Relaxed);
        sweeper.join().unwrap();
    });
    assert_eq!(orphans.into_inner(), 0);
    assert!(registry.series.len() <= 1 && registry.live(Kind::Counter) <= 1);
}
