//! Where StatsD lines go, and the sockets that take them there.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as unix, UnixDatagram, UnixStream};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pitot::sys::mmsg::SendBatch;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::Socket;

/// How long a receiver that blocks its senders (TCP, Unix) may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// An address with its transport: `host:port` (UDP), `tcp:host:port`,
/// `unixgram:/path` (datagrams) or `unix:/path` (a stream); a path that begins
/// with `@` is an abstract name.
#[derive(Clone, Debug)]
pub enum Target {
    /// One datagram is one datagram.
    Udp(SocketAddr),
    /// One datagram is some lines of the stream.
    Tcp(SocketAddr),
    /// One datagram is one datagram.
    UnixDatagram(unix::SocketAddr),
    /// One datagram is some lines of the stream.
    UnixStream(unix::SocketAddr),
}

/// A socket of its own port, connected to a [`Target`].
#[derive(Debug)]
pub struct Sender {
    /// Never blocks, so that waiting is done, and seen, here.
    socket: Socket,
    /// Whether it takes lines rather than datagrams.
    is_stream: bool,
    /// Lines on their way into a stream.
    lines: Vec<u8>,
    waited: Duration,
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Target> {
        Ok(match text.split_once(':') {
            Some(("udp", address)) => Target::Udp(resolve(address)?),
            Some(("tcp", address)) => Target::Tcp(resolve(address)?),
            Some(("unixgram", path)) => Target::UnixDatagram(unix_address(path)?),
            Some(("unix", path)) => Target::UnixStream(unix_address(path)?),
            _ => Target::Udp(resolve(text)?),
        })
    }
}

fn unix_address(path: &str) -> io::Result<unix::SocketAddr> {
    match path.strip_prefix('@') {
        Some(name) => unix::SocketAddr::from_abstract_name(name),
        None => unix::SocketAddr::from_pathname(path),
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
        let (scheme, address) = match self {
            Target::Udp(address) => return write!(f, "{address}"),
            Target::Tcp(address) => return write!(f, "tcp:{address}"),
            Target::UnixDatagram(address) => ("unixgram", address),
            Target::UnixStream(address) => ("unix", address),
        };
        match (address.as_pathname(), address.as_abstract_name()) {
            (Some(path), _) => write!(f, "{scheme}:{}", path.display()),
            (None, Some(name)) => write!(f, "{scheme}:@{}", String::from_utf8_lossy(name)),
            (None, None) => write!(f, "{scheme}:"),
        }
    }
}

impl Target {
    /// Opens a new socket.
    pub fn open(&self) -> io::Result<Sender> {
        let (socket, is_stream): (OwnedFd, bool) = match self {
            Target::Udp(address) => {
                let socket = match address.is_ipv4() {
                    true => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
                    false => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
                };
                // Connected, so that the kernel tells when nobody listens.
                socket.connect(address)?;
                (socket.into(), false)
            }
            Target::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, SEND_TIMEOUT)?;
                stream.set_nodelay(true)?;
                (stream.into(), true)
            }
            Target::UnixDatagram(address) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect_addr(address)?;
                (socket.into(), false)
            }
            Target::UnixStream(address) => (UnixStream::connect_addr(address)?.into(), true),
        };
        let socket = Socket::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Sender {
            socket,
            is_stream,
            lines: Vec::new(),
            waited: Duration::ZERO,
        })
    }

    /// Whether it takes lines rather than datagrams.
    pub fn is_stream(&self) -> bool {
        matches!(self, Target::Tcp(_) | Target::UnixStream(_))
    }

    /// Whether a receiver that is slow makes its senders wait. Over UDP it loses
    /// datagrams instead.
    pub fn pushes_back(&self) -> bool {
        !matches!(self, Target::Udp(_))
    }
}

impl Sender {
    /// Sends one datagram; on a stream its last line gets a newline if it has
    /// none.
    pub fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        match self.is_stream {
            true => self.send_lines(&[payload]),
            false => self.until_sent(|socket| socket.send(payload)).map(drop),
        }
    }

    /// Sends the first of some datagrams, as many as one system call takes, and
    /// says how many those were. An error means that none was sent.
    pub fn send_batch(&mut self, batch: &mut SendBatch, payloads: &[&[u8]]) -> io::Result<usize> {
        match self.is_stream {
            true => self.send_lines(payloads).map(|()| payloads.len()),
            false if payloads.len() == 1 => self.send(payloads[0]).map(|()| 1),
            false => self.until_sent(|socket| batch.send(socket.as_fd(), payloads)),
        }
    }

    /// How long it has waited for room, in the receiver's buffers or its own,
    /// since this was asked last.
    pub fn take_waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }

    fn send_lines(&mut self, payloads: &[&[u8]]) -> io::Result<()> {
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        for payload in payloads {
            lines.extend_from_slice(payload);
            if !payload.ends_with(b"\n") {
                lines.push(b'\n');
            }
        }
        let mut start = 0;
        while start < lines.len() {
            start += self.until_sent(|socket| socket.send(&lines[start..]))?;
        }
        self.lines = lines;
        Ok(())
    }

    /// Waits for room for as long as is bearable.
    fn until_sent(
        &mut self,
        mut send: impl FnMut(&Socket) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match send(&self.socket) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                sent => return sent,
            }
            let begin = Instant::now();
            let mut room = [PollFd::new(&self.socket, PollFlags::OUT)];
            let ready = poll(
                &mut room,
                Some(&Timespec::try_from(SEND_TIMEOUT).unwrap_or_default()),
            );
            self.waited += begin.elapsed();
            if ready? == 0 {
                let what = "the receiver took nothing for 5 s";
                return Err(io::Error::new(ErrorKind::TimedOut, what));
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
            ("unixgram:@x", "unixgram:@x"),
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
        let tcp = Target::Tcp(listener.local_addr().expect("an address"));
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.sock");
        let unix_listener = unix::UnixListener::bind(&path).expect("bound");
        let unix: Target = format!("unix:{}", path.display()).parse().expect("a path");
        for target in [tcp, unix] {
            let mut sender = target.open().expect("open");
            let mut batch = SendBatch::new(2);
            let payloads = [&b"a:1|c"[..], b"b:1|c\n"];
            assert_eq!(sender.send_batch(&mut batch, &payloads).expect("sent"), 2);
            sender.send(b"").expect("sent");
        }
        let (stream, _) = listener.accept().expect("accepted");
        let text = io::read_to_string(stream).expect("text");
        assert_eq!(text, "a:1|c\nb:1|c\n\n");
        let (stream, _) = unix_listener.accept().expect("accepted");
        assert_eq!(io::read_to_string(stream).expect("text"), text);
    }

    #[test]
    fn waiting_for_a_receiver_is_seen() {
        let (ours, theirs) = UnixDatagram::pair().expect("a pair");
        ours.set_nonblocking(true).expect("set");
        let mut sender = Sender {
            socket: Socket::from(OwnedFd::from(ours)),
            is_stream: false,
            lines: Vec::new(),
            waited: Duration::ZERO,
        };
        let count = 5000;
        std::thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let mut buffer = [0; 8];
                for _ in 0..count {
                    theirs.recv(&mut buffer).expect("received");
                }
            });
            let mut batch = SendBatch::new(64);
            let payloads = [&b"a:1|c"[..]; 64];
            let mut sent = 0;
            while sent < count {
                let most = payloads.len().min(count - sent);
                let some = sender.send_batch(&mut batch, &payloads[..most]);
                sent += some.expect("sent");
            }
            receiver.join().expect("all received");
        });
        assert!(sender.take_waited() > Duration::ZERO);
        assert_eq!(sender.take_waited(), Duration::ZERO);
    }
}
