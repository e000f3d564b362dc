//! The `process_*` families every exporter shows, read from `/proc`.
//!
//! The `prometheus` crate collects six of the nine that the reference's client
//! library shows; these are all nine, from one visit to `/proc`.

use prometheus::proto::{MetricFamily, MetricType};

use super::family;

/// Name, type and help of each family, in the order of [`values`].
const FAMILIES: [(&str, MetricType, &str); 9] = [
    (
        "process_cpu_seconds_total",
        MetricType::COUNTER,
        "Total user and system CPU time spent in seconds.",
    ),
    (
        "process_max_fds",
        MetricType::GAUGE,
        "Maximum number of open file descriptors.",
    ),
    (
        "process_network_receive_bytes_total",
        MetricType::COUNTER,
        "Number of bytes received by the process over the network.",
    ),
    (
        "process_network_transmit_bytes_total",
        MetricType::COUNTER,
        "Number of bytes sent by the process over the network.",
    ),
    (
        "process_open_fds",
        MetricType::GAUGE,
        "Number of open file descriptors.",
    ),
    (
        "process_resident_memory_bytes",
        MetricType::GAUGE,
        "Resident memory size in bytes.",
    ),
    (
        "process_start_time_seconds",
        MetricType::GAUGE,
        "Start time of the process since unix epoch in seconds.",
    ),
    (
        "process_virtual_memory_bytes",
        MetricType::GAUGE,
        "Virtual memory size in bytes.",
    ),
    (
        "process_virtual_memory_max_bytes",
        MetricType::GAUGE,
        "Maximum amount of virtual memory available in bytes.",
    ),
];

/// Names of the families.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|(name, ..)| *name)
}

/// The families as they stand; one that cannot be read is left out.
pub(super) fn collect() -> Vec<MetricFamily> {
    FAMILIES
        .iter()
        .zip(values())
        .filter_map(|((name, kind, help), value)| {
            Some(family(name, help, *kind, &[(vec![], value?)]))
        })
        .collect()
}

fn values() -> [Option<f64>; FAMILIES.len()] {
    let Ok(process) = procfs::process::Process::myself() else {
        return [None; FAMILIES.len()];
    };
    let stat = process.stat().ok();
    let limits = process.limits().ok();
    let ticks = procfs::ticks_per_second() as f64;
    let limit = |value: procfs::process::LimitValue| match value {
        procfs::process::LimitValue::Value(value) => value as f64,
        procfs::process::LimitValue::Unlimited => u64::MAX as f64,
    };
    let (received, sent) = network_bytes().map_or((None, None), |(r, s)| (Some(r), Some(s)));
    [
        stat.as_ref()
            .map(|stat| (stat.utime + stat.stime) as f64 / ticks),
        limits
            .as_ref()
            .map(|limits| limit(limits.max_open_files.soft_limit)),
        received,
        sent,
        process.fd_count().ok().map(|count| count as f64),
        stat.as_ref()
            .map(|stat| (stat.rss * procfs::page_size()) as f64),
        stat.as_ref().and_then(|stat| {
            let boot = procfs::boot_time_secs().ok()? as f64;
            Some(boot + stat.starttime as f64 / ticks)
        }),
        stat.as_ref().map(|stat| stat.vsize as f64),
        limits
            .as_ref()
            .map(|limits| limit(limits.max_address_space.soft_limit)),
    ]
}

/// Bytes received and sent by the network namespace: `InOctets` and `OutOctets`
/// of the `IpExt` lines in `/proc/self/net/netstat`, names first, then values.
fn network_bytes() -> Option<(f64, f64)> {
    let netstat = std::fs::read_to_string("/proc/self/net/netstat").ok()?;
    let mut lines = netstat.lines().filter(|line| line.starts_with("IpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let value = |wanted: &str| {
        let pairs = names.split_whitespace().zip(values.split_whitespace());
        let mut found = pairs.filter(|(name, _)| *name == wanted);
        found.next()?.1.parse().ok()
    };
    Some((value("InOctets")?, value("OutOctets")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nine_are_there_and_plausible() {
        let families = collect();
        let names: Vec<&str> = families.iter().map(MetricFamily::name).collect();
        assert_eq!(names, super::names().collect::<Vec<_>>());
        let gauge = |name: &str| {
            let family = families
                .iter()
                .find(|family| family.name() == name)
                .unwrap();
            family.get_metric()[0].get_gauge().get_value()
        };
        assert!(gauge("process_resident_memory_bytes") > 1e5);
        assert!(gauge("process_open_fds") >= 3.0);
        assert!(gauge("process_start_time_seconds") > 1.7e9);
        assert!(gauge("process_virtual_memory_bytes") >= gauge("process_resident_memory_bytes"));
    }
}
