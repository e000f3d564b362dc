//! `diff`: the same input to Pitot and to its peer, and every difference between
//! their pages.
//!
//! The input is captured traces, or rounds of random lines under random mapping
//! files. A round that shows a difference is cut down to what shows it and
//! printed as a conformance case.

mod minimise;
mod pair;
mod random;

use std::fmt;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, ensure};

use crate::case::Case;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::replay::Speed;
use crate::trace::Trace;
use minimise::minimise;
use pair::{Binaries, Outcome, Setup, Timed, Transport};
use random::Round;

/// Rounds that may differ before the rest is left alone.
const ROUNDS_DIFFERING_MAX: usize = 5;

/// Differences shown of each input.
const SHOWN: usize = 20;

/// Command line of `diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pitot-loadgen diff --peer ./statsd_exporter --trace cluster.jsonl.gz --mapping airflow.yml\n  \
    pitot-loadgen diff --peer ./statsd_exporter --random 1000 --seed 7\n\n\
    The exit status is 1 if there is a difference. Round n of seed s is round 1 of seed s+n-1.")]
pub struct Args {
    /// Exporter to compare with
    #[arg(long, value_name = "PATH")]
    peer: PathBuf,
    /// Exporter under test [default: pitot beside this program]
    #[arg(long, value_name = "PATH")]
    pitot: Option<PathBuf>,
    /// Captured trace to send, each to fresh exporters
    #[arg(long, value_name = "FILE")]
    trace: Vec<PathBuf>,
    /// Mapping file for the traces
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
    /// How many times as fast as captured to send the traces, or max
    #[arg(long, default_value = "max")]
    speed: Speed,
    /// Send the traces over TCP instead of UDP
    #[arg(long)]
    tcp: bool,
    /// How many rounds of random lines and rules to play
    #[arg(long, default_value_t = 0, value_name = "ROUNDS")]
    random: u64,
    /// Where the random rounds begin [default: the time]
    #[arg(long)]
    seed: Option<u64>,
}

/// What was compared, and how it differs.
#[derive(Debug, Default)]
pub struct Report {
    inputs: u64,
    refused: u64,
    findings: Vec<Finding>,
    interrupted: bool,
}

/// One input that is worth a word.
#[derive(Debug)]
struct Finding {
    input: String,
    outcome: Outcome,
    case: Option<Case>,
}

/// Runs the subcommand.
pub fn run(args: &Args, interrupt: &Interrupt) -> Result<Report> {
    ensure!(
        !args.trace.is_empty() || args.random > 0,
        "nothing to send: give --trace or --random"
    );
    let pitot = match &args.pitot {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("pitot"),
    };
    let peer = args.peer.clone();
    for path in [&pitot, &peer] {
        ensure!(path.exists(), "{} does not exist", path.display());
    }
    let diff = Diff {
        binaries: Binaries { pitot, peer },
        interrupt,
    };
    let mut report = Report::default();
    let done = diff.traces(args, &mut report);
    match done.and_then(|()| diff.random_rounds(args, &mut report)) {
        Err(_) if interrupt.is_set() => report.interrupted = true,
        done => done?,
    }
    Ok(report)
}

struct Diff<'a> {
    binaries: Binaries,
    interrupt: &'a Interrupt,
}

impl Diff<'_> {
    fn traces(&self, args: &Args, report: &mut Report) -> Result<()> {
        let mapping = args.mapping.as_ref().map(|path| {
            let text = std::fs::read(path);
            text.with_context(|| path.display().to_string())
        });
        let setup = Setup {
            flags: Vec::new(),
            mapping: mapping.transpose()?,
        };
        let transport = if args.tcp {
            Transport::Tcp
        } else {
            Transport::Udp
        };
        for path in &args.trace {
            let trace = Trace::read(path)?;
            let mut progress = Progress::new("datagrams", Some(trace.len() as u64));
            let datagrams = trace.datagrams().zip(1..).map(|((datagram, _), count)| {
                progress.at(count);
                (args.speed.due(datagram.at), datagram.payload)
            });
            let outcome = self.run(&setup, transport, datagrams)?;
            report.add(path.display().to_string(), outcome, None);
        }
        Ok(())
    }

    fn random_rounds(&self, args: &Args, report: &mut Report) -> Result<()> {
        let first = match args.seed {
            Some(seed) => seed,
            None => UNIX_EPOCH.elapsed()?.as_secs(),
        };
        let mut progress = Progress::new("rounds", Some(args.random));
        let mut differing = 0;
        for (seed, done) in (first..).zip(0..args.random) {
            progress.at(done);
            let round = Round::random(seed);
            let outcome = self.play(&round)?;
            if outcome.differences.is_empty() {
                report.add(format!("seed {seed}"), outcome, None);
                continue;
            }
            progress.note(&format!("seed {seed} differs, making it smaller"));
            let mut found = (round, outcome);
            let done = self.minimise(&mut found);
            let (round, outcome) = found;
            let case = round.case(&outcome);
            report.add(format!("seed {seed}"), outcome, Some(case));
            done?;
            differing += 1;
            if differing == ROUNDS_DIFFERING_MAX {
                break;
            }
        }
        Ok(())
    }

    /// Leaves out of a round what its difference does not need. After an error
    /// it holds the smallest that was found until then.
    fn minimise(&self, found: &mut (Round, Outcome)) -> Result<()> {
        let mut round = found.0.clone();
        let mut shows = |candidate: &Round| -> Result<bool> {
            let outcome = self.play(candidate)?;
            let differs = !outcome.differences.is_empty();
            if differs {
                *found = (candidate.clone(), outcome);
            }
            Ok(differs)
        };
        fewer(&mut round, |round| &mut round.datagrams, &mut shows)?;
        let single = round.with_single_lines();
        if shows(&single)? {
            round = single;
            fewer(&mut round, |round| &mut round.datagrams, &mut shows)?;
        }
        fewer(&mut round, |round| &mut round.rules.rules, &mut shows)?;
        fewer(&mut round, |round| &mut round.flags, &mut shows)?;
        for simpler in [round.without_mapping(), round.without_defaults()] {
            if shows(&simpler)? {
                break;
            }
        }
        Ok(())
    }

    fn play(&self, round: &Round) -> Result<Outcome> {
        let datagrams = round.datagrams.iter().map(|datagram| (None, &datagram[..]));
        self.run(&round.setup(), round.transport, datagrams)
    }

    fn run<'a>(
        &self,
        setup: &Setup,
        transport: Transport,
        datagrams: impl Iterator<Item = Timed<'a>>,
    ) -> Result<Outcome> {
        let outcome = pair::run(&self.binaries, setup, transport, datagrams, self.interrupt)?;
        // Ctrl-C ends the exporters too, which is no difference.
        self.interrupt.check()?;
        Ok(outcome)
    }
}

/// Minimises one part of a round.
fn fewer<T: Clone>(
    round: &mut Round,
    part: fn(&mut Round) -> &mut Vec<T>,
    shows: &mut impl FnMut(&Round) -> Result<bool>,
) -> Result<()> {
    let kept = minimise(part(round).clone(), |items| {
        let mut candidate = round.clone();
        *part(&mut candidate) = items.to_vec();
        shows(&candidate)
    })?;
    *part(round) = kept;
    Ok(())
}

// === impl Report ===

impl Report {
    /// Whether everything was compared and nothing differs.
    pub fn is_clean(&self) -> bool {
        let differs = |finding: &Finding| !finding.outcome.differences.is_empty();
        !self.interrupted && !self.findings.iter().any(differs)
    }

    fn add(&mut self, input: String, outcome: Outcome, case: Option<Case>) {
        self.inputs += 1;
        self.refused += u64::from(outcome.refused);
        if !(outcome.differences.is_empty() && outcome.estimates.is_empty()) {
            self.findings.push(Finding {
                input,
                outcome,
                case,
            });
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let Outcome {
                differences,
                estimates,
                ..
            } = &finding.outcome;
            writeln!(f, "{}: {} differences", finding.input, differences.len())?;
            list(f, differences)?;
            if !estimates.is_empty() {
                writeln!(
                    f,
                    "  {} estimates, within what they promise:",
                    estimates.len()
                )?;
                list(f, estimates)?;
            }
            if let Some(case) = &finding.case {
                let case = serde_json::to_string_pretty(case).map_err(|_| fmt::Error)?;
                writeln!(f, "{case}")?;
            }
        }
        let (inputs, refused) = (self.inputs, self.refused);
        writeln!(
            f,
            "{inputs} inputs compared, {refused} of them refused by both"
        )?;
        if self.interrupted {
            writeln!(f, "Interrupted before the end.")?;
        }
        Ok(())
    }
}

fn list(f: &mut fmt::Formatter<'_>, sentences: &[String]) -> fmt::Result {
    for sentence in sentences.iter().take(SHOWN) {
        writeln!(f, "  {sentence}")?;
    }
    match sentences.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => writeln!(f, "  and {more} more"),
    }
}
