//! Datagrams and lines out of the kernel.
//!
//! ```text
//! socket        the sockets: an SO_REUSEPORT group, listeners, Unix sockets
//! probe         what this kernel allows: io_uring or recvmmsg
//! datagrams     datagrams → Sink, a thread per socket
//!   multishot   ┐ how they are taken from the kernel
//!   recvmmsg    ┘
//!   pace        how long they may gather before
//!   bell        somebody is about to look at the numbers
//! stream        connections → LineSink, on tokio-uring or tokio
//!   connection    one connection, read by either
//!   lines         bytes → lines
//! ```
//!
//! The caller brings the socket, the [`Stop`] signal and the sink, and gives
//! each receiver a thread. Nothing is queued here: a sink is called on the
//! thread that read, and while it works the kernel's buffer fills.

mod backoff;
mod bell;
mod connection;
mod datagrams;
mod lines;
mod multishot;
mod pace;
mod probe;
mod recvmmsg;
pub mod socket;
pub mod stream;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

pub use crate::sys::event::Stop;
pub use bell::{Bell, Ring};
pub use datagrams::{Options, run};
pub use lines::LongLines;
pub use pace::{AUTO_MAX, Gather};
pub use probe::{Backend, BackendChoice, Chosen, Unavailable, probe};

/// How long nothing has come when a sink is told so.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is told again while nothing comes.
const IDLE_INTERVAL_LONG: Duration = Duration::from_secs(10);

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
    /// All receive buffers of io_uring were full at once, which costs a little
    /// time and no datagram.
    fn out_of_buffers(&mut self) {}
    /// After the last datagram of a batch.
    fn batch_end(&mut self);
    /// Nothing more has come: for a second, for some ten seconds again, or when
    /// somebody is about to look at the numbers.
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
    /// Nothing has come for a while: a second, or some ten seconds again.
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
    /// A line exceeded the cap.
    LineTooLong,
    /// One was closed at once, because there were as many as there may be.
    Refused,
    /// One was closed because nothing had come for too long.
    Idle,
    /// Accepting failed, for want of descriptors most likely; it is tried again.
    AcceptFailed,
}
