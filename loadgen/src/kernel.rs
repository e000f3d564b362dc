//! What the kernel knows and allows: lost datagrams, buffer sizes, open files.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt::socket_recv_buffer_size;
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Resource, Rlimit, getrlimit, pidfd_getfd, pidfd_open,
    setrlimit,
};

/// How many datagrams a socket lost because its buffer was full; `None` if
/// `/proc` does not tell.
pub fn datagrams_dropped(socket: &UdpSocket) -> Option<u64> {
    let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok()?;
    let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
    let sockets = udp_sockets();
    let own = sockets.iter().find(|socket| socket.inode == inode)?;
    Some(own.dropped)
}

/// A UDP socket of this machine, or of this container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpSocketEntry {
    /// What tells it apart.
    pub inode: String,
    /// The port it is bound to.
    pub port: u16,
    /// Datagrams lost because its buffer was full.
    pub dropped: u64,
}

/// All UDP sockets that `/proc` tells of.
pub fn udp_sockets() -> Vec<UdpSocketEntry> {
    ["/proc/self/net/udp", "/proc/self/net/udp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(udp_socket).collect::<Vec<_>>())
        .collect()
}

/// How many datagrams the sockets of a port lost because their buffers were
/// full; `None` if there are none, as when they are those of a container.
pub fn port_drops(port: u16) -> Option<u64> {
    let sockets = udp_sockets();
    let drops = sockets.iter().filter(|socket| socket.port == port);
    let drops: Vec<u64> = drops.map(|socket| socket.dropped).collect();
    (!drops.is_empty()).then(|| drops.iter().sum())
}

/// The receive buffers that the kernel granted a process for the sockets of a
/// port, in bytes as it counts them; empty if it may not be asked.
pub fn receive_buffers_of(pid: i32, port: u16) -> Vec<usize> {
    let granted = || -> Result<Vec<usize>> {
        let process = Pid::from_raw(pid).context("no process")?;
        let process = pidfd_open(process, PidfdFlags::empty())?;
        let sockets = udp_sockets();
        let mut buffers = Vec::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            let entry = entry?;
            // A descriptor may be closed meanwhile.
            let Ok(link) = fs::read_link(entry.path()) else {
                continue;
            };
            let link = link.to_string_lossy();
            let is_it = |socket: &&UdpSocketEntry| {
                socket.port == port && *link == format!("socket:[{}]", socket.inode)
            };
            if sockets.iter().any(|socket| is_it(&socket)) {
                let number = entry.file_name().to_string_lossy().parse()?;
                let socket = pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?;
                buffers.push(socket_recv_buffer_size(socket)?);
            }
        }
        Ok(buffers)
    };
    granted().unwrap_or_default()
}

/// Whether an address is one of this machine's own.
pub fn is_local(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Reads a line of the kernel's udp4_seq_show: the local address is the second
/// column, the inode the tenth, the drops the last.
fn udp_socket(line: &str) -> Option<UdpSocketEntry> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let (_, port) = columns.get(1)?.rsplit_once(':')?;
    Some(UdpSocketEntry {
        inode: (*columns.get(9)?).to_owned(),
        port: u16::from_str_radix(port, 16).ok()?,
        dropped: columns.last()?.parse().ok()?,
    })
}

/// The largest receive buffer that a process may ask for, in bytes.
pub fn receive_buffer_max() -> usize {
    let text = fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap_or_default();
    text.trim().parse().unwrap_or(212_992)
}

/// Makes room for so many sockets beside the files that every process has; an
/// error says how much is missing.
pub fn allow_sockets(count: usize) -> Result<()> {
    let wanted = count as u64 + 32;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    ensure!(
        limit.maximum.is_none_or(|maximum| maximum >= wanted),
        "{count} sockets are needed at once, but this process may open only {} files; \
         raise the hard limit (ulimit -Hn {wanted})",
        limit.maximum.unwrap_or_default()
    );
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_tables() {
        let head = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
        assert_eq!(udp_socket(head), None);
        let line = " 1234: 0100007F:23A5 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4242 2 0000000000000000 17";
        let read = udp_socket(line).expect("a socket");
        assert_eq!((read.port, read.dropped), (9125, 17));
        assert_eq!(read.inode, "4242");
    }

    #[test]
    fn a_full_buffer_is_seen_by_port() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let to = receiver.local_addr().expect("an address");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("bound");
        assert!(is_local(to.ip()));
        assert_eq!(port_drops(to.port()), Some(0));
        while port_drops(to.port()) == Some(0) {
            sender.send_to(&[0; 1000], to).expect("sent");
        }
        assert_eq!(port_drops(to.port()), datagrams_dropped(&receiver));
        let pid = std::process::id().try_into().expect("a process");
        let granted = socket_recv_buffer_size(&receiver).expect("a size");
        let seen = receive_buffers_of(pid, to.port());
        assert!(seen.is_empty() || seen == [granted], "{seen:?}");
    }
}
