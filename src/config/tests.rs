//! From flags to settings, errors as a user sees them, and recorded command
//! lines.

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
pub(super) fn check_bound(address: Result<Address, ConfigError>, expected: &str) {
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
    assert_eq!(config.shutdown_grace, Duration::ZERO);
    assert_eq!(
        (config.stream.idle_max, config.stream.line_bytes_max),
        (None, None)
    );
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
        "--receive.gather=0",
        "--receive.steering=cpu",
        "--receive.pin",
        "--shutdown.grace=30s",
        "--stream.max-connections=5",
        "--stream.idle-timeout=1h",
        "--stream.line-max=65536",
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
    assert_eq!(config.receive.gather, Gather::AtMost(Duration::ZERO));
    assert_eq!(config.receive.steering, Steering::Core);
    assert!(config.receive.pin);
    assert_eq!(config.shutdown_grace, Duration::from_secs(30));
    assert_eq!(
        config.stream,
        Stream {
            connections_max: 5,
            idle_max: Some(Duration::from_secs(3600)),
            line_bytes_max: Some(65536),
        }
    );
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
        (
            "--receive.gather=21ms",
            "--receive.gather: \"21000000ns\" is not from 0 to 20ms",
        ),
        (
            "--shutdown.grace=-1s",
            "--shutdown.grace: \"-1000000000ns\" is not from 0 to 3600s",
        ),
        (
            "--stream.max-connections=0",
            "--stream.max-connections: \"0\" is not from 1 to 16777216",
        ),
        (
            "--stream.line-max=4095",
            "--stream.line-max: \"4095\" is neither 0 nor from 4096 to 1048576",
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
