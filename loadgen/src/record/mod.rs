//! `record`: writes a trace of what arrives at a port, of what a packet capture
//! holds, or of another trace, on request without the names of the cluster.

mod live;
mod ports;
mod tape;

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::anonymize::{self, Anonymizer};
use crate::capture;
use crate::duration;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::trace::{Trace, Writer};

pub(crate) use ports::Ports;
use tape::{Limits, Tape};
pub use tape::{Origin, Report};

/// Command line of `record`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pitot-loadgen record --listen :9125 --duration 10m cluster.jsonl.gz\n  \
    tcpdump -i eth0 -w cluster.pcap 'udp port 9125 or (ip[6:2] & 0x3fff != 0)'\n  \
    pitot-loadgen record --pcap cluster.pcap cluster.jsonl.gz\n  \
    pitot-loadgen record --trace cluster.jsonl.gz --anonymize public.jsonl.gz\n\n\
    Ctrl-C ends the recording; the file is complete then. To record beside a \
    running exporter, capture packets.")]
#[command(group = clap::ArgGroup::new("origin").required(true))]
pub struct Args {
    /// UDP address to listen on, host:port
    #[arg(long, value_name = "ADDR", group = "origin")]
    listen: Option<String>,
    /// Packet capture to read: pcap or pcapng, plain or gzip
    #[arg(long, value_name = "FILE", group = "origin")]
    pcap: Option<PathBuf>,
    /// Trace to read, .jsonl or .jsonl.gz
    #[arg(long, value_name = "FILE", group = "origin")]
    trace: Option<PathBuf>,
    /// UDP port that the exporter had, in a packet capture
    #[arg(long, default_value_t = 9125, requires = "pcap")]
    port: u16,
    /// File to write, compressed if its name ends in .gz
    out: PathBuf,
    /// Stop after this time, for example 90s
    #[arg(long, value_parser = duration::parse)]
    duration: Option<Duration>,
    /// Stop after so many datagrams
    #[arg(long)]
    count: Option<u64>,
    /// Replace the names of DAGs, tasks, pools, hosts and all else that is not
    /// Airflow's own by pseudonyms of the same shape
    #[arg(long)]
    anonymize: bool,
    /// Secret that chooses the pseudonyms; the same secret chooses the same
    /// [default: a random one, told to nobody]
    #[arg(long, value_name = "SECRET", requires = "anonymize")]
    anonymize_key: Option<String>,
    /// What the cluster's metric names begin with
    #[arg(long, default_value = "airflow")]
    prefix: String,
}

/// Runs the subcommand.
pub fn run(args: &Args, interrupt: &Interrupt) -> Result<Report> {
    let limits = Limits {
        duration: args.duration,
        count: args.count,
    };
    let source = Source::open(args)?;
    let mut tape = Tape::new(Writer::create(&args.out)?, limits, interrupt.clone());
    if args.anonymize {
        let key = match &args.anonymize_key {
            Some(key) => key.clone(),
            None => anonymize::random_key()?,
        };
        tape.anonymizer = Some(Anonymizer::new(&args.prefix, &key));
    }
    let recorded = source.record(args, &mut tape);
    // Also after an error: what is there is worth keeping.
    let mut report = tape.finish()?;
    report.origin = recorded?;
    Ok(report)
}

/// Where datagrams come from, looked at before the file is created.
enum Source {
    Socket(live::Listener),
    Capture(PathBuf),
    Trace(Trace),
}

impl Source {
    fn open(args: &Args) -> Result<Source> {
        if let Some(address) = &args.listen {
            let listener = live::Listener::bind(address);
            return Ok(Source::Socket(
                listener.with_context(|| format!("listening on {address}"))?,
            ));
        }
        if let Some(path) = &args.trace {
            return Ok(Source::Trace(Trace::read(path)?));
        }
        let path = args.pcap.clone().context("nothing to record from")?;
        File::open(&path).with_context(|| path.display().to_string())?;
        Ok(Source::Capture(path))
    }

    fn record(self, args: &Args, tape: &mut Tape) -> Result<Origin> {
        let mut progress = Progress::new("datagrams", args.count);
        match self {
            Source::Socket(listener) => {
                progress.note(&format!("listening on {}", listener.address()?));
                let lost = listener.record(tape, &mut progress)?;
                Ok(Origin::Socket { lost })
            }
            Source::Trace(trace) => {
                for (datagram, _) in trace.datagrams() {
                    let source = datagram.source;
                    if !tape.write(datagram.at, (None, source), datagram.payload)? {
                        break;
                    }
                    progress.at(tape.datagrams());
                }
                Ok(Origin::Trace)
            }
            Source::Capture(path) => {
                let counts = capture::read(&path, args.port, |captured| {
                    let source = (Some(captured.source.ip()), captured.source.port());
                    let goes_on = tape.write(captured.at, source, captured.payload)?;
                    progress.at(tape.datagrams());
                    Ok(goes_on)
                })?;
                Ok(Origin::Capture(counts, args.port))
            }
        }
    }
}

#[cfg(test)]
mod tests;
