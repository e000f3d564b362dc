//! Internet addresses of flags, `host:port` as Go reads them: their syntax and
//! what they stand for.

use std::fmt::Display;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};

use super::ConfigError;

/// An internet address as a flag has it, `host:port`, its syntax checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    flag: &'static str,
    text: String,
    /// Empty for every address of this machine.
    host: String,
    port: Port,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Port {
    Number(u16),
    /// A name of `/etc/services`, with `tcp` or `udp`.
    Service(String, &'static str),
}

impl Address {
    /// An address to receive StatsD on: its port is a number.
    pub(super) fn statsd(flag: &'static str, text: &str) -> Result<Address, ConfigError> {
        Address::parse(flag, text, None)
    }

    /// The address of the web server.
    pub(super) fn web(text: &str) -> Result<Address, ConfigError> {
        let text = if text.is_empty() { ":80" } else { text };
        Address::parse("web.listen-address", text, Some("tcp"))
    }

    /// The address of the relay's receiver; without a host it is this machine.
    pub(super) fn relay(text: &str) -> Result<Address, ConfigError> {
        let mut address = Address::parse("statsd.relay.address", text, Some("udp"))?;
        if address.is_wildcard() {
            address.host = Ipv4Addr::LOCALHOST.to_string();
        }
        Ok(address)
    }

    /// Where there are services, for `tcp` or `udp`, a port may be the name of
    /// one, or empty for any port.
    fn parse(
        flag: &'static str,
        text: &str,
        services: Option<&'static str>,
    ) -> Result<Address, ConfigError> {
        let bad_value = |why| ConfigError::bad_value(flag, text, why);
        let (host, port) = split_host_port(text).ok_or_else(|| {
            bad_value("is not host:port; write for example :9125, 127.0.0.1:9125 or [::1]:9125")
        })?;
        let port = match (port.parse::<i64>(), services) {
            (Ok(number), _) => Port::Number(
                u16::try_from(number).map_err(|_| bad_value("has a port outside of 0 to 65535"))?,
            ),
            (Err(_), Some(_)) if port.is_empty() => Port::Number(0),
            (Err(_), Some(protocol)) => Port::Service(port.to_ascii_lowercase(), protocol),
            (Err(_), None) => {
                return Err(bad_value(
                    "has no number for a port; write for example :9125",
                ));
            }
        };
        Ok(Address {
            flag,
            text: text.to_owned(),
            host: host.to_owned(),
            port,
        })
    }

    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Looks host and service up; this may ask the network.
    ///
    /// A name with addresses of both families gives one of IPv4. `[::]` stands
    /// for every address of both: bind it with `IPV6_V6ONLY` off, and
    /// `0.0.0.0` where the machine has no IPv6.
    ///
    /// # Errors
    /// The host or the service is unknown.
    pub fn resolve(&self) -> Result<SocketAddr, ConfigError> {
        let port = match &self.port {
            Port::Number(number) => *number,
            Port::Service(name, protocol) => self.service_port(name, protocol)?,
        };
        if self.is_wildcard() {
            return Ok((Ipv6Addr::UNSPECIFIED, port).into());
        }
        match self.host.parse::<IpAddr>() {
            Ok(ip) => Ok((ip.to_canonical(), port).into()),
            Err(_) => match with_zone(&self.host) {
                Some((ip, zone)) => Ok(SocketAddrV6::new(ip, port, 0, zone).into()),
                None => self.look_up(port),
            },
        }
    }

    fn is_wildcard(&self) -> bool {
        let is_unspecified = |ip: IpAddr| ip.to_canonical().is_unspecified();
        self.host.is_empty() || self.host.parse().is_ok_and(is_unspecified)
    }

    /// Asks the system's resolver.
    fn look_up(&self, port: u16) -> Result<SocketAddr, ConfigError> {
        let host = &self.host;
        let addresses: Vec<SocketAddr> = (host.as_str(), port)
            .to_socket_addrs()
            .map_err(|error| {
                self.bad_value(format_args!(
                    "has an unknown host ({error}); check the name or write an IP address"
                ))
            })?
            .collect();
        let ipv4 = addresses.iter().find(|address| address.is_ipv4());
        ipv4.or(addresses.first())
            .copied()
            .ok_or_else(|| self.bad_value("has a host without an address; write an IP address"))
    }

    fn service_port(&self, name: &str, protocol: &str) -> Result<u16, ConfigError> {
        // Images without the file still know what the web server may need.
        let services = fs::read_to_string("/etc/services").unwrap_or_default();
        service_port(&services, name, protocol)
            .or_else(|| service_port("http 80/tcp\nhttps 443/tcp\n", name, protocol))
            .ok_or_else(|| self.bad_value("names an unknown service; write the port as a number"))
    }

    fn bad_value(&self, why: impl Display) -> ConfigError {
        ConfigError::bad_value(self.flag, &self.text, why)
    }
}

/// Splits `host:port`, where a host with colons stands in brackets.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let has_bracket = |part: &str| part.contains(['[', ']']);
    (!has_bracket(host) && !has_bracket(port)).then_some((host, port))
}

/// An address of IPv6 with the number of its zone (`fe80::1%eth0`). The system's
/// resolver takes zones of link-local addresses alone.
fn with_zone(host: &str) -> Option<(Ipv6Addr, u32)> {
    let (ip, zone) = host.split_once('%')?;
    let number = zone.parse().ok().or_else(|| {
        let number = fs::read_to_string(format!("/sys/class/net/{zone}/ifindex")).ok()?;
        number.trim().parse().ok()
    });
    Some((ip.parse().ok()?, number?))
}

/// Looks a service up in the text of `/etc/services`: lines of name,
/// port/protocol and other names, with comments after `#`.
fn service_port(services: &str, name: &str, protocol: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let (line, _comment) = line.split_once('#').unwrap_or((line, ""));
        let mut words = line.split_whitespace();
        let (first, port) = (words.next()?, words.next()?);
        let port = port.strip_suffix(protocol)?.strip_suffix('/')?;
        let is_it = first == name || words.any(|other| other == name);
        if is_it { port.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::check_bound;

    #[test]
    fn statsd_addresses() {
        for (text, bound) in [
            (":9125", "[::]:9125"),
            ("0.0.0.0:9125", "[::]:9125"),
            ("[::]:9125", "[::]:9125"),
            ("[]:9125", "[::]:9125"),
            ("[::ffff:0.0.0.0]:9125", "[::]:9125"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[127.0.0.1]:65535", "127.0.0.1:65535"),
            ("[::1]:9125", "[::1]:9125"),
            ("[::ffff:127.0.0.1]:9125", "127.0.0.1:9125"),
            ("127.0.0.1:+8125", "127.0.0.1:8125"),
            ("127.0.0.1:-0", "127.0.0.1:0"),
            ("[fe80::1%7]:9125", "[fe80::1%7]:9125"),
            // The loopback interface is the first one everywhere.
            ("[::1%lo]:9125", "[::1%1]:9125"),
            ("localhost:9125", "127.0.0.1:9125"),
        ] {
            check_bound(Address::statsd("flag", text), bound);
        }
    }

    #[test]
    fn what_is_no_statsd_address() {
        for text in [
            "9125",
            "localhost",
            "::1:9125",
            "[::1]",
            "[::1]9125",
            "[::1:9125",
            "::1]:9125",
            "[[::1]]:9125",
            "127.0.0.1:[9125]",
            "127.0.0.1:",
            "127.0.0.1:http",
            "127.0.0.1:99999",
            "127.0.0.1:-1",
            "127.0.0.1:9125 ",
        ] {
            let error = Address::statsd("flag", text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--flag: {text:?} ")), "{error}");
        }
        // Longer than a name may be, so nobody is asked.
        let unknown = Address::statsd("flag", &format!("{}:1", "x".repeat(300))).unwrap();
        let error = unknown.resolve().unwrap_err().to_string();
        assert!(error.contains("has an unknown host"), "{error}");
    }

    #[test]
    fn web_addresses() {
        for (text, bound) in [
            ("", "[::]:80"),
            (":http", "[::]:80"),
            ("127.0.0.1:HTTPS", "127.0.0.1:443"),
            ("127.0.0.1:", "127.0.0.1:0"),
            (":9102", "[::]:9102"),
        ] {
            check_bound(Address::web(text), bound);
        }
        for text in ["127.0.0.1", "9102", ":70000", ":no-such-service"] {
            let bound = Address::web(text).and_then(|address| address.resolve());
            assert!(bound.is_err(), "{text}");
        }
    }

    #[test]
    fn relay_addresses() {
        for (text, target) in [
            ("127.0.0.2:8125", "127.0.0.2:8125"),
            (":8125", "127.0.0.1:8125"),
            ("0.0.0.0:8125", "127.0.0.1:8125"),
            ("[::1]:8125", "[::1]:8125"),
        ] {
            check_bound(Address::relay(text), target);
        }
        assert!(Address::relay("nonsense").is_err());
    }

    #[test]
    fn services() {
        let text = "# names\nhttp\t\t80/tcp\t\twww  # web\ndomain 53/tcp\ndomain 53/udp\nbad\n";
        for (name, protocol, port) in [
            ("http", "tcp", Some(80)),
            ("www", "tcp", Some(80)),
            ("web", "tcp", None),
            ("http", "udp", None),
            ("domain", "udp", Some(53)),
            ("bad", "tcp", None),
        ] {
            assert_eq!(
                service_port(text, name, protocol),
                port,
                "{name}/{protocol}"
            );
        }
    }
}
