//! Durations on the command line, spelt as in the exporter's own flags.

use std::time::Duration;

use pitot::go_duration::{self, Units};

/// Reads for example `90s` or `1h30m`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let nanos = go_duration::parse(text, Units::WithDays).map_err(str::to_owned)?;
    let nanos = u64::try_from(nanos).map_err(|_| "must not be negative".to_owned())?;
    Ok(Duration::from_nanos(nanos))
}
