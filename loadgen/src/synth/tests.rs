//! Histories of small clusters.

use std::collections::HashMap;

use clap::Parser;

use super::*;
use crate::send::Next;
use crate::trace::Trace;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

/// All that a cluster sends: when, from whom, what.
fn all(flags: &[&str]) -> Vec<(Next, String)> {
    let cli = Cli::try_parse_from([&["synth", "--out", "-"], flags].concat()).expect("flags");
    let mut model = Model::new(&cli.args.shape);
    let next = || {
        let mut payload = Vec::new();
        let next = model.next(&mut payload)?;
        Some((next, String::from_utf8(payload).expect("text")))
    };
    std::iter::from_fn(next).collect()
}

const SMALL: [&str; 8] = [
    "--dags",
    "12",
    "--duration",
    "60s",
    "--task-seconds",
    "1",
    "--task-rate",
    "3",
];

#[test]
fn a_seed_makes_the_same_lines() {
    for version in ["2", "3"] {
        for tags in ["none", "datadog", "influxdb"] {
            let flags = [&SMALL[..], &["--version", version, "--tags", tags]].concat();
            let first = all(&flags);
            assert!(first.len() > 2000, "{version} {tags}: {}", first.len());
            assert!(first.is_sorted_by_key(|(next, _)| next.at));
            assert_eq!(first, all(&flags));
            assert_ne!(first, all(&[&flags[..], &["--seed", "2"]].concat()));
        }
    }
}

#[test]
fn lines_are_good() {
    use pitot::statsd::{Dialects, Tally, for_each_line, parse_line};
    for version in ["2", "3"] {
        for tags in ["none", "datadog", "influxdb"] {
            let flags = [&SMALL[..], &["--version", version, "--tags", tags]].concat();
            for (_, payload) in all(&flags) {
                let mut tally = Tally::default();
                let mut samples = 0;
                for_each_line(payload.as_bytes(), |line| {
                    parse_line(line, &Dialects::ALL, &mut tally, |_| samples += 1);
                });
                assert!(samples > 0, "{payload}");
                assert_eq!(payload.ends_with('\n'), tags == "datadog", "{payload}");
            }
        }
    }
}

/// How many datagrams each source sends.
fn sources(all: &[(Next, String)]) -> HashMap<u64, usize> {
    let mut sources = HashMap::new();
    for (next, _) in all {
        *sources.entry(next.source).or_default() += 1;
    }
    sources
}

#[test]
fn tasks_of_airflow_3_have_short_lives() {
    let found = all(&SMALL);
    let sources = sources(&found);
    let nine = sources.values().filter(|&&count| count == 9).count();
    assert!(nine * 2 > sources.len(), "{nine} of {}", sources.len());
    let mut over = std::collections::HashSet::new();
    for (next, line) in &found {
        assert!(!over.contains(&next.source), "{line}");
        if next.is_last_of_source {
            over.insert(next.source);
        }
    }
    assert!(over.len() > 50);
}

#[test]
fn airflow_2_has_few_sources() {
    let local = sources(&all(&[&SMALL[..], &["--version", "2"]].concat()));
    assert_eq!(local.len(), 3, "two schedulers and a triggerer");
    let flags = [&SMALL[..], &["--version", "2", "--workers", "5"]].concat();
    assert_eq!(sources(&all(&flags)).len(), 8);
}

#[test]
fn a_large_cluster_keeps_its_rate() {
    let flags = ["--dags", "2000", "--task-rate", "100", "--duration", "60s"];
    let flags = [&flags[..], &["--task-seconds", "5", "--schedulers", "4"]].concat();
    let starts = all(&flags)
        .iter()
        .filter(|(_, line)| line.starts_with("airflow.ti.start:"))
        .count();
    assert!((3000..9000).contains(&starts), "{starts}");
}

#[test]
fn it_can_be_written_to_a_trace() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("synth.jsonl.gz");
    let path = path.to_str().expect("text");
    let flags = [&["synth", "--out", path][..], &SMALL].concat();
    let cli = Cli::try_parse_from(flags).expect("flags");
    let report = run(&cli.args, &Interrupt::default()).expect("written");
    assert!(report.to_string().contains("sources"), "{report}");
    let trace = Trace::read(Path::new(path)).expect("a trace");
    let texts = trace.datagrams().map(|(d, _)| d.payload.to_vec());
    let texts: Vec<Vec<u8>> = texts.collect();
    let made: Vec<Vec<u8>> = all(&SMALL)
        .into_iter()
        .map(|(_, text)| text.into_bytes())
        .collect();
    assert_eq!(texts, made);
}
