//! Log records on standard error, as statsd_exporter writes them: `logfmt` or
//! JSON, each with time, level, place in the source and message first.
//!
//! People have parsers and alerts for these lines, so names, order and quoting
//! follow Go's `log/slog` (its `TextHandler` and `JSONHandler`). The formatters
//! of `tracing-subscriber` offer none of the three; this file is what is left
//! to say on top of them.

use std::fmt::{self, Write as _};
use std::io;
use std::sync::LazyLock;

use jiff::ZonedDateTime;
use jiff::tz::Offset;
use regex::Regex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How a record is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `time=… level=INFO source=file.rs:12 msg="…" key=value`, time to the
    /// millisecond.
    Logfmt,
    /// One JSON object a line with the same keys, time to the nanosecond.
    Json,
}

/// Sends the records of this process from `level` up to standard error.
///
/// The first call decides; later ones change nothing, so that several
/// exporters can run in one process of tests.
pub fn init(level: Level, format: Format) {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        // Reporting a failed write on the very stream that failed would panic.
        .log_internal_errors(false)
        .event_format(Records {
            format,
            now: ZonedDateTime::now,
        })
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Formats events; the clock is a field so that tests can stop it.
struct Records {
    format: Format,
    now: fn() -> ZonedDateTime,
}

impl<S, N> FormatEvent<S, N> for Records
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let path = metadata.file().unwrap_or_default();
        let file = path.rsplit('/').next().unwrap_or_default();
        let line = metadata.line().unwrap_or_default();
        let mut message = Message::default();
        event.record(&mut message);

        let mut pairs = Pairs::new(self.format);
        pairs.text("time", &timestamp(&(self.now)(), self.format));
        pairs.text("level", metadata.level().as_str());
        pairs.text("source", &format!("{file}:{line}"));
        pairs.text("msg", &message.0);
        event.record(&mut pairs);
        writeln!(writer, "{}", pairs.finish())
    }
}

/// The text of an event, which `tracing` keeps among its fields.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE {
            self.0 = format!("{value:?}");
        }
    }
}

/// The name `tracing` gives the text of an event.
const MESSAGE: &str = "message";

/// A record in the making: keys and values in the order they come.
struct Pairs {
    format: Format,
    out: String,
}

impl Pairs {
    fn new(format: Format) -> Pairs {
        let out = String::new();
        Pairs { format, out }
    }

    /// A value that may need quotes.
    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        match self.format {
            Format::Logfmt if !needs_quotes(value) => self.out.push_str(value),
            Format::Logfmt => push_go_string(&mut self.out, value),
            Format::Json => push_json_string(&mut self.out, value),
        }
    }

    /// A number or a truth value, spelled alike in both formats.
    fn bare(&mut self, key: &str, value: impl fmt::Display) {
        self.key(key);
        self.out.push_str(&value.to_string());
    }

    fn key(&mut self, key: &str) {
        match self.format {
            Format::Logfmt => {
                let separator = if self.out.is_empty() { "" } else { " " };
                self.out.push_str(separator);
                self.out.push_str(key);
                self.out.push('=');
            }
            Format::Json => {
                let separator = if self.out.is_empty() { '{' } else { ',' };
                self.out.push(separator);
                push_json_string(&mut self.out, key);
                self.out.push(':');
            }
        }
    }

    fn finish(mut self) -> String {
        if self.format == Format::Json {
            self.out.push('}');
        }
        self.out
    }
}

impl Visit for Pairs {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != MESSAGE {
            self.text(field.name(), &format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for infinity.
        if value.is_finite() {
            self.bare(field.name(), value);
        } else {
            self.text(field.name(), &value.to_string());
        }
    }
}

/// RFC 3339 in the zone of `now`; as in Go, an offset of zero is `Z` and the
/// nanoseconds of JSON lose their trailing zeros.
fn timestamp(now: &ZonedDateTime, format: Format) -> String {
    let fraction = match format {
        Format::Logfmt => "%.3f",
        Format::Json => "%.f",
    };
    let zone = if now.offset() == Offset::UTC {
        "Z"
    } else {
        "%:z"
    };
    now.strftime(&format!("%Y-%m-%dT%H:%M:%S{fraction}{zone}"))
        .to_string()
}

/// What Go's `unicode.IsPrint` denies: anything but letters, marks, numbers,
/// punctuation, symbols and the ASCII space.
static UNPRINTABLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[^\p{L}\p{M}\p{N}\p{P}\p{S} ]").expect("the pattern is a constant")
});

/// Whether `TextHandler` would quote: a replacement character counts because
/// it stands for bytes that were not UTF-8.
fn needs_quotes(text: &str) -> bool {
    text.is_empty() || text.contains([' ', '=', '"', '\u{fffd}']) || UNPRINTABLE.is_match(text)
}

/// A string literal of Go, as `strconv.Quote` writes it.
fn push_go_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\u{7}' => out.push_str(r"\a"),
            '\u{8}' => out.push_str(r"\b"),
            '\t' => out.push_str(r"\t"),
            '\n' => out.push_str(r"\n"),
            '\u{b}' => out.push_str(r"\v"),
            '\u{c}' => out.push_str(r"\f"),
            '\r' => out.push_str(r"\r"),
            _ if !UNPRINTABLE.is_match(character.encode_utf8(&mut [0; 4])) => out.push(character),
            '\0'..='\u{7f}' => push_escape(out, format_args!(r"\x{:02x}", u32::from(character))),
            '\u{80}'..='\u{ffff}' => {
                push_escape(out, format_args!(r"\u{:04x}", u32::from(character)));
            }
            _ => push_escape(out, format_args!(r"\U{:08x}", u32::from(character))),
        }
    }
    out.push('"');
}

/// A string of JSON. The two line separators of Unicode are escaped as well:
/// JavaScript would end the line there.
fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\t' => out.push_str(r"\t"),
            '\n' => out.push_str(r"\n"),
            '\r' => out.push_str(r"\r"),
            '\0'..' ' | '\u{2028}' | '\u{2029}' => {
                push_escape(out, format_args!(r"\u{:04x}", u32::from(character)));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn push_escape(out: &mut String, escape: fmt::Arguments<'_>) {
    out.write_fmt(escape).expect("a String takes any text");
}

/// What `run` logs on this thread from `level` up, at a fixed time: half past
/// one in the night to 14 May 2024, two hours east of Greenwich.
#[cfg(test)]
pub(crate) fn capture(level: Level, format: Format, run: impl FnOnce()) -> String {
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let buffer = Buffer::default();
    let writer = buffer.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(move || writer.clone())
        .event_format(Records {
            format,
            now: || "2024-05-14T01:30:00.0429[+02:00]".parse().unwrap(),
        })
        .finish();
    tracing::subscriber::with_default(subscriber, run);
    let bytes = buffer.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[cfg(test)]
mod tests {
    use tracing::{debug, error, info, warn};

    use super::*;

    /// What `run` logs, with `N` for the numbers of source lines.
    fn logged(format: Format, run: impl FnOnce()) -> String {
        let text = capture(Level::INFO, format, run);
        let line = Regex::new(r"log\.rs:\d+").unwrap();
        line.replace_all(&text, "log.rs:N").into_owned()
    }

    fn some_records() {
        debug!("not shown");
        info!(udp = ":9125", unixgram = "", "Accepting traffic");
        warn!(
            shards = 4,
            on = true,
            factor = 1.5,
            rate = f64::INFINITY,
            "Reloaded"
        );
        error!(error = %"no \"such\"\nfile", path = ?"a b", "Stop");
    }

    #[test]
    fn records_as_logfmt() {
        let expected = r#"
time=2024-05-14T01:30:00.042+02:00 level=INFO source=log.rs:N msg="Accepting traffic" udp=:9125 unixgram=""
time=2024-05-14T01:30:00.042+02:00 level=WARN source=log.rs:N msg=Reloaded shards=4 on=true factor=1.5 rate=inf
time=2024-05-14T01:30:00.042+02:00 level=ERROR source=log.rs:N msg=Stop error="no \"such\"\nfile" path="\"a b\""
"#;
        assert_eq!(logged(Format::Logfmt, some_records), expected.trim_start());
    }

    #[test]
    fn records_as_json() {
        let expected = r#"
{"time":"2024-05-14T01:30:00.0429+02:00","level":"INFO","source":"log.rs:N","msg":"Accepting traffic","udp":":9125","unixgram":""}
{"time":"2024-05-14T01:30:00.0429+02:00","level":"WARN","source":"log.rs:N","msg":"Reloaded","shards":4,"on":true,"factor":1.5,"rate":"inf"}
{"time":"2024-05-14T01:30:00.0429+02:00","level":"ERROR","source":"log.rs:N","msg":"Stop","error":"no \"such\"\nfile","path":"\"a b\""}
"#;
        let records = logged(Format::Json, some_records);
        assert_eq!(records, expected.trim_start());
        for record in records.lines() {
            serde_json::from_str::<serde_json::Value>(record).unwrap();
        }
    }

    #[test]
    fn a_record_without_text_has_an_empty_one() {
        let expected =
            "time=2024-05-14T01:30:00.042+02:00 level=INFO source=log.rs:N msg=\"\" a=1\n";
        assert_eq!(logged(Format::Logfmt, || info!(a = 1)), expected);
    }

    #[test]
    fn times() {
        for (now, logfmt, json) in [
            (
                "2026-11-23T20:40:26.147000001[+00:00]",
                "2026-11-23T20:40:26.147Z",
                "2026-11-23T20:40:26.147000001Z",
            ),
            (
                "2026-11-23T20:40:26.9999[-03:30]",
                "2026-11-23T20:40:26.999-03:30",
                "2026-11-23T20:40:26.9999-03:30",
            ),
            (
                "2026-11-23T20:40:26[+00:00]",
                "2026-11-23T20:40:26.000Z",
                "2026-11-23T20:40:26Z",
            ),
        ] {
            let now: ZonedDateTime = now.parse().unwrap();
            assert_eq!(timestamp(&now, Format::Logfmt), logfmt);
            assert_eq!(timestamp(&now, Format::Json), json);
        }
    }

    #[test]
    fn text_values() {
        for (text, logfmt, json) in [
            ("plain", "plain", r#""plain""#),
            ("", r#""""#, r#""""#),
            ("a b", r#""a b""#, r#""a b""#),
            ("a=b", r#""a=b""#, r#""a=b""#),
            ("say \"x\"", r#""say \"x\"""#, r#""say \"x\"""#),
            (r"C:\x", r"C:\x", r#""C:\\x""#),
            (r"C:\x y", r#""C:\\x y""#, r#""C:\\x y""#),
            ("\t\r\n", r#""\t\r\n""#, r#""\t\r\n""#),
            (
                "\u{0}\u{7}\u{8}\u{b}\u{c}\u{1f}",
                r#""\x00\a\b\v\f\x1f""#,
                r#""\u0000\u0007\u0008\u000b\u000c\u001f""#,
            ),
            ("\u{7f}", r#""\x7f""#, "\"\u{7f}\""),
            ("größe😱", "größe😱", "\"größe😱\""),
            ("e\u{301}", "e\u{301}", "\"e\u{301}\""),
            ("a\u{a0}b", r#""a\u00a0b""#, "\"a\u{a0}b\""),
            ("\u{202e}x", r#""\u202ex""#, "\"\u{202e}x\""),
            ("\u{e0001}", r#""\U000e0001""#, "\"\u{e0001}\""),
            ("\u{2028}", r#""\u2028""#, r#""\u2028""#),
            ("\u{fffd}", "\"\u{fffd}\"", "\"\u{fffd}\""),
        ] {
            for (format, expected) in [(Format::Logfmt, logfmt), (Format::Json, json)] {
                let mut pairs = Pairs::new(format);
                pairs.text("k", text);
                let out = pairs.finish();
                let value = out.strip_prefix("k=");
                let value = value.or_else(|| out.strip_prefix("{\"k\":")?.strip_suffix('}'));
                assert_eq!(value, Some(expected), "{text:?}");
            }
        }
    }
}
