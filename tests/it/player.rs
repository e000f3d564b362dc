//! Plays one conformance case: starts the program, takes the case's steps and
//! collects the differences as sentences.
//!
//! Wherever something becomes visible, the player waits for it to be seen and
//! not for a time. The times that are left stand for what cannot be seen: that
//! nothing more comes, or that the case says how long to wait.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{self as unix, UnixDatagram};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use pitot_loadgen::case::{self, Case, Exchange, Expectation, ReloadBy, Run, Step, Stream};
use pitot_loadgen::compare::{self, Judged, Order};
use pitot_loadgen::exporter::{Exporter, Signal, StartError, exit_code};
use pitot_loadgen::wait;
use regex::Regex;

use crate::harness::{self, PATIENCE, send_tcp, send_udp};

/// Between the two scrapes that must both be as wanted: longer than two of the
/// reference's flush intervals, so that what was sent twice is seen.
const CONFIRM_AFTER: Duration = Duration::from_millis(50);

/// A page that is not as wanted and has not changed for so long never will be.
const STILL_AFTER: Duration = Duration::from_millis(1500);

/// A relay sends what it holds once a second.
const RELAY_QUIET: Duration = Duration::from_millis(1200);

/// Plays a case with further flags; returns it with the differences.
pub fn play(text: &str, flags: &[&str]) -> Result<(Case, Vec<String>)> {
    let relay = Relay::new()?;
    let case: Case = serde_json::from_str(&text.replace("{relay}", &relay.target()?))?;
    let is_skipped = (case.differs.is_some() && harness::reference().is_some())
        || (needs_ipv6(&case) && !has_ipv6());
    let differences = if is_skipped {
        Vec::new()
    } else if case.check || case.exit {
        play_runs(&case, flags)?
    } else {
        play_steps(&case, flags, relay)?
    };
    Ok((case, differences))
}

fn needs_ipv6(case: &Case) -> bool {
    let needs = |step: &Step| matches!(step, Step::Udp6(_) | Step::Tcp6(_));
    case.steps.iter().any(needs)
}

fn has_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

fn prepare(flags: &[&str], own_flags: &[String], mapping: Option<&str>) -> Result<Exporter> {
    // First, for a case may end its flags with `--`.
    let mut all: Vec<String> = flags.iter().map(|flag| flag.to_string()).collect();
    all.extend_from_slice(own_flags);
    let mapping = mapping.map(case::bytes).transpose()?;
    Exporter::new(&harness::binary(), &all, mapping.as_deref())
}

// === Cases in which the program ends by itself ===

fn play_runs(case: &Case, flags: &[&str]) -> Result<Vec<String>> {
    let itself = [Run::default()];
    let runs = if case.runs.is_empty() {
        &itself[..]
    } else {
        &case.runs
    };
    let mut differences = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let found = play_run(case, run, flags).with_context(|| format!("run {index}"))?;
        differences.extend(found.into_iter().map(|d| format!("run {index}: {d}")));
    }
    Ok(differences)
}

fn play_run(case: &Case, run: &Run, flags: &[&str]) -> Result<Vec<String>> {
    let own_flags = run.flags.as_ref().unwrap_or(&case.flags);
    let mapping = run.mapping.as_ref().or(case.mapping.as_ref());
    let want = run.expect_exit.or(case.expect_exit);
    let mut exporter = prepare(flags, own_flags, mapping.map(String::as_str))?;
    let more: &[&str] = if case.check { &["--check-config"] } else { &[] };
    let status = exporter.run_to_end(more)?;
    // Only that it failed is compared, not how.
    let code = i32::from(!status.success());
    Ok(difference("exit", Some(code), want))
}

// === Cases in which it runs ===

fn play_steps(case: &Case, flags: &[&str], relay: Relay) -> Result<Vec<String>> {
    let mut player = Player {
        exporter: prepare(flags, &case.flags, case.mapping.as_deref())?,
        relay,
        ignore: case.ignore.as_deref().map(Regex::new).transpose()?,
        case,
    };
    match player.exporter.start() {
        Ok(()) => {}
        Err(StartError::Ended { status, .. }) if case.may_refuse && exit_code(status) == 1 => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.into()),
    }
    if let Some(more) = case.nofile {
        player.exporter.limit_files(more)?;
    }
    let mut differences = Vec::new();
    for (index, step) in case.steps.iter().enumerate() {
        let found = player
            .step(step)
            .with_context(|| match player.exporter.ended() {
                Ok(Some(status)) => format!("step {index}: it ended with {}", exit_code(status)),
                _ => format!("step {index}"),
            })?;
        differences.extend(found.into_iter().map(|d| format!("step {index}: {d}")));
    }
    let may_end = case.steps.iter().any(|step| matches!(step, Step::Exit(_)));
    if let (Some(status), false) = (player.exporter.ended()?, may_end) {
        differences.push(format!("it ended with {}", exit_code(status)));
    }
    Ok(differences)
}

struct Player<'a> {
    exporter: Exporter,
    relay: Relay,
    ignore: Option<Regex>,
    case: &'a Case,
}

impl Player<'_> {
    /// Takes one step and returns the differences it shows.
    fn step(&mut self, step: &Step) -> Result<Vec<String>> {
        let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        let port = self.exporter.statsd_port();
        match step {
            Step::Udp(datagrams) => send_udp((v4, port), &all_bytes(datagrams)?)?,
            Step::Udp6(datagrams) => send_udp((v6, port), &all_bytes(datagrams)?)?,
            Step::Tcp(streams) => send_streams((v4, port), streams)?,
            Step::Tcp6(streams) => send_streams((v6, port), streams)?,
            Step::Unixgram(datagrams) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect_addr(&self.unix_address()?)?;
                for datagram in all_bytes(datagrams)? {
                    socket.send(&datagram)?;
                }
            }
            Step::Sleep(seconds) => std::thread::sleep(Duration::from_secs_f64(*seconds)),
            Step::Mapping(text) => self.exporter.write_mapping(&case::bytes(text)?)?,
            Step::Reload(by) => self.reload(*by)?,
            Step::Hold(count) => hold(SocketAddr::from((v4, port)), *count),
            Step::Signal(name) => self.exporter.signal(signal(name)?)?,
            Step::Exit(want) => {
                let code = exit_code(self.exporter.wait(PATIENCE)?);
                return Ok(difference("exit", code, *want));
            }
            Step::SocketMode(want) => {
                let address = self.unix_address()?;
                let path = address.as_pathname().context("an abstract socket")?;
                let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
                return Ok(difference("socket_mode", format!("{mode:o}"), want.clone()));
            }
            Step::Relayed(want) => {
                let got = self.relay.lines(want)?;
                return Ok(difference("relayed", got, want.clone()));
            }
            Step::Http(exchange) => return self.http(exchange),
            Step::Scrape(expectation) => return self.scrape(expectation),
        }
        Ok(Vec::new())
    }

    fn unix_address(&self) -> Result<unix::SocketAddr> {
        let path = self.exporter.flag("statsd.listen-unixgram");
        let path = path.context("no --statsd.listen-unixgram")?;
        Ok(match path.strip_prefix('@') {
            Some(name) => unix::SocketAddr::from_abstract_name(name)?,
            None => unix::SocketAddr::from_pathname(path)?,
        })
    }

    /// Asks for a reload and waits until it is counted. Without a mapping file
    /// it never is; a moment must do then.
    fn reload(&mut self, by: ReloadBy) -> Result<()> {
        let before = self.reloads()?;
        match by {
            ReloadBy::Http => {
                let none: [(&str, &str); 0] = [];
                self.exporter.http.request("POST", "/-/reload", none)?;
            }
            ReloadBy::Sighup => self.exporter.signal(Signal::HUP)?,
        }
        wait::until(Duration::from_secs(2), || -> Result<_> {
            Ok((self.reloads()? != before).then_some(()))
        })?;
        Ok(())
    }

    fn reloads(&self) -> Result<Vec<f64>> {
        let page = self.exporter.page()?;
        let family = page.family("statsd_exporter_config_reloads_total");
        let samples = family.map_or(&[][..], |family| &family.samples);
        Ok(samples.iter().map(|sample| sample.value).collect())
    }

    fn http(&self, exchange: &Exchange) -> Result<Vec<String>> {
        let mut headers = exchange.headers.clone();
        if !headers
            .keys()
            .any(|name| name.eq_ignore_ascii_case("accept-encoding"))
        {
            headers.insert("Accept-Encoding".to_owned(), "identity".to_owned());
        }
        let answer = self
            .exporter
            .http
            .request(&exchange.method, &exchange.path, &headers)?;
        let encoding = answer.header("content-encoding");
        let mut body = Vec::new();
        if encoding == "gzip" {
            GzDecoder::new(&*answer.body).read_to_end(&mut body)?;
        } else {
            body.clone_from(&answer.body);
        }
        let mut differences = difference("status", answer.status, exchange.status);
        for (what, got, want) in [
            (
                "type",
                media_type(answer.header("content-type")),
                &exchange.media_type,
            ),
            ("encoding", encoding.to_owned(), &exchange.encoding),
            (
                "location",
                answer.header("location").to_owned(),
                &exchange.location,
            ),
            ("body", case::text(&body), &exchange.body),
        ] {
            if let Some(want) = want {
                differences.extend(difference(what, got, want.clone()));
            }
        }
        let named = |d| format!("{} {}: {d}", exchange.method, exchange.path);
        Ok(differences.into_iter().map(named).collect())
    }

    /// Scrapes until the page is as wanted and stays so for one more scrape, or
    /// until it is not going to be.
    fn scrape(&self, expectation: &Expectation) -> Result<Vec<String>> {
        let start = Instant::now();
        let mut changed = start;
        let mut last = Judged::default();
        let mut was_as_wanted = false;
        loop {
            let judged = Judged::of(self.exporter.page()?);
            let differences = self.differences(expectation, &judged)?;
            if differences.is_empty() {
                if was_as_wanted {
                    return Ok(differences);
                }
            } else if changed.elapsed() > STILL_AFTER || start.elapsed() > PATIENCE {
                return Ok(differences);
            }
            was_as_wanted = differences.is_empty();
            if !judged.is_same(&last) {
                changed = Instant::now();
                last = judged;
            }
            std::thread::sleep(CONFIRM_AFTER);
        }
    }

    fn differences(&self, expectation: &Expectation, judged: &Judged) -> Result<Vec<String>> {
        let families = expectation.families()?;
        let is_ignored = |name: &str| self.ignore.as_ref().is_some_and(|re| re.is_match(name));
        let mut found = compare::families(&families, &judged.families, Order::Free, is_ignored);
        if let Some(want) = expectation.rejected {
            let got = judged.rejected();
            if got < want {
                found.push(format!(
                    "{got} events counted as rejected, want at least {want}"
                ));
            }
        } else if !self.case.ignore_own {
            found.extend(compare::own(&expectation.own()?, &judged.own));
        }
        Ok(found)
    }
}

fn difference<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Vec<String> {
    let differs = got != want;
    let sentence = differs.then(|| format!("{what} {got:?}, want {want:?}"));
    sentence.into_iter().collect()
}

fn all_bytes(payloads: &[String]) -> Result<Vec<Vec<u8>>> {
    payloads
        .iter()
        .map(|payload| case::bytes(payload))
        .collect()
}

fn send_streams(to: (IpAddr, u16), streams: &[Stream]) -> Result<()> {
    for stream in streams {
        match stream {
            Stream::Whole(payload) => send_tcp(to, &[case::bytes(payload)?])?,
            Stream::Pieces(pieces) => send_tcp(to, &all_bytes(pieces)?)?,
        }
    }
    Ok(())
}

/// Opens connections, as many as possible, holds them and lets go. What the
/// exporter makes of it shows later; that it has had time to notice does not.
fn hold(to: SocketAddr, count: usize) {
    let moment = Duration::from_millis(500);
    let connect = |_| TcpStream::connect_timeout(&to, moment).ok();
    let held: Vec<TcpStream> = (0..count).filter_map(connect).collect();
    std::thread::sleep(moment);
    drop(held);
    std::thread::sleep(moment);
}

fn signal(name: &str) -> Result<Signal> {
    Ok(match name {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "TERM" => Signal::TERM,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        _ => bail!("no such signal: {name}"),
    })
}

/// A media type without the parameters that are not compared.
fn media_type(text: &str) -> String {
    let is_compared = |part: &&str| {
        part.split_once('=')
            .is_none_or(|(name, _)| matches!(name, "version" | "proto" | "encoding"))
    };
    let parts: Vec<&str> = text.split(';').map(str::trim).filter(is_compared).collect();
    parts.join(";")
}

/// The target of `--statsd.relay.address={relay}`.
struct Relay {
    socket: UdpSocket,
    heard: Vec<u8>,
}

impl Relay {
    fn new() -> Result<Relay> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        Ok(Relay {
            socket,
            heard: Vec::new(),
        })
    }

    fn target(&self) -> Result<String> {
        Ok(self.socket.local_addr()?.to_string())
    }

    /// All lines so far. Waits until they are as wanted and nothing more comes.
    fn lines(&mut self, want: &[String]) -> Result<Vec<String>> {
        let start = Instant::now();
        let mut buffer = [0; 65_536];
        loop {
            self.socket.set_read_timeout(Some(RELAY_QUIET))?;
            match self.socket.recv(&mut buffer) {
                Ok(len) => self.heard.extend_from_slice(&buffer[..len]),
                // Quiet.
                Err(_) => {
                    let heard = case::text(&self.heard);
                    let mut lines: Vec<String> = heard.split('\n').map(str::to_owned).collect();
                    lines.pop();
                    if lines == want || start.elapsed() > PATIENCE {
                        return Ok(lines);
                    }
                }
            }
        }
    }
}
