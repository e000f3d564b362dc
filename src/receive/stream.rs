//! Connections, TCP and Unix: accepted, read and cut into lines, all on the
//! calling thread.
//!
//! The runtime is tokio-uring's where io_uring works and tokio's elsewhere. The
//! former is the latter with a ring beside it, so tasks, timers and readiness
//! are the same in both, and only `connection` tells them apart.
//! Accepting and the stop signal wait for readiness in either case:
//!
//! - tokio-uring 0.5 cannot take over a Unix listener, and its `accept` fails
//!   on a connection whose peer has no IP address;
//! - an accept is rare beside the reads that follow it;
//! - an operation of tokio-uring cannot be cancelled without losing what it
//!   read. So a stop never drops a read: it shuts the socket's receiving half
//!   down, whereupon the read under way and those after it bring what had
//!   arrived, and then the end.
//!
//! Nothing is ever written to a connection. Once closed by its peer it is
//! closed here, so the peer sees an end as soon as everything was read.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::rc::Rc;

use socket2::{SockRef, Socket};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet, LocalSet};
use tokio::time;

use super::backoff::Backoff;
use super::connection::{self, Connection};
use super::lines::{Lines, TooLong};
use super::probe::Backend;
use super::socket::BACKLOG;
use super::{DRAIN_MAX, IDLE_INTERVAL, LineSink, Stop, StreamEvent};
use crate::sys::readiness::Readiness;

/// How connections are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What a line may have at most, its newline included.
    pub line_bytes_max: usize,
}

impl Default for Options {
    /// The cap of the reference.
    fn default() -> Options {
        Options {
            line_bytes_max: 4096,
        }
    }
}

/// Accepts and reads connections until `stop` is raised; then delivers the
/// lines that have arrived, also over connections not yet accepted, and
/// returns. A line cut short by the stop is no line.
///
/// `listeners` are listening sockets of any stream family; they are closed at
/// the end. Blocks the calling thread. Fails only at the beginning, for want of
/// descriptors or memory.
pub fn run<S: LineSink + 'static>(
    listeners: Vec<Socket>,
    backend: Backend,
    options: Options,
    stop: &Stop,
    mut sink: S,
) -> io::Result<()> {
    if backend == Backend::IoUring {
        match tokio_uring::Runtime::new(&tokio_uring::builder()) {
            Ok(runtime) => {
                return runtime.block_on(serve(listeners, backend, options, stop, sink));
            }
            Err(error) => sink.error(&error),
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let serving = serve(listeners, Backend::Recvmmsg, options, stop, sink);
    LocalSet::new().block_on(&runtime, serving)
}

/// What the tasks of one thread have in common.
struct Thread<S> {
    sink: RefCell<S>,
    /// Something came since the last look.
    is_busy: Cell<bool>,
    backend: Backend,
    options: Options,
    buffer: connection::Shared,
    stop: Stop,
    /// Turns true with `stop`; tasks wait for it.
    stopped: watch::Receiver<bool>,
}

async fn serve<S: LineSink + 'static>(
    listeners: Vec<Socket>,
    backend: Backend,
    options: Options,
    stop: &Stop,
    sink: S,
) -> io::Result<()> {
    let (stopping, stopped) = watch::channel(false);
    let thread = Rc::new(Thread {
        sink: RefCell::new(sink),
        is_busy: Cell::new(false),
        backend,
        options,
        buffer: connection::shared_buffer(),
        stop: stop.clone(),
        stopped,
    });
    let mut accepting = JoinSet::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let listener = Readiness::new(listener.into())?;
        accepting.spawn_local(accept(listener, Rc::clone(&thread)));
    }
    let stop = Readiness::new(stop.as_fd().try_clone_to_owned()?)?;
    while time::timeout(IDLE_INTERVAL, stop.ready()).await.is_err() {
        thread.tick();
    }
    stopping.send_replace(true);
    // Peers that send faster than we read are cut off.
    let _ = time::timeout(DRAIN_MAX, accepting.join_all()).await;
    Ok(())
}

async fn accept<S: LineSink + 'static>(listener: Readiness, thread: Rc<Thread<S>>) {
    let mut connections = JoinSet::new();
    let mut stopped = thread.stopped.clone();
    let mut backoff = Backoff::default();
    loop {
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Some(ended) = connections.join_next() => pass_panic_on(ended),
            accepted = listener.read(accept_one) => {
                match accepted.and_then(|socket| thread.connect(socket)) {
                    Ok(connection) => {
                        backoff.worked();
                        connections.spawn_local(read(connection, Rc::clone(&thread)));
                    }
                    Err(error) => {
                        thread.accept_failed(&error);
                        time::sleep(backoff.failed()).await;
                    }
                }
            }
        }
    }
    for _ in 0..BACKLOG {
        let accepted = accept_one(listener.as_fd());
        let Ok(connection) = accepted.and_then(|socket| thread.connect(socket)) else {
            break;
        };
        connections.spawn_local(read(connection, Rc::clone(&thread)));
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        pass_panic_on(ended);
    }
}

fn accept_one(listener: BorrowedFd<'_>) -> io::Result<Socket> {
    let (socket, _peer) = SockRef::from(&listener).accept()?;
    Ok(socket)
}

async fn read<S: LineSink>(connection: Connection, thread: Rc<Thread<S>>) {
    let mut lines = Lines::new(thread.options.line_bytes_max);
    let mut stopped = thread.stopped.clone();
    loop {
        let outcome = {
            let mut read = pin!(connection.read(|bytes| thread.take(bytes, &mut lines)));
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => {
                    connection.end();
                    read.await
                }
                outcome = &mut read => outcome,
            }
        };
        match outcome {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return,
            Err(_) => return thread.read_failed(&lines),
        }
    }
}

fn pass_panic_on(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

impl<S: LineSink> Thread<S> {
    fn connect(&self, socket: Socket) -> io::Result<Connection> {
        let connection = Connection::new(socket, self.backend, &self.buffer)?;
        self.is_busy.set(true);
        self.sink.borrow_mut().event(StreamEvent::Connected);
        Ok(connection)
    }

    fn accept_failed(&self, error: &io::Error) {
        let mut sink = self.sink.borrow_mut();
        sink.event(StreamEvent::AcceptFailed);
        sink.error(error);
    }

    /// Takes what a read brought; nothing is the end of the stream. Says
    /// whether to read on.
    fn take(&self, bytes: &[u8], lines: &mut Lines) -> ControlFlow<()> {
        if bytes.is_empty() {
            self.take_rest(lines);
            return ControlFlow::Break(());
        }
        let fed = self.batch(|sink| lines.feed(bytes, |line| sink.line(line)));
        match fed {
            Ok(()) => ControlFlow::Continue(()),
            Err(TooLong) => {
                self.sink.borrow_mut().event(StreamEvent::LineTooLong);
                ControlFlow::Break(())
            }
        }
    }

    /// An error behind an unfinished line is not reported: as for the
    /// reference, the line is taken and the stream has ended.
    fn read_failed(&self, lines: &Lines) {
        if !self.take_rest(lines) {
            self.sink.borrow_mut().event(StreamEvent::ReadFailed);
        }
    }

    /// Takes the line that lacks its newline, if there is one, and says whether
    /// there was. After a stop it is the beginning of a line, and dropped.
    fn take_rest(&self, lines: &Lines) -> bool {
        let rest = lines.rest();
        if let Some(line) = rest
            && !self.stop.is_raised()
        {
            self.batch(|sink| sink.line(line));
        }
        rest.is_some()
    }

    fn batch<T>(&self, deliver: impl FnOnce(&mut S) -> T) -> T {
        self.is_busy.set(true);
        let mut sink = self.sink.borrow_mut();
        sink.batch_start();
        let outcome = deliver(&mut sink);
        sink.batch_end();
        outcome
    }

    /// Another second has passed.
    fn tick(&self) {
        if !self.is_busy.replace(false) {
            self.sink.borrow_mut().idle();
        }
    }
}

#[cfg(test)]
mod tests;
