//! The running program: opens what is to be opened, starts the threads, reloads
//! and stops.
//!
//! ```text
//! pitot-udp-N, pitot-unixgram-0   a receiver and its worker each
//! pitot-tcp-N, pitot-unixstream-N connections and their worker each
//! pitot-relay                     copies of all lines, if asked for
//! pitot-http                      the web server; a page renders on a thread
//!                                 of its own
//! main                            signals, reloads, the sweep of silent series
//! ```
//!
//! The order of start-up decides which error wins, and is the reference's (see
//! `config`). On the way down receivers stop first, with what has arrived
//! counted, and the web server last. With a grace period all of it goes on for a
//! while before that, so that late senders and a last scrape are served.

mod ending;
mod families;
mod listeners;
mod receivers;

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use socket2::Socket;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::{debug, error, info, warn};

use crate::cli::{BUILD, Flags};
use crate::clock::Clock;
use crate::config::{self, Config, Endpoints};
use crate::http::{self, HandlerStats, Pages, Site};
use crate::mapping::Mapper;
use crate::receive::socket::SocketFile;
use crate::receive::{self, Backend, Bell, Gather, LongLines, Stop, stream};
use crate::registry::Registry;
use crate::relay::{self, Relay};
use crate::render::{self, Format};
use crate::rule_source::RuleSource;
use crate::sys::affinity;
use crate::telemetry::{self, BuildInfo, Telemetry};
use crate::worker::{Shared, Transport, Worker};

use self::ending::{Ending, Happening, Happenings};
use self::listeners::{Listeners, open_tcp};
use self::receivers::Receivers;

/// How often silent series are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Threads that serve HTTP.
const HTTP_THREADS: usize = 2;

/// Runs until it is told to stop, or with `--check-config` only looks at the
/// rules.
///
/// # Errors
/// A sentence that says why it cannot start, and how to mend it.
pub fn run(flags: &Flags) -> anyhow::Result<()> {
    info!(
        version = BUILD.version,
        revision = BUILD.revision,
        "Starting Pitot"
    );
    let config = Config::from_flags(flags)?;
    let rules = RuleSource::new(&config.mapping);
    let mapper = rules.load()?;
    if let Some(path) = &config.mapping.fsm_dump {
        dump(&mapper, path);
    }
    if config.check_only {
        info!(rules = mapper.rules().len(), "The mapping rules are good");
        return Ok(());
    }
    let endpoints = Endpoints::from_flags(flags)?;
    Exporter::start(&config, endpoints, rules, mapper)?.serve()
}

/// Everything that runs.
struct Exporter {
    control: Arc<Control>,
    /// Those that receive.
    threads: Vec<JoinHandle<()>>,
    stop: Stop,
    relay: Option<Relay>,
    /// Removed when they are dropped.
    socket_files: Vec<SocketFile>,
    web: TcpListener,
    site: Site,
    endings: mpsc::UnboundedReceiver<Ending>,
    /// How long to go on when told to end.
    grace: Duration,
}

/// A datagram socket, all that its thread needs.
struct Datagrams {
    transport: Transport,
    /// Which of its transport's sockets it is.
    shard: usize,
    socket: OwnedFd,
    bell: Bell,
    worker: Worker,
}

impl Datagrams {
    fn name(&self) -> String {
        format!("pitot-{}-{}", self.transport, self.shard)
    }

    /// Keeps the calling thread on a core of its own, as far as there are cores.
    /// Where all cores of the machine may be used, it is one of those whose
    /// datagrams `--receive.steering=cpu` sends here.
    fn pin(&self) {
        if self.transport != Transport::Udp {
            return;
        }
        let pinned = affinity::usable_cores().and_then(|cores| {
            let core = cores[self.shard % cores.len()];
            affinity::pin_to(core).map(|()| core)
        });
        match pinned {
            Ok(core) => debug!(shard = self.shard, core, "Pinned"),
            Err(error) => warn!(shard = self.shard, %error, "Cannot pin a receiver to a core"),
        }
    }

    fn options(&self, all: receive::Options) -> receive::Options {
        let gather = match self.transport {
            // The kernel keeps but a few (`net.unix.max_dgram_qlen`) and makes
            // senders wait for more.
            Transport::Unixgram => Gather::AtMost(Duration::ZERO),
            _ => all.gather,
        };
        receive::Options { gather, ..all }
    }
}

/// What requests and signals act on.
struct Control {
    shared: Arc<Shared>,
    receivers: Arc<Receivers>,
    rules: RuleSource,
    /// Held during a reload, so that two never overtake each other.
    reloading: Mutex<()>,
    /// The program has been told to end, and nothing new should be sent here.
    is_ending: AtomicBool,
    end: mpsc::UnboundedSender<Ending>,
}

// === impl Exporter ===

impl Exporter {
    /// Opens everything, then starts to receive: a start that fails has not
    /// counted anything that is then lost.
    fn start(
        config: &Config,
        endpoints: Endpoints,
        rules: RuleSource,
        mapper: Mapper,
    ) -> anyhow::Result<Exporter> {
        let has_cache = config.cache.entries > 0;
        let telemetry = Telemetry::new(&build_info(), has_cache);
        telemetry.set_loaded_mappings(mapper.rules().len());
        let relay = endpoints.relay.as_ref();
        let relay = relay
            .map(|relay| start_relay(relay, &telemetry))
            .transpose()?;
        let listeners = Listeners::open(config, &endpoints)?;
        let web = open_tcp(&endpoints.web.address)?;
        info!(
            address = endpoints.web.address.as_str(),
            "Serving metrics over HTTP"
        );

        let chosen = receive::probe(config.receive.backend)?;
        let backend = chosen.backend.as_str();
        info!(backend, reason = %chosen.reason, "Receiving datagrams");
        telemetry.register_info(
            "pitot_receive_backend_info",
            "Constant 1, labelled by how datagrams are received, and why.",
            &[("backend", backend), ("reason", &chosen.reason)],
        );

        let registry = Arc::new(Registry::new(Clock::system(), telemetry::is_reserved));
        let stats = Arc::new(HandlerStats::default());
        families::watch_series(&telemetry, &registry);
        families::watch_scrapes(&telemetry, &stats);
        let shared = Arc::new(Shared {
            registry,
            mapper: ArcSwap::from_pointee(mapper),
            telemetry,
            dialects: config.dialects,
            cache: has_cache,
        });
        let feed = || relay.as_ref().map(Relay::feed);
        let mut receivers = Receivers::default();
        let mut datagrams = Vec::new();
        for (transport, shard, socket) in listeners.datagrams {
            let worker = Worker::new(Arc::clone(&shared), transport, feed());
            let bell = receivers
                .add(transport, shard, &socket, worker.counts())
                .context("cannot make descriptors for a receiver")?;
            datagrams.push(Datagrams {
                transport,
                shard,
                socket,
                bell,
                worker,
            });
        }
        receivers.warn_of_small_buffers(config.receive.read_buffer);
        let receivers = Arc::new(receivers);
        families::watch_receivers(&shared.telemetry, &receivers);

        let (end, endings) = mpsc::unbounded_channel();
        let control = Arc::new(Control {
            shared,
            receivers,
            rules,
            reloading: Mutex::default(),
            is_ending: AtomicBool::new(false),
            end,
        });
        let options = http::Options {
            routes: endpoints.web.routes,
            version: BUILD.version.to_owned(),
            limits: http::Limits::default(),
        };
        let pages: Arc<dyn Pages> = Arc::clone(&control) as _;
        let stop = Stop::new().context("cannot make a descriptor for the stop signal")?;
        let mut exporter = Exporter {
            control,
            threads: Vec::new(),
            stop,
            relay,
            socket_files: listeners.files,
            web,
            site: Site::new(options, pages, stats),
            endings,
            grace: config.shutdown_grace,
        };
        let options = receive::Options {
            backend: chosen.backend,
            gather: config.receive.gather,
        };
        exporter.receive(datagrams, options, config.receive.pin)?;
        let threads = config.receive.shards.get();
        let options = stream_options(&config.stream);
        exporter.accept(listeners.streams, chosen.backend, threads, &options)?;
        Ok(exporter)
    }

    /// Starts a thread for each datagram socket.
    fn receive(
        &mut self,
        datagrams: Vec<Datagrams>,
        options: receive::Options,
        pin: bool,
    ) -> anyhow::Result<()> {
        for mut datagrams in datagrams {
            let stop = self.stop.clone();
            let options = datagrams.options(options);
            self.spawn(datagrams.name(), move || {
                if pin {
                    datagrams.pin();
                }
                let Datagrams {
                    socket,
                    bell,
                    worker,
                    ..
                } = &mut datagrams;
                receive::run(socket, options, &stop, bell, worker)
            })?;
        }
        Ok(())
    }

    /// Starts so many threads for each listener; whichever is free accepts.
    fn accept(
        &mut self,
        streams: Vec<(Transport, Socket)>,
        backend: Backend,
        threads: usize,
        options: &stream::Options,
    ) -> anyhow::Result<()> {
        for (transport, listener) in streams {
            for thread in 0..threads {
                let listener = listener.try_clone().context("cannot share a listener")?;
                let feed = self.relay.as_ref().map(Relay::feed);
                let worker = Worker::new(Arc::clone(&self.control.shared), transport, feed);
                let (stop, options) = (self.stop.clone(), options.clone());
                self.spawn(format!("pitot-{transport}-{thread}"), move || {
                    stream::run(vec![listener], backend, options, &stop, worker)
                })?;
            }
        }
        Ok(())
    }

    fn spawn(
        &mut self,
        name: String,
        receive: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let end = self.control.end.clone();
        let thread = Builder::new().name(name.clone()).spawn(move || {
            if let Err(error) = receive() {
                let error = anyhow!(error).context(format!("{name} cannot receive"));
                // If nobody listens the program is ending already.
                let _ = end.send(Ending::Failed(error));
            }
        });
        self.threads.push(thread.context("cannot start a thread")?);
        Ok(())
    }

    /// Serves until it is told to end.
    fn serve(mut self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(HTTP_THREADS)
            .thread_name("pitot-http")
            .enable_all()
            .build()
            .context("cannot start the threads of the web server")?;
        let (close, closed) = oneshot::channel::<()>();
        let web = http::serve(self.web, self.site, async {
            // An error means that the sender is gone, which is as good.
            let _ = closed.await;
        });
        let ending = runtime.block_on(async {
            // Before anybody can learn that the program is ready, and act on it.
            let happenings = Happenings::watch(self.endings);
            let mut happenings = happenings.context("cannot catch signals")?;
            let web = tokio::spawn(web);
            let ending = watch(&self.control, &mut happenings).await;
            if let Ending::Asked(by) = ending {
                self.control.linger(by, self.grace, &mut happenings).await;
            }
            self.stop.raise();
            for thread in self.threads.drain(..) {
                // A panic in a receiver has ended the process already.
                let _ = thread.join();
            }
            drop(close);
            match web.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => error!(%error, "The web server failed"),
                Err(error) => error!(%error, "The web server did not end"),
            }
            anyhow::Ok(ending)
        })?;
        if let Some(relay) = self.relay.take() {
            relay.finish();
        }
        drop(self.socket_files);
        match ending {
            Ending::Asked(by) => {
                let (datagrams, dropped) = self.control.receivers.totals();
                info!(
                    by,
                    datagrams, dropped, "Everything received is counted; goodbye"
                );
                Ok(())
            }
            Ending::Failed(error) => Err(error),
        }
    }
}

/// Reloads and sweeps until there is a reason to end.
async fn watch(control: &Control, happenings: &mut Happenings) -> Ending {
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        // This runs on the main thread, which has nothing else to do, so what
        // is done here may take its time.
        tokio::select! {
            _ = sweep.tick() => control.sweep(),
            happening = happenings.next() => match happening {
                Happening::Reload => control.reload(),
                Happening::End(ending) => return ending,
            }
        }
    }
}

// === impl Control ===

impl Control {
    fn sweep(&self) {
        let registry = &self.shared.registry;
        registry.sweep(registry.clock().now());
        self.receivers.look();
    }

    /// Goes on for `grace`, but tells everybody to look for another: late
    /// datagrams are received, and there is time for a last scrape. Being told
    /// to end once more cuts it short.
    async fn linger(&self, by: &str, grace: Duration, happenings: &mut Happenings) {
        self.is_ending.store(true, Ordering::Relaxed);
        if grace.is_zero() {
            return;
        }
        info!(by, ?grace, "Ending; going on for the grace period");
        // What comes of it does not matter: it ends either way.
        let _ = tokio::time::timeout(grace, watch(self, happenings)).await;
    }
}

impl Pages for Control {
    fn render(&self, format: Format, out: &mut dyn io::Write) -> io::Result<()> {
        self.receivers.deliver();
        let own = self.shared.telemetry.gather();
        render::render(&self.shared.registry, &own, format, out)
    }

    /// Swaps the rules for those of the file as it is now. If they are wrong
    /// the old ones stay in force.
    fn reload(&self) {
        let Some(file) = self.rules.file() else {
            return warn!("Nothing to reload: there is no --statsd.mapping-config");
        };
        let _one_at_a_time = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let telemetry = &self.shared.telemetry;
        match self.rules.load() {
            Ok(mapper) => {
                telemetry.set_loaded_mappings(mapper.rules().len());
                info!(file = %file.display(), rules = mapper.rules().len(), "Mapping rules reloaded");
                self.shared.mapper.store(Arc::new(mapper));
                telemetry.reloaded(true);
            }
            Err(error) => {
                error!(error = %format_args!("{error:#}"), "Mapping rules not reloaded; the old ones stay in force");
                telemetry.reloaded(false);
            }
        }
    }

    fn quit(&self) {
        // If nobody listens the program is ending already.
        let _ = self.end.send(Ending::Asked("/-/quit"));
    }

    fn ready(&self) -> bool {
        // Receivers run before the web server does.
        !self.is_ending.load(Ordering::Relaxed)
    }
}

fn stream_options(config: &config::Stream) -> stream::Options {
    let mut options = stream::Options {
        idle_max: config.idle_max,
        places: Arc::new(Semaphore::new(config.connections_max)),
        ..stream::Options::default()
    };
    if let Some(bytes) = config.line_bytes_max {
        options.line_bytes_max = bytes;
        options.long_lines = LongLines::Skip;
    }
    options
}

fn start_relay(relay: &config::Relay, telemetry: &Telemetry) -> anyhow::Result<Relay> {
    let options = relay::Options {
        target: relay.target.resolve()?,
        target_text: relay.target.as_str().to_owned(),
        packet_len_max: relay.packet_length,
    };
    Relay::start(options, telemetry).context("cannot open a socket for the relay")
}

/// Writes the automaton for Graphviz. Nothing depends on it, so failing to is
/// no reason not to start.
fn dump(mapper: &Mapper, path: &PathBuf) {
    if let Err(error) = std::fs::write(path, mapper.to_dot()) {
        error!(path = %path.display(), %error, "Cannot write the state machine of the rules");
    }
}

fn build_info() -> BuildInfo<'static> {
    BuildInfo {
        branch: BUILD.branch,
        goarch: BUILD.arch,
        goos: BUILD.os,
        // Where a Go program names its compiler.
        goversion: BUILD.toolchain,
        revision: BUILD.revision,
        tags: "",
        version: BUILD.version,
    }
}
