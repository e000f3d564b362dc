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

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::register::Restriction;
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
    /// All buffers were full; the next call goes on.
    OutOfBuffers,
    /// Receiving failed; the next wait arms it again.
    Failed(io::Error),
}

/// What the kernel offers beyond the multishot receive itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// `DEFER_TASKRUN` (Linux 6.1): completions are made only when we ask for
    /// them. Otherwise at any system call (`COOP_TASKRUN`).
    pub deferred: bool,
    /// The minimum wait (Linux 6.12): a wait can rest first.
    pub min_wait: bool,
    /// The ring takes no other operations than those needed here.
    pub restricted: bool,
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = if self.deferred {
            "deferred"
        } else {
            "cooperative"
        };
        write!(f, "{tasks} task work")?;
        for (is_there, name) in [
            (self.min_wait, "minimum wait"),
            (self.restricted, "restricted operations"),
        ] {
            if is_there {
                write!(f, ", {name}")?;
            }
        }
        Ok(())
    }
}

/// When the kernel does what is to be done on our thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TaskWork {
    Deferred,
    Cooperative,
}

impl TaskWork {
    /// A ring that is still disabled.
    fn build(self, completions: u32) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_taskrun_flag()
            .setup_r_disabled()
            .setup_cqsize(completions);
        match self {
            TaskWork::Deferred => builder.setup_defer_taskrun(),
            TaskWork::Cooperative => builder.setup_coop_taskrun(),
        };
        builder.build(SUBMISSIONS_MAX)
    }
}

/// Lets a disabled ring take nothing but the operations of this file, so that
/// it is of no use to anybody who should get hold of it.
fn restrict(ring: &IoUring) -> io::Result<()> {
    let mut allowed = [
        Restriction::sqe_op(opcode::RecvMsgMulti::CODE),
        Restriction::sqe_op(opcode::PollAdd::CODE),
        Restriction::sqe_op(opcode::AsyncCancel::CODE),
        Restriction::sqe_flags_allowed(squeue::Flags::BUFFER_SELECT.bits()),
    ];
    ring.submitter().register_restrictions(&mut allowed)
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
    features: Features,
    /// `SINGLE_ISSUER` ties the ring to its thread.
    not_send: PhantomData<*const ()>,
}

impl<'s> MultishotRecv<'s> {
    /// Sets up a ring with `buffers` buffers, a power of two, to receive from
    /// `socket`, which must be in blocking mode. A wait ends when one of
    /// `watched` becomes readable.
    ///
    /// Takes the best that the kernel has, see [`Features`]. Fails where it
    /// forbids io_uring (`EPERM`, `ENOSYS`), is older than 6.0 (`EINVAL`), or
    /// lacks memory. Whether it knows multishot receives shows only when the
    /// first one completes.
    pub fn new(
        socket: BorrowedFd<'s>,
        watched: [BorrowedFd<'s>; WATCHED],
        buffers: u16,
    ) -> io::Result<MultishotRecv<'s>> {
        match MultishotRecv::with(TaskWork::Deferred, socket, watched, buffers) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                MultishotRecv::with(TaskWork::Cooperative, socket, watched, buffers)
            }
            outcome => outcome,
        }
    }

    fn with(
        task_work: TaskWork,
        socket: BorrowedFd<'s>,
        watched: [BorrowedFd<'s>; WATCHED],
        buffers: u16,
    ) -> io::Result<MultishotRecv<'s>> {
        let ring = task_work.build(completions_max(buffers))?;
        let buffers = ManuallyDrop::new(BufRing::new(buffers)?);
        // SAFETY: all zeros are a valid `msghdr`: no name, no control data.
        let header = Box::new(unsafe { std::mem::zeroed() });
        let min_wait = ring.params().is_feature_min_timeout();
        let mut receive = MultishotRecv {
            ring,
            buffers,
            header,
            is_armed: false,
            socket,
            watched,
            is_polled: [false; _],
            features: Features {
                deferred: task_work == TaskWork::Deferred,
                // Cooperative task work would wake us for each datagram.
                min_wait: min_wait && task_work == TaskWork::Deferred,
                restricted: false,
            },
            not_send: PhantomData,
        };
        // SAFETY: only the receive selects buffers of the group, and `drop`
        // frees them only when it has ended.
        unsafe { receive.buffers.register(&receive.ring.submitter(), GROUP)? };
        receive.features.restricted = restrict(&receive.ring).is_ok();
        receive.ring.submitter().register_enable_rings()?;
        Ok(receive)
    }

    /// What the ring can do.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Whether the kernel has lost completions, and with them datagrams and
    /// buffers. It does so only if it has no memory to keep what does not fit
    /// into the queue, where everything fits.
    pub fn has_lost_completions(&mut self) -> bool {
        self.ring.completion().overflow() > 0
    }

    /// Rests for `rest`, if there is a minimum wait, then waits until
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
                (errno, _) if -errno == libc::ENOBUFS => visit(Event::OutOfBuffers),
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
    matches!(errno, libc::ECANCELED | libc::EINTR)
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
