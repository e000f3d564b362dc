//! `verify`: sends a trace and proves, family by family, that what arrived
//! equals what was sent.
//!
//! What should have arrived is added up from the very lines that were sent
//! (`ledger`). The page is scraped before and after, so an exporter in use can be
//! verified as long as nobody else sends to it. What is missing is put down to
//! whoever says that they lost it (`losses`).

mod judge;
mod losses;
mod report;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::endpoint::Endpoint;
use crate::exporter::{Exporter, StartError};
use crate::interrupt::Interrupt;
use crate::ledger::Ledger;
use crate::mapping_rules::RulesArgs;
use crate::replay::{self, Speed};
use crate::scrape::Page;
use crate::target::Target;
use crate::trace::Trace;
use crate::{bytes, duration, kernel};
use judge::Judgement;
use losses::{Losses, Marks};
pub use report::Report;

/// A page that has not changed for so long is taken to be the last: longer than
/// a flush interval of the exporters there are.
const STILL_AFTER: Duration = Duration::from_secs(1);

/// Between two looks at a page.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Command line of `verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pitot-loadgen verify cluster.jsonl.gz --speed 100 --mapping-profile airflow \\\n      \
    --to 127.0.0.1:9125 --metrics http://127.0.0.1:9102/metrics\n  \
    pitot-loadgen verify cluster.jsonl.gz --speed 100 --mapping-config airflow.yml \\\n      \
    --exporter ./statsd_exporter\n\n\
    Nobody else may send to the exporter meanwhile. The exit status is 1 if anything was\n\
    lost or differs.")]
pub struct Args {
    /// Trace to send, .jsonl or .jsonl.gz
    trace: PathBuf,
    /// Where to: host:port (UDP), tcp:host:port, unixgram:/path or unix:/path
    #[arg(long, value_name = "ADDR", required_unless_present = "exporter")]
    to: Option<Target>,
    /// Where the exporter's page is
    #[arg(long, value_name = "URL", required_unless_present = "exporter")]
    metrics: Option<Endpoint>,
    /// Start this exporter instead, with the rules named here
    #[arg(long, value_name = "PATH", conflicts_with_all = ["to", "metrics"])]
    exporter: Option<PathBuf>,
    /// Flags for it, separated by blanks
    #[arg(
        long,
        value_name = "FLAGS",
        value_delimiter = ' ',
        allow_hyphen_values = true
    )]
    exporter_args: Vec<String>,
    /// Receive buffer for it to ask for, such as 4M
    #[arg(long, value_name = "BYTES", default_value = "4M", value_parser = bytes::parse)]
    read_buffer: usize,
    #[command(flatten)]
    rules: RulesArgs,
    /// How many times as fast as captured, or max
    #[arg(long, default_value = "1")]
    speed: Speed,
    /// How many times to send the trace, one after the other
    #[arg(long, default_value_t = 1)]
    loops: u32,
    /// How long to wait at most until everything is counted
    #[arg(long, default_value = "10s", value_parser = duration::parse)]
    settle: Duration,
    /// How many families and samples that differ to print; --json has all
    #[arg(long, default_value_t = 50, value_name = "N")]
    show: usize,
    /// Write the whole report to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is verified: where lines go and what they do there.
#[derive(Debug)]
pub struct Subject {
    /// Where lines go.
    pub to: Target,
    /// Where the page is.
    pub page: Endpoint,
}

/// What a sender says when it is done.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Handed to the kernel, the first so many of those that were to be sent.
    pub datagrams: u64,
    /// Its report, if it could not send all.
    pub trouble: Option<String>,
}

/// Runs the subcommand.
pub fn run(args: &Args, interrupt: &Interrupt) -> Result<Report> {
    let trace = Trace::read(&args.trace)?;
    ensure!(!trace.is_empty(), "{} is empty", args.trace.display());
    let ledger = Ledger::new(args.rules.load()?);
    let child = args.exporter.as_deref().map(|_| start(args)).transpose()?;
    let subject = match (&child, &args.to, &args.metrics) {
        (Some(child), _, _) => Subject {
            to: Target::Udp(SocketAddr::from(([127, 0, 0, 1], child.statsd_port()))),
            page: child.endpoint(),
        },
        (None, Some(to), Some(page)) => Subject {
            to: to.clone(),
            page: page.clone(),
        },
        _ => return Err(anyhow!("neither --exporter nor --to and --metrics")),
    };
    let send = || {
        let sent = replay::replay(&trace, &subject.to, args.speed, args.loops, interrupt)?;
        Ok(Sent {
            datagrams: sent.datagrams,
            trouble: (!sent.is_complete()).then(|| sent.to_string()),
        })
    };
    let sources = (0..args.loops).flat_map(|_| trace.datagrams());
    let sources = sources.map(|(datagram, _)| (datagram.source, datagram.payload));
    let mut report = verify(&subject, ledger, send, sources, args.settle)?;
    report.show = args.show;
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report.to_json())?;
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    Ok(report)
}

fn start(args: &Args) -> Result<Exporter> {
    let binary = args.exporter.as_deref().context("no exporter")?;
    let (mapping, mut flags) = args.rules.for_exporter()?;
    flags.push(format!("--statsd.read-buffer={}", args.read_buffer));
    flags.extend(args.exporter_args.iter().cloned());
    let mut exporter = Exporter::new(binary, &flags, mapping.as_deref())?;
    exporter.start().map_err(|error| match error {
        StartError::Other(error) => error,
        ended => anyhow!(ended),
    })?;
    Ok(exporter)
}

/// Sends, waits until all is counted, and compares. `datagrams` are those that
/// `send` sends, in that order, with their sources.
pub fn verify<'a>(
    subject: &Subject,
    mut ledger: Ledger,
    send: impl FnOnce() -> Result<Sent>,
    datagrams: impl Iterator<Item = (u16, &'a [u8])>,
    settle: Duration,
) -> Result<Report> {
    let page = &subject.page;
    let before = page.page().context("the page before the first datagram")?;
    ledger.know(&before);
    let marks = Marks::of(&before, kernel_drops(&subject.to));
    let sent = send()?;
    // What an interrupt kept from being sent is not expected either.
    let is_stream = subject.to.is_stream();
    for (source, payload) in datagrams.take(usize::try_from(sent.datagrams)?) {
        ledger.datagram(source, payload, is_stream);
    }
    let (after, judgement) = settled(page, &ledger, &before, settle)?;
    let now = Marks::of(&after, kernel_drops(&subject.to));
    let is_datagram = !is_stream;
    let losses = Losses::between(&marks, &now, ledger.counts(), is_datagram);
    Ok(Report {
        sent,
        losses,
        judgement,
        show: usize::MAX,
    })
}

/// Looks at the page until it is as it should be, or has long stopped changing.
fn settled(
    endpoint: &Endpoint,
    ledger: &Ledger,
    before: &Page,
    limit: Duration,
) -> Result<(Page, Judgement)> {
    let start = Instant::now();
    let mut changed = start;
    let mut last = Judgement::default();
    loop {
        let page = endpoint
            .page()
            .context("the page after the last datagram")?;
        let judgement = Judgement::of(ledger.series(), before, &page);
        if judgement != last {
            changed = Instant::now();
        }
        let is_still = changed.elapsed() > STILL_AFTER || start.elapsed() > limit;
        if judgement.is_clean() || is_still {
            return Ok((page, judgement));
        }
        last = judgement;
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// What the kernel of this machine dropped for a target, if that is here.
fn kernel_drops(to: &Target) -> Option<u64> {
    match to {
        Target::Udp(address) if kernel::is_local(address.ip()) => {
            kernel::port_drops(address.port())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
