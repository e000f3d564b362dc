//! How far long work has come, on standard error: a bar on a terminal, else a
//! line now and then.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Between two looks at the clock, in units of the work.
const CLOCK_INTERVAL: u64 = 64;

/// The progress of one piece of work.
#[derive(Debug)]
pub struct Progress {
    unit: &'static str,
    bar: Option<ProgressBar>,
    last_line: Instant,
    last_look: u64,
}

impl Progress {
    /// Begins to count `unit`s, up to `total` if that is known.
    pub fn new(unit: &'static str, total: Option<u64>) -> Progress {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = match total {
                Some(total) => ProgressBar::new(total),
                None => ProgressBar::no_length(),
            };
            let template = match total {
                Some(_) => "{bar:32} {human_pos}/{human_len} {msg}, {per_sec}, {eta} left",
                None => "{spinner} {human_pos} {msg}, {per_sec}, {elapsed}",
            };
            let style = ProgressStyle::with_template(template);
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                .with_message(unit)
        });
        Progress {
            unit,
            bar,
            last_line: Instant::now(),
            last_look: 0,
        }
    }

    /// So many are done. Cheap enough for every one of them.
    pub fn at(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if done >= self.last_look + CLOCK_INTERVAL {
            self.last_look = done;
            if self.last_line.elapsed() >= LINE_INTERVAL {
                self.last_line = Instant::now();
                eprintln!("{} {}", HumanCount(done), self.unit);
            }
        }
    }

    /// Says something without disturbing the bar.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
