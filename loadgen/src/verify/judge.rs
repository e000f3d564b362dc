//! A page held against a ledger.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use serde::Serialize;

use crate::compare::{is_infrastructure, is_same};
use crate::ledger::{GaugeTruth, SeriesTruth, Value};
use crate::scrape::{Kind, Page, SampleKey};

/// What is as it should be, and what is not.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Judgement {
    /// Each family that was sent, by name.
    pub(super) families: BTreeMap<String, FamilyJudgement>,
    /// In the order of the lines sent, then of the page.
    pub(super) differences: Vec<Difference>,
    /// Gauges whose last value is not the last that was sent, but the last of
    /// another source: datagrams of different sources may overtake each other.
    pub(super) overtaken: Vec<Difference>,
    /// Series that were sent.
    pub(super) series: usize,
}

/// One family, over all its series.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct FamilyJudgement {
    pub(super) kind: String,
    pub(super) series: usize,
    /// Of counters the increments, of observers how many; gauges have neither.
    pub(super) sent: f64,
    pub(super) arrived: f64,
    pub(super) differences: usize,
}

/// A sample that is not as it should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Difference {
    pub(super) family: String,
    /// Name and labels as on a page.
    pub(super) sample: String,
    pub(super) want: Option<f64>,
    pub(super) got: Option<f64>,
}

impl Judgement {
    /// Compares what came between two pages with what was sent.
    pub(super) fn of(truth: &[SeriesTruth], before: &Page, after: &Page) -> Judgement {
        let mut judge = Judge {
            before: samples(before),
            after: samples(after),
            kinds: after.families.iter().map(|f| (&*f.name, f.kind)).collect(),
            expected: HashSet::new(),
            judgement: Judgement::default(),
        };
        for series in truth {
            judge.series(series);
        }
        judge.unexpected(after);
        judge.judgement.series = truth.len();
        judge.judgement
    }

    /// Whether everything arrived and nothing else did.
    pub(super) fn is_clean(&self) -> bool {
        self.differences.is_empty()
    }
}

struct Judge<'a> {
    before: HashMap<SampleKey, f64>,
    after: HashMap<SampleKey, f64>,
    kinds: HashMap<&'a str, Kind>,
    expected: HashSet<SampleKey>,
    judgement: Judgement,
}

impl Judge<'_> {
    fn series(&mut self, series: &SeriesTruth) {
        let kind = series.kind.as_str();
        let family = self.judgement.families.entry(series.family.clone());
        let family = family.or_default();
        if family.series == 0 {
            kind.clone_into(&mut family.kind);
            self.kind_of(series);
        }
        let (sent, arrived) = match &series.value {
            Value::Counter(sum) => (*sum, self.sum(series, "", *sum)),
            Value::Gauge(gauge) => {
                self.gauge(series, gauge);
                (0.0, 0.0)
            }
            Value::Observer { count, sum } => {
                self.sum(series, "_sum", *sum);
                let count = *count as f64;
                (count, self.sum(series, "_count", count))
            }
        };
        let family = self.judgement.families.entry(series.family.clone());
        let family = family.or_default();
        family.series += 1;
        family.sent += sent;
        family.arrived += arrived;
    }

    /// Compares the type that the page gives a family, if it is there.
    fn kind_of(&mut self, series: &SeriesTruth) {
        let want = series.kind.as_str();
        let got = self.kinds.get(&*series.family).map(|kind| kind.as_str());
        if let Some(got) = got.filter(|got| *got != want) {
            let sample = format!("{} is a {got} and should be a {want}", series.family);
            self.differs(series, sample, None, None);
        }
    }

    /// Compares a sample that only grows; returns by how much it has.
    fn sum(&mut self, series: &SeriesTruth, suffix: &str, sent: f64) -> f64 {
        let key = series.key(suffix);
        let before = self.before.get(&key).copied().unwrap_or_default();
        let got = self.after.get(&key).copied();
        let want = before + sent;
        if !got.is_some_and(|got| is_same(got, want)) {
            self.differs(series, key.to_string(), Some(want), got);
        }
        self.expected.insert(key);
        got.unwrap_or_default() - before
    }

    fn gauge(&mut self, series: &SeriesTruth, gauge: &GaugeTruth) {
        let key = series.key("");
        let before = match gauge.is_set {
            true => 0.0,
            false => self.before.get(&key).copied().unwrap_or_default(),
        };
        let want = before + gauge.value;
        let got = self.after.get(&key).copied();
        let is = |value: f64| got.is_some_and(|got| is_same(got, value));
        if !is(want) {
            let others = gauge.by_source.iter().filter(|_| !gauge.is_changed);
            let is_overtaken = others.map(|(_, last)| *last).any(is);
            if is_overtaken {
                let overtaken = difference(series, key.to_string(), Some(want), got);
                self.judgement.overtaken.push(overtaken);
            } else {
                self.differs(series, key.to_string(), Some(want), got);
            }
        }
        self.expected.insert(key);
    }

    fn differs(
        &mut self,
        series: &SeriesTruth,
        sample: String,
        want: Option<f64>,
        got: Option<f64>,
    ) {
        let family = self.judgement.families.entry(series.family.clone());
        family.or_default().differences += 1;
        let difference = difference(series, sample, want, got);
        self.judgement.differences.push(difference);
    }

    /// Finds samples that are new or have changed although nothing was sent for
    /// them.
    fn unexpected(&mut self, after: &Page) {
        for family in &after.families {
            if is_infrastructure(&family.name) {
                continue;
            }
            for sample in &family.samples {
                let before = self.before.get(&sample.key).copied();
                let is_same = before.is_some_and(|before| is_same(before, sample.value));
                if self.after.contains_key(&sample.key)
                    && !self.expected.contains(&sample.key)
                    && !is_same
                {
                    self.judgement.differences.push(Difference {
                        family: family.name.clone(),
                        sample: sample.key.to_string(),
                        want: before,
                        got: Some(sample.value),
                    });
                }
            }
        }
    }
}

fn difference(
    series: &SeriesTruth,
    sample: String,
    want: Option<f64>,
    got: Option<f64>,
) -> Difference {
    Difference {
        family: series.family.clone(),
        sample,
        want,
        got,
    }
}

/// The samples that follow from what was sent alone: not quantiles, which
/// depend on when, and not buckets, whose sum is the count.
fn samples(page: &Page) -> HashMap<SampleKey, f64> {
    let families = page.families.iter();
    families
        .flat_map(|family| {
            let is_compared = |key: &SampleKey| {
                let suffix = &key.name[family.name.len()..];
                match family.kind {
                    Kind::Summary | Kind::Histogram => matches!(suffix, "_sum" | "_count"),
                    _ => true,
                }
            };
            let samples = family.samples.iter();
            samples
                .filter(move |sample| is_compared(&sample.key))
                .map(|sample| (sample.key.clone(), sample.value))
        })
        .collect()
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.want, self.got) {
            (Some(want), Some(got)) => write!(f, "{} is {got}, want {want}", self.sample),
            (Some(want), None) => write!(f, "{} is missing, want {want}", self.sample),
            (None, Some(got)) => write!(f, "{} is {got}, but was not sent", self.sample),
            (None, None) => f.write_str(&self.sample),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use crate::mapping_rules::RulesArgs;

    /// The differences when `lines` were sent between two pages.
    fn check(lines: &[(u16, &str)], before: &str, after: &str, want: &[&str]) -> Judgement {
        let mut ledger = Ledger::new(RulesArgs::default().load().expect("no rules"));
        for (source, line) in lines {
            ledger.datagram(*source, line.as_bytes(), false);
        }
        let page = |text: &str| Page::parse(text).expect("a page");
        let judgement = Judgement::of(ledger.series(), &page(before), &page(after));
        let got: Vec<String> = judgement
            .differences
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(got, want);
        judgement
    }

    #[test]
    fn what_was_there_before_is_not_expected_again() {
        let lines = [(1, "c:2|c"), (1, "r:+1|g"), (1, "s:0.5|h"), (1, "g:7|g")];
        let page = |c: u32, g: u32, r: u32, sum: f64, count: u32| {
            format!(
                "# TYPE c counter\nc {c}\n# TYPE g gauge\ng {g}\n# TYPE r gauge\nr {r}\n\
                 # TYPE s summary\ns{{quantile=\"0.5\"}} {sum}\ns_sum {sum}\ns_count {count}\n\
                 statsd_exporter_lines_total {c}\n# TYPE old counter\nold 1\n"
            )
        };
        check(&lines, &page(1, 1, 1, 1.0, 4), &page(3, 7, 2, 1.5, 5), &[]);
        let judgement = check(
            &lines,
            &page(1, 1, 1, 1.0, 4),
            &page(2, 7, 2, 1.0, 4),
            &[
                "c{} is 2, want 3",
                "s_sum{} is 1, want 1.5",
                "s_count{} is 4, want 5",
            ],
        );
        let c = &judgement.families["c"];
        assert_eq!((c.sent, c.arrived, c.differences), (2.0, 1.0, 1));
    }

    #[test]
    fn what_is_missing_extra_or_of_another_type_is_named() {
        check(
            &[(1, "a:1|c|#x:y")],
            "# TYPE was counter\nwas 1\n",
            "# TYPE was counter\nwas 2\n# TYPE new gauge\nnew 3\n",
            &[
                "a{x=\"y\"} is missing, want 1",
                "was{} is 2, want 1",
                "new{} is 3, but was not sent",
            ],
        );
        check(
            &[(1, "a:1|c")],
            "",
            "# TYPE a gauge\na 1\n",
            &["a is a gauge and should be a counter"],
        );
    }

    #[test]
    fn sources_may_overtake_each_other_but_not_themselves() {
        let lines = [(1, "g:1|g"), (2, "g:2|g"), (1, "g:3|g")];
        let page = |value: u32| format!("# TYPE g gauge\ng {value}\n");
        assert!(check(&lines, "", &page(3), &[]).overtaken.is_empty());
        assert_eq!(check(&lines, "", &page(2), &[]).overtaken.len(), 1);
        check(&lines, "", &page(1), &["g{} is 1, want 3"]);
    }
}
