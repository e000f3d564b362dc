//! The four tag dialects.
//!
//! Three put tags into the name and share one grammar, pieces `key=value`
//! between commas; they differ in how the list starts. DogStatsD has a section
//! of its own with `key:value`. Keys come out as written: making them legal
//! label names is the mapping's business.

use std::borrow::Cow;

use super::{Dialect, Dialects, Tally};

/// Takes the tags out of a name, appends them to `tags` and returns the rest,
/// with the dialect they are in. At most one applies to a name; SignalFX is
/// looked for first.
pub(super) fn strip_from_name<'a>(
    name: &'a str,
    dialects: &Dialects,
    tags: &mut Vec<(&'a str, &'a str)>,
    tally: &mut Tally,
) -> (Cow<'a, str>, Option<Dialect>) {
    if dialects.signalfx {
        match (name.find('['), name.find(']')) {
            (Some(open), Some(close)) if open < close => {
                tally.tag_errors += read_list(&name[open + 1..close], '=', tags);
                let rest = [&name[..open], &name[close + 1..]].concat();
                return (Cow::Owned(rest), Some(Dialect::Signalfx));
            }
            (None, None) => {}
            // One bracket alone, or the closing one first.
            _ => {
                tally.tag_errors += 1;
                return (Cow::Borrowed(name), None);
            }
        }
    }
    let starts_list =
        |byte: u8| (byte == b'#' && dialects.librato) || (byte == b',' && dialects.influxdb);
    match name.bytes().position(starts_list) {
        Some(at) => {
            tally.tag_errors += read_list(&name[at + 1..], '=', tags);
            let dialect = match name.as_bytes()[at] {
                b'#' => Dialect::Librato,
                _ => Dialect::Influxdb,
            };
            (Cow::Borrowed(&name[..at]), Some(dialect))
        }
        None => (Cow::Borrowed(name), None),
    }
}

/// Reads a DogStatsD section without its `#`; returns the number of bad pieces.
/// One more `#` before a key is dropped, as some PHP clients write it.
pub(super) fn read_dogstatsd<'a>(list: &'a str, tags: &mut Vec<(&'a str, &'a str)>) -> u64 {
    pieces(list)
        .map(|piece| piece.strip_prefix('#').unwrap_or(piece))
        .filter(|piece| !read_piece(piece, ':', tags))
        .count() as u64
}

/// Reads a list of tags in a name; returns the number of bad pieces.
fn read_list<'a>(list: &'a str, separator: char, tags: &mut Vec<(&'a str, &'a str)>) -> u64 {
    pieces(list)
        .filter(|piece| !read_piece(piece, separator, tags))
        .count() as u64
}

/// The pieces between commas. Nothing after the last comma is no piece.
fn pieces(list: &str) -> impl Iterator<Item = &str> {
    list.split_terminator(',')
}

/// Appends a tag if `piece` is one. Key and value must not be empty.
fn read_piece<'a>(piece: &'a str, separator: char, tags: &mut Vec<(&'a str, &'a str)>) -> bool {
    match piece.split_once(separator) {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => {
            tags.push((key, value));
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_with(dialects: Dialects, name: &str, rest: &str, want: &[(&str, &str)], errors: u64) {
        let mut tags = Vec::new();
        let mut tally = Tally::default();
        let (stripped, _) = strip_from_name(name, &dialects, &mut tags, &mut tally);
        assert_eq!(stripped, rest, "{name}");
        assert_eq!(tags, want, "{name}");
        assert_eq!(tally.tag_errors, errors, "{name}");
    }

    fn check(name: &str, rest: &str, want: &[(&str, &str)], errors: u64) {
        check_with(Dialects::ALL, name, rest, want, errors);
    }

    #[test]
    fn lists_behind_a_name() {
        check("a", "a", &[], 0);
        check("a,t=v", "a", &[("t", "v")], 0);
        check("a#t=v,u=w=x", "a", &[("t", "v"), ("u", "w=x")], 0);
        check("a,t=v#u=w", "a", &[("t", "v#u=w")], 0);
        check("a,t=v,", "a", &[("t", "v")], 0);
        check("a,", "a", &[], 0);
        check("a,,t=v", "a", &[("t", "v")], 1);
        check("a,t,=v,u=,t=v", "a", &[("t", "v")], 3);
        check("a,t=1,t=2", "a", &[("t", "1"), ("t", "2")], 0);
        check(",t=v", "", &[("t", "v")], 0);
    }

    #[test]
    fn brackets() {
        check("a[t=v]", "a", &[("t", "v")], 0);
        check("[t=v]a", "a", &[("t", "v")], 0);
        check("a[t=v,u=w]b", "ab", &[("t", "v"), ("u", "w")], 0);
        check("a[]b", "ab", &[], 0);
        check("a[t]b", "ab", &[], 1);
        // Nothing else is read, neither a second group nor a list.
        check("a[t=v]b,u=w", "ab,u=w", &[("t", "v")], 0);
        check("a[t=v]b[u=w]", "ab[u=w]", &[("t", "v")], 0);
        for half in ["a[t=v", "at=v]", "a]t=v[b", "a[t=v,u=w"] {
            check(half, half, &[], 1);
        }
    }

    #[test]
    fn a_dialect_that_is_off_leaves_the_name_alone() {
        let only = |signalfx, librato, influxdb| Dialects {
            dogstatsd: true,
            influxdb,
            librato,
            signalfx,
        };
        check_with(only(false, true, true), "a[t=v]", "a[t=v]", &[], 0);
        check_with(
            only(false, true, true),
            "a[t=v,u=w",
            "a[t=v",
            &[("u", "w")],
            0,
        );
        check_with(
            only(true, false, true),
            "a#t=v,u=w",
            "a#t=v",
            &[("u", "w")],
            0,
        );
        check_with(
            only(true, true, false),
            "a,t=v#u=w",
            "a,t=v",
            &[("u", "w")],
            0,
        );
        check_with(
            only(false, false, false),
            "a,t=v#[u=w]",
            "a,t=v#[u=w]",
            &[],
            0,
        );
    }

    #[test]
    fn dogstatsd_sections() {
        for (list, want, errors) in [
            ("t:v", vec![("t", "v")], 0),
            ("t:v,u:a:b", vec![("t", "v"), ("u", "a:b")], 0),
            ("#t:v,##u:w", vec![("t", "v"), ("#u", "w")], 0),
            ("", vec![], 0),
            (",", vec![], 1),
            ("t:v,", vec![("t", "v")], 0),
            ("t:v,,u:w", vec![("t", "v"), ("u", "w")], 1),
            ("t,t:,:v,#", vec![], 4),
        ] {
            let mut tags = Vec::new();
            assert_eq!(read_dogstatsd(list, &mut tags), errors, "{list}");
            assert_eq!(tags, want, "{list}");
        }
    }
}
