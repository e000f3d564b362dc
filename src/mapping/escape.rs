//! Legal metric and label names from whatever a sender calls its metrics.

use std::borrow::Cow;

/// Makes a name of ASCII letters, digits and underscores: every other character
/// becomes an underscore, a run of dashes becomes one, and a leading digit gets
/// one before it. Different names may become the same. Only "" stays empty.
pub fn escape(name: &str) -> Cow<'_, str> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let leading_digit = name.as_bytes().first().is_some_and(u8::is_ascii_digit);
    if !leading_digit && name.bytes().all(is_legal) {
        return Cow::Borrowed(name);
    }
    let mut escaped = String::with_capacity(name.len() + 1);
    if leading_digit {
        escaped.push('_');
    }
    let mut previous = '\0';
    for c in name.chars() {
        if c.is_ascii() && is_legal(c as u8) {
            escaped.push(c);
        } else if c != '-' || previous != '-' {
            escaped.push('_');
        }
        previous = c;
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_legal() {
        for (name, expect) in [
            ("", ""),
            ("clean_Name_9", "clean_Name_9"),
            ("a.b", "a_b"),
            ("a..b", "a__b"),
            ("with-dash", "with_dash"),
            ("with---dashes", "with_dashes"),
            ("a-.-b", "a___b"),
            ("--", "_"),
            ("9lives", "_9lives"),
            ("9-1", "_9_1"),
            ("é9", "_9"),
            ("\u{1f631}", "_"),
            ("\u{43a}\u{43b}", "__"),
            ("a:b c/d", "a_b_c_d"),
            (".*.", "___"),
        ] {
            assert_eq!(escape(name), expect, "{name}");
        }
    }
}
