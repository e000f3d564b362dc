//! The part of the command line that `bench` and `compare` share: what is sent,
//! how, and for how long.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::payload::{LINE_BYTES, Payloads};
use super::step::Plan;
use crate::affinity::CpuList;
use crate::duration;
use crate::mapping_rules::RulesArgs;
use crate::trace::Trace;

/// What is sent, how, and for how long.
#[derive(Debug, clap::Args)]
pub struct LoadArgs {
    /// Lines a second, a step each; 0 sends nothing
    #[arg(long, value_name = "RATES", value_delimiter = ',', value_parser = rate,
          default_value = "5k,20k,50k,100k")]
    pub rates: Vec<f64>,
    /// How long a step lasts
    #[arg(long, default_value = "4s", value_parser = duration::parse)]
    pub duration: Duration,
    /// Threads that send, each from its own port
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    senders: u16,
    /// Lines in a datagram
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    lines_per_datagram: u16,
    /// Series among the made-up lines
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=16_000))]
    series: u16,
    /// Send the datagrams of this trace instead of made-up lines
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Scrape the page so often meanwhile; 0s for never
    #[arg(long, default_value = "1s", value_parser = duration::parse)]
    scrape_every: Duration,
    /// Processors for the senders, such as 2-3
    #[arg(long, value_name = "CPUS")]
    pin_sender: Option<CpuList>,
    /// Processors for what is measured
    #[arg(long, value_name = "CPUS")]
    pub pin_exporter: Option<CpuList>,
    /// Rules for what is measured
    #[command(flatten)]
    pub rules: RulesArgs,
}

impl LoadArgs {
    /// How to make a step.
    pub fn plan(&self) -> Plan {
        Plan {
            duration: self.duration,
            senders: self.senders.into(),
            sender_cpus: self.pin_sender.clone(),
            scrape_every: self.scrape_every,
        }
    }

    /// What to send.
    pub fn payloads(&self) -> Result<Payloads> {
        let Some(path) = &self.trace else {
            let lines = self.lines_per_datagram.into();
            return Ok(Payloads::airflow(self.series.into(), lines));
        };
        let trace = Trace::read(path)?;
        ensure!(!trace.is_empty(), "{} is empty", path.display());
        Ok(Payloads::trace(&trace))
    }

    /// What is sent, in words.
    pub fn describe(&self, payloads: &Payloads) -> String {
        let what = match &self.trace {
            Some(path) => format!("datagrams of {}", path.display()),
            None => format!("Airflow lines of {LINE_BYTES} bytes"),
        };
        let senders = match self.senders {
            1 => "one sender".to_owned(),
            many => format!("{many} senders"),
        };
        format!(
            "{what}, {} series; {:.1} lines and {:.0} bytes a datagram; {senders}; {:?} a step; \
             a scrape every {:?}",
            payloads.series(),
            payloads.lines_per_datagram(),
            payloads.bytes_per_datagram(),
            self.duration,
            self.scrape_every,
        )
    }
}

/// Reads for example `5000`, `50k` or `1.2M`.
fn rate(text: &str) -> Result<f64, String> {
    let (digits, unit) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 1e3),
        Some((at, 'M')) => (&text[..at], 1e6),
        _ => (text, 1.0),
    };
    let number: Option<f64> = digits.parse().ok();
    number
        .map(|number| number * unit)
        .filter(|rate| (0.0..=1e9).contains(rate))
        .ok_or_else(|| format!("{text} is not a rate such as 5000, 50k or 1.2M"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (text, value) in [("0", 0.0), ("5000", 5e3), ("50k", 5e4), ("1.2M", 1.2e6)] {
            assert_eq!(rate(text), Ok(value));
        }
        for text in ["", "k", "-5", "inf", "nan", "5g"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
