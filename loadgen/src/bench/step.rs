//! One step: a subject under a constant load, and what it did and cost.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::load::{Load, Sent};
use super::payload::Payloads;
use super::subject::{Cpu, Marks, Subject};
use crate::affinity::CpuList;
use crate::endpoint::Endpoint;
use crate::interrupt::Interrupt;
use crate::latency;
use crate::process::CpuSpent;

/// The series are made at this rate, in datagrams a second, before measuring.
const WARM_UP_RATE: f64 = 20_000.0;

/// Between two looks whether everything is counted; longer than the usual flush
/// interval.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// So many looks at a counter that stands still end the waiting.
const LOOKS_STILL: u32 = 2;
const LOOKS_MAX: u32 = 40;

/// How a step is made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// For how long.
    pub duration: Duration,
    /// Threads that send.
    pub senders: usize,
    /// Processors for them.
    pub sender_cpus: Option<CpuList>,
    /// Between two scrapes; zero for none.
    pub scrape_every: Duration,
}

/// What came of a step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Step {
    /// Lines a second, as asked for.
    pub rate_asked: f64,
    /// Lines a second, as sent.
    pub rate_sent: f64,
    /// Lines sent.
    pub lines_sent: f64,
    /// Lines that the subject took.
    pub lines_counted: f64,
    /// Lines lost, by whomever.
    pub lines_lost: f64,
    /// Datagrams that the kernel dropped for want of room; `None` if unknown.
    pub kernel_drops: Option<f64>,
    /// Datagrams that the subject took and threw away.
    pub own_drops: f64,
    /// CPU time of the subject for each line it took, in microseconds.
    pub cpu_us_per_line: f64,
    /// CPU time of the subject, as a part of one core.
    pub cpu_of_core: f64,
    /// The kernel's ticks that met the subject in user and in system mode.
    pub cpu_ticks: [u64; 2],
    /// Memory of the subject at the end, in bytes.
    pub resident_bytes: u64,
    /// Microseconds of a scrape: median, 99th percentile, worst; none if there
    /// was none.
    pub scrape_us: Option<[u64; 3]>,
    /// Scrapes made meanwhile.
    pub scrapes: u64,
    /// Scrapes that failed.
    pub scrape_errors: u64,
    /// Microseconds that the sender was late: median and 99th percentile.
    pub sender_late_us: [u64; 2],
    /// Datagrams in one system call of the sender, on average.
    pub sender_batch: f64,
    /// CPU time of the sender for each datagram, in microseconds.
    pub sender_cpu_us: f64,
    /// The sender could not keep the rate: what was lost, if anything, was lost
    /// at the rate that was sent.
    pub sender_too_slow: bool,
    /// What the sender was told, if sending failed.
    pub send_error: Option<String>,
}

impl Plan {
    /// Sends every datagram there is once, so that the series exist and memory
    /// has grown.
    pub fn warm_up(
        &self,
        subject: &Subject,
        payloads: &Payloads,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let mut load = self.load(subject, WARM_UP_RATE);
        load.senders = 1;
        load.duration = Duration::from_secs_f64(payloads.count() as f64 / WARM_UP_RATE);
        let before = subject.marks()?;
        let sent = load.send(payloads, interrupt)?;
        if let Some(error) = &sent.error {
            return Err(anyhow!("{error}")).context(format!("sending to {}", subject.to));
        }
        settle(subject, &before, &sent)?;
        Ok(())
    }

    /// Makes a step of so many lines a second.
    pub fn step(
        &self,
        subject: &Subject,
        payloads: &Payloads,
        rate: f64,
        interrupt: &Interrupt,
    ) -> Result<Step> {
        let load = self.load(subject, rate / payloads.lines_per_datagram());
        let before = subject.marks()?;
        let cpu_before = subject.cpu()?;
        let begin = Instant::now();
        let end = Interrupt::default();
        let every = self.scrape_every;
        let (sent, scrapes) = thread::scope(|scope| {
            let scraper = scope.spawn(|| Scrapes::make(&subject.page, every, &end));
            let sent = load.send(payloads, interrupt);
            if load.rate == 0.0 {
                interrupt.sleep_until(begin + self.duration);
            }
            end.set();
            (sent, scraper.join())
        });
        let sent = sent?;
        let scrapes = scrapes.map_err(|_| anyhow!("the scraper panicked"))??;
        let (after, cpu_after) = settle(subject, &before, &sent)?;
        let spent = cpu_after.since(&cpu_before);
        let mut step = Step::of(&sent, &before, &after, &spent, payloads);
        step.rate_asked = rate;
        step.sender_too_slow = sent.is_too_slow(load.rate);
        step.cpu_of_core = spent.total.as_secs_f64() / begin.elapsed().as_secs_f64();
        step.resident_bytes = subject.resident_bytes()?;
        step.scrapes = scrapes.us.len();
        step.scrape_errors = scrapes.errors;
        let at = |quantile| scrapes.us.value_at_quantile(quantile);
        step.scrape_us = (step.scrapes > 0).then(|| [at(0.5), at(0.99), at(1.0)]);
        Ok(step)
    }

    fn load(&self, subject: &Subject, rate: f64) -> Load {
        Load {
            to: subject.to.clone(),
            rate,
            duration: self.duration,
            senders: self.senders,
            cpus: self.sender_cpus.clone(),
        }
    }
}

/// Waits until all that was sent is counted, or nothing more is. The CPU time is
/// that before the look that ended the waiting, so no look is charged for but
/// those that were needed.
fn settle(subject: &Subject, before: &Marks, sent: &Sent) -> Result<(Marks, Cpu)> {
    let mut last = None;
    let mut still = 0;
    let mut looks = 0;
    loop {
        thread::sleep(LOOK_INTERVAL);
        let cpu = subject.cpu()?;
        let marks = subject.marks()?;
        looks += 1;
        let missing = missing(before, &marks, sent);
        still = if last == Some(missing) { still + 1 } else { 0 };
        if missing <= 0.0 || still >= LOOKS_STILL || looks >= LOOKS_MAX {
            return Ok((marks, cpu));
        }
        last = Some(missing);
    }
}

/// Lines that are not counted; datagrams of a subject that counts no lines.
fn missing(before: &Marks, after: &Marks, sent: &Sent) -> f64 {
    let grown = |now: f64, then: Option<f64>| now - then.unwrap_or_default();
    match (after.lines, after.datagrams) {
        (Some(lines), _) => sent.lines as f64 - grown(lines, before.lines),
        (None, Some(datagrams)) => sent.datagrams as f64 - grown(datagrams, before.datagrams),
        (None, None) => 0.0,
    }
}

impl Step {
    fn of(
        sent: &Sent,
        before: &Marks,
        after: &Marks,
        spent: &CpuSpent,
        payloads: &Payloads,
    ) -> Step {
        // A subject that counts only datagrams took the lines that are in them.
        let in_lines = match after.lines {
            Some(_) => 1.0,
            None => payloads.lines_per_datagram(),
        };
        let lost = missing(before, after, sent) * in_lines;
        let lines_sent = sent.lines as f64;
        let counted = lines_sent - lost;
        let each_us = |cpu: Duration, count: f64| cpu.as_secs_f64() * 1e6 / count.max(1.0);
        let datagrams = sent.datagrams as f64;
        let late = |quantile| sent.late_us.value_at_quantile(quantile);
        Step {
            rate_sent: lines_sent / sent.elapsed.as_secs_f64().max(1e-9),
            lines_sent,
            lines_counted: counted,
            lines_lost: lost,
            kernel_drops: after
                .kernel_drops
                .map(|drops| drops - before.kernel_drops.unwrap_or_default()),
            own_drops: after.own_drops - before.own_drops,
            cpu_us_per_line: each_us(spent.total, counted),
            cpu_ticks: [spent.user_ticks, spent.system_ticks],
            sender_late_us: [late(0.5), late(0.99)],
            sender_batch: datagrams / (sent.calls as f64).max(1.0),
            sender_cpu_us: each_us(sent.cpu, datagrams),
            send_error: sent.error.clone(),
            ..Step::default()
        }
    }

    /// Lines lost, as a part of those sent.
    pub fn loss(&self) -> f64 {
        self.lines_lost / self.lines_sent.max(1.0)
    }
}

/// Scrapes made beside a load.
struct Scrapes {
    us: Histogram<u64>,
    errors: u64,
}

impl Scrapes {
    /// Scrapes until `end`, the first time after half an interval.
    fn make(page: &Endpoint, every: Duration, end: &Interrupt) -> Result<Scrapes> {
        let mut scrapes = Scrapes {
            us: latency::histogram()?,
            errors: 0,
        };
        if every.is_zero() {
            return Ok(scrapes);
        }
        let mut next = Instant::now() + every / 2;
        loop {
            end.sleep_until(next);
            if end.is_set() {
                return Ok(scrapes);
            }
            let begin = Instant::now();
            match page.text() {
                Ok(_) => latency::record(&mut scrapes.us, begin.elapsed()),
                Err(_) => scrapes.errors += 1,
            }
            next += every;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink;
    use crate::target::Target;

    fn sent(datagrams: u64, lines: u64) -> Sent {
        Sent {
            datagrams,
            lines,
            calls: datagrams / 2,
            errors: 0,
            lines_failed: 0,
            error: None,
            elapsed: Duration::from_secs(2),
            late_us: latency::histogram().expect("a histogram"),
            cpu: Duration::from_millis(1),
        }
    }

    #[test]
    fn cost_is_by_line_that_was_taken() {
        let payloads = Payloads::airflow(10, 4);
        let before = Marks {
            lines: Some(5.0),
            datagrams: Some(2.0),
            kernel_drops: Some(7.0),
            ..Marks::default()
        };
        let after = Marks {
            lines: Some(305.0),
            datagrams: Some(77.0),
            own_drops: 1.0,
            kernel_drops: Some(32.0),
        };
        let spent = CpuSpent {
            total: Duration::from_micros(600),
            ..CpuSpent::default()
        };
        let step = Step::of(&sent(100, 400), &before, &after, &spent, &payloads);
        assert_eq!((step.lines_counted, step.lines_lost), (300.0, 100.0));
        assert_eq!((step.kernel_drops, step.own_drops), (Some(25.0), 1.0));
        assert!((step.cpu_us_per_line - 2.0).abs() < 1e-9);
        assert_eq!((step.rate_sent, step.loss()), (200.0, 0.25));
        assert_eq!((step.sender_batch, step.sender_cpu_us), (2.0, 10.0));

        let only_datagrams = |marks: Marks| Marks {
            lines: None,
            ..marks
        };
        let (before, after) = (only_datagrams(before), only_datagrams(after));
        let step = Step::of(&sent(100, 400), &before, &after, &spent, &payloads);
        assert_eq!((step.lines_counted, step.lines_lost), (300.0, 100.0));
    }

    /// A sink that loses every tenth datagram, measured as a process of this
    /// machine and by its page.
    #[test]
    fn a_step_finds_what_is_lost() {
        let address = || "127.0.0.1:0".parse().expect("an address");
        let options = sink::Options {
            listen: address(),
            backend: sink::Backend::Recvmmsg,
            gather: pitot::receive::Gather::Auto,
            shards: std::num::NonZeroUsize::MIN,
            read_buffer: 1 << 20,
            loss: sink::Loss {
                first: 0,
                every: 10,
            },
            metrics: Some(address()),
        };
        let sink = sink::Sink::start(&options, None).expect("started");
        let plan = Plan {
            duration: Duration::from_millis(300),
            senders: 1,
            sender_cpus: None,
            scrape_every: Duration::from_millis(50),
        };
        let payloads = Payloads::airflow(10, 2);
        let interrupt = Interrupt::default();
        let own = std::process::id().try_into().expect("a process");
        for pid in [Some(own), None] {
            let to = Target::Udp(sink.address());
            let page = sink.endpoint().expect("a page");
            let subject = Subject::attach(to, page, pid).expect("there");
            plan.warm_up(&subject, &payloads, &interrupt).expect("sent");
            let lost_before = sink.seen() / 10;
            let step = plan.step(&subject, &payloads, 2000.0, &interrupt);
            let step = step.expect("made");
            let lost = (sink.seen() / 10 - lost_before) as f64;
            assert!(lost > 0.0);
            assert_eq!(step.lines_lost, 2.0 * lost, "{step:?}");
            assert_eq!(step.lines_counted, step.lines_sent - step.lines_lost);
            assert_eq!(step.kernel_drops, Some(0.0));
            assert!(step.scrapes > 0 && step.scrape_errors == 0);
            assert!(step.resident_bytes > 1 << 20);
            assert!(pid.is_none() || step.cpu_us_per_line > 0.0);
        }
    }
}
