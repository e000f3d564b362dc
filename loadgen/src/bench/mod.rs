//! `bench`: what an exporter costs and loses at rates that rise, and the highest
//! rate at which it loses nothing.

pub mod compare;
mod load;
mod markdown;
mod options;
mod payload;
mod plot;
mod staircase;
mod stats;
mod step;
mod subject;
mod table;

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use serde::Serialize;

use crate::bytes;
use crate::endpoint::Endpoint;
use crate::interrupt::Interrupt;
use crate::machine::Machine;
use crate::progress::Progress;
use crate::sink::Backend;
use crate::target::Target;
use options::LoadArgs;
use plot::Curve;
use staircase::{Found, Search, Trial};
use step::Step;
use subject::{Launch, Program, Subject};

/// Command line of `bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pitot-loadgen bench --exporter ./pitot --mapping-profile airflow --find-max\n  \
    pitot-loadgen bench --pid $(pidof pitot) --to :9125 --metrics http://127.0.0.1:9102/metrics\n  \
    pitot-loadgen bench --sink io_uring --read-buffer 4M --pin-sender 0 --pin-exporter 1\n  \
    pitot-loadgen bench --remote http://node7:9102/metrics --to node7:9125 --rates 50k,100k,200k\n\n\
    The exit status is 1 if anything was lost.")]
pub struct Args {
    /// Start this exporter
    #[arg(long, value_name = "PATH", group = "subject")]
    exporter: Option<PathBuf>,
    /// Flags for it, separated by blanks
    #[arg(
        long,
        value_name = "FLAGS",
        value_delimiter = ' ',
        allow_hyphen_values = true
    )]
    exporter_args: Vec<String>,
    /// Start a sink instead, which only counts
    #[arg(long, value_enum, value_name = "BACKEND", group = "subject")]
    sink: Option<Backend>,
    /// Measure a process that runs here; needs --to and --metrics
    #[arg(long, group = "subject", requires_all = ["to", "metrics"])]
    pid: Option<i32>,
    /// Measure an exporter on another host by the page at this URL; needs --to
    #[arg(long, value_name = "URL", group = "subject", requires = "to")]
    remote: Option<Endpoint>,
    /// Where lines go: host:port (UDP), tcp:host:port or unix:/path
    #[arg(long, value_name = "ADDR")]
    to: Option<Target>,
    /// The page of the process given by --pid
    #[arg(long, value_name = "URL")]
    metrics: Option<Endpoint>,
    /// Receive buffer for it to ask for, such as 4M [default: its own]
    #[arg(long, value_name = "BYTES", value_parser = bytes::parse)]
    read_buffer: Option<usize>,
    #[command(flatten)]
    load: LoadArgs,
    /// Search for the highest rate without loss
    #[arg(long)]
    find_max: bool,
    /// Write all numbers to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw cost and loss into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: Machine,
    subject: String,
    version: String,
    sent: String,
    /// As granted, in bytes, for each socket.
    buffers: Vec<usize>,
    steps: Vec<Step>,
    found: Option<Found>,
    interrupted: bool,
}

/// Runs the subcommand.
pub fn run(args: &Args, interrupt: &Interrupt) -> Result<Report> {
    let payloads = args.load.payloads()?;
    let plan = args.load.plan();
    let (subject, name, version) = subject(args)?;
    plan.warm_up(&subject, &payloads, interrupt)?;
    let mut report = Report {
        machine: Machine::here(),
        subject: name,
        version,
        sent: args.load.describe(&payloads),
        buffers: subject.buffers(),
        steps: Vec::new(),
        found: None,
        interrupted: false,
    };
    let steps = args.load.rates.len() as u64;
    let mut progress = Progress::new("steps", (!args.find_max).then_some(steps));
    let mut trials = Vec::new();
    let mut step = |rate: f64, report: &mut Report| -> Result<Option<Trial>> {
        progress.note(&format!("{rate:.0} lines/s"));
        let step = plan.step(&subject, &payloads, rate, interrupt)?;
        if interrupt.is_set() {
            report.interrupted = true;
            return Ok(None);
        }
        let trial = step.trial();
        report.steps.push(step);
        progress.at(report.steps.len() as u64);
        Ok(Some(trial))
    };
    for rate in &args.load.rates {
        match step(*rate, &mut report)? {
            Some(trial) if *rate > 0.0 => trials.push(trial),
            Some(_) => {}
            None => break,
        }
    }
    if args.find_max && !report.interrupted {
        let start = args.load.rates.last().copied().unwrap_or_default();
        let mut search = Search::new(&trials, start.max(1e3));
        while let Some(rate) = search.next() {
            match step(rate, &mut report)? {
                Some(trial) => search.record(trial),
                None => break,
            }
        }
        report.found = Some(search.found());
    }
    report.write(args)?;
    Ok(report)
}

/// What the command line names, with its name and version.
fn subject(args: &Args) -> Result<(Subject, String, String)> {
    let rules = &args.load.rules;
    let launch = |name: String, program| Launch {
        name,
        program,
        read_buffer: args.read_buffer,
        cpus: args.load.pin_exporter.clone(),
    };
    let launch = match (&args.exporter, args.sink) {
        (Some(path), _) => {
            let name = path.file_name().unwrap_or(path.as_os_str());
            let name = name.to_string_lossy().into_owned();
            launch(name, Program::exporter(path, &args.exporter_args, rules)?)
        }
        (None, Some(backend)) => {
            launch(format!("sink ({})", backend.name()), Program::Sink(backend))
        }
        (None, None) => {
            let page = args.metrics.as_ref().or(args.remote.as_ref());
            let (Some(to), Some(page)) = (&args.to, page) else {
                return Err(anyhow!(
                    "nothing to measure: give --exporter, --sink, --pid or --remote"
                ));
            };
            ensure!(
                args.load.pin_exporter.is_none() && args.read_buffer.is_none(),
                "--pin-exporter and --read-buffer are for what is started here"
            );
            let subject = Subject::attach(to.clone(), page.clone(), args.pid)?;
            return Ok((subject, to.to_string(), "already running".to_owned()));
        }
    };
    Ok((launch.start()?, launch.name.clone(), launch.version()))
}

impl Report {
    /// Whether nothing was lost.
    pub fn is_clean(&self) -> bool {
        !self.interrupted && self.steps.iter().all(|step| step.lines_lost == 0.0)
    }

    fn write(&self, args: &Args) -> Result<()> {
        write_json(args.json.as_ref(), self)?;
        if let Some(path) = &args.svg {
            let curve = |of: fn(&Step) -> f64| Curve {
                name: self.subject.clone(),
                points: self
                    .steps
                    .iter()
                    .map(|step| (step.rate_sent, of(step)))
                    .collect(),
            };
            let cost = vec![curve(|step| step.cpu_us_per_line)];
            let loss = vec![curve(|step| 100.0 * step.loss())];
            plot::draw(path, &cost, &loss)?;
        }
        Ok(())
    }
}

fn write_json(path: Option<&PathBuf>, report: &impl Serialize) -> Result<()> {
    let Some(path) = path else {
        return Ok(());
    };
    let text = serde_json::to_string_pretty(report)?;
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table::head(f, &self.machine)?;
        let buffers: Vec<String> = self.buffers.iter().map(usize::to_string).collect();
        let buffers = if buffers.is_empty() {
            "unknown".to_owned()
        } else {
            buffers.join(", ")
        };
        writeln!(
            f,
            "{}: {}; receive buffers {buffers} bytes",
            self.subject, self.version
        )?;
        writeln!(f, "{}\n", self.sent)?;
        table::steps(f, &self.steps)?;
        match self.found {
            None => {}
            Some(Found::Between(low, high)) => writeln!(
                f,
                "\nNothing is lost up to {low:.0} lines/s; at {high:.0} something is."
            )?,
            Some(Found::AtLeast(rate)) => writeln!(
                f,
                "\nNothing is lost at {rate:.0} lines/s, and faster the sender cannot be: \
                 the limit is higher, and not known."
            )?,
            Some(Found::Below(rate)) => {
                writeln!(f, "\nSomething is lost even at {rate:.0} lines/s.")?;
            }
            Some(Found::Nothing) => {}
        }
        if self.interrupted {
            writeln!(f, "\nInterrupted; the step under way is left out.")?;
        }
        Ok(())
    }
}
