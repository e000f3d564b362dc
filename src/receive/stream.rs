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
use std::future::pending;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, Socket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet, LocalSet};
use tokio::time;

use super::backoff::Backoff;
use super::connection::{self, Connection};
use super::lines::{Framed, Lines, LongLines};
use super::probe::Backend;
use super::socket::BACKLOG;
use super::{DRAIN_MAX, IDLE_INTERVAL, IDLE_INTERVAL_LONG, LineSink, Stop, StreamEvent};
use crate::sys::readiness::Readiness;

/// How connections are read.
#[derive(Clone, Debug)]
pub struct Options {
    /// What a line may have at most, its newline included.
    pub line_bytes_max: usize,
    /// What a longer one does.
    pub long_lines: LongLines,
    /// How long nothing may come over a connection before it is closed.
    pub idle_max: Option<Duration>,
    /// A permit for each connection that there may be at once; threads share
    /// them.
    pub places: Arc<Semaphore>,
}

impl Default for Options {
    /// The line cap of the reference; no other limits, as it has none.
    fn default() -> Options {
        Options {
            line_bytes_max: 4096,
            long_lines: LongLines::End,
            idle_max: None,
            places: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
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

/// A connection and its place among those that there may be.
struct Placed {
    connection: Connection,
    _place: OwnedSemaphorePermit,
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
    let mut patience = IDLE_INTERVAL;
    while time::timeout(patience, stop.ready()).await.is_err() {
        patience = match thread.tick() {
            true => IDLE_INTERVAL,
            false => IDLE_INTERVAL_LONG,
        };
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
                        let reading = connection.map(|it| read(it, Rc::clone(&thread)));
                        reading.map(|reading| connections.spawn_local(reading));
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
        let reading = connection.map(|it| read(it, Rc::clone(&thread)));
        reading.map(|reading| connections.spawn_local(reading));
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

async fn read<S: LineSink>(connection: Placed, thread: Rc<Thread<S>>) {
    let Placed { connection, .. } = &connection;
    let options = &thread.options;
    let mut lines = Lines::new(options.line_bytes_max, options.long_lines);
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
                () = sleep_for(options.idle_max) => {
                    thread.sink.borrow_mut().event(StreamEvent::Idle);
                    connection.end();
                    read.await
                }
            }
        };
        match outcome {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return,
            Err(_) => return thread.read_failed(&lines),
        }
    }
}

/// Sleeps, without a time for ever.
async fn sleep_for(time: Option<Duration>) {
    match time {
        Some(time) => time::sleep(time).await,
        None => pending().await,
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
    /// Gives an accepted socket a place, or closes it if there is none.
    fn connect(&self, socket: Socket) -> io::Result<Option<Placed>> {
        self.is_busy.set(true);
        let Ok(place) = Arc::clone(&self.options.places).try_acquire_owned() else {
            self.sink.borrow_mut().event(StreamEvent::Refused);
            return Ok(None);
        };
        let connection = Connection::new(socket, self.backend, &self.buffer)?;
        self.sink.borrow_mut().event(StreamEvent::Connected);
        Ok(Some(Placed {
            connection,
            _place: place,
        }))
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
        self.batch(|sink| {
            lines.feed(bytes, |framed| match framed {
                Framed::Line(line) => sink.line(line),
                Framed::TooLong => sink.event(StreamEvent::LineTooLong),
            })
        })
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

    /// Some time has passed; says whether anything had come in it.
    fn tick(&self) -> bool {
        let was_busy = self.is_busy.replace(false);
        if !was_busy {
            self.sink.borrow_mut().idle();
        }
        was_busy
    }
}

#[cfg(test)]
mod tests;
