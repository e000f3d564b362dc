//! Datagrams that processes have decided to send, put in order of time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use super::wire::{Tags, Value, Values, Wire};
use crate::airflow::Version;

/// Between two reports of Datadog's client about itself.
const TELEMETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Between two datagrams of one process that follow each other at once.
const STEP: Duration = Duration::from_micros(30);

/// Who sends; each has a socket of its own.
pub(super) type SourceId = u64;

/// Where processes put what they send.
pub(super) struct Outbox {
    wire: Wire,
    waiting: BinaryHeap<Reverse<Sent>>,
    count: u64,
    next_source: SourceId,
    /// With Datadog's client only.
    telemetry: Option<HashMap<SourceId, Telemetry>>,
}

/// A datagram, ordered by time and then by when it was decided.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sent {
    pub(super) at: Duration,
    number: u64,
    pub(super) source: SourceId,
    pub(super) payload: String,
    pub(super) is_last_of_source: bool,
}

#[derive(Default)]
struct Telemetry {
    last: Duration,
    packets: u64,
    bytes: u64,
}

/// One process at work: each thing that it sends is a little later than the one
/// before.
pub(super) struct Process<'a> {
    outbox: &'a mut Outbox,
    source: SourceId,
    sent: Vec<(Duration, String)>,
    /// What time it is.
    pub(super) now: Duration,
}

impl Outbox {
    pub(super) fn new(version: Version, tags: Tags, prefix: &str, constant_tags: &str) -> Outbox {
        Outbox {
            wire: Wire::new(version, tags, prefix, constant_tags),
            waiting: BinaryHeap::new(),
            count: 0,
            next_source: 0,
            telemetry: (tags == Tags::Datadog).then(HashMap::new),
        }
    }

    /// A source that has sent nothing yet.
    pub(super) fn new_source(&mut self) -> SourceId {
        self.next_source += 1;
        self.next_source
    }

    /// A process at work from `now` on.
    pub(super) fn process(&mut self, source: SourceId, now: Duration) -> Process<'_> {
        Process {
            outbox: self,
            source,
            sent: Vec::new(),
            now,
        }
    }

    /// Takes the first datagram, if it is not after `until`: later events may
    /// still come before it.
    pub(super) fn take(&mut self, until: Option<Duration>) -> Option<Sent> {
        let Reverse(first) = self.waiting.peek()?;
        if until.is_some_and(|until| first.at > until) {
            return None;
        }
        self.waiting.pop().map(|Reverse(sent)| sent)
    }

    /// What the client library counts, and now and then tells.
    fn tell(&mut self, at: Duration, source: SourceId, bytes: usize) -> Option<String> {
        let telemetry = self.telemetry.as_mut()?;
        let fresh = |last| Telemetry {
            last,
            ..Telemetry::default()
        };
        let told = telemetry.entry(source).or_insert_with(|| fresh(at));
        told.packets += 1;
        told.bytes += bytes as u64;
        if at.saturating_sub(told.last) < TELEMETRY_INTERVAL {
            return None;
        }
        let (packets, bytes) = (told.packets, told.bytes);
        *told = fresh(at);
        Some(self.wire.telemetry(packets, bytes, packets))
    }
}

impl Process<'_> {
    /// Sends a metric, in as many datagrams as that takes.
    pub(super) fn send(&mut self, metric: &str, values: Values<'_>, value: Value) {
        let both = self.outbox.wire.call(metric, values, value);
        both.into_iter().flatten().for_each(|line| self.line(line));
    }

    /// Only the form without values in its name.
    pub(super) fn send_bare(&mut self, metric: &str, values: Values<'_>, value: Value) {
        let line = self.outbox.wire.bare(metric, values, value);
        line.into_iter().for_each(|line| self.line(line));
    }

    /// A timer whose name is given whole; its values are tags.
    pub(super) fn send_raw(&mut self, name: &str, values: Values<'_>, value: Value) {
        let line = self.outbox.wire.raw_timer(name, values, value);
        self.line(line);
    }

    fn line(&mut self, line: String) {
        self.now += STEP;
        let told = self.outbox.tell(self.now, self.source, line.len());
        self.sent.push((self.now, line));
        if let Some(text) = told {
            self.now += STEP;
            self.sent.push((self.now, text));
        }
    }

    /// Counts one.
    pub(super) fn count(&mut self, metric: &str, values: Values<'_>) {
        self.send(metric, values, Value::Count(1));
    }

    /// Works for some time without a word.
    pub(super) fn work(&mut self, time: Duration) {
        self.now += time;
    }

    /// Has done its work for now, and says until when that took.
    pub(super) fn pause(self) -> Duration {
        self.close(false)
    }

    /// Ends, and its socket with it.
    pub(super) fn end(self) -> Duration {
        self.close(true)
    }

    fn close(self, ends: bool) -> Duration {
        if let Some(telemetry) = self.outbox.telemetry.as_mut().filter(|_| ends) {
            telemetry.remove(&self.source);
        }
        let last = self.sent.len();
        for (number, (at, payload)) in (1..).zip(self.sent) {
            self.outbox.count += 1;
            self.outbox.waiting.push(Reverse(Sent {
                at,
                number: self.outbox.count,
                source: self.source,
                payload,
                is_last_of_source: ends && number == last,
            }));
        }
        self.now
    }
}
