//! Port numbers for programs that must be told one.
//!
//! A statsd_exporter is told its ports by flags, so port 0 will not do: nobody
//! would learn what the kernel chose. A number that is merely free now may be
//! gone before the exporter binds it, most likely because another test took it
//! too. So every number is leased: the holder owns an abstract Unix socket named
//! after it, which no two processes of the machine can bind and which the kernel
//! frees when the holder ends in whatever way.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

/// Held while ports are tried and while a child process is started: between its
/// fork and its exec a child has all files of its parent open, so it would keep a
/// port busy that was only tried.
pub(crate) static NO_FORK: Mutex<()> = Mutex::new(());

/// Below the range from which the kernel takes ports for outgoing connections.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// A port number that nobody else who leases will use, free for TCP and UDP.
#[derive(Debug)]
pub struct Lease {
    /// The number.
    pub port: u16,
    _lock: UnixDatagram,
}

impl Lease {
    /// Leases the next free number.
    pub fn take() -> Result<Lease> {
        // Processes start at different places, so that they rarely collide.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let place = u32::from(NEXT.fetch_add(1, Ordering::Relaxed)) + std::process::id() * 64;
        let _no_fork = NO_FORK.lock().unwrap_or_else(PoisonError::into_inner);
        for step in 0..u32::from(COUNT) {
            let port = FIRST + ((place + step) % u32::from(COUNT)) as u16;
            let name = SocketAddr::from_abstract_name(format!("pitot-port-{port}"))?;
            let Ok(lock) = UnixDatagram::bind_addr(&name) else {
                continue;
            };
            let wildcard = (Ipv4Addr::UNSPECIFIED, port);
            if TcpListener::bind(wildcard).is_ok() && UdpSocket::bind(wildcard).is_ok() {
                return Ok(Lease { port, _lock: lock });
            }
        }
        bail!("no port from {FIRST} to {} is free", FIRST + COUNT - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_leased_twice() {
        let leases: Vec<Lease> = (0..20).map(|_| Lease::take().expect("a port")).collect();
        let mut ports: Vec<u16> = leases.iter().map(|lease| lease.port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), leases.len());
        let taken = SocketAddr::from_abstract_name(format!("pitot-port-{}", ports[0]));
        assert!(UnixDatagram::bind_addr(&taken.expect("a name")).is_err());
    }
}
