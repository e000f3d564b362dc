//! Starts the program under test and talks to it as its users do.
//!
//! `PITOT_BIN` names another binary to test. It is taken to be the
//! statsd_exporter that Pitot replaces, which is how the harness itself is
//! tested: it knows none of Pitot's own flags, and the cases in which Pitot
//! differs on purpose do not hold for it.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use pitot_loadgen::exporter::Exporter;
use pitot_loadgen::scrape::Page;
use pitot_loadgen::wait;

/// How long something may take that takes milliseconds on a quiet machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The program under test.
pub fn binary() -> PathBuf {
    reference().unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_pitot")))
}

/// The statsd_exporter to be tested instead of Pitot, if there is one.
pub fn reference() -> Option<PathBuf> {
    std::env::var_os("PITOT_BIN").map(PathBuf::from)
}

/// Starts the program; it is ready when this returns, and ends when the value is
/// dropped.
pub fn start(flags: &[&str], mapping: Option<&str>) -> Exporter {
    let flags: Vec<String> = flags.iter().map(|flag| flag.to_string()).collect();
    let mut exporter = Exporter::new(&binary(), &flags, mapping.map(str::as_bytes))
        .expect("an exporter is prepared");
    exporter.start().expect("the exporter starts");
    exporter
}

/// Scrapes until the page is as wanted; panics with the last page if it never
/// is.
pub fn page_when(exporter: &Exporter, is_wanted: impl Fn(&Page) -> bool) -> Page {
    let wanted = wait::until(PATIENCE, || -> Result<_> {
        let page = exporter.page()?;
        Ok(is_wanted(&page).then_some(page))
    });
    match wanted.expect("a page") {
        Some(page) => page,
        None => panic!(
            "the page never became as wanted: {:?}",
            exporter.page_text()
        ),
    }
}

/// Sends datagrams from one socket.
pub fn send_udp(to: (IpAddr, u16), datagrams: &[impl AsRef<[u8]>]) -> Result<()> {
    let any = match to.0 {
        IpAddr::V4(_) => "0.0.0.0:0",
        IpAddr::V6(_) => "[::]:0",
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    for (index, datagram) in datagrams.iter().enumerate() {
        if index % 50 == 49 {
            // Nothing tells a sender that the socket buffer at the other end is
            // full; the smallest default holds some 250 datagrams.
            std::thread::sleep(Duration::from_millis(2));
        }
        socket.send(datagram.as_ref())?;
    }
    Ok(())
}

/// Sends pieces over one connection and waits until the other end has read them
/// all or has had enough.
pub fn send_tcp(to: (IpAddr, u16), pieces: &[impl AsRef<[u8]>]) -> Result<()> {
    let mut stream = TcpStream::connect(to).context("connecting")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            // So that each piece is read on its own; nothing tells when it was.
            std::thread::sleep(Duration::from_millis(50));
        }
        if stream.write_all(piece.as_ref()).is_err() {
            return Ok(());
        }
    }
    // Both fail if the exporter has closed the connection already.
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read(&mut [0]);
    Ok(())
}

/// The directory of recorded and captured material.
pub fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}
