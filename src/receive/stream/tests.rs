//! Connections as their peers see them, of every family and with every backend
//! that the kernel allows.

use super::*;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;

use super::super::tests::{PATIENCE, backends};
use crate::sys::seccomp;

/// What a sink was told, batches aside.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Line(String),
    Event(StreamEvent),
    Idle,
    Error,
}

use super::StreamEvent::{AcceptFailed, Connected, LineTooLong, ReadFailed};
use Seen::Event;

fn line(text: &str) -> Seen {
    Seen::Line(text.to_owned())
}

struct Recorder {
    is_in_batch: bool,
    seen: Sender<Seen>,
}

impl Recorder {
    fn see(&self, seen: Seen) {
        // A test that has seen enough no longer listens.
        let _ = self.seen.send(seen);
    }
}

impl LineSink for Recorder {
    fn batch_start(&mut self) {
        assert!(!std::mem::replace(&mut self.is_in_batch, true));
    }

    fn line(&mut self, bytes: &[u8]) {
        assert!(self.is_in_batch);
        self.see(line(&String::from_utf8_lossy(bytes)));
    }

    fn batch_end(&mut self) {
        assert!(std::mem::replace(&mut self.is_in_batch, false));
    }

    fn event(&mut self, event: StreamEvent) {
        self.see(Event(event));
    }

    fn idle(&mut self) {
        self.see(Seen::Idle);
    }

    fn error(&mut self, _: &io::Error) {
        self.see(Seen::Error);
    }
}

/// Either kind of connection, as its peer has it.
trait Peer: Read + Write + Send {
    fn end_writing(&self);
}

impl Peer for TcpStream {
    fn end_writing(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Peer for UnixStream {
    fn end_writing(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

/// Where peers connect: one TCP and one Unix listener.
struct Addresses {
    tcp: std::net::SocketAddr,
    unix: UnixAddr,
}

impl Addresses {
    fn connect_tcp(&self) -> Box<dyn Peer> {
        let peer = TcpStream::connect(self.tcp).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        Box::new(peer)
    }

    fn connect_unix(&self) -> Box<dyn Peer> {
        let peer = UnixStream::connect_addr(&self.unix).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        Box::new(peer)
    }

    fn connect_both(&self) -> [Box<dyn Peer>; 2] {
        [self.connect_tcp(), self.connect_unix()]
    }
}

fn listen() -> (Vec<Socket>, Addresses) {
    let tcp_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let tcp = tcp_listener.local_addr().unwrap();
    let unix = UnixAddr::from_abstract_name(format!("pitot-stream-{tcp}")).unwrap();
    let unix_listener = UnixListener::bind_addr(&unix).unwrap();
    let listeners = vec![tcp_listener.into(), unix_listener.into()];
    (listeners, Addresses { tcp, unix })
}

/// A thread that serves listeners.
struct Server {
    stop: Stop,
    thread: JoinHandle<()>,
    seen: Receiver<Seen>,
}

impl Server {
    fn start(backend: Backend, listeners: Vec<Socket>) -> Server {
        Server::start_with(Stop::new().unwrap(), backend, listeners)
    }

    fn start_with(stop: Stop, backend: Backend, listeners: Vec<Socket>) -> Server {
        Server::start_as(Options::default(), stop, backend, listeners)
    }

    fn start_as(options: Options, stop: Stop, backend: Backend, listeners: Vec<Socket>) -> Server {
        let (sender, seen) = mpsc::channel();
        let sink = Recorder {
            is_in_batch: false,
            seen: sender,
        };
        let stopped_by = stop.clone();
        let thread = std::thread::spawn(move || {
            run(listeners, backend, options, &stopped_by, sink).unwrap();
        });
        Server { stop, thread, seen }
    }

    /// The next thing seen, idleness aside.
    fn next(&self) -> Seen {
        loop {
            match self.seen.recv_timeout(PATIENCE).unwrap() {
                Seen::Idle => {}
                seen => return seen,
            }
        }
    }

    /// What else is seen up to the stop and after it.
    fn stop(self) -> Vec<Seen> {
        self.stop.raise();
        let mut all = Vec::new();
        loop {
            match self.seen.recv_timeout(PATIENCE) {
                Ok(Seen::Idle) => {}
                Ok(seen) => all.push(seen),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not stop"),
            }
        }
        self.thread.join().unwrap();
        all
    }
}

/// A peer writes `sent` and ends; `expected` is seen, and the peer then sees
/// an orderly end and no byte.
fn check(sent: &str, expected: &[Seen]) {
    for backend in backends() {
        let (listeners, addresses) = listen();
        let server = Server::start(backend, listeners);
        for connect in [Addresses::connect_tcp, Addresses::connect_unix] {
            let mut peer = connect(&addresses);
            assert_eq!(server.next(), Event(Connected));
            peer.write_all(sent.as_bytes()).unwrap();
            peer.end_writing();
            for seen in expected {
                assert_eq!(server.next(), *seen, "{backend:?}, {sent:?}");
            }
            assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        }
        assert_eq!(server.stop(), []);
    }
}

#[test]
fn lines_are_delivered_and_the_end_is_orderly() {
    check("", &[]);
    check("a:1|c\n", &[line("a:1|c")]);
    check("a\r\n\nb\n", &[line("a"), line(""), line("b")]);
    check("a\nb", &[line("a"), line("b")]);
    let longest = "x".repeat(4095);
    check(&format!("{longest}\n"), &[line(&longest)]);
}

#[test]
fn a_line_that_is_too_long_ends_the_connection() {
    let long = "x".repeat(4096);
    check(&format!("a\n{long}"), &[line("a"), Event(LineTooLong)]);
    for backend in backends() {
        let (listeners, addresses) = listen();
        let server = Server::start(backend, listeners);
        for connect in [Addresses::connect_tcp, Addresses::connect_unix] {
            let mut peer = connect(&addresses);
            assert_eq!(server.next(), Event(Connected));
            peer.write_all(format!("a\n{long}\nb\n").as_bytes())
                .unwrap();
            assert_eq!(server.next(), line("a"));
            assert_eq!(server.next(), Event(LineTooLong));
            // Closed by the server, orderly or not, while we still write.
            assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)));
        }
        assert_eq!(server.stop(), []);
    }
}

/// A server with limits, for each backend, and a TCP peer that is connected.
fn with_limits(options: &Options, test: impl Fn(Server, TcpStream, &Addresses)) {
    for backend in backends() {
        let (listeners, addresses) = listen();
        let stop = Stop::new().unwrap();
        let server = Server::start_as(options.clone(), stop, backend, listeners);
        let peer = TcpStream::connect(addresses.tcp).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(server.next(), Event(Connected));
        test(server, peer, &addresses);
    }
}

#[test]
fn a_long_line_may_be_skipped_and_the_connection_lives() {
    let options = Options {
        line_bytes_max: 5000,
        long_lines: LongLines::Skip,
        ..Options::default()
    };
    with_limits(&options, |server, mut peer, _| {
        let longest = "x".repeat(4999);
        let longer = "y".repeat(200_000);
        write!(peer, "{longest}\n{longer}\nb\n").unwrap();
        assert_eq!(server.next(), line(&longest));
        assert_eq!(server.next(), Event(LineTooLong));
        assert_eq!(server.next(), line("b"));
        assert_eq!(server.stop(), []);
    });
}

#[test]
fn an_idle_connection_is_closed_and_its_last_line_taken() {
    let options = Options {
        idle_max: Some(Duration::from_millis(200)),
        ..Options::default()
    };
    with_limits(&options, |server, mut peer, _| {
        peer.write_all(b"a\nb").unwrap();
        assert_eq!(server.next(), line("a"));
        assert_eq!(server.next(), Event(StreamEvent::Idle));
        assert_eq!(server.next(), line("b"));
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        assert_eq!(server.stop(), []);
    });
}

#[test]
fn there_are_no_more_connections_than_there_may_be() {
    let options = Options {
        places: Arc::new(Semaphore::new(1)),
        ..Options::default()
    };
    with_limits(&options, |server, mut first, addresses| {
        for _ in 0..2 {
            let mut second = addresses.connect_unix();
            assert_eq!(server.next(), Event(StreamEvent::Refused));
            assert!(matches!(second.read(&mut [0]), Ok(0) | Err(_)));
        }
        first.write_all(b"a\n").unwrap();
        assert_eq!(server.next(), line("a"));
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(first.read(&mut [0]).unwrap(), 0);
        // The place is free a moment after the peer has seen the end.
        let deadline = std::time::Instant::now() + PATIENCE;
        let mut third = addresses.connect_unix();
        while server.next() != Event(Connected) {
            assert!(std::time::Instant::now() < deadline);
            third = addresses.connect_unix();
        }
        third.write_all(b"b\n").unwrap();
        assert_eq!(server.next(), line("b"));
        assert_eq!(server.stop(), []);
    });
}

#[test]
fn connections_are_read_side_by_side() {
    for backend in backends() {
        let (listeners, addresses) = listen();
        let server = Server::start(backend, listeners);
        let [mut tcp, mut unix] = addresses.connect_both();
        assert_eq!(server.next(), Event(Connected));
        assert_eq!(server.next(), Event(Connected));
        for round in 0..3 {
            tcp.write_all(b"t\nt").unwrap();
            assert_eq!(server.next(), line(if round == 0 { "t" } else { "tt" }));
            unix.write_all(b"u\n").unwrap();
            assert_eq!(server.next(), line("u"));
        }
        // More than one read takes, in lines that straddle the reads.
        let many = "0123456\n".repeat(100_000);
        unix.write_all(many.as_bytes()).unwrap();
        for _ in 0..100_000 {
            assert_eq!(server.next(), line("0123456"));
        }
        drop(tcp);
        assert_eq!(server.next(), line("t"));
        assert_eq!(server.stop(), []);
    }
}

#[test]
fn a_reset_is_reported_unless_it_cuts_a_line() {
    for backend in backends() {
        let (listeners, addresses) = listen();
        let server = Server::start(backend, listeners);
        for (sent, after) in [("a\n", Event(ReadFailed)), ("a\nb", line("b"))] {
            let mut peer = TcpStream::connect(addresses.tcp).unwrap();
            assert_eq!(server.next(), Event(Connected));
            peer.write_all(sent.as_bytes()).unwrap();
            assert_eq!(server.next(), line("a"));
            // A close that does not linger resets the connection.
            let no_time = Some(Duration::ZERO);
            SockRef::from(&peer).set_linger(no_time).unwrap();
            drop(peer);
            assert_eq!(server.next(), after, "{backend:?}, {sent:?}");
        }
        assert_eq!(server.stop(), []);
    }
}

#[test]
fn accepting_goes_on_after_a_failure() {
    for backend in backends() {
        let (mut listeners, addresses) = listen();
        // It looks ready but does not listen, so accepting fails.
        let broken = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        listeners.insert(0, broken.unwrap());
        let server = Server::start(backend, listeners);
        for _ in 0..5 {
            assert_eq!(server.next(), Event(AcceptFailed));
            assert_eq!(server.next(), Seen::Error);
        }
        let mut peers = addresses.connect_both();
        peers[0].write_all(b"a\n").unwrap();
        while server.next() != line("a") {}
        server.stop();
    }
}

#[test]
fn an_idle_server_says_so() {
    for backend in backends() {
        let (listeners, _) = listen();
        let server = Server::start(backend, listeners);
        assert_eq!(server.seen.recv_timeout(PATIENCE), Ok(Seen::Idle));
        assert_eq!(server.stop(), []);
    }
}

#[test]
fn a_stop_delivers_the_lines_that_have_arrived() {
    for backend in backends() {
        let (listeners, addresses) = listen();
        // These have connected and written before anything is accepted.
        let mut early = addresses.connect_both();
        for peer in &mut early {
            peer.write_all(b"a\nb\ncut").unwrap();
        }
        let stop = Stop::new().unwrap();
        stop.raise();
        let seen = Server::start_with(stop, backend, listeners).stop();
        for (expected, what) in [(Event(Connected), 2), (line("a"), 2), (line("b"), 2)] {
            let count = seen.iter().filter(|seen| **seen == expected).count();
            assert_eq!(count, what, "{backend:?}: {seen:?}");
        }
        assert_eq!(seen.len(), 6, "{backend:?}: {seen:?}");
        for mut peer in early {
            assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)));
        }
    }
}

#[test]
fn a_stop_does_not_wait_for_quiet_peers() {
    for backend in backends() {
        let (listeners, addresses) = listen();
        let server = Server::start(backend, listeners);
        let mut quiet = addresses.connect_both();
        for peer in &mut quiet {
            peer.write_all(b"a\ncut").unwrap();
        }
        for _ in 0..4 {
            assert!([Event(Connected), line("a")].contains(&server.next()));
        }
        assert_eq!(server.stop(), []);
        for mut peer in quiet {
            assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        }
    }
}

#[test]
fn a_stop_does_not_wait_for_peers_that_never_pause() {
    for backend in backends() {
        let (listeners, addresses) = listen();
        let server = Server::start(backend, listeners);
        let mut peer = addresses.connect_tcp();
        let flooding =
            std::thread::spawn(move || while peer.write_all(&[b'\n'; 60_000]).is_ok() {});
        while server.next() != line("") {}
        // Millions of lines are still to come; nobody wants to keep them.
        drop(server.seen);
        server.stop.raise();
        server.thread.join().unwrap();
        flooding.join().unwrap();
    }
}

#[test]
fn without_io_uring_connections_are_read_by_epoll() {
    let (listeners, addresses) = listen();
    let mut peers = addresses.connect_both();
    // The server's thread inherits the filter.
    let start = move || {
        seccomp::deny_io_uring(libc::EPERM).unwrap();
        Server::start(Backend::IoUring, listeners)
    };
    let server = std::thread::spawn(start).join().unwrap();
    assert_eq!(server.next(), Seen::Error);
    peers[0].write_all(b"a\n").unwrap();
    while server.next() != line("a") {}
    assert_eq!(server.stop(), []);
}
