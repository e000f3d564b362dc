//! Rounds of random input: flags, a mapping file and lines that fit together.

mod avoid;
mod lines;
mod rules;

use pitot::statsd::Dialects;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::case::{self, Case, Expectation, Step, Stream};
use crate::diff::pair::{Outcome, Setup, Transport};
use avoid::Avoid;
use rules::Rules;

/// Datagrams of a round.
const DATAGRAMS: usize = 120;

/// One round of random input.
#[derive(Clone, Debug)]
pub struct Round {
    /// What it was made from.
    pub seed: u64,
    /// Command-line flags.
    pub flags: Vec<String>,
    /// The mapping file.
    pub rules: Rules,
    /// How the lines travel.
    pub transport: Transport,
    /// In order.
    pub datagrams: Vec<Vec<u8>>,
}

impl Round {
    /// The round of a seed; always the same.
    pub fn random(seed: u64) -> Round {
        let rng = &mut SmallRng::seed_from_u64(seed);
        let (flags, dialects) = flags(rng);
        let rules = rules::rules(rng);
        let transport = pick(rng, &[Transport::Udp, Transport::Udp, Transport::Tcp]);
        let mut avoid = Avoid::new(&rules, dialects, transport);
        let datagrams = (0..DATAGRAMS).map(|_| lines::datagram(rng, &mut avoid));
        Round {
            seed,
            flags,
            transport,
            datagrams: datagrams.collect(),
            rules,
        }
    }

    /// What both exporters are started with.
    pub fn setup(&self) -> Setup {
        let rules = self.rules.rules.iter().map(|rule| &*rule.text);
        let mapping: String = std::iter::once(&*self.rules.head).chain(rules).collect();
        Setup {
            flags: self.flags.clone(),
            mapping: (!mapping.is_empty()).then(|| mapping.into_bytes()),
        }
    }

    /// The same lines, each in a datagram of its own.
    pub fn with_single_lines(&self) -> Round {
        let datagrams = self.datagrams.iter();
        let lines = datagrams.flat_map(|datagram| datagram.split(|&byte| byte == b'\n'));
        Round {
            datagrams: lines.map(<[u8]>::to_vec).collect(),
            ..self.clone()
        }
    }

    /// The same round without a mapping file.
    pub fn without_mapping(&self) -> Round {
        Round {
            rules: Rules::default(),
            ..self.clone()
        }
    }

    /// The same round with nothing but rules in the mapping file.
    pub fn without_defaults(&self) -> Round {
        let mut round = self.clone();
        round.rules.head = rules::HEAD.to_owned();
        round
    }

    /// The round as a conformance case, with the peer's page as expectation.
    pub fn case(&self, outcome: &Outcome) -> Case {
        let setup = self.setup();
        let payloads = self.datagrams.iter().map(|datagram| case::text(datagram));
        let send = match self.transport {
            Transport::Udp => Step::Udp(payloads.collect()),
            Transport::Tcp => {
                let lines = payloads.map(|payload| match payload.ends_with('\n') {
                    true => payload,
                    false => payload + "\n",
                });
                Step::Tcp(vec![Stream::Whole(lines.collect())])
            }
        };
        let expect = outcome.peer.as_ref().map(Expectation::of).map(Step::Scrape);
        Case {
            about: format!("Random round {}", self.seed),
            flags: setup.flags,
            mapping: setup.mapping.map(|mapping| case::text(&mapping)),
            steps: std::iter::once(send).chain(expect).collect(),
            ..Case::default()
        }
    }
}

/// Random flags, and the tag dialects that they leave on.
fn flags(rng: &mut SmallRng) -> (Vec<String>, Dialects) {
    let mut flags = Vec::new();
    let mut dialects = Dialects::ALL;
    for (name, is_on) in [
        ("dogstatsd", &mut dialects.dogstatsd),
        ("influxdb", &mut dialects.influxdb),
        ("librato", &mut dialects.librato),
        ("signalfx", &mut dialects.signalfx),
    ] {
        if rng.random_bool(0.1) {
            *is_on = false;
            flags.push(format!("--no-statsd.parse-{name}-tags"));
        }
    }
    if rng.random_bool(0.2) {
        flags.push(format!("--statsd.cache-size={}", pick(rng, &[0, 1, 5])));
    }
    if rng.random_bool(0.1) {
        flags.push("--statsd.cache-type=random".to_owned());
    }
    (flags, dialects)
}

fn pick<T: Copy>(rng: &mut SmallRng, choices: &[T]) -> T {
    *choices.choose(rng).expect("there is a choice")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_round() {
        let text = |seed| {
            let round = Round::random(seed);
            serde_json::to_string(&round.case(&Outcome::default())).expect("written")
        };
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }

    /// Every kind of line and rule comes up, or the rounds prove less than they
    /// seem to.
    #[test]
    fn rounds_are_rich() {
        let mut text = String::new();
        for seed in 0..100 {
            let round = Round::random(seed);
            let setup = round.setup();
            text.push_str(&case::text(&setup.mapping.unwrap_or_default()));
            text.push_str(&setup.flags.concat());
            for datagram in &round.datagrams {
                text.push_str(&case::text(datagram));
                text.push('\n');
            }
        }
        for piece in [
            "|@",
            "|#",
            "|c:",
            "|T",
            "[",
            "#tag=",
            ",tag=",
            "a.b:",
            "ms",
            "\u{ff}",
            "\r\n",
            "NaN",
            "part.count:",
            "long-long",
            ":1:",
            "regex",
            "drop",
            "honor",
            "scale",
            "quantile",
            "histogram",
            "disable_ordering",
            "no-statsd",
            "match_metric_type",
            "${1}",
        ] {
            assert!(text.contains(piece), "no {piece:?}");
        }
    }

    #[test]
    fn what_is_to_be_avoided_is() {
        let rules = Rules::default();
        let mut avoid = Avoid::new(&rules, Dialects::ALL, Transport::Udp);
        for line in [
            "a]t=v[b:1|c",
            ",t=v:1|c",
            "a:1|c|#__x:1",
            "a:1|c|#é.x:1",
            "a:1|c|#le:1",
            "go_threads:1|g",
            "a.count:1|h",
            "a:1|c|c:id",
            "a:1|c|#t:v|e:x",
            "a:NaN|h",
            "a:1|ms|@0.001",
            "a:1e300|c",
        ] {
            assert!(avoid.line(line.as_bytes()).is_some(), "{line}");
        }
        for line in [
            "a[t=v]b:1|c",
            "a:1|c",
            "a.count:1|c",
            "a:1|c:2|c",
            "a:1|c|#t:v|c:id",
            "a:NaN|c",
            "a:1|ms|@0.1",
            "a:1e300|g",
            "a:1|c:2|g",
        ] {
            assert_eq!(avoid.line(line.as_bytes()), None, "{line}");
        }
        let mut stream = Avoid::new(&rules, Dialects::ALL, Transport::Tcp);
        assert!(stream.line(b"#:1|c\r").is_some());
        assert!(stream.line(&[0xff; 4500]).is_some());
    }
}
