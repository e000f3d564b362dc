//! Captured traffic as a file: one JSON object for each datagram.
//!
//! ```json
//! {"t_us": 1500, "src": 40123, "d": "airflow.ti.start:1|c"}
//! ```
//!
//! `t_us` is microseconds since the first datagram, `src` the sender's port, `d`
//! the payload; a payload that is not UTF-8 is in `b64` instead, as base64. A
//! name that ends in `.gz` means gzip.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

/// A whole trace, in memory: its payloads and 24 bytes for each.
#[derive(Debug, Default)]
pub struct Trace {
    entries: Vec<Entry>,
    payloads: Vec<u8>,
}

/// One datagram of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Since the first datagram.
    pub at: Duration,
    /// The port it came from.
    pub source: u16,
    /// Its bytes.
    pub payload: &'a [u8],
}

#[derive(Debug)]
struct Entry {
    at_us: u64,
    payload_end: usize,
    source: u16,
    is_last_of_source: bool,
}

impl Trace {
    /// Reads a file; the error names the line that is wrong.
    pub fn read(path: &Path) -> Result<Trace> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let file: Box<dyn Read> = match is_gzip(path) {
            true => Box::new(MultiGzDecoder::new(BufReader::new(file))),
            false => Box::new(file),
        };
        let mut trace = Trace::default();
        for (index, line) in BufReader::new(file).lines().enumerate() {
            line.map_err(anyhow::Error::from)
                .and_then(|line| trace.push_line(&line))
                .with_context(|| format!("{}, line {}", path.display(), index + 1))?;
        }
        Ok(trace.finish())
    }

    /// Appends a datagram.
    pub fn push(&mut self, at: Duration, source: u16, payload: &[u8]) {
        self.payloads.extend_from_slice(payload);
        self.push_entry(u64::try_from(at.as_micros()).unwrap_or(u64::MAX), source);
    }

    /// Once all are there: finds the last datagram of each source.
    pub fn finish(mut self) -> Trace {
        let mut seen = HashSet::new();
        for entry in self.entries.iter_mut().rev() {
            entry.is_last_of_source = seen.insert(entry.source);
        }
        self
    }

    fn push_line(&mut self, line: &str) -> Result<()> {
        let record: Record<'_> = serde_json::from_str(line)?;
        match (record.d, record.b64) {
            (Some(text), None) => self.payloads.extend_from_slice(text.as_bytes()),
            (None, Some(text)) => BASE64_STANDARD.decode_vec(&*text, &mut self.payloads)?,
            _ => bail!("not one of d and b64"),
        }
        self.push_entry(record.t_us, record.src);
        Ok(())
    }

    fn push_entry(&mut self, at_us: u64, source: u16) {
        self.entries.push(Entry {
            at_us,
            payload_end: self.payloads.len(),
            source,
            is_last_of_source: false,
        });
    }

    /// The datagrams in the order of the file, each with whether its source
    /// sends nothing more.
    pub fn datagrams(&self) -> impl Iterator<Item = (Datagram<'_>, bool)> {
        (0..self.len()).map(|index| self.datagram(index))
    }

    /// One of them.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn datagram(&self, index: usize) -> (Datagram<'_>, bool) {
        let entry = &self.entries[index];
        let start = match index {
            0 => 0,
            index => self.entries[index - 1].payload_end,
        };
        let datagram = Datagram {
            at: Duration::from_micros(entry.at_us),
            source: entry.source,
            payload: &self.payloads[start..entry.payload_end],
        };
        (datagram, entry.is_last_of_source)
    }

    /// How many datagrams.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// From the first datagram to the last.
    pub fn span(&self) -> Duration {
        let last = self.entries.iter().map(|entry| entry.at_us).max();
        Duration::from_micros(last.unwrap_or_default())
    }

    /// How many sources have begun and not ended, at most.
    pub fn sources_at_once(&self) -> usize {
        let mut open = HashSet::new();
        let mut most = 0;
        for entry in &self.entries {
            open.insert(entry.source);
            most = most.max(open.len());
            if entry.is_last_of_source {
                open.remove(&entry.source);
            }
        }
        most
    }
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record<'a> {
    t_us: u64,
    src: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    d: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b64: Option<Cow<'a, str>>,
}

/// Writes a trace, datagram by datagram.
pub struct Writer {
    out: Box<dyn Finish>,
}

/// A stream that has something to write at its end.
trait Finish: Write {
    fn finish(self: Box<Self>) -> std::io::Result<()>;
}

impl Finish for BufWriter<File> {
    fn finish(mut self: Box<Self>) -> std::io::Result<()> {
        self.flush()
    }
}

impl Finish for GzEncoder<BufWriter<File>> {
    fn finish(self: Box<Self>) -> std::io::Result<()> {
        GzEncoder::finish(*self)?.flush()
    }
}

impl Writer {
    /// Creates the file, or empties it.
    pub fn create(path: &Path) -> Result<Writer> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        let file = BufWriter::new(file);
        let out: Box<dyn Finish> = match is_gzip(path) {
            // The fastest level: a recorder must keep up with its socket.
            true => Box::new(GzEncoder::new(file, Compression::fast())),
            false => Box::new(file),
        };
        Ok(Writer { out })
    }

    /// Appends one datagram.
    pub fn write(&mut self, datagram: &Datagram<'_>) -> Result<()> {
        let text = std::str::from_utf8(datagram.payload);
        let record = Record {
            t_us: u64::try_from(datagram.at.as_micros())?,
            src: datagram.source,
            d: text.ok().map(Cow::from),
            b64: text
                .is_err()
                .then(|| BASE64_STANDARD.encode(datagram.payload).into()),
        };
        serde_json::to_writer(&mut self.out, &record)?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// Completes the file. Without this a compressed file lacks its end.
    pub fn finish(self) -> Result<()> {
        Ok(self.out.finish()?)
    }
}

fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(ms: u64, source: u16, payload: &[u8]) -> Datagram<'_> {
        Datagram {
            at: Duration::from_millis(ms),
            source,
            payload,
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let all = [
            (datagram(0, 1, b"a:1|c\n"), false),
            (datagram(1, 2, b"\xff:1|c"), true),
            (datagram(1, 1, "é\"\\:1|c".as_bytes()), true),
            (datagram(5, 3, b""), true),
        ];
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["plain.jsonl", "packed.jsonl.gz"] {
            let path = dir.path().join(name);
            let mut writer = Writer::create(&path).expect("created");
            for (datagram, _) in &all {
                writer.write(datagram).expect("written");
            }
            writer.finish().expect("finished");
            let trace = Trace::read(&path).expect("read");
            assert_eq!(trace.datagrams().collect::<Vec<_>>(), all, "{name}");
            assert_eq!(trace.span(), Duration::from_millis(5));
            assert_eq!(trace.sources_at_once(), 2);
            assert_eq!(trace.len(), 4);
        }
    }

    #[test]
    fn the_error_names_the_line() {
        let good = r#"{"t_us": 1, "src": 2, "d": "x"}"#;
        let dir = tempfile::tempdir().expect("a directory");
        for bad in [
            r#"{"t_us": 1, "src": 2}"#,
            r#"{"t_us": 1, "src": 2, "d": "x", "b64": "eA=="}"#,
            r#"{"t_us": 1, "src": 2, "b64": "x"}"#,
            r#"{"t_us": 1, "src": 70000, "d": "x"}"#,
            r#"{"t_us": 1, "src": 2, "d": "x", "more": 1}"#,
            "",
        ] {
            let path = dir.path().join("bad.jsonl");
            std::fs::write(&path, format!("{good}\n{bad}\n")).expect("written");
            let error = Trace::read(&path).expect_err(bad);
            assert!(format!("{error:#}").contains("line 2"), "{error:#}");
        }
    }
}
