//! `replay`: sends a captured trace again, at any speed and in any number.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::duration;
use crate::interrupt::Interrupt;
use crate::kernel;
use crate::multiply::Copies;
use crate::send::{self, Pace, PaceArgs, Plan};
use crate::target::Target;
use crate::trace::Trace;

pub use crate::send::{Report, Speed};

/// Command line of `replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pitot-loadgen replay cluster.jsonl.gz --to 127.0.0.1:9125 --speed 10\n  \
    pitot-loadgen replay cluster.jsonl.gz --to 127.0.0.1:9125 --multiply 50 --duration 10m\n  \
    pitot-loadgen replay cluster.jsonl.gz --to unixgram:/run/statsd.sock --speed max --loops 20\n\n\
    Each captured source sends from a port of its own. The exit status is 1 if \
    anything could not be sent.")]
pub struct Args {
    /// Trace to send, .jsonl or .jsonl.gz
    trace: PathBuf,
    /// Where to: host:port (UDP), tcp:host:port, unixgram:/path or unix:/path
    #[arg(long, value_name = "ADDR")]
    to: Target,
    #[command(flatten)]
    pace: PaceArgs,
    /// How many times to send the trace, one after the other [default: 1, or
    /// without end if there is a --duration]
    #[arg(long)]
    loops: Option<u32>,
    /// Stop after this time, for example 90s
    #[arg(long, value_parser = duration::parse)]
    duration: Option<Duration>,
    /// How many copies of the cluster to play at once, each with DAGs, files,
    /// hosts and sources of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    multiply: u32,
    /// What the cluster's metric names begin with, to find the DAGs in them
    #[arg(long, default_value = "airflow")]
    prefix: String,
}

/// Runs the subcommand.
pub fn run(args: &Args, interrupt: &Interrupt) -> Result<Report> {
    let trace = Trace::read(&args.trace)?;
    ensure!(!trace.is_empty(), "{} is empty", args.trace.display());
    let loops = match args.duration {
        Some(_) => args.loops,
        None => Some(args.loops.unwrap_or(1)),
    };
    let mut copies = Copies::new(&trace, args.multiply, loops, &args.prefix);
    kernel::allow_sockets(trace.sources_at_once() * args.multiply as usize)?;
    let plan = Plan {
        pace: args.pace.pace(),
        limit: args.duration,
        total: copies.total(args.multiply),
    };
    send::send(&mut copies, &args.to, &plan, interrupt)
}

/// Sends a trace so many times.
pub fn replay(
    trace: &Trace,
    to: &Target,
    speed: Speed,
    loops: u32,
    interrupt: &Interrupt,
) -> Result<Report> {
    kernel::allow_sockets(trace.sources_at_once())?;
    let mut copies = Copies::new(trace, 1, Some(loops), "");
    let plan = Plan {
        pace: Pace::Speed(speed),
        limit: None,
        total: copies.total(1),
    };
    send::send(&mut copies, to, &plan, interrupt)
}
