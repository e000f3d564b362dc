//! Types that flags can have, and how their values are written.

use tracing::Level;

use crate::go_duration::{self, Units};
use crate::mapping::{Unmapped, profiles};
use crate::receive::BackendChoice;
use crate::receive::socket::Steering;
use crate::{log, statsd};

/// The policy `--statsd.cache-type` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheType {
    /// Least recently used goes first.
    Lru,
    /// Any goes first.
    Random,
}

impl Choice for CacheType {
    const WORDS: &[(&str, CacheType)] = &[("lru", CacheType::Lru), ("random", CacheType::Random)];
}

/// The rules `--statsd.mapping-profile` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappingProfile {
    /// No built-in rules.
    None,
    /// Every metric of Apache Airflow.
    Airflow,
    /// The rules of Airflow's official chart.
    AirflowChart,
}

impl MappingProfile {
    /// Its name and its rules.
    pub fn text(self) -> Option<(&'static str, &'static str)> {
        match self {
            MappingProfile::None => None,
            MappingProfile::Airflow => Some(("airflow", profiles::AIRFLOW)),
            MappingProfile::AirflowChart => Some(("airflow-chart", profiles::AIRFLOW_CHART)),
        }
    }
}

impl Choice for MappingProfile {
    const WORDS: &[(&str, MappingProfile)] = &[
        ("", MappingProfile::None),
        ("airflow", MappingProfile::Airflow),
        ("airflow-chart", MappingProfile::AirflowChart),
    ];
}

impl Choice for Unmapped {
    const WORDS: &[(&str, Unmapped)] = &[
        ("keep", Unmapped::Keep),
        ("drop", Unmapped::Drop),
        ("count", Unmapped::Count),
    ];
}

impl Choice for BackendChoice {
    const WORDS: &[(&str, BackendChoice)] = &[
        ("auto", BackendChoice::Auto),
        ("io_uring", BackendChoice::IoUring),
        ("recvmmsg", BackendChoice::Recvmmsg),
    ];
}

impl Choice for Steering {
    const WORDS: &[(&str, Steering)] = &[("flow", Steering::Flow), ("cpu", Steering::Core)];
}

impl Choice for log::Format {
    const WORDS: &[(&str, log::Format)] =
        &[("logfmt", log::Format::Logfmt), ("json", log::Format::Json)];
}

impl Choice for Level {
    const WORDS: &[(&str, Level)] = &[
        ("debug", Level::DEBUG),
        ("info", Level::INFO),
        ("warn", Level::WARN),
        ("error", Level::ERROR),
    ];

    fn is_spelled(word: &str, text: &str) -> bool {
        word.eq_ignore_ascii_case(text)
    }
}

/// A duration as flags have it, in nanoseconds; it may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(pub i64);

/// What `--receive.gather` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatherTime {
    /// The program decides.
    Auto,
    /// No longer than this.
    AtMost(Nanos),
}

/// A type that a flag can have.
pub(super) trait Value: Sized {
    /// Whether the flag is written without a value, as `--x` or `--no-x`.
    const IS_SWITCH: bool = false;

    /// Reads a value; the error goes on from the text, see
    /// [`bad_value`](super::bad_value).
    fn read(text: &str) -> Result<Self, String>;

    /// All values there are, if they can be listed.
    fn words() -> Vec<&'static str> {
        Vec::new()
    }
}

/// A type whose values are words.
pub(super) trait Choice: Copy + 'static {
    const WORDS: &'static [(&'static str, Self)];

    fn is_spelled(word: &str, text: &str) -> bool {
        word == text
    }
}

impl<T: Choice> Value for T {
    fn read(text: &str) -> Result<T, String> {
        let spelled = |(word, _): &&(&str, T)| T::is_spelled(word, text);
        match T::WORDS.iter().find(spelled) {
            Some(&(_, value)) => Ok(value),
            None => Err(format!("is not one of {}", list(&T::words()))),
        }
    }

    fn words() -> Vec<&'static str> {
        T::WORDS.iter().map(|&(word, _)| word).collect()
    }
}

impl Value for String {
    fn read(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }
}

impl Value for bool {
    const IS_SWITCH: bool = true;

    fn read(text: &str) -> Result<bool, String> {
        text.parse().map_err(|_| "is not true or false".to_owned())
    }
}

impl Value for i64 {
    /// A float in Go's grammar without its fraction, for so kingpin reads
    /// integers. What does not fit is refused: Go would take some other number.
    fn read(text: &str) -> Result<i64, String> {
        const BEYOND: f64 = 9_223_372_036_854_775_808.0;
        match statsd::parse_number(text.as_bytes()) {
            Ok(number) if (-BEYOND..BEYOND).contains(&number) => Ok(number as i64),
            Ok(_) | Err(statsd::NumberError::Range(_)) => {
                Err("does not fit into 64 bits".to_owned())
            }
            Err(statsd::NumberError::Syntax) => {
                Err("is not a number; write for example 1000".to_owned())
            }
        }
    }
}

impl Value for u64 {
    /// An integer literal of Go without a sign: `0x`, `0o`, `0b` and a plain
    /// leading `0` set the base, single underscores may stand between digits.
    fn read(text: &str) -> Result<u64, String> {
        let not_a_number = || "is not a number from 0 up; write for example 1000".to_owned();
        let (base, digits) = match text.as_bytes() {
            [b'0', b'x' | b'X', ..] => (16, &text[2..]),
            [b'0', b'o' | b'O', ..] => (8, &text[2..]),
            [b'0', b'b' | b'B', ..] => (2, &text[2..]),
            [b'0', _, ..] => (8, &text[1..]),
            _ => (10, text),
        };
        // An underscore may follow a prefix, but nothing else than a digit.
        let digits = match digits.strip_prefix('_') {
            Some(after_prefix) if base != 10 => after_prefix,
            _ => digits,
        };
        if digits.is_empty() || digits.split('_').any(|group| !are_digits(group, base)) {
            return Err(not_a_number());
        }
        // The digits are good, so only their number can be wrong.
        u64::from_str_radix(&digits.replace('_', ""), base)
            .map_err(|_| "does not fit into 64 bits".to_owned())
    }
}

impl Value for Nanos {
    fn read(text: &str) -> Result<Nanos, String> {
        let nanos = go_duration::parse(text, Units::WithDays)?;
        Ok(Nanos(nanos))
    }
}

impl Value for GatherTime {
    fn read(text: &str) -> Result<GatherTime, String> {
        match text {
            "auto" => Ok(GatherTime::Auto),
            // The only duration without a unit.
            "0" => Ok(GatherTime::AtMost(Nanos(0))),
            _ => Nanos::read(text).map(GatherTime::AtMost),
        }
    }
}

fn are_digits(text: &str, base: u32) -> bool {
    !text.is_empty() && text.chars().all(|digit| digit.is_digit(base))
}

/// `a, b, c`, with quotes where a word would be invisible.
pub(super) fn list(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| if word.is_empty() { "\"\"" } else { word })
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_numbers_are_floats_without_their_fraction() {
        for (text, value) in [
            ("1000", 1000),
            ("1e3", 1000),
            ("1_0", 10),
            ("2.7", 2),
            ("-2.7", -2),
            ("+5", 5),
            ("-0", 0),
            ("0.9", 0),
            ("0x1p4", 16),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(i64::read(text), Ok(value), "{text}");
        }
        for text in [
            "",
            "x",
            "0x10",
            "5 ",
            "--5",
            "nan",
            "inf",
            "1e30",
            "1e400",
            "9223372036854775808",
        ] {
            assert!(i64::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn unsigned_numbers_have_a_base() {
        for (text, value) in [
            ("0", 0),
            ("1400", 1400),
            ("0x10", 16),
            ("0X1f", 31),
            ("0b11", 3),
            ("0o17", 15),
            ("010", 8),
            ("1_000", 1000),
            ("0x_10", 16),
            ("0_7", 7),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(u64::read(text), Ok(value), "{text}");
        }
        for text in [
            "",
            "x",
            "-1",
            "+5",
            "1.5",
            "1e3",
            "08",
            "0x",
            "0x_",
            "0_",
            "_1",
            "1_",
            "1__0",
            "0x+1",
            "0b2",
            "18446744073709551616",
        ] {
            assert!(u64::read(text).is_err(), "{text}");
        }
    }
}
