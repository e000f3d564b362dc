//! The sockets that receivers read.
//!
//! A wildcard address, `0.0.0.0` or `[::]`, means both families, as it does for
//! the reference: one IPv6 socket that takes IPv4 too, or an IPv4 socket where
//! there is no IPv6. All sockets are in blocking mode.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::sys::socket_options::force_receive_buffer;

/// Connections that may wait to be accepted; the kernel lowers it to
/// `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 4096;

/// Opens `count` UDP sockets on one address; the kernel spreads senders over
/// them. Port 0 is a free port, the same for all.
///
/// `receive_buffer_bytes` is asked for as receive buffer unless it is 0: beyond
/// `net.core.rmem_max` where we are privileged to, else as far as that allows. A
/// negative value is the most there is, as it is for the reference.
///
/// Fails with `AddrInUse` when anybody else has the port, even another group
/// like ours: two exporters that share a port without knowing would each count
/// half. So the first socket is bound alone and opened to the others after it.
pub fn udp_group(
    address: SocketAddr,
    count: NonZeroUsize,
    receive_buffer_bytes: i32,
) -> io::Result<Vec<UdpSocket>> {
    let first = bind(address, Type::DGRAM, |socket| {
        set_receive_buffer(socket, receive_buffer_bytes)
    })?;
    let address = local_address(&first)?;
    let mut group = vec![UdpSocket::from(first)];
    while group.len() < count.get() {
        socket2::SockRef::from(&group[0]).set_reuse_port(true)?;
        let next = bind(address, Type::DGRAM, |socket| {
            socket.set_reuse_port(true)?;
            set_receive_buffer(socket, receive_buffer_bytes)
        })?;
        group.push(next.into());
    }
    Ok(group)
}

/// Opens a TCP listener. Port 0 is a free port.
pub fn tcp_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bind(address, Type::STREAM, |socket| {
        // Connections of an exporter that just ended must not keep the next
        // one from the port.
        socket.set_reuse_address(true)
    })?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Opens a Unix datagram socket; see [`SocketFile`] for its name and
/// [`udp_group`] for the buffer.
pub fn unix_datagram(
    name: &Path,
    receive_buffer_bytes: i32,
) -> io::Result<(UnixDatagram, SocketFile)> {
    let (socket, file) = bind_unix(name, Type::DGRAM)?;
    set_receive_buffer(&socket, receive_buffer_bytes)?;
    Ok((socket.into(), file))
}

/// Opens a listener for Unix stream connections; see [`SocketFile`] for its
/// name.
pub fn unix_listener(name: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let (socket, file) = bind_unix(name, Type::STREAM)?;
    socket.listen(BACKLOG)?;
    Ok((socket.into(), file))
}

/// The file of a Unix socket, removed when this is dropped, unless somebody
/// has put another file in its place.
///
/// A name is a path, or `@` and an abstract name, which has no file. A file
/// left behind by a process that was killed is replaced: it is a socket on
/// which nobody answers. Anything else in its place is an error.
#[derive(Debug)]
#[must_use = "dropping it removes the socket's file"]
pub struct SocketFile(Option<Place>);

#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// Device and inode, by which we know our file again.
    identity: (u64, u64),
}

impl SocketFile {
    /// Sets the permission bits of the file, such as `0o755`; an abstract
    /// socket has none.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        match &self.0 {
            Some(place) => fs::set_permissions(&place.path, fs::Permissions::from_mode(mode)),
            None => Ok(()),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Some(place) = &self.0
            && identity(&place.path).is_ok_and(|found| found == place.identity)
        {
            // Nobody is left to be told, and the next start replaces it.
            let _ = fs::remove_file(&place.path);
        }
    }
}

/// Binds to `address`, or to both families if it is a wildcard.
fn bind(
    address: SocketAddr,
    kind: Type,
    prepare: impl Fn(&Socket) -> io::Result<()>,
) -> io::Result<Socket> {
    let open = |address: SocketAddr| {
        let socket = Socket::new(Domain::for_address(address), kind, None)?;
        if address.is_ipv6() && address.ip().is_unspecified() {
            socket.set_only_v6(false)?;
        }
        prepare(&socket)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    if !address.ip().is_unspecified() {
        return open(address);
    }
    let port = address.port();
    match open((Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error) if is_family_missing(&error) => open((Ipv4Addr::UNSPECIFIED, port).into()),
        outcome => outcome,
    }
}

/// The kernel has no IPv6, or it is switched off.
fn is_family_missing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?;
    address
        .as_socket()
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn set_receive_buffer(socket: &Socket, bytes: i32) -> io::Result<()> {
    if bytes == 0 || (bytes > 0 && force_receive_buffer(socket.as_fd(), bytes).is_ok()) {
        return Ok(());
    }
    // Wide and back again inside, so a negative value survives.
    socket.set_recv_buffer_size(bytes as usize)
}

fn bind_unix(name: &Path, kind: Type) -> io::Result<(Socket, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    if let Some(name) = name.to_str().and_then(|name| name.strip_prefix('@')) {
        socket.bind(&SockAddr::unix(format!("\0{name}"))?)?;
        return Ok((socket, SocketFile(None)));
    }
    remove_stale(name, kind)?;
    socket.bind(&SockAddr::unix(name)?)?;
    let place = Place {
        path: name.to_owned(),
        identity: identity(name)?,
    };
    Ok((socket, SocketFile(Some(place))))
}

/// Removes a socket file on which nobody answers. That there is no file is
/// well; anything else is an error that says what is there.
fn remove_stale(path: &Path, kind: Type) -> io::Result<()> {
    let refuse = |kind, what: &str| Err(io::Error::new(kind, format!("{} {what}", path.display())));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return refuse(error.kind(), &format!("cannot be looked at: {error}")),
        Ok(found) if !found.file_type().is_socket() => {
            return refuse(io::ErrorKind::AlreadyExists, "exists and is not a socket");
        }
        Ok(_) => {}
    }
    match connect(path, kind) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Its owner has removed it just now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refuse(
            error.kind(),
            "is a socket of another user; whether it is in use cannot be tried",
        ),
        // Connected, or an answer that only a living socket gives: of another
        // type, or too busy to accept.
        _ => refuse(io::ErrorKind::AddrInUse, "is in use by another process"),
    }
}

fn connect(path: &Path, kind: Type) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    // A listener with a full queue would make a blocking connect wait.
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::io::ErrorKind;
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use crate::sys::seccomp;

    const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

    /// A directory of its own for a test, removed with all that is in it.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Directory {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("pitot-socket-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Directory(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// Whether this machine has the family of `text`.
    fn can_bind(text: &str) -> bool {
        let works = UdpSocket::bind(address(text)).is_ok();
        if !works {
            eprintln!("skipped: {text} cannot be bound");
        }
        works
    }

    fn receives_from(socket: &UdpSocket, host: &str) {
        let port = socket.local_addr().unwrap().port();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let sender = UdpSocket::bind((host, 0)).unwrap();
        sender.send_to(b"x", (host, port)).unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 1);
    }

    #[test]
    fn a_wildcard_takes_both_families() {
        for wildcard in ["0.0.0.0:0", "[::]:0"] {
            let group = udp_group(address(wildcard), TWO, 0).unwrap();
            let ports: HashSet<_> = group.iter().map(|s| s.local_addr().unwrap()).collect();
            assert_eq!(ports.len(), 1);
            let one = udp_group(address(wildcard), NonZeroUsize::MIN, 0).unwrap();
            let tcp = tcp_listener(address(wildcard)).unwrap();
            let tcp_port = tcp.local_addr().unwrap().port();
            receives_from(&one[0], "127.0.0.1");
            TcpStream::connect(("127.0.0.1", tcp_port)).unwrap();
            if can_bind("[::1]:0") {
                receives_from(&one[0], "::1");
                TcpStream::connect(("::1", tcp_port)).unwrap();
            }
        }
    }

    #[test]
    fn without_ipv6_a_wildcard_is_ipv4() {
        let bind_all = || {
            seccomp::deny_ipv6().unwrap();
            let any = address("[::]:0");
            (udp_group(any, TWO, 0).unwrap(), tcp_listener(any).unwrap())
        };
        let (group, tcp) = std::thread::spawn(bind_all).join().unwrap();
        assert!(tcp.local_addr().unwrap().is_ipv4());
        assert_eq!(
            group[0].local_addr().unwrap(),
            group[1].local_addr().unwrap()
        );
        assert!(group[0].local_addr().unwrap().is_ipv4());
    }

    #[test]
    fn an_address_that_is_no_wildcard_is_exactly_that() {
        for text in ["127.0.0.1:0", "[::1]:0"] {
            if can_bind(text) {
                let group = udp_group(address(text), TWO, 0).unwrap();
                let tcp = tcp_listener(address(text)).unwrap();
                for bound in [group[1].local_addr(), tcp.local_addr()] {
                    assert_eq!(bound.unwrap().ip(), address(text).ip());
                }
            }
        }
    }

    #[test]
    fn a_group_is_closed_to_others() {
        let group = udp_group(address("127.0.0.1:0"), TWO, 0).unwrap();
        let taken = group[0].local_addr().unwrap();
        let error = udp_group(taken, TWO, 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let listener = tcp_listener(address("127.0.0.1:0")).unwrap();
        let error = tcp_listener(listener.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn the_receive_buffer_is_as_asked() {
        let size_for = |bytes| {
            let group = udp_group(address("127.0.0.1:0"), TWO, bytes).unwrap();
            let sizes: Vec<_> = group
                .iter()
                .map(|socket| socket2::SockRef::from(socket).recv_buffer_size().unwrap())
                .collect();
            assert_eq!(sizes[0], sizes[1]);
            sizes[0]
        };
        let unset = UdpSocket::bind("127.0.0.1:0").unwrap();
        let unset = socket2::SockRef::from(&unset).recv_buffer_size().unwrap();
        assert_eq!(size_for(0), unset);
        // The kernel doubles what is asked, for its own overhead.
        assert_eq!(size_for(10_000), 20_000);
        // A cap holds for those who are not privileged.
        assert!(size_for(-1) <= size_for(i32::MAX));
    }

    #[test]
    fn unix_sockets_are_bound_and_their_files_removed() {
        let directory = Directory::new();
        let path = directory.0.join("socket");
        let (datagrams, file) = unix_datagram(&path, 10_000).unwrap();
        file.set_mode(0o741).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o741);
        let buffer = socket2::SockRef::from(&datagrams).recv_buffer_size();
        assert_eq!(buffer.unwrap(), 20_000);
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(b"x", &path).unwrap();
        assert_eq!(datagrams.recv(&mut [0; 8]).unwrap(), 1);
        drop(file);
        assert!(!path.exists());

        let (_listener, file) = unix_listener(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn abstract_sockets_have_no_file() {
        let name = format!("@pitot-socket-{}", std::process::id());
        let (_socket, file) = unix_datagram(Path::new(&name), 0).unwrap();
        file.set_mode(0o600).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        let address = SockAddr::unix(name.replacen('@', "\0", 1)).unwrap();
        socket2::SockRef::from(&sender).connect(&address).unwrap();
        let error = unix_datagram(Path::new(&name), 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn only_a_dead_socket_is_replaced() {
        let directory = Directory::new();
        let path = directory.0.join("socket");
        let refused = |kind: ErrorKind, word: &str| {
            let datagram = unix_datagram(&path, 0).map(drop).unwrap_err();
            let listener = unix_listener(&path).map(drop).unwrap_err();
            for error in [datagram, listener] {
                assert_eq!(error.kind(), kind);
                assert!(error.to_string().contains(word), "{error}");
            }
            assert!(path.exists());
        };

        let alive = UnixDatagram::bind(&path).unwrap();
        refused(ErrorKind::AddrInUse, "in use");
        drop(alive);
        drop(unix_listener(&path).unwrap());

        let alive = UnixListener::bind(&path).unwrap();
        refused(ErrorKind::AddrInUse, "in use");
        drop(alive);
        drop(unix_datagram(&path, 0).unwrap());

        fs::write(&path, "").unwrap();
        refused(ErrorKind::AlreadyExists, "not a socket");
        let under_a_file = unix_datagram(&path.join("socket"), 0).unwrap_err();
        assert_eq!(under_a_file.kind(), ErrorKind::NotADirectory);
    }

    #[test]
    fn a_file_of_somebody_else_is_left_alone() {
        let directory = Directory::new();
        let path = directory.0.join("socket");
        let (_first, first_file) = unix_datagram(&path, 0).unwrap();
        fs::rename(&path, directory.0.join("moved")).unwrap();
        let (_second, _second_file) = unix_datagram(&path, 0).unwrap();
        drop(first_file);
        assert!(path.exists());
    }
}
