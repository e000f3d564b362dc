//! The StatsD wire format, both directions: bytes to samples and back.
//!
//! This module knows nothing of Prometheus. It splits datagrams into lines and
//! lines into samples, reads numbers and the four tag dialects, and says why a
//! piece was refused; what becomes of a sample is decided elsewhere.
//!
//! ```text
//! line    := name ":" rest
//! name    := text, possibly carrying SignalFX, InfluxDB or Librato tags
//! rest    := sample (":" sample)*                   several samples
//!          | value (":" value)+ "|" type sections   extended aggregation
//!          | sample                                 when "|#" occurs in rest
//! sample  := value "|" type ("|" section){0,4}
//! section := "@" factor | "#" tags | "c:" id | "e:" … | "card:" … | "T" …
//! ```

mod number;
mod parse;
mod tags;
mod write;

pub use number::{NumberError, parse_number};
pub use parse::{Parts, for_each_line, parse_line};
pub use write::write_line;

/// What a sample does to a series. Rules filter on it, so it keeps the three
/// words of the mapping language rather than the six of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StatType {
    /// `c`
    Counter,
    /// `g`
    Gauge,
    /// `ms`, `h` and `d`
    Observer,
}

impl StatType {
    /// All types, in the order of their discriminants.
    pub const ALL: [StatType; 3] = [StatType::Counter, StatType::Gauge, StatType::Observer];

    /// The word used in mapping files and in label values.
    pub fn as_str(self) -> &'static str {
        match self {
            StatType::Counter => "counter",
            StatType::Gauge => "gauge",
            StatType::Observer => "observer",
        }
    }
}

/// Which tag dialects are read. A dialect that is off leaves its characters in
/// the metric name (or, for DogStatsD, its section unread).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialects {
    /// `name:1|c|#key:value,key:value`
    pub dogstatsd: bool,
    /// `name,key=value,key=value:1|c`
    pub influxdb: bool,
    /// `name#key=value,key=value:1|c`
    pub librato: bool,
    /// `name[key=value,key=value]:1|c`
    pub signalfx: bool,
}

impl Dialects {
    /// Every dialect, the default.
    pub const ALL: Dialects = Dialects {
        dogstatsd: true,
        influxdb: true,
        librato: true,
        signalfx: true,
    };
}

/// One way to write tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `name:1|c|#key:value,key:value`
    Dogstatsd,
    /// `name,key=value,key=value:1|c`
    Influxdb,
    /// `name#key=value,key=value:1|c`
    Librato,
    /// `name[key=value,key=value]:1|c`
    Signalfx,
}

impl Dialect {
    /// All dialects, in the order of their discriminants.
    pub const ALL: [Dialect; 4] = [
        Dialect::Dogstatsd,
        Dialect::Influxdb,
        Dialect::Librato,
        Dialect::Signalfx,
    ];

    /// The word used in mapping files.
    pub fn as_str(self) -> &'static str {
        match self {
            Dialect::Dogstatsd => "dogstatsd",
            Dialect::Influxdb => "influxdb",
            Dialect::Librato => "librato",
            Dialect::Signalfx => "signalfx",
        }
    }
}

/// One sample of a line. Everything is borrowed from the line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<'a> {
    /// The name without its tags, not escaped.
    pub name: &'a str,
    /// What it does.
    pub stat: StatType,
    /// The value, in seconds for `ms`, divided by the sampling factor for `c`.
    pub value: f64,
    /// For gauges: the value carried a sign, so it is added.
    pub relative: bool,
    /// How many times it was observed; above one only for sampled observers.
    pub count: u64,
    /// Key and value pairs in the order of the line, keys not escaped, a key
    /// possibly twice (the later one counts).
    pub tags: &'a [(&'a str, &'a str)],
    /// How the tags are written; `None` without tags.
    pub dialect: Option<Dialect>,
    /// Present when every other field follows from the line without its value:
    /// what to divide a number in the value's place by. See [`Parts`].
    pub divisor: Option<f64>,
}

impl<'a> Sample<'a> {
    /// A sample of value 1, without tags.
    pub fn new(name: &'a str, stat: StatType) -> Sample<'a> {
        Sample {
            name,
            stat,
            value: 1.0,
            relative: false,
            count: 1,
            tags: &[],
            dialect: None,
            divisor: None,
        }
    }
}

/// Why a line or a sample was refused. The names are the values of the
/// `reason` label of `statsd_exporter_sample_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineError {
    /// No colon, no name before it, or bytes that are not UTF-8.
    MalformedLine,
    /// DogStatsD tags and tags in the name.
    MixedTaggingStyles,
    /// No `|` after the name.
    NotEnoughPartsAfterColon,
    /// Several values for a type other than `ms`, `h` and `d`.
    InvalidExtendedAggregateType,
    /// Too few, too many or empty sections.
    MalformedComponent,
    /// The value is not a number.
    MalformedValue,
    /// The sampling factor is not a number, or the section is unknown.
    InvalidSampleFactor,
    /// A `c` section without an id.
    MalformedContainerId,
    /// A type that has no Prometheus counterpart, such as `s`.
    IllegalEvent,
}

impl LineError {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [LineError; 9] = [
        LineError::MalformedLine,
        LineError::MixedTaggingStyles,
        LineError::NotEnoughPartsAfterColon,
        LineError::InvalidExtendedAggregateType,
        LineError::MalformedComponent,
        LineError::MalformedValue,
        LineError::InvalidSampleFactor,
        LineError::MalformedContainerId,
        LineError::IllegalEvent,
    ];

    /// The value of the `reason` label.
    pub fn as_str(self) -> &'static str {
        match self {
            LineError::MalformedLine => "malformed_line",
            LineError::MixedTaggingStyles => "mixed_tagging_styles",
            LineError::NotEnoughPartsAfterColon => "not_enough_parts_after_colon",
            LineError::InvalidExtendedAggregateType => "invalid_extended_aggregate_type",
            LineError::MalformedComponent => "malformed_component",
            LineError::MalformedValue => "malformed_value",
            LineError::InvalidSampleFactor => "invalid_sample_factor",
            LineError::MalformedContainerId => "malformed_container_id",
            LineError::IllegalEvent => "illegal_event",
        }
    }
}

/// What parsing met on its way, to be added up by the caller. Parsing itself
/// counts nothing and logs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Samples looked at, whatever became of them.
    pub samples: u64,
    /// Samples that carried at least one good tag.
    pub tagged: u64,
    /// Tag pieces that were not a key and a value.
    pub tag_errors: u64,
    /// Refusals, indexed by [`LineError`].
    pub errors: [u64; LineError::ALL.len()],
}

impl Tally {
    fn error(&mut self, reason: LineError) {
        self.errors[reason as usize] += 1;
    }
}
