//! `pitot-loadgen`: a table of contents. Each subcommand is a module of the
//! library.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use pitot_loadgen::interrupt::Interrupt;
use pitot_loadgen::{bench, diff, record, replay, sink, stats, synth, verify};

/// Records, replays and checks StatsD traffic.
#[derive(Debug, Parser)]
#[command(name = "pitot-loadgen", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a trace of what arrives at a port, or of a packet capture
    Record(record::Args),
    /// Send a captured trace again, at any speed and in any number
    Replay(replay::Args),
    /// Make the traffic of an Airflow cluster that does not exist
    Synth(synth::Args),
    /// Say what traces consist of, side by side
    Stats(stats::Args),
    /// Send a trace and prove that all of it arrived
    Verify(Box<verify::Args>),
    /// Receive datagrams and only count them
    Sink(sink::Args),
    /// Measure what an exporter costs and loses at rising rates
    Bench(Box<bench::Args>),
    /// Measure Pitot, another exporter and a bare sink by turns
    Compare(Box<bench::compare::Args>),
    /// Send the same to two exporters and compare their pages
    Diff(diff::Args),
}

fn main() -> ExitCode {
    run(Cli::parse()).unwrap_or_else(|error| {
        eprintln!("pitot-loadgen: {error:#}");
        ExitCode::from(2)
    })
}

/// Success, or 1 if the work was done and what it found is bad.
fn run(cli: Cli) -> Result<ExitCode> {
    let interrupt = Interrupt::on_signals()?;
    match cli.command {
        Command::Record(args) => {
            let report = record::run(&args, &interrupt)?;
            finish(&report, true)
        }
        Command::Replay(args) => {
            let report = replay::run(&args, &interrupt)?;
            finish(&report, report.is_complete())
        }
        Command::Synth(args) => {
            let report = synth::run(&args, &interrupt)?;
            finish(&report, report.is_complete())
        }
        Command::Stats(args) => finish(&stats::run(&args)?, true),
        Command::Verify(args) => {
            let report = verify::run(&args, &interrupt)?;
            finish(&report, report.is_clean())
        }
        Command::Sink(args) => {
            let report = sink::run(&args, &interrupt)?;
            finish(&report, true)
        }
        Command::Bench(args) => {
            let report = bench::run(&args, &interrupt)?;
            finish(&report, report.is_clean())
        }
        Command::Compare(args) => {
            let report = bench::compare::run(&args, &interrupt)?;
            finish(&report, report.is_complete())
        }
        Command::Diff(args) => {
            let report = diff::run(&args, &interrupt)?;
            finish(&report, report.is_clean())
        }
    }
}

fn finish(report: &impl Display, is_good: bool) -> Result<ExitCode> {
    write!(io::stdout(), "{report}")?;
    Ok(ExitCode::from(u8::from(!is_good)))
}
