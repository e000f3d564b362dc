//! How long to wait before trying again what failed.
//!
//! A receiver never gives up: a read or accept that fails is tried again. The
//! first time at once, since most failures are single (an ICMP message, a peer
//! gone before it was accepted); when they repeat, ever less often, so that a
//! lack of descriptors does not turn into a busy loop.

use std::time::Duration;

const DELAY_MIN: Duration = Duration::from_millis(1);
const DELAY_MAX: Duration = Duration::from_millis(100);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// It failed again: wait this long.
    pub(super) fn failed(&mut self) -> Duration {
        let doublings = self.failures.checked_sub(1);
        self.failures = self.failures.saturating_add(1);
        match doublings {
            None => Duration::ZERO,
            Some(doublings) => DELAY_MIN
                .saturating_mul(1 << doublings.min(16))
                .min(DELAY_MAX),
        }
    }

    /// It worked.
    pub(super) fn worked(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_limit_and_start_over() {
        let mut backoff = Backoff::default();
        let mut delays_ms = || backoff.failed().as_millis();
        let first: Vec<_> = (0..10).map(|_| delays_ms()).collect();
        assert_eq!(first, [0, 1, 2, 4, 8, 16, 32, 64, 100, 100]);
        backoff.failures = u32::MAX;
        assert_eq!(backoff.failed(), DELAY_MAX);
        backoff.worked();
        assert_eq!(backoff.failed(), Duration::ZERO);
    }
}
