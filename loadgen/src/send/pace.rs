//! When datagrams are due.

use std::str::FromStr;
use std::time::Duration;

/// How fast recorded or modelled time passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as it was.
    Times(f64),
    /// As fast as possible.
    Max,
}

/// When each datagram is due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// When its time says.
    Speed(Speed),
    /// So many datagrams a second, evenly spread, whatever their times.
    Rate(f64),
}

/// Flags that choose a [`Pace`].
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct PaceArgs {
    /// How many times as fast as it was, or max
    #[arg(long, default_value = "1", conflicts_with = "rate")]
    pub speed: Speed,
    /// Datagrams a second, evenly spread, in place of their own times
    #[arg(long, value_parser = parse_rate)]
    pub rate: Option<f64>,
}

impl PaceArgs {
    /// What the flags say.
    pub fn pace(&self) -> Pace {
        match self.rate {
            Some(rate) => Pace::Rate(rate),
            None => Pace::Speed(self.speed),
        }
    }
}

impl Default for Pace {
    fn default() -> Pace {
        Pace::Speed(Speed::Times(1.0))
    }
}

impl Pace {
    /// When the datagram of a number (from 0) and time is due, counting from the
    /// start; `None` for at once.
    pub fn due(self, at: Duration, number: u64) -> Option<Duration> {
        match self {
            Pace::Speed(speed) => speed.due(at),
            Pace::Rate(rate) => Some(Duration::from_secs_f64(number as f64 / rate)),
        }
    }
}

impl Speed {
    /// When a datagram of some time is due, counting from the start; `None` for
    /// at once.
    pub fn due(self, at: Duration) -> Option<Duration> {
        match self {
            Speed::Times(times) => Some(at.div_f64(times)),
            Speed::Max => None,
        }
    }
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Speed, String> {
        match text.parse::<f64>() {
            _ if text == "max" => Ok(Speed::Max),
            // Slower, and the schedule would leave the clock's range.
            Ok(times) if (0.001..=1e9).contains(&times) => Ok(Speed::Times(times)),
            _ => Err("must be a number from 0.001 on, or max".to_owned()),
        }
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok();
    let rate = rate.filter(|rate| (0.001..=1e9).contains(rate));
    rate.ok_or_else(|| "must be a number from 0.001 on".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("0.5".parse(), Ok(Speed::Times(0.5)));
        for text in ["0", "-1", "inf", "nan", "fast", ""] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dues() {
        let second = Duration::from_secs(1);
        let due = |pace: Pace| pace.due(second, 30);
        assert_eq!(due(Pace::default()), Some(second));
        assert_eq!(due(Pace::Speed(Speed::Times(2.0))), Some(second / 2));
        assert_eq!(due(Pace::Speed(Speed::Max)), None);
        assert_eq!(due(Pace::Rate(10.0)), Some(3 * second));
    }
}
