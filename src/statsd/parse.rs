//! Datagram to lines, line to samples.
//!
//! [`parse_line`] is the whole grammar, in the order in which the reference
//! checks it, because the order decides which reason is counted. It costs a few
//! hundred nanoseconds and may allocate. [`Parts::split`] is the shortcut: two
//! searches that cut a line around its value. Lines that differ only in the
//! value mean the same series, so whoever remembers what [`parse_line`] made of
//! one (see [`Sample::divisor`]) need only read the number of the next.

use super::tags;
use super::{Dialects, LineError, NumberError, Sample, StatType, Tally, parse_number};

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
    let name = tags::strip_from_name(name, dialects, &mut tags, tally);
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
/// still lacks its name.
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
mod tests {
    use super::*;
    use LineError::*;
    use StatType::*;

    /// A sample as written in the tables: name, type, value, sign, count, tags.
    type Row<'a> = (&'a str, StatType, f64, bool, u64, &'a [(&'a str, &'a str)]);

    fn check_with(
        dialects: Dialects,
        line: &str,
        expect: &[Row<'_>],
        errors: &[LineError],
    ) -> Tally {
        let mut tally = Tally::default();
        let mut seen = 0;
        parse_line(line.as_bytes(), &dialects, &mut tally, |sample| {
            let expect = expect
                .get(seen)
                .unwrap_or_else(|| panic!("{line}: too many samples"));
            let row: Row<'_> = (
                sample.name,
                sample.stat,
                sample.value,
                sample.relative,
                sample.count,
                sample.tags,
            );
            assert_eq!(&row, expect, "{line}");
            seen += 1;
        });
        assert_eq!(seen, expect.len(), "{line}: samples");
        let mut want = [0; LineError::ALL.len()];
        for error in errors {
            want[*error as usize] += 1;
        }
        assert_eq!(tally.errors, want, "{line}: {:?}", LineError::ALL);
        tally
    }

    fn check(line: &str, expect: &[Row<'_>], errors: &[LineError]) -> Tally {
        check_with(Dialects::ALL, line, expect, errors)
    }

    #[test]
    fn datagrams_split_at_every_newline() {
        for (datagram, expect) in [
            ("a:1|c", vec!["a:1|c"]),
            ("a:1|c\n", vec!["a:1|c", ""]),
            ("a\n\nb", vec!["a", "", "b"]),
            ("a\r\nb", vec!["a\r", "b"]),
            ("", vec![""]),
        ] {
            let mut lines = Vec::new();
            for_each_line(datagram.as_bytes(), |line| {
                lines.push(String::from_utf8_lossy(line).into_owned());
            });
            assert_eq!(lines, expect);
        }
    }

    #[test]
    fn parts_cut_around_the_value() {
        let parts = Parts::split(b"a,t=v:1.5|ms|#x:y").unwrap();
        assert_eq!(
            (parts.name, parts.value, parts.tail),
            (&b"a,t=v"[..], &b"1.5"[..], &b"ms|#x:y"[..])
        );
        for line in ["", "a", ":1|c", "a:", "a:1", "a|c"] {
            assert_eq!(Parts::split(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn types_and_signs() {
        check("a:1|c", &[("a", Counter, 1.0, false, 1, &[])], &[]);
        check("a:-1|c", &[("a", Counter, -1.0, false, 1, &[])], &[]);
        check("a:3|g", &[("a", Gauge, 3.0, false, 1, &[])], &[]);
        check("a:+3|g", &[("a", Gauge, 3.0, true, 1, &[])], &[]);
        check("a:-3|g", &[("a", Gauge, -3.0, true, 1, &[])], &[]);
        check("a:200|ms", &[("a", Observer, 0.2, false, 1, &[])], &[]);
        check("a:200|h", &[("a", Observer, 200.0, false, 1, &[])], &[]);
        check("a:200|d", &[("a", Observer, 200.0, false, 1, &[])], &[]);
        for line in ["a:1|s", "a:1|kv", "a:1|C", "a:1|", "a:1|m"] {
            check(line, &[], &[IllegalEvent]);
        }
    }

    #[test]
    fn lines_without_the_needed_parts() {
        check("", &[], &[]);
        for line in ["a", ":1|c", ":", "a|c"] {
            assert_eq!(check(line, &[], &[MalformedLine]).samples, 0);
        }
        for line in ["a:", "a:1"] {
            assert_eq!(check(line, &[], &[NotEnoughPartsAfterColon]).samples, 0);
        }
        let mut tally = Tally::default();
        parse_line(b"a:1|c|#t:\xff", &Dialects::ALL, &mut tally, |_| panic!());
        assert_eq!(tally.errors[MalformedLine as usize], 1);
    }

    #[test]
    fn sections_that_do_not_fit() {
        check("a:1|c|", &[], &[MalformedComponent]);
        check("a:1|c||#t:v", &[], &[MalformedComponent]);
        check("a:1||@0.1", &[], &[IllegalEvent]);
        check("a:1|c|@0.5|#t:v|c:i|T1|T2", &[], &[MalformedComponent]);
        check("a:1|c|#t:v|x", &[], &[InvalidSampleFactor]);
        check("a:x|c|", &[], &[MalformedValue]);
        check("a:abc|s", &[], &[MalformedValue]);
        let row = (
            "a",
            Counter,
            2.0,
            false,
            1,
            &[("t", "v"), ("container_id", "i")][..],
        );
        check("a:1|c|@0.5|#t:v|c:i|T1", &[row], &[]);
    }

    #[test]
    fn several_samples() {
        check(
            "a:1|c:2|g:x|h:3|ms",
            &[
                ("a", Counter, 1.0, false, 1, &[]),
                ("a", Gauge, 2.0, false, 1, &[]),
                ("a", Observer, 0.003, false, 1, &[]),
            ],
            &[MalformedValue],
        );
        let tally = check(
            "a:1|h:2:3|h",
            &[
                ("a", Observer, 1.0, false, 1, &[]),
                ("a", Observer, 3.0, false, 1, &[]),
            ],
            &[MalformedComponent],
        );
        assert_eq!(tally.samples, 3);
    }

    #[test]
    fn extended_aggregation() {
        let row = |value| ("a", Observer, value, false, 1, &[][..]);
        check("a:1:2|h", &[row(1.0), row(2.0)], &[]);
        check("a::1|d", &[row(1.0)], &[MalformedValue]);
        check(
            "a:1:2|h|@0.5",
            &[
                ("a", Observer, 1.0, false, 2, &[]),
                ("a", Observer, 2.0, false, 2, &[]),
            ],
            &[],
        );
        for line in ["a:1:2|c", "a:1:2|s", "a:1:2|h:3|h"] {
            assert_eq!(check(line, &[], &[InvalidExtendedAggregateType]).samples, 0);
        }
        let tally = check(
            "a:1:2|h|#t:v,u",
            &[
                ("a", Observer, 1.0, false, 1, &[("t", "v")]),
                ("a", Observer, 2.0, false, 1, &[("t", "v")]),
            ],
            &[],
        );
        assert_eq!((tally.tag_errors, tally.tagged), (2, 2));
    }

    #[test]
    fn sampling() {
        for (line, value) in [
            ("a:1|c|@0.1", 10.0),
            ("a:1|c|@0", 1.0),
            ("a:1|c|@2", 0.5),
            ("a:1|c|@-1", -1.0),
            ("a:1|c|@inf", 0.0),
            ("a:1|c|@0.1|@0.5", 20.0),
        ] {
            check(line, &[("a", Counter, value, false, 1, &[])], &[]);
        }
        for (line, count) in [
            ("a:1|h|@0.1", 10),
            ("a:1|h|@0.3", 3),
            ("a:1|h|@0.7", 1),
            ("a:1|h|@0.1|@0.5", 2),
            ("a:1|h|@1e-12", OBSERVATION_COUNT_MAX),
        ] {
            check(line, &[("a", Observer, 1.0, false, count, &[])], &[]);
        }
        for line in [
            "a:1|h|@2",
            "a:1|h|@-0.5",
            "a:1|h|@nan",
            "a:1|h|@inf",
            "a:1|h|@1e-300",
        ] {
            assert_eq!(check(line, &[], &[]).samples, 1);
        }
        check("a:1|g|@0.1", &[("a", Gauge, 1.0, false, 1, &[])], &[]);
        let row = ("a", Counter, 1.0, false, 1, &[][..]);
        check("a:1|c|@", &[row], &[InvalidSampleFactor]);
        check("a:1|c|@abc", &[row], &[InvalidSampleFactor]);
        check(
            "a:1|c|@1e999",
            &[("a", Counter, 0.0, false, 1, &[])],
            &[InvalidSampleFactor],
        );
    }

    #[test]
    fn container_ids_and_newer_sections() {
        let row = |tags| ("a", Counter, 1.0, false, 1, tags);
        let id: &[(&str, &str)] = &[("container_id", "abc")];
        let tagged: &[(&str, &str)] = &[("t", "v"), ("container_id", "abc")];
        check("a:1|c|#t:v|c:abc", &[row(tagged)], &[]);
        check("a:1|c|#t:v|c:abc|e:it-false|card:low", &[row(tagged)], &[]);
        // Without tags the colon must not split the line.
        check("a:1|c|c:abc", &[row(id)], &[]);
        check("a:1|c|e:it-false", &[row(&[])], &[]);
        check("a:1|c|card:low", &[row(&[])], &[]);
        check("a:1|c:1|c|c:abc", &[row(&[]), row(id)], &[]);
        check("a:1|c:1|c", &[row(&[]), row(&[])], &[]);
        for line in ["a:1|c|#t:v|c", "a:1|c|#t:v|c:", "a:1|c|#t:v|cx", "a:1|c|c"] {
            check(line, &[], &[MalformedContainerId]);
        }
        // Where reading on would not help either, the colon does split.
        check("a:1|c|c:", &[], &[MalformedContainerId, MalformedComponent]);
        check("a:x|c|c:abc", &[], &[MalformedValue, MalformedComponent]);
        check(
            "a:1|c|e:2|g",
            &[("a", Gauge, 2.0, false, 1, &[])],
            &[InvalidSampleFactor],
        );
    }

    #[test]
    fn mixed_styles() {
        check("a,t=v:1|c|#u:w", &[], &[MixedTaggingStyles]);
        let tally = check(
            "a,t:1|c|#u:w",
            &[("a", Counter, 1.0, false, 1, &[("u", "w")])],
            &[],
        );
        assert_eq!(tally.tag_errors, 1);
        // Also where the section would not be read.
        let off = Dialects {
            dogstatsd: false,
            ..Dialects::ALL
        };
        check_with(off, "a,t=v:1|c|#u:w", &[], &[MixedTaggingStyles]);
        check_with(
            off,
            "a:1|c|#u:w",
            &[("a", Counter, 1.0, false, 1, &[])],
            &[],
        );
    }

    /// The promise of [`Sample::divisor`]: the same line with another value
    /// gives that value over the divisor and nothing else new.
    #[test]
    fn a_divisor_says_that_only_the_value_matters() {
        let divisor = |line: &str| {
            let mut divisors = Vec::new();
            parse_line(
                line.as_bytes(),
                &Dialects::ALL,
                &mut Tally::default(),
                |sample| {
                    divisors.push(sample.divisor);
                },
            );
            divisors
        };
        for (line, expect) in [
            ("a:1|c", Some(1.0)),
            ("a:1|c|@0.1", Some(0.1)),
            ("a:1|g|@0.1", Some(1.0)),
            ("a:1|ms|@0.1|#t:v|c:x", Some(1000.0)),
            ("a,t=v:1|h", Some(1.0)),
            ("a:1|c|@0.1|@0.1", None),
            ("a:1|c|@x", None),
            ("a:1|c|#t", None),
            ("a,t:1|c", None),
            ("a:1|c|T1", None),
        ] {
            assert_eq!(divisor(line), [expect], "{line}");
        }
        assert_eq!(divisor("a:1:2|h"), [Some(1.0), Some(1.0)]);
        assert_eq!(divisor("a:1|c:2|c"), [None, None]);
    }
}
