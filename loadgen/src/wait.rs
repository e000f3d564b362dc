//! Waiting for a condition instead of for a time.

use std::time::{Duration, Instant};

/// The pause after the first look; each is twice the one before.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Looks again and again until `look` finds something, at least once; `None`
/// after `limit`. An error ends the waiting.
pub fn until<T, E>(
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let start = Instant::now();
    let mut pause = PAUSE_FIRST;
    loop {
        let found = look()?;
        if found.is_some() || start.elapsed() >= limit {
            return Ok(found);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
