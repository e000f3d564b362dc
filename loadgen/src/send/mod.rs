//! Sends traffic, wherever it comes from: a trace, copies of it, a model.
//!
//! The load is open: every datagram has a due time that follows from the start
//! alone, so a slow moment is caught up with and nothing drifts, and a receiver
//! that struggles is not spared. How late the sender itself was is part of the
//! report. All that is due goes out together, with one system call for what
//! follows each other from one source.

mod pace;
mod report;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pitot::sys::mmsg::SendBatch;

use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::target::{Sender, Target, is_late_refusal};

pub use pace::{Pace, PaceArgs, Speed};
pub(crate) use report::lines;
pub use report::{Bottleneck, Report};

/// The most datagrams that are sent together.
const BATCH: usize = 64;

/// A source of datagrams in the order of their times.
pub trait Traffic {
    /// Appends the next payload to `payload` and says what it is; `None` at the
    /// end.
    fn next(&mut self, payload: &mut Vec<u8>) -> Option<Next>;
}

/// What goes with a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Since the beginning of the traffic.
    pub at: Duration,
    /// Who sends it; each source has a socket of its own.
    pub source: u64,
    /// Whether this is the last of its source, for now.
    pub is_last_of_source: bool,
}

/// How to send.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// When each datagram is due.
    pub pace: Pace,
    /// When to stop even if there is more.
    pub limit: Option<Duration>,
    /// How many datagrams there are, if that is known.
    pub total: Option<u64>,
}

/// Sends all of some traffic, each source from a socket of its own that is closed
/// after its last datagram.
pub fn send(
    traffic: &mut dyn Traffic,
    to: &Target,
    plan: &Plan,
    interrupt: &Interrupt,
) -> Result<Report> {
    let mut progress = Progress::new("datagrams", plan.total);
    let mut queue = Queue::new(traffic, plan.pace);
    let mut sockets = Sockets::new(to)?;
    // If the first cannot be opened, none could.
    if queue.fill(Duration::ZERO)
        && let Some(first) = queue.first_source()
    {
        let opened = sockets.of_source(first).map(drop);
        opened.with_context(|| format!("sending to {to}"))?;
    }
    let begin = Instant::now();
    let cpu_begin = report::cpu_time();
    while let Some(due) = queue.due() {
        if let Some(due) = due {
            let limit = plan.limit.unwrap_or(Duration::MAX);
            interrupt.sleep_until(begin + due.min(limit));
        }
        let now = begin.elapsed();
        if interrupt.is_set() || plan.limit.is_some_and(|limit| now >= limit) {
            sockets.report.interrupted = interrupt.is_set();
            break;
        }
        queue.fill(now);
        sockets.send(&mut queue, now);
        progress.at(sockets.report.tried());
    }
    let mut report = sockets.report;
    report.elapsed = begin.elapsed();
    report.cpu = report::cpu_time().saturating_sub(cpu_begin);
    Ok(report)
}

/// The next datagrams: those that are due, and the first that is not.
struct Queue<'a> {
    traffic: &'a mut dyn Traffic,
    pace: Pace,
    taken: u64,
    entries: Vec<Queued>,
    payloads: Vec<u8>,
}

struct Queued {
    due: Option<Duration>,
    source: u64,
    is_last_of_source: bool,
    payload: Range<usize>,
}

impl<'a> Queue<'a> {
    fn new(traffic: &'a mut dyn Traffic, pace: Pace) -> Queue<'a> {
        Queue {
            traffic,
            pace,
            taken: 0,
            entries: Vec::with_capacity(BATCH + 1),
            payloads: Vec::new(),
        }
    }

    /// Takes from the traffic until something is not yet due; whether there is
    /// anything.
    fn fill(&mut self, now: Duration) -> bool {
        while self.entries.len() < BATCH && self.entries.last().is_none_or(|last| last.is_due(now))
        {
            let start = self.payloads.len();
            let Some(next) = self.traffic.next(&mut self.payloads) else {
                break;
            };
            self.entries.push(Queued {
                due: self.pace.due(next.at, self.taken),
                source: next.source,
                is_last_of_source: next.is_last_of_source,
                payload: start..self.payloads.len(),
            });
            self.taken += 1;
        }
        !self.entries.is_empty()
    }

    fn first_source(&self) -> Option<u64> {
        self.entries.first().map(|first| first.source)
    }

    /// When the next is due (`None` for at once), if there is one.
    fn due(&mut self) -> Option<Option<Duration>> {
        if self.entries.is_empty() {
            self.fill(Duration::ZERO);
        }
        self.entries.first().map(|first| first.due)
    }

    /// How many are due.
    fn ready(&self, now: Duration) -> usize {
        let all = self.entries.len();
        match self.entries.last() {
            Some(last) if !last.is_due(now) => all - 1,
            _ => all,
        }
    }

    /// Forgets the first `count`.
    fn drop_front(&mut self, count: usize) {
        self.entries.drain(..count);
        let start = self
            .entries
            .first()
            .map_or(self.payloads.len(), |first| first.payload.start);
        self.payloads.drain(..start);
        for entry in &mut self.entries {
            entry.payload = entry.payload.start - start..entry.payload.end - start;
        }
    }
}

impl Queued {
    fn is_due(&self, now: Duration) -> bool {
        self.due.is_none_or(|due| due <= now)
    }
}

/// A socket for each source that has something left to send.
struct Sockets<'a> {
    to: &'a Target,
    open: HashMap<u64, Sender>,
    batch: SendBatch,
    report: Report,
}

impl<'a> Sockets<'a> {
    fn new(to: &'a Target) -> Result<Sockets<'a>> {
        Ok(Sockets {
            to,
            open: HashMap::new(),
            batch: SendBatch::new(BATCH),
            report: Report::new(to.pushes_back())?,
        })
    }

    fn of_source(&mut self, source: u64) -> io::Result<&mut Sender> {
        let count = self.open.len();
        Ok(match self.open.entry(source) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(vacant) => {
                self.report.sources += 1;
                self.report.sources_at_once = self.report.sources_at_once.max(count + 1);
                vacant.insert(self.to.open()?)
            }
        })
    }

    /// Sends what is due.
    fn send(&mut self, queue: &mut Queue<'_>, now: Duration) {
        let ready = queue.ready(now);
        let entries = &queue.entries[..ready];
        for entry in entries {
            if let Some(due) = entry.due {
                self.report.late(now.saturating_sub(due));
            }
        }
        // The order of all is kept, so a gauge that two sources send ends as it
        // should. Sorting by source would make longer batches, and saves
        // nothing that could be measured: the kernel's work is per datagram.
        for same in entries.chunk_by(|a, b| a.source == b.source) {
            for life in same.split_inclusive(|entry| entry.is_last_of_source) {
                self.send_from_one(life, &queue.payloads);
            }
        }
        queue.drop_front(ready);
    }

    fn send_from_one(&mut self, entries: &[Queued], payloads: &[u8]) {
        let mut unsent: Vec<&[u8]> = Vec::with_capacity(BATCH);
        unsent.extend(entries.iter().map(|entry| &payloads[entry.payload.clone()]));
        let mut unsent = &unsent[..];
        let source = entries[0].source;
        while !unsent.is_empty() {
            match self.try_send(source, unsent) {
                Ok(count) => {
                    let sent;
                    (sent, unsent) = unsent.split_at(count);
                    self.report.sent(sent);
                }
                Err(error) => {
                    self.report.not_sent(&error);
                    // A stream that failed once is broken.
                    self.open.remove(&source);
                    unsent = &unsent[1..];
                }
            }
        }
        if entries.iter().any(|entry| entry.is_last_of_source) {
            self.open.remove(&source);
        }
    }

    fn try_send(&mut self, source: u64, payloads: &[&[u8]]) -> io::Result<usize> {
        self.of_source(source)?;
        let Some(sender) = self.open.get_mut(&source) else {
            return Ok(0);
        };
        let mut sent = sender.send_batch(&mut self.batch, payloads);
        if let Err(error) = &sent
            && is_late_refusal(error)
        {
            self.report.refused(error);
            sent = sender.send_batch(&mut self.batch, payloads);
        }
        self.report.waited += sender.take_waited();
        sent
    }
}

#[cfg(test)]
mod tests;
