//! What is sent: made-up Airflow lines of one length, or those of a trace.

use std::collections::HashSet;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::trace::Trace;

/// The length of a made-up line in bytes, near the mean of captured traffic.
pub const LINE_BYTES: usize = 43;

/// Lines of one series differ in their values, as in life, so there are so many
/// lines of each.
const LINES_PER_SERIES: usize = 4;

/// Datagrams to send over and over.
#[derive(Clone, Debug)]
pub struct Payloads {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    lines: u64,
}

impl Payloads {
    /// Lines of so many series in the mix of Airflow's types, always the same.
    pub fn airflow(series: usize, lines_per_datagram: usize) -> Payloads {
        let mut random = SmallRng::seed_from_u64(1);
        let count = series * LINES_PER_SERIES;
        // A stride that is prime to the count mixes types and names.
        let lines: Vec<String> = (0..count)
            .map(|n| line((n * 7919) % series, &mut random))
            .collect();
        let datagrams = lines.chunks(lines_per_datagram);
        Payloads::of(datagrams.map(|lines| lines.join("\n").into_bytes()))
    }

    /// The datagrams of a trace in their order.
    pub fn trace(trace: &Trace) -> Payloads {
        Payloads::of(trace.datagrams().map(|(datagram, _)| datagram.payload))
    }

    fn of<P: AsRef<[u8]>>(datagrams: impl Iterator<Item = P>) -> Payloads {
        let mut payloads = Payloads {
            bytes: Vec::new(),
            ends: Vec::new(),
            lines: 0,
        };
        for datagram in datagrams {
            let datagram = datagram.as_ref();
            payloads.bytes.extend_from_slice(datagram);
            payloads.ends.push(payloads.bytes.len());
            payloads.lines += lines_in(datagram);
        }
        payloads
    }

    /// Different datagrams.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// The mean number of lines in a datagram.
    pub fn lines_per_datagram(&self) -> f64 {
        self.lines as f64 / self.count() as f64
    }

    /// The mean number of bytes in a datagram.
    pub fn bytes_per_datagram(&self) -> f64 {
        self.bytes.len() as f64 / self.count() as f64
    }

    /// The datagram of that number; after the last comes the first.
    pub fn get(&self, number: u64) -> &[u8] {
        let index = (number % self.ends.len() as u64) as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    /// The lines of the first so many datagrams, as an exporter counts them.
    pub fn lines_of(&self, datagrams: u64) -> u64 {
        let rounds = datagrams / self.count() as u64;
        let rest = datagrams % self.count() as u64;
        let rest: u64 = (0..rest).map(|number| lines_in(self.get(number))).sum();
        rounds * self.lines + rest
    }

    /// How many names with tags there are.
    pub fn series(&self) -> usize {
        let datagrams = (0..self.count() as u64).map(|number| self.get(number));
        let names = datagrams.flat_map(|datagram| {
            let lines = datagram.split(|&byte| byte == b'\n');
            lines.map(|line| line.split(|&byte| byte == b':').next())
        });
        names.collect::<HashSet<_>>().len()
    }
}

/// The lines of a datagram as an exporter counts them.
pub(super) fn lines_in(datagram: &[u8]) -> u64 {
    1 + datagram.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// A line of [`LINE_BYTES`] for the `n`th series.
fn line(n: usize, random: &mut SmallRng) -> String {
    let (dag, task) = (n / 16 % 1000, n % 100);
    match n % 4 {
        0 => format!("airflow.ti.finish.d_{dag:03}.task_{task:02}.success:1|c"),
        1 => {
            let ms = random.random_range(1000..10_000);
            let (whole, rest) = (ms / 1000, ms % 1000);
            format!("airflow.dag.d_{dag:03}.task_{task:02}.duration:{whole}.{rest:03}|ms")
        }
        2 => {
            let slots = random.random_range(100..1000);
            format!("airflow.pool.queued_slots.pool_{dag:03}_{task:02}:{slots}|g")
        }
        _ => format!("airflow.ti.start.dag_{dag:06}.task_{task:06}:1|c"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_one_length_and_as_many_series_as_asked() {
        for series in [1, 100, 1000, 10_000] {
            let payloads = Payloads::airflow(series, 1);
            assert_eq!(payloads.series(), series);
            for number in 0..payloads.count() as u64 {
                let line = payloads.get(number);
                assert_eq!(line.len(), LINE_BYTES, "{:?}", std::str::from_utf8(line));
            }
        }
    }

    #[test]
    fn lines_are_counted_over_rounds() {
        let payloads = Payloads::airflow(3, 5);
        assert_eq!(payloads.count(), 3);
        assert_eq!(payloads.lines_of(0), 0);
        assert_eq!(payloads.lines_of(2), 10);
        assert_eq!(payloads.lines_of(3), 12);
        assert_eq!(payloads.lines_of(7), 29);
        assert_eq!(payloads.get(4), payloads.get(1));
        assert_eq!(payloads.lines_per_datagram(), 4.0);
    }
}
