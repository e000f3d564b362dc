//! One connection, read through io_uring or through epoll.
//!
//! The two differ in who owns the memory. io_uring writes into a buffer while
//! nobody looks, so each connection lends one of its own to the kernel; epoll
//! says when to read, so all connections of a thread share one. Everything
//! else, in `stream`, is the same for both.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use socket2::{SockRef, Socket};

use super::probe::Backend;
use crate::sys::readiness::Readiness;

/// What one read brings at most.
const READ_BYTES_MAX: usize = 64 * 1024;

/// The read buffer that connections of one thread share.
pub(super) type Shared = Rc<RefCell<Box<[u8]>>>;

/// A new buffer to share.
pub(super) fn shared_buffer() -> Shared {
    Rc::new(RefCell::new(vec![0; READ_BYTES_MAX].into()))
}

/// An accepted connection, TCP or Unix. Dropping it closes it.
pub(super) enum Connection {
    /// Read by tokio-uring.
    Uring {
        /// `read` does not care which family the socket is of.
        stream: tokio_uring::net::TcpStream,
        /// Away while a read is under way. Its pages become resident only as
        /// far as a read filled them.
        buffer: Cell<Vec<u8>>,
    },
    /// Read when epoll says so.
    Polled { socket: Readiness, buffer: Shared },
}

impl Connection {
    /// Prepares an accepted socket for `backend`, whose runtime must be the
    /// current one.
    pub(super) fn new(socket: Socket, backend: Backend, shared: &Shared) -> io::Result<Connection> {
        match backend {
            Backend::IoUring => {
                let stream = TcpStream::from(OwnedFd::from(socket));
                Ok(Connection::Uring {
                    stream: tokio_uring::net::TcpStream::from_std(stream),
                    buffer: Cell::new(Vec::with_capacity(READ_BYTES_MAX)),
                })
            }
            Backend::Recvmmsg => {
                socket.set_nonblocking(true)?;
                Ok(Connection::Polled {
                    socket: Readiness::new(socket.into())?,
                    buffer: Rc::clone(shared),
                })
            }
        }
    }

    /// Waits for bytes and lends them to `visit`; none is the end of the
    /// stream. Must be awaited to its end, or bytes are lost.
    pub(super) async fn read<T>(&self, visit: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        match self {
            Connection::Uring { stream, buffer } => {
                let (outcome, filled) = stream.read(buffer.take()).await;
                let outcome = outcome.map(|len| visit(&filled[..len]));
                buffer.set(filled);
                outcome
            }
            Connection::Polled { socket, buffer } => {
                let len = socket
                    .read(|socket| (&*SockRef::from(&socket)).read(&mut buffer.borrow_mut()))
                    .await?;
                Ok(visit(&buffer.borrow()[..len]))
            }
        }
    }

    /// Makes the stream end behind what has already arrived.
    pub(super) fn end(&self) {
        // It fails only if the connection is gone, and then reading ends too.
        let _ = match self {
            Connection::Uring { stream, .. } => stream.shutdown(Shutdown::Read),
            Connection::Polled { socket, .. } => SockRef::from(socket).shutdown(Shutdown::Read),
        };
    }
}
