//! A load of constant rate.
//!
//! The load is open: when a datagram is due follows from the start alone, so a
//! slow moment is caught up with, and a receiver that struggles is not spared.
//! A sender sleeps until the next datagram is due and then sends whatever is
//! due by then, in one system call if it is more than one.

use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use nix::time::{ClockId, clock_gettime};
use pitot::sys::mmsg::SendBatch;

use super::payload::{Payloads, lines_in};
use crate::affinity::CpuList;
use crate::interrupt::Interrupt;
use crate::latency;
use crate::target::{Sender, Target, is_late_refusal};

/// Datagrams in one system call at most.
const BATCH: usize = 64;

/// How much later than its end a step may send what was due by then.
const GRACE: Duration = Duration::from_millis(100);

/// Less than this part of the rate that was asked for, and the sender was too
/// slow.
const RATE_TOLERATED: f64 = 0.98;

/// What to send.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where to.
    pub to: Target,
    /// Datagrams a second, over all senders; 0 sends nothing.
    pub rate: f64,
    /// For so long.
    pub duration: Duration,
    /// Threads, each with its own socket.
    pub senders: usize,
    /// Processors for them.
    pub cpus: Option<CpuList>,
}

/// What was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Taken by the kernel.
    pub datagrams: u64,
    /// In them.
    pub lines: u64,
    /// System calls that it took.
    pub calls: u64,
    /// Failed ones; most likely nobody listens.
    pub errors: u64,
    /// Lines that could not be sent.
    pub lines_failed: u64,
    /// What the first of them said.
    pub error: Option<String>,
    /// From the start to the end of the last sender.
    pub elapsed: Duration,
    /// Microseconds after its due time, of the first datagram of each call.
    pub late_us: Histogram<u64>,
    /// CPU time of the senders.
    pub cpu: Duration,
}

impl Load {
    /// Sends, and blocks for as long.
    pub fn send(&self, payloads: &Payloads, interrupt: &Interrupt) -> Result<Sent> {
        // All begin together, when all are there.
        let start = Instant::now() + Duration::from_millis(20);
        let sent = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.senders)
                .map(|index| {
                    scope.spawn(move || self.send_share(index, start, payloads, interrupt))
                })
                .collect();
            let ended = threads.into_iter().map(|thread| match thread.join() {
                Ok(sent) => sent,
                Err(_) => Err(anyhow!("a sender panicked")),
            });
            ended.collect::<Result<Vec<Sent>>>()
        })?;
        let mut all = Sent::nothing()?;
        for share in sent {
            all.datagrams += share.datagrams;
            all.lines += share.lines;
            all.calls += share.calls;
            all.errors += share.errors;
            all.lines_failed += share.lines_failed;
            all.error = all.error.or(share.error);
            all.elapsed = all.elapsed.max(share.elapsed);
            all.late_us.add(&share.late_us)?;
            all.cpu += share.cpu;
        }
        Ok(all)
    }

    /// The part of one sender.
    fn send_share(
        &self,
        index: usize,
        start: Instant,
        payloads: &Payloads,
        interrupt: &Interrupt,
    ) -> Result<Sent> {
        if let Some(cpus) = &self.cpus {
            cpus.one(index).pin()?;
        }
        // A sleep that lasts 50 µs longer, as by default, would send in bursts.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let socket = self.to.open();
        let mut socket = socket.with_context(|| format!("sending to {}", self.to))?;
        let rate = self.rate / self.senders as f64;
        let total = (rate * self.duration.as_secs_f64()).round() as u64;
        // Senders take turns instead of sending at the same moments.
        let turn = Duration::from_secs_f64(index as f64 / self.rate.max(1.0));
        let start = start + turn;
        let mut batch = SendBatch::new(BATCH);
        let mut due_now: Vec<&[u8]> = Vec::with_capacity(BATCH);
        let mut sent = Sent::nothing()?;
        let mut next = 0;
        while next < total && !interrupt.is_set() {
            let due_at = start + Duration::from_secs_f64(next as f64 / rate);
            let now = Instant::now();
            if now < due_at {
                interrupt.sleep_until(due_at);
                continue;
            }
            let elapsed = now - start;
            if elapsed > self.duration + GRACE {
                break;
            }
            latency::record(&mut sent.late_us, now - due_at);
            let due = ((elapsed.as_secs_f64() * rate) as u64 + 1).min(total);
            due_now.clear();
            due_now.extend(
                (next..due.max(next + 1))
                    .take(BATCH)
                    .map(|n| payloads.get(n)),
            );
            let taken = sent.send(&mut socket, &mut batch, &due_now);
            next += taken;
        }
        sent.lines = payloads.lines_of(next) - sent.lines_failed;
        sent.elapsed = start.elapsed().max(Duration::from_nanos(1));
        let cpu = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
        sent.cpu = cpu.into();
        Ok(sent)
    }
}

// === impl Sent ===

impl Sent {
    fn nothing() -> Result<Sent> {
        Ok(Sent {
            datagrams: 0,
            lines: 0,
            calls: 0,
            errors: 0,
            lines_failed: 0,
            error: None,
            elapsed: Duration::ZERO,
            late_us: latency::histogram()?,
            cpu: Duration::ZERO,
        })
    }

    /// Datagrams a second.
    pub fn rate(&self) -> f64 {
        self.datagrams as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Whether the senders could not keep the rate that was asked for.
    pub fn is_too_slow(&self, asked: f64) -> bool {
        self.rate() < asked * RATE_TOLERATED
    }

    /// Sends some datagrams in one call; returns how many are done with, taken
    /// by the kernel or refused by it.
    fn send(&mut self, socket: &mut Sender, batch: &mut SendBatch, datagrams: &[&[u8]]) -> u64 {
        self.calls += 1;
        match socket.send_batch(batch, datagrams) {
            Ok(sent) => {
                self.datagrams += sent as u64;
                sent as u64
            }
            Err(error) => {
                self.errors += 1;
                self.lines_failed += lines_in(datagrams[0]);
                let nobody = match is_late_refusal(&error) {
                    true => ": nobody listens there",
                    false => "",
                };
                self.error.get_or_insert_with(|| format!("{error}{nobody}"));
                1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn load(to: &UdpSocket, rate: f64, senders: usize) -> Load {
        Load {
            to: Target::Udp(to.local_addr().expect("an address")),
            rate,
            duration: Duration::from_millis(200),
            senders,
            cpus: None,
        }
    }

    #[test]
    fn the_rate_is_shared_and_everything_arrives() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let payloads = Payloads::airflow(10, 2);
        let load = load(&socket, 500.0, 2);
        let sent = load.send(&payloads, &Interrupt::default()).expect("sent");
        // A machine that is busy with other things may end them early.
        assert!((2..=100).contains(&sent.datagrams), "{sent:?}");
        assert_eq!((sent.lines, sent.errors), (2 * sent.datagrams, 0));
        assert!(sent.calls <= sent.datagrams);
        socket.set_nonblocking(true).expect("set");
        let mut peers = std::collections::HashMap::new();
        while let Ok((_, peer)) = socket.recv_from(&mut [0; 100]) {
            *peers.entry(peer).or_insert(0) += 1;
        }
        assert_eq!(peers.len(), 2);
        assert!(peers.values().all(|count| *count <= 50));
        assert_eq!(peers.values().sum::<u64>(), sent.datagrams);
    }

    #[test]
    fn nobody_there_is_said_so() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let load = load(&socket, 100.0, 1);
        drop(socket);
        let payloads = Payloads::airflow(10, 1);
        let sent = load.send(&payloads, &Interrupt::default()).expect("tried");
        assert!(sent.errors > 0);
        assert!(sent.datagrams + sent.errors <= 20);
        assert_eq!(sent.lines, sent.datagrams);
        assert!(sent.error.expect("an error").contains("nobody listens"));
    }

    #[test]
    fn a_rate_beyond_any_sender_ends_in_time() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let load = load(&socket, 1e9, 1);
        let payloads = Payloads::airflow(10, 1);
        let sent = load.send(&payloads, &Interrupt::default()).expect("sent");
        assert!(sent.is_too_slow(1e9));
        assert!(!sent.is_too_slow(sent.rate()));
    }
}
