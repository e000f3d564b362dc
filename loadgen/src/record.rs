//! `record`: listens where an exporter would and writes down what comes.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::SockRef;

use crate::duration;
use crate::interrupt::{Interrupt, NOTICE};
use crate::kernel;
use crate::progress::Progress;
use crate::trace::{Datagram, Writer};

/// What to ask of the kernel to survive a burst; it may grant less.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;

/// Command line of `record`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example, the next ten minutes of a cluster:\n  \
    pitot-loadgen record --listen :9125 --duration 10m cluster.jsonl.gz\n\n\
    Ctrl-C ends the recording; the file is complete then.")]
pub struct Args {
    /// UDP address to listen on, host:port
    #[arg(long, value_name = "ADDR")]
    listen: String,
    /// File to write, compressed if its name ends in .gz
    out: PathBuf,
    /// Stop after this time, for example 90s
    #[arg(long, value_parser = duration::parse)]
    duration: Option<Duration>,
    /// Stop after so many datagrams
    #[arg(long)]
    count: Option<u64>,
}

/// When to stop, whichever comes first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Since the recording began.
    pub duration: Option<Duration>,
    /// Datagrams written.
    pub count: Option<u64>,
}

/// What was recorded.
#[derive(Debug, Default)]
pub struct Report {
    datagrams: u64,
    sources: HashSet<u16>,
    span: Duration,
    lost: Option<u64>,
}

/// Runs the subcommand.
pub fn run(args: &Args, interrupt: &Interrupt) -> Result<Report> {
    let socket = bind(&args.listen).with_context(|| format!("listening on {}", args.listen))?;
    let mut progress = Progress::new("datagrams", args.count);
    progress.note(&format!("listening on {}", socket.local_addr()?));
    let limits = Limits {
        duration: args.duration,
        count: args.count,
    };
    let mut writer = Writer::create(&args.out)?;
    let report = record(&socket, &mut writer, limits, interrupt, &mut progress);
    // Also after an error: what is there is worth keeping.
    writer.finish()?;
    report
}

/// Binds `host:port`; without a host every address of the machine.
fn bind(address: &str) -> io::Result<UdpSocket> {
    if !address.starts_with(':') {
        return UdpSocket::bind(address);
    }
    // The IPv6 wildcard takes IPv4 too.
    UdpSocket::bind(format!("[::]{address}"))
        .or_else(|_| UdpSocket::bind(format!("0.0.0.0{address}")))
}

/// Writes down what a socket receives until a limit or an interrupt.
pub fn record(
    socket: &UdpSocket,
    writer: &mut Writer,
    limits: Limits,
    interrupt: &Interrupt,
    progress: &mut Progress,
) -> Result<Report> {
    SockRef::from(socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    let begin = Instant::now();
    let mut first = None;
    let mut report = Report::default();
    let mut buffer = vec![0; 65_536];
    while !interrupt.is_set() && limits.count.is_none_or(|count| report.datagrams < count) {
        let left = match limits.duration.map(|all| all.checked_sub(begin.elapsed())) {
            Some(None | Some(Duration::ZERO)) => break,
            Some(Some(left)) => left.min(NOTICE),
            None => NOTICE,
        };
        socket.set_read_timeout(Some(left))?;
        let (len, peer) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                continue;
            }
            Err(error) => return Err(error).context("receiving"),
        };
        report.span = first.get_or_insert_with(Instant::now).elapsed();
        writer.write(&Datagram {
            at: report.span,
            source: peer.port(),
            payload: &buffer[..len],
        })?;
        report.datagrams += 1;
        report.sources.insert(peer.port());
        progress.at(report.datagrams);
    }
    report.lost = kernel::datagrams_dropped(socket);
    Ok(report)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "datagrams  {}", self.datagrams)?;
        writeln!(f, "sources    {}", self.sources.len())?;
        writeln!(f, "seconds    {:.3}", self.span.as_secs_f64())?;
        match self.lost {
            Some(lost) => writeln!(f, "lost       {lost} by the kernel"),
            None => writeln!(f, "lost       unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Trace;

    #[test]
    fn a_recording_holds_what_was_sent() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("out.jsonl.gz");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let to = socket.local_addr().expect("an address");
        let senders: Vec<UdpSocket> = (0..2)
            .map(|_| UdpSocket::bind("127.0.0.1:0").expect("bound"))
            .collect();
        let sent = [(0, &b"a:1|c"[..]), (1, b"\xff"), (0, b"b:1|c\n")];
        for (sender, payload) in sent {
            senders[sender].send_to(payload, to).expect("sent");
        }
        let mut writer = Writer::create(&path).expect("created");
        let limits = Limits {
            count: Some(3),
            duration: None,
        };
        let mut progress = Progress::new("datagrams", None);
        let interrupt = Interrupt::default();
        let report = record(&socket, &mut writer, limits, &interrupt, &mut progress);
        let report = report.expect("recorded");
        writer.finish().expect("finished");
        assert_eq!((report.datagrams, report.sources.len()), (3, 2));
        assert_eq!(report.lost, Some(0));

        let trace = Trace::read(&path).expect("a trace");
        let read: Vec<_> = trace
            .datagrams()
            .map(|(d, _)| (d.source, d.payload))
            .collect();
        let port = |sender: usize| senders[sender].local_addr().expect("an address").port();
        let sent: Vec<_> = sent
            .iter()
            .map(|&(s, payload)| (port(s), payload))
            .collect();
        assert_eq!(read, sent);
    }

    #[test]
    fn it_ends_by_time_and_by_interrupt() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let dir = tempfile::tempdir().expect("a directory");
        let mut writer = Writer::create(&dir.path().join("x.jsonl")).expect("created");
        let mut record = |limits, interrupt: &Interrupt| {
            let mut progress = Progress::new("datagrams", None);
            let report = record(&socket, &mut writer, limits, interrupt, &mut progress);
            report.expect("recorded")
        };
        let limits = Limits {
            duration: Some(Duration::from_millis(1)),
            count: None,
        };
        assert_eq!(record(limits, &Interrupt::default()).datagrams, 0);
        let interrupt = Interrupt::default();
        interrupt.set();
        assert_eq!(record(Limits::default(), &interrupt).datagrams, 0);
    }
}
