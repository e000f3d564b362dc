//! Datagrams by `recvmmsg`: what runs where io_uring is forbidden, and the end
//! of every receiver. One system call per batch, and `ppoll` to rest and wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::datagrams::{Left, Source, deliver};
use super::{Bell, Sink};
use crate::sys::event::Stop;
use crate::sys::mmsg::RecvBatch;
use crate::sys::poll;

/// Datagrams that one call brings at most.
const BATCH: usize = 64;

/// See the module's documentation.
pub(super) struct Recvmmsg<'r> {
    socket: BorrowedFd<'r>,
    stop: BorrowedFd<'r>,
    bell: BorrowedFd<'r>,
    batch: RecvBatch,
}

impl<'r> Recvmmsg<'r> {
    /// Fails for want of memory.
    pub(super) fn new(
        socket: BorrowedFd<'r>,
        stop: &'r Stop,
        bell: &'r Bell,
    ) -> io::Result<Recvmmsg<'r>> {
        Ok(Recvmmsg {
            socket,
            stop: stop.as_fd(),
            bell: bell.as_fd(),
            batch: RecvBatch::new(BATCH)?,
        })
    }
}

impl Source for Recvmmsg<'_> {
    fn wait(&mut self, rest: Duration, patience: Duration) -> io::Result<bool> {
        let is_disturbed =
            !rest.is_zero() && poll::readable([self.stop, self.bell], rest)? != [false; 2];
        if is_disturbed {
            return Ok(true);
        }
        let ready = poll::readable([self.socket, self.stop, self.bell], patience)?;
        Ok(ready != [false; 3])
    }

    fn visit(&mut self, sink: &mut impl Sink) -> io::Result<Left> {
        let datagrams = match self.batch.receive(self.socket) {
            Ok(datagrams) => datagrams,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Left::Nothing),
            Err(error) => return Err(error),
        };
        // A call that brings fewer than it could has emptied the socket, or met
        // an error that the next one reports.
        let left = match datagrams.len() {
            BATCH => Left::More,
            _ => Left::Nothing,
        };
        sink.batch_start();
        for datagram in datagrams {
            deliver(datagram, sink);
        }
        sink.batch_end();
        Ok(left)
    }

    fn finish(&mut self, _: &mut impl Sink) {}
}
