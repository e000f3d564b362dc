//! Two exporters side by side, told the same.
//!
//! Nothing may be lost on the way, or the difference would be the kernel's: over
//! UDP only so much is under way as fits the smaller socket buffer, and the
//! counter of lines says when it has arrived; over TCP the connection itself
//! holds the sender back.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::compare::{self, Judged, Order};
use crate::exporter::{Exporter, StartError, exit_code};
use crate::interrupt::Interrupt;
use crate::kernel;
use crate::scrape::{Family, Kind, SampleKey};
use crate::target::{Sender, Target};
use crate::wait;

/// What to ask for as receive buffer; the kernel may grant less.
const READ_BUFFER_BYTES: usize = 4 << 20;

/// How long lines that were sent may stay uncounted, and pages unsettled.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Pages that differ and have not changed for so long will stay different.
const STILL_AFTER: Duration = Duration::from_millis(700);

/// Pages that agree must agree once more after this time: longer than two of
/// the flush intervals that the exporters are started with.
const CONFIRM_AFTER: Duration = Duration::from_millis(50);

/// From so many observations on, quantiles are estimates by design.
const ESTIMATED_FROM: f64 = 500.0;

/// How far two estimates may lie apart, as a part of the larger one. They promise
/// a rank and not a value; two runs of the reference have lain a fifth apart.
const ESTIMATE_TOLERANCE: f64 = 0.5;

/// The two programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The exporter under test.
    pub pitot: PathBuf,
    /// The one it is compared with.
    pub peer: PathBuf,
}

/// What both are started with.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Further command-line flags.
    pub flags: Vec<String>,
    /// The mapping file.
    pub mapping: Option<Vec<u8>>,
}

/// How lines travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// In paced datagrams.
    #[default]
    Udp,
    /// Over one connection.
    Tcp,
}

/// A datagram, and when it is due after the start; `None` for at once.
pub type Timed<'a> = (Option<Duration>, &'a [u8]);

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How Pitot differs from its peer, a sentence each.
    pub differences: Vec<String>,
    /// Estimates that differ within what they promise, a sentence each.
    pub estimates: Vec<String>,
    /// What the peer's page said in the end, if it came to that.
    pub peer: Option<Judged>,
    /// Both refused to start.
    pub refused: bool,
}

/// Why there is nothing to compare.
enum Fault {
    /// Something is wrong with an exporter, which is a difference.
    Exporter(String),
    /// This tool failed, or was interrupted.
    Tool(anyhow::Error),
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Fault {
        Fault::Tool(error)
    }
}

/// Starts both, sends everything to both, and compares their pages. An error is
/// a failure of this tool or an interrupt; what goes wrong in an exporter is a
/// difference.
pub fn run<'a>(
    binaries: &Binaries,
    setup: &Setup,
    transport: Transport,
    datagrams: impl Iterator<Item = Timed<'a>>,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let play = || {
        let Some(mut pair) = Pair::start(binaries, setup, transport, interrupt)? else {
            return Ok(Outcome {
                refused: true,
                ..Outcome::default()
            });
        };
        pair.feed(datagrams)?;
        pair.compare()
    };
    match play() {
        Ok(outcome) => Ok(outcome),
        Err(Fault::Tool(error)) => Err(error),
        Err(Fault::Exporter(sentence)) => Ok(Outcome {
            differences: vec![sentence],
            ..Outcome::default()
        }),
    }
}

/// About what a datagram takes of a socket buffer: its bytes, rounded up to the
/// size of an allocation, and the structures around them.
fn kernel_cost(datagram: &[u8]) -> usize {
    1280 + 2 * datagram.len()
}

struct Pair<'a> {
    sides: [Side; 2],
    transport: Transport,
    /// How much may be under way over UDP, in [`kernel_cost`].
    window_bytes: usize,
    /// So many were sent.
    lines: u64,
    interrupt: &'a Interrupt,
}

/// One of the two, with the way to it.
struct Side {
    name: &'static str,
    exporter: Exporter,
    sender: Sender,
}

impl Side {
    fn new(name: &'static str, exporter: Exporter, transport: Transport) -> Result<Side> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, exporter.statsd_port()));
        let target = match transport {
            Transport::Udp => Target::Udp(address),
            Transport::Tcp => Target::Tcp(address),
        };
        let sender = target.open().with_context(|| format!("reaching {name}"))?;
        Ok(Side {
            name,
            exporter,
            sender,
        })
    }

    /// What is wrong with it, given the error that showed it.
    fn fault(&mut self, error: &anyhow::Error) -> Fault {
        let name = self.name;
        Fault::Exporter(match self.exporter.ended() {
            Ok(Some(status)) => {
                let (code, said) = (exit_code(status), self.exporter.said());
                format!("{name} ended with {code}: {said}")
            }
            _ => format!("{name}: {error:#}"),
        })
    }

    fn judged(&mut self) -> Result<Judged, Fault> {
        let page = self.exporter.page();
        page.map(Judged::of).map_err(|error| self.fault(&error))
    }

    fn lines(&mut self) -> Result<f64, Fault> {
        let lines = self.exporter.counter("statsd_exporter_lines_total");
        lines.map_err(|error| self.fault(&error))
    }
}

impl<'a> Pair<'a> {
    /// Starts both; `None` if both refuse.
    fn start(
        binaries: &Binaries,
        setup: &Setup,
        transport: Transport,
        interrupt: &'a Interrupt,
    ) -> Result<Option<Pair<'a>>, Fault> {
        let buffer_bytes = kernel::receive_buffer_max().min(READ_BUFFER_BYTES);
        let mut flags = vec![format!("--statsd.read-buffer={buffer_bytes}")];
        flags.extend_from_slice(&setup.flags);
        let mapping = setup.mapping.as_deref();
        let mut pitot = Exporter::new(&binaries.pitot, &flags, mapping)?;
        let mut peer = Exporter::new(&binaries.peer, &flags, mapping)?;
        let refusal = match (refusal(&mut pitot)?, refusal(&mut peer)?) {
            (Some(_), Some(_)) => return Ok(None),
            (Some(said), None) => Some(format!("pitot did not start, the peer did: {said}")),
            (None, Some(said)) => Some(format!("the peer did not start, pitot did: {said}")),
            (None, None) => None,
        };
        if let Some(refusal) = refusal {
            return Err(Fault::Exporter(refusal));
        }
        Ok(Some(Pair {
            sides: [
                Side::new("pitot", pitot, transport)?,
                Side::new("the peer", peer, transport)?,
            ],
            transport,
            // The kernel doubles what it is asked for; the rest is for what the
            // costs underestimate.
            window_bytes: buffer_bytes / 2,
            lines: 0,
            interrupt,
        }))
    }

    /// Sends everything to both and waits until it is counted.
    fn feed<'d>(&mut self, datagrams: impl Iterator<Item = Timed<'d>>) -> Result<(), Fault> {
        let start = Instant::now();
        let mut under_way_bytes = 0;
        for (due, datagram) in datagrams {
            self.interrupt.check()?;
            if let Some(due) = due {
                self.interrupt.sleep_until(start + due);
            }
            let cost = kernel_cost(datagram);
            if self.transport == Transport::Udp && under_way_bytes + cost > self.window_bytes {
                self.wait_for_lines()?;
                under_way_bytes = 0;
            }
            under_way_bytes += cost;
            for side in &mut self.sides {
                let sent = side.sender.send(datagram);
                sent.map_err(|error| side.fault(&error.into()))?;
            }
            self.lines += self.transport.lines(datagram);
        }
        self.wait_for_lines()
    }

    fn wait_for_lines(&mut self) -> Result<(), Fault> {
        for side in &mut self.sides {
            let mut seen = 0.0;
            let arrived = wait::until(ARRIVAL_TIMEOUT, || {
                self.interrupt.check()?;
                seen = side.lines()?;
                Ok::<_, Fault>((seen >= self.lines as f64).then_some(()))
            })?;
            if arrived.is_none() {
                let lost = format!("{} counts {seen} of {} lines", side.name, self.lines);
                return Err(Fault::Exporter(lost));
            }
        }
        Ok(())
    }

    /// Compares until both agree twice, or have long settled without.
    fn compare(&mut self) -> Result<Outcome, Fault> {
        let start = Instant::now();
        let mut changed = start;
        let mut last = [Judged::default(), Judged::default()];
        let mut agreed = false;
        loop {
            self.interrupt.check()?;
            let [pitot, peer] = &mut self.sides;
            let (got, want) = (pitot.judged()?, peer.judged()?);
            let outcome = judge(&want, &got);
            let agrees = outcome.differences.is_empty();
            let is_still = changed.elapsed() > STILL_AFTER || start.elapsed() > ARRIVAL_TIMEOUT;
            if (agrees && agreed) || (!agrees && is_still) {
                return Ok(Outcome {
                    peer: Some(want),
                    ..outcome
                });
            }
            agreed = agrees;
            let now = [got, want];
            if !now.iter().zip(&last).all(|(now, last)| now.is_same(last)) {
                changed = Instant::now();
                last = now;
            }
            std::thread::sleep(CONFIRM_AFTER);
        }
    }
}

/// Starts an exporter; returns what it said if it refused.
fn refusal(exporter: &mut Exporter) -> Result<Option<String>> {
    match exporter.start() {
        Ok(()) => Ok(None),
        Err(StartError::Ended { said, .. }) => Ok(Some(said)),
        Err(StartError::Other(error)) => Err(error),
    }
}

impl Transport {
    /// How many lines an exporter counts of a datagram: over UDP also the empty
    /// one after a last newline, which a stream does not have.
    fn lines(self, datagram: &[u8]) -> u64 {
        let newlines = datagram.iter().filter(|&&byte| byte == b'\n').count() as u64;
        match self {
            Transport::Tcp if datagram.ends_with(b"\n") => newlines,
            _ => newlines + 1,
        }
    }
}

/// Compares two pages in full, but estimates only within their promise.
fn judge(want: &Judged, got: &Judged) -> Outcome {
    let mut got = got.clone();
    let estimates = accept_estimates(want, &mut got);
    let mut differences = compare::families(&want.families, &got.families, Order::Fixed, |_| false);
    differences.extend(compare::own(&want.own, &got.own));
    Outcome {
        differences,
        estimates,
        ..Outcome::default()
    }
}

/// Where a summary holds so many observations that its quantiles are estimates,
/// and they are near enough, writes the wanted ones in place of those that were
/// got; returns a sentence for each.
fn accept_estimates(want: &Judged, got: &mut Judged) -> Vec<String> {
    let wanted: BTreeMap<&str, &Family> = want
        .families
        .iter()
        .map(|family| (&*family.name, family))
        .collect();
    let mut sentences = Vec::new();
    for family in &mut got.families {
        let Some(want) = wanted.get(&*family.name) else {
            continue;
        };
        if family.kind != Kind::Summary || want.kind != Kind::Summary {
            continue;
        }
        let values: BTreeMap<&SampleKey, f64> = want
            .samples
            .iter()
            .map(|sample| (&sample.key, sample.value))
            .collect();
        for sample in &mut family.samples {
            let (Some(&want), Some(count)) = (
                values.get(&sample.key),
                values.get(&count_key(&family.name, &sample.key)),
            ) else {
                continue;
            };
            let got = sample.value;
            let is_near =
                (got - want).abs() <= ESTIMATE_TOLERANCE * f64::max(got.abs(), want.abs());
            let is_estimate = sample.key.name == family.name && *count >= ESTIMATED_FROM;
            if is_estimate && is_near && !compare::is_same(got, want) {
                sentences.push(format!(
                    "{} is {got}, the peer's {want}, of {count}",
                    sample.key
                ));
                sample.value = want;
            }
        }
    }
    sentences
}

/// The key of the count of a summary, given one of its quantiles.
fn count_key(family: &str, key: &SampleKey) -> SampleKey {
    let labels = key.labels.iter().filter(|(name, _)| name != "quantile");
    SampleKey {
        name: format!("{family}_count"),
        labels: labels.cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::Page;

    #[test]
    fn lines_are_counted_as_an_exporter_counts_them() {
        for (datagram, udp, tcp) in [("", 1, 1), ("a", 1, 1), ("a\n", 2, 1), ("a\n\nb", 3, 3)] {
            assert_eq!(
                Transport::Udp.lines(datagram.as_bytes()),
                udp,
                "{datagram:?}"
            );
            assert_eq!(
                Transport::Tcp.lines(datagram.as_bytes()),
                tcp,
                "{datagram:?}"
            );
        }
    }

    #[test]
    fn only_estimates_may_differ_and_only_a_little() {
        let page = |median: f64, count: u32| {
            let text = format!(
                "# TYPE s summary\ns{{x=\"1\",quantile=\"0.5\"}} {median}\n\
                 s_sum{{x=\"1\"}} 1\ns_count{{x=\"1\"}} {count}\n"
            );
            Judged::of(Page::parse(&text).expect("a page"))
        };
        let check = |got: f64, count, differences, estimates| {
            let outcome = judge(&page(1.0, count), &page(got, count));
            assert_eq!(outcome.differences.len(), differences, "{outcome:?}");
            assert_eq!(outcome.estimates.len(), estimates, "{outcome:?}");
        };
        check(1.0, 499, 0, 0);
        check(1.1, 499, 1, 0);
        check(1.1, 500, 0, 1);
        check(2.1, 500, 1, 0);
        check(1.0, 500, 0, 0);
    }
}
