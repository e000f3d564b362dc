//! One receiver: rests while datagrams gather, waits for the first, drains the
//! socket, and begins anew.
//!
//! ```text
//!      ┌────────────────────────────────────────────────┐
//!      ▼                                                │
//!   rest ─► wait for a datagram ─► look how full ─► drain it all
//! ```
//!
//! A busy socket is thus visited once a rest and makes no wake-up besides; a
//! quiet one is visited when something comes. How the kernel is asked is the
//! source's affair: `multishot` or `recvmmsg`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::bell::Listener;
use super::multishot::Multishot;
use super::pace::Pace;
use super::recvmmsg::Recvmmsg;
use super::{Backend, Bell, DRAIN_MAX, Gather, IDLE_INTERVAL, IDLE_INTERVAL_LONG, Sink, Stop};
use crate::sys::Datagram;
use crate::sys::socket_options::receive_memory;

/// The visits to the kernel of one drain. A drain is over when the socket is
/// empty; this many find all that the largest usual buffer can hold, and bound
/// how long one takes that never gets there.
const VISITS_MAX: usize = 512;

/// How to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The system calls to use.
    pub backend: Backend,
    /// How long datagrams may gather.
    pub gather: Gather,
}

/// A way to take datagrams out of one socket.
pub(super) trait Source {
    /// Rests for `rest`, then waits until there is something to deliver, at
    /// most for `patience`; the stop signal and the bell end both. Says whether
    /// anything came, be it one of the latter.
    fn wait(&mut self, rest: Duration, patience: Duration) -> io::Result<bool>;

    /// Delivers one batch of what is there and never waits.
    fn visit(&mut self, sink: &mut impl Sink) -> io::Result<Left>;

    /// Whether it can be relied upon still.
    fn is_sound(&mut self) -> bool;

    /// Delivers what was taken from the socket already.
    fn finish(&mut self, sink: &mut impl Sink);
}

/// What a visit has left in the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// Possibly something.
    More,
}

/// Receives from a datagram socket, UDP or Unix, and blocks the calling thread
/// until `stop` is raised; what is in the socket's buffer by then is delivered.
///
/// The socket is to be in blocking mode, as [`super::socket`] makes them. Fails
/// only for want of memory; whatever else goes wrong the sink is told, and
/// receiving goes on.
pub fn run(
    socket: impl AsFd,
    options: Options,
    stop: &Stop,
    bell: &Bell,
    sink: &mut impl Sink,
) -> io::Result<()> {
    let socket = socket.as_fd();
    let mut receiver = Receiver {
        socket,
        gather: options.gather,
        stop,
        listener: Listener::new(bell),
        patience: IDLE_INTERVAL,
    };
    let mut plain = Recvmmsg::new(socket, stop, bell)?;
    if options.backend == Backend::IoUring {
        match Multishot::new(socket, stop, bell) {
            Ok(mut source) => receiver.run(&mut source, sink),
            Err(error) => sink.error(&error),
        }
    }
    // Also what io_uring, once stopped, has left in the socket.
    receiver.run(&mut plain, sink);
    drain_for_good(&mut plain, sink);
    Ok(())
}

/// What a receiver has besides its source.
struct Receiver<'r> {
    socket: BorrowedFd<'r>,
    gather: Gather,
    stop: &'r Stop,
    listener: Listener<'r>,
    /// How long to wait before the sink is told that nothing comes.
    patience: Duration,
}

impl Receiver<'_> {
    /// Receives until it is stopped, or the source is not sound any more.
    fn run(&mut self, source: &mut impl Source, sink: &mut impl Sink) {
        let mut pace = Pace::new(self.gather, receive_memory(self.socket).ok());
        let mut backoff = Backoff::default();
        let mut left = Left::More;
        while !self.stop.is_raised() {
            if !source.is_sound() {
                sink.error(&io::Error::other(
                    "io_uring lost datagrams; recvmmsg goes on",
                ));
                break;
            }
            let outcome = self.cycle(source, &mut pace, left, sink);
            left = match outcome {
                Ok(left) => {
                    backoff.worked();
                    left
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Left::More,
                Err(error) => {
                    sink.error(&error);
                    self.stop.wait(backoff.failed());
                    Left::More
                }
            };
        }
        source.finish(sink);
    }

    /// One round; `left` is what the round before left in the socket.
    fn cycle(
        &mut self,
        source: &mut impl Source,
        pace: &mut Pace,
        left: Left,
        sink: &mut impl Sink,
    ) -> io::Result<Left> {
        if left == Left::Nothing && !source.wait(pace.rest(), self.patience)? {
            sink.idle();
            self.patience = IDLE_INTERVAL_LONG;
            return Ok(Left::Nothing);
        }
        self.patience = IDLE_INTERVAL;
        let ring = self.listener.heard();
        if pace.rests()
            && let Ok(memory) = receive_memory(self.socket)
        {
            pace.found(memory);
        }
        let left = drain(source, sink)?;
        if left == Left::More {
            pace.overrun();
        }
        if let Some(ring) = ring {
            sink.idle();
            self.listener.answer(ring);
        }
        Ok(left)
    }
}

/// Delivers until the socket is empty, or for long enough.
fn drain(source: &mut impl Source, sink: &mut impl Sink) -> io::Result<Left> {
    for _ in 0..VISITS_MAX {
        if source.visit(sink)? == Left::Nothing {
            return Ok(Left::Nothing);
        }
    }
    Ok(Left::More)
}

/// Delivers all there is once the receiver is stopped.
fn drain_for_good(source: &mut impl Source, sink: &mut impl Sink) {
    let mut backoff = Backoff::default();
    let deadline = Instant::now() + DRAIN_MAX;
    while Instant::now() < deadline {
        match source.visit(sink) {
            Ok(Left::More) => {}
            Ok(Left::Nothing) => return,
            Err(error) => {
                sink.error(&error);
                std::thread::sleep(backoff.failed());
            }
        }
    }
}

pub(super) fn deliver(datagram: Datagram<'_>, sink: &mut impl Sink) {
    match datagram {
        Datagram::Whole(payload) => sink.datagram(payload),
        Datagram::Truncated => sink.truncated(),
    }
}
