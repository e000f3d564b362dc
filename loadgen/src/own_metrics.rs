//! Names of the counters that exporters of this kind keep about themselves, as
//! far as losses are read from them.

/// Lines taken.
pub const LINES: &str = "statsd_exporter_lines_total";
/// Datagrams taken from a UDP socket.
pub const DATAGRAMS: &str = "statsd_exporter_udp_packets_total";
/// Of these, thrown away for want of room in a queue.
pub const DROPS: &str = "statsd_exporter_udp_packet_drops_total";
/// Datagrams that the kernel threw away, where the exporter knows.
pub const KERNEL_DROPS: &str = "pitot_kernel_drops_total";
/// User and system time of the process, in seconds.
pub const CPU_SECONDS: &str = "process_cpu_seconds_total";
/// Memory of the process that is resident.
pub const RESIDENT_BYTES: &str = "process_resident_memory_bytes";
