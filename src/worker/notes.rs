//! What a worker tells the log: at debug level every line and why a line, a
//! sample or an event was refused; else only that receiving fails.

use std::io;

use super::Transport;
use crate::statsd::{LineError, Tally};
use crate::telemetry::Count;

/// The first error of its kind; whoever caused it may cause thousands.
#[cold]
pub(super) fn receive_error(transport: Transport, error: &io::Error) {
    let transport = transport.as_str();
    tracing::error!(transport, %error, "Receiving failed and is tried again; later failures are only counted");
}

#[cold]
pub(super) fn line(transport: Transport, line: &[u8]) {
    let proto = transport.as_str();
    tracing::debug!(proto, line = %String::from_utf8_lossy(line), "Incoming line");
}

#[cold]
pub(super) fn refusals(line: &[u8], tally: &Tally) {
    let line = String::from_utf8_lossy(line);
    for reason in LineError::ALL {
        if tally.errors[reason as usize] > 0 {
            tracing::debug!(reason = reason.as_str(), %line, "Line or sample refused");
        }
    }
    if tally.tag_errors > 0 {
        tracing::debug!(tags = tally.tag_errors, %line, "Malformed tags left out");
    }
}

/// A good sample that has no place on the page; `refused` is where it counts.
#[cold]
pub(super) fn event_refused(refused: Count, metric: &str) {
    tracing::debug!(reason = ?refused, metric, "Event refused");
}

#[cold]
pub(super) fn conflict(stat: &str, metric: &str) {
    tracing::debug!(
        r#type = stat,
        metric,
        "Event refused: another type or family has this name"
    );
}
