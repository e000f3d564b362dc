//! Events that wake who is blocked in the kernel, and the stop signal.
//!
//! A receiver sleeps in `poll` or in an io_uring wait, where no Rust channel
//! reaches it. An eventfd does: every wait of ours includes those that matter.
#![allow(unsafe_code, reason = "eventfd has no safe wrapper in std")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::poll;

/// A descriptor that is readable from the time it is set until it is cleared.
#[derive(Debug)]
pub struct Event(File);

impl Event {
    /// An event that is not set. Fails only for want of descriptors or memory.
    pub fn new() -> io::Result<Event> {
        // SAFETY: eventfd takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above made this descriptor and nobody else knows it.
        Ok(Event(unsafe { File::from_raw_fd(fd) }))
    }

    /// Sets it and wakes who waits for it.
    pub fn set(&self) {
        // It fails only if it was set 2⁶⁴ times and never cleared.
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }

    /// Clears it.
    pub fn clear(&self) {
        // It fails only if it is not set.
        let _ = (&self.0).read(&mut [0; size_of::<u64>()]);
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Tells threads to stop. Clones share one signal.
#[derive(Clone, Debug)]
pub struct Stop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What [`Stop::is_raised`] answers without a system call. Set before the
    /// event is, so a thread that the event woke finds it set.
    raised: AtomicBool,
    /// Never cleared, so it wakes any number of threads, also those that begin
    /// to wait later.
    event: Event,
}

impl Stop {
    /// A signal that is not raised. Fails only for want of descriptors or
    /// memory.
    pub fn new() -> io::Result<Stop> {
        let raised = AtomicBool::new(false);
        let event = Event::new()?;
        Ok(Stop(Arc::new(Inner { raised, event })))
    }

    /// Raises the signal, for good.
    pub fn raise(&self) {
        if !self.0.raised.swap(true, Ordering::SeqCst) {
            self.0.event.set();
        }
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        self.0.raised.load(Ordering::SeqCst)
    }

    /// Sleeps for `timeout` or until the signal is raised, whichever is first.
    pub fn wait(&self, timeout: Duration) {
        // A signal handler may cut the sleep short; nobody counts on its length.
        let _ = poll::readable([self.as_fd()], timeout);
    }
}

/// The descriptor that becomes readable when the signal is raised.
impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_readable_until_it_is_cleared() {
        let event = Event::new().unwrap();
        let is_set = || poll::readable([event.as_fd()], Duration::ZERO).unwrap() == [true];
        event.clear();
        assert!(!is_set());
        event.set();
        event.set();
        assert!(is_set());
        event.clear();
        assert!(!is_set());
    }

    #[test]
    fn a_raised_signal_wakes_every_clone_and_stays_raised() {
        let stop = Stop::new().unwrap();
        assert!(!stop.is_raised());
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let stop = stop.clone();
                std::thread::spawn(move || stop.wait(Duration::from_secs(60)))
            })
            .collect();
        stop.raise();
        stop.raise();
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert!(stop.is_raised());
        stop.wait(Duration::from_secs(60));
    }
}
