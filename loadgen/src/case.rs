//! A conformance case: what to start, what to send, what to see, as JSON.
//!
//! The integration tests replay such files; `diff` writes one for each
//! difference it finds. Payloads are strings of the characters U+0000 to U+00FF,
//! one for each byte, because JSON cannot hold bytes that are not UTF-8.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::compare::Judged;
use crate::scrape::{Family, Kind, Sample, SampleKey, escape_help, unescape_help};

/// One file. Either `steps` are played against a running exporter, or the
/// process must end by itself (`check`, `exit`, `runs`).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Case {
    /// What the case shows.
    pub about: String,
    /// Why a deliberate difference from the reference is right. Such a case is
    /// written by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differs: Option<String>,
    /// Command-line flags; one named here replaces the runner's own. `{dir}` is
    /// a scratch directory, `{statsd}` and `{web}` are the ports in use,
    /// `{relay}` is the `host:port` of a UDP receiver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// The text of the mapping file, given by `--statsd.mapping-config`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping: Option<String>,
    /// Only check the configuration (`--check-config`); `expect_exit` is
    /// compared.
    #[serde(skip_serializing_if = "is_false")]
    pub check: bool,
    /// Start for real; the process must end by itself and `expect_exit` is
    /// compared.
    #[serde(skip_serializing_if = "is_false")]
    pub exit: bool,
    /// 0 for success, 1 for any failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_exit: Option<i32>,
    /// With `check` or `exit`: run each of these on its own instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Run>,
    /// A regular expression: families that are neither required nor compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore: Option<String>,
    /// Do not compare own counters.
    #[serde(skip_serializing_if = "is_false")]
    pub ignore_own: bool,
    /// To exit with 1 at start also passes.
    #[serde(skip_serializing_if = "is_false")]
    pub may_refuse: bool,
    /// How many more files the process may open once it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nofile: Option<u64>,
    /// What to do and see, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// One start of the exporter. What it leaves out is taken from the case.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Run {
    /// See [`Case::flags`].
    pub flags: Option<Vec<String>>,
    /// See [`Case::mapping`].
    pub mapping: Option<String>,
    /// See [`Case::expect_exit`].
    pub expect_exit: Option<i32>,
}

/// One thing to do or to see.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// One datagram each, to 127.0.0.1.
    Udp(Vec<String>),
    /// The same to ::1. A case with such a step is skipped without IPv6.
    Udp6(Vec<String>),
    /// One connection each, to 127.0.0.1.
    Tcp(Vec<Stream>),
    /// The same to ::1.
    Tcp6(Vec<Stream>),
    /// One datagram each, to the socket of `--statsd.listen-unixgram`.
    Unixgram(Vec<String>),
    /// So many seconds pass.
    Sleep(f64),
    /// The mapping file gets this text.
    Mapping(String),
    /// The mapping file is read anew.
    Reload(ReloadBy),
    /// So many idle TCP connections are open for a moment.
    Hold(usize),
    /// The process gets a signal, named without `SIG`.
    Signal(String),
    /// The process must end by itself with this code.
    Exit(i32),
    /// The permission bits of the Unix socket, in octal.
    SocketMode(String),
    /// All lines the relay target has received so far.
    Relayed(Vec<String>),
    /// A request, and what to compare of the answer.
    Http(Exchange),
    /// What the page must say.
    Scrape(Expectation),
}

/// What is sent over one connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Stream {
    /// At once.
    Whole(String),
    /// With pauses between the pieces, so that each is read on its own.
    Pieces(Vec<String>),
}

/// How to ask for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadBy {
    /// `POST /-/reload`
    Http,
    /// SIGHUP
    Sighup,
}

/// A request with its answer. What is absent is not compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// For example `GET`.
    pub method: String,
    /// For example `/metrics`.
    pub path: String,
    /// Sent with the request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The status code.
    pub status: u16,
    /// The media type with its `version`, `proto` and `encoding` parameters.
    #[serde(rename = "type")]
    pub media_type: Option<String>,
    /// `Content-Encoding`; empty for none.
    pub encoding: Option<String>,
    /// `Location`; empty for none.
    pub location: Option<String>,
    /// The whole body, unpacked, a character for each byte.
    pub body: Option<String>,
}

/// What a page must say.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// What the senders caused, by name.
    pub families: BTreeMap<String, FamilyText>,
    /// The own counters that are not zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<BTreeMap<String, String>>,
    /// Instead of `own`: so many events, at least, are counted by any error or
    /// conflict counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<f64>,
}

/// A family as written in a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FamilyText {
    #[serde(rename = "type")]
    kind: String,
    help: String,
    samples: BTreeMap<String, String>,
}

// === impl Expectation ===

impl Expectation {
    /// Writes down what a page says.
    pub fn of(judged: &Judged) -> Expectation {
        let families = judged.families.iter().map(|family| {
            let samples = family.samples.iter();
            let text = FamilyText {
                kind: family.kind.as_str().to_owned(),
                help: escape_help(&family.help),
                samples: samples
                    .map(|s| (s.key.to_string(), s.value.to_string()))
                    .collect(),
            };
            (family.name.clone(), text)
        });
        let own = judged.own.iter();
        Expectation {
            families: families.collect(),
            own: Some(
                own.map(|(key, value)| (key.to_string(), value.to_string()))
                    .collect(),
            ),
            rejected: None,
        }
    }

    /// Reads the families.
    pub fn families(&self) -> Result<Vec<Family>> {
        let families = self.families.iter();
        families.map(|(name, text)| text.read(name)).collect()
    }

    /// Reads the own counters.
    pub fn own(&self) -> Result<BTreeMap<SampleKey, f64>> {
        let own = self.own.iter().flatten();
        own.map(|(key, value)| read_sample(key, value, Kind::Counter))
            .collect()
    }
}

impl FamilyText {
    fn read(&self, name: &str) -> Result<Family> {
        let kind = Kind::parse(&self.kind)?;
        let samples = self.samples.iter().map(|(key, value)| {
            let (key, value) = read_sample(key, value, kind)?;
            Ok(Sample { key, value })
        });
        Ok(Family {
            name: name.to_owned(),
            kind,
            help: unescape_help(&self.help)?,
            samples: samples.collect::<Result<_>>()?,
        })
    }
}

fn read_sample(key: &str, value: &str, kind: Kind) -> Result<(SampleKey, f64)> {
    let read = || -> Result<_> { Ok((SampleKey::parse(key, kind)?, value.parse()?)) };
    read().with_context(|| format!("{key} {value}"))
}

/// The bytes of a payload.
pub fn bytes(text: &str) -> Result<Vec<u8>> {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    bytes.with_context(|| format!("beyond U+00FF in {text:?}"))
}

/// The payload for some bytes.
pub fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{self, Order};
    use crate::scrape::Page;

    #[test]
    fn a_page_survives_being_written_down() {
        let page = "\
            # HELP a two\\nlines\n\
            # TYPE a gauge\n\
            a{x=\"\\\"\"} NaN\n\
            # HELP h .\n\
            # TYPE h histogram\n\
            h_bucket{le=\"10\"} 1\n\
            h_bucket{le=\"+Inf\"} 1\n\
            h_sum 1e+06\n\
            h_count 1\n\
            statsd_exporter_lines_total 2\n";
        let judged = Judged::of(Page::parse(page).expect("a page"));
        let case = Case {
            about: "x".to_owned(),
            steps: vec![Step::Scrape(Expectation::of(&judged))],
            ..Case::default()
        };
        let text = serde_json::to_string(&case).expect("written");
        let case: Case = serde_json::from_str(&text).expect("read");
        let [Step::Scrape(expectation)] = &case.steps[..] else {
            panic!("{text}")
        };
        let families = expectation.families().expect("families");
        let differences = compare::families(&judged.families, &families, Order::Free, |_| false);
        assert_eq!(differences, [""; 0], "{text}");
        assert_eq!(expectation.own().expect("own"), judged.own);
    }

    #[test]
    fn payloads_are_bytes() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes(&text(&all)).expect("bytes"), all);
        assert!(bytes("ā").is_err());
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for text in [
            r#"{"abuot": "x"}"#,
            r#"{"steps": [{"upd": []}]}"#,
            r#"{"steps": [{"scrape": {"families": {}, "onw": {}}}]}"#,
            r#"{"runs": [{"flag": []}]}"#,
            r#"{"steps": [{"udp": [], "tcp": []}]}"#,
        ] {
            assert!(serde_json::from_str::<Case>(text).is_err(), "{text}");
        }
    }
}
