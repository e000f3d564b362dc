//! How the program is told to reload and to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Why the program ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// A request or a signal asked for it.
    Asked(&'static str),
    /// A receiver could not even begin, for want of memory or descriptors.
    Failed(anyhow::Error),
}

/// The signals that mean something.
pub(super) struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// The reference takes no notice of the others either, which would end a
    /// process that does not catch them.
    pub(super) fn catch() -> io::Result<Signals> {
        for kind in [
            SignalKind::alarm(),
            SignalKind::io(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
        ] {
            // Stays caught although nobody listens.
            drop(signal(kind)?);
        }
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }
}

/// What can happen while the program runs.
pub(super) enum Happening {
    /// The rules are to be read again.
    Reload,
    /// It is to end.
    End(Ending),
}

/// What tells it so.
pub(super) struct Happenings {
    signals: Signals,
    endings: mpsc::UnboundedReceiver<Ending>,
}

impl Happenings {
    /// Catches signals from now on, and listens to `endings`.
    pub(super) fn watch(endings: mpsc::UnboundedReceiver<Ending>) -> io::Result<Happenings> {
        let signals = Signals::catch()?;
        Ok(Happenings { signals, endings })
    }

    /// Waits for the next.
    pub(super) async fn next(&mut self) -> Happening {
        let signals = &mut self.signals;
        tokio::select! {
            _ = signals.hangup.recv() => Happening::Reload,
            _ = signals.interrupt.recv() => Happening::End(Ending::Asked("SIGINT")),
            _ = signals.terminate.recv() => Happening::End(Ending::Asked("SIGTERM")),
            Some(ending) = self.endings.recv() => Happening::End(ending),
        }
    }
}
