//! Listens where an exporter would.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::SockRef;

use super::tape::Tape;
use crate::interrupt::NOTICE;
use crate::kernel;
use crate::progress::Progress;

/// What to ask of the kernel to survive a burst; it may grant less.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;

/// A bound socket.
pub(super) struct Listener {
    pub(super) socket: UdpSocket,
}

impl Listener {
    /// Binds `host:port`; without a host every address of the machine.
    pub(super) fn bind(address: &str) -> io::Result<Listener> {
        let socket = match address.starts_with(':') {
            false => UdpSocket::bind(address)?,
            // The IPv6 wildcard takes IPv4 too.
            true => UdpSocket::bind(format!("[::]{address}"))
                .or_else(|_| UdpSocket::bind(format!("0.0.0.0{address}")))?,
        };
        Ok(Listener { socket })
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Writes down what comes until a limit or an interrupt. Says what the
    /// kernel lost, if it tells.
    pub(super) fn record(&self, tape: &mut Tape, progress: &mut Progress) -> Result<Option<u64>> {
        SockRef::from(&self.socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        let begin = Instant::now();
        let mut buffer = vec![0; 65_536];
        while tape.wants_more() {
            let limit = tape.limits.duration;
            let left = match limit.map(|all| all.checked_sub(begin.elapsed())) {
                Some(None | Some(Duration::ZERO)) => break,
                Some(Some(left)) => left.min(NOTICE),
                None => NOTICE,
            };
            self.socket.set_read_timeout(Some(left))?;
            let (len, peer) = match self.socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    continue;
                }
                Err(error) => return Err(error).context("receiving"),
            };
            let source = (Some(peer.ip()), peer.port());
            tape.write(begin.elapsed(), source, &buffer[..len])?;
            progress.at(tape.datagrams());
        }
        Ok(kernel::datagrams_dropped(&self.socket))
    }
}
