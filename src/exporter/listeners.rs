//! The sockets that the program listens on, opened.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context;
use socket2::Socket;
use tracing::{info, warn};

use crate::config::{Address, Config, Endpoints};
use crate::receive::socket::{self, SocketFile};
use crate::worker::Transport;

/// Sockets that were opened and are not yet read.
#[derive(Default)]
pub(super) struct Listeners {
    /// With the number of each among its transport's sockets.
    pub(super) datagrams: Vec<(Transport, usize, OwnedFd)>,
    pub(super) streams: Vec<(Transport, Socket)>,
    pub(super) files: Vec<SocketFile>,
}

impl Listeners {
    /// Opens all that is asked for; an error names the address.
    pub(super) fn open(config: &Config, endpoints: &Endpoints) -> anyhow::Result<Listeners> {
        let mut listeners = Listeners::default();
        let bytes = config.receive.read_buffer;
        if let Some(address) = &endpoints.udp {
            let group = socket::udp_group(address.resolve()?, config.receive.shards, bytes);
            let group = group.with_context(|| cannot_open(address.as_str()))?;
            socket::steer(&group, config.receive.steering)
                .context("--receive.steering: the kernel refuses the filter")?;
            info!(
                address = address.as_str(),
                sockets = group.len(),
                "Receiving StatsD over UDP"
            );
            let numbered = group.into_iter().enumerate();
            listeners
                .datagrams
                .extend(numbered.map(|(shard, socket)| (Transport::Udp, shard, socket.into())));
        }
        if let Some(address) = &endpoints.tcp {
            let listener = open_tcp(address)?;
            listeners.streams.push((Transport::Tcp, listener.into()));
            info!(address = address.as_str(), "Receiving StatsD over TCP");
        }
        if let Some(path) = &endpoints.unix_datagram {
            let opened = socket::unix_datagram(path, bytes);
            let (socket, file) =
                opened.with_context(|| cannot_open(&path.display().to_string()))?;
            listeners
                .datagrams
                .push((Transport::Unixgram, 0, socket.into()));
            listeners.keep(file, path, endpoints.unix_mode);
        }
        if let Some(path) = &endpoints.unix_stream {
            let opened = socket::unix_listener(path);
            let (listener, file) =
                opened.with_context(|| cannot_open(&path.display().to_string()))?;
            listeners
                .streams
                .push((Transport::UnixStream, listener.into()));
            listeners.keep(file, path, endpoints.unix_mode);
        }
        Ok(listeners)
    }

    fn keep(&mut self, file: SocketFile, path: &Path, mode: Option<u32>) {
        let path = path.display();
        info!(%path, "Receiving StatsD on a Unix socket");
        if let Some(mode) = mode
            && let Err(error) = file.set_mode(mode)
        {
            warn!(%path, %error, "The permissions of the socket stay as the umask has them");
        }
        self.files.push(file);
    }
}

/// Opens a TCP listener; an error names the address.
pub(super) fn open_tcp(address: &Address) -> anyhow::Result<TcpListener> {
    let resolved: SocketAddr = address.resolve()?;
    socket::tcp_listener(resolved).with_context(|| cannot_open(address.as_str()))
}

fn cannot_open(address: &str) -> String {
    format!("cannot listen on {address}; choose one of this machine that is free and permitted")
}
