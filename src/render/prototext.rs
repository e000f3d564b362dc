//! The messages of [`super::protobuf`] in protobuf's text format.
//!
//! People look at it, and tools that have the schema parse it; its
//! specification is <https://protobuf.dev/reference/protobuf/textformat-spec/>.
//! Go's implementation deliberately varies its white space, so nobody can
//! depend on ours.

use std::io::{self, Write};

use super::Encoder;
use super::chunks::Chunks;
use super::number::write_number;
use super::protobuf::{BucketSpan, Histogram, Metric, Summary, Timestamp};
use crate::registry::{Kind, Reading};

/// How fields are set apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// A field a line, indented; families are a blank line apart.
    Lines,
    /// A family a line.
    Compact,
}

/// See the module's documentation.
pub(super) struct Prototext<'a> {
    chunks: Chunks<'a>,
    layout: Layout,
    /// In how many messages within the family's the next field stands.
    depth: usize,
    /// It is the first field of its message.
    is_first: bool,
}

impl<'a> Prototext<'a> {
    pub(super) fn new(out: &'a mut dyn Write, layout: Layout) -> Prototext<'a> {
        Prototext {
            chunks: Chunks::new(out),
            layout,
            depth: 0,
            is_first: true,
        }
    }

    fn metric(&mut self, metric: &Metric) {
        for label in &metric.label {
            self.message("label", |text| {
                text.string("name", label.name.as_deref());
                text.string("value", label.value.as_deref());
            });
        }
        if let Some(gauge) = &metric.gauge {
            self.message("gauge", |text| text.number("value", gauge.value));
        }
        if let Some(counter) = &metric.counter {
            self.message("counter", |text| {
                text.number("value", counter.value);
                text.created(counter.created_timestamp.as_ref());
            });
        }
        if let Some(summary) = &metric.summary {
            self.message("summary", |text| text.summary(summary));
        }
        if let Some(histogram) = &metric.histogram {
            self.message("histogram", |text| text.histogram(histogram));
        }
    }

    fn summary(&mut self, summary: &Summary) {
        self.plain("sample_count", summary.sample_count);
        self.number("sample_sum", summary.sample_sum);
        for quantile in &summary.quantile {
            self.message("quantile", |text| {
                text.number("quantile", quantile.quantile);
                text.number("value", quantile.value);
            });
        }
        self.created(summary.created_timestamp.as_ref());
    }

    fn histogram(&mut self, histogram: &Histogram) {
        self.plain("sample_count", histogram.sample_count);
        self.number("sample_sum", histogram.sample_sum);
        for bucket in &histogram.bucket {
            self.message("bucket", |text| {
                text.plain("cumulative_count", bucket.cumulative_count);
                text.number("upper_bound", bucket.upper_bound);
            });
        }
        // Where the schema of the messages declares it.
        self.created(histogram.created_timestamp.as_ref());
        self.plain("schema", histogram.schema);
        self.number("zero_threshold", histogram.zero_threshold);
        self.plain("zero_count", histogram.zero_count);
        self.spans("negative_span", &histogram.negative_span);
        self.plain("negative_delta", histogram.negative_delta.iter().copied());
        self.spans("positive_span", &histogram.positive_span);
        self.plain("positive_delta", histogram.positive_delta.iter().copied());
    }

    fn spans(&mut self, name: &str, spans: &[BucketSpan]) {
        for span in spans {
            self.message(name, |text| {
                text.plain("offset", span.offset);
                text.plain("length", span.length);
            });
        }
    }

    fn created(&mut self, timestamp: Option<&Timestamp>) {
        if let Some(timestamp) = timestamp {
            self.message("created_timestamp", |text| {
                text.plain("seconds", Some(timestamp.seconds));
                text.plain("nanos", Some(timestamp.nanos));
            });
        }
    }

    // --- Fields; those without a value are left out.

    fn message(&mut self, name: &str, write_fields: impl FnOnce(&mut Self)) {
        self.begin_field(name);
        self.chunks.bytes.push(b'{');
        self.depth += 1;
        self.is_first = true;
        write_fields(self);
        self.depth -= 1;
        if self.layout == Layout::Lines {
            self.new_line();
        }
        self.chunks.bytes.push(b'}');
        self.is_first = false;
    }

    fn string(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.begin_field(name);
            write_quoted(&mut self.chunks.bytes, value);
        }
    }

    fn number(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.begin_field(name);
            let bytes = &mut self.chunks.bytes;
            if value.is_nan() {
                bytes.extend_from_slice(b"nan");
            } else if value.is_infinite() {
                bytes.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
            } else {
                write_number(bytes, value);
            }
        }
    }

    /// Whole numbers and names of enumerations; a repeated field has several.
    fn plain<T: ToString>(&mut self, name: &str, values: impl IntoIterator<Item = T>) {
        for value in values {
            self.begin_field(name);
            self.chunks
                .bytes
                .extend_from_slice(value.to_string().as_bytes());
        }
    }

    fn begin_field(&mut self, name: &str) {
        match self.layout {
            Layout::Lines if self.depth > 0 || !self.is_first => self.new_line(),
            Layout::Compact if !self.is_first => self.chunks.bytes.push(b' '),
            _ => {}
        }
        self.is_first = false;
        let bytes = &mut self.chunks.bytes;
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b':');
        if self.layout == Layout::Lines {
            bytes.push(b' ');
        }
    }

    fn new_line(&mut self) {
        let bytes = &mut self.chunks.bytes;
        bytes.push(b'\n');
        bytes.extend((0..self.depth * 2).map(|_| b' '));
    }
}

impl Encoder for Prototext<'_> {
    fn begin_family(&mut self, name: &str, help: &str, kind: Kind) -> io::Result<()> {
        self.is_first = true;
        self.string("name", Some(name));
        self.string("help", Some(help));
        self.plain("type", [kind.as_str().to_ascii_uppercase()]);
        Ok(())
    }

    fn series<'a>(
        &mut self,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        created_ms: Option<u64>,
        reading: &Reading,
    ) -> io::Result<()> {
        let metric = Metric::new(labels, created_ms, reading);
        self.message("metric", |text| text.metric(&metric));
        self.chunks.settle()
    }

    fn end_family(&mut self) -> io::Result<()> {
        self.chunks.bytes.extend_from_slice(match self.layout {
            Layout::Lines => b"\n\n",
            Layout::Compact => b"\n",
        });
        self.chunks.settle()
    }

    fn finish(self) -> io::Result<()> {
        self.chunks.finish()
    }
}

/// Quotes a string; what may stand between quotes as it is, does.
fn write_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..b' ' | 0x7f => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted() {
        for (text, expect) in [
            ("", r#""""#),
            ("a 'b' é", r#""a 'b' é""#),
            ("\"\\\n\r\t\u{1}\u{7f}", r#""\"\\\n\r\t\x01\x7f""#),
        ] {
            let mut out = Vec::new();
            write_quoted(&mut out, text);
            assert_eq!(std::str::from_utf8(&out), Ok(expect));
        }
    }
}
