//! The server as clients see it: real connections to a port of its own, with
//! requests and responses written and read by hand so that nothing in between
//! makes them better than they are.

mod harness;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use flate2::read::GzDecoder;

use self::harness::{PATIENCE, Reply, Server, TestPages, wait_for};
use super::*;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

// === Pages ===

const PLAIN: &str = "text/plain; charset=utf-8";

#[test]
fn metrics_take_any_method() {
    let server = Server::start("/metrics", false);
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        server
            .request(method, "/metrics", &[])
            .check(200, TEXT, "Text\n");
    }
    server
        .get("/metrics?name[]=go_info")
        .check(200, TEXT, "Text\n");
    let head = server.raw("HEAD /metrics HTTP/1.1\r\n\r\n");
    let reply = Reply::read(&head);
    reply.check(200, TEXT, "");
    assert!(head.ends_with(b"\r\n\r\n"));
}

#[test]
fn fixed_pages() {
    let server = Server::start("/metrics", false);
    let check = |method, path, status, content_type, body| {
        let reply = server.request(method, path, &[]);
        reply.check(status, content_type, body);
    };
    for path in ["/-/healthy", "/health"] {
        check("GET", path, 200, PLAIN, "Statsd Exporter is Healthy.\n");
        check("POST", path, 200, "", "");
        check("HEAD", path, 200, "", "");
    }
    check("GET", "/-/ready", 200, PLAIN, "Statsd Exporter is Ready.\n");
    check("PUT", "/-/ready", 200, "", "");
    for path in [
        "/nothing",
        "/metrics/",
        "/-/healthy/",
        "/-/",
        "/favicon.ico",
        "/-/reload",
        "/-/quit",
        "/debug/pprof/",
        "/debug/vars",
    ] {
        for method in ["GET", "POST", "PUT"] {
            check(method, path, 404, PLAIN, "404 page not found\n");
        }
        check("HEAD", path, 404, PLAIN, "");
        let reply = server.get(path);
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
    }
}

#[test]
fn the_landing_page_takes_any_method() {
    let server = Server::start("/stats/prom", false);
    for method in ["GET", "POST"] {
        let reply = server.request(method, "/", &[]);
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), "text/html; charset=UTF-8");
        assert!(
            reply
                .text()
                .contains(r#"<a href="/stats/prom">Metrics</a>"#)
        );
        assert!(reply.text().contains("1.2.3"));
    }
    server.get("/stats/prom").check(200, TEXT, "Text\n");
    assert_eq!(server.get("/stats/prom/").status, 404);
    assert_eq!(server.get("/metrics").status, 404);
}

#[test]
fn it_can_be_unready() {
    let server = Server::start("/metrics", false);
    server.pages.ready.store(false, Ordering::SeqCst);
    for method in ["GET", "POST"] {
        let reply = server.request(method, "/-/ready", &[]);
        reply.check(503, PLAIN, "Statsd Exporter is not Ready.\n");
    }
    assert_eq!(server.get("/-/healthy").status, 200);
}

#[test]
fn reload_is_done_before_the_response() {
    let server = Server::start("/metrics", true);
    let reloads = || server.pages.reloads.load(Ordering::SeqCst);
    server.get("/-/reload").check(200, "", "");
    assert_eq!(reloads(), 0);
    for (count, method) in [(1, "POST"), (2, "PUT")] {
        let reply = server.request(method, "/-/reload", &[]);
        reply.check(200, PLAIN, "Requesting reload");
        assert_eq!(reloads(), count);
    }
}

#[test]
fn quit_needs_the_right_method() {
    let server = Server::start("/metrics", true);
    let quits = || server.pages.quits.load(Ordering::SeqCst);
    for method in ["GET", "DELETE", "HEAD"] {
        server.request(method, "/-/quit", &[]).check(200, "", "");
    }
    assert_eq!(quits(), 0);
    for (count, method) in [(1, "POST"), (2, "PUT")] {
        let reply = server.request(method, "/-/quit", &[]);
        reply.check(200, PLAIN, "Requesting termination... Goodbye!");
        assert_eq!(quits(), count);
    }
}

#[test]
fn redirects() {
    let server = Server::start("/m/", false);
    for (path, location) in [
        ("//m/x", "/m/x"),
        ("/x/../m/", "/m/"),
        ("/./-/ready?a=b&c", "/-/ready?a=b&c"),
        ("/-//healthy?", "/-/healthy"),
        ("/m", "/m/"),
        ("/m?x=%20", "/m/?x=%20"),
        ("//a%20b", "/a%20b"),
        ("//host/path", "/host/path"),
        ("//\"{}", "/%22%7B%7D"),
        ("//é?é", "/%C3%A9?%C3%A9"),
    ] {
        let reply = server.get(path);
        assert_eq!((reply.status, reply.header("location")), (307, location));
        let reply = server.request("POST", path, &[]);
        assert_eq!((reply.status, reply.header("location")), (307, location));
        assert_eq!((reply.header("content-type"), reply.text()), ("", ""));
    }
    server.get("//a?b&c").check(
        307,
        "text/html; charset=utf-8",
        "<a href=\"/a?b&amp;c\">Temporary Redirect</a>.\n\n",
    );
}

#[test]
fn the_root_as_telemetry_path() {
    let server = Server::start("/", false);
    for path in ["/", "/whatever", "/-/reload", "/metrics"] {
        server.get(path).check(200, TEXT, "Text\n");
    }
    let reply = server.request("POST", "/-/reload", &[]);
    reply.check(200, TEXT, "Text\n");
    assert_eq!(server.get("/-/ready").text(), "Statsd Exporter is Ready.\n");
}

#[test]
fn odd_requests_are_survived() {
    let server = Server::start("/metrics", true);
    for (request_line, status) in [
        ("OPTIONS * HTTP/1.1", 200),
        ("GET * HTTP/1.1", 400),
        ("CONNECT host:80 HTTP/1.1", 404),
        ("CONNECT /metrics HTTP/1.1", 404),
        ("GET http://host/metrics HTTP/1.1", 200),
        ("GET /metrics HTTP/1.0", 200),
        ("GET metrics HTTP/1.1", 400),
        ("GET /%zz HTTP/1.1", 400),
        ("GET /metrics HTTP/9.9", 400),
        ("GET", 400),
        ("\u{1}\u{2}", 400),
    ] {
        let reply = Reply::read(&server.raw(&format!("{request_line}\r\n\r\n")));
        assert_eq!(reply.status, status, "{request_line}");
    }
    assert_eq!(server.get("/metrics").status, 200);
}

// === Negotiation ===

#[test]
fn formats_on_request() {
    let server = Server::start("/metrics", false);
    let check = |accept: &str, content_type: &str, body: &str| {
        let reply = server.request("GET", "/metrics", &[&format!("Accept: {accept}")]);
        reply.check(200, content_type, body);
    };
    check("*/*", TEXT, "Text\n");
    check("", TEXT, "Text\n");
    check("\u{e9}", TEXT, "Text\n");
    check(
        PROTOBUF,
        &format!("{PROTOBUF}; escaping=underscores"),
        "ProtobufDelimited\n",
    );
    check(
        &format!("{PROTOBUF};escaping=dots;q=0.4,text/plain;q=0.8"),
        TEXT,
        "Text\n",
    );
    // Only the first of several headers is read.
    let accepts = ["Accept: text/html", &format!("Accept: {PROTOBUF}")];
    server
        .request("GET", "/metrics", &accepts)
        .check(200, TEXT, "Text\n");
}

#[test]
fn compression_on_request() {
    let server = Server::start("/metrics", false);
    let check = |header: &str, packed: bool| {
        let reply = server.request("GET", "/metrics", &[header]);
        let mut page = reply.body.clone();
        if packed {
            page.clear();
            GzDecoder::new(&reply.body[..])
                .read_to_end(&mut page)
                .unwrap();
        }
        assert_eq!(
            reply.header("content-encoding"),
            if packed { "gzip" } else { "" }
        );
        assert_eq!(reply.header("content-type"), TEXT);
        assert_eq!(page, b"Text\n");
    };
    check("Accept-Encoding: gzip", true);
    check("Accept-Encoding: gzip, deflate, br", true);
    check("Accept-Encoding: deflate\r\nAccept-Encoding: gzip", true);
    check("Accept-Encoding: identity;q=0.5, gzip;q=0.8", true);
    check("Accept-Encoding: gzip;q=0.5, identity;q=0.8", false);
    check("Accept-Encoding: GZIP", false);
    check("Accept-Encoding: zstd", false);
    check("Accept-Encoding: *", false);
    check("X-Nothing: asked", false);
}

// === Pages that are large, slow or fail ===

/// Lines of a page that fills queues and socket buffers many times over.
const LINES: usize = 2_000_000;

fn long_page(out: &mut dyn Write) -> io::Result<()> {
    (0..LINES).try_for_each(|line| writeln!(out, "metric_{line} 1"))
}

#[test]
fn long_pages_arrive_whole() {
    let server = Server::with_render(|_, out| long_page(out));
    let mut want = Vec::new();
    long_page(&mut want).unwrap();
    let plain = server.get("/metrics");
    assert!(plain.complete && plain.body == want);
    let packed = server.request("GET", "/metrics", &["Accept-Encoding: gzip"]);
    let mut page = Vec::new();
    GzDecoder::new(&packed.body[..])
        .read_to_end(&mut page)
        .unwrap();
    assert!(packed.complete && page == want);
}

#[test]
fn empty_pages_are_pages() {
    let server = Server::with_render(|_, _| Ok(()));
    server.get("/metrics").check(200, TEXT, "");
    assert_eq!(server.stats.requests(200), 1);
}

#[test]
fn early_failures_become_the_response() {
    let server = Server::with_render(|_, out| {
        out.write_all(b"part of a page")?;
        out.flush()?;
        Err(io::Error::other("no luck today"))
    });
    for encoding in ["Accept-Encoding: identity", "Accept-Encoding: gzip"] {
        let reply = server.request("GET", "/metrics", &[encoding]);
        reply.check(
            500,
            PLAIN,
            "An error has occurred while serving metrics:\n\nno luck today\n",
        );
        assert_eq!(reply.header("content-encoding"), "");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
    }
    assert_eq!(server.stats.requests(500), 2);
    assert_eq!(server.stats.requests(200), 0);
}

#[test]
fn late_failures_break_the_response() {
    let server = Server::with_render(|_, out| {
        long_page(out)?;
        Err(io::Error::other("no luck today"))
    });
    let reply = server.get("/metrics");
    assert_eq!(reply.status, 200);
    assert!(!reply.complete);
}

#[test]
fn a_rendering_thread_that_dies_does_not_look_like_an_end() {
    let server = Server::with_render(|_, out| {
        long_page(out)?;
        panic!("part of the test");
    });
    let reply = server.get("/metrics");
    assert_eq!(reply.status, 200);
    assert!(!reply.complete);
}

/// A server whose page has no end, and where its rendering ended.
fn endless(limits: Limits) -> (Server, mpsc::Receiver<io::Error>) {
    let (ended, end) = mpsc::channel();
    let ended = Mutex::new(ended);
    let pages = TestPages::new(move |_, out| {
        loop {
            if let Err(error) = long_page(out) {
                let copy = io::Error::new(error.kind(), error.to_string());
                ended.lock().unwrap().send(copy).unwrap();
                return Err(error);
            }
        }
    });
    (Server::with("/metrics", true, pages, limits), end)
}

#[test]
fn a_client_that_goes_away_ends_the_rendering() {
    for encoding in ["identity", "gzip"] {
        let (server, end) = endless(Limits::default());
        let mut client = server.connect();
        write!(
            client,
            "GET /metrics HTTP/1.1\r\nAccept-Encoding: {encoding}\r\n\r\n"
        )
        .unwrap();
        client.read_exact(&mut [0; 1000]).unwrap();
        drop(client);
        let error = end.recv_timeout(PATIENCE).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        wait_for("the scrape to count", || server.stats.requests(200) == 1);
        assert_eq!(server.stats.in_flight(), 0);
    }
}

#[test]
fn a_client_that_stops_reading_ends_the_rendering() {
    let limits = Limits {
        stall: Duration::from_millis(300),
        ..Limits::default()
    };
    let (server, end) = endless(limits);
    let mut client = server.connect();
    client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    end.recv_timeout(PATIENCE).unwrap();
}

/// Long before the kernel gives them up, so that they leave a thread to others.
#[test]
fn a_crowd_that_stops_reading_is_given_up() {
    let limits = Limits {
        crowd_stall: Duration::from_millis(10),
        crowd: 2,
        ..Limits::default()
    };
    assert!(limits.stall > PATIENCE);
    let (server, end) = endless(limits);
    let ask = || {
        let mut client = server.connect();
        client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        client
    };
    let clients = [ask(), ask(), ask()];
    for _ in 0..clients.len() {
        let error = end.recv_timeout(PATIENCE).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
    for mut client in clients {
        let mut response = Vec::new();
        client.read_to_end(&mut response).unwrap();
        assert!(!Reply::read(&response).complete);
    }
}

#[test]
fn head_does_not_render_all() {
    let (server, end) = endless(Limits::default());
    let reply = server.request("HEAD", "/metrics", &[]);
    reply.check(200, TEXT, "");
    end.recv_timeout(PATIENCE).unwrap();
}

// === Connections ===

#[test]
fn scrapes_are_counted_when_they_are_over() {
    let (enter, entered) = mpsc::channel();
    let (leave, left) = mpsc::channel::<()>();
    let gates = Mutex::new((enter, left));
    let server = Server::with_render(move |_, out| {
        let gates = gates.lock().unwrap();
        gates.0.send(()).unwrap();
        gates.1.recv().unwrap();
        out.write_all(b"x 1\n")
    });
    let mut client = server.connect();
    client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    entered.recv_timeout(PATIENCE).unwrap();
    assert_eq!(server.stats.in_flight(), 1);
    assert_eq!(server.stats.requests(200), 0);
    leave.send(()).unwrap();
    let mut response = Vec::new();
    while !response.ends_with(b"0\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        response.push(byte[0]);
    }
    assert_eq!(server.stats.in_flight(), 0);
    assert_eq!(server.stats.requests(200), 1);
    server.get("/-/healthy");
    assert_eq!(server.stats.requests(200), 1);
}

#[test]
fn connections_are_kept_for_several_requests() {
    let server = Server::start("/metrics", false);
    let request = "GET /-/healthy HTTP/1.1\r\n\r\n";
    let responses = server.raw(&request.repeat(3));
    let responses = String::from_utf8(responses).unwrap();
    assert_eq!(responses.matches("is Healthy").count(), 3);
}

#[test]
fn idle_connections_are_closed() {
    let limits = Limits {
        idle: Duration::from_millis(50),
        ..Limits::default()
    };
    let pages = TestPages::new(|_, _| Ok(()));
    let server = Server::with("/metrics", false, pages, limits);
    for sent in ["", "GET /met", "GET /metrics HTTP/1.1\r\n\r\n"] {
        let mut client = server.connect();
        client.write_all(sent.as_bytes()).unwrap();
        client.read_to_end(&mut Vec::new()).unwrap();
    }
}

#[test]
fn the_end_lets_running_responses_finish() {
    let (enter, entered) = mpsc::channel();
    let (leave, left) = mpsc::channel::<()>();
    let gates = Mutex::new((enter, left));
    let mut server = Server::with_render(move |_, out| {
        let gates = gates.lock().unwrap();
        gates.0.send(()).unwrap();
        gates.1.recv().unwrap();
        out.write_all(b"last words\n")
    });
    let idle = server.connect();
    let mut client = server.connect();
    client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    entered.recv_timeout(PATIENCE).unwrap();
    server.stop();
    wait_for("the port to close", || {
        TcpStream::connect(server.address).is_err()
    });
    leave.send(()).unwrap();
    let mut response = Vec::new();
    client.read_to_end(&mut response).unwrap();
    let reply = Reply::read(&response);
    assert!(reply.complete);
    assert_eq!(reply.text(), "last words\n");
    server.join();
    drop(idle);
}

#[test]
fn the_end_does_not_wait_for_slow_clients() {
    let limits = Limits {
        drain: Duration::from_millis(50),
        ..Limits::default()
    };
    let (mut server, end) = endless(limits);
    let mut client = server.connect();
    client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    client.read_exact(&mut [0; 1000]).unwrap();
    server.stop();
    server.join();
    end.recv_timeout(PATIENCE).unwrap();
}
