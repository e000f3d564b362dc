//! Recordings of a socket, of captures and of traces.

use std::net::UdpSocket;
use std::path::Path;

use clap::Parser;

use super::live::Listener;
use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

/// Runs `record` with some arguments, the last of them the file to write.
fn record(args: &[&str]) -> Result<Report> {
    let cli = Cli::try_parse_from([&["record"], args].concat())?;
    run(&cli.args, &Interrupt::default())
}

/// A tape that writes to a file until a limit.
fn tape(path: &Path, limits: Limits) -> Tape {
    let writer = Writer::create(path).expect("created");
    Tape::new(writer, limits, Interrupt::default())
}

fn datagrams(path: &Path) -> Vec<(u16, Vec<u8>)> {
    let trace = Trace::read(path).expect("a trace");
    let datagrams = trace.datagrams();
    datagrams
        .map(|(d, _)| (d.source, d.payload.to_vec()))
        .collect()
}

#[test]
fn a_recording_holds_what_was_sent() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("out.jsonl.gz");
    let listener = Listener::bind("127.0.0.1:0").expect("bound");
    let to = listener.address().expect("an address");
    let senders: Vec<UdpSocket> = (0..2)
        .map(|_| UdpSocket::bind("127.0.0.1:0").expect("bound"))
        .collect();
    let sent = [(0, &b"a:1|c"[..]), (1, b"\xff"), (0, b"b:1|c\n")];
    for (sender, payload) in sent {
        senders[sender].send_to(payload, to).expect("sent");
    }
    let limits = Limits {
        count: Some(3),
        duration: None,
    };
    let mut tape = tape(&path, limits);
    let mut progress = Progress::new("datagrams", None);
    let lost = listener.record(&mut tape, &mut progress).expect("recorded");
    let report = tape.finish().expect("finished").to_string();
    assert!(report.contains("datagrams  3\nsources    2\n"), "{report}");
    assert_eq!(lost, Some(0));

    let port = |sender: usize| senders[sender].local_addr().expect("an address").port();
    let sent = sent.map(|(sender, payload)| (port(sender), payload.to_vec()));
    assert_eq!(datagrams(&path), sent);
}

#[test]
fn it_ends_by_time_and_by_interrupt() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("out.jsonl");
    let listener = Listener::bind("127.0.0.1:0").expect("bound");
    let mut progress = Progress::new("datagrams", None);
    let limits = Limits {
        duration: Some(Duration::from_millis(1)),
        count: None,
    };
    let mut timed = tape(&path, limits);
    listener.record(&mut timed, &mut progress).expect("ended");
    let mut interrupted = tape(&path, Limits::default());
    interrupted.interrupt.set();
    listener
        .record(&mut interrupted, &mut progress)
        .expect("ended");
}

#[test]
fn a_trace_becomes_a_trace_without_names() {
    let dir = tempfile::tempdir().expect("a directory");
    let [plain, hidden, cut] =
        ["a.jsonl", "b.jsonl.gz", "c.jsonl"].map(|name| dir.path().join(name));
    let lines = [
        r#"{"t_us": 0, "src": 7, "d": "airflow.ti.start.orders.load:1|c"}"#,
        r#"{"t_us": 5, "src": 8, "b64": "/w=="}"#,
        r#"{"t_us": 9, "src": 7, "d": "airflow.scheduler_heartbeat:1|c\n"}"#,
    ];
    std::fs::write(&plain, lines.join("\n")).expect("written");
    let [plain, hidden, cut] = [&plain, &hidden, &cut].map(|path| path.to_str().expect("text"));
    let key = ["--anonymize", "--anonymize-key", "k"];
    let report = record(&[&["--trace", plain][..], &key, &[hidden]].concat()).expect("recorded");
    assert!(report.to_string().contains("1 datagrams were not text"));
    let found = datagrams(Path::new(hidden));
    assert_eq!(found.len(), 2);
    assert_eq!(found[1], (7, b"airflow.scheduler_heartbeat:1|c\n".to_vec()));
    let text = String::from_utf8_lossy(&found[0].1).into_owned();
    assert!(
        text.starts_with("airflow.ti.start.") && text.ends_with(":1|c"),
        "{text}"
    );
    assert!(!text.contains("orders") && text.len() == 32, "{text}");

    record(&["--trace", plain, "--count", "1", cut]).expect("recorded");
    assert_eq!(datagrams(Path::new(cut)).len(), 1);
}

#[test]
fn one_origin_is_needed() {
    for args in [&["out"][..], &["--pcap", "a", "--trace", "b", "out"]] {
        assert!(Cli::try_parse_from([&["record"], args].concat()).is_err());
    }
    let error = record(&["--pcap", "/nonexistent", "/nonexistent/out"]);
    assert!(error.is_err());
}
