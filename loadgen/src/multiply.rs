//! Makes a large cluster of a small trace: plays it, again and again and in
//! several copies at once.
//!
//! A copy has sources of its own, and DAGs, files and hosts of its own: `c1_` and
//! so on before their names, in metric names and tags alike. Copies do not start
//! together, as no two clusters' schedulers loop in step; each is some part of
//! five seconds late.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::time::Duration;

use crate::airflow::{Kind, Pieces};
use crate::send::{Next, Traffic};
use crate::trace::Trace;

/// Copies start within this time: some loops of a scheduler, and the interval of
/// most gauges.
const STAGGER: Duration = Duration::from_secs(5);

/// A trace, as often as wanted.
#[derive(Debug)]
pub struct Copies<'a> {
    trace: &'a Trace,
    /// Of the trace; asking it looks through all of it.
    span: Duration,
    /// How often each copy plays the trace; `None` for without end.
    loops: Option<u32>,
    /// Where names get a copy's mark: for datagram `i`, the offsets in
    /// `marks[ends[i - 1]..ends[i]]`. Empty if there is one copy.
    marks: Vec<u32>,
    mark_ends: Vec<usize>,
    /// The next datagram of each copy, the earliest on top.
    next: BinaryHeap<Reverse<Cursor>>,
}

/// Where a copy is: ordered by the time of its next datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cursor {
    at: Duration,
    copy: u32,
    round: u32,
    index: usize,
}

impl<'a> Copies<'a> {
    /// `prefix` is what the trace's metric names begin with.
    pub fn new(trace: &'a Trace, copies: u32, loops: Option<u32>, prefix: &str) -> Copies<'a> {
        let mut all = Copies {
            trace,
            span: trace.span(),
            loops,
            marks: Vec::new(),
            mark_ends: Vec::new(),
            next: BinaryHeap::new(),
        };
        if copies > 1 {
            all.find_marks(&Pieces::new(prefix));
        }
        for copy in 0..copies {
            all.advance(Cursor {
                at: Duration::ZERO,
                copy,
                round: 0,
                index: 0,
            });
        }
        all
    }

    /// How many datagrams, if there is an end.
    pub fn total(&self, copies: u32) -> Option<u64> {
        let loops = u64::from(self.loops?);
        Some(self.trace.len() as u64 * loops * u64::from(copies))
    }

    fn find_marks(&mut self, pieces: &Pieces) {
        for (datagram, _) in self.trace.datagrams() {
            if let Ok(text) = std::str::from_utf8(datagram.payload) {
                pieces.of_datagram(text, |range, kind| {
                    if matches!(kind, Kind::Dag | Kind::File | Kind::Host) {
                        self.marks.push(name_start(text, range) as u32);
                    }
                });
            }
            self.mark_ends.push(self.marks.len());
        }
    }

    /// Puts a copy's next datagram in its place, if it has one.
    fn advance(&mut self, mut cursor: Cursor) {
        if cursor.index == self.trace.len() {
            cursor.index = 0;
            cursor.round += 1;
        }
        if self.trace.is_empty() || self.loops.is_some_and(|loops| cursor.round >= loops) {
            return;
        }
        let (datagram, _) = self.trace.datagram(cursor.index);
        cursor.at = self.span * cursor.round + datagram.at + delay(cursor.copy);
        self.next.push(Reverse(cursor));
    }

    /// Appends a datagram with a copy's mark in its names.
    fn write(&self, copy: u32, index: usize, payload: &[u8], out: &mut Vec<u8>) {
        let marks = match (copy, index.checked_sub(1)) {
            (0, _) => 0..0,
            (_, None) => 0..self.mark_ends[0],
            (_, Some(before)) => self.mark_ends[before]..self.mark_ends[index],
        };
        let mut start = 0;
        for &mark in &self.marks[marks] {
            let mark = mark as usize;
            out.extend_from_slice(&payload[start..mark]);
            write_mark(copy, out);
            start = mark;
        }
        out.extend_from_slice(&payload[start..]);
    }
}

impl Traffic for Copies<'_> {
    fn next(&mut self, payload: &mut Vec<u8>) -> Option<Next> {
        let Reverse(cursor) = self.next.pop()?;
        let (datagram, is_last_of_source) = self.trace.datagram(cursor.index);
        self.write(cursor.copy, cursor.index, datagram.payload, payload);
        self.advance(Cursor {
            index: cursor.index + 1,
            ..cursor
        });
        Some(Next {
            at: cursor.at,
            source: u64::from(cursor.copy) << 16 | u64::from(datagram.source),
            is_last_of_source,
        })
    }
}

/// The name of a file is behind its directories.
fn name_start(text: &str, range: Range<usize>) -> usize {
    match text[range.clone()].rfind('/') {
        Some(slash) => range.start + slash + 1,
        None => range.start,
    }
}

fn write_mark(copy: u32, out: &mut Vec<u8>) {
    out.push(b'c');
    out.extend_from_slice(copy.to_string().as_bytes());
    out.push(b'_');
}

/// Spread by the golden ratio: any number of copies is spread evenly.
fn delay(copy: u32) -> Duration {
    STAGGER.mul_f64((f64::from(copy) * 0.618_033_988_749_895).fract())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    fn trace(lines: &[(u64, u16, &str)]) -> Trace {
        let mut trace = Trace::default();
        for &(at_us, source, payload) in lines {
            trace.push(Duration::from_micros(at_us), source, payload.as_bytes());
        }
        trace.finish()
    }

    /// All datagrams: time, source, whether its last, and text.
    fn all(mut copies: Copies<'_>) -> Vec<(Next, String)> {
        let next = || {
            let mut payload = Vec::new();
            let next = copies.next(&mut payload)?;
            Some((next, String::from_utf8(payload).expect("text")))
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn one_copy_is_the_trace() {
        let trace = trace(&[(0, 7, "airflow.ti.start.a.b:1|c"), (9, 8, "x:1|c")]);
        let copies = Copies::new(&trace, 1, Some(2), "airflow");
        assert_eq!(copies.total(1), Some(4));
        let found = all(copies);
        let texts: Vec<&str> = found.iter().map(|(_, text)| &**text).collect();
        let first = ["airflow.ti.start.a.b:1|c", "x:1|c"];
        assert_eq!(texts, [first, first].concat());
        let times: Vec<u128> = found.iter().map(|(next, _)| next.at.as_micros()).collect();
        assert_eq!(times, [0, 9, 9, 18]);
        assert!(found.iter().all(|(next, _)| next.is_last_of_source));
        assert_eq!(Copies::new(&trace, 3, None, "airflow").total(3), None);
    }

    #[test]
    fn copies_have_their_own_dags_and_sources() {
        let trace = trace(&[
            (0, 7, "airflow.ti.start.a.b:1|c"),
            (
                1,
                7,
                "airflow.ti.start:1|c|#dag_id:a,task_id:b\nairflow.pool.open_slots.p:1|g",
            ),
            (
                2,
                8,
                "airflow.dag_processing.last_duration.f:1|ms|#file_path:/x/f.py",
            ),
            (3, 7, "airflow.triggers.running.box,hostname=box:1|g"),
        ]);
        let found = all(Copies::new(&trace, 3, Some(1), "airflow"));
        assert_eq!(found.len(), 12);
        assert!(found.is_sorted_by_key(|(next, _)| next.at));
        let mut by_copy: HashMap<u64, Vec<&str>> = HashMap::new();
        for (next, text) in &found {
            by_copy.entry(next.source >> 16).or_default().push(text);
        }
        assert_eq!(
            by_copy[&2],
            [
                "airflow.ti.start.c2_a.b:1|c",
                "airflow.ti.start:1|c|#dag_id:c2_a,task_id:b\nairflow.pool.open_slots.p:1|g",
                "airflow.dag_processing.last_duration.c2_f:1|ms|#file_path:/x/c2_f.py",
                "airflow.triggers.running.c2_box,hostname=c2_box:1|g",
            ]
        );
        assert_eq!(by_copy[&0][0], "airflow.ti.start.a.b:1|c");
        let sources: HashSet<u64> = found.iter().map(|(next, _)| next.source).collect();
        assert_eq!(sources.len(), 6);
        let starts: HashSet<Duration> = (0..100).map(delay).collect();
        assert_eq!(starts.len(), 100);
        assert!(starts.iter().all(|&start| start < STAGGER));
    }

    #[test]
    fn an_empty_trace_has_no_copies() {
        assert!(all(Copies::new(&Trace::default(), 2, None, "airflow")).is_empty());
    }
}
