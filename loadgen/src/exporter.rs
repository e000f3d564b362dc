//! An exporter under test: a child process with ports and a scratch directory
//! of its own, spoken to only as its users would.
//!
//! Any program with the flags of statsd_exporter will do. Dropping it ends the
//! process and removes the directory, so nothing is left behind by an error or
//! a panic.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context, Result, bail};
pub use rustix::process::Signal;
use rustix::process::{Pid, Resource, Rlimit, kill_process, prlimit};
use tempfile::TempDir;

use crate::endpoint::Endpoint;
use crate::http::Client;
use crate::ports::{Lease, NO_FORK};
use crate::process::Process;
use crate::scrape::Page;
use crate::wait;

/// How long an exporter may take to answer `/-/ready`, or to end when it should.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running exporter.
#[derive(Debug)]
pub struct Exporter {
    /// For requests to its web port.
    pub http: Client,
    command: Command,
    child: Option<Child>,
    flags: Vec<String>,
    statsd: Lease,
    dir: TempDir,
    web: Lease,
}

/// Why an exporter is not running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It ended by itself; for example because it refused its configuration.
    #[error("ended before it was ready ({status}); it said: {said}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote.
        said: String,
    },
    /// Anything else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl Exporter {
    /// Prepares a process without starting it. In `flags`, `{dir}` stands for
    /// the scratch directory, `{statsd}` and `{web}` for the port numbers; a
    /// flag replaces the one given here by default. `mapping` is the text of the
    /// mapping file, if there is to be one.
    pub fn new(binary: &Path, flags: &[String], mapping: Option<&[u8]>) -> Result<Exporter> {
        let mut defaults = vec![
            "--statsd.listen-udp=127.0.0.1:{statsd}",
            "--statsd.listen-tcp=127.0.0.1:{statsd}",
            "--web.listen-address=127.0.0.1:{web}",
            "--web.enable-lifecycle",
            "--statsd.event-flush-interval=20ms",
            "--log.level=error",
        ];
        let file = format!("--statsd.mapping-config={{dir}}/{MAPPING_FILE}");
        if mapping.is_some() {
            defaults.push(&file);
        }
        defaults.retain(|default| {
            let is_same = |flag: &String| flag_name(flag) == flag_name(default);
            !flags.iter().any(is_same)
        });
        let defaults = defaults.into_iter().map(str::to_owned);
        let all: Vec<String> = defaults.chain(flags.iter().cloned()).collect();
        let exporter = Exporter::bare(binary, &all)?;
        if let Some(mapping) = mapping {
            exporter.write_mapping(mapping)?;
        }
        Ok(exporter)
    }

    /// The same for any program that answers `/-/ready` on its web port, with
    /// these arguments alone.
    pub fn bare(binary: &Path, arguments: &[String]) -> Result<Exporter> {
        let (statsd, web) = (Lease::take()?, Lease::take()?);
        let dir = tempfile::Builder::new().prefix("exporter-").tempdir()?;
        let path = dir.path().to_str().context("scratch directory's name")?;
        let fill_in = |flag: &String| {
            flag.replace("{dir}", path)
                .replace("{statsd}", &statsd.port.to_string())
                .replace("{web}", &web.port.to_string())
        };
        let flags: Vec<String> = arguments.iter().map(fill_in).collect();
        let mut command = Command::new(binary);
        let log = File::create(dir.path().join(LOG_FILE))?;
        command
            .args(&flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(Exporter {
            http: Client::new(loopback(web.port)),
            command,
            child: None,
            flags,
            statsd,
            dir,
            web,
        })
    }

    /// Replaces the mapping file; a running process must be told to reload it.
    pub fn write_mapping(&self, text: &[u8]) -> Result<()> {
        Ok(fs::write(self.dir.path().join(MAPPING_FILE), text)?)
    }

    /// Starts the process and waits until it says that it is ready.
    pub fn start(&mut self) -> Result<(), StartError> {
        self.spawn()?;
        let ready = wait::until(START_TIMEOUT, || {
            if let Some(status) = self.ended()? {
                let said = self.said();
                return Err(StartError::Ended { status, said });
            }
            let answer = self.http.get("/-/ready");
            Ok(answer
                .is_ok_and(|answer| answer.status == 200)
                .then_some(()))
        })?;
        Ok(ready.with_context(|| format!("not ready in time; it said: {}", self.said()))?)
    }

    /// Starts the process with further flags and waits for its end; an error if
    /// it does not end in time.
    pub fn run_to_end(&mut self, flags: &[&str]) -> Result<ExitStatus> {
        self.command.args(flags);
        self.spawn()?;
        let ended = wait::until(START_TIMEOUT, || self.ended())?;
        ended.with_context(|| format!("still running; it said: {}", self.said()))
    }

    fn spawn(&mut self) -> Result<()> {
        let _no_fork = NO_FORK.lock().unwrap_or_else(PoisonError::into_inner);
        let child = self.command.spawn();
        self.child = Some(child.with_context(|| format!("starting {:?}", self.command))?);
        Ok(())
    }

    /// How the process ended, if it did. Ended by a signal is ended too.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child()?.try_wait()?)
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = wait::until(limit, || self.ended())?;
        ended.context("it did not end in time")
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// Lets the process open only so many files more than it has open.
    pub fn limit_files(&mut self, more: u64) -> Result<()> {
        let pid = self.pid()?;
        let mut last = 0;
        for entry in fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()))? {
            let name = entry?.file_name();
            last = last.max(name.to_string_lossy().parse::<u64>()?);
        }
        let limit = Some(last + 1 + more);
        let limit = Rlimit {
            current: limit,
            maximum: limit,
        };
        prlimit(Some(pid), Resource::Nofile, limit)?;
        Ok(())
    }

    /// Where it takes StatsD lines by UDP and TCP, unless a flag says otherwise.
    pub fn statsd_port(&self) -> u16 {
        self.statsd.port
    }

    /// The process, while it runs.
    pub fn process(&mut self) -> Result<Process> {
        Process::of(self.pid()?.as_raw_nonzero().get())
    }

    /// The value of a flag written as `--name=value`.
    pub fn flag(&self, name: &str) -> Option<&str> {
        let mut flags = self.flags.iter().filter(|flag| flag_name(flag) == name);
        Some(flags.next()?.split_once('=')?.1)
    }

    /// Where its page of metrics is.
    pub fn endpoint(&self) -> Endpoint {
        let path = self.flag("web.telemetry-path").unwrap_or("/metrics");
        Endpoint::new(loopback(self.web.port), path)
    }

    /// The page of metrics as it stands.
    pub fn page_text(&self) -> Result<String> {
        self.endpoint().text()
    }

    /// The page of metrics, read.
    pub fn page(&self) -> Result<Page> {
        self.endpoint().page()
    }

    /// The value of an own counter without labels; zero if it is absent. Quicker
    /// than [`Exporter::page`].
    pub fn counter(&self, name: &str) -> Result<f64> {
        self.endpoint().counter(name)
    }

    /// The end of what it wrote to its standard outputs.
    pub fn said(&self) -> String {
        let log = fs::read(self.dir.path().join(LOG_FILE)).unwrap_or_default();
        tail(&String::from_utf8_lossy(&log))
    }

    fn child(&mut self) -> Result<&mut Child> {
        self.child.as_mut().context("not started")
    }

    fn pid(&mut self) -> Result<Pid> {
        if let Some(status) = self.ended()? {
            // The number may belong to another process by now.
            bail!("it has ended already ({status})");
        }
        Ok(Pid::from_child(self.child()?))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Both fail only if it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The code a process ended with, or minus the number of the signal.
pub fn exit_code(status: ExitStatus) -> i32 {
    let signal = || -status.signal().unwrap_or_default();
    status.code().unwrap_or_else(signal)
}

const MAPPING_FILE: &str = "mapping.yml";
const LOG_FILE: &str = "log";

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// `web.enable-lifecycle` of `--no-web.enable-lifecycle`, and so on.
fn flag_name(flag: &str) -> &str {
    let name = flag.split('=').next().unwrap_or_default();
    let name = name.strip_prefix("--").unwrap_or_default();
    name.strip_prefix("no-").unwrap_or(name)
}

/// The last words of a text that may be long.
fn tail(text: &str) -> String {
    let skip = text.chars().count().saturating_sub(400);
    text.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_names() {
        for (flag, name) in [
            ("--a.b=c=d", "a.b"),
            ("--no-a.b", "a.b"),
            ("--a.b", "a.b"),
            ("value", ""),
        ] {
            assert_eq!(flag_name(flag), name);
        }
    }

    #[test]
    fn a_program_that_ends_at_once_is_told_apart() {
        let mut exporter = Exporter::new(Path::new("/bin/false"), &[], None).expect("prepared");
        match exporter.start() {
            Err(StartError::Ended { status, .. }) => assert_eq!(exit_code(status), 1),
            other => panic!("{other:?}"),
        }
        assert!(exporter.signal(Signal::TERM).is_err());
    }
}
