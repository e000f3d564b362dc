//! Traffic of small traces to sockets of this machine.

use std::net::UdpSocket;

use super::*;
use crate::multiply::Copies;
use crate::replay::replay;
use crate::trace::Trace;

fn trace(datagrams: &[(u64, u16, &str)]) -> Trace {
    let mut trace = Trace::default();
    for &(ms, source, payload) in datagrams {
        trace.push(Duration::from_millis(ms), source, payload.as_bytes());
    }
    trace.finish()
}

fn listener() -> (UdpSocket, Target) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let timeout = Some(Duration::from_secs(10));
    socket.set_read_timeout(timeout).expect("set");
    let target = Target::Udp(socket.local_addr().expect("an address"));
    (socket, target)
}

#[test]
fn sources_keep_their_ports_for_as_long_as_they_send() {
    let (socket, target) = listener();
    let trace = trace(&[(0, 7, "a"), (1, 8, "b\nc\n"), (2, 7, "d")]);
    let report = replay(&trace, &target, Speed::Max, 2, &Interrupt::default());
    let report = report.expect("replayed");
    assert!(report.is_complete(), "{report}");
    assert_eq!((report.datagrams, report.lines, report.bytes), (6, 8, 12));
    assert!(report.late_us.is_empty());
    let mut received = Vec::new();
    for _ in 0..6 {
        let mut buffer = [0; 100];
        let (len, peer) = socket.recv_from(&mut buffer).expect("received");
        received.push((String::from_utf8_lossy(&buffer[..len]).into_owned(), peer));
    }
    let texts: Vec<&str> = received.iter().map(|(text, _)| &**text).collect();
    assert_eq!(texts, ["a", "b\nc\n", "d", "a", "b\nc\n", "d"]);
    assert_eq!(received[0].1, received[2].1);
    assert_ne!(received[0].1, received[1].1);
}

#[test]
fn the_schedule_is_kept() {
    let (_socket, target) = listener();
    let trace = trace(&[(0, 7, "a"), (100, 7, "b"), (400, 7, "c")]);
    let report = replay(
        &trace,
        &target,
        Speed::Times(10.0),
        1,
        &Interrupt::default(),
    );
    let report = report.expect("replayed");
    assert!(report.elapsed >= Duration::from_millis(40), "{report}");
    assert_eq!(report.late_us.len(), 3);
}

#[test]
fn errors_are_counted_and_named() {
    let (socket, target) = listener();
    drop(socket);
    let all: Vec<(u64, u16, &str)> = (0..5).map(|ms| (ms, 7, "a")).collect();
    let report = replay(
        &trace(&all),
        &target,
        Speed::Times(1.0),
        1,
        &Interrupt::default(),
    );
    let report = report.expect("replayed");
    assert!(!report.is_complete());
    let text = report.to_string();
    assert!(text.contains("Connection refused"), "{text}");
    let path = "/nonexistent/statsd.sock";
    let target: Target = format!("unixgram:{path}").parse().expect("a target");
    let error = replay(&trace(&all), &target, Speed::Max, 1, &Interrupt::default());
    assert!(format!("{:#}", error.expect_err("no socket")).contains(path));
}

#[test]
fn an_interrupt_leaves_a_report() {
    let (_socket, target) = listener();
    let interrupt = Interrupt::default();
    interrupt.set();
    let report = replay(&trace(&[(0, 7, "a")]), &target, Speed::Max, 1, &interrupt);
    let report = report.expect("a report");
    assert_eq!(report.datagrams, 0);
    assert!(report.to_string().contains("Interrupted"));
}

#[test]
fn a_rate_is_kept_and_a_limit_ends_it() {
    let (_socket, target) = listener();
    let trace = trace(&[(0, 7, "a"), (60_000, 8, "b")]);
    let mut copies = Copies::new(&trace, 1, Some(5), "");
    let plan = Plan {
        pace: Pace::Rate(100.0),
        ..Plan::default()
    };
    let report = send(&mut copies, &target, &plan, &Interrupt::default()).expect("sent");
    assert_eq!(report.datagrams, 10);
    assert!(report.elapsed >= Duration::from_millis(90), "{report}");

    let mut copies = Copies::new(&trace, 1, None, "");
    let plan = Plan {
        limit: Some(Duration::from_millis(1)),
        ..Plan::default()
    };
    let report = send(&mut copies, &target, &plan, &Interrupt::default()).expect("sent");
    assert!(report.is_complete() && report.datagrams <= 1, "{report}");
}

#[test]
fn the_order_is_kept_at_full_speed() {
    let (socket, target) = listener();
    let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let datagrams = (0..).zip(&texts);
    let datagrams: Vec<_> = datagrams.map(|(i, text)| (0, i / 5 % 3, &**text)).collect();
    let report = replay(
        &trace(&datagrams),
        &target,
        Speed::Max,
        1,
        &Interrupt::default(),
    );
    let report = report.expect("sent");
    assert!(report.is_complete());
    assert_eq!((report.sources, report.sources_at_once), (3, 3));
    for text in texts {
        let mut buffer = [0; 10];
        let (len, _) = socket.recv_from(&mut buffer).expect("received");
        assert_eq!(&buffer[..len], text.as_bytes());
    }
}

#[test]
fn whose_fault_it_was() {
    let (_socket, target) = listener();
    let trace = trace(&[(0, 7, "a")]);
    let report = |speed| {
        let report = replay(&trace, &target, speed, 1, &Interrupt::default());
        report.expect("sent")
    };
    assert_eq!(report(Speed::Max).bottleneck(), Bottleneck::Sender);
    let mut late = report(Speed::Times(1.0));
    for _ in 0..100 {
        late.late(Duration::from_secs(1));
    }
    assert_eq!(late.bottleneck(), Bottleneck::Sender);
    assert!(late.to_string().contains("SENDER was the bottleneck"));
}
