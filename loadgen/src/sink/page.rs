//! A page of metrics for a receiver that has no web server: any request gets
//! it, one after the other.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use anyhow::Result;

use super::count::Tally;
use crate::ledger::Ledger;
use crate::own_metrics::{CPU_SECONDS, DATAGRAMS, LINES, RESIDENT_BYTES};
use crate::process::Process;

/// A client that is slower than this is left alone.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Server {
    pub(super) fn start(
        address: SocketAddr,
        tallies: Vec<Arc<Tally>>,
        ledger: Option<Arc<Mutex<Ledger>>>,
    ) -> Result<Server> {
        let listener = TcpListener::bind(address)?;
        let server = Server {
            address: listener.local_addr()?,
            ended: Arc::default(),
        };
        let ended = Arc::clone(&server.ended);
        let serve = move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                // A client that has gone asks again.
                let _ = stream.and_then(|stream| answer(&stream, &tallies, ledger.as_deref()));
            }
        };
        Builder::new().name("sink-page".to_owned()).spawn(serve)?;
        Ok(server)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread; if that fails, it ends with the process.
        let _ = TcpStream::connect_timeout(&self.address, TIMEOUT);
    }
}

fn answer(
    mut stream: &TcpStream,
    tallies: &[Arc<Tally>],
    ledger: Option<&Mutex<Ledger>>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut head = BufReader::new(stream).lines();
    while head
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let page = page(tallies, ledger).map_err(io::Error::other)?;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    )
}

/// The counts under the names an exporter has for them.
fn page(tallies: &[Arc<Tally>], ledger: Option<&Mutex<Ledger>>) -> Result<String> {
    let mut page = String::new();
    if let Some(ledger) = ledger {
        let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        page = ledger.page();
        let lines = ledger.counts().lines;
        counter(&mut page, LINES, lines as f64);
    }
    let datagrams: u64 = tallies.iter().map(|tally| tally.datagrams()).sum();
    counter(&mut page, DATAGRAMS, datagrams as f64);
    let process = Process::own()?;
    let cpu = process.cpu()?.total().as_secs_f64();
    counter(&mut page, CPU_SECONDS, cpu);
    let bytes = process.resident_bytes()?;
    writeln!(
        page,
        "# TYPE {RESIDENT_BYTES} gauge\n{RESIDENT_BYTES} {bytes}"
    )?;
    Ok(page)
}

fn counter(page: &mut String, name: &str, value: f64) {
    // Writing to a string cannot fail.
    let _ = writeln!(page, "# TYPE {name} counter\n{name} {value}");
}
