//! The listening socket of the server, opened the way Go opens it: a wildcard
//! address takes IPv6 and IPv4 alike, and ports may have names.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Protocol, Socket, Type};

/// The kernel cuts it down to what `net.core.somaxconn` allows.
const BACKLOG: i32 = 4096;

/// Listens on `host:port`. An empty host, `0.0.0.0` and `::` mean every
/// address, of IPv6 as well as IPv4 where the machine has both; a host name
/// means its first IPv4 address, or else its first. The port may be a name
/// such as `http`, and an empty address is `:http`.
///
/// # Errors
/// Names the address if it makes no sense, cannot be resolved or is taken.
pub fn bind(address: &str) -> io::Result<TcpListener> {
    try_bind(address).map_err(|error| {
        let message = format!("cannot listen on {address:?}: {error}");
        io::Error::new(error.kind(), message)
    })
}

fn try_bind(address: &str) -> io::Result<TcpListener> {
    let address = resolve(if address.is_empty() { ":http" } else { address })?;
    if !address.ip().is_unspecified() {
        return listen(address);
    }
    let everywhere = |ip: IpAddr| SocketAddr::new(ip, address.port());
    match listen(everywhere(Ipv6Addr::UNSPECIFIED.into())) {
        Err(error) if !is_final(&error) => listen(everywhere(Ipv4Addr::UNSPECIFIED.into())),
        outcome => outcome,
    }
}

/// Other errors of an IPv6 socket mean that the machine has no IPv6.
fn is_final(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, PermissionDenied};
    matches!(error.kind(), AddrInUse | PermissionDenied)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn resolve(address: &str) -> io::Result<SocketAddr> {
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
    let (host, port) = split(address).ok_or_else(|| invalid("write it as host:port"))?;
    let port = port_number(port).ok_or_else(|| invalid("there is no such port"))?;
    if host.is_empty() {
        return Ok(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port));
    }
    let found: Vec<_> = (host, port).to_socket_addrs()?.collect();
    found
        .iter()
        .find(|address| address.is_ipv4())
        .or(found.first())
        .copied()
        .ok_or_else(|| invalid("the host has no address"))
}

/// Host and port; an IPv6 host stands in brackets.
fn split(address: &str) -> Option<(&str, &str)> {
    match address.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once("]:"),
        None => address.split_once(':'),
    }
    .filter(|(_, port)| !port.contains(':'))
}

fn port_number(port: &str) -> Option<u16> {
    match port {
        // Images made from scratch have no list of services.
        "http" => Some(80),
        "https" => Some(443),
        port => port.parse().ok().or_else(|| {
            let services = fs::read_to_string("/etc/services").ok()?;
            services.lines().find_map(|line| service_port(line, port))
        }),
    }
}

/// The port if a line of the list of services is about `service` over TCP.
fn service_port(line: &str, service: &str) -> Option<u16> {
    let (entry, _comment) = line.split_once('#').unwrap_or((line, ""));
    let mut words = entry.split_ascii_whitespace();
    let name = words.next()?;
    let port = words.next()?.strip_suffix("/tcp")?;
    let named = name == service || words.any(|alias| alias == service);
    if named { port.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn hosts_and_ports() {
        let check = |address, want| assert_eq!(split(address), want, "{address}");
        check(":9102", Some(("", "9102")));
        check("127.0.0.1:9102", Some(("127.0.0.1", "9102")));
        check("[::1]:9102", Some(("::1", "9102")));
        check("[fe80::1%eth0]:9102", Some(("fe80::1%eth0", "9102")));
        check("host:http", Some(("host", "http")));
        check("127.0.0.1", None);
        check("::1:9102", None);
        check("[::1]", None);
        check("[::1]:1:2", None);
        check("", None);
    }

    #[test]
    fn ports_by_number_and_name() {
        for (port, want) in [
            ("0", Some(0)),
            ("65535", Some(65535)),
            ("http", Some(80)),
            ("65536", None),
            ("-1", None),
            ("", None),
            ("no such service", None),
        ] {
            assert_eq!(port_number(port), want, "{port}");
        }
    }

    #[test]
    fn lines_of_the_list_of_services() {
        for (line, want) in [
            ("http-alt\t8080/tcp\twebcache # comment", Some(8080)),
            ("webcache 8080/tcp http-alt", Some(8080)),
            ("http-alt 8080/udp", None),
            ("other 8080/tcp # http-alt", None),
            ("# http-alt 8080/tcp", None),
            ("http-alt", None),
            ("", None),
        ] {
            assert_eq!(service_port(line, "http-alt"), want, "{line}");
        }
    }

    #[test]
    fn wildcards_take_both_families() {
        let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
        for address in [":0", "0.0.0.0:0", "[::]:0"] {
            let port = bind(address).unwrap();
            let port = port.local_addr().map(|address| (port, address.port()));
            let (_listener, port) = port.unwrap();
            assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "{address}");
            let over_ipv6 = TcpStream::connect(("::1", port)).is_ok();
            assert_eq!(over_ipv6, has_ipv6, "{address}");
        }
    }

    #[test]
    fn an_address_is_just_that_address() {
        let listener = bind("localhost:0").unwrap();
        assert_eq!(listener.local_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);
    }

    #[test]
    fn failures_name_the_address() {
        let taken = bind("127.0.0.1:0").unwrap();
        let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
        for address in ["127.0.0.1", "127.0.0.1:x y", &taken.1.to_string()] {
            let message = bind(address).unwrap_err().to_string();
            assert!(message.contains(address), "{message}");
        }
    }
}
