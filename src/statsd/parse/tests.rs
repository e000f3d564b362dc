//! Lines of every shape: the samples they give and the reasons they are
//! refused for.

use super::*;
use LineError::*;
use StatType::*;

/// A sample as written in the tables: name, type, value, sign, count, tags.
type Row<'a> = (&'a str, StatType, f64, bool, u64, &'a [(&'a str, &'a str)]);

fn check_with(dialects: Dialects, line: &str, expect: &[Row<'_>], errors: &[LineError]) -> Tally {
    let mut tally = Tally::default();
    let mut seen = 0;
    parse_line(line.as_bytes(), &dialects, &mut tally, |sample| {
        let expect = expect
            .get(seen)
            .unwrap_or_else(|| panic!("{line}: too many samples"));
        let row: Row<'_> = (
            sample.name,
            sample.stat,
            sample.value,
            sample.relative,
            sample.count,
            sample.tags,
        );
        assert_eq!(&row, expect, "{line}");
        seen += 1;
    });
    assert_eq!(seen, expect.len(), "{line}: samples");
    let mut want = [0; LineError::ALL.len()];
    for error in errors {
        want[*error as usize] += 1;
    }
    assert_eq!(tally.errors, want, "{line}: {:?}", LineError::ALL);
    tally
}

fn check(line: &str, expect: &[Row<'_>], errors: &[LineError]) -> Tally {
    check_with(Dialects::ALL, line, expect, errors)
}

#[test]
fn datagrams_split_at_every_newline() {
    for (datagram, expect) in [
        ("a:1|c", vec!["a:1|c"]),
        ("a:1|c\n", vec!["a:1|c", ""]),
        ("a\n\nb", vec!["a", "", "b"]),
        ("a\r\nb", vec!["a\r", "b"]),
        ("", vec![""]),
    ] {
        let mut lines = Vec::new();
        for_each_line(datagram.as_bytes(), |line| {
            lines.push(String::from_utf8_lossy(line).into_owned());
        });
        assert_eq!(lines, expect);
    }
}

#[test]
fn parts_cut_around_the_value() {
    let parts = Parts::split(b"a,t=v:1.5|ms|#x:y").unwrap();
    assert_eq!(
        (parts.name, parts.value, parts.tail),
        (&b"a,t=v"[..], &b"1.5"[..], &b"ms|#x:y"[..])
    );
    for line in ["", "a", ":1|c", "a:", "a:1", "a|c"] {
        assert_eq!(Parts::split(line.as_bytes()), None, "{line}");
    }
}

#[test]
fn types_and_signs() {
    check("a:1|c", &[("a", Counter, 1.0, false, 1, &[])], &[]);
    check("a:-1|c", &[("a", Counter, -1.0, false, 1, &[])], &[]);
    check("a:3|g", &[("a", Gauge, 3.0, false, 1, &[])], &[]);
    check("a:+3|g", &[("a", Gauge, 3.0, true, 1, &[])], &[]);
    check("a:-3|g", &[("a", Gauge, -3.0, true, 1, &[])], &[]);
    check("a:200|ms", &[("a", Observer, 0.2, false, 1, &[])], &[]);
    check("a:200|h", &[("a", Observer, 200.0, false, 1, &[])], &[]);
    check("a:200|d", &[("a", Observer, 200.0, false, 1, &[])], &[]);
    for line in ["a:1|s", "a:1|kv", "a:1|C", "a:1|", "a:1|m"] {
        check(line, &[], &[IllegalEvent]);
    }
}

#[test]
fn lines_without_the_needed_parts() {
    check("", &[], &[]);
    for line in ["a", ":1|c", ":", "a|c"] {
        assert_eq!(check(line, &[], &[MalformedLine]).samples, 0);
    }
    for line in ["a:", "a:1"] {
        assert_eq!(check(line, &[], &[NotEnoughPartsAfterColon]).samples, 0);
    }
    let mut tally = Tally::default();
    parse_line(b"a:1|c|#t:\xff", &Dialects::ALL, &mut tally, |_| panic!());
    assert_eq!(tally.errors[MalformedLine as usize], 1);
}

#[test]
fn sections_that_do_not_fit() {
    check("a:1|c|", &[], &[MalformedComponent]);
    check("a:1|c||#t:v", &[], &[MalformedComponent]);
    check("a:1||@0.1", &[], &[IllegalEvent]);
    check("a:1|c|@0.5|#t:v|c:i|T1|T2", &[], &[MalformedComponent]);
    check("a:1|c|#t:v|x", &[], &[InvalidSampleFactor]);
    check("a:x|c|", &[], &[MalformedValue]);
    check("a:abc|s", &[], &[MalformedValue]);
    let row = (
        "a",
        Counter,
        2.0,
        false,
        1,
        &[("t", "v"), ("container_id", "i")][..],
    );
    check("a:1|c|@0.5|#t:v|c:i|T1", &[row], &[]);
}

#[test]
fn several_samples() {
    check(
        "a:1|c:2|g:x|h:3|ms",
        &[
            ("a", Counter, 1.0, false, 1, &[]),
            ("a", Gauge, 2.0, false, 1, &[]),
            ("a", Observer, 0.003, false, 1, &[]),
        ],
        &[MalformedValue],
    );
    let tally = check(
        "a:1|h:2:3|h",
        &[
            ("a", Observer, 1.0, false, 1, &[]),
            ("a", Observer, 3.0, false, 1, &[]),
        ],
        &[MalformedComponent],
    );
    assert_eq!(tally.samples, 3);
}

#[test]
fn extended_aggregation() {
    let row = |value| ("a", Observer, value, false, 1, &[][..]);
    check("a:1:2|h", &[row(1.0), row(2.0)], &[]);
    check("a::1|d", &[row(1.0)], &[MalformedValue]);
    check(
        "a:1:2|h|@0.5",
        &[
            ("a", Observer, 1.0, false, 2, &[]),
            ("a", Observer, 2.0, false, 2, &[]),
        ],
        &[],
    );
    for line in ["a:1:2|c", "a:1:2|s", "a:1:2|h:3|h"] {
        assert_eq!(check(line, &[], &[InvalidExtendedAggregateType]).samples, 0);
    }
    let tally = check(
        "a:1:2|h|#t:v,u",
        &[
            ("a", Observer, 1.0, false, 1, &[("t", "v")]),
            ("a", Observer, 2.0, false, 1, &[("t", "v")]),
        ],
        &[],
    );
    assert_eq!((tally.tag_errors, tally.tagged), (2, 2));
}

#[test]
fn sampling() {
    for (line, value) in [
        ("a:1|c|@0.1", 10.0),
        ("a:1|c|@0", 1.0),
        ("a:1|c|@2", 0.5),
        ("a:1|c|@-1", -1.0),
        ("a:1|c|@inf", 0.0),
        ("a:1|c|@0.1|@0.5", 20.0),
    ] {
        check(line, &[("a", Counter, value, false, 1, &[])], &[]);
    }
    for (line, count) in [
        ("a:1|h|@0.1", 10),
        ("a:1|h|@0.3", 3),
        ("a:1|h|@0.7", 1),
        ("a:1|h|@0.1|@0.5", 2),
        ("a:1|h|@1e-12", OBSERVATION_COUNT_MAX),
    ] {
        check(line, &[("a", Observer, 1.0, false, count, &[])], &[]);
    }
    for line in [
        "a:1|h|@2",
        "a:1|h|@-0.5",
        "a:1|h|@nan",
        "a:1|h|@inf",
        "a:1|h|@1e-300",
    ] {
        assert_eq!(check(line, &[], &[]).samples, 1);
    }
    check("a:1|g|@0.1", &[("a", Gauge, 1.0, false, 1, &[])], &[]);
    let row = ("a", Counter, 1.0, false, 1, &[][..]);
    check("a:1|c|@", &[row], &[InvalidSampleFactor]);
    check("a:1|c|@abc", &[row], &[InvalidSampleFactor]);
    check(
        "a:1|c|@1e999",
        &[("a", Counter, 0.0, false, 1, &[])],
        &[InvalidSampleFactor],
    );
}

#[test]
fn container_ids_and_newer_sections() {
    let row = |tags| ("a", Counter, 1.0, false, 1, tags);
    let id: &[(&str, &str)] = &[("container_id", "abc")];
    let tagged: &[(&str, &str)] = &[("t", "v"), ("container_id", "abc")];
    check("a:1|c|#t:v|c:abc", &[row(tagged)], &[]);
    check("a:1|c|#t:v|c:abc|e:it-false|card:low", &[row(tagged)], &[]);
    // Without tags the colon must not split the line.
    check("a:1|c|c:abc", &[row(id)], &[]);
    check("a:1|c|e:it-false", &[row(&[])], &[]);
    check("a:1|c|card:low", &[row(&[])], &[]);
    check("a:1|c:1|c|c:abc", &[row(&[]), row(id)], &[]);
    check("a:1|c:1|c", &[row(&[]), row(&[])], &[]);
    for line in ["a:1|c|#t:v|c", "a:1|c|#t:v|c:", "a:1|c|#t:v|cx", "a:1|c|c"] {
        check(line, &[], &[MalformedContainerId]);
    }
    // Where reading on would not help either, the colon does split.
    check("a:1|c|c:", &[], &[MalformedContainerId, MalformedComponent]);
    check("a:x|c|c:abc", &[], &[MalformedValue, MalformedComponent]);
    check(
        "a:1|c|e:2|g",
        &[("a", Gauge, 2.0, false, 1, &[])],
        &[InvalidSampleFactor],
    );
}

#[test]
fn mixed_styles() {
    check("a,t=v:1|c|#u:w", &[], &[MixedTaggingStyles]);
    let tally = check(
        "a,t:1|c|#u:w",
        &[("a", Counter, 1.0, false, 1, &[("u", "w")])],
        &[],
    );
    assert_eq!(tally.tag_errors, 1);
    // Also where the section would not be read.
    let off = Dialects {
        dogstatsd: false,
        ..Dialects::ALL
    };
    check_with(off, "a,t=v:1|c|#u:w", &[], &[MixedTaggingStyles]);
    check_with(
        off,
        "a:1|c|#u:w",
        &[("a", Counter, 1.0, false, 1, &[])],
        &[],
    );
}

/// The promise of [`Sample::divisor`]: the same line with another value
/// gives that value over the divisor and nothing else new.
#[test]
fn a_divisor_says_that_only_the_value_matters() {
    let divisor = |line: &str| {
        let mut divisors = Vec::new();
        parse_line(
            line.as_bytes(),
            &Dialects::ALL,
            &mut Tally::default(),
            |sample| {
                divisors.push(sample.divisor);
            },
        );
        divisors
    };
    for (line, expect) in [
        ("a:1|c", Some(1.0)),
        ("a:1|c|@0.1", Some(0.1)),
        ("a:1|g|@0.1", Some(1.0)),
        ("a:1|ms|@0.1|#t:v|c:x", Some(1000.0)),
        ("a,t=v:1|h", Some(1.0)),
        ("a:1|c|@0.1|@0.1", None),
        ("a:1|c|@x", None),
        ("a:1|c|#t", None),
        ("a,t:1|c", None),
        ("a:1|c|T1", None),
    ] {
        assert_eq!(divisor(line), [expect], "{line}");
    }
    assert_eq!(divisor("a:1:2|h"), [Some(1.0), Some(1.0)]);
    assert_eq!(divisor("a:1|c:2|c"), [None, None]);
}
