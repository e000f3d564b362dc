//! Lines out of a stream of bytes, for connections.
//!
//! The rules are those of the reference, whose reader has a window of 4096
//! bytes: a line ends with a newline, one carriage return before it is dropped,
//! and line and newline must fit into the window together. What is left at the
//! end of the stream is a line too, and keeps its carriage return.

/// Cuts the bytes of one connection into lines.
#[derive(Debug)]
pub(super) struct Lines {
    /// The beginning of a line whose end has not been read. Always shorter
    /// than the window.
    partial: Vec<u8>,
    window_bytes: usize,
}

/// A line did not fit into the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Lines {
    /// Lines of at most `window_bytes`, newline included.
    pub(super) fn new(window_bytes: usize) -> Lines {
        Lines {
            partial: Vec::new(),
            window_bytes,
        }
    }

    /// Visits the lines that end within `bytes`, without their ends, and keeps
    /// the rest. Lines before one that is too long are visited; nothing can be
    /// read after it.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        mut visit: impl FnMut(&[u8]),
    ) -> Result<(), TooLong> {
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', bytes) {
            let piece = &bytes[start..newline];
            start = newline + 1;
            if self.partial.len() + piece.len() >= self.window_bytes {
                return Err(TooLong);
            }
            if self.partial.is_empty() {
                visit(without_carriage_return(piece));
            } else {
                self.partial.extend_from_slice(piece);
                visit(without_carriage_return(&self.partial));
                self.partial.clear();
            }
        }
        let rest = &bytes[start..];
        if self.partial.len() + rest.len() >= self.window_bytes {
            return Err(TooLong);
        }
        self.partial.extend_from_slice(rest);
        Ok(())
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
    /// the rest at the end, if any, is in parentheses, and `!` marks a line that
    /// is too long.
    fn check(chunks: &[&str], lines: &str) {
        let mut seen = String::new();
        let mut framing = Lines::new(8);
        let fed = chunks.iter().try_for_each(|chunk| {
            framing.feed(chunk.as_bytes(), |line| {
                seen += std::str::from_utf8(line).unwrap();
                seen.push('|');
            })
        });
        match (fed, framing.rest()) {
            (Err(TooLong), _) => seen.push('!'),
            (Ok(()), Some(rest)) => seen += &format!("({})", std::str::from_utf8(rest).unwrap()),
            (Ok(()), None) => {}
        }
        assert_eq!(seen, lines, "{chunks:?}");
        assert!(framing.partial.len() < 8);
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
