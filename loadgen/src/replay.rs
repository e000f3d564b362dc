//! `replay`: sends a captured trace again.
//!
//! The load is open: every datagram has a due time that follows from the start
//! of the replay alone, so a slow moment is caught up with and nothing drifts,
//! and a receiver that struggles is not spared. How late the sender itself was is
//! part of the report.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use indicatif::{HumanBytes, HumanCount};

use crate::interrupt::Interrupt;
use crate::kernel;
use crate::latency;
use crate::progress::Progress;
use crate::target::{Sender, Target, is_late_refusal};
use crate::trace::Trace;

/// Later than this for one datagram in a hundred, and the traffic had another
/// shape than the trace.
const LATE_TOLERATED: Duration = Duration::from_millis(10);

/// Command line of `replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pitot-loadgen replay cluster.jsonl.gz --to 127.0.0.1:9125 --speed 10\n  \
    pitot-loadgen replay cluster.jsonl.gz --to unix:/run/statsd.sock --speed max --loops 20\n\n\
    Each captured source sends from a port of its own. The exit status is 1 if \
    anything could not be sent.")]
pub struct Args {
    /// Trace to send, .jsonl or .jsonl.gz
    trace: PathBuf,
    /// Where to: host:port (UDP), tcp:host:port or unix:/path
    #[arg(long, value_name = "ADDR")]
    to: Target,
    /// How many times as fast as captured, or max
    #[arg(long, default_value = "1")]
    speed: Speed,
    /// How many times to send the trace, one after the other
    #[arg(long, default_value_t = 1)]
    loops: u32,
}

/// How fast a trace is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// Captured times divided by this.
    Times(f64),
    /// As fast as possible.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Speed, String> {
        match text.parse::<f64>() {
            _ if text == "max" => Ok(Speed::Max),
            // Slower, and the schedule would leave the clock's range.
            Ok(times) if (0.001..=1e9).contains(&times) => Ok(Speed::Times(times)),
            _ => Err("must be a number from 0.001 on, or max".to_owned()),
        }
    }
}

impl Speed {
    /// When a datagram captured at `at` is due, counting from the start; `None`
    /// for at once.
    pub fn due(self, at: Duration) -> Option<Duration> {
        match self {
            Speed::Times(times) => Some(at.div_f64(times)),
            Speed::Max => None,
        }
    }
}

/// What was sent.
#[derive(Debug)]
pub struct Report {
    /// Handed to the kernel.
    pub datagrams: u64,
    /// In them.
    pub lines: u64,
    /// In them.
    pub bytes: u64,
    /// From the first to the last.
    pub elapsed: Duration,
    /// What the kernel said, and how often.
    pub errors: BTreeMap<String, u64>,
    /// Microseconds after the due time, for each datagram that had one.
    pub late_us: Histogram<u64>,
    sources_at_once: usize,
    interrupted: bool,
}

/// Runs the subcommand.
pub fn run(args: &Args, interrupt: &Interrupt) -> Result<Report> {
    let trace = Trace::read(&args.trace)?;
    ensure!(!trace.is_empty(), "{} is empty", args.trace.display());
    replay(&trace, &args.to, args.speed, args.loops, interrupt)
}

/// Sends a trace so many times.
pub fn replay(
    trace: &Trace,
    to: &Target,
    speed: Speed,
    loops: u32,
    interrupt: &Interrupt,
) -> Result<Report> {
    let sources_at_once = trace.sources_at_once();
    kernel::allow_sockets(sources_at_once)?;
    let mut replay = Replay {
        to,
        senders: HashMap::new(),
        report: Report {
            datagrams: 0,
            lines: 0,
            bytes: 0,
            elapsed: Duration::ZERO,
            errors: BTreeMap::new(),
            late_us: latency::histogram()?,
            sources_at_once,
            interrupted: false,
        },
    };
    if let Some((first, _)) = trace.datagrams().next() {
        // If this one fails, all would.
        let sender = to.open().with_context(|| format!("sending to {to}"))?;
        replay.senders.insert(first.source, sender);
    }
    let span = trace.span();
    let total = trace.len() as u64 * u64::from(loops);
    let mut progress = Progress::new("datagrams", Some(total));
    let all = (0..loops).flat_map(|round| {
        let datagrams = trace.datagrams();
        datagrams.map(move |(datagram, is_last)| (span * round + datagram.at, datagram, is_last))
    });
    let start = Instant::now();
    for (done, (at, datagram, is_last_of_source)) in (1..).zip(all) {
        if let Some(due) = speed.due(at) {
            let due = start + due;
            interrupt.sleep_until(due);
            replay.report.late(due.elapsed());
        }
        if interrupt.is_set() {
            replay.report.interrupted = true;
            break;
        }
        replay.send(datagram.source, datagram.payload);
        if is_last_of_source {
            replay.senders.remove(&datagram.source);
        }
        progress.at(done);
    }
    replay.report.elapsed = start.elapsed();
    Ok(replay.report)
}

/// A replay under way: a socket for each source that has something left to send.
struct Replay<'a> {
    to: &'a Target,
    senders: HashMap<u16, Sender>,
    report: Report,
}

impl Replay<'_> {
    /// Sends a datagram, or counts why not.
    fn send(&mut self, source: u16, payload: &[u8]) {
        match self.try_send(source, payload) {
            Ok(()) => {
                self.report.datagrams += 1;
                self.report.lines += lines(payload);
                self.report.bytes += payload.len() as u64;
            }
            Err(error) => {
                self.report.error(&error);
                // A stream that failed once is broken.
                self.senders.remove(&source);
            }
        }
    }

    fn try_send(&mut self, source: u16, payload: &[u8]) -> io::Result<()> {
        let sender = match self.senders.entry(source) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(self.to.open()?),
        };
        match sender.send(payload) {
            Err(error) if is_late_refusal(&error) => {
                self.report.error(&error);
                sender.send(payload)
            }
            sent => sent,
        }
    }
}

/// The lines of a datagram; a newline at its end does not begin another.
fn lines(payload: &[u8]) -> u64 {
    let payload = payload.strip_suffix(b"\n").unwrap_or(payload);
    1 + payload.iter().filter(|&&byte| byte == b'\n').count() as u64
}

// === impl Report ===

impl Report {
    /// Whether everything was sent.
    pub fn is_complete(&self) -> bool {
        self.errors.is_empty() && !self.interrupted
    }

    fn error(&mut self, error: &io::Error) {
        *self.errors.entry(error.to_string()).or_default() += 1;
    }

    fn late(&mut self, by: Duration) {
        latency::record(&mut self.late_us, by);
    }

    fn late_at(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.late_us.value_at_quantile(quantile))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let rate = HumanCount((self.datagrams as f64 / seconds.max(1e-9)) as u64);
        writeln!(f, "datagrams  {} ({rate}/s)", HumanCount(self.datagrams))?;
        writeln!(f, "lines      {}", HumanCount(self.lines))?;
        writeln!(f, "bytes      {}", HumanBytes(self.bytes))?;
        writeln!(f, "seconds    {seconds:.3}")?;
        writeln!(f, "sources    {} at once", self.sources_at_once)?;
        for (error, count) in &self.errors {
            writeln!(f, "errors     {count} times: {error}")?;
        }
        if !self.late_us.is_empty() {
            let [median, most, worst] = [0.5, 0.99, 1.0].map(|q| self.late_at(q));
            writeln!(
                f,
                "late       {median:?} median, {most:?} p99, {worst:?} worst"
            )?;
            if most > LATE_TOLERATED {
                let advice = "this machine could not send so fast: lower --speed";
                writeln!(f, "The schedule was not kept; {advice}.")?;
            }
        }
        if self.interrupted {
            writeln!(f, "Interrupted before the end of the trace.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Datagram, Writer};
    use std::net::UdpSocket;

    fn trace(datagrams: &[(u64, u16, &str)]) -> Trace {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut writer = Writer::create(file.path()).expect("created");
        for &(ms, source, payload) in datagrams {
            let at = Duration::from_millis(ms);
            let payload = payload.as_bytes();
            let datagram = Datagram {
                at,
                source,
                payload,
            };
            writer.write(&datagram).expect("written");
        }
        writer.finish().expect("finished");
        Trace::read(file.path()).expect("read")
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
        let target: Target = format!("unix:{path}").parse().expect("a target");
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
    fn speeds() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("0.5".parse(), Ok(Speed::Times(0.5)));
        for text in ["0", "-1", "inf", "nan", "fast", ""] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }
}
