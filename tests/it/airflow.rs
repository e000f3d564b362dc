//! The Airflow profile, on lines of real clusters.
//!
//! `tests/data/traces` holds traffic of Airflow 2.11.2 (plain StatsD) and 3.3.2
//! (plain, and Datadog's client with tags); lines in these tests are theirs
//! unless a comment says otherwise. `tests/data/airflow/catalogue.json` lists
//! every metric of both versions and their providers.

/// Every metric of the catalogue, in each way it can be sent.
mod catalogue;
/// The table of docs/airflow.md.
mod reference;
/// Whole traces: nothing is lost, nothing conflicts.
mod traces;
/// What is odd about Airflow's metrics, one by one.
mod traps;

use std::ffi::OsString;

use pitot::cli::{self, Command};
use pitot::config::Config;
use pitot::mapping::Mapper;
use pitot::render::Format;
use pitot::rule_source::RuleSource;
use pitot_loadgen::scrape::{Page, Sample};

use crate::checks::Exporter;

/// The rules that a command line asks for.
fn rules(flags: &[&str]) -> Mapper {
    let argv = ["pitot", "--statsd.mapping-profile=airflow"].iter();
    let argv = argv.chain(flags).map(OsString::from);
    let Ok(Command::Run(flags)) = cli::parse(argv) else {
        panic!("a good command line");
    };
    let config = Config::from_flags(&flags).expect("good settings");
    let rules = RuleSource::new(&config.mapping).load();
    rules.expect("good rules")
}

/// An exporter without sockets, with the Airflow profile.
fn exporter(flags: &[&str]) -> Exporter {
    Exporter::new(rules(flags), true)
}

/// Its page, of which Prometheus must be able to make sense.
fn page(exporter: &Exporter) -> Page {
    let text = String::from_utf8(exporter.page(Format::Text)).expect("UTF-8");
    Page::parse(&text).expect("a page that Prometheus reads")
}

/// The page after some lines, each a datagram of its own.
fn page_after(flags: &[&str], lines: &[&str]) -> Page {
    let mut exporter = exporter(flags);
    for line in lines {
        exporter.datagram(line.as_bytes());
    }
    page(&exporter)
}

/// What is on a page, as `name{label="value"} value`, but for the buckets of
/// histograms.
fn samples(page: &Page) -> Vec<String> {
    let samples = page.families.iter().flat_map(|family| &family.samples);
    let told = samples.filter(|sample| !sample.key.name.ends_with("_bucket"));
    let show = |sample: &Sample| {
        let key = sample.key.to_string();
        let key = key.strip_suffix("{}").unwrap_or(&key);
        format!("{key} {}", rounded(sample.value))
    };
    told.map(show).collect()
}

/// A number of seconds to the nanosecond: that is what scaling leaves of it.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e9).round() / 1e9
}

/// Checks what some lines become.
#[track_caller]
fn check(flags: &[&str], lines: &[&str], expect: &[&str]) {
    assert_eq!(samples(&page_after(flags, lines)), expect, "{lines:#?}");
}
