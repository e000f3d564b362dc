//! Where StatsD lines go, and the sockets that take them there.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as unix, UnixDatagram};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};

/// How long a receiver that blocks its senders (TCP, Unix) may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// An address with its transport: `host:port` (UDP), `tcp:host:port`,
/// `unix:/path` or `unix:@abstract-name` (datagrams).
#[derive(Clone, Debug)]
pub enum Target {
    /// One datagram is one datagram.
    Udp(SocketAddr),
    /// One datagram is some lines of the stream.
    Tcp(SocketAddr),
    /// One datagram is one datagram.
    Unix(unix::SocketAddr),
}

/// A socket of its own port, connected to a [`Target`].
#[derive(Debug)]
pub enum Sender {
    /// See [`Target::Udp`].
    Udp(UdpSocket),
    /// See [`Target::Tcp`]; with room for a datagram that lacks its newline.
    Tcp(TcpStream, Vec<u8>),
    /// See [`Target::Unix`].
    Unix(UnixDatagram),
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Target> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Target::Unix(match path.strip_prefix('@') {
                Some(name) => unix::SocketAddr::from_abstract_name(name)?,
                None => unix::SocketAddr::from_pathname(path)?,
            }));
        }
        match text.strip_prefix("tcp:") {
            Some(address) => Ok(Target::Tcp(resolve(address)?)),
            None => Ok(Target::Udp(resolve(
                text.strip_prefix("udp:").unwrap_or(text),
            )?)),
        }
    }
}

/// The first address of a `host:port`; no host means this one.
pub fn resolve(text: &str) -> Result<SocketAddr> {
    let local = format!("localhost{text}");
    let text = if text.starts_with(':') { &local } else { text };
    // IPv4 first: an exporter told a wildcard takes both, one told 127.0.0.1
    // only that.
    let mut found: Vec<SocketAddr> = text
        .to_socket_addrs()
        .with_context(|| format!("{text} is not host:port"))?
        .collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    let first = found.into_iter().next();
    first.with_context(|| format!("{text} has no address"))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Udp(address) => write!(f, "{address}"),
            Target::Tcp(address) => write!(f, "tcp:{address}"),
            Target::Unix(address) => match (address.as_pathname(), address.as_abstract_name()) {
                (Some(path), _) => write!(f, "unix:{}", path.display()),
                (None, Some(name)) => write!(f, "unix:@{}", String::from_utf8_lossy(name)),
                (None, None) => f.write_str("unix:"),
            },
        }
    }
}

impl Target {
    /// Opens a new socket.
    pub fn open(&self) -> io::Result<Sender> {
        Ok(match self {
            Target::Udp(address) => {
                let socket = if address.is_ipv4() {
                    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?
                } else {
                    UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?
                };
                // Connected, so that the kernel tells when nobody listens.
                socket.connect(address)?;
                Sender::Udp(socket)
            }
            Target::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, SEND_TIMEOUT)?;
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(SEND_TIMEOUT))?;
                Sender::Tcp(stream, Vec::new())
            }
            Target::Unix(address) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect_addr(address)?;
                socket.set_write_timeout(Some(SEND_TIMEOUT))?;
                Sender::Unix(socket)
            }
        })
    }
}

impl Sender {
    /// Sends one datagram; on a stream its last line gets a newline if it has
    /// none.
    pub fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        match self {
            Sender::Udp(socket) => socket.send(payload).map(drop),
            Sender::Unix(socket) => socket.send(payload).map(drop),
            Sender::Tcp(stream, _) if payload.ends_with(b"\n") => stream.write_all(payload),
            Sender::Tcp(stream, line) => {
                line.clear();
                line.extend_from_slice(payload);
                line.push(b'\n');
                stream.write_all(line)
            }
        }
    }
}

/// Whether an error only reports that an earlier datagram met no listener. The
/// one at hand was not sent and may be sent again.
pub fn is_late_refusal(error: &io::Error) -> bool {
    error.kind() == ErrorKind::ConnectionRefused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        for (text, shown) in [
            ("127.0.0.1:9125", "127.0.0.1:9125"),
            ("udp:[::1]:9125", "[::1]:9125"),
            (":9125", "127.0.0.1:9125"),
            ("tcp:127.0.0.1:1", "tcp:127.0.0.1:1"),
            ("unix:/run/x.sock", "unix:/run/x.sock"),
            ("unix:@x", "unix:@x"),
        ] {
            let target: Target = text.parse().expect(text);
            assert_eq!(target.to_string(), shown);
        }
        for text in ["", "127.0.0.1", "127.0.0.1:99999", "tcp:9125"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_stream_gets_its_newlines() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        let target = Target::Tcp(listener.local_addr().expect("an address"));
        let mut sender = target.open().expect("open");
        for payload in [&b"a:1|c"[..], b"b:1|c\n", b""] {
            sender.send(payload).expect("sent");
        }
        drop(sender);
        let (stream, _) = listener.accept().expect("accepted");
        let text = io::read_to_string(stream).expect("text");
        assert_eq!(text, "a:1|c\nb:1|c\n\n");
    }
}
