//! A copy of every line to another StatsD server, as it came.
//!
//! Workers hand over the lines of a batch in one piece through a bounded queue
//! and never wait: what does not fit is dropped and counted. One thread packs
//! the lines into datagrams and sends them. The reference's relay stops for ever
//! at its first send error and then blocks every listener; this one counts the
//! error and goes on.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prometheus::{IntCounter, IntCounterVec, Opts};

use crate::telemetry::Telemetry;

/// Batches that may wait for the sending thread.
const QUEUE_BATCHES: usize = 1024;

/// A line waits no longer than this for others to share its datagram.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// What the relay is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to.
    pub target: SocketAddr,
    /// The target as the user wrote it, the value of the `target` label.
    pub target_text: String,
    /// Bytes a datagram may have. A longer line is not relayed; zero stands for
    /// no limit and a datagram for each line, as in the reference.
    pub packet_len_max: u64,
}

/// The sending thread.
pub struct Relay {
    feed: Feed,
    thread: JoinHandle<()>,
}

/// A worker's way in. Clones go to the same relay.
#[derive(Clone)]
pub struct Feed {
    queue: SyncSender<Vec<u8>>,
    /// Lines of this batch, each with its newline.
    batch: Vec<u8>,
    lines: u64,
    line_len_max: u64,
    metrics: Metrics,
}

#[derive(Clone)]
struct Metrics {
    packets: IntCounter,
    lines: IntCounter,
    long_lines: IntCounter,
    dropped_lines: IntCounter,
    send_errors: IntCounter,
}

impl Relay {
    /// Opens a socket and starts the thread.
    pub fn start(options: Options, telemetry: &Telemetry) -> io::Result<Relay> {
        let any: SocketAddr = match options.target {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.set_broadcast(true)?;
        let metrics = Metrics::new(telemetry, &options.target_text);
        let (queue, batches) = sync_channel(QUEUE_BATCHES);
        let sender = Sender {
            socket,
            target: options.target,
            packet_len_max: options.packet_len_max,
            packet: Vec::new(),
            metrics: metrics.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("pitot-relay".into())
            .spawn(move || sender.run(&batches))?;
        let feed = Feed {
            queue,
            batch: Vec::new(),
            lines: 0,
            // A length of zero wraps around to no limit.
            line_len_max: options.packet_len_max.wrapping_sub(1),
            metrics,
        };
        Ok(Relay { feed, thread })
    }

    /// A way in for one more worker.
    pub fn feed(&self) -> Feed {
        self.feed.clone()
    }

    /// Sends what is queued and ends, once every other feed is gone.
    pub fn finish(self) {
        drop(self.feed);
        // It ends by itself; a panic in it has ended the process already.
        let _ = self.thread.join();
    }
}

impl Feed {
    /// Adds a line to this batch. Empty lines are not relayed.
    pub fn push(&mut self, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        if line.len() as u64 > self.line_len_max {
            if self.metrics.long_lines.get() == 0 {
                tracing::warn!(
                    length = line.len(),
                    max = self.line_len_max,
                    "line too long to relay; later ones are only counted"
                );
            }
            self.metrics.long_lines.inc();
            return;
        }
        self.batch.extend_from_slice(line);
        self.batch.push(b'\n');
        self.lines += 1;
    }

    /// Hands this batch over.
    pub fn flush(&mut self) {
        if self.lines == 0 {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        match self.queue.try_send(std::mem::take(&mut self.batch)) {
            Ok(()) => self.metrics.lines.inc_by(lines),
            Err(_) => self.metrics.dropped_lines.inc_by(lines),
        }
    }
}

struct Sender {
    socket: UdpSocket,
    target: SocketAddr,
    packet_len_max: u64,
    packet: Vec<u8>,
    metrics: Metrics,
}

impl Sender {
    fn run(mut self, batches: &Receiver<Vec<u8>>) {
        let mut flush_at = Instant::now() + FLUSH_INTERVAL;
        loop {
            let wait = flush_at.saturating_duration_since(Instant::now());
            match batches.recv_timeout(wait) {
                Ok(batch) => {
                    for line in batch.split_inclusive(|byte| *byte == b'\n') {
                        self.add(line);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.send(),
            }
            if Instant::now() >= flush_at {
                self.send();
                flush_at = Instant::now() + FLUSH_INTERVAL;
            }
        }
    }

    fn add(&mut self, line: &[u8]) {
        if (self.packet.len() + line.len()) as u64 > self.packet_len_max {
            self.send();
        }
        self.packet.extend_from_slice(line);
    }

    fn send(&mut self) {
        if self.packet.is_empty() {
            return;
        }
        self.metrics.packets.inc();
        if let Err(error) = self.socket.send_to(&self.packet, self.target) {
            if self.metrics.send_errors.get() == 0 {
                tracing::warn!(%error, target = %self.target, "relaying failed; later failures are only counted");
            }
            self.metrics.send_errors.inc();
        }
        self.packet.clear();
    }
}

impl Metrics {
    fn new(telemetry: &Telemetry, target: &str) -> Metrics {
        let counter = |name: &str, help: &str| {
            let family = IntCounterVec::new(Opts::new(name, help), &["target"])
                .expect("constant names are legal");
            telemetry.register(family.clone());
            family.with_label_values(&[target])
        };
        Metrics {
            packets: counter(
                "statsd_exporter_relay_packets_total",
                "Datagrams sent to the relay target, failed ones included.",
            ),
            lines: counter(
                "statsd_exporter_relay_lines_relayed_total",
                "Lines handed to the relay.",
            ),
            long_lines: counter(
                "statsd_exporter_relay_long_lines_total",
                "Lines not relayed because they were too long.",
            ),
            dropped_lines: counter(
                "pitot_relay_dropped_lines_total",
                "Lines not relayed because the relay was too slow.",
            ),
            send_errors: counter(
                "pitot_relay_send_errors_total",
                "Datagrams the relay could not send; their lines are lost.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::BuildInfo;

    /// Relays lines in batches and returns the datagrams that arrived.
    fn relayed(packet_len_max: u64, batches: &[&[&str]]) -> (Vec<String>, Telemetry) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let telemetry = Telemetry::new(&BuildInfo::default(), false);
        let options = Options {
            target: server.local_addr().unwrap(),
            target_text: "there".into(),
            packet_len_max,
        };
        let relay = Relay::start(options, &telemetry).unwrap();
        let mut feed = relay.feed();
        for batch in batches {
            for line in *batch {
                feed.push(line.as_bytes());
            }
            feed.flush();
        }
        drop(feed);
        relay.finish();
        server.set_nonblocking(true).unwrap();
        let mut datagrams = Vec::new();
        let mut buffer = [0; 65536];
        while let Ok(len) = server.recv(&mut buffer) {
            datagrams.push(String::from_utf8_lossy(&buffer[..len]).into_owned());
        }
        (datagrams, telemetry)
    }

    fn count(telemetry: &Telemetry, name: &str) -> f64 {
        let families = telemetry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == name)
            .unwrap();
        family.get_metric()[0].get_counter().get_value()
    }

    #[test]
    fn lines_share_datagrams_up_to_the_length() {
        let (datagrams, telemetry) = relayed(12, &[&["a:1|c", "", "b:1|c"], &["c:1|c", "d"]]);
        assert_eq!(datagrams, ["a:1|c\nb:1|c\n", "c:1|c\nd\n"]);
        assert_eq!(
            count(&telemetry, "statsd_exporter_relay_packets_total"),
            2.0
        );
        assert_eq!(
            count(&telemetry, "statsd_exporter_relay_lines_relayed_total"),
            4.0
        );
    }

    #[test]
    fn long_lines_are_counted_and_left_out() {
        let (datagrams, telemetry) = relayed(6, &[&["a:10|c", "b:1|c"]]);
        assert_eq!(datagrams, ["b:1|c\n"]);
        assert_eq!(
            count(&telemetry, "statsd_exporter_relay_long_lines_total"),
            1.0
        );
    }

    #[test]
    fn a_length_of_zero_sends_every_line_alone() {
        let (datagrams, _) = relayed(0, &[&["a:1|c", "b:1|c"]]);
        assert_eq!(datagrams, ["a:1|c\n", "b:1|c\n"]);
    }

    #[test]
    fn a_target_that_fails_is_counted() {
        let telemetry = Telemetry::new(&BuildInfo::default(), false);
        let options = Options {
            // Port 0 cannot be sent to.
            target: ([127, 0, 0, 1], 0).into(),
            target_text: "nowhere".into(),
            packet_len_max: 0,
        };
        let relay = Relay::start(options, &telemetry).unwrap();
        let mut feed = relay.feed();
        for _ in 0..3 {
            feed.push(b"a:1|c");
        }
        feed.flush();
        drop(feed);
        relay.finish();
        assert_eq!(count(&telemetry, "pitot_relay_send_errors_total"), 3.0);
    }
}
