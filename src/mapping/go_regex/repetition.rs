//! Repetition: `*`, `+`, `?` and counts, of what came last.

use super::{Item, Result, Translator};

/// Most copies that nested counts may ask for, as in Go: `(a{100}){10}`.
const COPIES_MAX: u32 = 1000;

impl<'p> Translator<'p> {
    /// At `operator`, with what it repeats written already.
    pub(super) fn repeat(&mut self, operator: &Operator<'p>) -> Result<()> {
        let start = self.rest;
        self.rest = operator.after;
        let &Operator { text, min, max, .. } = operator;
        if min > COPIES_MAX || max.is_some_and(|max| max > COPIES_MAX || max < min) {
            return Err(format!(
                "has the bad count `{text}`; counts ascend and end at {COPIES_MAX}"
            ));
        }
        let lazy = self.take_if("?") != self.flags.lazy;
        let Some(item) = self.group.last.take() else {
            return Err(format!("has nothing that `{text}` could repeat"));
        };
        // Perl gives `a++` a meaning of its own, so Go refuses it.
        if let Some(next) = self::operator(self.rest) {
            self.rest = next.after;
            return Err(format!("repeats a repetition: {}", self.quote("", start)));
        }
        if item.is_repetition {
            // Go allows this with something in between, as in `a*(?i)?`.
            self.rust.insert_str(item.start, "(?:");
            self.rust.push(')');
        }
        self.rust.push_str(text);
        if lazy {
            self.rust.push('?');
        }
        let copies = match max.unwrap_or(min) {
            0 if max.is_some() => 1,
            count if text.starts_with('{') => item.copies.saturating_mul(count.max(1)),
            _ => item.copies,
        };
        if copies > COPIES_MAX {
            return Err(format!(
                "asks for more than {COPIES_MAX} copies with `{text}`"
            ));
        }
        self.push(Item {
            start: item.start,
            is_repetition: true,
            depth: item.depth + 1,
            copies,
        })
    }
}

/// A repetition operator at the start of a text.
pub(super) struct Operator<'p> {
    /// Without a `?` that follows it.
    text: &'p str,
    min: u32,
    max: Option<u32>,
    after: &'p str,
}

/// Reads `*`, `+`, `?`, `{2}`, `{2,}` or `{2,3}`. Braces around anything else
/// are ordinary characters.
pub(super) fn operator(text: &str) -> Option<Operator<'_>> {
    let (min, max, length) = match text.as_bytes().first()? {
        b'*' => (0, None, 1),
        b'+' => (1, None, 1),
        b'?' => (0, Some(1), 1),
        b'{' => {
            let is_count = |byte: &u8| byte.is_ascii_digit() || *byte == b',';
            let length = text.bytes().skip(1).take_while(is_count).count();
            let (counts, after) = text[1..].split_at(length);
            after.strip_prefix('}')?;
            let (min, max) = match counts.split_once(',') {
                None => (count(counts)?, Some(count(counts)?)),
                Some((min, "")) => (count(min)?, None),
                Some((min, max)) => (count(min)?, Some(count(max)?)),
            };
            (min, max, length + 2)
        }
        _ => return None,
    };
    let (text, after) = text.split_at(length);
    Some(Operator {
        text,
        min,
        max,
        after,
    })
}

/// Digits without leading zeros; what is too large for the type is too large
/// for a count as well.
fn count(digits: &str) -> Option<u32> {
    let is_count = !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    is_count.then(|| digits.parse().unwrap_or(u32::MAX))
}
