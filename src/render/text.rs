//! Prometheus text, version 0.0.4.
//!
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>. A
//! series writes its labels once and copies them to each of its lines; counters
//! and gauges allocate nothing.

use std::io::{self, Write};

use memchr::{memchr2, memchr3};

use super::Encoder;
use super::chunks::Chunks;
use super::number::write_number;
use crate::registry::{Kind, Reading};

/// See the module's documentation.
pub(super) struct Text<'a> {
    chunks: Chunks<'a>,
    /// Of the family.
    name: Vec<u8>,
    /// Of the series, as they stand between the braces.
    labels: Vec<u8>,
}

impl<'a> Text<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Text<'a> {
        Text {
            chunks: Chunks::new(out),
            name: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// Writes one line. `own_label` is a label that is not the series' but the
    /// line's; it stands last.
    fn sample(
        &mut self,
        suffix: &str,
        own_label: Option<(&str, f64)>,
        value: f64,
    ) -> io::Result<()> {
        let line = &mut self.chunks.bytes;
        line.extend_from_slice(&self.name);
        line.extend_from_slice(suffix.as_bytes());
        if !self.labels.is_empty() || own_label.is_some() {
            line.push(b'{');
            line.extend_from_slice(&self.labels);
            if let Some((name, value)) = own_label {
                if !self.labels.is_empty() {
                    line.push(b',');
                }
                line.extend_from_slice(name.as_bytes());
                line.extend_from_slice(b"=\"");
                write_number(line, value);
                line.push(b'"');
            }
            line.push(b'}');
        }
        line.push(b' ');
        write_number(line, value);
        line.push(b'\n');
        self.chunks.settle()
    }
}

impl Encoder for Text<'_> {
    fn begin_family(&mut self, name: &str, help: &str, kind: Kind) -> io::Result<()> {
        self.name.clear();
        self.name.extend_from_slice(name.as_bytes());
        let bytes = &mut self.chunks.bytes;
        bytes.extend_from_slice(b"# HELP ");
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b' ');
        write_escaped(bytes, help.as_bytes(), |rest| memchr2(b'\\', b'\n', rest));
        bytes.extend_from_slice(b"\n# TYPE ");
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(kind.as_str().as_bytes());
        bytes.push(b'\n');
        Ok(())
    }

    fn series<'a>(
        &mut self,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        _created_ms: Option<u64>,
        reading: &Reading,
    ) -> io::Result<()> {
        write_labels(&mut self.labels, labels);
        match reading {
            Reading::Counter(value) | Reading::Gauge(value) => self.sample("", None, *value),
            Reading::Summary(summary) => {
                for (quantile, value) in summary.quantiles() {
                    self.sample("", Some(("quantile", quantile)), value)?;
                }
                self.sample("_sum", None, summary.sum)?;
                self.sample("_count", None, summary.count as f64)
            }
            Reading::Histogram(histogram) => {
                for (bound, count) in &histogram.buckets {
                    self.sample("_bucket", Some(("le", *bound)), *count as f64)?;
                }
                let count = histogram.count as f64;
                self.sample("_bucket", Some(("le", f64::INFINITY)), count)?;
                self.sample("_sum", None, histogram.sum)?;
                self.sample("_count", None, count)
            }
        }
    }

    fn end_family(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        self.chunks.finish()
    }
}

fn write_labels<'a>(out: &mut Vec<u8>, labels: impl Iterator<Item = (&'a str, &'a str)>) {
    out.clear();
    for (name, value) in labels {
        if !out.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        write_escaped(out, value.as_bytes(), |rest| {
            memchr3(b'\\', b'"', b'\n', rest)
        });
        out.push(b'"');
    }
}

/// Appends `text` with a backslash before each byte that `find` finds, and a
/// newline as `\n`.
fn write_escaped(out: &mut Vec<u8>, text: &[u8], find: impl Fn(&[u8]) -> Option<usize>) {
    let mut rest = text;
    while let Some(at) = find(rest) {
        out.extend_from_slice(&rest[..at]);
        out.push(b'\\');
        out.push(if rest[at] == b'\n' { b'n' } else { rest[at] });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let mut out = b"left over".to_vec();
        for (labels, expect) in [
            (&[][..], ""),
            (&[("a", "")], "a=\"\""),
            (&[("a", "x y"), ("b", "\r{,}=é")], "a=\"x y\",b=\"\r{,}=é\""),
            (
                &[("a", "\\\"\n"), ("b", "1\n\n2")],
                r#"a="\\\"\n",b="1\n\n2""#,
            ),
        ] {
            write_labels(&mut out, labels.iter().copied());
            assert_eq!(std::str::from_utf8(&out), Ok(expect));
        }
    }
}
