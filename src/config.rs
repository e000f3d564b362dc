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

use std::fmt::Display;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use tracing::warn;

use crate::cli::{CacheType, Flags, GatherTime, MappingProfile, Nanos, bad_value};
use crate::http::Routes;
use crate::receive::socket::Steering;
use crate::receive::{BackendChoice, Gather};
use crate::statsd::Dialects;

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
}

/// Where mapping rules come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The file of rules, read again at each reload.
    pub file: Option<PathBuf>,
    /// The built-in rules.
    pub profile: MappingProfile,
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

/// An internet address as a flag has it, `host:port`, its syntax checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    flag: &'static str,
    text: String,
    /// Empty for every address of this machine.
    host: String,
    port: Port,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Port {
    Number(u16),
    /// A name of `/etc/services`, with `tcp` or `udp`.
    Service(String, &'static str),
}

impl Address {
    /// An address to receive StatsD on: its port is a number.
    fn statsd(flag: &'static str, text: &str) -> Result<Address, ConfigError> {
        Address::parse(flag, text, None)
    }

    /// The address of the web server.
    fn web(text: &str) -> Result<Address, ConfigError> {
        let text = if text.is_empty() { ":80" } else { text };
        Address::parse("web.listen-address", text, Some("tcp"))
    }

    /// The address of the relay's receiver; without a host it is this machine.
    fn relay(text: &str) -> Result<Address, ConfigError> {
        let mut address = Address::parse("statsd.relay.address", text, Some("udp"))?;
        if address.is_wildcard() {
            address.host = Ipv4Addr::LOCALHOST.to_string();
        }
        Ok(address)
    }

    /// Where there are services, for `tcp` or `udp`, a port may be the name of
    /// one, or empty for any port.
    fn parse(
        flag: &'static str,
        text: &str,
        services: Option<&'static str>,
    ) -> Result<Address, ConfigError> {
        let bad_value = |why| ConfigError::bad_value(flag, text, why);
        let (host, port) = split_host_port(text).ok_or_else(|| {
            bad_value("is not host:port; write for example :9125, 127.0.0.1:9125 or [::1]:9125")
        })?;
        let port = match (port.parse::<i64>(), services) {
            (Ok(number), _) => Port::Number(
                u16::try_from(number).map_err(|_| bad_value("has a port outside of 0 to 65535"))?,
            ),
            (Err(_), Some(_)) if port.is_empty() => Port::Number(0),
            (Err(_), Some(protocol)) => Port::Service(port.to_ascii_lowercase(), protocol),
            (Err(_), None) => {
                return Err(bad_value(
                    "has no number for a port; write for example :9125",
                ));
            }
        };
        Ok(Address {
            flag,
            text: text.to_owned(),
            host: host.to_owned(),
            port,
        })
    }

    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Looks host and service up; this may ask the network.
    ///
    /// A name with addresses of both families gives one of IPv4. `[::]` stands
    /// for every address of both: bind it with `IPV6_V6ONLY` off, and
    /// `0.0.0.0` where the machine has no IPv6.
    ///
    /// # Errors
    /// The host or the service is unknown.
    pub fn resolve(&self) -> Result<SocketAddr, ConfigError> {
        let port = match &self.port {
            Port::Number(number) => *number,
            Port::Service(name, protocol) => self.service_port(name, protocol)?,
        };
        if self.is_wildcard() {
            return Ok((Ipv6Addr::UNSPECIFIED, port).into());
        }
        match self.host.parse::<IpAddr>() {
            Ok(ip) => Ok((ip.to_canonical(), port).into()),
            Err(_) => self.look_up(port),
        }
    }

    fn is_wildcard(&self) -> bool {
        let is_unspecified = |ip: IpAddr| ip.to_canonical().is_unspecified();
        self.host.is_empty() || self.host.parse().is_ok_and(is_unspecified)
    }

    /// Asks the system's resolver, which also knows zones (`fe80::1%eth0`).
    fn look_up(&self, port: u16) -> Result<SocketAddr, ConfigError> {
        let host = &self.host;
        let addresses: Vec<SocketAddr> = (host.as_str(), port)
            .to_socket_addrs()
            .map_err(|error| {
                self.bad_value(format_args!(
                    "has an unknown host ({error}); check the name or write an IP address"
                ))
            })?
            .collect();
        let ipv4 = addresses.iter().find(|address| address.is_ipv4());
        ipv4.or(addresses.first())
            .copied()
            .ok_or_else(|| self.bad_value("has a host without an address; write an IP address"))
    }

    fn service_port(&self, name: &str, protocol: &str) -> Result<u16, ConfigError> {
        // Images without the file still know what the web server may need.
        let services = fs::read_to_string("/etc/services").unwrap_or_default();
        service_port(&services, name, protocol)
            .or_else(|| service_port("http 80/tcp\nhttps 443/tcp\n", name, protocol))
            .ok_or_else(|| self.bad_value("names an unknown service; write the port as a number"))
    }

    fn bad_value(&self, why: impl Display) -> ConfigError {
        ConfigError::bad_value(self.flag, &self.text, why)
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
    let GatherTime::AtMost(Nanos(nanos)) = time else {
        return Ok(Gather::Auto);
    };
    let time = u64::try_from(nanos).ok().map(Duration::from_nanos);
    let time = time.filter(|time| *time <= GATHER_MAX).ok_or_else(|| {
        let why = "is not from 0 to 20ms; write for example 5ms";
        ConfigError::bad_value("receive.gather", &format!("{nanos}ns"), why)
    })?;
    Ok(Gather::AtMost(time))
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

/// Splits `host:port`, where a host with colons stands in brackets.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let has_bracket = |part: &str| part.contains(['[', ']']);
    (!has_bracket(host) && !has_bracket(port)).then_some((host, port))
}

/// Looks a service up in the text of `/etc/services`: lines of name,
/// port/protocol and other names, with comments after `#`.
fn service_port(services: &str, name: &str, protocol: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let (line, _comment) = line.split_once('#').unwrap_or((line, ""));
        let mut words = line.split_whitespace();
        let (first, port) = (words.next()?, words.next()?);
        let port = port.strip_suffix(protocol)?.strip_suffix('/')?;
        let is_it = first == name || words.any(|other| other == name);
        if is_it { port.parse().ok() } else { None }
    })
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
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::{self, Command};
    use crate::log::{self, capture};

    fn flags(arguments: &[&str]) -> Flags {
        let argv = ["pitot"].iter().chain(arguments).map(OsString::from);
        match cli::parse(argv) {
            Ok(Command::Run(flags)) => flags,
            other => panic!("{arguments:?} gave {other:?}"),
        }
    }

    fn config(arguments: &[&str]) -> Result<Config, ConfigError> {
        Config::from_flags(&flags(arguments))
    }

    fn endpoints(arguments: &[&str]) -> Result<Endpoints, ConfigError> {
        Endpoints::from_flags(&flags(arguments))
    }

    /// `address` comes to be bound to `expected`.
    fn check_bound(address: Result<Address, ConfigError>, expected: &str) {
        let bound = address.and_then(|address| address.resolve());
        assert_eq!(
            bound.map(|bound| bound.to_string()),
            Ok(expected.to_owned())
        );
    }

    #[test]
    fn the_defaults() {
        let config = config(&[]).unwrap();
        assert_eq!(config.dialects, Dialects::ALL);
        assert_eq!(config.cache.entries, 1000);
        assert_eq!(config.mapping.file, None);
        assert!(config.receive.shards.get() >= 1);
        assert_eq!(config.receive.read_buffer, 4 << 20);
        assert_eq!(config.receive.gather, Gather::Auto);
        let endpoints = endpoints(&[]).unwrap();
        assert_eq!(endpoints.udp.as_ref().unwrap().as_str(), ":9125");
        check_bound(Ok(endpoints.udp.unwrap()), "[::]:9125");
        check_bound(Ok(endpoints.tcp.unwrap()), "[::]:9125");
        check_bound(Ok(endpoints.web.address), "[::]:9102");
        assert_eq!(endpoints.unix_datagram, None);
        assert_eq!(endpoints.unix_stream, None);
        assert_eq!(endpoints.unix_mode, None);
        assert_eq!(endpoints.relay, None);
    }

    #[test]
    fn settings_find_their_fields() {
        let config = config(&[
            "--no-statsd.parse-influxdb-tags",
            "--statsd.mapping-config=rules.yml",
            "--statsd.mapping-profile=airflow",
            "--debug.dump-fsm=fsm.dot",
            "--statsd.cache-size=0",
            "--statsd.read-buffer=-5",
            "--receive.backend=recvmmsg",
            "--receive.shards=1024",
            "--check-config",
        ])
        .unwrap();
        assert!(config.check_only);
        assert_eq!(
            config.dialects,
            Dialects {
                influxdb: false,
                ..Dialects::ALL
            }
        );
        assert_eq!(config.mapping.file, Some("rules.yml".into()));
        assert_eq!(config.mapping.profile, MappingProfile::Airflow);
        assert_eq!(config.mapping.fsm_dump, Some("fsm.dot".into()));
        assert_eq!(config.cache.entries, 0);
        assert_eq!(config.receive.read_buffer, -5);
        assert_eq!(config.receive.backend, BackendChoice::Recvmmsg);
        assert_eq!(config.receive.shards.get(), 1024);
    }

    #[test]
    fn what_every_run_refuses() {
        for (argument, message) in [
            (
                "--statsd.event-flush-interval=0s",
                "--statsd.event-flush-interval: \"0ns\" is not more than zero; write for example 200ms",
            ),
            (
                "--statsd.event-flush-interval=-1us",
                "--statsd.event-flush-interval: \"-1000ns\" is not more than zero; write for example 200ms",
            ),
            (
                "--statsd.event-flush-threshold=-1",
                "--statsd.event-flush-threshold: \"-1\" is negative; write 0 or more",
            ),
            (
                "--statsd.cache-size=-1",
                "--statsd.cache-size: \"-1\" is negative; write 0 or more",
            ),
            (
                "--receive.shards=1025",
                "--receive.shards: \"1025\" is more than 1024; 0 is one for each usable core",
            ),
        ] {
            let error = config(&[argument, "--check-config"]).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn a_check_ignores_what_only_sockets_need() {
        for argument in [
            "--statsd.listen-udp=nonsense",
            "--statsd.relay.address=nonsense",
            "--web.telemetry-path=nonsense",
            "--statsd.udp-packet-queue-size=-1",
            "--statsd.unixsocket-mode=999",
            "--web.listen-address=",
        ] {
            assert!(config(&[argument, "--check-config"]).is_ok(), "{argument}");
        }
    }

    #[test]
    fn statsd_addresses() {
        for (text, bound) in [
            (":9125", "[::]:9125"),
            ("0.0.0.0:9125", "[::]:9125"),
            ("[::]:9125", "[::]:9125"),
            ("[]:9125", "[::]:9125"),
            ("[::ffff:0.0.0.0]:9125", "[::]:9125"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[127.0.0.1]:65535", "127.0.0.1:65535"),
            ("[::1]:9125", "[::1]:9125"),
            ("[::ffff:127.0.0.1]:9125", "127.0.0.1:9125"),
            ("127.0.0.1:+8125", "127.0.0.1:8125"),
            ("127.0.0.1:-0", "127.0.0.1:0"),
            ("[fe80::1%7]:9125", "[fe80::1%7]:9125"),
            ("localhost:9125", "127.0.0.1:9125"),
        ] {
            check_bound(Address::statsd("flag", text), bound);
        }
    }

    #[test]
    fn what_is_no_statsd_address() {
        for text in [
            "9125",
            "localhost",
            "::1:9125",
            "[::1]",
            "[::1]9125",
            "[::1:9125",
            "::1]:9125",
            "[[::1]]:9125",
            "127.0.0.1:[9125]",
            "127.0.0.1:",
            "127.0.0.1:http",
            "127.0.0.1:99999",
            "127.0.0.1:-1",
            "127.0.0.1:9125 ",
        ] {
            let error = Address::statsd("flag", text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--flag: {text:?} ")), "{error}");
        }
        // Longer than a name may be, so nobody is asked.
        let unknown = Address::statsd("flag", &format!("{}:1", "x".repeat(300))).unwrap();
        let error = unknown.resolve().unwrap_err().to_string();
        assert!(error.contains("has an unknown host"), "{error}");
    }

    #[test]
    fn web_addresses() {
        for (text, bound) in [
            ("", "[::]:80"),
            (":http", "[::]:80"),
            ("127.0.0.1:HTTPS", "127.0.0.1:443"),
            ("127.0.0.1:", "127.0.0.1:0"),
            (":9102", "[::]:9102"),
        ] {
            check_bound(Address::web(text), bound);
        }
        for text in ["127.0.0.1", "9102", ":70000", ":no-such-service"] {
            let bound = Address::web(text).and_then(|address| address.resolve());
            assert!(bound.is_err(), "{text}");
        }
    }

    #[test]
    fn relay_addresses() {
        for (text, target) in [
            ("127.0.0.2:8125", "127.0.0.2:8125"),
            (":8125", "127.0.0.1:8125"),
            ("0.0.0.0:8125", "127.0.0.1:8125"),
            ("[::1]:8125", "[::1]:8125"),
        ] {
            check_bound(Address::relay(text), target);
        }
        assert!(Address::relay("nonsense").is_err());
    }

    #[test]
    fn services() {
        let text = "# names\nhttp\t\t80/tcp\t\twww  # web\ndomain 53/tcp\ndomain 53/udp\nbad\n";
        for (name, protocol, port) in [
            ("http", "tcp", Some(80)),
            ("www", "tcp", Some(80)),
            ("web", "tcp", None),
            ("http", "udp", None),
            ("domain", "udp", Some(53)),
            ("bad", "tcp", None),
        ] {
            assert_eq!(
                service_port(text, name, protocol),
                port,
                "{name}/{protocol}"
            );
        }
    }

    #[test]
    fn the_mode_of_unix_sockets() {
        for (text, mode) in [
            ("755", Some(0o755)),
            ("0600", Some(0o600)),
            ("", Some(0)),
            ("4755", Some(0o755)),
            ("999", None),
            ("-7", None),
            ("0o7", None),
        ] {
            let mode_flag = format!("--statsd.unixsocket-mode={text}");
            let mut found = None;
            let log = capture(tracing::Level::WARN, log::Format::Logfmt, || {
                found = endpoints(&[&mode_flag, "--statsd.listen-unixgram=/s"])
                    .unwrap()
                    .unix_mode;
                let without_file = endpoints(&[&mode_flag, "--statsd.listen-unixgram=@s"]);
                assert_eq!(without_file.unwrap().unix_mode, None);
            });
            assert_eq!(found, mode, "{text}");
            let warnings = usize::from(mode.is_none());
            assert_eq!(
                log.matches("is not octal").count(),
                warnings,
                "{text}: {log}"
            );
        }
    }

    #[test]
    fn telemetry_paths() {
        let lifecycle = ["--web.enable-lifecycle"];
        for (path, more, good) in [
            ("/metrics", &[][..], true),
            ("/-/reload", &[], true),
            ("/-/reload", &lifecycle, false),
            ("/-/ready", &[], false),
            ("nonsense", &[], false),
            ("", &[], false),
        ] {
            let path_flag = format!("--web.telemetry-path={path}");
            let arguments = [&[path_flag.as_str()], more].concat();
            let found = endpoints(&arguments);
            assert_eq!(found.is_ok(), good, "{arguments:?}");
            if let Err(error) = found {
                assert!(error.to_string().starts_with("--web.telemetry-path: "));
            }
        }
    }

    #[test]
    fn the_first_error_in_order_of_start() {
        let arguments = [
            "--web.listen-address=web",
            "--web.telemetry-path=path",
            "--statsd.listen-tcp=tcp",
            "--statsd.udp-packet-queue-size=-1",
            "--statsd.listen-udp=udp",
            "--statsd.relay.address=relay",
        ];
        for (count, flag) in [
            (6, "--statsd.relay.address"),
            (5, "--statsd.listen-udp"),
            (4, "--statsd.udp-packet-queue-size"),
            (3, "--statsd.listen-tcp"),
            (2, "--web.telemetry-path"),
            (1, "--web.listen-address"),
        ] {
            let error = endpoints(&arguments[..count]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{flag}: ")), "{error}");
        }
    }

    #[test]
    fn something_must_be_received() {
        let none = ["--statsd.listen-udp=", "--statsd.listen-tcp="];
        assert!(
            endpoints(&none)
                .unwrap_err()
                .to_string()
                .contains("nothing to receive on")
        );
        for socket in [
            "--statsd.listen-unixgram=@s",
            "--statsd.listen-unixstream=@s",
        ] {
            assert!(endpoints(&[none[0], none[1], socket]).is_ok());
        }
        // Without UDP its queue is not looked at.
        assert!(endpoints(&[none[0], "--statsd.udp-packet-queue-size=-1"]).is_ok());
    }

    /// The recorded command lines that need neither a file nor a socket.
    #[test]
    fn recorded_command_lines() {
        let check = |line: &str, checked_only: bool| {
            let last = checked_only.then_some("--check-config");
            let argv = ["pitot"].into_iter().chain(line.split(' ')).chain(last);
            let argv = argv.filter(|word| !word.is_empty()).map(OsString::from);
            match cli::parse(argv) {
                Err(exit) => exit.code,
                Ok(Command::Explain { .. }) => unreachable!("no line begins with the word"),
                Ok(Command::Run(flags)) => {
                    let started = Config::from_flags(&flags).and_then(|config| {
                        if config.check_only {
                            return Ok(());
                        }
                        Endpoints::from_flags(&flags).map(drop)
                    });
                    u8::from(started.is_err())
                }
            }
        };
        for line in [
            "",
            "--statsd.listen-udp :1",
            "--statsd.cache-size=1e3",
            "--statsd.cache-size=1_0",
            "--statsd.cache-size=2.7",
            "--statsd.event-queue-size=0x10",
            "--statsd.event-queue-size=010",
            "--statsd.event-flush-interval=1h2m3.5s",
            "--statsd.event-flush-interval=1d",
            "--statsd.event-flush-interval=1w2d",
            "--statsd.event-flush-interval=100us",
            "--statsd.read-buffer=-5",
            "--no-statsd.parse-librato-tags",
            "--statsd.parse-librato-tags",
            "--log.level=DEBUG",
            "--log.level=warn",
            "--log.format=json",
            "--statsd.cache-type=random",
            "--web.listen-address=",
            "--statsd.listen-udp= --statsd.listen-tcp=",
            "--statsd.unixsocket-mode=999",
            "--statsd.relay.packet-length=0",
            "--statsd.relay.address=nonsense",
            "--web.telemetry-path=nonsense",
            "--no-web.enable-lifecycle",
            "--version",
            "--help",
            "-h",
            "--statsd.mapping-config=",
            "--version --nonsense",
        ] {
            assert_eq!(check(line, true), 0, "{line}");
        }
        for line in [
            "--nonsense",
            "-x",
            "word",
            "-- word",
            "--statsd.cache-size",
            "--statsd.cache-size=",
            "--statsd.cache-size=x",
            "--statsd.cache-size=0x10",
            "--statsd.cache-size=5 --statsd.cache-size=5",
            "--log.level=loud",
            "--log.level=",
            "--log.format=JSON",
            "--log.format=text",
            "--statsd.cache-type=fifo",
            "--statsd.cache-type=LRU",
            "--statsd.event-queue-size=-1",
            "--statsd.event-queue-size=1.5",
            "--statsd.event-flush-interval=5",
            "--statsd.event-flush-interval=abc",
            "--statsd.parse-librato-tags=false",
            "--statsd.parse-librato-tags false",
            "--no-statsd.parse-librato-tags=true",
            "--statsd.parse-librato-tags --no-statsd.parse-librato-tags",
            "--no-statsd.cache-size",
            "--statsd.cache",
            "--statsd.relay.packet-length=-1",
            "--statsd.relay.packet-length=x",
            "--nonsense --version",
            "-statsd.cache-size=5",
        ] {
            assert_eq!(check(line, true), 1, "{line}");
        }
        for line in [
            "--statsd.listen-udp= --statsd.listen-tcp=",
            "--statsd.listen-udp=9125",
            "--statsd.listen-tcp=localhost",
            "--statsd.listen-udp=127.0.0.1:99999",
            "--statsd.listen-tcp=127.0.0.1:http",
            "--statsd.listen-udp=127.0.0.1:",
            "--web.listen-address=127.0.0.1",
            "--statsd.relay.address=nonsense",
            "--web.telemetry-path=nonsense",
            "--web.telemetry-path=/-/ready",
            "--web.telemetry-path=",
            "--statsd.event-flush-interval=0s",
            "--statsd.event-flush-interval=-1s",
            "--statsd.event-flush-threshold=-1",
        ] {
            assert_eq!(check(line, false), 1, "{line}");
        }
    }
}
