//! `synth`: the traffic of an Airflow cluster that does not exist.
//!
//! A model of the processes that send: schedulers, DAG processors, triggerers
//! and tasks, each with the metrics, the order and the rhythm that were captured
//! from real ones. The same seed makes the same lines.

mod cluster;
mod model;
mod outbox;
mod processes;
mod task;
mod wire;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::airflow::Version;
use crate::duration;
use crate::interrupt::Interrupt;
use crate::kernel;
use crate::progress::Progress;
use crate::record::Ports;
use crate::send::{self, PaceArgs, Plan, Traffic};
use crate::target::Target;
use crate::trace::{Datagram, Writer};

pub use model::Model;
pub use wire::Tags;

/// Command line of `synth`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pitot-loadgen synth --to 127.0.0.1:9125 --dags 500 --task-rate 20\n  \
    pitot-loadgen synth --out big.jsonl.gz --dags 2000 --schedulers 4 --tags datadog --duration 1h\n  \
    pitot-loadgen synth --to tcp:127.0.0.1:9125 --version 2 --workers 16 --rate 50000\n\n\
    The same flags and seed make the same lines. The exit status is 1 if \
    anything could not be sent.")]
#[command(disable_version_flag = true)]
pub struct Args {
    /// Where to: host:port (UDP), tcp:host:port, unixgram:/path or unix:/path
    #[arg(long, value_name = "ADDR", required_unless_present = "out")]
    to: Option<Target>,
    /// Trace to write instead, .jsonl or .jsonl.gz
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to", "speed", "rate"])]
    out: Option<PathBuf>,
    #[command(flatten)]
    pace: PaceArgs,
    #[command(flatten)]
    shape: Shape,
}

/// What the cluster is like.
#[derive(Clone, Debug, clap::Args)]
pub struct Shape {
    /// How many DAGs
    #[arg(long, default_value_t = 100)]
    pub dags: usize,
    /// Tasks of each DAG, one after the other
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub tasks_per_dag: usize,
    /// How many schedulers
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub schedulers: usize,
    /// Celery workers; with 0 the schedulers run tasks themselves (LocalExecutor)
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub workers: usize,
    /// Pools, the default pool included
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub pools: u8,
    /// Task tries begun in a second, in the whole cluster
    #[arg(long, value_name = "PER_SECOND", default_value_t = 2.0, value_parser = parse_positive)]
    pub task_rate: f64,
    /// Median duration of a task
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0, value_parser = parse_positive)]
    pub task_seconds: f64,
    /// Major version of Airflow
    #[arg(long, default_value = "3")]
    pub version: Version,
    /// Form of tags
    #[arg(long, default_value = "none")]
    pub tags: Tags,
    /// Tags of every line, with --tags datadog
    #[arg(
        long,
        value_name = "K:V,...",
        default_value = "env:prod,cluster:af-eu1"
    )]
    pub constant_tags: String,
    /// What metric names begin with
    #[arg(long, default_value = "airflow")]
    pub prefix: String,
    /// How often things are reported: as Airflow does by default, or as in the
    /// captured traces, whose settings were accelerated
    #[arg(long, default_value = "default")]
    pub intervals: Intervals,
    /// Chooses one of many clusters and histories
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How much of the cluster's time to make
    #[arg(long, value_parser = duration::parse, default_value = "5m")]
    pub duration: Duration,
}

/// A set of reporting intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Intervals {
    /// Airflow's defaults.
    Default,
    /// Those of the captured traces.
    Captured,
}

/// What was made.
#[derive(Debug)]
pub enum Report {
    /// Sent.
    Sent(send::Report),
    /// Written to a file.
    Written {
        /// How many.
        datagrams: u64,
        /// Sources of them.
        sources: u64,
        /// From the first to the last.
        span: Duration,
        /// Whether there would have been more.
        interrupted: bool,
    },
}

/// Runs the subcommand.
pub fn run(args: &Args, interrupt: &Interrupt) -> Result<Report> {
    let mut model = Model::new(&args.shape);
    if let Some(path) = &args.out {
        return write(&mut model, path, interrupt);
    }
    kernel::allow_sockets(model.sources_at_once_max())?;
    let Some(to) = &args.to else {
        anyhow::bail!("neither --to nor --out");
    };
    let plan = Plan {
        pace: args.pace.pace(),
        ..Plan::default()
    };
    send::send(&mut model, to, &plan, interrupt).map(Report::Sent)
}

/// Writes traffic to a trace.
fn write(traffic: &mut impl Traffic, path: &Path, interrupt: &Interrupt) -> Result<Report> {
    let mut writer = Writer::create(path)?;
    let mut progress = Progress::new("datagrams", None);
    let mut ports = Ports::default();
    let (mut datagrams, mut sources, mut span) = (0, 0, Duration::ZERO);
    let mut payload = Vec::new();
    while !interrupt.is_set()
        && let Some(next) = traffic.next(&mut payload)
    {
        let known = ports.len();
        let source = ports.number(next.source, None);
        sources += u64::from(ports.len() > known);
        writer.write(&Datagram {
            at: next.at,
            source,
            payload: &payload,
        })?;
        if next.is_last_of_source {
            ports.release(&next.source);
        }
        payload.clear();
        datagrams += 1;
        span = next.at;
        progress.at(datagrams);
    }
    writer.finish()?;
    Ok(Report::Written {
        datagrams,
        sources,
        span,
        interrupted: interrupt.is_set(),
    })
}

impl Report {
    /// Whether everything was sent or written.
    pub fn is_complete(&self) -> bool {
        match self {
            Report::Sent(report) => report.is_complete(),
            Report::Written { interrupted, .. } => !interrupted,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Sent(report) => report.fmt(f),
            Report::Written {
                datagrams,
                sources,
                span,
                interrupted,
            } => {
                writeln!(f, "datagrams  {datagrams}")?;
                writeln!(f, "sources    {sources}")?;
                writeln!(f, "seconds    {:.3}", span.as_secs_f64())?;
                match interrupted {
                    true => writeln!(f, "Interrupted; the file is complete up to there."),
                    false => Ok(()),
                }
            }
        }
    }
}

fn parse_positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok();
    let number = number.filter(|number| (0.001..=1e6).contains(number));
    number.ok_or_else(|| "must be a number from 0.001 to 1000000".to_owned())
}

#[cfg(test)]
mod tests;
