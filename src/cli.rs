//! The command line: statsd_exporter's flags under their own names, read by
//! its rules, and ours beside them.
//!
//! Deployments carry these command lines, so what the reference accepts or
//! refuses counts more than taste. Its parser is the Go library `kingpin`,
//! whose rules no crate offers: booleans as `--x` and `--no-x`, nothing given
//! twice, whole numbers read as floats, `@file` for a file of arguments.
//!
//! A flag is one entry of the list below: it makes the field of [`Flags`], its
//! default, its parser and its line of help.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt::Display;
use std::path::Path;

use tracing::Level;

use crate::go_duration::{self, Units};
use crate::receive::BackendChoice;
use crate::receive::socket::Steering;
use crate::{log, statsd};

/// What the user asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Serve, or with `--check-config` only look at the mapping.
    Run(Flags),
    /// Show what becomes of lines, without serving.
    Explain {
        /// The same flags; those of sockets mean nothing here.
        flags: Flags,
        /// StatsD lines as on the wire, at least one.
        lines: Vec<String>,
    },
}

/// The command line ends the program before it starts: print, then exit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit status: 0 after help or version, 1 after an error.
    pub code: u8,
    /// For standard output, ends of lines included.
    pub stdout: String,
    /// For standard error, ends of lines included.
    pub stderr: String,
}

/// Reads a command line, the name of the program first.
///
/// # Errors
/// Help, the version, or what is wrong with an argument and how to put it
/// right. Help and version win over any error that comes later in the line,
/// and over values that do not fit their flags.
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Command, Exit> {
    let mut argv = argv.into_iter();
    let program = argv.next().unwrap_or_default();
    read(argv.collect()).map_err(|stop| match stop {
        Stop::Show(stdout) => Exit {
            code: 0,
            stdout,
            stderr: String::new(),
        },
        Stop::Refuse(message) => {
            let program = Path::new(&program).file_name().unwrap_or(PROGRAM.as_ref());
            Exit {
                code: 1,
                stdout: String::new(),
                stderr: format!("{}: error: {message}, try --help\n", program.display()),
            }
        }
    })
}

/// How an error about the value of a flag reads, here and in later checks:
/// `why` goes on from the value, as in `is not a number`.
pub fn bad_value(flag: &str, value: &str, why: impl Display) -> String {
    format!("--{flag}: {value:?} {why}")
}

/// What this binary is and where it comes from. The build may tell the unknown
/// parts through environment variables of the names given here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// The version of the package.
    pub version: &'static str,
    /// `PITOT_BRANCH`, or empty.
    pub branch: &'static str,
    /// `PITOT_REVISION`, or empty.
    pub revision: &'static str,
    /// `PITOT_BUILD_USER`, or empty.
    pub user: &'static str,
    /// `PITOT_BUILD_DATE`, or empty.
    pub date: &'static str,
    /// The toolchain as rustup names it, or empty when built without rustup.
    pub toolchain: &'static str,
    /// The operating system in Go's words, which dashboards know.
    pub os: &'static str,
    /// The processor in Go's words: `amd64`, `arm64`.
    pub arch: &'static str,
}

/// This build.
pub const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    branch: or_empty(option_env!("PITOT_BRANCH")),
    revision: or_empty(option_env!("PITOT_REVISION")),
    user: or_empty(option_env!("PITOT_BUILD_USER")),
    date: or_empty(option_env!("PITOT_BUILD_DATE")),
    toolchain: or_empty(option_env!("RUSTUP_TOOLCHAIN")),
    os: std::env::consts::OS,
    arch: if cfg!(target_arch = "x86_64") {
        "amd64"
    } else if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        std::env::consts::ARCH
    },
};

// === The flags ===

/// Makes [`Flags`] and the table behind parser and help out of groups of
/// entries `/// help`, `"name" => field: Type = "default";`.
macro_rules! flags {
    ($($title:literal { $(
        $(#[doc = $help:literal])+
        $name:literal => $field:ident: $kind:ty = $default:literal;
    )+ })+) => {
        /// The flags as typed, each read by itself; nothing is resolved or
        /// compared yet.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Flags { $($(
            $(#[doc = $help])+
            pub $field: $kind,
        )+)+ }

        impl Default for Flags {
            fn default() -> Flags {
                Flags { $($(
                    $field: Value::read($default).expect("a default is a value of its flag"),
                )+)+ }
            }
        }

        const GROUPS: &[Group] = &[$(Group {
            title: $title,
            flags: &[$(Flag {
                name: $name,
                default: $default,
                help: concat!($($help),+),
                is_switch: <$kind as Value>::IS_SWITCH,
                words: <$kind as Value>::words,
                set: |flags, text| {
                    flags.$field = Value::read(text)?;
                    Ok(())
                },
            }),+],
        }),+];
    };
}

flags! {
    "Web" {
        /// Address of the web server: host:port, where the port may be a
        /// service name. Empty means :80.
        "web.listen-address" => web_listen_address: String = ":9102";
        /// Allow reload and shutdown by POST to /-/reload and /-/quit.
        "web.enable-lifecycle" => web_enable_lifecycle: bool = "false";
        /// Path of the page of metrics.
        "web.telemetry-path" => web_telemetry_path: String = "/metrics";
    }
    "Receiving StatsD" {
        /// UDP address to receive on, host:port. Empty turns it off.
        "statsd.listen-udp" => statsd_listen_udp: String = ":9125";
        /// TCP address to receive on, host:port. Empty turns it off.
        "statsd.listen-tcp" => statsd_listen_tcp: String = ":9125";
        /// Unix datagram socket to receive on: a path, or @name for an
        /// abstract socket. Empty turns it off.
        "statsd.listen-unixgram" => statsd_listen_unixgram: String = "";
        /// Octal permissions of the file of a Unix socket.
        "statsd.unixsocket-mode" => statsd_unixsocket_mode: String = "755";
        /// Bytes of receive buffer to ask the kernel for, on UDP and Unix
        /// datagram sockets; without CAP_NET_ADMIN, net.core.rmem_max is the
        /// most it gives. 0 asks for 4 MiB.
        "statsd.read-buffer" => statsd_read_buffer: i64 = "0";
        /// Read DogStatsD tags, name:1|c|#key:value.
        "statsd.parse-dogstatsd-tags" => statsd_parse_dogstatsd_tags: bool = "true";
        /// Read InfluxDB tags, name,key=value:1|c.
        "statsd.parse-influxdb-tags" => statsd_parse_influxdb_tags: bool = "true";
        /// Read Librato tags, name#key=value:1|c.
        "statsd.parse-librato-tags" => statsd_parse_librato_tags: bool = "true";
        /// Read SignalFX tags, name[key=value]:1|c.
        "statsd.parse-signalfx-tags" => statsd_parse_signalfx_tags: bool = "true";
    }
    "Mapping" {
        /// File of mapping rules, in YAML.
        "statsd.mapping-config" => statsd_mapping_config: String = "";
        /// Check the mapping rules and exit: 0 if they are good, else 1.
        "check-config" => check_config: bool = "false";
        /// File to write the state machine of the glob rules to, for Graphviz.
        "debug.dump-fsm" => debug_dump_fsm: String = "";
    }
    "Relay" {
        /// UDP address that gets a copy of every line, host:port. Empty turns
        /// it off.
        "statsd.relay.address" => statsd_relay_address: String = "";
        /// Most bytes in a datagram to the relay; keep it below the MTU.
        "statsd.relay.packet-length" => statsd_relay_packet_length: u64 = "1400";
    }
    "Log" {
        /// Least severe records to write.
        "log.level" => log_level: Level = "info";
        /// Format of the records, on standard error.
        "log.format" => log_format: log::Format = "logfmt";
    }
    "Pitot's own, unknown to statsd_exporter" {
        /// Unix stream socket to receive on: a path, or @name for an abstract
        /// socket. Empty turns it off.
        "statsd.listen-unixstream" => statsd_listen_unixstream: String = "";
        /// Mapping rules that come with the program. Empty means none.
        "statsd.mapping-profile" => statsd_mapping_profile: MappingProfile = "";
        /// How to take datagrams from the kernel; auto is io_uring where the
        /// kernel allows it, else recvmmsg.
        "receive.backend" => receive_backend: BackendChoice = "auto";
        /// How long UDP datagrams may gather before they are taken, so that
        /// taking them costs less; auto is as long as the receive buffer
        /// surely lasts, 0 not at all. Pages never miss what has arrived.
        "receive.gather" => receive_gather: GatherTime = "auto";
        /// Sockets that share the load of UDP, each with its own thread; 0 is
        /// one for each usable core.
        "receive.shards" => receive_shards: u64 = "0";
        /// How datagrams are spread over these: flow keeps those of a sender
        /// together, cpu goes by the core on which they arrive.
        "receive.steering" => receive_steering: Steering = "flow";
        /// Keep each of these threads on a core of its own.
        "receive.pin" => receive_pin: bool = "false";
    }
    "Accepted for compatibility" {
        /// Only 0 has an effect: no line is remembered, and the metrics of the
        /// cache are left out. Otherwise the cache grows with the series.
        "statsd.cache-size" => statsd_cache_size: i64 = "1000";
        /// No effect: the cache has one way to make room.
        "statsd.cache-type" => statsd_cache_type: CacheType = "lru";
        /// No effect: there is no queue between receiving and counting.
        "statsd.event-queue-size" => statsd_event_queue_size: u64 = "10000";
        /// No effect: there is no queue between receiving and counting.
        "statsd.event-flush-threshold" => statsd_event_flush_threshold: i64 = "1000";
        /// No effect: there is no queue between receiving and counting.
        "statsd.event-flush-interval" => statsd_event_flush_interval: Nanos = "200ms";
        /// No effect: there is no queue between receiving and counting.
        "statsd.udp-packet-queue-size" => statsd_udp_packet_queue_size: i64 = "10000";
    }
}

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
    /// Rules for Apache Airflow.
    Airflow,
}

impl Choice for MappingProfile {
    const WORDS: &[(&str, MappingProfile)] = &[
        ("", MappingProfile::None),
        ("airflow", MappingProfile::Airflow),
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

// === Values ===

/// A type that a flag can have.
trait Value: Sized {
    /// Whether the flag is written without a value, as `--x` or `--no-x`.
    const IS_SWITCH: bool = false;

    /// Reads a value; the error goes on from the text, see [`bad_value`].
    fn read(text: &str) -> Result<Self, String>;

    /// All values there are, if they can be listed.
    fn words() -> Vec<&'static str> {
        Vec::new()
    }
}

/// A type whose values are words.
trait Choice: Copy + 'static {
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
fn list(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| if word.is_empty() { "\"\"" } else { word })
        .collect::<Vec<_>>()
        .join(", ")
}

// === The table ===

/// Flags that help shows under one title.
struct Group {
    title: &'static str,
    flags: &'static [Flag],
}

/// A flag as the parser and the help see it.
struct Flag {
    name: &'static str,
    default: &'static str,
    /// Sentences, with a space before each line of the source.
    help: &'static str,
    is_switch: bool,
    words: fn() -> Vec<&'static str>,
    set: fn(&mut Flags, &str) -> Result<(), String>,
}

/// What to print instead of running.
#[derive(Clone, Copy)]
enum Show {
    Help,
    ManPage,
    Version,
}

/// What the name of a flag stands for.
enum Named {
    Flag(&'static Flag),
    Show(Show),
}

fn find(name: &str) -> Option<Named> {
    let show = match name {
        "help" | "help-long" => Show::Help,
        "help-man" => Show::ManPage,
        "version" => Show::Version,
        _ => {
            let mut flags = GROUPS.iter().flat_map(|group| group.flags);
            return flags.find(|flag| flag.name == name).map(Named::Flag);
        }
    };
    Some(Named::Show(show))
}

// === Reading ===

/// Why reading stopped early.
enum Stop {
    Show(String),
    Refuse(String),
}

impl From<String> for Stop {
    fn from(message: String) -> Stop {
        Stop::Refuse(message)
    }
}

fn refuse<T>(message: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Refuse(message.into()))
}

/// Reads all arguments after the name of the program: first their shape, then,
/// when that is right, the values.
fn read(mut arguments: VecDeque<OsString>) -> Result<Command, Stop> {
    let explain = arguments.front().is_some_and(|first| first == "explain");
    if explain {
        arguments.pop_front();
    }
    let mut arguments = Arguments::new(arguments);
    let mut given = Vec::new();
    let mut lines = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            Argument::Flag { name, value } => {
                given.push(read_flag(&name, value, &mut arguments)?);
            }
            Argument::Letter('h') => return Err(Stop::Show(help())),
            Argument::Letter(letter) => {
                return refuse(format!(
                    "unknown short flag '-{letter}': names take two dashes"
                ));
            }
            Argument::Word(word) if explain => lines.push(word),
            Argument::Word(word) => {
                let why = match word.as_str() {
                    "explain" => "it must come first",
                    _ => "only flags may be given",
                };
                return refuse(format!("unexpected {word:?}: {why}"));
            }
        }
    }
    let flags = set_all(&given)?;
    match (explain, lines.is_empty()) {
        (false, _) => Ok(Command::Run(flags)),
        (true, false) => Ok(Command::Explain { flags, lines }),
        (true, true) => refuse("expected a line to explain, such as 'jobs.done:1|c'"),
    }
}

/// Finds the flag that `--name` or `--name=attached` sets and the text of its
/// value, if need be from the arguments that follow.
fn read_flag(
    name: &str,
    attached: Option<String>,
    arguments: &mut Arguments,
) -> Result<(&'static Flag, String), Stop> {
    let (flag, on) = match (find(name), name.strip_prefix("no-").and_then(find)) {
        (Some(Named::Show(show)), _) | (None, Some(Named::Show(show))) => {
            return Err(Stop::Show(show.text()));
        }
        (Some(Named::Flag(flag)), _) => (flag, true),
        (None, Some(Named::Flag(flag))) => (flag, false),
        (None, None) => return refuse(format!("unknown long flag '--{name}'")),
    };
    let base = flag.name;
    match (flag.is_switch, attached) {
        (true, None) => Ok((flag, on.to_string())),
        (true, Some(value)) => refuse(format!(
            "unexpected {value:?}: write --{base} or --no-{base} without a value"
        )),
        (false, _) if !on => refuse(format!(
            "unknown long flag '--{name}': --{base} takes a value"
        )),
        (false, Some(value)) => Ok((flag, value)),
        (false, None) => match arguments.next()? {
            Some(Argument::Word(value)) => Ok((flag, value)),
            _ => refuse(format!(
                "expected argument for flag '--{base}': write --{base}=VALUE"
            )),
        },
    }
}

fn set_all(given: &[(&'static Flag, String)]) -> Result<Flags, String> {
    let mut flags = Flags::default();
    for (index, (flag, value)) in given.iter().enumerate() {
        let is_same = |(earlier, _): &(&Flag, String)| earlier.name == flag.name;
        if given[..index].iter().any(is_same) {
            return Err(format!("flag '--{}' cannot be repeated", flag.name));
        }
        (flag.set)(&mut flags, value).map_err(|why| bad_value(flag.name, value, why))?;
    }
    Ok(flags)
}

/// One argument, its dashes understood.
enum Argument {
    /// `--name` or `--name=value`.
    Flag { name: String, value: Option<String> },
    /// `-h`, also out of a bundle such as `-hv`.
    Letter(char),
    /// Anything else.
    Word(String),
}

/// The arguments still to be read, argument files put in their places.
struct Arguments {
    waiting: VecDeque<OsString>,
    /// A `--` came by: no flags and no files any more.
    only_words: bool,
    /// How many argument files may still be read. A file may name others, and
    /// so itself.
    files_left: u8,
}

impl Arguments {
    fn new(waiting: VecDeque<OsString>) -> Arguments {
        Arguments {
            waiting,
            only_words: false,
            files_left: 100,
        }
    }

    fn next(&mut self) -> Result<Option<Argument>, String> {
        while let Some(raw) = self.waiting.pop_front() {
            let text = raw
                .into_string()
                .map_err(|raw| format!("argument {raw:?} is not UTF-8; use a name that is"))?;
            if self.only_words {
                return Ok(Some(Argument::Word(text)));
            }
            if text == "--" {
                self.only_words = true;
            } else if let Some(flag) = text.strip_prefix("--") {
                let (name, value) = match flag.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (flag, None),
                };
                let name = name.to_owned();
                return Ok(Some(Argument::Flag { name, value }));
            } else if let Some(letters) = text.strip_prefix('-') {
                return Ok(Some(self.first_letter(letters)));
            } else if let Some(path) = text.strip_prefix('@') {
                self.put_file(path)?;
            } else {
                return Ok(Some(Argument::Word(text)));
            }
        }
        Ok(None)
    }

    /// Splits a bundle of short flags. A lone dash is an empty word, as in
    /// kingpin.
    fn first_letter(&mut self, letters: &str) -> Argument {
        let mut rest = letters.chars();
        let Some(letter) = rest.next() else {
            return Argument::Word(String::new());
        };
        if !rest.as_str().is_empty() {
            self.waiting
                .push_front(format!("-{}", rest.as_str()).into());
        }
        Argument::Letter(letter)
    }

    /// Puts the lines of a file in front, without comments and blank lines.
    fn put_file(&mut self, path: &str) -> Result<(), String> {
        if path.is_empty() {
            return Err("expected the name of a file of arguments after @".to_owned());
        }
        self.files_left = self.files_left.checked_sub(1).ok_or_else(|| {
            format!("too many argument files; does {path:?} lead back to itself?")
        })?;
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read arguments from {path:?}: {error}"))?;
        let is_argument = |line: &&str| !line.starts_with('#') && !line.trim().is_empty();
        for line in text.lines().filter(is_argument).rev() {
            self.waiting.push_front(line.into());
        }
        Ok(())
    }
}

// === Texts ===

/// The name in help and version; errors carry the name of the file.
const PROGRAM: &str = "pitot";

const ABOUT: &str = "Receives StatsD lines and serves them as Prometheus metrics. \
    With explain, shows what would become of each LINE and exits.";

/// Help for the flags that print something and exit.
const SHOW_FLAGS: [(&str, &str); 3] = [
    ("-h, --help, --help-long", "Print this text and exit."),
    ("--help-man", "Print a manual page and exit."),
    ("--version", "Print version and build and exit."),
];

impl Show {
    fn text(self) -> String {
        match self {
            Show::Help => help(),
            Show::ManPage => man_page(),
            Show::Version => version(),
        }
    }
}

fn help() -> String {
    let mut text =
        format!("usage: {PROGRAM} [<flags>]\n       {PROGRAM} explain [<flags>] LINE...\n\n");
    push_wrapped(&mut text, "", ABOUT);
    for (title, flags) in flag_texts() {
        text.push_str(&format!("\n{title}:\n"));
        for (flag, help) in flags {
            text.push_str(&format!("  {flag}\n"));
            push_wrapped(&mut text, "      ", &help);
        }
    }
    text
}

fn man_page() -> String {
    // Troff takes a backslash for an escape and a dash for a hyphen.
    let escape = |text: &str| text.replace('\\', r"\e").replace('-', r"\-");
    let mut text = format!(
        ".TH {PROGRAM} 1\n.SH NAME\n{PROGRAM}\n.SH SYNOPSIS\n\
         .B {PROGRAM}\n[flags]\n.br\n.B {PROGRAM} explain\n[flags] LINE...\n\
         .SH DESCRIPTION\n{ABOUT}\n"
    );
    for (title, flags) in flag_texts() {
        text.push_str(&format!(".SH {title:?}\n"));
        for (flag, help) in flags {
            text.push_str(&format!(".TP\n.B {}\n{}\n", escape(&flag), escape(&help)));
        }
    }
    text
}

/// Titles with their flags, and each flag with its help.
fn flag_texts() -> Vec<(&'static str, Vec<(String, String)>)> {
    let show_flags = SHOW_FLAGS.map(|(flag, help)| (flag.to_owned(), help.to_owned()));
    let mut texts = vec![("Help", show_flags.to_vec())];
    for group in GROUPS {
        let flags = group.flags.iter().map(flag_text).collect();
        texts.push((group.title, flags));
    }
    texts
}

fn flag_text(flag: &Flag) -> (String, String) {
    let Flag { name, default, .. } = flag;
    let mut help = flag.help.trim_start().to_owned();
    let words = (flag.words)();
    if !words.is_empty() {
        help += &format!(" One of: {}.", list(&words));
    }
    if flag.is_switch && *default == "true" {
        help += " On by default.";
    }
    let shown = if flag.is_switch {
        format!("--[no-]{name}")
    } else {
        format!("--{name}={}", list(&[default]))
    };
    (shown, help)
}

/// Appends a paragraph that keeps within 80 columns.
fn push_wrapped(out: &mut String, indent: &str, text: &str) {
    let mut column = 0;
    for word in text.split_whitespace() {
        if column > 0 && column + 1 + word.len() > 80 {
            out.push('\n');
            column = 0;
        }
        let before = if column == 0 { indent } else { " " };
        out.push_str(before);
        out.push_str(word);
        column += before.len() + word.len();
    }
    out.push('\n');
}

/// Six lines, in the layout all exporters of Prometheus share.
fn version() -> String {
    let Build {
        version,
        branch,
        revision,
        user,
        date,
        toolchain,
        os,
        arch,
    } = BUILD;
    format!(
        "{PROGRAM}, version {version} (branch: {branch}, revision: {revision})\n  \
           build user:       {user}\n  \
           build date:       {date}\n  \
           rust version:     {toolchain}\n  \
           platform:         {os}/{arch}\n  \
           tags:             \n"
    )
}

const fn or_empty(value: Option<&'static str>) -> &'static str {
    match value {
        Some(value) => value,
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;
    use std::{env, fs, process};

    use super::*;

    fn parse_words(arguments: &[&str]) -> Result<Command, Exit> {
        let argv = ["/usr/bin/pitot"].iter().chain(arguments);
        parse(argv.map(OsString::from))
    }

    fn accepted(arguments: &[&str]) -> Flags {
        match parse_words(arguments) {
            Ok(Command::Run(flags)) => flags,
            other => panic!("{arguments:?} gave {other:?}"),
        }
    }

    /// The message, without what goes around all of them.
    fn refused(arguments: &[&str]) -> String {
        let exit = parse_words(arguments).expect_err("the arguments are bad");
        assert_eq!((exit.code, exit.stdout.as_str()), (1, ""), "{arguments:?}");
        let message = exit.stderr.strip_prefix("pitot: error: ");
        let message = message.and_then(|message| message.strip_suffix(", try --help\n"));
        message.expect("all errors have this form").to_owned()
    }

    /// What goes to standard output.
    fn shown(arguments: &[&str]) -> String {
        let exit = parse_words(arguments).expect_err("the program only prints");
        assert_eq!((exit.code, exit.stderr.as_str()), (0, ""), "{arguments:?}");
        exit.stdout
    }

    /// Runs `test` with `@path` of a file of arguments.
    fn with_file(name: &str, text: &str, test: impl FnOnce(&str)) {
        let path = env::temp_dir().join(format!("pitot-cli-{}-{name}", process::id()));
        let argument = format!("@{}", path.display());
        fs::write(&path, text.replace("{self}", &argument)).unwrap();
        test(&argument);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn without_arguments_all_is_default() {
        let flags = accepted(&[]);
        assert_eq!(flags, Flags::default());
        assert_eq!(flags.web_listen_address, ":9102");
        assert_eq!(flags.statsd_event_flush_interval, Nanos(200_000_000));
        assert_eq!(flags.log_level, Level::INFO);
        assert!(flags.statsd_parse_signalfx_tags && !flags.check_config);
    }

    #[test]
    fn every_flag_is_set_from_its_own_name() {
        let all = || GROUPS.iter().flat_map(|group| group.flags);
        for flag in all() {
            let argument = match (flag.is_switch, flag.default, (flag.words)().last()) {
                (true, "true", _) => format!("--no-{}", flag.name),
                (true, _, _) => format!("--{}", flag.name),
                (false, _, Some(word)) if *word != flag.default => {
                    format!("--{}={word}", flag.name)
                }
                (false, "200ms", _) => format!("--{}=1m", flag.name),
                (false, _, _) => format!("--{}=7", flag.name),
            };
            let argument = argument.replace("log.level=7", "log.level=debug");
            assert_ne!(accepted(&[&argument]), Flags::default(), "{argument}");
            let same = all().filter(|other| other.name == flag.name).count();
            assert_eq!(same, 1, "{}", flag.name);
        }
    }

    #[test]
    fn values_may_follow_or_be_attached() {
        for arguments in [
            &["--statsd.listen-udp=:1"][..],
            &["--statsd.listen-udp", ":1"],
            &["--statsd.listen-udp", "--", ":1"],
        ] {
            assert_eq!(accepted(arguments).statsd_listen_udp, ":1", "{arguments:?}");
        }
        let flags = accepted(&["--statsd.listen-udp=a=b", "--statsd.listen-tcp", "-"]);
        assert_eq!(flags.statsd_listen_udp, "a=b");
        assert_eq!(flags.statsd_listen_tcp, "");
        let dashes = accepted(&["--statsd.mapping-config", "--", "--check-config"]);
        assert_eq!(dashes.statsd_mapping_config, "--check-config");
        assert_eq!(
            accepted(&["--statsd.listen-udp=@s"]).statsd_listen_udp,
            "@s"
        );
        assert_eq!(
            accepted(&["--check-config", "--"]),
            accepted(&["--check-config"])
        );
    }

    #[test]
    fn switches() {
        let on = |argument| accepted(&[argument]).statsd_parse_librato_tags;
        assert!(on("--statsd.parse-librato-tags"));
        assert!(!on("--no-statsd.parse-librato-tags"));
    }

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

    #[test]
    fn other_values() {
        let nanos =
            |text| accepted(&["--statsd.event-flush-interval", text]).statsd_event_flush_interval;
        assert_eq!(nanos("1h2m3.5s"), Nanos(3_723_500_000_000));
        assert_eq!(nanos("1w2d"), Nanos(9 * 86_400 * 1_000_000_000));
        assert_eq!(accepted(&["--log.level=DEBUG"]).log_level, Level::DEBUG);
        assert_eq!(
            accepted(&["--log.format=json"]).log_format,
            log::Format::Json
        );
        assert_eq!(
            accepted(&["--statsd.cache-type=random"]).statsd_cache_type,
            CacheType::Random
        );
        let profile = |text| accepted(&["--statsd.mapping-profile", text]).statsd_mapping_profile;
        assert_eq!(profile("airflow"), MappingProfile::Airflow);
        assert_eq!(profile("-"), MappingProfile::None);
    }

    #[test]
    fn errors_name_argument_and_remedy() {
        for (arguments, message) in [
            (&["--nonsense"][..], "unknown long flag '--nonsense'"),
            (&["--nonsense=5"], "unknown long flag '--nonsense'"),
            (&["--statsd.cache"], "unknown long flag '--statsd.cache'"),
            (
                &["--no-no-check-config"],
                "unknown long flag '--no-no-check-config'",
            ),
            (&["--=x"], "unknown long flag '--'"),
            (
                &["--no-statsd.cache-size"],
                "unknown long flag '--no-statsd.cache-size': --statsd.cache-size takes a value",
            ),
            (&["-x"], "unknown short flag '-x': names take two dashes"),
            (
                &["-statsd.cache-size=5"],
                "unknown short flag '-s': names take two dashes",
            ),
            (&["-é"], "unknown short flag '-é': names take two dashes"),
            (&["word"], "unexpected \"word\": only flags may be given"),
            (
                &["--", "--check-config"],
                "unexpected \"--check-config\": only flags may be given",
            ),
            (&["--", "--"], "unexpected \"--\": only flags may be given"),
            (&["-"], "unexpected \"\": only flags may be given"),
            (
                &["--check-config", "explain"],
                "unexpected \"explain\": it must come first",
            ),
            (
                &["--statsd.cache-size"],
                "expected argument for flag '--statsd.cache-size': write --statsd.cache-size=VALUE",
            ),
            (
                &["--statsd.cache-size", "-1"],
                "expected argument for flag '--statsd.cache-size': write --statsd.cache-size=VALUE",
            ),
            (
                &["--check-config=false"],
                "unexpected \"false\": write --check-config or --no-check-config without a value",
            ),
            (
                &["--no-check-config=true"],
                "unexpected \"true\": write --check-config or --no-check-config without a value",
            ),
            (
                &["--check-config", "false"],
                "unexpected \"false\": only flags may be given",
            ),
            (
                &["--statsd.cache-size=5", "--statsd.cache-size=5"],
                "flag '--statsd.cache-size' cannot be repeated",
            ),
            (
                &["--check-config", "--no-check-config"],
                "flag '--check-config' cannot be repeated",
            ),
            (
                &["--statsd.cache-size="],
                "--statsd.cache-size: \"\" is not a number; write for example 1000",
            ),
            (
                &["--statsd.cache-size=x", "--log.level=loud"],
                "--statsd.cache-size: \"x\" is not a number; write for example 1000",
            ),
            (
                &["--statsd.cache-size=1e30"],
                "--statsd.cache-size: \"1e30\" does not fit into 64 bits",
            ),
            (
                &["--statsd.event-queue-size=-1"],
                "--statsd.event-queue-size: \"-1\" is not a number from 0 up; write for example 1000",
            ),
            (
                &["--log.level="],
                "--log.level: \"\" is not one of debug, info, warn, error",
            ),
            (
                &["--log.format=JSON"],
                "--log.format: \"JSON\" is not one of logfmt, json",
            ),
            (
                &["--statsd.cache-type=LRU"],
                "--statsd.cache-type: \"LRU\" is not one of lru, random",
            ),
            (
                &["--statsd.mapping-profile=x"],
                "--statsd.mapping-profile: \"x\" is not one of \"\", airflow",
            ),
            (
                &["--statsd.event-flush-interval=5"],
                "--statsd.event-flush-interval: \"5\" lacks a unit; write for example 30s",
            ),
            (&["@"], "expected the name of a file of arguments after @"),
            (
                &["explain"],
                "expected a line to explain, such as 'jobs.done:1|c'",
            ),
        ] {
            assert_eq!(refused(arguments), message, "{arguments:?}");
        }
    }

    #[test]
    fn help_and_version_win_over_what_comes_later() {
        for arguments in [
            &["--version"][..],
            &["--version", "--nonsense"],
            &["--version=x"],
            &["--no-version"],
            &["--log.level=loud", "--version"],
            &["explain", "--version"],
        ] {
            assert!(
                shown(arguments).starts_with("pitot, version "),
                "{arguments:?}"
            );
        }
        for arguments in [
            &["--help"][..],
            &["-h"],
            &["-hx"],
            &["--help-long"],
            &["--no-help"],
            &["--help", "--version"],
            &["--check-config", "--help", "word"],
            &["explain", "--help"],
        ] {
            assert!(
                shown(arguments).starts_with("usage: pitot "),
                "{arguments:?}"
            );
        }
        assert!(shown(&["--help-man"]).starts_with(".TH pitot 1\n"));
        refused(&["--nonsense", "--version"]);
        refused(&["word", "--help"]);
    }

    #[test]
    fn help_tells_every_flag_within_80_columns() {
        let help = help();
        let man_page = man_page().replace(r"\-", "-");
        for flag in GROUPS.iter().flat_map(|group| group.flags) {
            let (shown, text) = flag_text(flag);
            assert!(help.contains(&format!("  {shown}\n")), "{shown}");
            assert!(
                man_page.contains(&format!(".B {shown}\n{text}\n")),
                "{shown}"
            );
            assert!(text.ends_with('.'), "{shown}: {text}");
        }
        assert!(help.lines().all(|line| line.len() <= 80));
        let switch = "  --[no-]statsd.parse-librato-tags\n      Read Librato tags, name#key=value:1|c. On by default.\n";
        assert!(help.contains(switch));
        let choice = "  --log.format=logfmt\n      Format of the records, on standard error. One of: logfmt, json.\n";
        assert!(help.contains(choice));
    }

    #[test]
    fn the_version_has_six_lines() {
        let version = version();
        let first = format!("pitot, version {} (branch: ", env!("CARGO_PKG_VERSION"));
        assert!(version.starts_with(&first), "{version}");
        assert_eq!(version.lines().count(), 6);
        assert!(version.contains(&format!(
            "  platform:         {}/{}\n",
            BUILD.os, BUILD.arch
        )));
    }

    #[test]
    fn argument_files() {
        let text = "--statsd.cache-size=7\r\n\n  \n# comment\n--log.format\njson\n";
        with_file("plain", text, |file| {
            let flags = accepted(&["--check-config", file, "--statsd.cache-type=random"]);
            assert_eq!(flags.statsd_cache_size, 7);
            assert_eq!(flags.log_format, log::Format::Json);
            assert_eq!(flags.statsd_cache_type, CacheType::Random);
            assert_eq!(
                refused(&[file, file]),
                "flag '--statsd.cache-size' cannot be repeated"
            );
            let as_word = format!("unexpected {file:?}: only flags may be given");
            assert_eq!(refused(&["--", file]), as_word);
        });
        with_file("value", "rules.yml\n", |file| {
            let flags = accepted(&["--statsd.mapping-config", file]);
            assert_eq!(flags.statsd_mapping_config, "rules.yml");
        });
        with_file("circle", "{self}\n", |file| {
            assert!(refused(&[file]).contains("lead back to itself"));
        });
        assert!(refused(&["@/no/such/file"]).starts_with("cannot read arguments from"));
        assert!(refused(&["@/"]).starts_with("cannot read arguments from"));
    }

    #[test]
    fn lines_to_explain() {
        let explained = parse_words(&[
            "explain",
            "a:1|c",
            "--check-config",
            "b:2|g|#c:d",
            "--",
            "-:1|c",
        ]);
        let lines = ["a:1|c", "b:2|g|#c:d", "-:1|c"].map(str::to_owned);
        let expected = Command::Explain {
            flags: accepted(&["--check-config"]),
            lines: lines.to_vec(),
        };
        assert_eq!(explained, Ok(expected));
    }

    #[test]
    fn arguments_that_are_not_utf8() {
        for bytes in [
            &b"\xff"[..],
            b"--\xff",
            b"-\xff",
            b"@\xff",
            b"--statsd.listen-udp=\xff",
        ] {
            let argv = [b"pitot", bytes].map(|word| OsString::from_vec(word.to_vec()));
            let exit = parse(argv).unwrap_err();
            assert!(exit.stderr.contains(r"\xFF"), "{}", exit.stderr);
            assert!(exit.stderr.contains("is not UTF-8"), "{}", exit.stderr);
        }
    }

    #[test]
    fn errors_carry_the_name_of_the_file() {
        let stderr = |argv: &[&str]| parse(argv.iter().map(OsString::from)).unwrap_err().stderr;
        assert!(stderr(&["/bin/statsd_exporter", "-x"]).starts_with("statsd_exporter: error: "));
        assert!(stderr(&["", "-x"]).starts_with("pitot: error: "));
        assert!(matches!(parse([]), Ok(Command::Run(_))));
    }
}
