//! Multishot `recvmsg` on io_uring: armed once, it completes for every datagram
//! until it runs out of buffers or fails.
//!
//! The recipe is that of liburing's `examples/io_uring-udp.c`, with one change:
//! buffers go back to the kernel once per batch. Facts it rests on:
//!
//! - A completion without `IORING_CQE_F_MORE` ends the receive; it is armed
//!   again with the next system call. That happens when buffers run out
//!   (`ENOBUFS`, ordinary; buffers must be given back before arming anew, see
//!   liburing issue 1275), with an empty datagram, and with an error.
//! - With `DEFER_TASKRUN` the kernel copies datagrams only inside our own
//!   system calls, some 32 completions in each, and interrupts nobody. That
//!   there may be more to come it says by a flag (`IORING_SQ_TASKRUN`); now and
//!   then, when a datagram comes at that moment, the flag is left standing.
//! - A minimum wait (Linux 6.12) rests and waits in one system call: it sleeps
//!   its time unless as many completions come as are wanted, and then on until
//!   there is one. While it sleeps a receive counts as one, however much has
//!   arrived. So it rests if two are wanted, and what is to end a rest is
//!   polled twice.
//! - The completion queue has room for every buffer and every other
//!   completion at once (see `completions_max`), so it cannot overflow.
//!   Should it, the kernel keeps the surplus and the next call fetches it.
#![allow(unsafe_code, reason = "operations name memory to the kernel")]

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::types::{Fd, RecvMsgOut, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::Datagram;
use super::buf_ring::BufRing;

/// The only buffer group of a ring.
const GROUP: u16 = 0;

/// What a completion answers (its user data). From `WATCH` on, the polls of the
/// watched descriptors.
const RECEIVE: u64 = 0;
const CANCEL: u64 = 1;
const WATCH: u64 = 2;

/// Descriptors that end a wait.
const WATCHED: usize = 2;

/// The completions that end a rest, and so the polls of each of those.
const REST_ENDS: usize = 2;

/// Entries of the submission queue: one for each of the above and one more
/// cancellation, rounded up.
const SUBMISSIONS_MAX: u32 = (3 + WATCHED as u32 * REST_ENDS as u32).next_power_of_two();

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
    /// Becoming readable ends a wait. They stay open likewise.
    watched: [BorrowedFd<'s>; WATCHED],
    /// Which of their polls are with the kernel, and which were completed.
    is_polled: [bool; WATCHED * REST_ENDS],
    /// `DEFER_TASKRUN` ties the ring to its thread.
    not_send: PhantomData<*const ()>,
}

impl<'s> MultishotRecv<'s> {
    /// Sets up a ring with `buffers` buffers, a power of two, to receive from
    /// `socket`, which must be in blocking mode. A wait ends when one of
    /// `watched` becomes readable.
    ///
    /// Fails where the kernel forbids io_uring (`EPERM`, `ENOSYS`), is older
    /// than 6.1 (`EINVAL`), or lacks memory. Whether the kernel knows multishot
    /// receives shows only when the first one completes.
    pub fn new(
        socket: BorrowedFd<'s>,
        watched: [BorrowedFd<'s>; WATCHED],
        buffers: u16,
    ) -> io::Result<MultishotRecv<'s>> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(completions_max(buffers))
            .build(SUBMISSIONS_MAX)?;
        let buffers = ManuallyDrop::new(BufRing::new(buffers)?);
        // SAFETY: all zeros are a valid `msghdr`: no name, no control data.
        let header = Box::new(unsafe { std::mem::zeroed() });
        let receive = MultishotRecv {
            ring,
            buffers,
            header,
            is_armed: false,
            socket,
            watched,
            is_polled: [false; _],
            not_send: PhantomData,
        };
        // SAFETY: only the receive selects buffers of the group, and `drop`
        // frees them only when it has ended.
        unsafe { receive.buffers.register(&receive.ring.submitter(), GROUP)? };
        Ok(receive)
    }

    /// Whether [`MultishotRecv::wait`] can rest.
    pub fn can_rest(&self) -> bool {
        self.ring.params().is_feature_min_timeout()
    }

    /// Rests for `rest`, if it [can](MultishotRecv::can_rest), then waits until
    /// there is something to visit, at most for `timeout` in all. Watched
    /// descriptors end both. Says whether anything came, be it from one of
    /// those, possibly once more after it was cleared; it may be false early,
    /// after a signal handler.
    pub fn wait(&mut self, rest: Duration, timeout: Duration) -> io::Result<bool> {
        self.arm();
        if self.watch() {
            // One that is readable already would not end the rest.
            entered(self.ring.submit())?;
            if self.has_come() {
                return Ok(true);
            }
        }
        let want = if rest.is_zero() { 1 } else { REST_ENDS };
        let timeout = Timespec::from(timeout);
        let arguments = SubmitArgs::new()
            .min_wait_usec(rest.as_micros().try_into().unwrap_or(u32::MAX))
            .timespec(&timeout);
        let outcome = self.ring.submitter().submit_with_args(want, &arguments);
        entered(outcome)?;
        Ok(self.has_come())
    }

    /// Whether there is something to visit.
    pub fn has_come(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// Whether the kernel may have more to visit at once, without a wait. If so
    /// and a fetch brings nothing, then it had not.
    pub fn has_more(&mut self) -> bool {
        !self.is_armed || self.has_come() || self.ring.submission().taskrun()
    }

    /// Lets the kernel deliver what it has, and does not wait.
    pub fn fetch(&mut self) -> io::Result<()> {
        self.arm();
        entered(self.ring.submit())
    }

    /// Visits what a wait or fetch brought, in the order of arrival, and gives
    /// the buffers back.
    pub fn visit(&mut self, mut visit: impl FnMut(Event<'_>)) {
        for completion in self.ring.completion() {
            match completion.user_data() {
                RECEIVE => {}
                CANCEL => continue,
                poll => {
                    self.is_polled[(poll - WATCH) as usize] = false;
                    continue;
                }
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
            let timeout = Timespec::from(CANCEL_WAIT);
            let arguments = SubmitArgs::new().timespec(&timeout);
            let _ = self.ring.submitter().submit_with_args(1, &arguments);
            self.visit(&mut visit);
        }
        !self.is_armed
    }

    fn arm(&mut self) {
        if self.is_armed {
            return;
        }
        let header: *const libc::msghdr = &raw const *self.header;
        let receive = opcode::RecvMsgMulti::new(Fd(self.socket.as_raw_fd()), header, GROUP);
        self.push(&receive.build().user_data(RECEIVE));
        self.is_armed = true;
    }

    /// Polls again what was polled to the end; says whether there was any.
    fn watch(&mut self) -> bool {
        let mut is_any_new = false;
        for poll in 0..self.is_polled.len() {
            if std::mem::replace(&mut self.is_polled[poll], true) {
                continue;
            }
            is_any_new = true;
            let descriptor = Fd(self.watched[poll / REST_ENDS].as_raw_fd());
            let entry = opcode::PollAdd::new(descriptor, libc::POLLIN as u32);
            self.push(&entry.build().user_data(WATCH + poll as u64));
        }
        is_any_new
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
/// end of the receive, and the answers to the other operations; rounded up to
/// the power of two that the kernel would choose anyway.
fn completions_max(buffers: u16) -> u32 {
    (u32::from(buffers) + SUBMISSIONS_MAX).next_power_of_two()
}

/// Reads the outcome of a system call that submits and waits. That nothing came
/// in time, or that a signal handler ran, is no error.
fn entered(outcome: io::Result<usize>) -> io::Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            // Overflown completions (`EBUSY`) wait for those in the queue to be
            // visited, which is what the caller does next.
            Some(libc::ETIME | libc::EINTR | libc::EBUSY) => Ok(()),
            _ => Err(error),
        },
    }
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
    use std::os::fd::AsFd;

    use crate::sys::event::Event as Waker;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn pair() -> (UdpSocket, UdpSocket) {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        (sender, receiver)
    }

    fn wakers() -> [Waker; WATCHED] {
        std::array::from_fn(|_| Waker::new().unwrap())
    }

    /// A receive with `buffers` buffers, or nothing where the kernel has none.
    fn receive<'s>(
        socket: &'s UdpSocket,
        wakers: &'s [Waker; WATCHED],
        buffers: u16,
    ) -> Option<MultishotRecv<'s>> {
        MultishotRecv::new(socket.as_fd(), wakers.each_ref().map(AsFd::as_fd), buffers)
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
        let wakers = wakers();
        for buffers in [1, 2, 8] {
            let (sender, socket) = pair();
            let Some(mut receive) = receive(&socket, &wakers, buffers) else {
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
                    assert!(receive.wait(Duration::ZERO, PATIENCE).unwrap());
                    receive.visit(|event| received.push(payload(event)));
                }
                assert_eq!(received, sent);
            }
        }
    }

    #[test]
    fn finishing_delivers_what_was_taken_and_leaves_the_rest() {
        let wakers = wakers();
        let (sender, socket) = pair();
        let Some(mut receive) = receive(&socket, &wakers, 4) else {
            return;
        };
        assert!(!receive.wait(Duration::ZERO, Duration::ZERO).unwrap());
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

    /// Takes the late answers of polls.
    fn quiet(receive: &mut MultishotRecv<'_>) {
        while receive.wait(Duration::ZERO, Duration::ZERO).unwrap() {
            receive.visit(|event| panic!("{event:?}"));
        }
    }

    #[test]
    fn a_watched_descriptor_ends_rest_and_wait_again_and_again() {
        let wakers = wakers();
        let (_sender, socket) = pair();
        let Some(mut receive) = receive(&socket, &wakers, 4) else {
            return;
        };
        let mut rests = vec![Duration::ZERO];
        rests.extend(receive.can_rest().then_some(10 * PATIENCE));
        for rest in rests {
            for waker in wakers.iter().chain(&wakers) {
                quiet(&mut receive);
                waker.set();
                assert!(receive.wait(rest, 20 * PATIENCE).unwrap());
                receive.visit(|event| panic!("{event:?}"));
                waker.clear();
                quiet(&mut receive);
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        // Whether it rests by then or not, the rest must end.
                        std::thread::sleep(Duration::from_millis(20));
                        waker.set();
                    });
                    assert!(receive.wait(rest, 20 * PATIENCE).unwrap());
                });
                receive.visit(|event| panic!("{event:?}"));
                waker.clear();
            }
        }
    }

    #[test]
    fn a_rest_lets_datagrams_gather() {
        let wakers = wakers();
        let (sender, socket) = pair();
        let Some(mut receive) = receive(&socket, &wakers, 64).filter(MultishotRecv::can_rest)
        else {
            return;
        };
        let sending = std::thread::spawn(move || {
            for n in 0..40 {
                sender.send(&[n]).unwrap();
            }
        });
        let mut received = Vec::new();
        assert!(receive.wait(Duration::from_millis(300), PATIENCE).unwrap());
        sending.join().unwrap();
        receive.visit(|event| received.extend(payload(event)));
        while receive.has_more() && received.len() < 40 {
            receive.fetch().unwrap();
            receive.visit(|event| received.extend(payload(event)));
        }
        assert_eq!(received, Vec::from_iter(0..40));
    }

    #[test]
    fn room_for_every_completion() {
        assert_eq!(completions_max(1), 16);
        assert_eq!(completions_max(64), 128);
        assert_eq!(completions_max(1 << 15), 1 << 16);
    }
}
