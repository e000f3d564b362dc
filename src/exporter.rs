//! The running program: opens what is to be opened, starts the threads, reloads
//! and stops.
//!
//! ```text
//! pitot-udp-N, pitot-unixgram      a receiver and its worker each
//! pitot-tcp, pitot-unixstream      connections and their worker each
//! pitot-relay                      copies of all lines, if asked for
//! pitot-http                       the web server; pages render on threads of
//!                                  their own
//! main                             signals, reloads, the sweep of silent series
//! ```
//!
//! The order of start-up decides which error wins, and is the reference's (see
//! `config`). On the way down receivers stop first, with what has arrived
//! counted, and the web server last.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, anyhow, bail};
use arc_swap::ArcSwap;
use prometheus::proto::{MetricFamily, MetricType};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::cli::{BUILD, Flags, MappingProfile};
use crate::clock::Clock;
use crate::config::{Address, Config, Endpoints, Mapping, Web};
use crate::http::{self, HandlerStats, Pages, Site};
use crate::mapping::rules::{self, ConfigError, RuleFile};
use crate::mapping::{Mapper, profiles};
use crate::receive::{self, Backend, Chosen, SocketFile, Stop, socket, stream};
use crate::registry::{Kind, Registry};
use crate::relay::{self, Relay};
use crate::render::{self, Format};
use crate::telemetry::{self, BuildInfo, Telemetry};
use crate::worker::{Shared, Transport, Worker};

/// How often silent series are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Threads that serve HTTP. Rendering has threads of its own.
const HTTP_THREADS: usize = 2;

/// Runs until it is told to stop.
///
/// # Errors
/// One sentence that says why it cannot start, and how to mend it.
pub fn run(flags: &Flags) -> anyhow::Result<()> {
    info!(version = BUILD.version, revision = BUILD.revision, "Starting Pitot");
    let config = Config::from_flags(flags)?;
    let mapper = load(&config.mapping)?;
    if let Some(path) = &config.mapping.fsm_dump {
        dump(&mapper, path);
    }
    if config.check_only {
        info!(rules = mapper.rules().len(), "The mapping is good");
        return Ok(());
    }
    Exporter::start(config, Endpoints::from_flags(flags)?, mapper)?.serve()
}

/// Loads the rules for `explain`.
///
/// # Errors
/// As [`run`].
pub fn mapper(flags: &Flags) -> anyhow::Result<(Config, Mapper)> {
    let config = Config::from_flags(flags)?;
    let mapper = load(&config.mapping)?;
    Ok((config, mapper))
}
