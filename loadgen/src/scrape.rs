//! What a scrape says: a strict reader of the Prometheus text format 0.0.4.
//!
//! A checker must not forgive: a family in two places, a sample twice or a
//! histogram whose buckets fall would lose data in Prometheus, so a page with
//! any of these is refused as a whole, with the line or family that is wrong.
//! Nothing is reordered, for the order of a page is compared too.
//!
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use anyhow::{Context, Result, bail, ensure};

/// A page of metrics, in its own order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Each name once.
    pub families: Vec<Family>,
}

/// All samples under one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name without the suffixes of summaries and histograms.
    pub name: String,
    /// What the samples mean.
    pub kind: Kind,
    /// The text of the `# HELP` line without its escapes.
    pub help: String,
    /// In the order of the page.
    pub samples: Vec<Sample>,
}

/// The type of a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A sum of increments.
    Counter,
    /// A value that moves freely.
    Gauge,
    /// Sum, count and quantiles.
    Summary,
    /// Sum and counts by bucket.
    Histogram,
    /// No `# TYPE` line, or one that says so.
    #[default]
    Untyped,
}

/// One line with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What identifies it on the page.
    pub key: SampleKey,
    /// In the unit of its family.
    pub value: f64,
}

/// The name and labels of a sample. Two spellings of one sample make equal
/// keys: labels are in ascending order, and bucket bounds and quantiles are
/// spelt in one way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SampleKey {
    /// With the suffix of summaries and histograms.
    pub name: String,
    /// Ascending by name, each name once, values without their escapes.
    pub labels: Vec<(String, String)>,
}

// === impl Page ===

impl Page {
    /// Reads a page; the error names the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Page> {
        let mut page = Reader::default();
        if let Some(lines) = text.strip_suffix('\n') {
            for (index, line) in lines.split('\n').enumerate() {
                page.line(line)
                    .with_context(|| format!("line {}: {line:?}", index + 1))?;
            }
        } else {
            ensure!(text.is_empty(), "the last line does not end in a newline");
        }
        for family in &page.families {
            family
                .check_parts()
                .with_context(|| format!("family {}", family.name))?;
        }
        Ok(Page {
            families: page.families,
        })
    }

    /// The family of that name.
    pub fn family(&self, name: &str) -> Option<&Family> {
        self.families.iter().find(|family| family.name == name)
    }

    /// The value of a sample, written as on the page: `name{label="value"}`.
    pub fn value(&self, key: &str) -> Option<f64> {
        self.families
            .iter()
            .filter(|family| key.starts_with(&family.name))
            .find_map(|family| {
                let key = SampleKey::parse(key, family.kind).ok()?;
                let sample = family.samples.iter().find(|sample| sample.key == key)?;
                Some(sample.value)
            })
    }
}

// === impl Kind ===

impl Kind {
    /// The word of a `# TYPE` line.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Summary => "summary",
            Kind::Histogram => "histogram",
            Kind::Untyped => "untyped",
        }
    }

    /// Reads the word of a `# TYPE` line.
    pub fn parse(word: &str) -> Result<Kind> {
        Ok(match word {
            "counter" => Kind::Counter,
            "gauge" => Kind::Gauge,
            "summary" => Kind::Summary,
            "histogram" => Kind::Histogram,
            "untyped" => Kind::Untyped,
            _ => bail!("no such type"),
        })
    }

    /// The label whose value is a number.
    fn numeric_label(self) -> Option<&'static str> {
        match self {
            Kind::Summary => Some("quantile"),
            Kind::Histogram => Some("le"),
            _ => None,
        }
    }

    /// What the names of a family's samples add to its own.
    fn suffixes(self) -> &'static [&'static str] {
        match self {
            Kind::Summary => &["", "_sum", "_count"],
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            _ => &[""],
        }
    }
}

// === impl Family ===

impl Family {
    /// The samples of each series, in the order of the page. Only summaries and
    /// histograms have several of one.
    pub fn series(&self) -> impl Iterator<Item = &[Sample]> {
        self.samples
            .chunk_by(|a, b| self.series_labels(a).eq(self.series_labels(b)))
    }

    /// The labels of the series that a sample belongs to.
    pub fn series_labels<'a>(
        &self,
        sample: &'a Sample,
    ) -> impl Iterator<Item = &'a (String, String)> {
        let numeric = self.kind.numeric_label();
        let labels = sample.key.labels.iter();
        labels.filter(move |(name, _)| Some(&**name) != numeric)
    }

    /// Checks that each series of a summary or histogram is whole.
    fn check_parts(&self) -> Result<()> {
        let Some(numeric) = self.kind.numeric_label() else {
            return Ok(());
        };
        for samples in self.series() {
            let check = || -> Result<()> {
                let mut parts = Parts::default();
                for Sample { key, value } in samples {
                    let bound = key.labels.iter().find(|(name, _)| name == numeric);
                    match (&key.name[self.name.len()..], bound) {
                        ("_sum", None) => parts.has_sum = true,
                        ("_count", None) => parts.count = Some(*value),
                        ("" | "_bucket", Some((_, bound))) => {
                            parts.steps.push((bound.parse()?, *value));
                        }
                        _ => bail!("{numeric} is missing or out of place"),
                    }
                }
                parts.check(self.kind)
            };
            // A series in two places is seen here too, as two that lack parts.
            check().with_context(|| format!("series that begins with {}", samples[0].key))?;
        }
        Ok(())
    }
}

/// The samples of one series of a summary or histogram.
#[derive(Default)]
struct Parts {
    has_sum: bool,
    count: Option<f64>,
    /// Bound or quantile, and the value there.
    steps: Vec<(f64, f64)>,
}

impl Parts {
    fn check(&self, kind: Kind) -> Result<()> {
        let count = self.count.context("no _count")?;
        ensure!(self.has_sum, "no _sum");
        let pairs = || self.steps.iter().zip(self.steps.iter().skip(1));
        for ((bound, _), (next, _)) in pairs() {
            ensure!(bound < next, "{next} follows {bound}");
        }
        if kind == Kind::Histogram {
            for ((_, below), (bound, up_to)) in pairs() {
                ensure!(below <= up_to, "fewer up to {bound} than below it");
            }
            ensure!(
                self.steps.last() == Some(&(f64::INFINITY, count)),
                "the last bucket is not +Inf with the value of _count"
            );
        }
        Ok(())
    }
}

// === impl SampleKey ===

impl SampleKey {
    /// Reads `name` or `name{label="value",…}`; the kind says which label is a
    /// number.
    pub fn parse(text: &str, kind: Kind) -> Result<SampleKey> {
        let (key, rest) = SampleKey::parse_prefix(text, kind)?;
        ensure!(rest.is_empty(), "something follows the labels: {rest:?}");
        Ok(key)
    }

    fn parse_prefix(text: &str, kind: Kind) -> Result<(SampleKey, &str)> {
        let (name, mut rest) = split_name(text, true)?;
        let mut labels = BTreeMap::new();
        if let Some(list) = rest.strip_prefix('{') {
            rest = list;
            while !rest.starts_with('}') {
                let (label, after) = split_name(rest, false)?;
                let quoted = after.strip_prefix("=\"").context("no =\" after a label")?;
                let (mut value, after) = unquote(quoted)?;
                if Some(label) == kind.numeric_label() {
                    let number: f64 = value.parse().context("no number")?;
                    value = format!("{number:?}");
                }
                let twice = labels.insert(label.to_owned(), value).is_some();
                ensure!(!twice, "label {label} twice");
                rest = match after.strip_prefix(',') {
                    Some(next) => next,
                    None if after.starts_with('}') => after,
                    None => bail!("neither , nor }} after a label"),
                };
            }
            rest = &rest[1..];
        }
        let key = SampleKey {
            name: name.to_owned(),
            labels: labels.into_iter().collect(),
        };
        Ok((key, rest))
    }
}

/// As on the page, but always with braces.
impl fmt::Display for SampleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{{", self.name)?;
        for (index, (name, value)) in self.labels.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let value = escape_help(value).replace('"', "\\\"");
            write!(f, "{comma}{name}=\"{value}\"")?;
        }
        f.write_str("}")
    }
}

/// Splits off a legal metric name, or a legal label name (no colons).
fn split_name(text: &str, colons: bool) -> Result<(&str, &str)> {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    let end = text.find(|c| !is_legal(c)).unwrap_or(text.len());
    let is_name = end > 0 && !text.starts_with(|c: char| c.is_ascii_digit());
    ensure!(is_name, "no legal name at {text:?}");
    Ok(text.split_at(end))
}

/// Reads up to the closing quote.
fn unquote(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(unescape(chars.next().map(|(_, c)| c), true)?),
            c => value.push(c),
        }
    }
    bail!("a label value does not end")
}

/// Undoes [`escape_help`].
pub fn unescape_help(text: &str) -> Result<String> {
    let mut help = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        help.push(match c {
            '\\' => unescape(chars.next(), false)?,
            c => c,
        });
    }
    Ok(help)
}

/// A help text as it stands on a page.
pub fn escape_help(help: &str) -> String {
    help.replace('\\', r"\\").replace('\n', r"\n")
}

fn unescape(c: Option<char>, in_quotes: bool) -> Result<char> {
    match c {
        Some('\\') => Ok('\\'),
        Some('n') => Ok('\n'),
        Some('"') if in_quotes => Ok('"'),
        _ => bail!("no such escape"),
    }
}

/// Reads a number as Go prints it.
fn parse_value(text: &str) -> Result<f64> {
    let is_decimal = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    let is_number = is_decimal || matches!(text, "+Inf" | "-Inf" | "Inf" | "NaN");
    let value = is_number.then(|| text.parse().ok()).flatten();
    value.with_context(|| format!("no number: {text:?}"))
}

/// Reads line by line into the family that is open.
#[derive(Default)]
struct Reader {
    families: Vec<Family>,
    places: HashMap<String, usize>,
    seen: HashSet<SampleKey>,
    has_help: bool,
    has_type: bool,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<()> {
        if let Some(comment) = line.strip_prefix("# HELP ") {
            let (name, help) = comment.split_once(' ').unwrap_or((comment, ""));
            let family = self.enter_head(name)?;
            family.help = unescape_help(help)?;
            ensure!(!std::mem::replace(&mut self.has_help, true), "second HELP");
        } else if let Some(comment) = line.strip_prefix("# TYPE ") {
            let (name, word) = comment.split_once(' ').context("no type")?;
            let kind = Kind::parse(word)?;
            self.enter_head(name)?.kind = kind;
            ensure!(!std::mem::replace(&mut self.has_type, true), "second TYPE");
        } else if !line.is_empty() && !line.starts_with('#') {
            self.sample(line)?;
        }
        Ok(())
    }

    fn sample(&mut self, line: &str) -> Result<()> {
        let (name, _) = split_name(line, true)?;
        let family = match self.families.last_mut() {
            Some(open) if open.owns(name) => open,
            _ => self.enter(name)?,
        };
        let (key, rest) = SampleKey::parse_prefix(line, family.kind)?;
        let rest = rest
            .strip_prefix(' ')
            .context("no blank before the value")?;
        let (value, timestamp) = match rest.split_once(' ') {
            Some((value, timestamp)) => (value, Some(timestamp)),
            None => (rest, None),
        };
        if let Some(timestamp) = timestamp {
            timestamp.parse::<i64>().context("timestamp")?;
        }
        let value = parse_value(value)?;
        family.samples.push(Sample {
            key: key.clone(),
            value,
        });
        ensure!(self.seen.insert(key), "sample twice");
        Ok(())
    }

    /// The family a comment is about.
    fn enter_head(&mut self, name: &str) -> Result<&mut Family> {
        ensure!(split_name(name, true)?.1.is_empty(), "no legal name");
        let is_open = self.families.last().is_some_and(|open| open.name == name);
        if !is_open {
            self.enter(name)?;
        }
        let family = self.families.last_mut().context("no family")?;
        ensure!(family.samples.is_empty(), "comment after samples");
        Ok(family)
    }

    /// Opens a new family.
    fn enter(&mut self, name: &str) -> Result<&mut Family> {
        let place = self.families.len();
        let is_new = self.places.insert(name.to_owned(), place).is_none();
        ensure!(is_new, "family {name} in two places");
        (self.has_help, self.has_type) = (false, false);
        self.families.push(Family {
            name: name.to_owned(),
            kind: Kind::default(),
            help: String::new(),
            samples: Vec::new(),
        });
        Ok(&mut self.families[place])
    }
}

impl Family {
    fn owns(&self, sample_name: &str) -> bool {
        sample_name
            .strip_prefix(&*self.name)
            .is_some_and(|suffix| self.kind.suffixes().contains(&suffix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        format!("{:#}", Page::parse(text).expect_err(text))
    }

    const WHOLE: &str = "\
# HELP a with \\\\ and \\n and \"
# TYPE a counter
a 1e+06
a{x=\"\\\\ \\n \\\" é\",le=\"01\"} NaN
# HELP h Buckets.
# TYPE h histogram
h_bucket{b=\"2\",le=\"0.50\"} 1
h_bucket{b=\"2\",le=\"+Inf\"} 2
h_sum{b=\"2\"} 3.5
h_count{b=\"2\"} 2
# HELP s
# TYPE s summary
s{quantile=\"0.5\"} 1 1700000000000
s_sum 1
s_count 1
# an ordinary comment

loose -Inf
";

    #[test]
    fn reads_what_the_format_allows() {
        let page = Page::parse(WHOLE).expect("a good page");
        let names: Vec<_> = page.families.iter().map(|f| (&*f.name, f.kind)).collect();
        let kinds = [
            ("a", Kind::Counter),
            ("h", Kind::Histogram),
            ("s", Kind::Summary),
            ("loose", Kind::Untyped),
        ];
        assert_eq!(names, kinds);
        assert_eq!(page.families[0].help, "with \\ and \n and \"");
        for (key, value) in [
            ("a", 1e6),
            ("h_bucket{le=\"0.5\",b=\"2\"}", 1.0),
            ("h_bucket{b=\"2\",le=\"+Inf\"}", 2.0),
            ("s{quantile=\"0.50\"}", 1.0),
            ("s_sum", 1.0),
            ("loose", f64::NEG_INFINITY),
        ] {
            assert_eq!(page.value(key), Some(value), "{key}");
        }
        assert_eq!(page.value("h"), None);
        // Only a histogram's le is a number.
        let labelled = &page.families[0].samples[1];
        assert_eq!(labelled.key.labels[0].1, "01");
        assert_eq!(labelled.key.labels[1].1, "\\ \n \" é");
        assert_eq!(
            labelled.key.to_string(),
            "a{le=\"01\",x=\"\\\\ \\n \\\" é\"}"
        );
        assert_eq!(Page::parse("").expect("empty"), Page::default());
    }

    #[test]
    fn refuses_what_would_lose_data() {
        for (text, reason) in [
            ("a 1", "newline"),
            ("a 1\nb 1\na{x=\"1\"} 1\n", "two places"),
            ("a 1\na 1\n", "sample twice"),
            ("# TYPE a counter\n# TYPE a counter\n", "second TYPE"),
            ("# HELP a x\n# HELP a x\n", "second HELP"),
            ("a 1\n# TYPE a counter\n", "after samples"),
            ("# TYPE a count\n", "no such type"),
            ("# TYPE h histogram\nh 1\n", "two places"),
            ("a{x=\"1\",x=\"1\"} 1\n", "label x twice"),
            ("a{x=\"1} 1\n", "does not end"),
            ("a{x=\"\\t\"} 1\n", "escape"),
            ("a{x=\"1\" y=\"2\"} 1\n", "after a label"),
            ("a{1=\"1\"} 1\n", "legal name"),
            ("a.b 1\n", "no blank"),
            ("a  1\n", "no number"),
            ("a 0x1\n", "no number"),
            ("a inf\n", "no number"),
            ("a 1 soon\n", "timestamp"),
            ("# TYPE s summary\ns_sum 1\n", "no _count"),
            (
                "# TYPE s summary\ns_sum 1\ns_sum{x=\"1\"} 1\ns_count 1\n",
                "no _count",
            ),
            ("# TYPE s summary\ns_count 1\n", "no _sum"),
            ("# TYPE s summary\ns 1\n", "quantile is missing"),
            ("# TYPE h histogram\nh_bucket{le=\"x\"} 1\n", "no number"),
        ] {
            assert!(error(text).contains(reason), "{text:?}: {}", error(text));
        }
    }

    #[test]
    fn refuses_broken_histograms() {
        let error = |buckets: &str| {
            error(&format!(
                "# TYPE h histogram\n{buckets}h_sum 1\nh_count 2\n"
            ))
        };
        for (buckets, reason) in [
            ("h_bucket{le=\"1\"} 2\n", "+Inf"),
            ("h_bucket{le=\"+Inf\"} 3\n", "_count"),
            ("h_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 2\n", "fewer"),
            (
                "h_bucket{le=\"+Inf\"} 2\nh_bucket{le=\"1\"} 2\n",
                "1 follows inf",
            ),
        ] {
            assert!(error(buckets).contains(reason), "{}", error(buckets));
        }
    }
}
