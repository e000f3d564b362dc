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

mod arguments;
mod texts;
mod values;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt::Display;
use std::path::Path;

use tracing::Level;

use self::arguments::{Argument, Arguments};
use self::texts::{PROGRAM, help};
use self::values::Value;
use crate::log;
use crate::mapping::Unmapped;
use crate::receive::BackendChoice;
use crate::receive::socket::Steering;

pub use values::{CacheType, GatherTime, MappingProfile, Nanos};

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
/// right. They win over values that do not fit their flags; the version, the
/// long help and the manual page also over any error that comes later.
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

const fn or_empty(value: Option<&'static str>) -> &'static str {
    match value {
        Some(value) => value,
        None => "",
    }
}

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
        /// What Airflow's metrics begin with: its statsd_prefix.
        "statsd.mapping-profile-prefix" => statsd_mapping_profile_prefix: String = "airflow";
        /// What is known of the senders before they tell: facts that the rules
        /// name, with commas between. See docs/airflow.md.
        "statsd.mapping-facts" => statsd_mapping_facts: String = "";
        /// What becomes of lines that no rule takes: a series under their own
        /// name, nothing, or nothing but a count.
        "statsd.unmapped" => statsd_unmapped: Unmapped = "keep";
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
        /// TCP and Unix stream connections that there may be at once; further
        /// ones are closed.
        "stream.max-connections" => stream_max_connections: u64 = "16384";
        /// How long nothing may come over such a connection before it is
        /// closed; 0s is for ever.
        "stream.idle-timeout" => stream_idle_timeout: Nanos = "0s";
        /// Bytes that a line over a connection may have, newline included, when
        /// longer ones are only skipped. 0 means 4096, and that a longer line
        /// closes its connection, as with statsd_exporter.
        "stream.line-max" => stream_line_max: u64 = "0";
        /// How long to go on, receiving and serving pages but not ready, when
        /// told to end.
        "shutdown.grace" => shutdown_grace: Nanos = "0s";
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
    /// Help, if the rest of the line has the right shape.
    Help,
    /// At once.
    Show(Show),
}

fn find(name: &str) -> Option<Named> {
    let show = match name {
        "help" => return Some(Named::Help),
        "help-long" => Show::Help,
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
    let mut wants_help = false;
    while let Some(argument) = arguments.next()? {
        match argument {
            Argument::Flag { name, value } => match read_flag(&name, value, &mut arguments)? {
                Some(flag) => given.push(flag),
                None => wants_help = true,
            },
            Argument::Letter('h') => wants_help = true,
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
    if wants_help {
        return Err(Stop::Show(help()));
    }
    let flags = set_all(&given)?;
    match (explain, lines.is_empty()) {
        (false, _) => Ok(Command::Run(flags)),
        (true, false) => Ok(Command::Explain { flags, lines }),
        (true, true) => refuse("expected a line to explain, such as 'jobs.done:1|c'"),
    }
}

/// Finds the flag that `--name` or `--name=attached` sets and the text of its
/// value, if need be from the arguments that follow; none if it asks for help.
fn read_flag(
    name: &str,
    attached: Option<String>,
    arguments: &mut Arguments,
) -> Result<Option<(&'static Flag, String)>, Stop> {
    let (flag, on) = match (find(name), name.strip_prefix("no-").and_then(find)) {
        (Some(Named::Show(show)), _) | (None, Some(Named::Show(show))) => {
            return Err(Stop::Show(show.text()));
        }
        (Some(Named::Help), _) | (None, Some(Named::Help)) => {
            return match attached {
                Some(value) => refuse(format!("unexpected {value:?}: --help takes no value")),
                None => Ok(None),
            };
        }
        (Some(Named::Flag(flag)), _) => (flag, true),
        (None, Some(Named::Flag(flag))) => (flag, false),
        (None, None) => return refuse(format!("unknown long flag '--{name}'")),
    };
    let base = flag.name;
    match (flag.is_switch, attached) {
        (true, None) => Ok(Some((flag, on.to_string()))),
        (true, Some(value)) => refuse(format!(
            "unexpected {value:?}: write --{base} or --no-{base} without a value"
        )),
        (false, _) if !on => refuse(format!(
            "unknown long flag '--{name}': --{base} takes a value"
        )),
        (false, Some(value)) => Ok(Some((flag, value))),
        (false, None) => match arguments.next()? {
            Some(Argument::Word(value)) => Ok(Some((flag, value))),
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

#[cfg(test)]
mod tests;
