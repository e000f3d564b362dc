//! What two exporters must agree on, and how they differ, in sentences.
//!
//! A page has two parts that are judged apart: what the senders caused, and
//! those of the exporter's own counters whose meaning statsd_exporter defined.
//! The rest (process and runtime metrics, each exporter's private telemetry) is
//! nobody else's business.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use crate::scrape::{Family, Page, Sample, SampleKey};

/// The own counters that every exporter of this kind keeps alike.
const OWN: [&str; 20] = [
    "statsd_exporter_sample_errors_total",
    "statsd_exporter_events_error_total",
    "statsd_exporter_events_conflict_total",
    "statsd_exporter_lines_total",
    "statsd_exporter_samples_total",
    "statsd_exporter_tags_total",
    "statsd_exporter_tag_errors_total",
    "statsd_exporter_events_total",
    "statsd_exporter_events_actions_total",
    "statsd_exporter_events_unmapped_total",
    "statsd_exporter_udp_packets_total",
    "statsd_exporter_tcp_connections_total",
    "statsd_exporter_tcp_connection_errors_total",
    "statsd_exporter_tcp_too_long_lines_total",
    "statsd_exporter_unixgram_packets_total",
    "statsd_exporter_config_reloads_total",
    "statsd_exporter_loaded_mappings",
    "statsd_exporter_metrics_total",
    "statsd_exporter_relay_lines_relayed_total",
    "statsd_exporter_relay_long_lines_total",
];

/// The counters of [`OWN`] that say an event was refused.
const REJECTIONS: usize = 3;

/// Families about the exporter itself, by name or by how it begins. Narrower
/// than `go_` and `process_`, so that senders may use such names too.
const INFRASTRUCTURE: [&str; 18] = [
    "go_info",
    "go_goroutines",
    "go_threads",
    "go_gc_*",
    "go_memstats_*",
    "go_sched_*",
    "process_cpu_*",
    "process_resident_*",
    "process_virtual_*",
    "process_open_*",
    "process_max_*",
    "process_start_*",
    "process_network_*",
    "promhttp_metric_*",
    "statsd_exporter_*",
    "statsd_metric_mapper_*",
    "pitot_*",
    "target_info",
];

/// Families of other runtimes, which an exporter may have beyond what is wanted.
const RUNTIMES: [&str; 4] = ["go_", "process_", "promhttp_", "target_info"];

/// How far two numbers may lie apart, as a part of the larger one.
const VALUE_TOLERANCE: f64 = 1e-9;

/// The judged parts of a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// What the senders caused, in the order of the page.
    pub families: Vec<Family>,
    /// The common own counters that are not zero.
    pub own: BTreeMap<SampleKey, f64>,
}

/// Whether the order of families, and of the samples in them, is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It must be the same.
    Fixed,
    /// It does not matter.
    Free,
}

// === impl Judged ===

impl Judged {
    /// Takes the judged parts of a page.
    pub fn of(page: Page) -> Judged {
        let mut judged = Judged::default();
        for family in page.families {
            if OWN.contains(&&*family.name) {
                let used = family.samples.into_iter().filter(|s| s.value != 0.0);
                judged.own.extend(used.map(|s| (s.key, s.value)));
            } else if !is_infrastructure(&family.name) {
                judged.families.push(family);
            }
        }
        judged
    }

    /// Whether nothing judged has changed.
    pub fn is_same(&self, other: &Judged) -> bool {
        families(&self.families, &other.families, Order::Free, |_| false).is_empty()
            && own(&self.own, &other.own).is_empty()
    }

    /// How many events the exporter says it refused, for whatever reason.
    pub fn rejected(&self) -> f64 {
        let is_rejection = |key: &&SampleKey| OWN[..REJECTIONS].contains(&&*key.name);
        let rejections = self.own.keys().filter(is_rejection);
        rejections.map(|key| self.own[key]).sum()
    }
}

/// Whether a family is about the exporter itself.
pub(crate) fn is_infrastructure(name: &str) -> bool {
    INFRASTRUCTURE
        .iter()
        .any(|known| match known.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *known,
        })
}

/// How `got` differs from `want`, a sentence each; families for which `ignored`
/// holds may be there or not.
pub fn families(
    want: &[Family],
    got: &[Family],
    order: Order,
    ignored: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut common = BTreeSet::new();
    for (name, want, got) in pairs(by_name(want), by_name(got)) {
        match (want, got) {
            _ if ignored(name) => {}
            (Some(want), Some(got)) => {
                family(want, got, order, &mut found);
                common.insert(name);
            }
            (Some(_), None) => found.push(format!("missing family {name}")),
            _ if RUNTIMES.iter().any(|prefix| name.starts_with(prefix)) => {}
            _ => found.push(format!("extra family {name}")),
        }
    }
    if order == Order::Fixed {
        let is_common = |name: &&str| common.contains(name);
        let want = want.iter().map(|family| &*family.name).filter(is_common);
        let got = got.iter().map(|family| &*family.name).filter(is_common);
        let moved = want.zip(got).find(|(want, got)| want != got);
        found.extend(moved.map(|(want, got)| out_of_order(want, got)));
    }
    found
}

fn by_name(families: &[Family]) -> BTreeMap<&str, &Family> {
    families.iter().map(|f| (&*f.name, f)).collect()
}

fn family(want: &Family, got: &Family, order: Order, found: &mut Vec<String>) {
    let name = &want.name;
    if want.kind != got.kind {
        let (want, got) = (want.kind.as_str(), got.kind.as_str());
        found.push(format!("{name}: type {got}, want {want}"));
    }
    if want.help != got.help {
        found.push(format!("{name}: help {:?}, want {:?}", got.help, want.help));
    }
    let mut same_keys = true;
    for (key, want, got) in pairs(by_key(want), by_key(got)) {
        match (want, got) {
            (Some(want), Some(got)) if is_same(want, got) => {}
            (Some(want), Some(got)) => found.push(format!("{key} is {got}, want {want}")),
            (Some(want), None) => found.push(format!("missing {key} {want}")),
            (None, Some(got)) => found.push(format!("extra {key} {got}")),
            (None, None) => {}
        }
        same_keys &= want.is_some() == got.is_some();
    }
    if order == Order::Fixed && same_keys {
        found.extend(series_order(want, got));
    }
}

/// The first series that stands elsewhere, or whose own samples do. Label names
/// have no say in it: series that differ only in them stand in any order.
fn series_order(want: &Family, got: &Family) -> Option<String> {
    fn values<'a>(family: &'a Family, sample: &'a Sample) -> impl Iterator<Item = &'a String> {
        family.series_labels(sample).map(|(_, value)| value)
    }
    let mut places = want.series().zip(got.series());
    let moved = places.find(|(w, g)| values(want, &w[0]).ne(values(got, &g[0])));
    if let Some((want, got)) = moved {
        return Some(out_of_order(&want[0].key, &got[0].key));
    }
    // The series are the same; those of equal values may have changed places.
    let got: BTreeMap<Vec<_>, &[Sample]> = got
        .series()
        .map(|samples| (got.series_labels(&samples[0]).collect(), samples))
        .collect();
    want.series().find_map(|want_samples| {
        let labels: Vec<_> = want.series_labels(&want_samples[0]).collect();
        let mut keys = want_samples.iter().zip(*got.get(&labels)?);
        let (want, got) = keys.find(|(want, got)| want.key != got.key)?;
        Some(out_of_order(&want.key, &got.key))
    })
}

fn by_key(family: &Family) -> BTreeMap<&SampleKey, f64> {
    let samples = family.samples.iter();
    samples.map(|Sample { key, value }| (key, *value)).collect()
}

/// Compares own counters; one that is absent counts as zero.
pub fn own(want: &BTreeMap<SampleKey, f64>, got: &BTreeMap<SampleKey, f64>) -> Vec<String> {
    pairs(want.iter().collect(), got.iter().collect())
        .map(|(key, want, got)| (key, want.unwrap_or(&0.0), got.unwrap_or(&0.0)))
        .filter(|(_, want, got)| !is_same(**want, **got))
        .map(|(key, want, got)| format!("{key} is {got}, want {want}"))
        .collect()
}

/// The values of two maps side by side, in the order of their keys.
fn pairs<K: Ord + Copy, V: Copy>(
    want: BTreeMap<K, V>,
    got: BTreeMap<K, V>,
) -> impl Iterator<Item = (K, Option<V>, Option<V>)> {
    let keys: BTreeSet<K> = want.keys().chain(got.keys()).copied().collect();
    keys.into_iter()
        .map(move |key| (key, want.get(&key).copied(), got.get(&key).copied()))
}

/// Whether two numbers are the same but for the order of additions.
pub fn is_same(a: f64, b: f64) -> bool {
    if a.is_finite() && b.is_finite() {
        // Sums of numbers that cancel out leave a rest far below any of them.
        (a - b).abs() <= f64::max(VALUE_TOLERANCE * f64::max(a.abs(), b.abs()), 1e-12)
    } else {
        a == b || (a.is_nan() && b.is_nan())
    }
}

fn out_of_order(want: impl Display, got: impl Display) -> String {
    format!("out of order: {got} where {want} should be")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> Judged {
        Judged::of(Page::parse(text).expect("a page"))
    }

    fn check(want: &str, got: &str, differences: &[&str]) {
        let (want, got) = (judged(want), judged(got));
        let mut found = families(&want.families, &got.families, Order::Fixed, |name| {
            name == "ignored"
        });
        found.extend(own(&want.own, &got.own));
        assert_eq!(found, differences);
    }

    #[test]
    fn alike() {
        check(
            "a 1\nb{x=\"1\"} NaN\n",
            "a 1.0000000001\nb{x=\"1\"} NaN\n",
            &[],
        );
        check("a 0\n", "a -1e-13\n", &[]);
        check("a +Inf\n", "a +Inf\n", &[]);
        check("a 1\n", "a 1\nignored 5\ngo_other 1\npitot_x 2\n", &[]);
        check("process_cpu_seconds_total 1\n", "target_info 1\n", &[]);
        check(
            "statsd_exporter_tags_total 0\nstatsd_exporter_build_info 1\n",
            "",
            &[],
        );
    }

    #[test]
    fn different() {
        check("a 1\n", "a 1.00001\n", &["a{} is 1.00001, want 1"]);
        check("a 1\n", "a +Inf\n", &["a{} is inf, want 1"]);
        check("a 1\n", "a NaN\n", &["a{} is NaN, want 1"]);
        check("a 1\n", "b 1\n", &["missing family a", "extra family b"]);
        check("go_other 1\n", "", &["missing family go_other"]);
        check(
            "a{x=\"1\"} 1\n",
            "a{x=\"2\"} 1\n",
            &["missing a{x=\"1\"} 1", "extra a{x=\"2\"} 1"],
        );
        check(
            "# HELP a x\n# TYPE a counter\na 1\n",
            "# HELP a y\n# TYPE a gauge\na 1\n",
            &["a: type gauge, want counter", "a: help \"y\", want \"x\""],
        );
        check(
            "a{x=\"1\"} 1\na{x=\"2\"} 1\n",
            "a{x=\"2\"} 1\na{x=\"1\"} 1\n",
            &["out of order: a{x=\"2\"} where a{x=\"1\"} should be"],
        );
        let tied = ["h{a=\"1\",z=\"2\"} 1\n", "h{b=\"1\",c=\"2\"} 1\n"];
        let [one, two] = tied;
        check(&format!("{one}{two}"), &format!("{two}{one}"), &[]);
        let summary = "# TYPE s summary\ns{quantile=\"0\"} 1\ns{quantile=\"1\"} 1\n";
        check(
            &format!("{summary}s_sum 1\ns_count 1\n"),
            &format!("{summary}s_count 1\ns_sum 1\n"),
            &["out of order: s_count{} where s_sum{} should be"],
        );
        check(
            "a 1\nb 1\n",
            "b 1\na 1\n",
            &["out of order: b where a should be"],
        );
        check(
            "statsd_exporter_lines_total 2\n",
            "statsd_exporter_lines_total 1\nstatsd_exporter_tags_total 3\n",
            &[
                "statsd_exporter_lines_total{} is 1, want 2",
                "statsd_exporter_tags_total{} is 3, want 0",
            ],
        );
    }

    #[test]
    fn rejections_are_added_up() {
        let judged = judged(
            "statsd_exporter_sample_errors_total{reason=\"x\"} 2\n\
             statsd_exporter_events_conflict_total{type=\"counter\"} 3\n\
             statsd_exporter_tag_errors_total 5\n",
        );
        assert_eq!(judged.rejected(), 5.0);
    }
}
