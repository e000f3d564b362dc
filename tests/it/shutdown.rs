//! The end of the program, and what happens to datagrams then.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use pitot_loadgen::exporter::{Exporter, Signal, exit_code};

use crate::harness::{PATIENCE, page_when, reference, start};
use crate::loss::{backends, total};

const LINE: &[u8] = b"airflow.scheduler_heartbeat:1|c";

fn sender_to(exporter: &Exporter) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let to = (Ipv4Addr::LOCALHOST, exporter.statsd_port());
    socket.connect(to).expect("an address");
    socket
}

fn send(socket: &UdpSocket, count: u32) {
    for _ in 0..count {
        socket.send(LINE).expect("sent");
    }
}

fn ends_well(exporter: &mut Exporter) {
    let status = exporter.wait(PATIENCE).expect("its end");
    assert_eq!(exit_code(status), 0);
}

#[test]
fn a_flood_goes_on_through_the_grace_period_and_is_accounted_for() {
    const HALF: u32 = 100_000;
    if reference().is_some() {
        return;
    }
    for backend in backends() {
        // Small enough to lose some, for those count too.
        let flags = [
            backend,
            "--statsd.read-buffer=20000",
            "--shutdown.grace=10m",
        ];
        let mut exporter = start(&flags, None);
        let socket = sender_to(&exporter);
        send(&socket, HALF);
        exporter.signal(Signal::TERM).expect("a signal");
        send(&socket, HALF);
        let page = page_when(&exporter, |page| {
            let counted = total(page, "statsd_exporter_udp_packets_total");
            counted + total(page, "pitot_kernel_drops_total") == f64::from(2 * HALF)
        });
        let counted = total(&page, "statsd_exporter_udp_packets_total");
        assert_eq!(page.value("airflow_scheduler_heartbeat"), Some(counted));
        let answer = exporter.http.get("/-/ready").expect("an answer");
        assert_eq!(answer.status, 503);
        let answer = exporter.http.get("/-/healthy").expect("an answer");
        assert_eq!(answer.status, 200);
        // Once more is at once.
        exporter.signal(Signal::TERM).expect("a signal");
        ends_well(&mut exporter);
    }
}

#[test]
fn what_lies_in_a_socket_buffer_is_counted_before_the_end() {
    const SENT: u32 = 2000;
    if reference().is_some() {
        return;
    }
    for backend in backends() {
        for by_request in [false, true] {
            let mut exporter = start(&[backend, "--log.level=info"], None);
            let socket = sender_to(&exporter);
            // Datagrams arrive while it stands still, and it is told to end
            // before it can read them.
            exporter.signal(Signal::STOP).expect("a signal");
            send(&socket, SENT);
            if by_request {
                exporter.signal(Signal::CONT).expect("a signal");
                let none: [(&str, &str); 0] = [];
                let answer = exporter.http.request("POST", "/-/quit", none);
                assert_eq!(answer.expect("an answer").status, 200);
            } else {
                exporter.signal(Signal::TERM).expect("a signal");
                exporter.signal(Signal::CONT).expect("a signal");
            }
            ends_well(&mut exporter);
            let said = exporter.said();
            let counted = format!("datagrams={SENT} dropped=0");
            assert!(said.contains(&counted), "{backend}: {said}");
        }
    }
}

#[test]
fn reloads_lose_nothing() {
    const ROUNDS: u32 = 20;
    const EACH: u32 = 2000;
    if reference().is_some() {
        return;
    }
    for backend in backends() {
        let rule = "mappings:\n- {match: airflow.*, name: mapped}\n";
        let exporter = start(&[backend], Some(rule));
        let socket = sender_to(&exporter);
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                for _ in 0..ROUNDS {
                    send(&socket, EACH);
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            while !sending.is_finished() {
                let none: [(&str, &str); 0] = [];
                let answer = exporter.http.request("POST", "/-/reload", none);
                assert_eq!(answer.expect("an answer").status, 200);
            }
        });
        page_when(&exporter, |page| {
            let counted = total(page, "statsd_exporter_udp_packets_total");
            let dropped = total(page, "pitot_kernel_drops_total");
            counted + dropped == f64::from(ROUNDS * EACH) && page.value("mapped") == Some(counted)
        });
    }
}
