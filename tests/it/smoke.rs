//! One datagram from the wire to the page, and a clean end.

use std::net::{IpAddr, Ipv4Addr};

use pitot_loadgen::exporter::{Signal, exit_code};

use crate::harness::{PATIENCE, page_when, send_udp, start};

#[test]
fn a_datagram_reaches_the_page_and_sigterm_ends_well() {
    let rule = "mappings:\n- {match: a.*, name: mapped, labels: {what: $1}}\n";
    let mut exporter = start(&[], Some(rule));
    let to = (IpAddr::V4(Ipv4Addr::LOCALHOST), exporter.statsd_port());
    send_udp(to, &["a.b:2|c\na.b:3|c"]).expect("sent");
    page_when(&exporter, |page| {
        page.value("mapped{what=\"b\"}") == Some(5.0)
    });
    exporter.signal(Signal::TERM).expect("a signal");
    let status = exporter.wait(PATIENCE).expect("its end");
    assert_eq!(exit_code(status), 0);
}
