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
use std::net::{IpAddr, Ipv4Addr};

use pitot::cli::{self, Command};
use pitot::config::Config;
use pitot::mapping::Mapper;
use pitot::render::Format;
use pitot::rule_source::RuleSource;
use pitot_loadgen::scrape::{Page, Sample};

use crate::checks::Exporter;
use crate::harness::{page_when, send_udp, start};

/// The rules that a command line asks for.
fn rules(flags: &[&str]) -> Mapper {
    load(flags).expect("good rules")
}

fn load(flags: &[&str]) -> anyhow::Result<Mapper> {
    let argv = ["pitot", "--statsd.mapping-profile=airflow"].iter();
    let argv = argv.chain(flags).map(OsString::from);
    let Ok(Command::Run(flags)) = cli::parse(argv) else {
        panic!("a good command line");
    };
    let config = Config::from_flags(&flags)?;
    RuleSource::new(&config.mapping).load()
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

#[test]
fn facts_that_no_rule_asks_for_are_refused() {
    let error = load(&["--statsd.mapping-facts=airflow2,airflow4"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "--statsd.mapping-facts: \"airflow4\" is no fact that the rules ask for, as are airflow2, airflow3, airflow33, \
         dogstatsd, executor_names, metric_tags, timer_unit_consistency"
    );
}

#[test]
fn another_prefix() {
    check(
        &["--statsd.mapping-profile-prefix=team.airflow"],
        &[
            "team.airflow.ti.start.etl_sales.load:1|c",
            "airflow.ti.start.etl_sales.load:1|c",
        ],
        &[
            "airflow_ti_start_etl_sales_load 1",
            "airflow_ti_start_total{dag_id=\"etl_sales\",task_id=\"load\"} 1",
        ],
    );
}

/// A user's own rules come first.
#[test]
fn rules_of_the_user_win() {
    let exporter = start(
        &["--statsd.mapping-profile=airflow"],
        Some("mappings: [{match: airflow.ti.start.*.*, name: mine, labels: {dag: $1}}]"),
    );
    let to = (IpAddr::V4(Ipv4Addr::LOCALHOST), exporter.statsd_port());
    let lines = ["airflow.ti.start.etl_sales.load:1|c\nairflow.ti_failures:2|c"];
    send_udp(to, &lines).expect("sent");
    page_when(&exporter, |page| {
        page.value("mine{dag=\"etl_sales\"}") == Some(1.0)
            && page.value("airflow_ti_failures_total") == Some(2.0)
    });
}
