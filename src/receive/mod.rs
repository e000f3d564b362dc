//! Datagrams and lines out of the kernel.

/// Takes what a receiver reads. A batch is what one visit to the kernel
/// brought; everything that need not be done per datagram belongs to its ends.
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
