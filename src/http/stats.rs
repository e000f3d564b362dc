//! How many scrapes were answered: the numbers behind the two
//! `promhttp_metric_handler_requests` families of the page, which dashboards
//! for the reference show. Only requests for metrics count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts scrapes; the server writes it, the page shows it.
#[derive(Debug, Default)]
pub struct HandlerStats {
    /// Scrapes begun and not yet dropped.
    in_flight: AtomicU64,
    /// Scrapes that got a page.
    pages: AtomicU64,
    /// Scrapes that got an error instead of a page.
    failures: AtomicU64,
}

// === impl HandlerStats ===

impl HandlerStats {
    /// The status codes to show, each of them from zero on. 503 is among them
    /// because the reference shows it; neither ever answers it.
    pub const CODES: [u16; 3] = [200, 500, 503];

    /// Scrapes being answered at this moment. A page that shows this counts
    /// itself.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Scrapes that were answered with `code`. One that broke off counts as
    /// what its first line said.
    pub fn requests(&self, code: u16) -> u64 {
        match code {
            200 => self.pages.load(Ordering::Relaxed),
            500 => self.failures.load(Ordering::Relaxed),
            _ => 0,
        }
    }
}

/// A scrape that is being answered. Dropping it counts it as answered.
#[derive(Debug)]
pub(super) struct Scrape {
    stats: Arc<HandlerStats>,
    failed: bool,
}

// === impl Scrape ===

impl Scrape {
    pub(super) fn begin(stats: Arc<HandlerStats>) -> Scrape {
        stats.in_flight.fetch_add(1, Ordering::Relaxed);
        let failed = false;
        Scrape { stats, failed }
    }

    /// Where it is counted.
    pub(super) fn stats(&self) -> Arc<HandlerStats> {
        Arc::clone(&self.stats)
    }

    /// Counts it as answered with an error.
    pub(super) fn fail(mut self) {
        self.failed = true;
    }
}

impl Drop for Scrape {
    fn drop(&mut self) {
        let answered = match self.failed {
            false => &self.stats.pages,
            true => &self.stats.failures,
        };
        answered.fetch_add(1, Ordering::Relaxed);
        self.stats.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrapes_count_when_they_are_over() {
        let stats = Arc::new(HandlerStats::default());
        let seen = || {
            let requests = HandlerStats::CODES.map(|code| stats.requests(code));
            (stats.in_flight(), requests)
        };
        let good = Scrape::begin(Arc::clone(&stats));
        let bad = Scrape::begin(Arc::clone(&stats));
        assert_eq!(seen(), (2, [0, 0, 0]));
        drop(good);
        assert_eq!(seen(), (1, [1, 0, 0]));
        bad.fail();
        assert_eq!(seen(), (0, [1, 1, 0]));
    }
}
