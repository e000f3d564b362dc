//! Counting, and nothing else on the way of a datagram.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pitot::receive;

use super::Loss;
use crate::ledger::Ledger;

/// The numbers of one socket as others may read them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    datagrams: AtomicU64,
    lost: AtomicU64,
    errors: AtomicU64,
}

/// Counts what one socket receives, and publishes it once a batch.
pub(super) struct Counter {
    loss: Loss,
    datagrams: u64,
    lost: u64,
    errors: u64,
    published: Arc<Tally>,
    ledger: Option<Arc<Mutex<Ledger>>>,
}

impl Counter {
    pub(super) fn new(
        loss: Loss,
        published: Arc<Tally>,
        ledger: Option<Arc<Mutex<Ledger>>>,
    ) -> Counter {
        Counter {
            loss,
            datagrams: 0,
            lost: 0,
            errors: 0,
            published,
            ledger,
        }
    }
}

impl receive::Sink for Counter {
    fn batch_start(&mut self) {}

    fn datagram(&mut self, payload: &[u8]) {
        if self.loss.takes(self.datagrams + self.lost + 1) {
            self.lost += 1;
            return;
        }
        self.datagrams += 1;
        if let Some(ledger) = &self.ledger {
            let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger.datagram(0, payload, false);
        }
    }

    fn truncated(&mut self) {
        self.errors += 1;
    }

    fn batch_end(&mut self) {
        let Tally {
            datagrams,
            lost,
            errors,
        } = &*self.published;
        datagrams.store(self.datagrams, Ordering::Relaxed);
        lost.store(self.lost, Ordering::Relaxed);
        errors.store(self.errors, Ordering::Relaxed);
    }

    fn idle(&mut self) {}

    fn error(&mut self, _: &io::Error) {
        self.errors += 1;
    }
}

impl Tally {
    /// Read and counted.
    pub(super) fn datagrams(&self) -> u64 {
        self.datagrams.load(Ordering::Relaxed)
    }

    /// Thrown away on purpose.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Failed reads, and datagrams that were too long.
    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}
