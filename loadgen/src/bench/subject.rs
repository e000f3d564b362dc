//! What is measured: an exporter or a sink, started here, running here, or on
//! another host.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};

use crate::affinity::{self, CpuList};
use crate::endpoint::{self, Endpoint};
use crate::exporter::{Exporter, StartError};
use crate::kernel;
use crate::machine;
use crate::mapping_rules::RulesArgs;
use crate::own_metrics::{CPU_SECONDS, DATAGRAMS, DROPS, KERNEL_DROPS, LINES, RESIDENT_BYTES};
use crate::process::{CpuSpent, CpuTime, Process};
use crate::sink::Backend;
use crate::target::Target;

/// How to start a subject.
#[derive(Clone, Debug)]
pub struct Launch {
    /// For tables.
    pub name: String,
    /// Which program.
    pub program: Program,
    /// The receive buffer to ask for; `None` leaves the program's own default.
    pub read_buffer: Option<usize>,
    /// Processors for it.
    pub cpus: Option<CpuList>,
}

/// A program to start.
#[derive(Clone, Debug)]
pub enum Program {
    /// An exporter with the flags of statsd_exporter.
    Exporter {
        /// Its binary.
        path: PathBuf,
        /// Further flags.
        args: Vec<String>,
        /// Its rules.
        rules: RulesArgs,
    },
    /// This program's own sink.
    Sink(Backend),
}

/// A subject at work. Dropping it ends what was started for it.
#[derive(Debug)]
pub struct Subject {
    /// Where lines go.
    pub to: Target,
    /// Where its page is.
    pub page: Endpoint,
    /// The process, if it runs here.
    process: Option<Process>,
    /// Ended with the subject.
    _child: Option<Exporter>,
}

/// What a subject has counted and cost at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    /// Lines, where it counts them.
    pub lines: Option<f64>,
    /// Datagrams, where it counts them.
    pub datagrams: Option<f64>,
    /// Thrown away by itself.
    pub own_drops: f64,
    /// Thrown away by the kernel, as far as anybody tells.
    pub kernel_drops: Option<f64>,
}

/// CPU time at one moment.
#[derive(Clone, Copy, Debug)]
pub enum Cpu {
    /// As the kernel says.
    Exact(CpuTime),
    /// As its page says: in hundredths of a second, user and system together.
    Told(f64),
}

impl Launch {
    /// Starts it and waits until it is ready.
    pub fn start(&self) -> Result<Subject> {
        let mut child = self.prepare()?;
        let started = affinity::pinned(self.cpus.as_ref(), || {
            child.start().map_err(|error| match error {
                StartError::Other(error) => error,
                ended => anyhow!(ended),
            })
        });
        started.with_context(|| format!("starting {}", self.name))?;
        let process = child.process()?;
        Ok(Subject {
            to: Target::Udp(SocketAddr::from(([127, 0, 0, 1], child.statsd_port()))),
            page: child.endpoint(),
            process: Some(process),
            _child: Some(child),
        })
    }

    fn prepare(&self) -> Result<Exporter> {
        match &self.program {
            Program::Exporter { path, args, rules } => {
                let (mapping, mut flags) = rules.for_exporter()?;
                // What users have, not the quick one that tests are given.
                flags.push("--statsd.event-flush-interval=200ms".to_owned());
                let buffer = self.read_buffer.iter();
                flags.extend(buffer.map(|bytes| format!("--statsd.read-buffer={bytes}")));
                flags.extend(args.iter().cloned());
                Exporter::new(path, &flags, mapping.as_deref())
            }
            Program::Sink(backend) => {
                let arguments = [
                    "sink".to_owned(),
                    "--listen=127.0.0.1:{statsd}".to_owned(),
                    "--metrics=127.0.0.1:{web}".to_owned(),
                    format!("--backend={}", backend.name()),
                    format!("--read-buffer={}", self.read_buffer.unwrap_or(0)),
                ];
                Exporter::bare(&std::env::current_exe()?, &arguments)
            }
        }
    }

    /// What the program says it is.
    pub fn version(&self) -> String {
        match &self.program {
            Program::Exporter { path, .. } => machine::version_of(path),
            Program::Sink(_) => format!("pitot-loadgen {}", env!("CARGO_PKG_VERSION")),
        }
    }
}

impl Program {
    /// An exporter; an error if there is no such file.
    pub fn exporter(path: &Path, args: &[String], rules: &RulesArgs) -> Result<Program> {
        ensure!(path.exists(), "{} does not exist", path.display());
        Ok(Program::Exporter {
            path: path.to_owned(),
            args: args.to_vec(),
            rules: rules.clone(),
        })
    }
}

impl Subject {
    /// One that runs already; with `pid` on this machine, else what it costs is
    /// read from its page.
    pub fn attach(to: Target, page: Endpoint, pid: Option<i32>) -> Result<Subject> {
        Ok(Subject {
            to,
            page,
            process: pid.map(Process::of).transpose()?,
            _child: None,
        })
    }

    /// What it has counted so far.
    pub fn marks(&self) -> Result<Marks> {
        let page = self.page.text()?;
        let value = |name: &str| endpoint::counter(&page, name);
        let seen = self.local_port().and_then(kernel::port_drops);
        Ok(Marks {
            lines: value(LINES)?,
            datagrams: value(DATAGRAMS)?,
            own_drops: value(DROPS)?.unwrap_or_default(),
            kernel_drops: match seen {
                Some(drops) => Some(drops as f64),
                None => value(KERNEL_DROPS)?,
            },
        })
    }

    /// What it has cost so far.
    pub fn cpu(&self) -> Result<Cpu> {
        Ok(match &self.process {
            Some(process) => Cpu::Exact(process.cpu()?),
            None => Cpu::Told(self.page.counter(CPU_SECONDS)?),
        })
    }

    /// Memory that is resident now, in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        match &self.process {
            Some(process) => process.resident_bytes(),
            None => Ok(self.page.counter(RESIDENT_BYTES)? as u64),
        }
    }

    /// The receive buffers of its sockets as the kernel granted them; empty if
    /// that cannot be known.
    pub fn buffers(&self) -> Vec<usize> {
        let place = self.process.as_ref().zip(self.local_port());
        place.map_or_else(Vec::new, |(process, port)| {
            kernel::receive_buffers_of(process.pid(), port)
        })
    }

    /// The UDP port, if it is one of this machine.
    fn local_port(&self) -> Option<u16> {
        match self.to {
            Target::Udp(address) if kernel::is_local(address.ip()) => Some(address.port()),
            _ => None,
        }
    }
}

impl Cpu {
    /// What was spent since `earlier`, which is of the same kind.
    pub fn since(&self, earlier: &Cpu) -> CpuSpent {
        match (self, earlier) {
            (Cpu::Exact(now), Cpu::Exact(earlier)) => now.since(earlier),
            (Cpu::Told(now), Cpu::Told(earlier)) => CpuSpent {
                total: std::time::Duration::from_secs_f64((now - earlier).max(0.0)),
                ..CpuSpent::default()
            },
            _ => CpuSpent::default(),
        }
    }
}
