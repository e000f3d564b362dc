//! Ctrl-C and SIGTERM as a question that long work asks itself, so that it can
//! finish a file, print a report or end the processes it started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use signal_hook::consts::TERM_SIGNALS;

/// How long a signal may go unnoticed while nothing else happens.
pub const NOTICE: Duration = Duration::from_millis(100);

/// Whether the work should end early. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// One that the process's signals set. A second signal ends the process at
    /// once.
    pub fn on_signals() -> Result<Interrupt> {
        let interrupt = Interrupt::default();
        for &signal in TERM_SIGNALS {
            let flag = || Arc::clone(&interrupt.0);
            signal_hook::flag::register_conditional_shutdown(signal, 1, flag())?;
            signal_hook::flag::register(signal, flag())?;
        }
        Ok(interrupt)
    }

    /// Asks for the work to end.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the work should end.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error if the work should end.
    pub fn check(&self) -> Result<()> {
        if self.is_set() {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Sleeps until then, or until the work should end.
    pub fn sleep_until(&self, then: Instant) {
        loop {
            let left = then.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_set() {
                return;
            }
            std::thread::sleep(left.min(NOTICE));
        }
    }
}
