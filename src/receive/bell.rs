//! The bell: whoever is about to look at the numbers asks a receiver to deliver
//! what has arrived, now, and waits until it did. So nobody sees that receivers
//! let datagrams gather.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::sys::event::Event;

/// The bell of one receiver. Clones share it.
#[derive(Clone, Debug)]
pub struct Bell(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// How often it was rung. Written only under the lock of `answered`.
    rings: AtomicU64,
    /// Set, outside of that lock, exactly if there is a ring without an answer.
    event: Event,
    /// The last ring that was answered; all earlier ones are too.
    answered: Mutex<u64>,
    answering: Condvar,
}

/// What [`Bell::wait`] waits for an answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring(u64);

// === What others do ===

impl Bell {
    /// A bell that was not rung. Fails only for want of descriptors or memory.
    pub fn new() -> io::Result<Bell> {
        Ok(Bell(Arc::new(Inner {
            rings: AtomicU64::new(0),
            event: Event::new()?,
            answered: Mutex::new(0),
            answering: Condvar::new(),
        })))
    }

    /// Rings it, and does not wait.
    pub fn ring(&self) -> Ring {
        let _lock = self.answered();
        let ring = self.0.rings.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.event.set();
        Ring(ring)
    }

    /// Waits until everything that had arrived before `ring` was delivered, or
    /// the receiver has ended, or until `deadline`. Says whether it was.
    pub fn wait(&self, ring: Ring, deadline: Instant) -> bool {
        let mut answered = self.answered();
        while *answered < ring.0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.0.answering.wait_timeout(answered, left);
            answered = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn answered(&self) -> MutexGuard<'_, u64> {
        let answered = self.0.answered.lock();
        answered.unwrap_or_else(PoisonError::into_inner)
    }
}

// === What its receiver does ===

/// The receiver's end of a bell. Dropping it answers every ring to come.
#[derive(Debug)]
pub(super) struct Listener<'b> {
    bell: &'b Bell,
    answered: u64,
}

impl<'b> Listener<'b> {
    pub(super) fn new(bell: &'b Bell) -> Listener<'b> {
        Listener { bell, answered: 0 }
    }

    /// The ring to answer, if there is one; to be asked before the socket is
    /// emptied. Costs one load if there is none.
    pub(super) fn heard(&self) -> Option<Ring> {
        let ring = self.bell.0.rings.load(Ordering::SeqCst);
        (ring != self.answered).then_some(Ring(ring))
    }

    /// All that had arrived before `ring` has been delivered.
    pub(super) fn answer(&mut self, ring: Ring) {
        self.answered = ring.0;
        let Inner { rings, event, .. } = &*self.bell.0;
        let mut answered = self.bell.answered();
        *answered = ring.0;
        if rings.load(Ordering::SeqCst) <= ring.0 {
            event.clear();
        }
        self.bell.0.answering.notify_all();
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        self.answer(Ring(u64::MAX));
    }
}

/// The descriptor that becomes readable when it is rung.
impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn is_readable(bell: &Bell) -> bool {
        poll::readable([bell.as_fd()], Duration::ZERO).unwrap() == [true]
    }

    #[test]
    fn it_is_readable_until_the_last_ring_is_answered() {
        let bell = Bell::new().unwrap();
        let mut listener = Listener::new(&bell);
        assert_eq!(listener.heard(), None);
        let first = bell.ring();
        let heard = listener.heard().unwrap();
        let second = bell.ring();
        listener.answer(heard);
        assert!(bell.wait(first, Instant::now()) && !bell.wait(second, Instant::now()));
        assert!(is_readable(&bell));
        listener.answer(listener.heard().unwrap());
        assert!(bell.wait(second, Instant::now()));
        assert!(!is_readable(&bell));
        assert_eq!(listener.heard(), None);
    }

    #[test]
    fn many_who_ring_are_all_answered() {
        let bell = Bell::new().unwrap();
        let ringing: Vec<_> = (0..4)
            .map(|_| {
                let bell = bell.clone();
                let ring = move || {
                    let in_time = Instant::now() + PATIENCE;
                    (0..1000).all(|_| bell.wait(bell.ring(), in_time))
                };
                std::thread::spawn(ring)
            })
            .collect();
        let mut listener = Listener::new(&bell);
        while !ringing.iter().all(|thread| thread.is_finished()) {
            // What is missed here would make a ring wait for good.
            let _ = poll::readable([bell.as_fd()], Duration::from_millis(10));
            if let Some(ring) = listener.heard() {
                listener.answer(ring);
            }
        }
        assert!(ringing.into_iter().all(|thread| thread.join().unwrap()));
        assert!(!is_readable(&bell));
    }

    #[test]
    fn a_receiver_that_has_ended_keeps_nobody_waiting() {
        let bell = Bell::new().unwrap();
        let early = bell.ring();
        drop(Listener::new(&bell));
        let in_time = Instant::now() + PATIENCE;
        assert!(bell.wait(early, in_time) && bell.wait(bell.ring(), in_time));
    }
}
