//! What random input must not hold, each with its reason.
//!
//! Two kinds of input say nothing about Pitot: what ends, wedges or poisons the
//! reference, and what Pitot answers differently on purpose (each of those is
//! described in `docs/compatibility.md` and has a conformance case). A third
//! would only be slow or leave the result to chance. The tables below name all
//! that chance could make. Some things it cannot make, because the alphabets of
//! [`super::lines`] and [`super::rules`] lack them:
//!
//! - that poison the reference: two help texts for one name (one text, and names
//!   that only rules with it have); options such as buckets that fall, quantiles
//!   above one and a `max_age` of nanoseconds;
//! - where Pitot differs: `%` and `$10` in templates, labels of one letter, keys of
//!   older versions, `summary_options` without an `observer_type`, rules without
//!   order that do not make the reference backtrack; anything with a ttl.

use pitot::statsd::{Dialects, StatType, Tally, parse_line};

use super::rules::{Rule, Rules};
use crate::diff::pair::Transport;

/// Below the 4095 bytes that a stream's line may have.
const STREAM_LINE_BYTES_MAX: usize = 4000;

type LineTest = fn(&Seen<'_>, &Avoid) -> bool;
type RulesTest = fn(&Rules) -> bool;

/// What a line must not be, in a round with certain flags and rules.
const LINES: &[(&str, LineTest)] = &[
    // What the reference does not survive.
    ("it ends the reference: ] before [", |line, _| {
        let name = line.text.split(':').next().unwrap_or_default();
        matches!((name.find('['), name.find(']')), (Some(open), Some(close)) if close < open)
    }),
    ("it poisons the reference: no name", |line, _| {
        line.samples.iter().any(|sample| sample.name.is_empty())
    }),
    ("it poisons the reference: a reserved label", |line, _| {
        line.tag_keys().any(|key| {
            let mut chars = key.chars();
            let mut is_odd = || chars.next().is_some_and(|c| !c.is_ascii_alphanumeric());
            (is_odd() && is_odd()) || key == "le" || key == "quantile"
        })
    }),
    (
        "it poisons the reference: one of its own names",
        |line, _| {
            let own = ["statsd", "go", "process", "promhttp"];
            let begins = |name: &str| own.iter().any(|own| name.starts_with(own));
            line.samples.iter().any(|sample| begins(&sample.name))
        },
    ),
    (
        "it poisons the reference: an observer named as a part",
        |line, _| {
            let is_part = |name: &str| {
                ["count", "sum", "bucket"]
                    .iter()
                    .any(|part| name.contains(part))
            };
            line.observers().any(|sample| is_part(&sample.name))
        },
    ),
    // Where Pitot differs on purpose.
    (
        "Pitot keeps container ids and newer sections whole",
        |line, _| {
            let cut = |piece: &str| {
                let fields: Vec<&str> = piece.split('|').collect();
                fields.len() > 2 && matches!(fields.last(), Some(&("c" | "e" | "card")))
            };
            let rest = line.text.split_once(':').map_or("", |(_, rest)| rest);
            let newer = rest.contains("|e:") || rest.contains("|card:");
            newer || (!rest.contains("|#") && rest.split(':').any(cut))
        },
    ),
    (
        "Pitot keeps the labels of a line's samples apart",
        |line, round| {
            let mut types = line.samples.iter().map(|sample| sample.stat);
            let first = types.next();
            round.rules_have_labels && types.any(|stat| Some(stat) != first)
        },
    ),
    ("Pitot captures a star as any other text", |line, round| {
        round.rules_have_globs && line.samples.iter().any(|sample| sample.name.contains('*'))
    }),
    // What proves nothing.
    (
        "the order of NaN among observations is chance",
        |line, round| {
            let is_nan = |value: f64| value.is_nan() || (round.rules_zero && value.is_infinite());
            line.observers().any(|sample| is_nan(sample.value))
        },
    ),
    (
        "the reference repeats a sampled observation, slowly",
        |line, _| line.observers().any(|sample| sample.count > 50),
    ),
    (
        "quantiles of many observations are estimates",
        |line, round| round.observations + line.observations() >= 500,
    ),
    (
        "the reference adds such counters in another unit",
        |line, _| {
            let counters = line.samples.iter().filter(|s| s.stat == StatType::Counter);
            counters
                .map(|s| s.value)
                .any(|value| value.is_finite() && value > 1e15)
        },
    ),
];

/// What a mapping file must not hold.
const RULES: &[(&str, RulesTest)] = &[
    (
        "Pitot reaches a rule that a longer one before it hides",
        |rules| {
            rules.glob_pairs().any(|(earlier, later)| {
                let prefix = format!("{}.", later.pattern);
                earlier.pattern.starts_with(&prefix)
            })
        },
    ),
    (
        "Pitot gives a repeated pattern the place of the first",
        |rules| {
            rules
                .glob_pairs()
                .any(|(earlier, later)| earlier.pattern == later.pattern)
        },
    ),
];

/// The state of a round.
#[derive(Debug)]
pub struct Avoid {
    dialects: Dialects,
    transport: Transport,
    rules_have_labels: bool,
    rules_have_globs: bool,
    rules_zero: bool,
    /// In the lines that were let through.
    observations: u64,
}

impl Avoid {
    /// For a round with these rules and flags.
    pub fn new(rules: &Rules, dialects: Dialects, transport: Transport) -> Avoid {
        Avoid {
            dialects,
            transport,
            rules_have_labels: rules.rules.iter().any(|rule| rule.has_labels),
            rules_have_globs: rules.rules.iter().any(|rule| rule.is_glob),
            rules_zero: rules.rules.iter().any(|rule| rule.zeroes),
            observations: 0,
        }
    }

    /// Why a line must not be sent; `None` if it may be, and then it counts as
    /// sent.
    pub fn line(&mut self, line: &[u8]) -> Option<&'static str> {
        let mut line = line;
        if self.transport == Transport::Tcp {
            if line.len() > STREAM_LINE_BYTES_MAX {
                return Some("a stream's lines are capped");
            }
            line = line.strip_suffix(b"\r").unwrap_or(line);
        }
        // Such a line is refused as a whole.
        let text = std::str::from_utf8(line).ok()?;
        let line = Seen::new(text, &self.dialects);
        for (reason, applies) in LINES {
            if applies(&line, self) {
                return Some(reason);
            }
        }
        self.observations += line.observations();
        None
    }
}

/// Why a mapping file must not be used; `None` if it may be.
pub fn rules(rules: &Rules) -> Option<&'static str> {
    let found = RULES.iter().find(|(_, applies)| applies(rules));
    found.map(|(reason, _)| *reason)
}

impl Rules {
    /// Every two globs that some sample may both match, in order.
    fn glob_pairs(&self) -> impl Iterator<Item = (&Rule, &Rule)> {
        let globs = || self.rules.iter().filter(|rule| rule.is_glob);
        globs().enumerate().flat_map(move |(index, earlier)| {
            let later = globs().skip(index + 1);
            let meets = |later: &&Rule| {
                earlier.stat.is_none() || later.stat.is_none() || earlier.stat == later.stat
            };
            later.filter(meets).map(move |later| (earlier, later))
        })
    }
}

/// A line with the samples that it is expected to give.
struct Seen<'a> {
    text: &'a str,
    samples: Vec<Sample>,
}

struct Sample {
    name: String,
    stat: StatType,
    value: f64,
    count: u64,
    tag_keys: Vec<String>,
}

impl<'a> Seen<'a> {
    fn new(text: &'a str, dialects: &Dialects) -> Seen<'a> {
        let mut samples = Vec::new();
        parse_line(text.as_bytes(), dialects, &mut Tally::default(), |sample| {
            samples.push(Sample {
                name: sample.name.to_owned(),
                stat: sample.stat,
                value: sample.value,
                count: sample.count,
                tag_keys: sample
                    .tags
                    .iter()
                    .map(|(key, _)| (*key).to_owned())
                    .collect(),
            });
        });
        Seen { text, samples }
    }

    fn observers(&self) -> impl Iterator<Item = &Sample> {
        let samples = self.samples.iter();
        samples.filter(|sample| sample.stat == StatType::Observer)
    }

    fn observations(&self) -> u64 {
        self.observers().map(|sample| sample.count).sum()
    }

    fn tag_keys(&self) -> impl Iterator<Item = &str> {
        self.samples
            .iter()
            .flat_map(|sample| &sample.tag_keys)
            .map(String::as_str)
    }
}
