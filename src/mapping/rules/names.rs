//! What names and patterns may look like.
//!
//! The rules are the reference's; they are stricter than Prometheus' own.

/// If `name` may be a label of a rule: at least two of `[a-zA-Z0-9_]`, the
/// first no digit.
pub(super) fn is_label_name(name: &str) -> bool {
    name.len() >= 2 && starts_word(name) && name.bytes().all(is_word_byte)
}

/// If Prometheus keeps `name` for itself.
pub(super) fn is_reserved_label(name: &str) -> bool {
    name.starts_with("__") || name == "le" || name == "quantile"
}

/// If `template` may be the name of a metric: `[a-zA-Z0-9_]`, the first no
/// digit, with references `$1` or `${1}` in any place. Nor is a reference with
/// only one of the braces refused.
pub(super) fn is_name_template(template: &str) -> bool {
    let mut rest = template;
    while !rest.is_empty() {
        let is_first = rest.len() == template.len();
        if let Some(reference) = rest.strip_prefix('$') {
            let digits = reference.strip_prefix('{').unwrap_or(reference);
            let end = digits.trim_start_matches(|c: char| c.is_ascii_digit());
            if end.len() == digits.len() {
                return false;
            }
            rest = end.strip_prefix('}').unwrap_or(end);
        } else if is_word_byte(rest.as_bytes()[0]) && (!is_first || starts_word(rest)) {
            rest = &rest[1..];
        } else {
            return false;
        }
    }
    !template.is_empty()
}

/// If `pattern` is a glob: segments between dots, each either `*` or a word of
/// `[a-zA-Z0-9_-]` that starts with no dash; the first one with no digit either.
pub(super) fn is_glob(pattern: &str) -> bool {
    let is_word = |segment: &str| {
        !segment.is_empty()
            && !segment.starts_with('-')
            && segment
                .bytes()
                .all(|byte| is_word_byte(byte) || byte == b'-')
    };
    !pattern.starts_with(|c: char| c.is_ascii_digit())
        && pattern
            .split('.')
            .all(|segment| segment == "*" || is_word(segment))
}

/// The number of a glob's captures.
pub(super) fn captures(glob: &str) -> usize {
    glob.split('.').filter(|&segment| segment == "*").count()
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn starts_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(is_legal: fn(&str) -> bool, legal: &[&str], illegal: &[&str]) {
        for text in legal {
            assert!(is_legal(text), "{text} is legal");
        }
        for text in illegal {
            assert!(!is_legal(text), "{text} is not legal");
        }
    }

    #[test]
    fn label_names() {
        check(
            is_label_name,
            &["ab", "a1", "__", "_1", "le", "Job"],
            &["", "a", "_", "1a", "a-b", "a.b", "a b", "éé", "aé", "ab\n"],
        );
        check(
            is_reserved_label,
            &["__x", "le", "quantile"],
            &["_x", "Le", "job"],
        );
    }

    #[test]
    fn name_templates() {
        check(
            is_name_template,
            &[
                "a", "_", "a1", "N0", "$1", "x${1}_$2", "$1_foo", "${1", "$1}", "${12}3", "$1$2",
            ],
            &[
                "", "0a", "a-b", "a.b", "a:b", "a b", "é", "$", "a$", "$name", "${name}", "${}",
                "{1}", "a}", "$1}}", "${{1}}", "a\n", "$ 1", "$-1",
            ],
        );
    }

    #[test]
    fn globs() {
        check(
            is_glob,
            &[
                "a", "*", "A", "a.*", "*.*", "a.1.2x", "_a-b", "a.b-", "*.1", "a._",
            ],
            &[
                "", ".", "..", ".a", "a.", "a..b", "a.*.", "a.b*", "*a", "**", "a.*b", "a b", "1a",
                "1", "-a", "a.-b", "a!", "a:b", "é", "a.é", "a\n", "a.b\n",
            ],
        );
    }

    #[test]
    fn captures_of_globs() {
        for (glob, count) in [("a", 0), ("*", 1), ("a.*.b.*", 2)] {
            assert_eq!(captures(glob), count, "{glob}");
        }
    }
}
