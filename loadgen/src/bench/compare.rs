//! `compare`: Pitot, another exporter and a bare sink, measured by turns in one
//! run.
//!
//! A machine has good and bad minutes, so only numbers of one run are put side by
//! side: in each round every subject gets every step, one after the other and in
//! another order each time, started anew. What is shown are medians over the
//! rounds, with the least and the most.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use super::options::LoadArgs;
use super::plot::{self, Curve};
use super::stats::Spread;
use super::step::Step;
use super::subject::{Launch, Program};
use super::{markdown, write_json};
use crate::interrupt::Interrupt;
use crate::machine::Machine;
use crate::progress::Progress;
use crate::sink::Backend;
use crate::{bytes, duration};

/// Command line of `compare`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pitot-loadgen compare --peer ./statsd_exporter --mapping-profile airflow-chart \\\n      \
    --write docs/benchmarks.md --svg docs/benchmarks.svg\n  \
    pitot-loadgen compare --pitot ./pitot --peer ./statsd_exporter --rounds 3 --rates 20k \\\n      \
    --pin-sender 0 --pin-exporter 1-3 --time-limit 5m\n\n\
    The first one makes the table of docs/benchmarks.md; it takes about eleven minutes.\n\
    Ctrl-C shows what was measured until then.")]
pub struct Args {
    /// Pitot [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    pitot: Option<PathBuf>,
    /// Flags for Pitot, separated by blanks
    #[arg(
        long,
        value_name = "FLAGS",
        value_delimiter = ' ',
        allow_hyphen_values = true
    )]
    pitot_args: Vec<String>,
    /// Exporter to compare with
    #[arg(long, value_name = "PATH")]
    peer: PathBuf,
    /// Flags for it, separated by blanks
    #[arg(
        long,
        value_name = "FLAGS",
        value_delimiter = ' ',
        allow_hyphen_values = true
    )]
    peer_args: Vec<String>,
    /// What to call it [default: the name of its file]
    #[arg(long, value_name = "NAME")]
    peer_name: Option<String>,
    /// Backends of the sinks to compare with [default: Pitot's own]
    #[arg(long, value_enum, value_name = "BACKENDS", value_delimiter = ',')]
    sinks: Vec<Backend>,
    /// How often to measure everything
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Receive buffers for all to ask for, everything once with each
    #[arg(long, value_name = "BYTES", value_delimiter = ',', value_parser = bytes::parse,
          default_value = "208k,4M")]
    read_buffers: Vec<usize>,
    #[command(flatten)]
    load: LoadArgs,
    /// End with the round during which this time has passed
    #[arg(long, value_parser = duration::parse)]
    time_limit: Option<Duration>,
    /// Write the table into this file, between its marks
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
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
    pub(super) machine: Machine,
    pub(super) sent: String,
    pub(super) rules: String,
    pub(super) subjects: Vec<Named>,
    pub(super) cells: Vec<Cell>,
    pub(super) rounds_asked: u32,
    interrupted: bool,
}

/// A subject, for the head of the table.
#[derive(Debug, Serialize)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) version: String,
    /// Flags beyond those that all get.
    pub(super) flags: String,
}

/// All steps of one subject with one buffer at one rate.
#[derive(Debug, Serialize)]
pub(super) struct Cell {
    /// As asked for, in bytes.
    pub(super) read_buffer: usize,
    pub(super) rate: f64,
    /// Its place in the list of subjects.
    pub(super) subject: usize,
    /// As granted, in bytes; empty if unknown.
    pub(super) granted: Vec<usize>,
    /// One a round.
    pub(super) steps: Vec<Step>,
}

/// Runs the subcommand.
pub fn run(args: &Args, interrupt: &Interrupt) -> Result<Report> {
    let payloads = args.load.payloads()?;
    let plan = args.load.plan();
    let subjects = subjects(args)?;
    let mut report = Report {
        machine: Machine::here(),
        sent: args.load.describe(&payloads),
        rules: args.load.rules.describe(),
        subjects: subjects.iter().map(Named::of).collect(),
        cells: cells(args, subjects.len()),
        rounds_asked: args.rounds,
        interrupted: false,
    };
    let begin = Instant::now();
    let total = report.cells.len() as u64 * u64::from(args.rounds);
    let mut progress = Progress::new("steps", Some(total));
    for round in 0..args.rounds {
        if args.time_limit.is_some_and(|limit| begin.elapsed() > limit) {
            break;
        }
        for index in order(report.cells.len(), subjects.len(), round) {
            let cell = &mut report.cells[index];
            let launch = Launch {
                read_buffer: Some(cell.read_buffer),
                ..subjects[cell.subject].clone()
            };
            progress.note(&format!(
                "round {}: {}, {:.0} lines/s, buffer {}",
                round + 1,
                launch.name,
                cell.rate,
                cell.read_buffer
            ));
            let subject = launch.start()?;
            plan.warm_up(&subject, &payloads, interrupt)?;
            let step = plan.step(&subject, &payloads, cell.rate, interrupt)?;
            if interrupt.is_set() {
                report.interrupted = true;
                return Ok(report);
            }
            cell.granted = subject.buffers();
            cell.steps.push(step);
            progress.at(report
                .cells
                .iter()
                .map(|cell| cell.steps.len() as u64)
                .sum());
        }
    }
    report.write(args)?;
    Ok(report)
}

/// The cells in the order of the table: by buffer, rate and subject.
fn cells(args: &Args, subjects: usize) -> Vec<Cell> {
    let mut cells = Vec::new();
    for read_buffer in &args.read_buffers {
        for rate in &args.load.rates {
            cells.extend((0..subjects).map(|subject| Cell {
                read_buffer: *read_buffer,
                rate: *rate,
                subject,
                granted: Vec::new(),
                steps: Vec::new(),
            }));
        }
    }
    cells
}

/// The order of cells in a round: those of one buffer and rate stay together,
/// and another subject begins each time.
fn order(cells: usize, subjects: usize, round: u32) -> Vec<usize> {
    let first = round as usize % subjects;
    (0..cells)
        .map(|place| {
            let group = place / subjects * subjects;
            group + (place - group + first) % subjects
        })
        .collect()
}

/// Pitot first, then its peer, then the sinks.
fn subjects(args: &Args) -> Result<Vec<Launch>> {
    let pitot = match &args.pitot {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("pitot"),
    };
    let rules = &args.load.rules;
    let launch = |name: String, program| Launch {
        name,
        program,
        read_buffer: None,
        cpus: args.load.pin_exporter.clone(),
    };
    let file_name = |path: &Path| {
        let name = path.file_name().unwrap_or(path.as_os_str());
        name.to_string_lossy().into_owned()
    };
    let peer = args.peer_name.clone();
    let peer = peer.unwrap_or_else(|| file_name(&args.peer));
    let pitot = launch(
        "Pitot".to_owned(),
        Program::exporter(&pitot, &args.pitot_args, rules)?,
    );
    let sinks = match args.sinks.is_empty() {
        true => vec![backend_of(&pitot)?],
        false => args.sinks.clone(),
    };
    let peer = launch(peer, Program::exporter(&args.peer, &args.peer_args, rules)?);
    let sinks = sinks.into_iter();
    let sinks = sinks.map(|sink| launch(format!("sink, {}", sink.name()), Program::Sink(sink)));
    Ok([pitot, peer].into_iter().chain(sinks).collect())
}

/// The backend that Pitot chooses here, from its page.
fn backend_of(pitot: &Launch) -> Result<Backend> {
    let page = pitot.start()?.page.page()?;
    let info = page.family("pitot_receive_backend_info");
    let labels = info.into_iter().flat_map(|family| &family.samples);
    let mut labels = labels.flat_map(|sample| &sample.key.labels);
    let backend = labels.find(|(name, _)| name == "backend");
    let (_, backend) = backend.context("Pitot does not say how it receives; give --sinks")?;
    Ok(match &**backend {
        "io_uring" => Backend::IoUring,
        _ => Backend::Recvmmsg,
    })
}

impl Named {
    fn of(launch: &Launch) -> Named {
        let flags = match &launch.program {
            Program::Exporter { args, .. } => args.join(" "),
            Program::Sink(_) => String::new(),
        };
        Named {
            name: launch.name.clone(),
            version: launch.version(),
            flags,
        }
    }
}

impl Cell {
    /// One number of each round.
    pub(super) fn spread(&self, of: impl Fn(&Step) -> f64) -> Spread {
        Spread::of(self.steps.iter().map(of))
    }

    /// CPU time a line, in microseconds.
    pub(super) fn cost(&self) -> Spread {
        self.spread(|step| step.cpu_us_per_line)
    }
}

impl Report {
    /// Whether all rounds were made.
    pub fn is_complete(&self) -> bool {
        !self.interrupted
    }

    /// Writes what is asked for. A run that was interrupted writes nothing, so
    /// that no file is left with half a table.
    fn write(&self, args: &Args) -> Result<()> {
        write_json(args.json.as_ref(), self)?;
        if let Some(path) = &args.svg {
            let cost = self.curves(args, |cell| cell.cost().median);
            let loss = self.curves(args, |cell| 100.0 * cell.spread(Step::loss).median);
            plot::draw(path, &cost, &loss)?;
        }
        if let Some(path) = &args.write {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            let text = markdown::replace(&text, &self.to_string());
            let text = text.with_context(|| path.display().to_string())?;
            std::fs::write(path, text)?;
        }
        Ok(())
    }

    fn curves(&self, args: &Args, of: impl Fn(&Cell) -> f64) -> Vec<Curve> {
        let mut curves = Vec::new();
        for read_buffer in &args.read_buffers {
            for (subject, named) in self.subjects.iter().enumerate() {
                let is_it =
                    |cell: &&Cell| cell.read_buffer == *read_buffer && cell.subject == subject;
                let cells = self.cells.iter().filter(is_it);
                curves.push(Curve {
                    name: format!("{}, {}", named.name, markdown::size(*read_buffer)),
                    points: cells.map(|cell| (cell.rate, of(cell))).collect(),
                });
            }
        }
        curves
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        markdown::write(f, self)?;
        if self.interrupted {
            writeln!(f, "\nInterrupted; the step under way is left out.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_begins_in_turn() {
        assert_eq!(order(6, 3, 0), [0, 1, 2, 3, 4, 5]);
        assert_eq!(order(6, 3, 1), [1, 2, 0, 4, 5, 3]);
        assert_eq!(order(6, 3, 5), [2, 0, 1, 5, 3, 4]);
    }
}
