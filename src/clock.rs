//! Time as the exporter sees it: milliseconds since start for ages and
//! windows, wall-clock milliseconds for timestamps that leave the process.
//!
//! A receiver reads the clock once per batch and hands the reading down, so no
//! sample pays for it. Ages use the monotonic clock: a step of the wall clock
//! must not expire a thousand series. Tests drive a clock by hand instead of
//! sleeping.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds on the exporter's monotonic clock. Only differences mean
/// anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Millis) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A source of time; clones share it.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System {
        start: Instant,
        wall_at_start_ms: u64,
    },
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock, counting from now.
    pub fn system() -> Clock {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Clock(Source::System {
            start: Instant::now(),
            wall_at_start_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// A clock that stands still until [`Clock::advance`] moves it. Its wall
    /// time is the Unix epoch plus what it was advanced by.
    pub fn manual() -> Clock {
        Clock(Source::Manual(Arc::new(AtomicU64::new(0))))
    }

    /// Moves a manual clock on; the system clock ignores it.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(now) = &self.0 {
            let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            now.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// Monotonic time.
    pub fn now(&self) -> Millis {
        match &self.0 {
            Source::System { start, .. } => {
                Millis(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX))
            }
            Source::Manual(now) => Millis(now.load(Ordering::Relaxed)),
        }
    }

    /// The wall-clock time of a monotonic reading, in milliseconds since the
    /// Unix epoch. Steps of the wall clock after start are not followed.
    pub fn wall_ms(&self, at: Millis) -> u64 {
        match &self.0 {
            Source::System {
                wall_at_start_ms, ..
            } => wall_at_start_ms.saturating_add(at.0),
            Source::Manual(_) => at.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual();
        let before = clock.now();
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clock.now().since(before), Duration::from_millis(1500));
        assert_eq!(clock.wall_ms(clock.now()), 1500);
        assert_eq!(before.since(clock.now()), Duration::ZERO);
    }

    #[test]
    fn the_system_clock_knows_the_year() {
        let clock = Clock::system();
        assert!(clock.wall_ms(clock.now()) > 1_700_000_000_000);
    }
}
