//! Lines out of a stream of bytes, for connections.
//!
//! The rules are those of the reference, whose reader has a window of 4096
//! bytes: a line ends with a newline, one carriage return before it is dropped,
//! and line and newline must fit into the window together. What is left at the
//! end of the stream is a line too, and keeps its carriage return.

use std::ops::ControlFlow;

/// Cuts the bytes of one connection into lines.
#[derive(Debug)]
pub(super) struct Lines {
    /// The beginning of a line whose end has not been read. Always shorter
    /// than the window.
    partial: Vec<u8>,
    window_bytes: usize,
    long_lines: LongLines,
    /// What comes up to the next newline belongs to a line that was too long.
    is_skipping: bool,
}

/// What a line that does not fit into the window does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongLines {
    /// It ends the connection, as with the reference.
    End,
    /// It is skipped.
    Skip,
}

/// A line as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framed<'a> {
    /// Without its end.
    Line(&'a [u8]),
    /// One that does not fit into the window.
    TooLong,
}

impl Lines {
    /// Lines of at most `window_bytes`, newline included.
    pub(super) fn new(window_bytes: usize, long_lines: LongLines) -> Lines {
        Lines {
            partial: Vec::new(),
            window_bytes,
            long_lines,
            is_skipping: false,
        }
    }

    /// Visits the lines that end within `bytes` and keeps the rest. Breaks, with
    /// nothing to be read after it, at a line that ends the connection.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        mut visit: impl FnMut(Framed<'_>),
    ) -> ControlFlow<()> {
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', bytes) {
            let piece = &bytes[start..newline];
            start = newline + 1;
            if std::mem::take(&mut self.is_skipping) {
                continue;
            }
            if !self.fits(piece) {
                self.refuse(&mut visit)?;
                continue;
            }
            if self.partial.is_empty() {
                visit(Framed::Line(without_carriage_return(piece)));
            } else {
                self.partial.extend_from_slice(piece);
                visit(Framed::Line(without_carriage_return(&self.partial)));
                self.partial.clear();
            }
        }
        let rest = &bytes[start..];
        if self.is_skipping {
            return ControlFlow::Continue(());
        }
        if !self.fits(rest) {
            self.is_skipping = true;
            return self.refuse(&mut visit);
        }
        self.partial.extend_from_slice(rest);
        ControlFlow::Continue(())
    }

    /// Whether what is kept, `more` and a newline fit into the window.
    fn fits(&self, more: &[u8]) -> bool {
        self.partial.len() + more.len() < self.window_bytes
    }

    fn refuse(&mut self, visit: &mut impl FnMut(Framed<'_>)) -> ControlFlow<()> {
        self.partial.clear();
        visit(Framed::TooLong);
        match self.long_lines {
            LongLines::End => ControlFlow::Break(()),
            LongLines::Skip => ControlFlow::Continue(()),
        }
    }

    /// The line without an end that the stream ended with, if it did.
    pub(super) fn rest(&self) -> Option<&[u8]> {
        (!self.partial.is_empty()).then_some(&self.partial)
    }
}

fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a window of 8 bytes, `chunks` give `lines`, each followed by `|`;
    /// `!` marks a line that is too long and ends the reading, and the rest at
    /// the end, if any, is in parentheses.
    fn check(chunks: &[&str], lines: &str) {
        check_with(LongLines::End, chunks, lines);
    }

    fn check_with(long_lines: LongLines, chunks: &[&str], lines: &str) {
        let mut seen = String::new();
        let mut framing = Lines::new(8, long_lines);
        let fed = chunks.iter().try_for_each(|chunk| {
            framing.feed(chunk.as_bytes(), |framed| match framed {
                Framed::Line(line) => {
                    seen += std::str::from_utf8(line).unwrap();
                    seen.push('|');
                }
                Framed::TooLong => seen.push('!'),
            })
        });
        if fed.is_continue()
            && let Some(rest) = framing.rest()
        {
            seen += &format!("({})", std::str::from_utf8(rest).unwrap());
        }
        assert_eq!(seen, lines, "{chunks:?}");
        assert!(framing.partial.len() < 8);
    }

    #[test]
    fn a_long_line_may_be_skipped() {
        let check = |chunks: &[&str], lines| check_with(LongLines::Skip, chunks, lines);
        check(&["12345678\na\n"], "!a|");
        check(&["a\n12345678\n"], "a|!");
        check(&["12345", "678", "9", "\n", "a"], "!(a)");
        check(&["12345678", "\n12345678\n", "a\n"], "!!a|");
        check(&["1234", "56789\nab\n"], "!ab|");
        check(&["12345678"], "!");
        check(&["1234567\n\n"], "1234567||");
    }

    #[test]
    fn lines_end_with_a_newline() {
        check(&[], "");
        check(&["a\n"], "a|");
        check(&["a\nbc\n\nd\n"], "a|bc||d|");
        check(&["\n"], "|");
        check(&["a\nb"], "a|(b)");
        check(&["ab"], "(ab)");
    }

    #[test]
    fn one_carriage_return_before_the_newline_is_dropped() {
        check(&["a\r\n"], "a|");
        check(&["a\r\r\n"], "a\r|");
        check(&["a\rb\n"], "a\rb|");
        check(&["\r\n"], "|");
        check(&["a\r", "\n"], "a|");
        check(&["a\r"], "(a\r)");
    }

    #[test]
    fn a_line_may_come_in_pieces() {
        check(&["a", "b", "\n", "c\n"], "ab|c|");
        check(&["a\nb", "c\nd", "\ne"], "a|bc|d|(e)");
        check(&["abc", "", "d\n"], "abcd|");
    }

    #[test]
    fn a_line_and_its_newline_fit_into_the_window() {
        check(&["1234567\n"], "1234567|");
        check(&["12345678\n"], "!");
        check(&["123456\r\n"], "123456|");
        check(&["1234567\r\n"], "!");
        check(&["1234567"], "(1234567)");
        check(&["12345678"], "!");
        check(&["1234", "567\n8"], "1234567|(8)");
        check(&["1234", "5678\n"], "!");
        check(&["1234", "5678"], "!");
        check(&["a\nb\n12345678", "c\n"], "a|b|!");
    }
}
