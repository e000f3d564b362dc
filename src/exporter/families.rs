//! Families of the page that are computed when it is asked for.

use std::sync::Arc;

use prometheus::proto::{MetricFamily, MetricType};

use super::receivers::Receivers;
use crate::http::HandlerStats;
use crate::registry::{Kind, Registry};
use crate::telemetry::{Telemetry, family};

/// Shows how many series there are.
pub(super) fn watch_series(telemetry: &Telemetry, registry: &Arc<Registry>) {
    let registry = Arc::clone(registry);
    telemetry.register_computed("series", move || {
        let vectors = Kind::ALL
            .map(|kind| (kind, registry.vectors(kind)))
            .into_iter()
            // Absent until there is one, as with the reference.
            .filter(|(_, count)| *count > 0);
        let live = Kind::ALL
            .map(|kind| (kind, registry.live(kind)))
            .into_iter();
        vec![
            by_kind(
                "statsd_exporter_metrics_total",
                "Metric names with a set of label names, made since start, by type.",
                vectors,
            ),
            by_kind("pitot_series", "Series on the page now, by type.", live),
        ]
    });
}

fn by_kind(name: &str, help: &str, counts: impl Iterator<Item = (Kind, u64)>) -> MetricFamily {
    let sample = |(kind, count): (Kind, u64)| (vec![("type", kind.as_str())], count as f64);
    family(
        name,
        help,
        MetricType::GAUGE,
        &counts.map(sample).collect::<Vec<_>>(),
    )
}

/// Shows how scrapes were answered.
pub(super) fn watch_scrapes(telemetry: &Telemetry, stats: &Arc<HandlerStats>) {
    let stats = Arc::clone(stats);
    telemetry.register_computed("scrapes", move || {
        let codes = HandlerStats::CODES.map(|code| (code.to_string(), stats.requests(code) as f64));
        let by_code: Vec<_> = codes
            .iter()
            .map(|(code, requests)| (vec![("code", code.as_str())], *requests))
            .collect();
        vec![
            family(
                "promhttp_metric_handler_requests_in_flight",
                "Current number of scrapes being served.",
                MetricType::GAUGE,
                &[(vec![], stats.in_flight() as f64)],
            ),
            family(
                "promhttp_metric_handler_requests_total",
                "Total number of scrapes by HTTP status code.",
                MetricType::COUNTER,
                &by_code,
            ),
        ]
    });
}

/// Shows what becomes of datagrams before they are received.
pub(super) fn watch_receivers(telemetry: &Telemetry, receivers: &Arc<Receivers>) {
    let receivers = Arc::clone(receivers);
    telemetry.register_computed("receivers", move || receivers.families());
}
