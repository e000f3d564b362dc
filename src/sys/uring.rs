//! Multishot `recvmsg` on io_uring: armed once, it completes for every datagram
//! until it runs out of buffers or fails.
//!
//! The recipe is that of liburing's `examples/io_uring-udp.c`, with one change:
//! buffers go back to the kernel once per batch. Facts it rests on:
//!
//! - A completion without `IORING_CQE_F_MORE` ends the receive; it is armed
//!   again with the next wait. That happens when buffers run out (`ENOBUFS`,
//!   ordinary; buffers must be given back before arming anew, see liburing
//!   issue 1275), with an empty datagram, and with an error.
//! - With `DEFER_TASKRUN` the kernel copies datagrams only inside our own
//!   system calls, some 32 completions in each, and interrupts nobody. So one
//!   call both waits and delivers, and there is more to come until it blocks.
//! - The completion queue has room for every buffer and every other
//!   completion at once (see `completions_max`), so it cannot overflow.
//!   Should it, the kernel keeps the surplus and the next call fetches it.
#![allow(unsafe_code, reason = "operations name memory to the kernel")]

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::types::{Fd, RecvMsgOut, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::Datagram;
use super::buf_ring::BufRing;
use super::event::Stop;

/// The only buffer group of a ring.
const GROUP: u16 = 0;

/// What a completion answers (its user data).
const RECEIVE: u64 = 0;
const STOP: u64 = 1;
const CANCEL: u64 = 2;

/// Entries of the submission queue: one for each of the above and one more
/// cancellation.
const SUBMISSIONS_MAX: u32 = 4;

/// How long and how often `finish` waits for a cancelled receive to end. It
/// ends within the first call unless the kernel is broken.
const CANCEL_WAIT: Duration = Duration::from_millis(100);
const CANCEL_WAITS_MAX: usize = 20;

/// What a visit finds.
#[derive(Debug)]
pub enum Event<'a> {
    /// A datagram.
    Datagram(Datagram<'a>),
    /// Receiving failed; the next wait arms it again.
    Failed(io::Error),
}

/// A multishot receive on one socket, with its buffers. It belongs to the
/// thread that made it: the kernel refuses every other one.
pub struct MultishotRecv<'s> {
    ring: IoUring,
    /// Lent to the kernel while `is_armed`; freed only after that, which is
    /// why dropping it is done by hand.
    buffers: ManuallyDrop<BufRing>,
    /// Says that we want neither address nor control data. The kernel reads it
    /// while a receive is submitted.
    header: Box<libc::msghdr>,
    /// A receive is with the kernel (or in the submission queue) and may fill
    /// buffers. False after its last completion.
    is_armed: bool,
    /// Stays open while operations on it are submitted.
    socket: BorrowedFd<'s>,
    /// `DEFER_TASKRUN` ties the ring to its thread.
    not_send: PhantomData<*const ()>,
}

impl<'s> MultishotRecv<'s> {
    /// Sets up a ring with `buffers` buffers, a power of two, to receive from
    /// `socket`, which must be in blocking mode. Raising `stop` ends any wait.
    ///
    /// Fails where the kernel forbids io_uring (`EPERM`, `ENOSYS`), is older
    /// than 6.1 (`EINVAL`), or lacks memory. Whether the kernel knows multishot
    /// receives shows only when the first one completes.
    pub fn new(
        socket: BorrowedFd<'s>,
        stop: &'s Stop,
        buffers: u16,
    ) -> io::Result<MultishotRecv<'s>> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(completions_max(buffers))
            .build(SUBMISSIONS_MAX)?;
        let buffers = ManuallyDrop::new(BufRing::new(buffers)?);
        // SAFETY: all zeros are a valid `msghdr`: no name, no control data.
        let header = Box::new(unsafe { std::mem::zeroed() });
        let mut receive = MultishotRecv {
            ring,
            buffers,
            header,
            is_armed: false,
            socket,
            not_send: PhantomData,
        };
        // SAFETY: only the receive selects buffers of the group, and `drop`
        // frees them only when it has ended.
        unsafe { receive.buffers.register(&receive.ring.submitter(), GROUP)? };
        let watch = opcode::PollAdd::new(Fd(stop.as_fd().as_raw_fd()), libc::POLLIN as u32);
        receive.push(&watch.build().user_data(STOP));
        Ok(receive)
    }

    /// Waits until there is something to visit, at most for `timeout`, and says
    /// whether there is. It may be false early: after a signal handler.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<bool> {
        if !self.is_armed {
            self.arm();
        }
        self.enter(timeout)?;
        Ok(!self.ring.completion().is_empty())
    }

    /// Visits what the last wait brought, in the order of arrival, and gives
    /// the buffers back.
    pub fn visit(&mut self, mut visit: impl FnMut(Event<'_>)) {
        for completion in self.ring.completion() {
            if completion.user_data() != RECEIVE {
                continue;
            }
            let (result, flags) = (completion.result(), completion.flags());
            if !cqueue::more(flags) {
                self.is_armed = false;
            }
            let buffer = cqueue::buffer_select(flags);
            match (result, buffer) {
                (0.., Some(id)) => {
                    // SAFETY: this completion reports the buffer, and it is
                    // given back only below.
                    let filled = unsafe { self.buffers.filled(id, result as usize) };
                    visit(event(filled, &self.header));
                }
                (errno, _) if is_ordinary(-errno) => {}
                (errno, _) => visit(Event::Failed(io::Error::from_raw_os_error(-errno))),
            }
            if let Some(id) = buffer {
                self.buffers.give_back(id);
            }
        }
        self.buffers.publish();
    }

    /// Ends the receive and visits what it had already taken from the socket;
    /// merely dropping `self` would lose that. Says whether the receive ended;
    /// if not, the kernel has not kept its contract.
    pub fn finish(&mut self, mut visit: impl FnMut(Event<'_>)) -> bool {
        if self.is_armed {
            self.push(&opcode::AsyncCancel::new(RECEIVE).build().user_data(CANCEL));
        }
        for _ in 0..CANCEL_WAITS_MAX {
            if !self.is_armed {
                break;
            }
            // An error here is met again by the next round or ends the rounds.
            let _ = self.enter(CANCEL_WAIT);
            self.visit(&mut visit);
        }
        !self.is_armed
    }

    fn arm(&mut self) {
        let header: *const libc::msghdr = &raw const *self.header;
        let receive = opcode::RecvMsgMulti::new(Fd(self.socket.as_raw_fd()), header, GROUP);
        self.push(&receive.build().user_data(RECEIVE));
        self.is_armed = true;
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the receive names `header`, boxed and freed after the ring's
        // last system call, and the buffers (see `is_armed`). The other
        // operations name no memory. The descriptors are open: borrowed for as
        // long as `self` lives.
        let pushed = unsafe { self.ring.submission().push(entry) };
        // Every system call empties the queue; between two of them at most one
        // entry of each kind is pushed, and another cancellation by `drop`.
        pushed.expect("the submission queue has room for every entry pushed at once");
    }

    /// Submits what was pushed and waits for a completion. That none came in
    /// time, or that a signal handler ran, is no error.
    fn enter(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec::from(timeout);
        let arguments = SubmitArgs::new().timespec(&timeout);
        match self.ring.submitter().submit_with_args(1, &arguments) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Overflown completions (`EBUSY`) wait for those in the queue
                // to be visited, which is what the caller does next.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY) => Ok(()),
                _ => Err(error),
            },
        }
    }
}

impl Drop for MultishotRecv<'_> {
    fn drop(&mut self) {
        if self.finish(|_| {}) {
            // SAFETY: no receive is with the kernel any more, so nothing writes
            // the buffers; `self` is being dropped, so nothing reads them.
            unsafe { ManuallyDrop::drop(&mut self.buffers) };
        }
        // Otherwise the buffers are leaked, which is better than a kernel that
        // writes into memory given to somebody else.
    }
}

impl fmt::Debug for MultishotRecv<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultishotRecv")
            .field("buffers", &self.buffers)
            .field("is_armed", &self.is_armed)
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// The most completions that can be pending: a datagram in every buffer, the
/// end of the receive, and the answers to the other two operations; rounded up
/// to the power of two that the kernel would choose anyway.
fn completions_max(buffers: u16) -> u32 {
    (u32::from(buffers) + 3)
        .max(2 * SUBMISSIONS_MAX)
        .next_power_of_two()
}

/// Errors that say only that the receive has ended and must be armed again.
fn is_ordinary(errno: i32) -> bool {
    matches!(errno, libc::ENOBUFS | libc::ECANCELED | libc::EINTR)
}

/// Reads a filled buffer: a header that says the lengths, then the payload.
fn event<'a>(filled: &'a [u8], header: &libc::msghdr) -> Event<'a> {
    match RecvMsgOut::parse(filled, header) {
        Ok(message) if message.is_payload_truncated() => Event::Datagram(Datagram::Truncated),
        Ok(message) => {
            // The payload is the end of the buffer; the message would lend it
            // for its own life only.
            let payload = message.payload_data().len();
            Event::Datagram(Datagram::Whole(&filled[filled.len() - payload..]))
        }
        Err(()) => Event::Failed(io::Error::other(
            "io_uring completed a receive without its header",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, UdpSocket};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn pair() -> (UdpSocket, UdpSocket) {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        (sender, receiver)
    }

    /// A receive with `buffers` buffers, or nothing where the kernel has none.
    fn receive<'s>(
        socket: &'s UdpSocket,
        stop: &'s Stop,
        buffers: u16,
    ) -> Option<MultishotRecv<'s>> {
        MultishotRecv::new(socket.as_fd(), stop, buffers)
            .inspect_err(|error| eprintln!("skipped: {error}"))
            .ok()
    }

    fn payload(event: Event<'_>) -> Vec<u8> {
        match event {
            Event::Datagram(Datagram::Whole(payload)) => payload.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn running_out_of_buffers_loses_nothing() {
        let stop = Stop::new().unwrap();
        for buffers in [1, 2, 8] {
            let (sender, socket) = pair();
            let Some(mut receive) = receive(&socket, &stop, buffers) else {
                return;
            };
            // Twice, so that the ring's counters go round; every third one is
            // empty, which ends a receive too.
            for _ in 0..2 {
                let sent: Vec<_> = (0..100u8).map(|n| vec![n; usize::from(n % 3)]).collect();
                for datagram in &sent {
                    sender.send(datagram).unwrap();
                }
                let mut received = Vec::new();
                while received.len() < sent.len() {
                    assert!(receive.wait(PATIENCE).unwrap());
                    receive.visit(|event| received.push(payload(event)));
                }
                assert_eq!(received, sent);
            }
        }
    }

    #[test]
    fn finishing_delivers_what_was_taken_and_leaves_the_rest() {
        let stop = Stop::new().unwrap();
        let (sender, socket) = pair();
        let Some(mut receive) = receive(&socket, &stop, 4) else {
            return;
        };
        assert!(!receive.wait(Duration::ZERO).unwrap());
        for n in 0..10 {
            sender.send(&[n]).unwrap();
        }
        let mut received = Vec::new();
        assert!(receive.finish(|event| received.extend(payload(event))));
        socket.set_nonblocking(true).unwrap();
        let mut byte = [0];
        while socket.recv(&mut byte).is_ok() {
            received.extend(byte);
        }
        assert_eq!(received, Vec::from_iter(0..10));
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let stop = Stop::new().unwrap();
        let (_sender, socket) = pair();
        let Some(mut receive) = receive(&socket, &stop, 4) else {
            return;
        };
        assert!(!receive.wait(Duration::ZERO).unwrap());
        stop.raise();
        assert!(receive.wait(PATIENCE).unwrap());
        receive.visit(|event| panic!("{event:?}"));
    }

    #[test]
    fn room_for_every_completion() {
        assert_eq!(completions_max(1), 8);
        assert_eq!(completions_max(64), 128);
        assert_eq!(completions_max(1 << 15), 1 << 16);
    }
}
