//! What the client would like: the format of the page by `Accept`, and its
//! compression by `Accept-Encoding`.
//!
//! Clients were tuned against the reference, so its reading of the headers is
//! kept with its peculiarities: that of `github.com/munnerz/goautoneg` and
//! `github.com/prometheus/common/expfmt` for the format, that of
//! `github.com/golang/gddo/httputil` for the compression. A header that makes
//! no sense is never an error; it gets the plain text page.

use crate::render::Format;

/// A header with more clauses is read up to here. Real ones have about five,
/// and sorting them in must not become work that grows with the square of what
/// a stranger sends.
const CLAUSES_MAX: usize = 64;

/// The format of a page and what its content type says about names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageType {
    /// How the page is written.
    pub(super) format: Format,
    /// The escaping scheme for names. It is only repeated to the client: all
    /// our names are legal in every scheme.
    pub(super) escaping: &'static str,
}

// === impl PageType ===

impl PageType {
    /// The best page for the value of an `Accept` header.
    pub(super) fn negotiate(accept: &str) -> PageType {
        let mut escaping = "underscores";
        for clause in clauses(accept) {
            // A scheme counts even if its clause is not the one chosen.
            escaping = clause.escaping().unwrap_or(escaping);
            if let Some(format) = clause.format() {
                return PageType { format, escaping };
            }
        }
        let format = Format::Text;
        PageType { format, escaping }
    }

    /// The value of the `Content-Type` header.
    pub(super) fn content_type(self) -> String {
        const PROTOBUF: &str =
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily";
        let escaping = self.escaping;
        let encoding = match self.format {
            Format::Text => {
                return format!("text/plain; version=0.0.4; charset=utf-8; escaping={escaping}");
            }
            Format::ProtobufDelimited => "delimited",
            Format::ProtobufText => "text",
            Format::ProtobufCompactText => "compact-text",
        };
        format!("{PROTOBUF}; encoding={encoding}; escaping={escaping}")
    }
}

/// Whether the values of the `Accept-Encoding` headers prefer gzip to a page
/// as it is. Names are compared with regard to case.
pub(super) fn prefers_gzip(accept_encoding: impl Iterator<Item = impl AsRef<str>>) -> bool {
    let mut gzip = 0.0_f64;
    let mut identity = 0.0_f64;
    for header in accept_encoding {
        for coding in codings(header.as_ref()) {
            if matches!(coding.name, "gzip" | "*") {
                gzip = gzip.max(coding.quality);
            }
            if matches!(coding.name, "identity" | "*") {
                identity = identity.max(coding.quality);
            }
        }
    }
    gzip > identity
}

// === Accept ===

/// One media range of an `Accept` header.
#[derive(Debug)]
struct Clause<'a> {
    kind: &'a str,
    subtype: &'a str,
    quality: f32,
    parameters: Vec<(&'a str, &'a str)>,
}

/// The clauses of the header in the order in which they are tried.
fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut sorted: Vec<Clause<'_>> = Vec::new();
    for clause in accept.split(',').filter_map(Clause::read).take(CLAUSES_MAX) {
        // The order is no total order (a media type goes before a wildcard of
        // any quality), so a library sort may not be asked. Moving each clause
        // forward past its lessers is what the reference does.
        let last_before = sorted.iter().rposition(|other| !clause.precedes(other));
        sorted.insert(last_before.map_or(0, |at| at + 1), clause);
    }
    sorted
}

impl<'a> Clause<'a> {
    fn read(text: &'a str) -> Option<Clause<'a>> {
        let (range, parameters) = split(text.trim_matches(' '), ';');
        let (kind, subtype) = match split(range, '/') {
            ("*", "") => ("*", "*"),
            (_, "") => return None,
            (_, subtype) if subtype.contains('/') => return None,
            (kind, subtype) => (kind, subtype.trim_matches(' ')),
        };
        let mut clause = Clause {
            kind,
            subtype,
            quality: 1.0,
            parameters: Vec::new(),
        };
        for parameter in parameters.split(';') {
            match split(parameter, '=') {
                (_, "") => {}
                (_, value) if value.contains('=') => {}
                ("q", quality) => clause.quality = quality.parse().unwrap_or(0.0),
                (name, value) => clause.parameters.push((name, value.trim_matches(' '))),
            }
        }
        Some(clause)
    }

    fn precedes(&self, other: &Clause<'_>) -> bool {
        self.quality > other.quality
            || (self.kind != "*" && other.kind == "*")
            || (self.subtype != "*" && other.subtype == "*")
    }

    fn format(&self) -> Option<Format> {
        match (self.kind, self.subtype) {
            ("text", "plain") => match self.parameter("version") {
                "" | "0.0.4" => Some(Format::Text),
                _ => None,
            },
            ("application", "vnd.google.protobuf")
                if self.parameter("proto") == "io.prometheus.client.MetricFamily" =>
            {
                match self.parameter("encoding") {
                    "delimited" => Some(Format::ProtobufDelimited),
                    "text" => Some(Format::ProtobufText),
                    "compact-text" => Some(Format::ProtobufCompactText),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn escaping(&self) -> Option<&'static str> {
        let wanted = self.parameter("escaping");
        ["allow-utf-8", "underscores", "dots", "values"]
            .into_iter()
            .find(|known| *known == wanted)
    }

    /// The last value given for a parameter, empty if there is none.
    fn parameter(&self, name: &str) -> &'a str {
        let mut given = self.parameters.iter().rev();
        given
            .find(|(given, _)| *given == name)
            .map_or("", |(_, value)| value)
    }
}

/// The parts before and after the first `separator`; the first one trimmed.
fn split(text: &str, separator: char) -> (&str, &str) {
    let (before, after) = text.split_once(separator).unwrap_or((text, ""));
    (before.trim_matches(' '), after)
}

// === Accept-Encoding ===

/// One coding of an `Accept-Encoding` header.
struct Coding<'a> {
    name: &'a str,
    quality: f64,
}

/// The codings of a header up to the first that cannot be read.
fn codings(header: &str) -> impl Iterator<Item = Coding<'_>> {
    let mut rest = Some(header);
    std::iter::from_fn(move || {
        let (coding, after) = read_coding(rest?)?;
        rest = skip_space(after).strip_prefix(',').map(skip_space);
        Some(coding)
    })
}

fn read_coding(text: &str) -> Option<(Coding<'_>, &str)> {
    let after_name = text.trim_start_matches(is_token);
    let name = &text[..text.len() - after_name.len()];
    if name.is_empty() {
        return None;
    }
    let (quality, rest) = match skip_space(after_name).strip_prefix(';') {
        Some(parameter) => read_quality(skip_space(parameter).strip_prefix("q=")?)?,
        None => (1.0, after_name),
    };
    Some((Coding { name, quality }, rest))
}

/// Reads `0`, `1`, `0.5` and even `1.5` off the front.
fn read_quality(text: &str) -> Option<(f64, &str)> {
    let after_whole = text.strip_prefix(['0', '1'])?;
    let rest = match after_whole.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => after_whole,
    };
    let number = &text[..text.len() - rest.len()];
    Some((number.parse().ok()?, rest))
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c)
}

fn skip_space(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOBUF: &str =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily";

    fn check(accept: &str, format: Format, escaping: &str) {
        let got = PageType::negotiate(accept);
        assert_eq!((got.format, got.escaping), (format, escaping), "{accept}");
    }

    fn check_format(accept: &str, format: Format) {
        check(accept, format, "underscores");
    }

    #[test]
    fn what_is_not_offered_gets_text() {
        for accept in [
            "",
            "*",
            "*/*",
            "text/*",
            "text/html",
            "text/plain",
            "text/plain;version=0.0.4",
            "text/plain;version=1.0.0",
            "TEXT/PLAIN",
            "application/json",
            "application/openmetrics-text;version=1.0.0",
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/vnd.google.protobuf",
            "application/vnd.google.protobuf;proto=other;encoding=delimited",
            ",;=/,,q=;/;",
            "\u{e9}/\u{e9};\u{e9}=\u{e9}",
        ] {
            check_format(accept, Format::Text);
        }
    }

    #[test]
    fn protobuf_in_three_encodings() {
        for (encoding, format) in [
            ("delimited", Format::ProtobufDelimited),
            ("text", Format::ProtobufText),
            ("compact-text", Format::ProtobufCompactText),
            ("other", Format::Text),
        ] {
            check_format(&format!("{PROTOBUF};encoding={encoding}"), format);
            check_format(&format!("{PROTOBUF}; encoding = {encoding} "), format);
        }
    }

    #[test]
    fn the_highest_quality_wins() {
        let check = |protobuf_q: &str, text_q: &str, format| {
            let protobuf = format!("{PROTOBUF};encoding=delimited{protobuf_q}");
            let text = format!("text/plain;version=0.0.4{text_q}");
            check_format(&format!("{protobuf},{text}"), format);
            // Ties go by order, so only the others may be turned around.
            if protobuf_q != text_q {
                check_format(&format!("{text}, {protobuf}"), format);
            }
        };
        check(";q=0.4", ";q=0.8", Format::Text);
        check(";q=0.8", ";q=0.4", Format::ProtobufDelimited);
        check("", ";q=0.9", Format::ProtobufDelimited);
        check(";q=0.5", ";q=0.5", Format::ProtobufDelimited);
        check("", "", Format::ProtobufDelimited);
        check(";q=0", ";q=0.1", Format::Text);
        check(";q=x", ";q=0.1", Format::Text);
        check(";q=0.5 ;x=y", ";q=0.1", Format::Text);
        check(";q=0.5 ", ";q=0.1 ", Format::ProtobufDelimited);
        check(";q=", ";q=0.9", Format::ProtobufDelimited);
        check(";q=2", "", Format::ProtobufDelimited);
        check(";q=0.5;q=0.1", ";q=0.2", Format::Text);
    }

    #[test]
    fn wildcards_go_last_whatever_their_quality() {
        let protobuf = format!("{PROTOBUF};encoding=delimited;q=0.1");
        for header in [
            format!("*/*,{protobuf}"),
            format!("{protobuf},*/*;q=0.9"),
            format!("text/*;q=0.9,{protobuf},*"),
        ] {
            check_format(&header, Format::ProtobufDelimited);
        }
    }

    #[test]
    fn the_last_known_escaping_before_the_choice_is_repeated() {
        check("text/plain;escaping=dots", Format::Text, "dots");
        check("text/plain;escaping=other", Format::Text, "underscores");
        check("text/html;escaping=values", Format::Text, "values");
        check(
            "*/*;escaping=dots;q=0.1,text/plain;q=0.5",
            Format::Text,
            "underscores",
        );
        check("text/plain;q=0.5,*/*;escaping=dots", Format::Text, "dots");
        check(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            Format::Text,
            "allow-utf-8",
        );
    }

    #[test]
    fn endless_headers_are_cut() {
        let header = "text/html,".repeat(100_000) + PROTOBUF + ";encoding=delimited";
        check_format(&header, Format::Text);
    }

    #[test]
    fn content_types() {
        let check = |accept: &str, want| {
            assert_eq!(PageType::negotiate(accept).content_type(), want);
        };
        check(
            "",
            "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
        );
        check(
            &format!("{PROTOBUF};encoding=delimited;escaping=allow-utf-8"),
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
             encoding=delimited; escaping=allow-utf-8",
        );
        check(
            &format!("{PROTOBUF};encoding=compact-text"),
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
             encoding=compact-text; escaping=underscores",
        );
    }

    #[test]
    fn compression() {
        for (headers, want) in [
            (&["gzip"][..], true),
            (&["gzip, deflate, br"], true),
            (&["deflate", "gzip"], true),
            (&["identity;q=0.5, gzip;q=0.8"], true),
            (&["gzip ; q=0.001\t,\tidentity;q=0"], true),
            (&["identity;q=0.5,gzip;q=1."], true),
            (&["identity;q=1.5,gzip;q=1.6"], true),
            (&["gzip;q=1,,identity;q=1"], true),
            (&["*;q=0.5,gzip"], true),
            (&["*,gzip"], false),
            (&[], false),
            (&[""], false),
            (&["*"], false),
            (&["GZIP"], false),
            (&["x-gzip"], false),
            (&["zstd"], false),
            (&["identity"], false),
            (&["gzip;q=0"], false),
            (&["*;q=0"], false),
            (&["identity,gzip"], false),
            (&["gzip;q=0.5, identity;q=0.8"], false),
            (&["gzip;q=2"], false),
            (&["gzip;q= 1"], false),
            (&["gzip;Q=1"], false),
            (&["gzip;level=1"], false),
            (&["br;level=1,gzip"], false),
            (&[",gzip"], false),
            (&["é,gzip"], false),
        ] {
            assert_eq!(prefers_gzip(headers.iter()), want, "{headers:?}");
        }
    }
}
