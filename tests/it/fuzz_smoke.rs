//! The checks of the fuzz targets, on a million mutated lines and ten thousand
//! mutated mapping files, seeded, so that every run does the same.
//!
//! The inputs begin as what the conformance cases send and load; mutation keeps
//! them near the grammar, where the branches are. `PITOT_FUZZ_SEED` starts
//! elsewhere.

use std::fs;
use std::path::Path;

use pitot_loadgen::scrape::Page;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::Value;

use crate::checks;
use crate::harness::data;

const LINES: usize = 1_000_000;
const MAPPING_FILES: usize = 10_000;

/// Series pile up with invented names, so the exporters start anew after so
/// many lines.
const LINES_EACH: usize = 20_000;

/// Lines in a datagram, at most.
const LINES_TOGETHER: usize = 4;

/// Bytes that mean something to a line or to a mapping file.
const LINE_BYTES: &[u8] = b":|#@,=[].+-_eExXpP0123456789cgmshdT\n\r\xc3\xa9\xff \"\\";
const FILE_BYTES: &[u8] = b":-{}[]'\"#&*!|>%@$\\?,. \n\t\r0a_()^+~\xc3\xa9\xff";

#[test]
fn mutated_lines() {
    let seeds = lines(&data().join("conformance"));
    assert!(seeds.len() > 1000, "{} lines to begin with", seeds.len());
    let mut random = seeded();
    let mut fed = 0;
    while fed < LINES {
        let mut twins = checks::Twins::new(MAPPING);
        let end = fed + LINES_EACH;
        while fed < end {
            let count = random.random_range(1..=LINES_TOGETHER);
            let lines: Vec<Vec<u8>> = (0..count)
                .map(|_| mutate(&seeds, LINE_BYTES, &mut random))
                .collect();
            twins.datagram(&lines.join(&b'\n'));
            fed += count;
        }
        twins.check();
        Page::parse(&twins.page()).expect("a page that Prometheus reads");
    }
}

#[test]
fn mutated_mapping_files() {
    let seeds = mappings(&data().join("conformance"));
    assert!(seeds.len() > 100, "{} files to begin with", seeds.len());
    let mut random = seeded();
    for _ in 0..MAPPING_FILES {
        let file = mutate(&seeds, FILE_BYTES, &mut random);
        checks::mapping(
            &file,
            &["a.b", "a.b.c", "airflow.dag.x.y.duration", "*", ""],
        );
    }
}

/// Rules of every kind, on the names that the seeds like best.
const MAPPING: &str = r"
learn:
- {fact: told, match: '^c', match_tags: t}
- {dag_id: '$1', match: '^[a-c]\.(.+\..+)'}
mappings:
- {match: e, when: told, name: ee, gauge_signs: by_dialect}
- {match: e, match_tags: t, name: et, rename_tags: {t: tt}, drop_tags: u, scale_when: [{when: told, scale: 2}]}
- {match: f, name: ff, drop_negative: true}
- {match: '^[a-f]\.(.+\..+)$', match_type: regex, name: parted, dag_and_task: '$1'}
- {match: a.*, name: 'a_$1', labels: {one: '$1'}}
- {match: 'b', name: bb, observer_type: histogram, labels: {le: x}, match_metric_type: gauge}
- {match: '^([a-z])\.?(\d*)$', match_type: regex, name: 'rx_$1', labels: {two: '$2'}, observer_type: histogram}
- {match: x.*.*, name: 'x_${2}', honor_labels: true, labels: {tag: rule}, scale: 0.5}
- {match: d, name: dd, action: drop}
";

fn seeded() -> SmallRng {
    let seed = std::env::var("PITOT_FUZZ_SEED")
        .map_or(1, |seed| seed.parse().expect("PITOT_FUZZ_SEED is a number"));
    SmallRng::seed_from_u64(seed)
}

/// A seed with up to six small changes.
fn mutate(seeds: &[Vec<u8>], bytes: &[u8], random: &mut SmallRng) -> Vec<u8> {
    let pick = |random: &mut SmallRng| seeds[random.random_range(0..seeds.len())].clone();
    let mut text = pick(random);
    for _ in 0..random.random_range(0..=6) {
        let at = random.random_range(0..=text.len());
        let end = random.random_range(at..=text.len().min(at + 8));
        match random.random_range(0..6) {
            0 => drop(text.drain(at..end)),
            1 => {
                let copy = text[at..end].to_vec();
                text.splice(at..at, copy);
            }
            2 => {
                let other = pick(random);
                let from = random.random_range(0..=other.len());
                text.splice(at..end, other[from..].iter().take(24).copied());
            }
            3 if at < text.len() => text[at] = random.next_u32() as u8,
            _ => text.insert(at, bytes[random.random_range(0..bytes.len())]),
        }
    }
    text
}

/// All lines that the cases send.
fn lines(cases: &Path) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    for case in read_cases(cases) {
        let steps = case["steps"].as_array().into_iter().flatten();
        let sends = steps.flat_map(|step| ["udp", "tcp", "unixgram"].map(|verb| &step[verb]));
        for payload in sends.filter_map(Value::as_array).flatten() {
            let bytes = latin1(payload.as_str().unwrap_or_default());
            lines.extend(bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
        }
    }
    // A few cases send thousands of lines, or very long ones.
    lines.retain(|line| line.len() <= 512);
    lines.sort();
    lines.dedup();
    lines
}

/// All mapping files that the cases load.
fn mappings(cases: &Path) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for case in read_cases(cases) {
        let of = |key: &str| case[key].as_array().cloned().unwrap_or_default();
        let all = [vec![case.clone()], of("steps"), of("runs")].concat();
        let texts = all.iter().filter_map(|part| part["mapping"].as_str());
        files.extend(texts.map(latin1));
    }
    files.sort();
    files.dedup();
    files
}

fn read_cases(directory: &Path) -> Vec<Value> {
    let mut cases = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory of cases") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            cases.extend(read_cases(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let text = fs::read_to_string(&path).expect("a case");
            cases.push(serde_json::from_str(&text).expect("a case is JSON"));
        }
    }
    cases
}

/// Cases write each byte as the character of its number.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u8).collect()
}
