//! What workers count: plain numbers while they work, published once a batch.
//!
//! A worker adds to its own [`Counts`], which nobody else sees, and stores them
//! into its [`SharedCounts`] at the end of each batch. A scrape sums the shared
//! ones over all workers. So counting costs an addition, and neither side ever
//! waits for the other.

use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::proto::{MetricFamily, MetricType};

use super::family;
use crate::statsd::LineError;

/// One number that a worker keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is described by its family's help text")]
pub enum Count {
    Lines,
    Samples,
    Tagged,
    TagErrors,
    // In the order of `LineError`, see `Counts::add_sample_errors`.
    MalformedLine,
    MixedTaggingStyles,
    NotEnoughPartsAfterColon,
    InvalidExtendedAggregateType,
    MalformedComponent,
    MalformedValue,
    InvalidSampleFactor,
    MalformedContainerId,
    IllegalEvent,
    CounterEvents,
    GaugeEvents,
    ObserverEvents,
    Mapped,
    Dropped,
    Unmapped,
    EmptyMetricName,
    IllegalNegativeCounter,
    ReservedLabelName,
    Batches,
    UdpPackets,
    UdpPacketDrops,
    UnixgramPackets,
    TcpConnections,
    TcpConnectionErrors,
    TcpTooLongLines,
    UnixStreamConnections,
    UnixStreamErrors,
    UnixStreamTooLongLines,
    TruncatedDatagrams,
    BuffersExhausted,
    ReceiveErrors,
    AcceptErrors,
    RefusedConnections,
    IdleConnections,
    CacheLength,
    CacheGets,
    CacheHits,
}

impl Count {
    const ALL: usize = Count::CacheHits as usize + 1;
}

/// A family made of counts.
struct CountFamily {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    /// The label that tells the members apart; empty for a single member, which
    /// is then on the page even while it is zero. Labelled members appear when
    /// they are first counted, as with the reference.
    label: &'static str,
    members: &'static [(Count, &'static str)],
}

const fn single(
    name: &'static str,
    help: &'static str,
    member: &'static [(Count, &'static str)],
) -> CountFamily {
    CountFamily {
        name,
        help,
        kind: MetricType::COUNTER,
        label: "",
        members: member,
    }
}

/// Absent when there is no cache, as with the reference.
const CACHE_FAMILIES: &[CountFamily] = &[
    CountFamily {
        name: "statsd_metric_mapper_cache_length",
        help: "Lines whose series is remembered, over all workers.",
        kind: MetricType::GAUGE,
        label: "",
        members: &[(Count::CacheLength, "")],
    },
    single(
        "statsd_metric_mapper_cache_gets_total",
        "Lines looked up among those whose series is remembered.",
        &[(Count::CacheGets, "")],
    ),
    single(
        "statsd_metric_mapper_cache_hits_total",
        "Lines whose series was remembered.",
        &[(Count::CacheHits, "")],
    ),
];

const FAMILIES: &[CountFamily] = &[
    single(
        "statsd_exporter_lines_total",
        "StatsD lines received, empty ones included.",
        &[(Count::Lines, "")],
    ),
    single(
        "statsd_exporter_samples_total",
        "StatsD samples received, good or bad.",
        &[(Count::Samples, "")],
    ),
    single(
        "statsd_exporter_tags_total",
        "StatsD samples received that carried tags.",
        &[(Count::Tagged, "")],
    ),
    single(
        "statsd_exporter_tag_errors_total",
        "Tags that were not a key and a value.",
        &[(Count::TagErrors, "")],
    ),
    CountFamily {
        name: "statsd_exporter_sample_errors_total",
        help: "Lines and samples refused, by reason.",
        kind: MetricType::COUNTER,
        label: "reason",
        members: &[
            (Count::MalformedLine, "malformed_line"),
            (Count::MixedTaggingStyles, "mixed_tagging_styles"),
            (
                Count::NotEnoughPartsAfterColon,
                "not_enough_parts_after_colon",
            ),
            (
                Count::InvalidExtendedAggregateType,
                "invalid_extended_aggregate_type",
            ),
            (Count::MalformedComponent, "malformed_component"),
            (Count::MalformedValue, "malformed_value"),
            (Count::InvalidSampleFactor, "invalid_sample_factor"),
            (Count::MalformedContainerId, "malformed_container_id"),
            (Count::IllegalEvent, "illegal_event"),
        ],
    },
    CountFamily {
        name: "statsd_exporter_events_total",
        help: "Events applied to a series, by type.",
        kind: MetricType::COUNTER,
        label: "type",
        members: &[
            (Count::CounterEvents, "counter"),
            (Count::GaugeEvents, "gauge"),
            (Count::ObserverEvents, "observer"),
        ],
    },
    CountFamily {
        name: "statsd_exporter_events_actions_total",
        help: "Events taken by a mapping rule, by its action.",
        kind: MetricType::COUNTER,
        label: "action",
        members: &[(Count::Dropped, "drop"), (Count::Mapped, "map")],
    },
    single(
        "statsd_exporter_events_unmapped_total",
        "Events that no mapping rule took.",
        &[(Count::Unmapped, "")],
    ),
    CountFamily {
        name: "statsd_exporter_events_error_total",
        help: "Events refused, by reason.",
        kind: MetricType::COUNTER,
        label: "reason",
        members: &[
            (Count::EmptyMetricName, "empty_metric_name"),
            (Count::IllegalNegativeCounter, "illegal_negative_counter"),
            (Count::ReservedLabelName, "reserved_label_name"),
        ],
    },
    single(
        "statsd_exporter_event_queue_flushed_total",
        "Batches finished by the workers; there is no queue.",
        &[(Count::Batches, "")],
    ),
    single(
        "statsd_exporter_udp_packets_total",
        "UDP datagrams received.",
        &[(Count::UdpPackets, "")],
    ),
    single(
        "statsd_exporter_udp_packet_drops_total",
        "UDP datagrams received but dropped before parsing; always 0, since there is no queue.",
        &[(Count::UdpPacketDrops, "")],
    ),
    single(
        "statsd_exporter_unixgram_packets_total",
        "Unix datagrams received.",
        &[(Count::UnixgramPackets, "")],
    ),
    single(
        "statsd_exporter_tcp_connections_total",
        "TCP connections accepted.",
        &[(Count::TcpConnections, "")],
    ),
    single(
        "statsd_exporter_tcp_connection_errors_total",
        "TCP connections that ended with an error.",
        &[(Count::TcpConnectionErrors, "")],
    ),
    single(
        "statsd_exporter_tcp_too_long_lines_total",
        "Lines over TCP that were too long.",
        &[(Count::TcpTooLongLines, "")],
    ),
    single(
        "pitot_unixstream_connections_total",
        "Unix stream connections accepted.",
        &[(Count::UnixStreamConnections, "")],
    ),
    single(
        "pitot_unixstream_connection_errors_total",
        "Unix stream connections that ended with an error.",
        &[(Count::UnixStreamErrors, "")],
    ),
    single(
        "pitot_unixstream_too_long_lines_total",
        "Lines over Unix stream connections that were too long.",
        &[(Count::UnixStreamTooLongLines, "")],
    ),
    single(
        "pitot_truncated_datagrams_total",
        "Datagrams refused because they did not fit a receive buffer.",
        &[(Count::TruncatedDatagrams, "")],
    ),
    single(
        "pitot_receive_buffers_exhausted_total",
        "Times that all buffers lent to io_uring were full; nothing is lost by it.",
        &[(Count::BuffersExhausted, "")],
    ),
    single(
        "pitot_receive_errors_total",
        "Errors met while reading a datagram socket; reading goes on.",
        &[(Count::ReceiveErrors, "")],
    ),
    single(
        "pitot_accept_errors_total",
        "Connections that could not be accepted at first; it is tried again.",
        &[(Count::AcceptErrors, "")],
    ),
    single(
        "pitot_connections_refused_total",
        "Connections closed at once because there were as many as there may be.",
        &[(Count::RefusedConnections, "")],
    ),
    single(
        "pitot_idle_connections_closed_total",
        "Connections closed because nothing came over them for too long.",
        &[(Count::IdleConnections, "")],
    ),
];

/// A worker's own numbers.
#[derive(Clone, Debug)]
pub struct Counts([u64; Count::ALL]);

/// The numbers of one worker as others may read them. Aligned, so that two
/// workers never write to the same cache line.
#[derive(Debug)]
#[repr(align(128))]
pub struct SharedCounts([AtomicU64; Count::ALL]);

impl Default for Counts {
    fn default() -> Self {
        Counts([0; Count::ALL])
    }
}

impl Counts {
    /// Adds refusals as the parser counts them.
    pub fn add_sample_errors(&mut self, errors: &[u64; LineError::ALL.len()]) {
        let first = Count::MalformedLine as usize;
        for (count, error) in self.0[first..].iter_mut().zip(errors) {
            *count += error;
        }
    }
}

impl Default for SharedCounts {
    fn default() -> Self {
        SharedCounts([const { AtomicU64::new(0) }; Count::ALL])
    }
}

impl Index<Count> for Counts {
    type Output = u64;
    fn index(&self, count: Count) -> &u64 {
        &self.0[count as usize]
    }
}

impl IndexMut<Count> for Counts {
    fn index_mut(&mut self, count: Count) -> &mut u64 {
        &mut self.0[count as usize]
    }
}

impl SharedCounts {
    /// Shows a worker's numbers to scrapes. Only that worker may call this.
    pub fn publish(&self, counts: &Counts) {
        for (shared, own) in self.0.iter().zip(counts.0) {
            shared.store(own, Ordering::Relaxed);
        }
    }

    /// A number as its worker last published it.
    pub fn get(&self, count: Count) -> u64 {
        self.0[count as usize].load(Ordering::Relaxed)
    }
}

/// Names of all families made of counts.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES
        .iter()
        .chain(CACHE_FAMILIES)
        .map(|family| family.name)
}

/// The families, summed over all workers.
pub(super) fn collect(workers: &[Arc<SharedCounts>], with_cache: bool) -> Vec<MetricFamily> {
    let sum = |count: Count| -> u64 { workers.iter().map(|shared| shared.get(count)).sum() };
    let cache_families = if with_cache { CACHE_FAMILIES } else { &[] };
    FAMILIES
        .iter()
        .chain(cache_families)
        .map(|wanted| {
            let members = wanted
                .members
                .iter()
                .map(|(count, value)| (sum(*count), *value));
            let samples: Vec<(Vec<(&str, &str)>, f64)> = if wanted.label.is_empty() {
                members.map(|(sum, _)| (vec![], sum as f64)).collect()
            } else {
                members
                    .filter(|(sum, _)| *sum > 0)
                    .map(|(sum, value)| (vec![(wanted.label, value)], sum as f64))
                    .collect()
            };
            family(wanted.name, wanted.help, wanted.kind, &samples)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_is_on_the_page_once() {
        let mut seen = [0; Count::ALL];
        for family in FAMILIES.iter().chain(CACHE_FAMILIES) {
            for (count, _) in family.members {
                seen[*count as usize] += 1;
            }
        }
        assert_eq!(seen, [1; Count::ALL]);
    }

    #[test]
    fn reasons_are_those_of_the_parser() {
        let errors = FAMILIES
            .iter()
            .find(|family| family.name == "statsd_exporter_sample_errors_total");
        let reasons = errors.into_iter().flat_map(|family| family.members);
        for (reason, (count, value)) in LineError::ALL.iter().zip(reasons) {
            assert_eq!(reason.as_str(), *value);
            assert_eq!(
                *count as usize,
                Count::MalformedLine as usize + *reason as usize
            );
        }
    }

    #[test]
    fn a_scrape_sums_over_workers() {
        let workers: Vec<Arc<SharedCounts>> = (0..2).map(|_| Arc::default()).collect();
        for shared in &workers {
            let mut counts = Counts::default();
            counts[Count::Lines] += 3;
            counts[Count::GaugeEvents] += 1;
            shared.publish(&counts);
        }
        let families = collect(&workers, false);
        let lines = families
            .iter()
            .find(|f| f.name() == "statsd_exporter_lines_total");
        assert_eq!(
            lines.unwrap().get_metric()[0].get_counter().get_value(),
            6.0
        );
        let events = families
            .iter()
            .find(|f| f.name() == "statsd_exporter_events_total")
            .unwrap();
        assert_eq!(events.get_metric().len(), 1, "only what was counted");
        assert!(!families.iter().any(|f| f.name().contains("cache")));
    }
}
