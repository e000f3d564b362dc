//! Text of any bytes to text that the parser can be given.
//!
//! The parser reads UTF-16 wrongly and does not say where a bad character is;
//! and version 0.3 of its crate panics on three inputs, none of them strange: a
//! block scalar at the end of a file without a last line break, a backslash in
//! that place, and a tag with a comma behind it (its issues 6 and 7). In a
//! program that aborts on panics, and reads its files again while it runs, none
//! of them may reach it.

use libyaml_safer::{Encoding, Scanner};

use super::SyntaxError;

/// Bytes of text; the largest mapping files we know have a few hundred KiB.
const TEXT_LEN_MAX: usize = 16 << 20;

/// What the parser gets.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) text: String,
    /// If the last line break had to be added: the index at which a block
    /// scalar ends that must give it back.
    pub(super) unterminated_end: Option<u64>,
}

/// Decodes and checks `text`, and ends it with a line break.
pub(super) fn prepare(text: &[u8]) -> Result<Prepared, SyntaxError> {
    if text.len() > TEXT_LEN_MAX {
        let mebibytes = TEXT_LEN_MAX >> 20;
        let message = format!("the file is larger than {mebibytes} MiB: split it");
        return Err(SyntaxError::new(1, message));
    }
    let mut text = decode(text)?;
    check_characters(&text)?;
    let unterminated_end = terminate(&mut text);
    check_tags_before_commas(&text)?;
    Ok(Prepared {
        text,
        unterminated_end,
    })
}

/// To UTF-8 without byte order mark.
fn decode(text: &[u8]) -> Result<String, SyntaxError> {
    match text {
        [0xff, 0xfe, rest @ ..] => decode_utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => decode_utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => {
            str::from_utf8(rest).map(str::to_owned).map_err(|error| {
                let line = line_at(&rest[..error.valid_up_to()]);
                SyntaxError::new(line, "not valid UTF-8: save the file as UTF-8")
            })
        }
    }
}

fn decode_utf16(text: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, SyntaxError> {
    let (pairs, rest) = text.as_chunks();
    let units: Vec<u16> = pairs.iter().copied().map(unit).collect();
    match String::from_utf16(&units) {
        Ok(text) if rest.is_empty() => Ok(text),
        _ => Err(SyntaxError::new(
            1,
            "not valid UTF-16: save the file as UTF-8",
        )),
    }
}

/// The line that the end of `text` is on.
fn line_at(text: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', text).count() + 1
}

/// Refuses control characters, for the parser would not say where they are;
/// and lines that start with a byte order mark, which it would take for indented.
fn check_characters(text: &str) -> Result<(), SyntaxError> {
    let printable = |c| matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..);
    let mut previous = '\n';
    for (at, c) in text.char_indices() {
        if !printable(c) || c == '\u{feff}' && matches!(previous, '\n' | '\r') {
            let what = c.escape_default();
            return Err(SyntaxError::new(
                line_at(&text.as_bytes()[..at]),
                format!("the character {what} is not allowed here: remove it"),
            ));
        }
        previous = c;
    }
    Ok(())
}

/// Adds the last line break if it is missing. The result is where the text ends
/// then, unless its last line is blank and so no part of a block scalar.
fn terminate(text: &mut String) -> Option<u64> {
    const BREAKS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    let last_line = text.rsplit(BREAKS).next().unwrap_or("");
    if last_line.is_empty() {
        return None;
    }
    let is_content = !last_line.trim_matches([' ', '\t']).is_empty();
    text.push('\n');
    is_content.then_some(text.len() as u64)
}

/// Refuses a tag that touches the comma behind it, as in `[!x, y]`: there the
/// scanner panics (and yaml.v2 takes the comma for a part of the tag).
///
/// Only the scanner knows whether an exclamation mark starts a tag. It is
/// asked by way of the text up to the comma with another character in the
/// comma's place, which behind a tag, and only there, is an error of its own.
fn check_tags_before_commas(text: &str) -> Result<(), SyntaxError> {
    /// Neither blank nor legal in a tag.
    const STAND_IN: &str = "\u{e000}\n";
    /// Each is a scan of the text before it. Real files have none; more are
    /// refused unseen.
    const PROBES_MAX: usize = 32;

    for (probes, comma) in suspicious_commas(text).enumerate() {
        let line = line_at(&text.as_bytes()[..comma]);
        let probe = [&text[..comma], STAND_IN].concat();
        let mut scanner = Scanner::new();
        scanner.set_encoding(Encoding::Utf8);
        scanner.set_input(probe.as_bytes());
        let in_tag = scanner.find_map(Result::err).is_some_and(|error| {
            error.context() == Some("while scanning a tag")
                && error
                    .problem_mark()
                    .is_some_and(|mark| mark.index == comma as u64)
        });
        if in_tag || probes == PROBES_MAX {
            let message = "a comma follows a tag: put a space between them, or quote the value";
            return Err(SyntaxError::new(line, message));
        }
    }
    Ok(())
}

/// Where a comma follows characters that may be a tag, though perhaps in a
/// quoted text or a comment.
fn suspicious_commas(text: &str) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    memchr::memchr_iter(b',', bytes).filter(|&comma| may_end_tag(&bytes[..comma]))
}

/// If `text` may end in `!tag`, `!handle!tag` or `!<verbatim>`.
fn may_end_tag(text: &[u8]) -> bool {
    let uri = |byte: u8| byte.is_ascii_alphanumeric() || b"-_;/?:@&=+$.%!~*'()".contains(&byte);
    if let Some(text) = text.strip_suffix(b">") {
        let end = |byte| !uri(byte) && !b",[]".contains(&byte);
        let start = text.iter().rposition(|&byte| end(byte));
        return start.is_some_and(|start| text[..=start].ends_with(b"!<"));
    }
    // Within a word, an exclamation mark does not start a token.
    let starts_token = |at: usize| {
        at == 0
            || !text[at - 1].is_ascii_alphanumeric() && !b"-_;/@&=+$.%!~*()".contains(&text[at - 1])
    };
    let start = text
        .iter()
        .rposition(|&byte| !uri(byte))
        .map_or(0, |at| at + 1);
    memchr::memchr_iter(b'!', &text[start..]).any(|at| starts_token(start + at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: impl AsRef<[u8]>, prepared: &str) {
        assert_eq!(prepare(text.as_ref()).unwrap().text, prepared);
    }

    fn check_error(text: impl AsRef<[u8]>, line: usize, fragment: &str) {
        let error = prepare(text.as_ref()).unwrap_err();
        assert!(error.message.contains(fragment), "{}", error.message);
        assert_eq!(error.line, line, "{}", error.message);
    }

    #[test]
    fn encodings() {
        check("aé\n", "aé\n");
        check(b"\xef\xbb\xbfa\n", "a\n");
        check(b"\xff\xfea\0\xe9\0", "aé\n");
        check(b"\xfe\xff\0a\xd8\x3d\xde\x00", "a😀\n");
        check_error(b"a\nb\xff", 2, "save the file as UTF-8");
        check_error(b"\xc3", 1, "save the file as UTF-8");
        check_error(b"\xff\xfea\0b", 1, "save the file as UTF-8");
        check_error(b"\xfe\xff\xd8\x3d", 1, "save the file as UTF-8");
        check_error("a\nb\0", 2, "\\u{0} is not allowed");
        check_error("a\n\u{feff}b", 2, "\\u{feff} is not allowed");
        check_error("x".repeat(TEXT_LEN_MAX + 1), 1, "larger than 16 MiB");
    }

    #[test]
    fn line_breaks() {
        for (text, end) in [
            ("", None),
            ("a\n", None),
            ("a\r", None),
            ("a\u{2028}", None),
            ("a\n \t", None),
            ("a", Some(2)),
            ("a\n é", Some(6)),
        ] {
            let prepared = prepare(text.as_bytes()).unwrap();
            assert_eq!(prepared.unterminated_end, end, "{text:?}");
        }
    }

    #[test]
    fn tags_before_commas() {
        for text in [
            "[!x, y]",
            "{a: !!null, b: c}",
            "[!<x,y>, z]",
            "['a'!, 'b']",
            "[é!x, !x, !x]",
            "[!a%41!b:', x]",
        ] {
            check_error(format!("a:\n  {text}"), 2, "a comma follows a tag");
        }
        for text in [
            "[!y , !y x, z]\n",
            "{a: 'x !y, z', b: '!', c: wow!, d: x !y, e: ''}\n",
            "a: x !y, z # !y, z\n",
            "a: \"'!', !y,\"\n",
            "a: |\n  !y, z\n  <!-- -->, !<z>, z\n",
        ] {
            check(text, text);
        }
    }
}
