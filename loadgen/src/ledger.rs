//! What some datagrams amount to: the truth that a page is held against.
//!
//! Lines are parsed and mapped by Pitot's library, and its registry decides
//! which series may exist, for those are pure or are rules. The values are added
//! up here once more, in the plainest way: one thread, one map, no memory of
//! lines, no batches. So what this says of Pitot is not what Pitot says.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use pitot::clock::Clock;
use pitot::mapping::{Mapped, Mapper, Plan};
use pitot::registry::{
    HistogramOptions, Kind, Refusal, Registry, Series, SeriesSpec, Shape, SummaryOptions, Ttl,
};
use pitot::statsd::{Dialects, LineError, Sample, StatType, Tally, for_each_line, parse_line};
use pitot::telemetry;

use crate::compare::is_infrastructure;
use crate::scrape::{self, Page, SampleKey};

/// Adds up what datagrams say, by the rules of one mapper.
pub struct Ledger {
    mapper: Mapper,
    /// Only asked what may exist; its values stay empty.
    registry: Registry,
    /// By the address of the registry's series, which stays alive in `known`.
    places: HashMap<usize, usize>,
    series: Vec<SeriesTruth>,
    known: Vec<Arc<Series>>,
    counts: Counts,
}

/// What one series must have received.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesTruth {
    /// The name of its family.
    pub family: String,
    /// Ascending by name.
    pub labels: Vec<(String, String)>,
    /// The type of its family.
    pub kind: Kind,
    /// What came.
    pub value: Value,
}

/// What came for one series.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The sum of increments.
    Counter(f64),
    /// Settings and changes.
    Gauge(GaugeTruth),
    /// Observations.
    Observer {
        /// How many.
        count: u64,
        /// Of their values.
        sum: f64,
    },
}

/// What came for a gauge.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GaugeTruth {
    /// It was set, so what it was before has no say.
    pub is_set: bool,
    /// It was changed by a signed value.
    pub is_changed: bool,
    /// The value in the end, or the sum of changes if it was never set.
    pub value: f64,
    /// The last value that each source set. Datagrams of different sources may
    /// overtake each other, so while nothing was changed any of these may be the
    /// last.
    pub by_source: Vec<(u16, f64)>,
}

/// What came beside values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams taken.
    pub datagrams: u64,
    /// Lines as an exporter counts them.
    pub lines: u64,
    /// Samples and lines refused by the grammar, indexed by [`LineError`].
    pub line_errors: [u64; LineError::ALL.len()],
    /// Events refused because their name is in use with another type.
    pub conflicts: u64,
    /// Events refused for their value, name or labels.
    pub event_errors: u64,
}

impl Ledger {
    /// An empty one.
    pub fn new(mapper: Mapper) -> Ledger {
        Ledger {
            mapper,
            registry: Registry::new(Clock::manual(), telemetry::is_reserved),
            places: HashMap::new(),
            series: Vec::new(),
            known: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Makes the series of a page known, so that what conflicts with them is
    /// refused as the exporter refuses it.
    pub fn know(&mut self, page: &Page) {
        let help: Arc<str> = Arc::from("");
        for family in &page.families {
            let Some(shape) = shape(family.kind).filter(|_| !is_infrastructure(&family.name))
            else {
                continue;
            };
            for samples in family.series() {
                let labels = family.series_labels(&samples[0]);
                let labels: Vec<_> = labels
                    .map(|(name, value)| (name.into(), value.into()))
                    .collect();
                let spec = SeriesSpec {
                    name: &family.name,
                    help: &help,
                    shape: &shape,
                    labels: &labels,
                    ttl: Ttl::Never,
                };
                // What would be refused is not on a page.
                let _ = self.registry.series(&spec, self.registry.clock().now());
            }
        }
    }

    /// Takes a datagram of a source. On a `stream` a last newline begins no
    /// further line.
    pub fn datagram(&mut self, source: u16, payload: &[u8], stream: bool) {
        self.counts.datagrams += 1;
        let payload = match payload.strip_suffix(b"\n") {
            Some(lines) if stream => lines,
            _ => payload,
        };
        for_each_line(payload, |line| self.line(source, line));
    }

    fn line(&mut self, source: u16, line: &[u8]) {
        self.counts.lines += 1;
        let mut tally = Tally::default();
        parse_line(line, &Dialects::ALL, &mut tally, |sample| {
            self.sample(source, sample);
        });
        for (count, errors) in self.counts.line_errors.iter_mut().zip(tally.errors) {
            *count += errors;
        }
    }

    fn sample(&mut self, source: u16, sample: &Sample<'_>) {
        let plan = match self.mapper.map(sample) {
            Mapped::Dropped | Mapped::Unmapped => return,
            Mapped::Nameless => {
                self.counts.event_errors += sample.count;
                return;
            }
            Mapped::Series(plan) => plan,
        };
        let value = sample.value * plan.scale;
        if sample.stat == StatType::Counter && value < 0.0 {
            if plan.drops_negative {
                return;
            }
            self.counts.event_errors += sample.count;
            return;
        }
        let now = self.registry.clock().now();
        match self.registry.series(&plan.spec(), now) {
            Err(Refusal::Conflict) => self.counts.conflicts += sample.count,
            Err(Refusal::EmptyName | Refusal::ReservedLabelName) => {
                self.counts.event_errors += sample.count;
            }
            Ok(series) => {
                let place = *self
                    .places
                    .entry(Arc::as_ptr(&series).addr())
                    .or_insert_with(|| {
                        self.series.push(SeriesTruth::new(&plan, &series));
                        self.known.push(series);
                        self.series.len() - 1
                    });
                let relative = sample.relative && !plan.absolute;
                self.series[place]
                    .value
                    .add(source, sample.count, relative, value);
            }
        }
    }

    /// All series, in the order of their first samples.
    pub fn series(&self) -> &[SeriesTruth] {
        &self.series
    }

    /// What came beside values.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The values as a page in the Prometheus text format, for a receiver that
    /// began with this ledger.
    pub fn page(&self) -> String {
        let mut sorted: Vec<&SeriesTruth> = self.series.iter().collect();
        sorted.sort_by(|a, b| (&a.family, &a.labels).cmp(&(&b.family, &b.labels)));
        let mut page = String::new();
        let mut open = "";
        for series in sorted {
            if open != series.family {
                open = &series.family;
                page += &format!("# TYPE {open} {}\n", series.kind.as_str());
            }
            if series.kind == Kind::Histogram {
                // The only bucket: bounds play no part in what is verified.
                let mut key = series.key("_bucket");
                key.labels.push(("le".to_owned(), "+Inf".to_owned()));
                let count = series.samples().last().map_or(0.0, |(_, count)| *count);
                // Writing to a string cannot fail.
                let _ = writeln!(page, "{key} {}", number(count));
            }
            for (suffix, value) in series.samples() {
                let key = series.key(suffix);
                // Writing to a string cannot fail.
                let _ = writeln!(page, "{key} {}", number(value));
            }
        }
        page
    }
}

// === impl SeriesTruth ===

impl SeriesTruth {
    fn new(plan: &Plan<'_>, series: &Series) -> SeriesTruth {
        let labels = plan.labels.iter();
        let kind = series.kind();
        SeriesTruth {
            family: plan.name.clone().into_owned(),
            labels: labels
                .map(|(name, value)| (name.clone().into_owned(), value.clone().into_owned()))
                .collect(),
            kind,
            value: match kind {
                Kind::Counter => Value::Counter(0.0),
                Kind::Gauge => Value::Gauge(GaugeTruth::default()),
                Kind::Summary | Kind::Histogram => Value::Observer { count: 0, sum: 0.0 },
            },
        }
    }

    /// The key of one of its samples.
    pub fn key(&self, suffix: &str) -> SampleKey {
        SampleKey {
            name: format!("{}{suffix}", self.family),
            labels: self.labels.clone(),
        }
    }

    fn samples(&self) -> Vec<(&'static str, f64)> {
        match &self.value {
            Value::Counter(sum) => vec![("", *sum)],
            Value::Gauge(gauge) => vec![("", gauge.value)],
            Value::Observer { count, sum } => vec![("_sum", *sum), ("_count", *count as f64)],
        }
    }
}

// === impl Value ===

impl Value {
    fn add(&mut self, source: u16, count: u64, relative: bool, value: f64) {
        match self {
            Value::Counter(sum) => *sum += value,
            Value::Gauge(gauge) if relative => {
                gauge.is_changed = true;
                gauge.value += value;
            }
            Value::Gauge(gauge) => gauge.set(source, value),
            Value::Observer { count: all, sum } => {
                *all += count;
                *sum += value * count as f64;
            }
        }
    }
}

impl GaugeTruth {
    fn set(&mut self, source: u16, value: f64) {
        self.is_set = true;
        self.value = value;
        match self
            .by_source
            .iter_mut()
            .find(|(known, _)| *known == source)
        {
            Some((_, last)) => *last = value,
            None => self.by_source.push((source, value)),
        }
    }
}

/// A number as Prometheus reads it.
fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => value.to_string(),
    }
}

fn shape(kind: scrape::Kind) -> Option<Shape> {
    Some(match kind {
        scrape::Kind::Counter => Shape::Counter,
        scrape::Kind::Gauge => Shape::Gauge,
        scrape::Kind::Summary => Shape::Summary(Arc::new(SummaryOptions {
            quantiles: Vec::new(),
            max_age: std::time::Duration::from_secs(1),
            age_buckets: 1,
        })),
        scrape::Kind::Histogram => Shape::Histogram(Arc::new(HistogramOptions {
            buckets: Vec::new(),
            native_bucket_factor: 0.0,
            native_buckets_max: 0,
        })),
        scrape::Kind::Untyped => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pitot::mapping::rules;

    fn ledger(mapping: &str) -> Ledger {
        let file = rules::read(mapping.as_bytes(), "m.yml").expect("good rules");
        Ledger::new(Mapper::compile([(Arc::from("m.yml"), file)]).expect("good patterns"))
    }

    fn value<'a>(ledger: &'a Ledger, key: &str) -> &'a Value {
        let is_it = |series: &&SeriesTruth| series.key("").to_string() == key;
        let series = ledger.series().iter().find(is_it);
        &series.unwrap_or_else(|| panic!("no {key}")).value
    }

    #[test]
    fn values_are_added_up_by_rule() {
        let mut ledger = ledger(
            "mappings:\n- {match: d.*, name: d, action: drop}\n\
             - {match: t.*, name: took, labels: {what: $1}, scale: 2}\n",
        );
        for payload in ["t.a:500|ms\nt.a:1.5|h|@0.5", "c:1|c|@0.1\nc:2|c", "d.x:1|c"] {
            ledger.datagram(7, payload.as_bytes(), false);
        }
        let took = Value::Observer { count: 3, sum: 7.0 };
        assert_eq!(*value(&ledger, "took{what=\"a\"}"), took);
        assert_eq!(*value(&ledger, "c{}"), Value::Counter(12.0));
        assert_eq!(ledger.series().len(), 2);
        assert_eq!((ledger.counts().datagrams, ledger.counts().lines), (3, 5));
        let page = Page::parse(&ledger.page()).expect("a page");
        assert_eq!(page.value("took_count{what=\"a\"}"), Some(3.0));
        assert_eq!(page.value("c"), Some(12.0));
    }

    #[test]
    fn gauges_remember_who_set_them() {
        let mut ledger = ledger("mappings: []\n");
        for (source, line) in [
            (1, "g:5|g"),
            (2, "g:7|g"),
            (1, "g:6|g"),
            (1, "r:+2|g"),
            (2, "r:-3|g"),
        ] {
            ledger.datagram(source, line.as_bytes(), false);
        }
        let Value::Gauge(gauge) = value(&ledger, "g{}") else {
            panic!("no gauge");
        };
        assert_eq!((gauge.is_set, gauge.value), (true, 6.0));
        assert_eq!(gauge.by_source, [(1, 6.0), (2, 7.0)]);
        let Value::Gauge(gauge) = value(&ledger, "r{}") else {
            panic!("no gauge");
        };
        assert_eq!(
            (gauge.is_set, gauge.is_changed, gauge.value),
            (false, true, -1.0)
        );
    }

    #[test]
    fn what_is_refused_is_counted() {
        let mut ledger = ledger("mappings: []\n");
        ledger.know(&Page::parse("# TYPE old gauge\nold 1\n").expect("a page"));
        for line in [
            "a:1|c",
            "a:1|g",
            "old:1|c",
            "a:-1|c",
            "x:y|c",
            "",
            "b:1|c|#le:1",
        ] {
            ledger.datagram(1, line.as_bytes(), false);
        }
        let counts = ledger.counts();
        assert_eq!((counts.conflicts, counts.event_errors), (2, 1));
        assert_eq!(counts.line_errors[LineError::MalformedValue as usize], 1);
        assert_eq!(ledger.series().len(), 2);
    }

    #[test]
    fn a_stream_has_no_line_after_its_last_newline() {
        let mut ledger = ledger("mappings: []\n");
        ledger.datagram(1, b"a:1|c\n", true);
        assert_eq!(ledger.counts().lines, 1);
        ledger.datagram(1, b"a:1|c\n", false);
        assert_eq!(ledger.counts().lines, 3);
    }
}
