//! `sink`: a receiver that only reads and counts.
//!
//! It is the floor that exporters are compared with: the same sockets, backends
//! and gathering as Pitot's, from Pitot's own library, and nothing behind them.
//! Two further backends read one datagram a system call, the way most programs
//! do. With rules it adds up what it reads, and it can lose datagrams on
//! purpose, so that `verify` can be tried on a receiver whose loss is known.

mod count;
mod page;
mod single;

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;
use indicatif::HumanCount;
use pitot::receive::{self, BackendChoice, Bell, Gather, Stop, socket};

use crate::endpoint::Endpoint;
use crate::interrupt::{Interrupt, NOTICE};
use crate::ledger::Ledger;
use crate::mapping_rules::RulesArgs;
use crate::process::{CpuSpent, Process};
use crate::progress::Progress;
use crate::target::resolve;
use crate::{bytes, duration, kernel};
use count::{Counter, Tally};

/// Command line of `sink`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pitot-loadgen sink --listen 127.0.0.1:9125 --backend io_uring --duration 10s\n  \
    pitot-loadgen sink --listen :9125 --metrics :9102 --mapping-profile airflow --lose-every 100\n\n\
    The second one counts samples as an exporter does and loses one datagram in a hundred,\n\
    for verify to find.")]
pub struct Args {
    /// UDP address to listen on, host:port
    #[arg(long, value_name = "ADDR")]
    listen: String,
    /// How to read
    #[arg(long, value_enum, default_value_t = Backend::Recvmmsg)]
    backend: Backend,
    /// Sockets that share the load, each with its own thread
    #[arg(long, value_name = "N", default_value = "1")]
    shards: NonZeroUsize,
    /// Receive buffer to ask for, such as 4M; 0 leaves the kernel's default
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = bytes::parse)]
    read_buffer: usize,
    /// How long datagrams may gather before they are read, as Pitot's
    /// --receive.gather: auto, or a time; 0s not at all
    #[arg(long, value_name = "TIME", default_value = "auto", value_parser = parse_gather)]
    gather: Gather,
    /// Stop after this time, for example 90s
    #[arg(long, value_parser = duration::parse)]
    duration: Option<Duration>,
    /// Stop after so many datagrams
    #[arg(long)]
    count: Option<u64>,
    /// Throw the first N datagrams of each socket away
    #[arg(long, value_name = "N", default_value_t = 0)]
    lose: u64,
    /// Throw every Nth datagram of each socket away
    #[arg(long, value_name = "N", default_value_t = 0)]
    lose_every: u64,
    /// Serve what was counted at this TCP address, host:port
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
    /// With rules, values are added up too
    #[command(flatten)]
    rules: RulesArgs,
}

/// How to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// Many datagrams a system call, as Pitot
    Recvmmsg,
    /// Multishot receives, as Pitot
    #[value(name = "io_uring")]
    IoUring,
    /// One at a time by the tokio-uring crate
    TokioUring,
    /// One at a time by recv
    Blocking,
}

/// What to start.
#[derive(Debug)]
pub struct Options {
    /// UDP address to read.
    pub listen: SocketAddr,
    /// How.
    pub backend: Backend,
    /// How long datagrams may gather, with Pitot's backends.
    pub gather: Gather,
    /// Sockets and threads.
    pub shards: NonZeroUsize,
    /// Bytes to ask for; 0 for the kernel's default.
    pub read_buffer: usize,
    /// What to throw away.
    pub loss: Loss,
    /// Where to serve the page.
    pub metrics: Option<SocketAddr>,
}

/// Datagrams to throw away, of each socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// The first so many.
    pub first: u64,
    /// After them, every so manieth; 0 for none.
    pub every: u64,
}

/// A sink at work. Dropping it stops it.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    page: Option<page::Server>,
    sockets: Vec<UdpSocket>,
    tallies: Vec<Arc<Tally>>,
    stop: Stop,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Report {
    /// Read and counted.
    pub datagrams: u64,
    /// Thrown away on purpose.
    pub lost: u64,
    /// Thrown away by the kernel, as far as it tells.
    pub kernel_drops: Option<u64>,
    /// Failed reads, and datagrams that were too long.
    pub errors: u64,
    /// From the first to the last, to within a tenth of a second.
    pub span: Duration,
    /// The receive buffer that the kernel granted, in bytes.
    pub buffer_bytes: usize,
    cpu: CpuSpent,
}

/// Runs the subcommand.
pub fn run(args: &Args, interrupt: &Interrupt) -> Result<Report> {
    let rules = args.rules.is_given().then(|| args.rules.load());
    let ledger = rules.transpose()?.map(Ledger::new);
    let options = Options {
        listen: resolve(&args.listen)?,
        backend: args.backend,
        gather: args.gather,
        shards: args.shards,
        read_buffer: args.read_buffer,
        loss: Loss {
            first: args.lose,
            every: args.lose_every,
        },
        metrics: args.metrics.as_deref().map(resolve).transpose()?,
    };
    let process = Process::own()?;
    let sink = Sink::start(&options, ledger)?;
    let mut progress = Progress::new("datagrams", args.count);
    progress.note(&format!("listening on {}", sink.address()));
    let begin = Instant::now();
    let cpu = process.cpu()?;
    let mut span = Span::default();
    while !interrupt.is_set() && args.duration.is_none_or(|all| begin.elapsed() < all) {
        let seen = sink.seen();
        span.saw(seen);
        progress.at(seen);
        if args.count.is_some_and(|count| seen >= count) {
            break;
        }
        let end = args.duration.map(|all| begin + all);
        let next = Instant::now() + NOTICE;
        interrupt.sleep_until(end.map_or(next, |end| end.min(next)));
    }
    span.saw(sink.seen());
    let mut report = sink.finish()?;
    report.span = span.length();
    report.cpu = process.cpu()?.since(&cpu);
    Ok(report)
}

// === impl Sink ===

impl Sink {
    /// Opens the sockets and begins to read. With a `ledger`, values are added
    /// up and shown.
    pub fn start(options: &Options, ledger: Option<Ledger>) -> Result<Sink> {
        let (backend, gather) = (options.backend, options.gather);
        if backend == Backend::IoUring {
            receive::probe(BackendChoice::IoUring)?;
        }
        let bytes = i32::try_from(options.read_buffer).unwrap_or(i32::MAX);
        let listen = options.listen;
        let sockets = socket::udp_group(listen, options.shards, bytes);
        let sockets = sockets.with_context(|| format!("listening on {listen}"))?;
        let ledger = ledger.map(|ledger| Arc::new(Mutex::new(ledger)));
        let tallies: Vec<Arc<Tally>> = sockets.iter().map(|_| Arc::default()).collect();
        let mut sink = Sink {
            address: sockets[0].local_addr()?,
            page: None,
            stop: Stop::new()?,
            sockets,
            tallies,
            threads: Vec::new(),
        };
        if let Some(address) = options.metrics {
            let (tallies, ledger) = (sink.tallies.clone(), ledger.clone());
            let server = page::Server::start(address, tallies, ledger);
            sink.page = Some(server.with_context(|| format!("listening on {address}"))?);
        }
        for (socket, tally) in sink.sockets.iter().zip(&sink.tallies) {
            let counter = Counter::new(options.loss, Arc::clone(tally), ledger.clone());
            let (socket, stop) = (socket.try_clone()?, sink.stop.clone());
            let read = move || read(socket, backend, gather, &stop, counter);
            let thread = Builder::new().name("sink".to_owned()).spawn(read)?;
            sink.threads.push(thread);
        }
        Ok(sink)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its page is, if it has one.
    pub fn endpoint(&self) -> Option<Endpoint> {
        let page = self.page.as_ref()?;
        Some(Endpoint::new(page.address(), "/metrics"))
    }

    /// Datagrams that arrived so far, lost on purpose or not.
    pub fn seen(&self) -> u64 {
        let seen = |tally: &Arc<Tally>| tally.datagrams() + tally.lost();
        self.tallies.iter().map(seen).sum()
    }

    /// Reads what has arrived, and stops.
    pub fn finish(mut self) -> Result<Report> {
        self.stop.raise();
        for thread in self.threads.drain(..) {
            let ended = thread.join().map_err(|_| anyhow!("a thread panicked"))?;
            ended.context("receiving")?;
        }
        let sum = |of: fn(&Tally) -> u64| self.tallies.iter().map(|tally| of(tally)).sum();
        Ok(Report {
            datagrams: sum(Tally::datagrams),
            lost: sum(Tally::lost),
            errors: sum(Tally::errors),
            kernel_drops: self.sockets.iter().map(kernel::datagrams_dropped).sum(),
            buffer_bytes: socket2::SockRef::from(&self.sockets[0]).recv_buffer_size()?,
            ..Report::default()
        })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.raise();
    }
}

fn read(
    socket: UdpSocket,
    backend: Backend,
    gather: Gather,
    stop: &Stop,
    mut counter: Counter,
) -> io::Result<()> {
    let backend = match backend {
        Backend::Recvmmsg => receive::Backend::Recvmmsg,
        Backend::IoUring => receive::Backend::IoUring,
        Backend::TokioUring => return single::tokio_uring(&socket, stop, &mut counter),
        Backend::Blocking => return single::blocking(&socket, stop, &mut counter),
    };
    let options = receive::Options { backend, gather };
    // Nobody rings: the numbers are of interest when all is over.
    receive::run(socket, options, stop, &Bell::new()?, &mut counter)
}

fn parse_gather(text: &str) -> Result<Gather, String> {
    match text {
        "auto" => Ok(Gather::Auto),
        _ => duration::parse(text).map(Gather::AtMost),
    }
}

/// When datagrams came, as seen from outside.
#[derive(Default)]
struct Span {
    seen: u64,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Span {
    fn saw(&mut self, seen: u64) {
        let now = Instant::now();
        if seen == 0 {
            // They come later than this.
            self.first = Some(now);
        } else if seen > self.seen {
            self.last = Some(now);
        }
        self.seen = seen;
    }

    fn length(&self) -> Duration {
        match (self.first, self.last) {
            (Some(first), Some(last)) => last - first,
            _ => Duration::ZERO,
        }
    }
}

// === impl Backend ===

impl Backend {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Recvmmsg => "recvmmsg",
            Backend::IoUring => "io_uring",
            Backend::TokioUring => "tokio-uring",
            Backend::Blocking => "blocking",
        }
    }
}

// === impl Loss ===

impl Loss {
    /// Whether the datagram of that number, from 1 on, is thrown away.
    fn takes(self, number: u64) -> bool {
        match number.checked_sub(self.first + 1) {
            None => true,
            Some(after) => self.every > 0 && (after + 1).is_multiple_of(self.every),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.span.as_secs_f64();
        let rate = HumanCount((self.datagrams as f64 / seconds.max(1e-9)) as u64);
        writeln!(f, "datagrams  {} ({rate}/s)", HumanCount(self.datagrams))?;
        writeln!(f, "seconds    {seconds:.1}")?;
        writeln!(f, "buffer     {} bytes", self.buffer_bytes)?;
        match self.kernel_drops {
            Some(drops) => writeln!(f, "lost       {drops} by the kernel")?,
            None => writeln!(f, "lost       unknown by the kernel")?,
        }
        if self.lost > 0 {
            writeln!(f, "lost       {} on purpose", self.lost)?;
        }
        if self.errors > 0 {
            writeln!(f, "errors     {}", self.errors)?;
        }
        let seen = (self.datagrams + self.lost).max(1);
        let each_us = self.cpu.total.as_secs_f64() * 1e6 / seen as f64;
        write!(f, "cpu        {each_us:.3} µs a datagram")?;
        match self.cpu.user_part() {
            Some(user) => writeln!(
                f,
                " ({:.3} user, {:.3} system)",
                each_us * user,
                each_us * (1.0 - user)
            ),
            None => writeln!(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait;

    const ALL: [Backend; 4] = [
        Backend::Recvmmsg,
        Backend::IoUring,
        Backend::TokioUring,
        Backend::Blocking,
    ];

    fn options(backend: Backend, loss: Loss) -> Options {
        Options {
            listen: "127.0.0.1:0".parse().expect("an address"),
            backend,
            gather: Gather::Auto,
            shards: NonZeroUsize::MIN,
            read_buffer: 1 << 20,
            loss,
            metrics: Some("127.0.0.1:0".parse().expect("an address")),
        }
    }

    #[test]
    fn each_backend_counts_all_and_loses_what_it_should() {
        for backend in ALL {
            let loss = Loss {
                first: 3,
                every: 10,
            };
            let sink = match Sink::start(&options(backend, loss), None) {
                Err(error) if backend == Backend::IoUring => {
                    eprintln!("io_uring skipped: {error}");
                    continue;
                }
                sink => sink.expect("started"),
            };
            let sender = UdpSocket::bind("127.0.0.1:0").expect("bound");
            for _ in 0..103 {
                sender.send_to(b"a:1|c", sink.address()).expect("sent");
            }
            let page = sink.endpoint().expect("a page");
            let seen = wait::until(Duration::from_secs(10), || {
                let counted = page.counter("statsd_exporter_udp_packets_total")?;
                anyhow::Ok((counted == 90.0 && sink.seen() == 103).then_some(()))
            });
            assert!(seen.expect("a page").is_some(), "{backend:?}");
            // Also what nobody has waited for is read before the end.
            sender.send_to(b"a:1|c", sink.address()).expect("sent");
            let report = sink.finish().expect("finished");
            let counts = (report.datagrams, report.lost, report.errors);
            assert_eq!(counts, (91, 13, 0), "{backend:?}");
            assert_eq!(report.kernel_drops, Some(0));
        }
    }

    #[test]
    fn losses() {
        let lost = |loss: Loss| (1..=6).filter(|&n| loss.takes(n)).collect::<Vec<u64>>();
        assert!(lost(Loss::default()).is_empty());
        assert_eq!(lost(Loss { first: 2, every: 0 }), [1, 2]);
        assert_eq!(lost(Loss { first: 0, every: 3 }), [3, 6]);
        assert_eq!(lost(Loss { first: 1, every: 2 }), [1, 3, 5]);
    }
}
