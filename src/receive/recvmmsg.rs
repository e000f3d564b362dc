//! Datagrams by `recvmmsg`: what runs where io_uring is forbidden, and the end
//! of every receiver.
//!
//! A busy receiver makes one system call per batch; only when the socket is
//! empty does it block in `poll`, which also watches the stop signal.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use super::backoff::Backoff;
use super::{DRAIN_MAX, IDLE_INTERVAL, Sink, deliver};
use crate::sys::event::Stop;
use crate::sys::mmsg::RecvBatch;
use crate::sys::poll;

/// Datagrams that one call brings at most.
const BATCH: usize = 64;

/// Receives until `stop` is raised and the socket is empty. Fails only at the
/// beginning, for want of memory.
pub(super) fn run(socket: BorrowedFd<'_>, stop: &Stop, sink: &mut impl Sink) -> io::Result<()> {
    let mut batch = RecvBatch::new(BATCH)?;
    let mut backoff = Backoff::default();
    while !stop.is_raised() {
        match receive(&mut batch, socket, sink) {
            Ok(()) => backoff.worked(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(socket, stop, sink),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                sink.error(&error);
                stop.wait(backoff.failed());
            }
        }
    }
    drain(&mut batch, socket, sink);
    Ok(())
}

/// Delivers what is in the socket's buffer without waiting, for a receiver that
/// has no batch of its own.
pub(super) fn run_once(socket: BorrowedFd<'_>, sink: &mut impl Sink) -> io::Result<()> {
    drain(&mut RecvBatch::new(BATCH)?, socket, sink);
    Ok(())
}

fn receive(batch: &mut RecvBatch, socket: BorrowedFd<'_>, sink: &mut impl Sink) -> io::Result<()> {
    let datagrams = batch.receive(socket)?;
    sink.batch_start();
    for datagram in datagrams {
        deliver(datagram, sink);
    }
    sink.batch_end();
    Ok(())
}

/// Blocks until the socket or the stop signal has something, or reports that
/// nothing came.
fn wait(socket: BorrowedFd<'_>, stop: &Stop, sink: &mut impl Sink) {
    match poll::readable([socket, stop.as_fd()], IDLE_INTERVAL) {
        Ok([false, false]) => sink.idle(),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) => sink.error(&error),
    }
}

fn drain(batch: &mut RecvBatch, socket: BorrowedFd<'_>, sink: &mut impl Sink) {
    let mut backoff = Backoff::default();
    let deadline = Instant::now() + DRAIN_MAX;
    while Instant::now() < deadline {
        match receive(batch, socket, sink) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => {
                sink.error(&error);
                std::thread::sleep(backoff.failed());
            }
        }
    }
}
