//! What Pitot says about itself, under the reference's names where it has one
//! and under `pitot_` where it has not.
//!
//! The `prometheus` crate holds what changes rarely: its vectors keep labelled
//! counters off the page until they are first used, as the reference does. What
//! is counted per line is counted by the workers (`counts`) and summed here.

mod counts;
mod process;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts};

pub use counts::{Count, Counts, SharedCounts};

/// So many names are told apart in `events_conflict_total`; the conflicts of
/// all others are counted under an empty one. Senders choose these names.
const CONFLICT_NAMES_MAX: usize = 1000;

/// Families that no table below lists.
const OTHER_NAMES: &[&str] = &[
    "statsd_exporter_build_info",
    "statsd_exporter_config_reloads_total",
    "statsd_exporter_events_conflict_total",
    "statsd_exporter_loaded_mappings",
    "statsd_exporter_metrics_total",
    "statsd_exporter_relay_lines_relayed_total",
    "statsd_exporter_relay_long_lines_total",
    "statsd_exporter_relay_packets_total",
    "promhttp_metric_handler_requests_in_flight",
    "promhttp_metric_handler_requests_total",
];

/// Whether a family of this name is ours, so that no sender may use it.
pub fn is_reserved(name: &str) -> bool {
    // Nearly all names end here.
    let is_candidate = name.starts_with("pitot_")
        || name.starts_with("process_")
        || name.starts_with("promhttp_")
        || name.starts_with("statsd_");
    is_candidate
        && (name.starts_with("pitot_")
            || counts::names()
                .chain(process::names())
                .chain(OTHER_NAMES.iter().copied())
                .any(|own| own == name))
}

/// The labels of `statsd_exporter_build_info`, which are the reference's, so
/// that queries on them go on working.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "each is a label of the family")]
pub struct BuildInfo<'a> {
    pub branch: &'a str,
    pub goarch: &'a str,
    pub goos: &'a str,
    pub goversion: &'a str,
    pub revision: &'a str,
    pub tags: &'a str,
    pub version: &'a str,
}

/// Our own families.
pub struct Telemetry {
    registry: prometheus::Registry,
    workers: Arc<Mutex<Vec<Arc<SharedCounts>>>>,
    conflicts: IntCounterVec,
    conflict_names: Mutex<HashSet<(String, &'static str)>>,
    reloads: IntCounterVec,
    loaded_mappings: IntGauge,
}

impl Telemetry {
    /// Telemetry without workers. `with_cache` shows the cache's families.
    pub fn new(build: &BuildInfo<'_>, with_cache: bool) -> Telemetry {
        let workers: Arc<Mutex<Vec<Arc<SharedCounts>>>> = Arc::default();
        let telemetry = Telemetry {
            registry: prometheus::Registry::new(),
            workers: Arc::clone(&workers),
            conflicts: counter_vec(
                "statsd_exporter_events_conflict_total",
                "Events refused because their metric name is in use with another type.",
                &["type", "metric_name"],
            ),
            conflict_names: Mutex::default(),
            reloads: counter_vec(
                "statsd_exporter_config_reloads_total",
                "Reloads of the mapping file, by outcome.",
                &["outcome"],
            ),
            loaded_mappings: IntGauge::new(
                "statsd_exporter_loaded_mappings",
                "Mapping rules in force.",
            )
            .expect("a constant name is legal"),
        };
        telemetry.register(telemetry.conflicts.clone());
        telemetry.register(telemetry.reloads.clone());
        telemetry.register(telemetry.loaded_mappings.clone());
        telemetry.register_info(
            "statsd_exporter_build_info",
            "Constant 1, labelled by what Pitot was built from.",
            &build.labels(),
        );
        telemetry.register_computed("process", process::collect);
        telemetry.register_computed("counts", move || {
            let workers = workers.lock().unwrap_or_else(PoisonError::into_inner);
            counts::collect(&workers, with_cache)
        });
        telemetry
    }

    /// Adds the counts of one more worker.
    pub fn worker(&self) -> Arc<SharedCounts> {
        let shared = Arc::<SharedCounts>::default();
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(Arc::clone(&shared));
        shared
    }

    /// Counts `count` events refused for their name. `stat` is a type of the
    /// mapping language.
    pub fn conflict(&self, stat: &'static str, name: &str, count: u64) {
        let mut names = self
            .conflict_names
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), stat);
        let known = names.contains(&key) || (names.len() < CONFLICT_NAMES_MAX && names.insert(key));
        let name = if known { name } else { "" };
        self.conflicts
            .with_label_values(&[stat, name])
            .inc_by(count);
    }

    /// Counts a reload.
    pub fn reloaded(&self, success: bool) {
        let outcome = if success { "success" } else { "failure" };
        self.reloads.with_label_values(&[outcome]).inc();
    }

    /// Shows how many rules are in force.
    pub fn set_loaded_mappings(&self, rules: usize) {
        self.loaded_mappings.set(rules as i64);
    }

    /// Adds a gauge that is always 1 and says something by its labels.
    pub fn register_info(&self, name: &str, help: &str, labels: &[(&str, &str)]) {
        let names: Vec<&str> = labels.iter().map(|(name, _)| *name).collect();
        let values: Vec<&str> = labels.iter().map(|(_, value)| *value).collect();
        let info =
            IntGaugeVec::new(Opts::new(name, help), &names).expect("constant names are legal");
        info.with_label_values(&values).set(1);
        self.register(info);
    }

    /// Adds a collector of the `prometheus` crate.
    ///
    /// # Panics
    /// If one of its families is there already.
    pub fn register(&self, collector: impl Collector + 'static) {
        self.registry
            .register(Box::new(collector))
            .expect("own families are registered once");
    }

    /// Adds families that are computed when scraped. `id` tells the sources
    /// apart.
    pub fn register_computed(
        &self,
        id: &str,
        collect: impl Fn() -> Vec<MetricFamily> + Send + Sync + 'static,
    ) {
        let name = format!("pitot_computed_{id}");
        self.register(Computed {
            desc: Desc::new(name.clone(), name, vec![], Default::default())
                .expect("a name of letters is legal"),
            collect,
        });
    }

    /// All families that have something to show, by name.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

/// A family of counters or gauges: labels and value of each sample.
pub fn family(
    name: &str,
    help: &str,
    kind: MetricType,
    samples: &[(Vec<(&str, &str)>, f64)],
) -> MetricFamily {
    let metrics = samples.iter().map(|(labels, value)| {
        let label = |(name, value): &(&str, &str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        let mut metric = Metric::from_label(labels.iter().map(label).collect());
        if kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(*value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(*value);
            metric.set_gauge(gauge);
        }
        metric
    });
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics.collect());
    family
}

impl BuildInfo<'_> {
    fn labels(&self) -> [(&str, &str); 7] {
        [
            ("branch", self.branch),
            ("goarch", self.goarch),
            ("goos", self.goos),
            ("goversion", self.goversion),
            ("revision", self.revision),
            ("tags", self.tags),
            ("version", self.version),
        ]
    }
}

/// Families from a function. The description only serves to tell it apart.
struct Computed<F> {
    desc: Desc,
    collect: F,
}

impl<F: Fn() -> Vec<MetricFamily> + Send + Sync> Collector for Computed<F> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        (self.collect)()
    }
}

fn counter_vec(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect("constant names are legal")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(telemetry: &Telemetry, name: &str, label: &str) -> Option<f64> {
        let families = telemetry.gather();
        let family = families.iter().find(|family| family.name() == name)?;
        let metric = family.get_metric().iter().find(|metric| {
            label.is_empty() || metric.get_label().iter().any(|pair| pair.value() == label)
        })?;
        Some(metric.get_counter().get_value() + metric.get_gauge().get_value())
    }

    #[test]
    fn labelled_families_appear_when_first_used() {
        let telemetry = Telemetry::new(&BuildInfo::default(), true);
        let reloads = "statsd_exporter_config_reloads_total";
        assert_eq!(value(&telemetry, reloads, ""), None);
        telemetry.reloaded(true);
        telemetry.reloaded(false);
        telemetry.reloaded(false);
        assert_eq!(value(&telemetry, reloads, "success"), Some(1.0));
        assert_eq!(value(&telemetry, reloads, "failure"), Some(2.0));
        assert_eq!(
            value(&telemetry, "statsd_exporter_lines_total", ""),
            Some(0.0)
        );
        assert_eq!(
            value(&telemetry, "statsd_exporter_build_info", ""),
            Some(1.0)
        );
    }

    #[test]
    fn conflicting_names_are_bounded() {
        let telemetry = Telemetry::new(&BuildInfo::default(), true);
        for name in 0..CONFLICT_NAMES_MAX + 5 {
            telemetry.conflict("gauge", &format!("m{name}"), 1);
        }
        telemetry.conflict("gauge", "m0", 2);
        let conflicts = "statsd_exporter_events_conflict_total";
        assert_eq!(value(&telemetry, conflicts, "m0"), Some(3.0));
        assert_eq!(value(&telemetry, conflicts, "m1004"), None);
        let families = telemetry.gather();
        let family = families.iter().find(|f| f.name() == conflicts).unwrap();
        assert_eq!(family.get_metric().len(), CONFLICT_NAMES_MAX + 1);
    }

    #[test]
    fn own_names_are_reserved() {
        let telemetry = Telemetry::new(&BuildInfo::default(), true);
        telemetry.reloaded(true);
        for family in telemetry.gather() {
            assert!(is_reserved(family.name()), "{}", family.name());
        }
        for name in [
            "a",
            "statsd_exporter_x",
            "process_x",
            "pito",
            "go_goroutines",
        ] {
            assert!(!is_reserved(name), "{name}");
        }
        assert!(is_reserved("pitot_anything"));
    }
}
