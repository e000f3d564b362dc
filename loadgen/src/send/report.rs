//! What was sent, what was not, and who was to blame.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use indicatif::{HumanBytes, HumanCount};
use rustix::time::{ClockId, clock_gettime};

use crate::latency;

/// Later than this for one datagram in a hundred, and the traffic had another
/// shape than it should have.
const LATE_TOLERATED: Duration = Duration::from_millis(10);

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
    /// How long the receiver's buffers (or the sender's own) were full.
    pub waited: Duration,
    /// Processor time of this process, in the kernel and out of it.
    pub cpu: Duration,
    /// Whether the work was ended early.
    pub interrupted: bool,
    /// How many sockets were opened.
    pub sources: u64,
    /// How many of them were open together, at most.
    pub sources_at_once: usize,
    /// How often the kernel said that nobody listens.
    pub(super) refused: u64,
    /// Not sent.
    failed: u64,
    pushes_back: bool,
}

/// What kept the traffic from going out as planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bottleneck {
    /// Nothing did.
    None,
    /// This machine's one sending thread.
    Sender,
    /// A receiver that makes its senders wait.
    Receiver,
}

impl Report {
    pub(super) fn new(pushes_back: bool) -> Result<Report> {
        Ok(Report {
            datagrams: 0,
            lines: 0,
            bytes: 0,
            elapsed: Duration::ZERO,
            errors: BTreeMap::new(),
            late_us: latency::histogram()?,
            waited: Duration::ZERO,
            cpu: Duration::ZERO,
            interrupted: false,
            sources: 0,
            sources_at_once: 0,
            refused: 0,
            failed: 0,
            pushes_back,
        })
    }

    /// Whether everything was sent.
    pub fn is_complete(&self) -> bool {
        self.errors.is_empty() && !self.interrupted
    }

    /// What set the pace, if not the plan.
    pub fn bottleneck(&self) -> Bottleneck {
        let kept = !self.late_us.is_empty() && self.late_at(0.99) <= LATE_TOLERATED;
        let worst = match self.late_us.is_empty() {
            true => self.elapsed,
            false => self.late_at(1.0),
        };
        match kept {
            true => Bottleneck::None,
            false if self.pushes_back && self.waited * 2 > worst => Bottleneck::Receiver,
            false => Bottleneck::Sender,
        }
    }

    /// How many datagrams are done with, sent or not.
    pub(super) fn tried(&self) -> u64 {
        self.datagrams + self.failed
    }

    pub(super) fn sent(&mut self, payloads: &[&[u8]]) {
        self.datagrams += payloads.len() as u64;
        for payload in payloads {
            self.lines += lines(payload);
            self.bytes += payload.len() as u64;
        }
    }

    pub(super) fn not_sent(&mut self, error: &io::Error) {
        self.failed += 1;
        self.error(error);
    }

    pub(super) fn refused(&mut self, error: &io::Error) {
        self.refused += 1;
        self.error(error);
    }

    fn error(&mut self, error: &io::Error) {
        *self.errors.entry(error.to_string()).or_default() += 1;
    }

    pub(super) fn late(&mut self, by: Duration) {
        latency::record(&mut self.late_us, by);
    }

    fn late_at(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.late_us.value_at_quantile(quantile))
    }
}

/// Processor time that this process has used.
pub(super) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The lines of a datagram; a newline at its end does not begin another.
pub(crate) fn lines(payload: &[u8]) -> u64 {
    let payload = payload.strip_suffix(b"\n").unwrap_or(payload);
    1 + payload.iter().filter(|&&byte| byte == b'\n').count() as u64
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64().max(1e-9);
        let rate = HumanCount((self.datagrams as f64 / seconds) as u64);
        writeln!(f, "datagrams  {} ({rate}/s)", HumanCount(self.datagrams))?;
        writeln!(f, "lines      {}", HumanCount(self.lines))?;
        writeln!(f, "bytes      {}", HumanBytes(self.bytes))?;
        writeln!(f, "seconds    {seconds:.3}")?;
        let (cpu, all) = (self.cpu.as_secs_f64(), self.datagrams.max(1) as f64);
        let (each, share) = (cpu / all * 1e6, cpu / seconds * 100.0);
        writeln!(
            f,
            "cpu        {cpu:.3} s, {each:.2} µs a datagram, {share:.0} % of a core"
        )?;
        let sources = HumanCount(self.sources);
        writeln!(f, "sources    {sources}, {} at once", self.sources_at_once)?;
        if !self.waited.is_zero() {
            writeln!(f, "waited     {:.3?} for room in a buffer", self.waited)?;
        }
        if !self.late_us.is_empty() {
            let [median, most, worst] = [0.5, 0.99, 1.0].map(|q| self.late_at(q));
            writeln!(
                f,
                "late       {median:?} median, {most:?} p99, {worst:?} worst"
            )?;
        }
        for (error, count) in &self.errors {
            writeln!(f, "errors     {count} times: {error}")?;
        }
        self.judge(f)
    }
}

impl Report {
    /// Sentences about what the numbers mean.
    fn judge(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.refused > 0 {
            writeln!(f, "Nobody listened there, for some of the time at least.")?;
        }
        if self.interrupted {
            writeln!(f, "Interrupted before the end.")?;
        }
        match (self.bottleneck(), self.late_us.is_empty()) {
            (Bottleneck::None, _) => Ok(()),
            (Bottleneck::Receiver, _) => {
                writeln!(f, "The receiver set the pace: it made the sender wait.")
            }
            (Bottleneck::Sender, true) => {
                writeln!(
                    f,
                    "As fast as one thread here can send; the receiver had no say in it."
                )
            }
            (Bottleneck::Sender, false) => writeln!(
                f,
                "The schedule was not kept, and the SENDER was the bottleneck: this machine \
                 could not send so fast. Lower --speed or --rate."
            ),
        }
    }
}
