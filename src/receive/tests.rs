//! The same datagrams through every backend that the kernel allows.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::ops::AddAssign;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::*;
use crate::sys::seccomp;

/// Nothing takes this long unless it hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// The backends to test; says why one is missing.
pub(super) fn backends() -> Vec<Backend> {
    match probe(BackendChoice::IoUring) {
        Ok(_) => vec![Backend::Recvmmsg, Backend::IoUring],
        Err(unavailable) => {
            eprintln!("skipped: {unavailable}");
            vec![Backend::Recvmmsg]
        }
    }
}

/// All ways to receive datagrams: each backend, gathering and not.
fn ways() -> Vec<Options> {
    let gathers = [Duration::ZERO, Duration::from_millis(20)].map(Gather::AtMost);
    let with = |backend| gathers.map(|gather| Options { backend, gather });
    backends().into_iter().flat_map(with).collect()
}

/// What a sink was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    datagrams: usize,
    bytes: usize,
    /// Of all payload bytes, so that mixed-up buffers show.
    sum: u64,
    truncated: usize,
    idle: usize,
    errors: usize,
}

impl Tally {
    fn of<'a>(datagrams: impl IntoIterator<Item = &'a [u8]>) -> Tally {
        let mut tally = Tally::default();
        datagrams.into_iter().for_each(|payload| tally.add(payload));
        tally
    }

    fn add(&mut self, payload: &[u8]) {
        self.datagrams += 1;
        self.bytes += payload.len();
        self.sum += payload.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.sum += other.sum;
        self.truncated += other.truncated;
        self.idle += other.idle;
        self.errors += other.errors;
    }
}

/// Sends a tally, with the number of its socket, after each batch.
struct Counting {
    socket: usize,
    batch: Option<Tally>,
    tallies: Sender<(usize, Tally)>,
    /// Held closed by a test that wants the receiver to stand still at its
    /// first datagram.
    gate: Option<Receiver<()>>,
}

impl Counting {
    fn batch(&mut self) -> &mut Tally {
        self.batch.as_mut().expect("inside of a batch")
    }

    fn send(&mut self, tally: Tally) {
        // A test that has seen enough no longer listens.
        let _ = self.tallies.send((self.socket, tally));
    }
}

impl Sink for Counting {
    fn batch_start(&mut self) {
        assert_eq!(self.batch.replace(Tally::default()), None);
    }

    fn datagram(&mut self, payload: &[u8]) {
        self.batch().add(payload);
        if let Some(gate) = self.gate.take() {
            self.send(Tally::default());
            gate.recv_timeout(PATIENCE).unwrap();
        }
    }

    fn truncated(&mut self) {
        self.batch().truncated += 1;
    }

    fn batch_end(&mut self) {
        let tally = self.batch.take().expect("inside of a batch");
        self.send(tally);
    }

    fn idle(&mut self) {
        assert_eq!(self.batch, None);
        self.send(Tally {
            idle: 1,
            ..Tally::default()
        });
    }

    fn error(&mut self, _: &io::Error) {
        self.send(Tally {
            errors: 1,
            ..Tally::default()
        });
    }
}

/// Receivers at work, a thread for each socket.
struct Receivers {
    stop: Stop,
    bells: Vec<Bell>,
    threads: Vec<JoinHandle<()>>,
    tallies: Receiver<(usize, Tally)>,
    /// By socket, as far as it was read from the channel.
    received: Vec<Tally>,
}

impl Receivers {
    fn start<S: AsFd + Send + 'static>(
        options: Options,
        sockets: impl IntoIterator<Item = S>,
    ) -> Receivers {
        Receivers::start_gated(options, sockets, Stop::new().unwrap(), None)
    }

    fn start_gated<S: AsFd + Send + 'static>(
        options: Options,
        sockets: impl IntoIterator<Item = S>,
        stop: Stop,
        mut gate: Option<Receiver<()>>,
    ) -> Receivers {
        let (sender, tallies) = mpsc::channel();
        let mut bells = Vec::new();
        let start = |(number, socket): (usize, S)| {
            let mut sink = Counting {
                socket: number,
                batch: None,
                tallies: sender.clone(),
                gate: gate.take(),
            };
            let stop = stop.clone();
            let bell = Bell::new().unwrap();
            bells.push(bell.clone());
            std::thread::spawn(move || run(socket, options, &stop, &bell, &mut sink).unwrap())
        };
        let threads: Vec<_> = sockets.into_iter().enumerate().map(start).collect();
        Receivers {
            received: vec![Tally::default(); threads.len()],
            stop,
            bells,
            threads,
            tallies,
        }
    }

    fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.received.iter().for_each(|tally| total += *tally);
        total
    }

    fn wait_until(&mut self, is_enough: impl Fn(Tally) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_enough(self.total()) {
            assert!(Instant::now() < deadline, "only {:?}", self.received);
            if let Ok((socket, tally)) = self.tallies.recv_timeout(PATIENCE) {
                self.received[socket] += tally;
            }
        }
    }

    /// Stops the receivers and returns all that they ever received, by socket.
    fn stop(mut self) -> Vec<Tally> {
        self.stop.raise();
        loop {
            match self.tallies.recv_timeout(PATIENCE) {
                Ok((socket, tally)) => self.received[socket] += tally,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("a receiver does not stop"),
            }
        }
        self.threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        self.received
    }
}

fn group(count: usize, receive_buffer_bytes: i32) -> (Vec<UdpSocket>, SocketAddr) {
    let any_port = (Ipv4Addr::LOCALHOST, 0).into();
    let count = NonZeroUsize::new(count).unwrap();
    let group = socket::udp_group(any_port, count, receive_buffer_bytes).unwrap();
    let address = group[0].local_addr().unwrap();
    (group, address)
}

fn sender_to(address: SocketAddr) -> UdpSocket {
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    sender.connect(address).unwrap();
    sender
}

#[test]
fn many_small_datagrams_from_many_senders_all_arrive() {
    const DATAGRAMS: usize = 50_000;
    // So few are under way that the default buffer holds them.
    const UNDER_WAY: usize = 100;
    for way in ways() {
        let (group, address) = group(2, 0);
        let senders: Vec<_> = (0..16).map(|_| sender_to(address)).collect();
        let mut receivers = Receivers::start(way, group);
        let mut sent = Tally::default();
        for number in 0..DATAGRAMS {
            let line = format!("airflow.dag.{number}:1|c");
            senders[number % 16].send(line.as_bytes()).unwrap();
            sent.add(line.as_bytes());
            if sent.datagrams.is_multiple_of(UNDER_WAY) {
                receivers.wait_until(|received| received.datagrams == sent.datagrams);
            }
        }
        assert_eq!(receivers.total(), sent, "{way:?}");
        // The kernel spreads 16 flows over two sockets; that one gets none
        // happens once in 32768 runs.
        assert!(receivers.stop().iter().all(|tally| tally.datagrams > 0));
    }
}

/// What `backend` makes of datagrams that lie in the socket when it starts.
fn check(datagrams: &[&[u8]]) {
    for way in ways() {
        let (group, address) = group(1, 1 << 20);
        let sender = sender_to(address);
        for datagram in datagrams {
            assert_eq!(sender.send(datagram).unwrap(), datagram.len());
        }
        let mut receivers = Receivers::start(way, group);
        receivers.wait_until(|received| received.datagrams >= datagrams.len());
        let sent = Tally::of(datagrams.iter().copied());
        assert_eq!(receivers.stop(), [sent], "{way:?}");
    }
}

#[test]
fn datagrams_of_every_size_arrive_whole() {
    let longest: Vec<u8> = (0..65_507).map(|i| i as u8).collect();
    check(&[b""]);
    check(&[b"", b"", b"a", b"", b"bc"]);
    check(&[&longest]);
    check(&[b"a", &longest, b"", &longest[..9000], &longest, b"b"]);
    check(&vec![b"".as_slice(); 300]);
}

#[test]
fn more_datagrams_wait_than_there_are_buffers() {
    check(&vec![b"airflow.x:1|c".as_slice(); 1000]);
}

#[test]
fn datagrams_that_come_while_the_sink_is_busy_wait_in_the_socket() {
    const WAITING: usize = 1000;
    for way in ways() {
        for stops_meanwhile in [false, true] {
            let (group, address) = group(1, 1 << 20);
            let sender = sender_to(address);
            let (open, gate) = mpsc::channel();
            let stop = Stop::new().unwrap();
            let mut receivers = Receivers::start_gated(way, group, stop.clone(), Some(gate));
            sender.send(b"first").unwrap();
            let at_the_gate = receivers.tallies.recv_timeout(PATIENCE).unwrap();
            assert_eq!(at_the_gate, (0, Tally::default()));
            for _ in 0..WAITING {
                sender.send(b"a").unwrap();
            }
            if stops_meanwhile {
                stop.raise();
            }
            open.send(()).unwrap();
            if !stops_meanwhile {
                receivers.wait_until(|received| received.datagrams == WAITING + 1);
            }
            let received = receivers.stop()[0].datagrams;
            assert_eq!(received, WAITING + 1, "{way:?}, {stops_meanwhile}");
        }
    }
}

#[test]
fn a_receiver_that_starts_stopped_still_drains() {
    for way in ways() {
        let (group, address) = group(1, 1 << 20);
        let sender = sender_to(address);
        for _ in 0..200 {
            sender.send(b"a").unwrap();
        }
        let stop = Stop::new().unwrap();
        stop.raise();
        let receivers = Receivers::start_gated(way, group, stop, None);
        assert_eq!(receivers.stop()[0].datagrams, 200, "{way:?}");
    }
}

/// A rest that no test outlives.
const LONG: Duration = Duration::from_secs(600);

#[test]
fn a_bell_and_a_stop_end_a_rest() {
    for backend in backends() {
        let (group, address) = group(1, 1 << 20);
        let sender = sender_to(address);
        let gather = Gather::AtMost(LONG);
        let mut receivers = Receivers::start(Options { backend, gather }, group);
        for round in 1..=3 {
            for _ in 0..100 {
                sender.send(b"a").unwrap();
            }
            let bell = receivers.bells[0].clone();
            assert!(bell.wait(bell.ring(), Instant::now() + PATIENCE));
            // Delivered already, so none of these is waited for.
            while let Ok((socket, tally)) = receivers.tallies.try_recv() {
                receivers.received[socket] += tally;
            }
            assert_eq!(receivers.total().datagrams, 100 * round, "{backend:?}");
        }
        sender.send(b"a").unwrap();
        let bell = receivers.bells[0].clone();
        assert_eq!(receivers.stop()[0].datagrams, 301, "{backend:?}");
        assert!(bell.wait(bell.ring(), Instant::now() + PATIENCE));
    }
}

#[test]
fn an_idle_receiver_says_so_and_wakes_for_a_datagram_and_for_the_stop() {
    for way in ways() {
        let (group, address) = group(1, 0);
        let mut receivers = Receivers::start(way, group);
        receivers.wait_until(|received| received.idle == 1);
        sender_to(address).send(b"a").unwrap();
        receivers.wait_until(|received| received.datagrams == 1);
        receivers.wait_until(|received| received.idle == 2);
        receivers.stop();
    }
}

#[test]
fn unix_datagrams_arrive_and_too_long_ones_are_reported() {
    let longest = vec![b'x'; 65_535];
    let longer = vec![b'x'; 65_536];
    for way in ways() {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        let mut receivers = Receivers::start(way, [receiver]);
        let datagrams: [&[u8]; 5] = [b"a:1|c", b"", &longest, &longer, b"b:2|g"];
        for datagram in datagrams {
            sender.send(datagram).unwrap();
        }
        // A full queue makes a Unix sender wait, so none can be lost.
        for _ in 0..1000 {
            sender.send(b"c:1|c").unwrap();
        }
        receivers.wait_until(|received| received.datagrams == 1004);
        let mut expected = Tally::of(datagrams.into_iter().filter(|d| d.len() < 65_536));
        expected += Tally::of(vec![b"c:1|c".as_slice(); 1000]);
        expected.truncated = 1;
        assert_eq!(receivers.stop(), [expected], "{way:?}");
    }
}

#[test]
fn an_error_is_reported_and_receiving_goes_on() {
    for way in ways() {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (address, peer_address) = (receiver.local_addr(), peer.local_addr().unwrap());
        receiver.connect(peer_address).unwrap();
        drop(peer);
        let to_provoke = receiver.try_clone().unwrap();
        let mut receivers = Receivers::start(way, [receiver]);
        for errors in 1..=5 {
            // Nobody listens there, so the kernel answers with ECONNREFUSED,
            // which the next call on the socket gets: the receiver's, or that
            // of the next round here.
            let _ = to_provoke.send(b"x");
            receivers.wait_until(|received| received.errors >= errors);
        }
        let peer = UdpSocket::bind(peer_address).unwrap();
        peer.send_to(b"a", address.unwrap()).unwrap();
        receivers.wait_until(|received| received.datagrams == 1);
        receivers.stop();
    }
}

#[test]
fn without_io_uring_a_receiver_goes_on_with_recvmmsg() {
    let (group, address) = group(1, 0);
    sender_to(address).send(b"a").unwrap();
    let way = Options {
        backend: Backend::IoUring,
        gather: Gather::Auto,
    };
    // The receiver's thread inherits the filter.
    let start = move || {
        seccomp::deny_io_uring(libc::EPERM).unwrap();
        Receivers::start(way, group)
    };
    let mut receivers = std::thread::spawn(start).join().unwrap();
    receivers.wait_until(|received| received.datagrams == 1);
    assert_eq!(receivers.stop()[0].errors, 1);
}
