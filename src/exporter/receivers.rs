//! The datagram sockets that are being read, watched from outside: what the
//! kernel threw away before anybody could read it, how full and how large their
//! buffers are, and how the load is spread over them.
//!
//! All of it is read when a page asks (and once a second, so that the kernel's
//! 32 bits cannot wrap unseen). A receiver does nothing for it, except that it
//! is asked to deliver what has arrived before a page is rendered.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

use prometheus::proto::{MetricFamily, MetricType};
use tracing::{debug, warn};

use crate::receive::{Bell, Ring};
use crate::sys::socket_options::{ReceiveMemory, receive_memory};
use crate::telemetry::{Count, SharedCounts, family};
use crate::worker::Transport;

/// How long a page waits for receivers to deliver what has arrived. They rest
/// for a fraction of it, and a socket's buffer takes a fraction of it to drain.
const DELIVER_MAX: Duration = Duration::from_millis(50);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Receivers(Vec<Receiver>);

/// One of them.
#[derive(Debug)]
pub(super) struct Receiver {
    listener: Transport,
    /// Which of its listener's sockets it is, from 0 on.
    shard: String,
    /// Another descriptor of the receiver's socket, so that it can be asked for
    /// as long as there is a page.
    socket: OwnedFd,
    counts: Arc<SharedCounts>,
    bell: Bell,
    /// How full its buffer was when the last page was asked for, before it was
    /// drained for that page.
    used: AtomicU32,
    drops: Mutex<Drops>,
}

/// What the kernel counts in 32 bits, in 64.
#[derive(Debug, Default)]
struct Drops {
    total: u64,
    last: u32,
}

// === impl Receivers ===

impl Receivers {
    /// Adds the socket whose datagrams are counted in `counts`. Its receiver
    /// is to listen to the bell.
    pub(super) fn add(
        &mut self,
        listener: Transport,
        shard: usize,
        socket: impl AsFd,
        counts: Arc<SharedCounts>,
    ) -> io::Result<Bell> {
        let bell = Bell::new()?;
        self.0.push(Receiver {
            listener,
            shard: shard.to_string(),
            socket: socket.as_fd().try_clone_to_owned()?,
            counts,
            bell: bell.clone(),
            used: AtomicU32::new(0),
            drops: Mutex::default(),
        });
        Ok(bell)
    }

    /// Makes all receivers deliver what has arrived, so that a page shows it. A
    /// receiver that is too busy to answer soon is not waited for.
    pub(super) fn deliver(&self) {
        let ring = |receiver: &Receiver| {
            let memory = receiver.memory();
            let used = memory.map_or(0, |memory| memory.used);
            receiver.used.store(used, Ordering::Relaxed);
            receiver.bell.ring()
        };
        // All at once, then each in turn.
        let rings: Vec<Ring> = self.0.iter().map(ring).collect();
        let deadline = Instant::now() + DELIVER_MAX;
        for (receiver, ring) in self.0.iter().zip(rings) {
            receiver.bell.wait(ring, deadline);
        }
    }

    /// Warns if the kernel gave less buffer than `asked` bytes.
    pub(super) fn warn_of_small_buffers(&self, asked: i32) {
        let asked = u32::try_from(asked).unwrap_or(0);
        // The kernel doubles what it is asked for.
        let small = |receiver: &Receiver| {
            let granted = receiver.memory()?.granted / 2;
            (granted < asked).then_some(granted)
        };
        if let Some(granted) = self.0.iter().find_map(small) {
            warn!(
                asked,
                granted,
                net.core.rmem_max = rmem_max(),
                "Receive buffers are smaller than asked for, so bursts may be lost; on the node \
                 run `sysctl -w net.core.rmem_max={asked}`, or ask for less by --statsd.read-buffer"
            );
        }
    }

    /// Takes note of what the kernel has dropped.
    pub(super) fn look(&self) {
        for receiver in &self.0 {
            receiver.dropped(receiver.memory());
        }
    }

    /// Datagrams received, and those that the kernel dropped before.
    pub(super) fn totals(&self) -> (u64, u64) {
        let received = |receiver: &Receiver| {
            let counts = [Count::UdpPackets, Count::UnixgramPackets];
            counts
                .map(|count| receiver.counts.get(count))
                .iter()
                .sum::<u64>()
        };
        let dropped = |receiver: &Receiver| receiver.dropped(receiver.memory());
        (
            self.0.iter().map(received).sum(),
            self.0.iter().map(dropped).sum(),
        )
    }

    /// The families of the page.
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let memories: Vec<_> = self.0.iter().map(Receiver::memory).collect();
        let both = || self.0.iter().zip(&memories);
        let drops = both().map(|(receiver, memory)| (receiver, receiver.dropped(*memory) as f64));
        let granted =
            both().filter_map(|(r, memory)| Some((r, f64::from(memory.as_ref()?.granted))));
        let used = self
            .0
            .iter()
            .map(|r| (r, f64::from(r.used.load(Ordering::Relaxed))));
        vec![
            by_receiver(
                "pitot_kernel_drops_total",
                "Datagrams that the kernel dropped, nearly always because a receive buffer was full.",
                MetricType::COUNTER,
                drops,
            ),
            by_receiver(
                "pitot_receive_buffer_bytes",
                "Size of the receive buffers as the kernel granted it, its overhead included.",
                MetricType::GAUGE,
                granted,
            ),
            by_receiver(
                "pitot_receive_buffer_used_bytes",
                "How full the receive buffers were when the page was asked for.",
                MetricType::GAUGE,
                used,
            ),
            self.shard_datagrams(),
        ]
    }

    fn shard_datagrams(&self) -> MetricFamily {
        let samples = self.0.iter().filter(|r| r.listener == Transport::Udp);
        let samples = samples.map(|receiver| {
            let datagrams = receiver.counts.get(Count::UdpPackets);
            (vec![("shard", receiver.shard.as_str())], datagrams as f64)
        });
        family(
            "pitot_shard_datagrams_total",
            "UDP datagrams received, by the socket that got them.",
            MetricType::COUNTER,
            &samples.collect::<Vec<_>>(),
        )
    }
}

fn by_receiver<'a>(
    name: &str,
    help: &str,
    kind: MetricType,
    values: impl Iterator<Item = (&'a Receiver, f64)>,
) -> MetricFamily {
    let sample = |(receiver, value): (&'a Receiver, f64)| {
        let labels = vec![
            ("listener", receiver.listener.as_str()),
            ("shard", receiver.shard.as_str()),
        ];
        (labels, value)
    };
    family(name, help, kind, &values.map(sample).collect::<Vec<_>>())
}

// === impl Receiver ===

impl Receiver {
    /// Its memory, which only kernels before Linux 4.12 do not tell.
    fn memory(&self) -> Option<ReceiveMemory> {
        receive_memory(self.socket.as_fd())
            .inspect_err(|error| debug!(%error, "The kernel does not tell about a socket"))
            .ok()
    }

    /// What was dropped since start, as of `memory`.
    fn dropped(&self, memory: Option<ReceiveMemory>) -> u64 {
        let mut drops = self.drops.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(memory) = memory {
            drops.advance(memory.drops);
        }
        drops.total
    }
}

// === impl Drops ===

impl Drops {
    /// Takes a new reading. One that is a little behind the last, as of a
    /// thread that was overtaken, changes nothing.
    fn advance(&mut self, reading: u32) {
        let more = reading.wrapping_sub(self.last);
        if more < u32::MAX / 2 {
            self.total += u64::from(more);
            self.last = reading;
        }
    }
}

/// The kernel's cap. Absent in a container with a network of its own.
fn rmem_max() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/net/core/rmem_max").ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_counted_beyond_32_bits_and_never_twice() {
        let mut drops = Drops::default();
        for (reading, total) in [
            (5, 5),
            (5, 5),
            (3, 5),
            (7, 7),
            (0x7fff_ffff, 0x7fff_ffff),
            (0xffff_fff0, 0xffff_fff0),
            (4, 0x1_0000_0004),
            (0xffff_ffff, 0x1_0000_0004),
            (6, 0x1_0000_0006),
        ] {
            drops.advance(reading);
            assert_eq!(drops.total, total, "{reading}");
        }
    }
}
