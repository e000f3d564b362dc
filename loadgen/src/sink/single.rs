//! One datagram a system call, for comparison.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::time::Duration;

use pitot::receive::{Sink, Stop};

/// How often a stop is looked for while nothing comes.
const LOOK: Duration = Duration::from_millis(100);

/// Room for the largest datagram of UDP.
const BUFFER_BYTES: usize = 65_536;

/// Reads by `recv` until `stop` is raised and the socket is empty.
pub(super) fn blocking(socket: &UdpSocket, stop: &Stop, sink: &mut impl Sink) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    socket.set_read_timeout(Some(LOOK))?;
    while !stop.is_raised() {
        match socket.recv(&mut buffer) {
            Err(error) if is_empty(&error) => {}
            received => take(received.map(|len| &buffer[..len]), sink),
        }
    }
    drain(socket, &mut buffer, sink)
}

/// Reads by the tokio-uring crate until `stop` is raised and the socket is
/// empty.
pub(super) fn tokio_uring(socket: &UdpSocket, stop: &Stop, sink: &mut impl Sink) -> io::Result<()> {
    let runtime = tokio_uring::Runtime::new(&tokio_uring::builder())?;
    let spare = Cell::new(vec![0; BUFFER_BYTES]);
    let uring = tokio_uring::net::UdpSocket::from_std(socket.try_clone()?);
    runtime.block_on(async {
        let stopped = async {
            while !stop.is_raised() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let receiving = async {
            loop {
                let (received, filled) = uring.recv_from(spare.take()).await;
                take(received.map(|(len, _)| &filled[..len]), sink);
                spare.set(filled);
            }
        };
        tokio::select! {
            () = stopped => {}
            () = receiving => {}
        }
    });
    // The read that is under way is cancelled with its runtime.
    drop((uring, runtime));
    drain(socket, &mut vec![0; BUFFER_BYTES], sink)
}

fn take(received: io::Result<&[u8]>, sink: &mut impl Sink) {
    sink.batch_start();
    match received {
        Ok(payload) => sink.datagram(payload),
        Err(error) => sink.error(&error),
    }
    sink.batch_end();
}

/// Reads what is there.
fn drain(socket: &UdpSocket, buffer: &mut [u8], sink: &mut impl Sink) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    loop {
        match socket.recv(buffer) {
            Err(error) if is_empty(&error) => return Ok(()),
            received => take(received.map(|len| &buffer[..len]), sink),
        }
    }
}

fn is_empty(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
