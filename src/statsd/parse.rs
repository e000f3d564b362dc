//! Datagram to lines, line to samples.
//!
//! [`parse_line`] is the whole grammar, in the order in which the reference
//! checks it, because the order decides which reason is counted. It costs a few
//! hundred nanoseconds and may allocate. [`Parts::split`] is the shortcut: two
//! searches that cut a line around its value. Lines that differ only in the
//! value mean the same series, so whoever remembers what [`parse_line`] made of
//! one (see [`Sample::divisor`]) need only read the number of the next.

use super::tags;
use super::{Dialect, Dialects, LineError, NumberError, Sample, StatType, Tally, parse_number};

/// The most observations one sampled line stands for. The reference would
/// repeat an observation `1/factor` times; a factor of 1e-15 must not shift a
/// sum by more than any real sender could.
const OBSERVATION_COUNT_MAX: u64 = 1_000_000_000;

/// Value, type and four sections.
const FIELDS_MAX: usize = 6;

/// Calls `line` for each line of a datagram. Every piece between newlines
/// counts, also the empty one after a last newline.
pub fn for_each_line(datagram: &[u8], mut line: impl FnMut(&[u8])) {
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', datagram) {
        line(&datagram[start..end]);
        start = end + 1;
    }
    line(&datagram[start..]);
}

/// A line cut around the value of its first sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// All before the first colon, tags included.
    pub name: &'a [u8],
    /// From there to the first `|`; not checked to be a number.
    pub value: &'a [u8],
    /// All after that `|`: type and sections.
    pub tail: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Cuts a line; `None` if it lacks a name, a colon or a `|` after it.
    pub fn split(line: &'a [u8]) -> Option<Parts<'a>> {
        let colon = memchr::memchr(b':', line).filter(|&at| at > 0)?;
        let rest = &line[colon + 1..];
        let bar = memchr::memchr(b'|', rest)?;
        Some(Parts {
            name: &line[..colon],
            value: &rest[..bar],
            tail: &rest[bar + 1..],
        })
    }
}

/// Reads one line (without its newline), adds what it met to `tally` and calls
/// `each` for every good sample. A bad sample never affects its siblings.
pub fn parse_line(
    line: &[u8],
    dialects: &Dialects,
    tally: &mut Tally,
    each: impl FnMut(&Sample<'_>),
) {
    if line.is_empty() {
        return;
    }
    let Some((name, rest)) = std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.split_once(':'))
        .filter(|(name, _)| !name.is_empty())
    else {
        return tally.error(LineError::MalformedLine);
    };

    let mut tags = Vec::new();
    let tag_errors_before = tally.tag_errors;
    let (name, dialect) = tags::strip_from_name(name, dialects, &mut tags, tally);
    let clean_name = tally.tag_errors == tag_errors_before;
    // Looked for even when DogStatsD tags are not read.
    let has_tag_section = rest.contains("|#");
    if has_tag_section && !tags.is_empty() {
        return tally.error(LineError::MixedTaggingStyles);
    }
    let Some((values, tail)) = rest.split_once('|') else {
        return tally.error(LineError::NotEnoughPartsAfterColon);
    };
    let mut line = Line {
        name: &name,
        clean_name,
        name_tags: tags.len(),
        name_dialect: dialect.filter(|_| !tags.is_empty()),
        tags,
        dialects,
        tally,
        each,
    };
    if values.contains(':') {
        // Extended aggregation: the sections hold for each value.
        if !matches!(first_field(tail), "ms" | "h" | "d") {
            return line.tally.error(LineError::InvalidExtendedAggregateType);
        }
        line.samples(values.split(':'), Some(tail), true);
    } else if has_tag_section {
        line.samples(std::iter::once(values), Some(tail), true);
    } else {
        let (mut sample, mut next) = split_sample(rest, dialects);
        let alone = next.is_none();
        loop {
            let (value, tail) = sample
                .split_once('|')
                .map_or((sample, None), |(value, tail)| (value, Some(tail)));
            line.samples(std::iter::once(value), tail, alone);
            let Some(rest) = next else { return };
            (sample, next) = split_sample(rest, dialects);
        }
    }
}

fn first_field(tail: &str) -> &str {
    tail.split('|').next().unwrap_or_default()
}

/// What all samples of a line share.
struct Line<'a, 't, F> {
    name: &'t str,
    /// The name's tags were all good.
    clean_name: bool,
    tags: Vec<(&'a str, &'a str)>,
    /// How many of `tags` came with the name; those behind belong to sections.
    name_tags: usize,
    /// The dialect of those that came with the name, if any did.
    name_dialect: Option<Dialect>,
    dialects: &'t Dialects,
    tally: &'t mut Tally,
    each: F,
}

impl<'a, F: FnMut(&Sample<'_>)> Line<'a, '_, F> {
    /// Reads the samples that have `tail` in common (`None` where a sample has
    /// no `|` at all); `alone` if the line holds nothing else.
    fn samples(
        &mut self,
        values: impl Iterator<Item = &'a str>,
        tail: Option<&'a str>,
        alone: bool,
    ) {
        self.tags.truncate(self.name_tags);
        let sections = tail.map(|tail| Sections::read(tail, self.dialects, &mut self.tags));
        for value in values {
            let sample = read_sample(value, sections.as_ref(), &self.tags, self.tally);
            if let Some(mut sample) = sample {
                sample.name = self.name;
                // Only DogStatsD has sections with tags.
                let section_dialect = Some(Dialect::Dogstatsd).filter(|_| !self.tags.is_empty());
                sample.dialect = self.name_dialect.or(section_dialect);
                sample.divisor = sample.divisor.filter(|_| alone && self.clean_name);
                (self.each)(&sample);
            }
        }
    }
}

/// Cuts the first sample off a list of samples separated by colons.
///
/// A sample that ends in a bare `c`, `e` or `card` section is not whole: the
/// colon belongs to a container id, external data or a cardinality (DogStatsD
/// 1.2 and later), which take the rest of the line. The reference splits there
/// and loses the sample, see `docs/compatibility.md`; that remains so where
/// nothing good would come of reading on.
fn split_sample<'a>(samples: &'a str, dialects: &Dialects) -> (&'a str, Option<&'a str>) {
    let Some((sample, rest)) = samples.split_once(':') else {
        return (samples, None);
    };
    let mut from_end = sample.rsplit('|');
    let is_cut = matches!(from_end.next(), Some("c" | "e" | "card")) && from_end.count() >= 2;
    if is_cut && is_good(samples, dialects) {
        (samples, None)
    } else {
        (sample, Some(rest))
    }
}

/// Whether all of `sample` is one good sample.
fn is_good(sample: &str, dialects: &Dialects) -> bool {
    let Some((value, tail)) = sample.split_once('|') else {
        return false;
    };
    let sections = Sections::read(tail, dialects, &mut Vec::new());
    read_sample(value, Some(&sections), &[], &mut Tally::default()).is_some()
}

/// What stands after a value, read once for all values it belongs to.
struct Sections<'a> {
    /// Includes the value; see [`FIELDS_MAX`].
    fields: usize,
    stat_type: &'a str,
    has_empty: bool,
    /// Sampling factors in order, zeros already read as one.
    factors: Vec<f64>,
    factor_errors: u64,
    tag_errors: u64,
    timestamp: bool,
    /// The section that refuses the sample, after all effects of those before.
    refused: Option<LineError>,
}

impl<'a> Sections<'a> {
    /// Reads `tail`, appending its tags to `tags`.
    fn read(
        tail: &'a str,
        dialects: &Dialects,
        tags: &mut Vec<(&'a str, &'a str)>,
    ) -> Sections<'a> {
        let mut fields = tail.split('|');
        let mut read = Sections {
            fields: 1 + tail.split('|').take(FIELDS_MAX).count(),
            stat_type: fields.next().unwrap_or_default(),
            has_empty: fields.clone().any(str::is_empty),
            factors: Vec::new(),
            factor_errors: 0,
            tag_errors: 0,
            timestamp: false,
            refused: None,
        };
        if read.fields > FIELDS_MAX || read.has_empty {
            return read;
        }
        for section in fields {
            read.refused = read.section(section, dialects, tags);
            if read.refused.is_some() {
                break;
            }
        }
        read
    }

    fn section(
        &mut self,
        section: &'a str,
        dialects: &Dialects,
        tags: &mut Vec<(&'a str, &'a str)>,
    ) -> Option<LineError> {
        if let Some(factor) = section.strip_prefix('@') {
            let factor = parse_number(factor.as_bytes()).unwrap_or_else(|error| {
                // Counted, but the sample stays, with what the reference's
                // parser returns beside its error.
                self.factor_errors += 1;
                match error {
                    NumberError::Syntax => 0.0,
                    NumberError::Range(infinity) => infinity,
                }
            });
            self.factors.push(if factor == 0.0 { 1.0 } else { factor });
        } else if let Some(list) = section.strip_prefix('#') {
            if dialects.dogstatsd {
                self.tag_errors += tags::read_dogstatsd(list, tags);
            }
        } else if section.starts_with("card:") || section.starts_with("e:") {
            // Cardinality and external data of DogStatsD 1.4 and 1.5: nothing
            // that a series could show.
        } else if section.starts_with('c') {
            match section.strip_prefix("c:") {
                Some(id) if !id.is_empty() => tags.push(("container_id", id)),
                _ => return Some(LineError::MalformedContainerId),
            }
        } else if section.starts_with('T') {
            // A sample's own time has no place on a page that is scraped.
            self.timestamp = true;
        } else {
            return Some(LineError::InvalidSampleFactor);
        }
        None
    }
}

/// Checks one value against its sections, in the reference's order. The sample
/// still lacks its name and dialect.
fn read_sample<'a>(
    text: &str,
    sections: Option<&Sections<'_>>,
    tags: &'a [(&'a str, &'a str)],
    tally: &mut Tally,
) -> Option<Sample<'a>> {
    tally.samples += 1;
    let Some(sections) = sections.filter(|sections| sections.fields <= FIELDS_MAX) else {
        tally.error(LineError::MalformedComponent);
        return None;
    };
    let Ok(number) = parse_number(text.as_bytes()) else {
        tally.error(LineError::MalformedValue);
        return None;
    };
    if sections.has_empty {
        tally.error(LineError::MalformedComponent);
        return None;
    }
    tally.tag_errors += sections.tag_errors;
    tally.errors[LineError::InvalidSampleFactor as usize] += sections.factor_errors;
    if let Some(reason) = sections.refused {
        tally.error(reason);
        return None;
    }
    if !tags.is_empty() {
        tally.tagged += 1;
    }
    let (stat, unit_divisor) = match sections.stat_type {
        "c" => (StatType::Counter, 1.0),
        "g" => (StatType::Gauge, 1.0),
        // StatsD speaks milliseconds, Prometheus seconds.
        "ms" => (StatType::Observer, 1000.0),
        "h" | "d" => (StatType::Observer, 1.0),
        _ => {
            tally.error(LineError::IllegalEvent);
            return None;
        }
    };
    let factors: &[f64] = &sections.factors;
    let clean = sections.tag_errors == 0 && sections.factor_errors == 0 && !sections.timestamp;
    let (value, divisor, count) = match stat {
        StatType::Counter => (
            factors.iter().fold(number, |value, factor| value / factor),
            match factors {
                [] => Some(1.0),
                [factor] => Some(*factor),
                _ => None,
            },
            1,
        ),
        StatType::Gauge => (number, Some(1.0), 1),
        StatType::Observer => (
            number / unit_divisor,
            Some(unit_divisor),
            factors
                .last()
                .map_or(1, |factor| observation_count(*factor)),
        ),
    };
    if count == 0 {
        return None;
    }
    Some(Sample {
        name: "",
        stat,
        value,
        relative: stat == StatType::Gauge && text.starts_with(['+', '-']),
        count,
        tags,
        dialect: None,
        divisor: divisor.filter(|_| clean),
    })
}

/// How many observations a sampled line stands for: the whole part of
/// `1/factor`, and none where that is no count.
fn observation_count(factor: f64) -> u64 {
    let count = 1.0 / factor;
    // Also false for NaN. An i64 is what the reference can count to.
    if count >= 1.0 && count < i64::MAX as f64 {
        (count as u64).min(OBSERVATION_COUNT_MAX)
    } else {
        0
    }
}

#[cfg(test)]
mod tests;
