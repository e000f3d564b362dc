//! One worker: it takes what a receiver read and finishes it, on the core where
//! it arrived.
//!
//! ```text
//! line ─► parts ─► handle known? ─yes─► number ─► series
//!                        │no
//!                        └─► parse ─► map ─► registry ─► series, remember
//! ```
//!
//! This is the only place where the wire format, the mapping and the registry
//! meet, and the only one that counts what they said. There is no queue behind
//! it: when a batch has been handed over, its samples are on the page.

mod notes;

use std::fmt;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::clock::Millis;
use crate::handles::{Handle, Handles, Target};
use crate::mapping::{Mapped, Mapper};
use crate::receive::{LineSink, Sink, StreamEvent};
use crate::registry::{Refusal, Registry, Retired, Series};
use crate::relay::Feed;
use crate::statsd::{
    Dialects, Parts, Sample, StatType, Tally, for_each_line, parse_line, parse_number,
};
use crate::telemetry::{Count, Counts, SharedCounts, Telemetry};

/// How often a batch tries to place observations whose series was being read,
/// before it leaves them to the next batch.
const STASH_TRIES: u32 = 100;

/// What all workers share.
pub struct Shared {
    /// Where samples end up.
    pub registry: Arc<Registry>,
    /// The rules in force.
    pub mapper: ArcSwap<Mapper>,
    /// Where refusals with a name are counted.
    pub telemetry: Telemetry,
    /// The tag dialects that are read.
    pub dialects: Dialects,
    /// Whether lines are remembered.
    pub cache: bool,
}

/// What a worker's bytes come through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP datagrams.
    Udp,
    /// Unix datagrams.
    Unixgram,
    /// TCP connections.
    Tcp,
    /// Unix stream connections.
    UnixStream,
}

impl Transport {
    /// Its name in logs and thread names.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Unixgram => "unixgram",
            Transport::Tcp => "tcp",
            Transport::UnixStream => "unixstream",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// See the module's documentation.
pub struct Worker {
    shared: Arc<Shared>,
    transport: Transport,
    relay: Option<Feed>,
    /// Decided at start: asking the log for every line would cost.
    logs_lines: bool,
    mapper: Arc<Mapper>,
    handles: Handles,
    counts: Counts,
    published: Arc<SharedCounts>,
    now: Millis,
    /// Observations whose series another thread held at that moment.
    stash: Vec<Stashed>,
    /// What the registry had retired when the handles were last purged.
    purged_at: u64,
    /// What the mapper had learnt when they were last forgotten for it.
    learnt: u64,
}

struct Stashed {
    series: Arc<Series>,
    value: f64,
    count: u64,
}

/// A sample on its way to its series, all rules applied.
struct Event {
    stat: StatType,
    value: f64,
    relative: bool,
    count: u64,
}

impl Worker {
    /// A worker for one receiver. With a `relay` it passes on every line.
    pub fn new(shared: Arc<Shared>, transport: Transport, relay: Option<Feed>) -> Worker {
        Worker {
            transport,
            relay,
            logs_lines: tracing::enabled!(tracing::Level::DEBUG),
            mapper: shared.mapper.load_full(),
            handles: Handles::new(shared.cache),
            counts: Counts::default(),
            published: shared.telemetry.worker(),
            now: shared.registry.clock().now(),
            stash: Vec::new(),
            purged_at: 0,
            learnt: 0,
            shared,
        }
    }

    /// Its counts, as of the end of its last batch.
    pub fn counts(&self) -> Arc<SharedCounts> {
        Arc::clone(&self.published)
    }

    /// Takes one line without its newline.
    fn on_line(&mut self, line: &[u8]) {
        self.counts[Count::Lines] += 1;
        if let Some(relay) = &mut self.relay {
            relay.push(line);
        }
        if self.logs_lines {
            notes::line(self.transport, line);
        }
        let parts = Parts::split(line).filter(|_| self.handles.is_enabled());
        let Some(parts) = parts else {
            return self.on_unknown_line(line, None);
        };
        self.counts[Count::CacheGets] += 1;
        if self.on_known_line(&parts) {
            self.counts[Count::CacheHits] += 1;
        } else {
            self.on_unknown_line(line, Some(&parts));
        }
    }

    /// The usual way: a line like one before. Returns false, with nothing done
    /// or counted, if it is not.
    fn on_known_line(&mut self, parts: &Parts<'_>) -> bool {
        let Some(handle) = self.handles.get(parts) else {
            return false;
        };
        let Ok(number) = parse_number(parts.value) else {
            return false;
        };
        let event = Event {
            stat: handle.stat,
            value: number / handle.divisor * handle.scale,
            relative: !handle.absolute && matches!(parts.value, [b'+' | b'-', ..]),
            count: handle.count,
        };
        let mut desk = Desk {
            now: self.now,
            counts: &mut self.counts,
            stash: &mut self.stash,
        };
        if desk.deliver(&event, handle).is_err() {
            return false;
        }
        self.counts[Count::Samples] += 1;
        self.counts[Count::Tagged] += u64::from(handle.tagged);
        true
    }

    /// The long way: everything the line says, in full.
    #[cold]
    fn on_unknown_line(&mut self, line: &[u8], parts: Option<&Parts<'_>>) {
        let dialects = self.shared.dialects;
        let mut tally = Tally::default();
        parse_line(line, &dialects, &mut tally, |sample| {
            // Only a sample that follows from the parts may be remembered.
            let parts = parts.filter(|_| sample.divisor.is_some());
            // Another value of the same line, as of an extended aggregation.
            let mut known = parts.and_then(|parts| self.handles.get(parts)).cloned();
            loop {
                let Some(handle) = known.take().or_else(|| self.resolve(sample)) else {
                    return;
                };
                if self.deliver(sample, &handle).is_err() {
                    // Retired since it was looked up, so it is made anew.
                    continue;
                }
                if let Some(parts) = parts {
                    let series = self.shared.registry.live_total();
                    self.handles.insert(parts, handle, series);
                }
                return;
            }
        });
        self.counts[Count::Samples] += tally.samples;
        self.counts[Count::Tagged] += tally.tagged;
        self.counts[Count::TagErrors] += tally.tag_errors;
        self.counts.add_sample_errors(&tally.errors);
        self.forget_if_learnt();
        if self.logs_lines {
            notes::refusals(line, &tally);
        }
    }

    fn deliver(&mut self, sample: &Sample<'_>, handle: &Handle) -> Result<(), Retired> {
        let event = Event {
            stat: sample.stat,
            value: sample.value * handle.scale,
            relative: sample.relative && !handle.absolute,
            count: sample.count,
        };
        let mut desk = Desk {
            now: self.now,
            counts: &mut self.counts,
            stash: &mut self.stash,
        };
        desk.deliver(&event, handle)
    }

    /// What a sample means by the rules and the registry. `None` if it is
    /// refused, which is then counted.
    fn resolve(&mut self, sample: &Sample<'_>) -> Option<Handle> {
        let nowhere = |mapped| Handle {
            target: Target::Dropped,
            stat: sample.stat,
            divisor: sample.divisor.unwrap_or(1.0),
            scale: 1.0,
            count: sample.count,
            tagged: !sample.tags.is_empty(),
            mapped,
            absolute: false,
            drops_negative: false,
        };
        let plan = match self.mapper.map(sample) {
            Mapped::Dropped => return Some(nowhere(true)),
            Mapped::Unmapped => return Some(nowhere(false)),
            Mapped::Nameless => {
                notes::event_refused(Count::EmptyMetricName, sample.name);
                self.counts[Count::EmptyMetricName] += sample.count;
                return None;
            }
            Mapped::Series(plan) => plan,
        };
        let counted = if plan.mapped {
            Count::Mapped
        } else {
            Count::Unmapped
        };
        let is_illegal = is_illegal(sample.stat, sample.value * plan.scale);
        if is_illegal && plan.drops_negative {
            self.counts[Count::Dropped] += sample.count;
            return None;
        }
        let refused = if is_illegal {
            Count::IllegalNegativeCounter
        } else {
            match self.shared.registry.series(&plan.spec(), self.now) {
                Ok(series) => {
                    return Some(Handle {
                        target: Target::Series(series),
                        scale: plan.scale,
                        absolute: plan.absolute,
                        drops_negative: plan.drops_negative,
                        ..nowhere(plan.mapped)
                    });
                }
                Err(Refusal::EmptyName) => Count::EmptyMetricName,
                Err(Refusal::ReservedLabelName) => Count::ReservedLabelName,
                Err(Refusal::Conflict) => {
                    self.counts[counted] += sample.count;
                    let stat = sample.stat.as_str();
                    notes::conflict(stat, &plan.name);
                    self.shared
                        .telemetry
                        .conflict(stat, &plan.name, sample.count);
                    return None;
                }
            }
        };
        notes::event_refused(refused, &plan.name);
        self.counts[counted] += sample.count;
        self.counts[refused] += sample.count;
        None
    }

    fn start(&mut self) {
        self.now = self.shared.registry.clock().now();
        let current = self.shared.mapper.load();
        if !Arc::ptr_eq(&current, &self.mapper) {
            self.mapper = Arc::clone(&current);
            self.handles.clear();
        }
        self.forget_if_learnt();
        let retired = self.shared.registry.retired();
        if retired - self.purged_at > self.handles.len() as u64 / 4 {
            self.purged_at = retired;
            self.handles.purge();
        }
    }

    /// Forgets all lines when one has told something of its sender, here or in
    /// another worker: they may mean something else now.
    fn forget_if_learnt(&mut self) {
        let learnt = self.mapper.generation();
        if learnt != self.learnt {
            self.learnt = learnt;
            self.handles.clear();
        }
    }

    fn end(&mut self) {
        self.counts[Count::Batches] += 1;
        self.settle();
    }

    /// Places what was stashed, passes on what is to be relayed and shows the
    /// counts.
    fn settle(&mut self) {
        let now = self.now;
        for _ in 0..STASH_TRIES {
            self.stash.retain(|stashed| {
                !stashed
                    .series
                    .try_observe(stashed.value, stashed.count, now)
            });
            if self.stash.is_empty() {
                break;
            }
            std::thread::yield_now();
        }
        if let Some(relay) = &mut self.relay {
            relay.flush();
        }
        self.counts[Count::CacheLength] = self.handles.len() as u64;
        self.published.publish(&self.counts);
    }
}

impl Sink for Worker {
    fn batch_start(&mut self) {
        self.start();
    }

    fn datagram(&mut self, payload: &[u8]) {
        let packets = match self.transport {
            Transport::Unixgram => Count::UnixgramPackets,
            _ => Count::UdpPackets,
        };
        self.counts[packets] += 1;
        for_each_line(payload, |line| self.on_line(line));
    }

    fn truncated(&mut self) {
        self.counts[Count::TruncatedDatagrams] += 1;
    }

    fn out_of_buffers(&mut self) {
        self.counts[Count::BuffersExhausted] += 1;
    }

    fn batch_end(&mut self) {
        self.end();
    }

    fn idle(&mut self) {
        self.start();
        self.settle();
    }

    fn error(&mut self, error: &io::Error) {
        self.counts[Count::ReceiveErrors] += 1;
        self.published.publish(&self.counts);
        if self.counts[Count::ReceiveErrors] == 1 {
            notes::receive_error(self.transport, error);
        }
    }
}

impl LineSink for Worker {
    fn batch_start(&mut self) {
        self.start();
    }

    fn line(&mut self, line: &[u8]) {
        self.on_line(line);
    }

    fn batch_end(&mut self) {
        self.end();
    }

    fn event(&mut self, event: StreamEvent) {
        let is_tcp = self.transport == Transport::Tcp;
        let count = match event {
            StreamEvent::Connected if is_tcp => Count::TcpConnections,
            StreamEvent::Connected => Count::UnixStreamConnections,
            StreamEvent::ReadFailed if is_tcp => Count::TcpConnectionErrors,
            StreamEvent::ReadFailed => Count::UnixStreamErrors,
            StreamEvent::LineTooLong if is_tcp => Count::TcpTooLongLines,
            StreamEvent::LineTooLong => Count::UnixStreamTooLongLines,
            StreamEvent::Refused => Count::RefusedConnections,
            StreamEvent::Idle => Count::IdleConnections,
            StreamEvent::AcceptFailed => Count::AcceptErrors,
        };
        self.counts[count] += 1;
        self.published.publish(&self.counts);
    }

    fn idle(&mut self) {
        self.start();
        self.settle();
    }

    fn error(&mut self, error: &io::Error) {
        // A failure to accept was counted as an event before.
        if self.counts[Count::AcceptErrors] <= 1 {
            notes::receive_error(self.transport, error);
        }
    }
}

/// What delivering an event needs of a worker: the parts that are written while
/// its handles are read.
struct Desk<'w> {
    now: Millis,
    counts: &'w mut Counts,
    stash: &'w mut Vec<Stashed>,
}

impl Desk<'_> {
    /// Counts an event and applies it. Nothing has happened if the series turns
    /// out to be retired.
    fn deliver(&mut self, event: &Event, handle: &Handle) -> Result<(), Retired> {
        let Target::Series(series) = &handle.target else {
            let nowhere = if handle.mapped {
                Count::Dropped
            } else {
                Count::Unmapped
            };
            self.counts[nowhere] += event.count;
            return Ok(());
        };
        let is_illegal = is_illegal(event.stat, event.value);
        if !is_illegal {
            series.touch(self.now)?;
        } else if handle.drops_negative {
            self.counts[Count::Dropped] += event.count;
            return Ok(());
        }
        let counted = if handle.mapped {
            Count::Mapped
        } else {
            Count::Unmapped
        };
        self.counts[counted] += event.count;
        if is_illegal {
            notes::event_refused(Count::IllegalNegativeCounter, &series.family().name);
            self.counts[Count::IllegalNegativeCounter] += 1;
            return Ok(());
        }
        match event.stat {
            StatType::Counter => {
                series.count(event.value);
                self.counts[Count::CounterEvents] += 1;
            }
            StatType::Gauge => {
                if event.relative {
                    series.change(event.value);
                } else {
                    series.set(event.value);
                }
                self.counts[Count::GaugeEvents] += 1;
            }
            StatType::Observer => {
                if !series.try_observe(event.value, event.count, self.now) {
                    self.stash.push(Stashed {
                        series: Arc::clone(series),
                        value: event.value,
                        count: event.count,
                    });
                }
                self.counts[Count::ObserverEvents] += event.count;
            }
        }
        Ok(())
    }
}

/// Counters only grow. Not a number passes, and then sticks.
fn is_illegal(stat: StatType, value: f64) -> bool {
    stat == StatType::Counter && value < 0.0
}

#[cfg(test)]
mod tests;
