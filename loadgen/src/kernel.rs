//! What the kernel knows and allows: lost datagrams, buffer sizes, open files.

use std::fs;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use anyhow::{Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many datagrams a socket lost because its buffer was full; `None` if
/// `/proc` does not tell.
pub fn datagrams_dropped(socket: &UdpSocket) -> Option<u64> {
    let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok()?;
    let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
    ["/proc/self/net/udp", "/proc/self/net/udp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| {
            // Columns as in the kernel's udp4_seq_show: the inode is the tenth,
            // the drops are the last.
            let columns = |line: &str| line.split_whitespace().nth(9) == Some(inode);
            let line = table.lines().find(|line| columns(line))?;
            line.split_whitespace().last()?.parse().ok()
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
