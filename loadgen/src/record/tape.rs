//! What all recordings have in common: limits, names replaced, numbers for
//! sources, and the report.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;

use super::Ports;
use crate::anonymize::Anonymizer;
use crate::capture::Counts;
use crate::interrupt::Interrupt;
use crate::trace::{Datagram, Writer};

/// When to stop, whichever comes first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// Of the recording.
    pub(super) duration: Option<Duration>,
    /// Datagrams written.
    pub(super) count: Option<u64>,
}

/// A trace being written.
pub(super) struct Tape {
    pub(super) limits: Limits,
    pub(super) interrupt: Interrupt,
    pub(super) anonymizer: Option<Anonymizer>,
    writer: Writer,
    ports: Ports<(Option<IpAddr>, u16)>,
    begin: Option<Duration>,
    report: Report,
}

/// What was recorded.
#[derive(Debug, Default)]
pub struct Report {
    /// Where it came from, and what did not.
    pub origin: Origin,
    datagrams: u64,
    sources: usize,
    span: Duration,
    anonymized: bool,
    binary: u64,
}

/// Where datagrams came from.
#[derive(Debug, Default)]
pub enum Origin {
    /// Another trace.
    #[default]
    Trace,
    /// A port.
    Socket {
        /// What the kernel threw away, if it tells.
        lost: Option<u64>,
    },
    /// A packet capture, of which UDP to a port was wanted.
    Capture(Counts, u16),
}

impl Tape {
    pub(super) fn new(writer: Writer, limits: Limits, interrupt: Interrupt) -> Tape {
        Tape {
            limits,
            interrupt,
            anonymizer: None,
            writer,
            ports: Ports::default(),
            begin: None,
            report: Report::default(),
        }
    }

    /// Writes a datagram of some time (from wherever that counts) and source.
    /// `false` if that is enough.
    pub(super) fn write(
        &mut self,
        at: Duration,
        source: (Option<IpAddr>, u16),
        payload: &[u8],
    ) -> Result<bool> {
        // A capture of several cores may step back a little.
        let at = at.saturating_sub(*self.begin.get_or_insert(at));
        let is_over = self.limits.duration.is_some_and(|limit| at >= limit);
        if is_over || self.interrupt.is_set() {
            return Ok(false);
        }
        let report = &mut self.report;
        let pseudonymous;
        let payload = match &mut self.anonymizer {
            None => payload,
            Some(anonymizer) => match anonymizer.datagram(payload) {
                Some(text) => {
                    pseudonymous = text;
                    pseudonymous.as_bytes()
                }
                None => {
                    report.binary += 1;
                    return Ok(true);
                }
            },
        };
        self.writer.write(&Datagram {
            at,
            source: self.ports.number(source, Some(source.1)),
            payload,
        })?;
        report.span = report.span.max(at);
        report.datagrams += 1;
        Ok(self.wants_more())
    }

    /// Whether neither the number of datagrams nor an interrupt ends it.
    pub(super) fn wants_more(&self) -> bool {
        let limit = self.limits.count;
        !self.interrupt.is_set() && limit.is_none_or(|limit| self.report.datagrams < limit)
    }

    /// How many are written.
    pub(super) fn datagrams(&self) -> u64 {
        self.report.datagrams
    }

    /// Completes the file.
    pub(super) fn finish(self) -> Result<Report> {
        self.writer.finish()?;
        Ok(Report {
            sources: self.ports.len(),
            anonymized: self.anonymizer.is_some(),
            ..self.report
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "datagrams  {}", self.datagrams)?;
        writeln!(f, "sources    {}", self.sources)?;
        writeln!(f, "seconds    {:.3}", self.span.as_secs_f64())?;
        match &self.origin {
            Origin::Trace => {}
            Origin::Socket { lost: Some(lost) } => {
                writeln!(f, "lost       {lost} by the kernel")?;
            }
            Origin::Socket { lost: None } => writeln!(f, "lost       unknown")?,
            Origin::Capture(counts, port) => self.capture(f, counts, *port)?,
        }
        if self.anonymized {
            writeln!(
                f,
                "Names are pseudonyms. Look at the file before you publish it."
            )?;
        }
        if self.binary > 0 {
            let what = "datagrams were not text and are left out";
            writeln!(f, "{} {what}.", self.binary)?;
        }
        Ok(())
    }
}

impl Report {
    fn capture(&self, f: &mut fmt::Formatter<'_>, counts: &Counts, port: u16) -> fmt::Result {
        writeln!(f, "packets    {}", counts.packets)?;
        for (count, what) in [
            (counts.reassembled, "datagrams put together from fragments"),
            (counts.others, "packets of other protocols or ports"),
            (counts.unreadable, "packets that could not be understood"),
            (
                counts.cut_short,
                "LOST: packets captured in part; capture them whole (tcpdump -s 0)",
            ),
            (
                counts.incomplete,
                "LOST: datagrams of which fragments are missing",
            ),
        ] {
            if count > 0 {
                writeln!(f, "           {count} {what}")?;
            }
        }
        if counts.torn {
            writeln!(f, "The capture ends within a packet.")?;
        }
        if counts.datagrams == 0 {
            writeln!(f, "Nothing was sent to UDP port {port}; another --port?")?;
        }
        Ok(())
    }
}
