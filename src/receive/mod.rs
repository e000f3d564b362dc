//! Datagrams and lines out of the kernel.
//!
//! ```text
//! socket        the sockets: an SO_REUSEPORT group, listeners, Unix sockets
//! probe         what this kernel allows: io_uring or recvmmsg
//! multishot     ┐ datagrams → Sink, a thread per socket
//! recvmmsg      ┘
//! stream        connections → LineSink, on tokio-uring or tokio
//!   connection    one connection, read by either
//!   lines         bytes → lines
//! ```
//!
//! The caller brings the socket, the [`Stop`] signal and the sink, and gives
//! each receiver a thread. Nothing is queued here: a sink is called on the
//! thread that read, and while it works the kernel's buffer fills.

mod backoff;
mod connection;
mod lines;
mod multishot;
mod probe;
mod recvmmsg;
pub mod socket;
pub mod stream;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

pub use crate::sys::event::Stop;
pub use probe::{Backend, BackendChoice, Chosen, Unavailable, probe};

use crate::sys::Datagram;
use crate::sys::uring::MultishotRecv;

/// How long nothing has come when a sink is told so, again and again.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);

/// How long a stopped receiver goes on to empty its socket. An idle moment of
/// the senders ends it much earlier; only senders faster than the sink get here.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// Takes what a receiver reads. A batch is what one visit to the kernel
/// brought, possibly nothing; everything that need not be done per datagram
/// belongs to its ends.
pub trait Sink {
    /// Before the first datagram of a batch.
    fn batch_start(&mut self);
    /// One datagram, whole. The bytes live only for this call.
    fn datagram(&mut self, payload: &[u8]);
    /// A datagram came that was longer than any the protocol allows; its rest
    /// is lost and its lines were not delivered.
    fn truncated(&mut self);
    /// After the last datagram of a batch.
    fn batch_end(&mut self);
    /// About once a second while nothing comes.
    fn idle(&mut self);
    /// Receiving failed, possibly in the middle of a batch. It is tried again,
    /// by other means if need be.
    fn error(&mut self, error: &io::Error);
}

/// Takes what connections read, line by line.
pub trait LineSink {
    /// Before the first line of a read.
    fn batch_start(&mut self);
    /// One line without its end.
    fn line(&mut self, line: &[u8]);
    /// After the last line of a read.
    fn batch_end(&mut self);
    /// Something happened to a connection.
    fn event(&mut self, event: StreamEvent);
    /// About once a second while nothing comes.
    fn idle(&mut self);
    /// Accepting, or what all connections need, failed. It is tried again, by
    /// other means if need be.
    fn error(&mut self, error: &io::Error);
}

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// One was accepted.
    Connected,
    /// Reading failed other than by its end.
    ReadFailed,
    /// A line exceeded the cap; the connection is closed.
    LineTooLong,
    /// Accepting failed, for want of descriptors most likely; it is tried again.
    AcceptFailed,
}

/// Receives from a datagram socket, UDP or Unix, and blocks the calling thread
/// until `stop` is raised; what is in the socket's buffer by then is delivered.
///
/// The socket is to be in blocking mode, as [`socket`] makes them. Fails only
/// for want of memory; whatever else goes wrong the sink is told, and receiving
/// goes on.
pub fn run(
    socket: impl AsFd,
    backend: Backend,
    stop: &Stop,
    sink: &mut impl Sink,
) -> io::Result<()> {
    let socket = socket.as_fd();
    if backend == Backend::IoUring {
        match MultishotRecv::new(socket, stop, multishot::BUFFERS) {
            Ok(receive) => return multishot::run(receive, socket, stop, sink),
            Err(error) => sink.error(&error),
        }
    }
    recvmmsg::run(socket, stop, sink)
}

fn deliver(datagram: Datagram<'_>, sink: &mut impl Sink) {
    match datagram {
        Datagram::Whole(payload) => sink.datagram(payload),
        Datagram::Truncated => sink.truncated(),
    }
}
