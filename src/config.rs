//! Settings, resolved and checked: what the flags mean.
//!
//! The order of start-up decides which error a user sees, and what
//! `--check-config` looks at. It is statsd_exporter's:
//!
//! 1. [`Config::from_flags`]: settings that hold for every run;
//! 2. the mapping rules are loaded; with `--check-config` that was all;
//! 3. [`Endpoints::from_flags`]: addresses and paths, still without I/O;
//! 4. [`Address::resolve`], then sockets: relay, UDP, TCP, Unix, web.
//!
//! An error is a sentence that names flag, value and remedy, for a person to
//! read; nothing in the program decides by its kind.

mod address;

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use tracing::warn;

use crate::cli::{CacheType, Flags, GatherTime, MappingProfile, Nanos, bad_value};
use crate::http::Routes;
use crate::mapping::Unmapped;
use crate::receive::socket::Steering;
use crate::receive::{BackendChoice, Gather};
use crate::statsd::Dialects;

pub use address::Address;

/// Why the program cannot start: one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    /// See [`bad_value`].
    fn bad_value(flag: &str, value: &str, why: impl Display) -> ConfigError {
        ConfigError(bad_value(flag, value, why))
    }
}

/// Settings that need no socket, and so hold for `--check-config` and
/// `explain` as well.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Stop after the mapping rules have been loaded.
    pub check_only: bool,
    /// Where rules come from.
    pub mapping: Mapping,
    /// The cache as the metrics about it tell.
    pub cache: Cache,
    /// Which tags are read.
    pub dialects: Dialects,
    /// How datagrams are received.
    pub receive: Receive,
    /// How connections are read.
    pub stream: Stream,
    /// How long to go on when told to end.
    pub shutdown_grace: Duration,
}

/// Where mapping rules come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The file of rules, read again at each reload.
    pub file: Option<PathBuf>,
    /// The built-in rules.
    pub profile: MappingProfile,
    /// What the names of its metrics begin with, without the dot behind.
    pub profile_prefix: String,
    /// Facts that are known from the start.
    pub facts: Vec<String>,
    /// What becomes of samples that no rule takes.
    pub unmapped: Unmapped,
    /// The file to write the glob rules' state machine to.
    pub fsm_dump: Option<PathBuf>,
}

/// What the flags say of statsd_exporter's mapping cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// How many results it would keep; none switches its metrics off.
    pub entries: usize,
    /// The way it would make room.
    pub policy: CacheType,
}

/// How datagrams are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receive {
    /// The system calls to use.
    pub backend: BackendChoice,
    /// How long UDP datagrams may gather before they are taken.
    pub gather: Gather,
    /// Sockets, and threads, that share the load of UDP.
    pub shards: NonZeroUsize,
    /// How datagrams are spread over them.
    pub steering: Steering,
    /// Whether each of the threads is kept on a core of its own.
    pub pin: bool,
    /// Bytes of receive buffer to ask for; negative for the most there is.
    pub read_buffer: i32,
}

/// How connections are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Connections that there may be at once.
    pub connections_max: usize,
    /// How long nothing may come over one; none is for ever.
    pub idle_max: Option<Duration>,
    /// What a line may have, newline included; longer ones are skipped. Without
    /// it they are those of statsd_exporter, and end their connection.
    pub line_bytes_max: Option<usize>,
}

impl Config {
    /// Checks the settings that hold for every run.
    ///
    /// # Errors
    /// A value that every run refuses.
    pub fn from_flags(flags: &Flags) -> Result<Config, ConfigError> {
        check_queue(flags)?;
        Ok(Config {
            check_only: flags.check_config,
            cache: cache(flags)?,
            mapping: Mapping {
                file: path(&flags.statsd_mapping_config),
                profile: flags.statsd_mapping_profile,
                profile_prefix: profile_prefix(&flags.statsd_mapping_profile_prefix)?,
                facts: words(&flags.statsd_mapping_facts),
                unmapped: flags.statsd_unmapped,
                fsm_dump: path(&flags.debug_dump_fsm),
            },
            dialects: Dialects {
                dogstatsd: flags.statsd_parse_dogstatsd_tags,
                influxdb: flags.statsd_parse_influxdb_tags,
                librato: flags.statsd_parse_librato_tags,
                signalfx: flags.statsd_parse_signalfx_tags,
            },
            receive: Receive {
                backend: flags.receive_backend,
                gather: gather(flags.receive_gather)?,
                shards: shards(flags.receive_shards)?,
                steering: flags.receive_steering,
                pin: flags.receive_pin,
                read_buffer: read_buffer(flags.statsd_read_buffer),
            },
            stream: stream(flags)?,
            shutdown_grace: duration("shutdown.grace", flags.shutdown_grace, SHUTDOWN_GRACE_MAX)?,
        })
    }
}

/// Where lines come in and go out, and where the metrics are served. Syntax is
/// checked, nothing is resolved or opened.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// Where copies of all lines go.
    pub relay: Option<Relay>,
    /// The UDP address to receive on.
    pub udp: Option<Address>,
    /// The TCP address to receive on.
    pub tcp: Option<Address>,
    /// The Unix datagram socket to receive on; `@` begins an abstract name.
    pub unix_datagram: Option<PathBuf>,
    /// The Unix stream socket to receive on, likewise.
    pub unix_stream: Option<PathBuf>,
    /// Permission bits for the files of Unix sockets; none leaves what the
    /// umask allows.
    pub unix_mode: Option<u32>,
    /// Where the metrics are served.
    pub web: Web,
}

/// Where copies of all lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// The receiver.
    pub target: Address,
    /// Most bytes of a datagram; 0 sends each line by itself.
    pub packet_length: u64,
}

/// Where the metrics are served.
#[derive(Clone, Debug)]
pub struct Web {
    /// The address of the web server.
    pub address: Address,
    /// The paths it serves.
    pub routes: Routes,
}

impl Endpoints {
    /// Checks addresses and paths.
    ///
    /// A bad `--statsd.unixsocket-mode` is only logged, as by statsd_exporter.
    ///
    /// # Errors
    /// An address or path that cannot be used, or nothing to receive on.
    pub fn from_flags(flags: &Flags) -> Result<Endpoints, ConfigError> {
        let relay = match flags.statsd_relay_address.as_str() {
            "" => None,
            text => Some(Relay {
                target: Address::relay(text)?,
                packet_length: flags.statsd_relay_packet_length,
            }),
        };
        check_any_listener(flags)?;
        let udp = listener("statsd.listen-udp", &flags.statsd_listen_udp)?;
        if udp.is_some() {
            // The reference makes this queue together with the socket.
            let size = flags.statsd_udp_packet_queue_size;
            not_negative("statsd.udp-packet-queue-size", size)?;
        }
        let tcp = listener("statsd.listen-tcp", &flags.statsd_listen_tcp)?;
        let unix_datagram = path(&flags.statsd_listen_unixgram);
        let unix_stream = path(&flags.statsd_listen_unixstream);
        let names = [
            &flags.statsd_listen_unixgram,
            &flags.statsd_listen_unixstream,
        ];
        let is_file = |name: &&String| !name.is_empty() && !name.starts_with('@');
        let unix_mode = names
            .iter()
            .any(is_file)
            .then(|| unix_mode(&flags.statsd_unixsocket_mode))
            .flatten();
        Ok(Endpoints {
            relay,
            udp,
            tcp,
            unix_datagram,
            unix_stream,
            unix_mode,
            web: Web {
                routes: routes(flags)?,
                address: Address::web(&flags.web_listen_address)?,
            },
        })
    }
}

/// The settings of queues that do not exist here are refused where
/// statsd_exporter would have died of them.
fn check_queue(flags: &Flags) -> Result<(), ConfigError> {
    let Nanos(interval_ns) = flags.statsd_event_flush_interval;
    if interval_ns <= 0 {
        let (flag, value) = ("statsd.event-flush-interval", format!("{interval_ns}ns"));
        let why = "is not more than zero; write for example 200ms";
        return Err(ConfigError::bad_value(flag, &value, why));
    }
    let threshold = flags.statsd_event_flush_threshold;
    not_negative("statsd.event-flush-threshold", threshold)?;
    Ok(())
}

/// Airflow's own setting has no dot at the end; one written there is forgiven.
fn profile_prefix(text: &str) -> Result<String, ConfigError> {
    let prefix = text.strip_suffix('.').unwrap_or(text);
    let is_word = |word: &str| {
        !word.is_empty()
            && !word.starts_with('-')
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    let is_good =
        prefix.split('.').all(is_word) && !prefix.starts_with(|c: char| c.is_ascii_digit());
    if prefix.is_empty() || is_good {
        return Ok(prefix.to_owned());
    }
    let why = "is no prefix of names: write words of letters, digits, underscores and dashes, with dots between, as in team.airflow";
    Err(ConfigError::bad_value(
        "statsd.mapping-profile-prefix",
        text,
        why,
    ))
}

/// What stands between commas.
fn words(text: &str) -> Vec<String> {
    let words = text.split(',').map(str::trim);
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn cache(flags: &Flags) -> Result<Cache, ConfigError> {
    Ok(Cache {
        entries: not_negative("statsd.cache-size", flags.statsd_cache_size)?,
        policy: flags.statsd_cache_type,
    })
}

fn not_negative(flag: &str, value: i64) -> Result<usize, ConfigError> {
    let why = "is negative; write 0 or more";
    usize::try_from(value).map_err(|_| ConfigError::bad_value(flag, &value.to_string(), why))
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

/// More sockets than any machine has cores are a slip of the finger.
const SHARDS_MAX: usize = 1024;

fn shards(count: u64) -> Result<NonZeroUsize, ConfigError> {
    if count == 0 {
        // Where the kernel will not say, one shard works everywhere.
        return Ok(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
    }
    usize::try_from(count)
        .ok()
        .filter(|&count| count <= SHARDS_MAX)
        .and_then(NonZeroUsize::new)
        .ok_or_else(|| {
            let why = format!("is more than {SHARDS_MAX}; 0 is one for each usable core");
            ConfigError::bad_value("receive.shards", &count.to_string(), why)
        })
}

/// Longer than any buffer lasts, and than a page waits.
const GATHER_MAX: Duration = Duration::from_millis(20);

fn gather(time: GatherTime) -> Result<Gather, ConfigError> {
    match time {
        GatherTime::Auto => Ok(Gather::Auto),
        GatherTime::AtMost(time) => {
            duration("receive.gather", time, GATHER_MAX).map(Gather::AtMost)
        }
    }
}

/// More connections than any machine has descriptors.
const CONNECTIONS_MAX: u64 = 1 << 24;

/// A timeout beyond this is none.
const IDLE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Caps for lines: that of statsd_exporter, and what a connection may take of
/// memory.
const LINE_BYTES: RangeInclusive<u64> = 4096..=1 << 20;

fn stream(flags: &Flags) -> Result<Stream, ConfigError> {
    let connections = flags.stream_max_connections;
    if !(1..=CONNECTIONS_MAX).contains(&connections) {
        let why = format!("is not from 1 to {CONNECTIONS_MAX}");
        let flag = "stream.max-connections";
        return Err(ConfigError::bad_value(flag, &connections.to_string(), why));
    }
    let line_bytes = flags.stream_line_max;
    if line_bytes != 0 && !LINE_BYTES.contains(&line_bytes) {
        let (least, most) = LINE_BYTES.into_inner();
        let why = format!("is neither 0 nor from {least} to {most}");
        let flag = "stream.line-max";
        return Err(ConfigError::bad_value(flag, &line_bytes.to_string(), why));
    }
    let idle = duration("stream.idle-timeout", flags.stream_idle_timeout, IDLE_MAX)?;
    Ok(Stream {
        connections_max: connections as usize,
        idle_max: (!idle.is_zero()).then_some(idle),
        line_bytes_max: (line_bytes != 0).then_some(line_bytes as usize),
    })
}

/// Longer than anything waits for a process to end.
const SHUTDOWN_GRACE_MAX: Duration = Duration::from_secs(3600);

fn duration(flag: &str, Nanos(nanos): Nanos, max: Duration) -> Result<Duration, ConfigError> {
    let time = u64::try_from(nanos).ok().map(Duration::from_nanos);
    time.filter(|time| *time <= max).ok_or_else(|| {
        let why = format!("is not from 0 to {max:?}");
        ConfigError::bad_value(flag, &format!("{nanos}ns"), why)
    })
}

/// What to ask for when nobody says: some 5000 datagrams, and as many again
/// since the kernel doubles it. A burst of 400,000 a second fills it in 27 ms.
const READ_BUFFER_DEFAULT: i32 = 4 << 20;

fn read_buffer(bytes: i64) -> i32 {
    match bytes {
        0 => READ_BUFFER_DEFAULT,
        // The kernel's field is an i32; anything larger is more than it gives.
        _ => bytes.clamp(i32::MIN.into(), i32::MAX.into()) as i32,
    }
}

fn check_any_listener(flags: &Flags) -> Result<(), ConfigError> {
    let addresses = [
        &flags.statsd_listen_udp,
        &flags.statsd_listen_tcp,
        &flags.statsd_listen_unixgram,
        &flags.statsd_listen_unixstream,
    ];
    if addresses.iter().any(|address| !address.is_empty()) {
        return Ok(());
    }
    Err(ConfigError(
        "nothing to receive on: set one of --statsd.listen-udp, --statsd.listen-tcp, \
         --statsd.listen-unixgram and --statsd.listen-unixstream"
            .to_owned(),
    ))
}

fn listener(flag: &'static str, text: &str) -> Result<Option<Address>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    Address::statsd(flag, text).map(Some)
}

/// Octal digits; only the nine permission bits count.
fn unix_mode(text: &str) -> Option<u32> {
    // With a zero in front nothing is nothing, and a sign is no digit.
    match u32::from_str_radix(&format!("0{text}"), 8) {
        Ok(mode) => Some(mode & 0o777),
        Err(_) => {
            let why = "is not octal, as 755 is; the socket keeps the mode the umask gives it";
            warn!("{}", bad_value("statsd.unixsocket-mode", text, why));
            None
        }
    }
}

fn routes(flags: &Flags) -> Result<Routes, ConfigError> {
    Routes::new(&flags.web_telemetry_path, flags.web_enable_lifecycle)
        .map_err(|error| ConfigError(format!("--web.telemetry-path: {error}")))
}

#[cfg(test)]
mod tests;
