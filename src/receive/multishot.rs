//! Datagrams by io_uring: one armed receive, one system call per batch that
//! waits, delivers, arms again and watches the stop signal.

use std::io;
use std::os::fd::BorrowedFd;

use super::backoff::Backoff;
use super::{IDLE_INTERVAL, Sink, deliver, recvmmsg};
use crate::sys::event::Stop;
use crate::sys::uring::{Event, MultishotRecv};

/// Buffers lent to the kernel, which goes through all of them in turn. A system
/// call completes some 32 receives, so more than that serve no one: emptying a
/// full socket cost the same with 32 as with 1024, and only 16 were slower. Each
/// buffer takes at least a page of memory once it was used.
pub(super) const BUFFERS: u16 = 64;

/// Receives until `stop` is raised and the socket, the one that `receive` is
/// set up for, is empty. Fails only at the end, for want of memory.
pub(super) fn run(
    mut receive: MultishotRecv<'_>,
    socket: BorrowedFd<'_>,
    stop: &Stop,
    sink: &mut impl Sink,
) -> io::Result<()> {
    let mut backoff = Backoff::default();
    while !stop.is_raised() {
        let has_failed = match receive.wait(IDLE_INTERVAL) {
            Ok(true) => visit(&mut receive, sink),
            Ok(false) => {
                sink.idle();
                false
            }
            Err(error) => {
                sink.error(&error);
                true
            }
        };
        if has_failed {
            stop.wait(backoff.failed());
        } else {
            backoff.worked();
        }
    }
    sink.batch_start();
    receive.finish(|event| {
        take(event, sink);
    });
    sink.batch_end();
    recvmmsg::run_once(socket, sink)
}

/// Delivers one batch and says whether receiving failed.
fn visit(receive: &mut MultishotRecv<'_>, sink: &mut impl Sink) -> bool {
    let mut has_failed = false;
    sink.batch_start();
    receive.visit(|event| has_failed |= !take(event, sink));
    sink.batch_end();
    has_failed
}

/// Hands an event on and says whether it was a datagram.
fn take(event: Event<'_>, sink: &mut impl Sink) -> bool {
    match event {
        Event::Datagram(datagram) => {
            deliver(datagram, sink);
            true
        }
        Event::Failed(error) => {
            sink.error(&error);
            false
        }
    }
}
