//! The table of docs/airflow.md, made from the profile and the catalogue. Where
//! they have drifted apart, `PITOT_BLESS=1` writes the table anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use super::catalogue::{Mode, SETUPS, Version, entries, map, mapper};

const START: &str = "<!-- The table is made by tests/it/airflow/reference.rs -->\n";
const END: &str = "<!-- End of the table -->\n";

/// What the table tells of a metric.
#[derive(Default)]
struct Row {
    kind: &'static str,
    help: String,
    /// Airflow's names.
    names: BTreeSet<String>,
    versions: BTreeSet<&'static str>,
    /// Labels of plain StatsD.
    plain: BTreeSet<String>,
    /// Labels of senders with tags.
    tagged: BTreeSet<String>,
}

#[test]
fn the_table_is_that_of_the_profile() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/airflow.md");
    let text = std::fs::read_to_string(&path).expect("the document");
    let (before, rest) = text.split_once(START).expect("the start of the table");
    let (found, after) = rest.split_once(END).expect("the end of the table");
    let table = table();
    if std::env::var_os("PITOT_BLESS").is_some() {
        let text = format!("{before}{START}{table}{END}{after}");
        std::fs::write(&path, text).expect("the document is written");
    } else {
        assert!(found == table, "PITOT_BLESS=1 writes docs/airflow.md anew");
    }
}

fn table() -> String {
    let mut table = String::from(
        "\n| metric | type | labels | with tags also | Airflow | what it tells |\n|---|---|---|---|---|---|\n",
    );
    let code = |words: &mut dyn Iterator<Item = &String>| {
        let words: Vec<String> = words.map(|word| format!("`{word}`")).collect();
        words.join(" ")
    };
    for (metric, row) in rows() {
        let versions: Vec<&str> = row.versions.iter().copied().collect();
        let plain = code(&mut row.plain.iter());
        let tagged = code(&mut row.tagged.difference(&row.plain));
        let names = code(&mut row.names.iter());
        writeln!(
            table,
            "| `{metric}` | {} | {plain} | {tagged} | {}: {names} | {} |",
            row.kind,
            versions.join(", "),
            row.help,
        )
        .expect("a string takes all");
    }
    table.push('\n');
    table
}

fn rows() -> BTreeMap<String, Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (version, mode) in SETUPS {
        let mapper = mapper(version, mode);
        for entry in entries() {
            let lines = entry.lines(version, mode).unwrap_or_default();
            for outcome in lines.iter().filter_map(|line| map(&mapper, line)) {
                let metric = match &*entry.name {
                    name if name.contains("{sysinfo_key}") => "airflow_edge_worker_…".to_owned(),
                    _ => outcome.metric,
                };
                let row = rows.entry(metric).or_default();
                row.kind = outcome.kind;
                row.help = outcome.help;
                row.names.insert(entry.name.clone());
                row.versions.insert(match version {
                    Version::Two => "2",
                    Version::Three => "3",
                });
                match mode {
                    Mode::Plain => row.plain.extend(outcome.labels),
                    _ => row.tagged.extend(outcome.labels),
                }
            }
        }
    }
    rows
}
