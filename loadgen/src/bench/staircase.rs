//! The search for the highest rate at which nothing is lost.

use serde::Serialize;

/// The search ends when the two rates are this close.
const CLOSE: f64 = 1.1;

/// Steps at most.
const STEPS_MAX: u32 = 12;

/// What one step showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Lines a second, as sent.
    pub rate: f64,
    /// Something was lost.
    pub lossy: bool,
    /// The sender could not keep the rate that was asked for.
    pub sender_too_slow: bool,
}

/// A bisection between a rate without loss and one with.
#[derive(Clone, Debug)]
pub struct Search {
    lossless: Option<f64>,
    lossy: Option<f64>,
    sender_max: Option<f64>,
    start: f64,
    steps: u32,
}

/// What was found, in lines a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// Nothing was lost at the first, something at the second.
    Between(f64, f64),
    /// Nothing was lost even at the highest rate that the sender could reach:
    /// the limit is the sender's and not the subject's.
    AtLeast(f64),
    /// Something was lost at every rate that was tried, this the lowest.
    Below(f64),
    /// Nothing was tried.
    Nothing,
}

impl Search {
    /// Begins where some trials left off, or at `start`.
    pub fn new(trials: &[Trial], start: f64) -> Search {
        let mut search = Search {
            lossless: None,
            lossy: None,
            sender_max: None,
            start,
            steps: 0,
        };
        for trial in trials {
            search.record(*trial);
        }
        search.steps = 0;
        search
    }

    /// The rate to try next; `None` when the search has ended.
    pub fn next(&self) -> Option<f64> {
        if self.steps >= STEPS_MAX {
            return None;
        }
        match (self.lossless, self.lossy) {
            (None, None) => Some(self.start),
            (Some(_), None) if self.sender_max.is_some() => None,
            (Some(lossless), None) => Some(lossless * 2.0),
            (None, Some(lossy)) => Some(lossy / 2.0).filter(|rate| *rate >= 100.0),
            (Some(lossless), Some(lossy)) if lossy / lossless <= CLOSE => None,
            (Some(lossless), Some(lossy)) => {
                let middle = f64::midpoint(lossless, lossy);
                // What the sender cannot reach tells nothing.
                Some(middle).filter(|rate| self.sender_max.is_none_or(|max| *rate < max))
            }
        }
    }

    /// Takes the outcome of a step. Chance may have it that more is lost at a
    /// lower rate; then the lower one counts.
    pub fn record(&mut self, trial: Trial) {
        self.steps += 1;
        if trial.sender_too_slow {
            let known = self.sender_max.unwrap_or_default();
            self.sender_max = Some(known.max(trial.rate));
        }
        if trial.lossy {
            let lossy = self.lossy.map_or(trial.rate, |lossy| lossy.min(trial.rate));
            self.lossy = Some(lossy);
            self.lossless = self.lossless.filter(|lossless| *lossless < lossy);
        } else if self.lossy.is_none_or(|lossy| trial.rate < lossy) {
            let lossless = self.lossless.unwrap_or_default();
            self.lossless = Some(lossless.max(trial.rate));
        }
    }

    /// What is known by now.
    pub fn found(&self) -> Found {
        match (self.lossless, self.lossy) {
            (None, None) => Found::Nothing,
            (Some(lossless), None) => Found::AtLeast(lossless),
            (None, Some(lossy)) => Found::Below(lossy),
            (Some(lossless), Some(lossy)) => Found::Between(lossless, lossy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches with a subject that loses from `limit` on and a sender that
    /// ends at `sender`; returns the steps too.
    fn search(start: f64, limit: f64, sender: f64) -> (Found, u32) {
        let mut search = Search::new(&[], start);
        while let Some(asked) = search.next() {
            let rate = asked.min(sender);
            search.record(Trial {
                rate,
                lossy: rate > limit,
                sender_too_slow: rate < asked,
            });
        }
        (search.found(), search.steps)
    }

    #[test]
    fn the_limit_is_found_closely() {
        for start in [5e3, 80e3, 400e3] {
            match search(start, 130e3, 1e6) {
                (Found::Between(low, high), steps) => {
                    assert!(low <= 130e3 && 130e3 < high && high / low <= CLOSE);
                    assert!(steps <= 10, "{steps}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_sender_s_limit_is_not_the_subject_s() {
        assert_eq!(search(50e3, 1e9, 300e3), (Found::AtLeast(300e3), 4));
        // A loss at the sender's own limit does bound the subject.
        match search(50e3, 250e3, 300e3).0 {
            Found::Between(low, high) => assert!(low <= 250e3 && high <= 300e3),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_subject_that_always_loses_is_said_so() {
        assert!(matches!(search(50e3, 0.0, 1e6).0, Found::Below(rate) if rate < 200.0));
    }

    #[test]
    fn it_begins_with_what_is_known() {
        let trial = |rate, lossy| Trial {
            rate,
            lossy,
            sender_too_slow: false,
        };
        let known = Search::new(&[trial(10e3, false), trial(20e3, true)], 1.0);
        assert_eq!(known.next(), Some(15e3));
        let chance = Search::new(&[trial(10e3, true), trial(20e3, false)], 1.0);
        assert_eq!(chance.found(), Found::Below(10e3));
        assert_eq!(Search::new(&[], 7e3).next(), Some(7e3));
        assert_eq!(Search::new(&[], 7e3).found(), Found::Nothing);
    }
}
