//! The table of a comparison, and where it stands in a document.

use std::fmt::{self, Write};

use anyhow::{Context, Result};

use super::compare::{Cell, Report};
use super::stats::Spread;
use super::step::Step;
use super::table;

/// What surrounds the part of a document that is written by `compare`.
const BEGIN: &str = "<!-- compare: begin -->\n";
const END: &str = "<!-- compare: end -->";

/// Puts a table in the place of the one that a document has.
pub(super) fn replace(document: &str, table: &str) -> Result<String> {
    let marks = || format!("no lines {:?} and {END:?} to write between", BEGIN.trim());
    let (before, rest) = document.split_once(BEGIN).with_context(marks)?;
    let (_, after) = rest.split_once(END).with_context(marks)?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

/// The whole of a comparison.
pub(super) fn write(f: &mut impl Write, report: &Report) -> fmt::Result {
    write!(f, "Machine: ")?;
    table::head(f, &report.machine)?;
    writeln!(f, "\nLoad: {}; rules: {}\n", report.sent, report.rules)?;
    for named in &report.subjects {
        write!(f, "- {}: {}", named.name, named.version)?;
        match &*named.flags {
            "" => writeln!(f)?,
            flags => writeln!(f, ", with `{flags}`")?,
        }
    }
    let rounds = report.cells.iter().map(|cell| cell.steps.len());
    let (least, most) = (rounds.clone().min().unwrap_or(0), rounds.max().unwrap_or(0));
    let rounds = match least == most {
        true => format!("{most}"),
        false => format!("{least} to {most}"),
    };
    writeln!(
        f,
        "\nMedians of {rounds} of {} rounds, with (least..most).",
        report.rounds_asked
    )?;
    let by_buffer = report.cells.chunk_by(|a, b| a.read_buffer == b.read_buffer);
    for cells in by_buffer {
        buffer(f, report, cells)?;
    }
    Ok(())
}

/// The table of one buffer size.
fn buffer(f: &mut impl Write, report: &Report, cells: &[Cell]) -> fmt::Result {
    let asked = cells.first().map_or(0, |cell| cell.read_buffer);
    let granted: Vec<String> = report
        .subjects
        .iter()
        .enumerate()
        .map(|(index, named)| {
            let of = cells
                .iter()
                .find(|cell| cell.subject == index && !cell.granted.is_empty());
            let granted = of.and_then(|cell| cell.granted.first());
            let granted = granted.map_or("unknown".to_owned(), |bytes| size(*bytes));
            format!("{} {granted}", named.name)
        })
        .collect();
    writeln!(
        f,
        "\n### Receive buffer: {} asked for\n\nGranted, as the kernel counts: {}.\n",
        size(asked),
        granted.join(", ")
    )?;
    writeln!(
        f,
        "| lines/s | subject | CPU µs a line | user + system | times Pitot's | lost % | \
         scrape ms, p50 / p99 | MiB | remarks |\n|---|---|---|---|---|---|---|---|---|"
    )?;
    for cells in cells.chunk_by(|a, b| a.rate == b.rate) {
        let pitot = cells.first().map_or(0.0, |cell| cell.cost().median);
        for cell in cells.iter().filter(|cell| !cell.steps.is_empty()) {
            row(f, report, cell, pitot)?;
        }
    }
    Ok(())
}

fn row(f: &mut impl Write, report: &Report, cell: &Cell, pitot: f64) -> fmt::Result {
    let cost = cell.cost();
    let steps: Vec<&Step> = cell.steps.iter().collect();
    let split = match table::split(cost.median, &steps) {
        Some([user, system]) => format!("{user:.2} + {system:.2}"),
        None => "?".to_owned(),
    };
    let times = match pitot > 0.0 {
        true => format!("{:.2}", cost.median / pitot),
        false => "?".to_owned(),
    };
    let scrape = |place: usize| {
        let of = |step: &Step| step.scrape_us.map(|us| us[place] as f64 / 1e3);
        Spread::of(cell.steps.iter().filter_map(of)).median
    };
    let mib = cell.spread(|step| step.resident_bytes as f64).median / f64::from(1 << 20);
    writeln!(
        f,
        "| {} | {} | {} | {split} | {times} | {} | {:.1} / {:.1} | {mib:.1} | {} |",
        thousands(cell.rate),
        report.subjects[cell.subject].name,
        spread(cost, 2),
        spread(cell.spread(|step| 100.0 * step.loss()), 2),
        scrape(0),
        scrape(1),
        remarks(cell)
    )
}

/// What any of the steps has to say, each once.
fn remarks(cell: &Cell) -> String {
    let mut all: Vec<String> = Vec::new();
    for step in &cell.steps {
        let remarks = step.remarks();
        let new = remarks.split("; ").filter(|remark| !remark.is_empty());
        for remark in new {
            if !all.iter().any(|known| known == remark) {
                all.push(remark.to_owned());
            }
        }
    }
    all.join("; ")
}

fn spread(spread: Spread, digits: usize) -> String {
    let Spread { median, min, max } = spread;
    if min == max {
        // Zero above all is exact.
        let digits = if median == 0.0 { 0 } else { digits };
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} ({min:.digits$}..{max:.digits$})")
}

/// Bytes in the largest unit that fits.
pub(super) fn size(bytes: usize) -> String {
    match bytes {
        0 => "default".to_owned(),
        bytes if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        bytes if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} bytes"),
    }
}

fn thousands(number: f64) -> String {
    indicatif::HumanCount(number as u64).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_between_the_marks_is_replaced() {
        let document = format!("a\n{BEGIN}old\n{END}\nb\n");
        let replaced = replace(&document, "new\n").expect("marks");
        assert_eq!(replaced, format!("a\n{BEGIN}new\n{END}\nb\n"));
        assert_eq!(replace(&replaced, "new\n").expect("marks"), replaced);
        assert!(replace("a\n", "new\n").is_err());
    }

    #[test]
    fn numbers() {
        let of = |values: &[f64]| spread(Spread::of(values.iter().copied()), 2);
        assert_eq!(of(&[0.0, 0.0]), "0");
        assert_eq!(of(&[7.7]), "7.70");
        assert_eq!(of(&[1.0, 2.0, 4.0]), "2.00 (1.00..4.00)");
        for (bytes, text) in [
            (0, "default"),
            (212_992, "208 KiB"),
            (8 << 20, "8 MiB"),
            (1001, "1001 bytes"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
