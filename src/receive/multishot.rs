//! Datagrams by io_uring: one armed receive, and one system call that rests,
//! waits, delivers and arms again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::datagrams::{Left, Source, deliver};
use super::{Bell, Sink};
use crate::sys::event::Stop;
use crate::sys::poll;
use crate::sys::uring::{Event, MultishotRecv};

/// Buffers lent to the kernel, which goes through all of them in turn.
/// Emptying a full socket cost the same with 32 as with 1024, and only 16 were
/// slower. Each buffer takes at least a page of memory once it was used.
const BUFFERS: u16 = 64;

/// See the module's documentation.
pub(super) struct Multishot<'r> {
    receive: MultishotRecv<'r>,
    stop: BorrowedFd<'r>,
    bell: BorrowedFd<'r>,
}

impl<'r> Multishot<'r> {
    /// Fails where the kernel forbids it.
    pub(super) fn new(
        socket: BorrowedFd<'r>,
        stop: &'r Stop,
        bell: &'r Bell,
    ) -> io::Result<Multishot<'r>> {
        let (stop, bell) = (stop.as_fd(), bell.as_fd());
        Ok(Multishot {
            receive: MultishotRecv::new(socket, [stop, bell], BUFFERS)?,
            stop,
            bell,
        })
    }
}

impl Source for Multishot<'_> {
    fn wait(&mut self, rest: Duration, patience: Duration) -> io::Result<bool> {
        if rest.is_zero() || self.receive.can_rest() {
            return self.receive.wait(rest, patience);
        }
        let is_disturbed = poll::readable([self.stop, self.bell], rest)? != [false; 2];
        let patience = if is_disturbed {
            Duration::ZERO
        } else {
            patience
        };
        Ok(self.receive.wait(Duration::ZERO, patience)? || is_disturbed)
    }

    fn visit(&mut self, sink: &mut impl Sink) -> io::Result<Left> {
        if !self.receive.has_come() {
            self.receive.fetch()?;
            if !self.receive.has_come() {
                return Ok(Left::Nothing);
            }
        }
        let mut failed = None;
        sink.batch_start();
        self.receive.visit(|event| take(event, sink, &mut failed));
        sink.batch_end();
        match failed {
            Some(error) => Err(error),
            None if self.receive.has_more() => Ok(Left::More),
            None => Ok(Left::Nothing),
        }
    }

    fn finish(&mut self, sink: &mut impl Sink) {
        let mut failed = None;
        sink.batch_start();
        self.receive.finish(|event| take(event, sink, &mut failed));
        sink.batch_end();
        if let Some(error) = failed {
            sink.error(&error);
        }
    }
}

fn take(event: Event<'_>, sink: &mut impl Sink, failed: &mut Option<io::Error>) {
    match event {
        Event::Datagram(datagram) => deliver(datagram, sink),
        Event::Failed(error) => *failed = Some(error),
    }
}
