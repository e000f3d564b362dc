//! What the kernel throws away is on the page: every datagram sent is either
//! counted or counted as lost.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use pitot_loadgen::scrape::Page;

use crate::harness::{page_when, reference, start};

/// The backends, each forced; `io_uring` only where it works.
pub fn backends() -> Vec<&'static str> {
    use pitot::receive::{BackendChoice, probe};
    match probe(BackendChoice::IoUring) {
        Ok(_) => vec!["--receive.backend=recvmmsg", "--receive.backend=io_uring"],
        Err(unavailable) => {
            eprintln!("skipped: {unavailable}");
            vec!["--receive.backend=recvmmsg"]
        }
    }
}

/// The sum of a family's samples.
pub fn total(page: &Page, family: &str) -> f64 {
    let samples = page
        .family(family)
        .map_or(&[][..], |family| &family.samples);
    samples.iter().map(|sample| sample.value).sum()
}

#[test]
fn sent_is_counted_and_dropped_together() {
    const SENT: u32 = 100_000;
    if reference().is_some() {
        return;
    }
    for backend in backends() {
        // So small that it overflows as soon as the receiver blinks.
        let flags = [backend, "--statsd.read-buffer=2304", "--receive.shards=2"];
        let exporter = start(&flags, None);
        let to = (IpAddr::V4(Ipv4Addr::LOCALHOST), exporter.statsd_port());
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(to).expect("an address");
        for _ in 0..SENT {
            socket
                .send(b"airflow.scheduler_heartbeat:1|c")
                .expect("sent");
        }
        let page = page_when(&exporter, |page| {
            let counted = total(page, "statsd_exporter_udp_packets_total");
            counted + total(page, "pitot_kernel_drops_total") == f64::from(SENT)
        });
        let dropped = total(&page, "pitot_kernel_drops_total");
        assert!(dropped > 0.0, "{backend}: the buffer never overflowed");
        let counted = total(&page, "statsd_exporter_udp_packets_total");
        assert_eq!(total(&page, "pitot_shard_datagrams_total"), counted);
        assert_eq!(page.value("airflow_scheduler_heartbeat"), Some(counted));
    }
}
