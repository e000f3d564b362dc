//! `stats`: what traces consist of, side by side, so that a made one can be held
//! against a captured one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::airflow::Names;
use crate::send::lines;
use crate::trace::{Datagram, Trace};

/// Shorter lives are those of tasks.
const SHORT_LIFE: Duration = Duration::from_secs(10);

/// Command line of `stats`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example, a made cluster beside a captured one:\n  \
    pitot-loadgen synth --out made.jsonl.gz --tags datadog\n  \
    pitot-loadgen stats captured.jsonl.gz made.jsonl.gz\n\n\
    The table is Markdown. Name shapes have * for names of DAGs, tasks and so on.")]
pub struct Args {
    /// Traces, .jsonl or .jsonl.gz
    #[arg(required = true)]
    traces: Vec<PathBuf>,
    /// How many name shapes to list
    #[arg(long, default_value_t = 30)]
    top: usize,
    /// What metric names begin with
    #[arg(long, default_value = "airflow")]
    prefix: String,
}

/// The numbers of some traces.
#[derive(Debug)]
pub struct Report {
    columns: Vec<(String, Stats)>,
    top: usize,
}

/// The numbers of one trace.
#[derive(Debug, Default)]
pub struct Stats {
    datagrams: u64,
    lines: u64,
    span: Duration,
    multi_line: u64,
    lines_max: u64,
    /// In bytes, in order.
    sizes: Vec<usize>,
    types: BTreeMap<String, u64>,
    shapes: HashMap<String, u64>,
    segments: u64,
    names: HashSet<String>,
    tagged: u64,
    sources: HashMap<u16, Life>,
}

#[derive(Debug)]
struct Life {
    first: Duration,
    last: Duration,
    datagrams: u64,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Report> {
    let names = Names::new(&args.prefix);
    let mut columns = Vec::new();
    for path in &args.traces {
        let stem = path.file_name().unwrap_or_default().to_string_lossy();
        let stem = stem.split(".jsonl").next().unwrap_or_default().to_owned();
        columns.push((stem, Stats::of(&Trace::read(path)?, &names)));
    }
    Ok(Report {
        columns,
        top: args.top,
    })
}

impl Stats {
    /// Counts a trace.
    pub fn of(trace: &Trace, names: &Names) -> Stats {
        let mut stats = Stats {
            span: trace.span(),
            ..Stats::default()
        };
        for (datagram, _) in trace.datagrams() {
            stats.datagram(&datagram, names);
        }
        stats.sizes.sort_unstable();
        stats
    }

    fn datagram(&mut self, datagram: &Datagram<'_>, names: &Names) {
        let count = lines(datagram.payload);
        self.datagrams += 1;
        self.lines += count;
        self.multi_line += u64::from(count > 1);
        self.lines_max = self.lines_max.max(count);
        self.sizes.push(datagram.payload.len());
        let life = self.sources.entry(datagram.source).or_insert(Life {
            first: datagram.at,
            last: datagram.at,
            datagrams: 0,
        });
        life.last = datagram.at;
        life.datagrams += 1;
        let text = String::from_utf8_lossy(datagram.payload);
        for line in text.lines() {
            self.line(line, names);
        }
    }

    fn line(&mut self, line: &str, names: &Names) {
        let (name, rest) = line.split_once(':').unwrap_or((line, ""));
        let mut sections = rest.split('|').skip(1);
        let stat_type = sections.next().unwrap_or("none").to_owned();
        *self.types.entry(stat_type).or_default() += 1;
        let bare = name.split(',').next().unwrap_or_default();
        let has_tags = bare != name || sections.any(|section| section.starts_with('#'));
        self.tagged += u64::from(has_tags);
        self.segments += bare.split('.').count() as u64;
        let shape = names
            .shape(bare)
            .unwrap_or_else(|| "(user code)".to_owned());
        *self.shapes.entry(shape).or_default() += 1;
        if !self.names.contains(bare) {
            self.names.insert(bare.to_owned());
        }
    }

    fn size_at(&self, quantile: f64) -> usize {
        let last = self.sizes.len().saturating_sub(1);
        let index = (last as f64 * quantile).round() as usize;
        self.sizes.get(index).copied().unwrap_or_default()
    }

    /// Percent of the lines.
    fn share(&self, count: u64) -> String {
        format!("{:.1} %", count as f64 * 100.0 / self.lines.max(1) as f64)
    }

    /// Percent of the datagrams that come from the busiest sources.
    fn busiest(&self, count: usize) -> String {
        let mut all: Vec<u64> = self.sources.values().map(|life| life.datagrams).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        let sum: u64 = all.iter().take(count).sum();
        format!("{:.1} %", sum as f64 * 100.0 / self.datagrams.max(1) as f64)
    }

    fn median(mut numbers: Vec<f64>) -> f64 {
        numbers.sort_unstable_by(f64::total_cmp);
        numbers.get(numbers.len() / 2).copied().unwrap_or_default()
    }

    fn lives(&self) -> impl Iterator<Item = Duration> {
        self.sources
            .values()
            .map(|life| life.last.saturating_sub(life.first))
    }

    /// The rows that are not shapes.
    fn rows(&self) -> Vec<(String, String)> {
        let per_second = self.datagrams as f64 / self.span.as_secs_f64().max(1e-9);
        let row = |name: &str, value: String| (name.to_owned(), value);
        let mut rows = vec![
            row("datagrams", self.datagrams.to_string()),
            row("a second", format!("{per_second:.0}")),
            row("lines a datagram, most", self.lines_max.to_string()),
            row("datagrams of several lines", self.multi_line.to_string()),
        ];
        for stat_type in ["c", "g", "ms"] {
            let count = self.types.get(stat_type).copied().unwrap_or_default();
            rows.push((format!("type {stat_type}"), self.share(count)));
        }
        for (quantile, name) in [(0.5, "median"), (0.9, "p90"), (0.99, "p99"), (1.0, "most")] {
            rows.push((format!("bytes, {name}"), self.size_at(quantile).to_string()));
        }
        let segments = self.segments as f64 / self.lines.max(1) as f64;
        let lives: Vec<f64> = self.lives().map(|life| life.as_secs_f64()).collect();
        let short = self.lives().filter(|&life| life < SHORT_LIFE).count();
        let short = short as f64 * 100.0 / self.sources.len().max(1) as f64;
        let sent = self
            .sources
            .values()
            .map(|life| life.datagrams as f64)
            .collect();
        rows.extend([
            row("distinct names", self.names.len().to_string()),
            row("segments of a name, mean", format!("{segments:.2}")),
            row("lines with tags", self.share(self.tagged)),
            row("sources", self.sources.len().to_string()),
            row("sources that lived < 10 s", format!("{short:.0} %")),
            row(
                "life of a source, median",
                format!("{:.2} s", Stats::median(lives)),
            ),
            row(
                "datagrams of a source, median",
                format!("{:.0}", Stats::median(sent)),
            ),
            row("share of the busiest source", self.busiest(1)),
            row("share of the two busiest", self.busiest(2)),
        ]);
        rows
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles: Vec<&str> = self.columns.iter().map(|(title, _)| &**title).collect();
        writeln!(f, "| | {} |", titles.join(" | "))?;
        writeln!(f, "|---|{}", "---|".repeat(titles.len()))?;
        let rows: Vec<Vec<(String, String)>> =
            self.columns.iter().map(|(_, stats)| stats.rows()).collect();
        for index in 0..rows[0].len() {
            let cells: Vec<&str> = rows.iter().map(|column| &*column[index].1).collect();
            writeln!(f, "| {} | {} |", rows[0][index].0, cells.join(" | "))?;
        }
        for shape in self.shapes() {
            let cells: Vec<String> = self
                .columns
                .iter()
                .map(|(_, stats)| stats.share(stats.shapes.get(shape).copied().unwrap_or_default()))
                .collect();
            writeln!(f, "| `{shape}` | {} |", cells.join(" | "))?;
        }
        Ok(())
    }
}

impl Report {
    /// The commonest shapes, by the mean of their shares.
    fn shapes(&self) -> Vec<&str> {
        let mut sums: HashMap<&str, f64> = HashMap::new();
        for (_, stats) in &self.columns {
            for (shape, &count) in &stats.shapes {
                *sums.entry(shape).or_default() += count as f64 / stats.lines.max(1) as f64;
            }
        }
        let mut shapes: Vec<(&str, f64)> = sums.into_iter().collect();
        shapes.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        shapes
            .into_iter()
            .take(self.top)
            .map(|(shape, _)| shape)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_two_traces() {
        let trace = |payloads: &[(u64, u16, &str)]| {
            let mut trace = Trace::default();
            for &(s, source, payload) in payloads {
                trace.push(Duration::from_secs(s), source, payload.as_bytes());
            }
            Stats::of(&trace.finish(), &Names::new("airflow"))
        };
        let first = trace(&[
            (0, 1, "airflow.ti.start.a.b:1|c"),
            (1, 2, "airflow.ti.start:1|c|#dag_id:a"),
            (20, 1, "airflow.custom:2|g\nairflow.job_end,x=y:1|ms\n"),
        ]);
        let second = trace(&[(0, 1, "airflow.ti.start.c.d.e:1|c")]);
        let report = Report {
            columns: vec![("one".to_owned(), first), ("two".to_owned(), second)],
            top: 10,
        };
        let text = report.to_string();
        for row in [
            "| | one | two |",
            "| datagrams | 3 | 1 |",
            "| lines a datagram, most | 2 | 1 |",
            "| type c | 50.0 % | 100.0 % |",
            "| type ms | 25.0 % | 0.0 % |",
            "| lines with tags | 50.0 % | 0.0 % |",
            "| sources | 2 | 1 |",
            "| sources that lived < 10 s | 50 % | 100 % |",
            "| share of the busiest source | 66.7 % | 100.0 % |",
            "| `ti.start.*` | 25.0 % | 100.0 % |",
            "| `(user code)` | 25.0 % | 0.0 % |",
        ] {
            assert!(text.contains(row), "{row} is not in\n{text}");
        }
    }
}
