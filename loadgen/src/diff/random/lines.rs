//! Random StatsD lines, from alphabets so small that names and tags collide, and
//! with every odd thing in them that a parser has to decide about.

use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use super::avoid::Avoid;
use super::pick;

/// Segments of names; mapping patterns are made of the same.
pub const SEGMENTS: [&str; 9] = ["a", "b", "ab", "dag", "x1", "9", "e-f", "A_b", "task_2"];

/// Segments that no pattern names.
const ODD_SEGMENTS: [&str; 7] = ["", "é", "--", "a b", "a---b", "😱", "%"];

/// Names of a summary's or histogram's own samples, which only some types may
/// bear; see [`super::avoid`].
const PARTS: [&str; 4] = ["part", "part.count", "part.sum", "part.bucket"];

const VALUES: [&str; 8] = ["1", "2", "3", "0.5", "10", "100", "0", "7.25"];

const ODD_VALUES: [&str; 44] = [
    "+1",
    "-1",
    "+0.5",
    "-2.5",
    "-0",
    "+0",
    "1e3",
    "1E-2",
    "1e+2",
    ".5",
    "5.",
    "1_000",
    "0x1p4",
    "0X1.8P1",
    "0x_1p1",
    "inf",
    "-Inf",
    "+infinity",
    "INF",
    "NaN",
    "nan",
    "1e-999",
    "5e-324",
    "",
    "abc",
    "1e999",
    "-1e999",
    "+nan",
    "-nan",
    "0x10",
    "0b11",
    "--5",
    "+-5",
    " 5",
    "5 ",
    "1,5",
    "1e",
    "1e+",
    "_1",
    "1_",
    "1__0",
    ".",
    "0x",
    "infin",
];

const TYPES: [&str; 5] = ["c", "g", "ms", "h", "d"];

const ODD_TYPES: [&str; 8] = ["s", "kv", "m", "C", "", "ms ", "cc", "µ"];

const FACTORS: [&str; 8] = ["1", "0.5", "0.1", "0.25", "0.3", "0.7", "2", "0.05"];

const ODD_FACTORS: [&str; 12] = [
    "", "0", "-1", "-0.5", "x", "nan", "inf", "1e999", "1e-320", "0x1p-1", "+0.5", "0.5 ",
];

/// Two letters and more: a rule's labels may have the same names.
pub const TAG_KEYS: [&str; 5] = ["tag", "host", "env", "la", "lb"];

const ODD_TAG_KEYS: [&str; 8] = ["t", "t.a", "t-a", "é", "9k", "_u", "a b", ""];

const TAG_VALUES: [&str; 12] = [
    "v",
    "w",
    "prod",
    "a:b",
    "a=b",
    "é",
    "\"q\"",
    "back\\slash",
    "x y",
    "#v",
    "",
    "v\r",
];

/// Lines that no grammar makes.
const ODD_LINES: [&str; 18] = [
    "",
    ":",
    "::",
    "a",
    "a:",
    ":1|c",
    "a|c",
    "a:1",
    "a:1|",
    "a:|c",
    "a::1|ms",
    "a:1|h:2:3|h",
    "_sc|name|0",
    "_sc|name|0|#tag:v",
    "_e{5,4}:title|text",
    "a:1|c\r",
    "a[:1|c",
    "a]:1|c",
];

/// More would not fit a datagram.
const DATAGRAM_BYTES_MAX: usize = 30_000;

/// A datagram of some lines. None of them is to be avoided.
pub fn datagram(rng: &mut SmallRng, avoid: &mut Avoid) -> Vec<u8> {
    let lines = match rng.random_range(0..10) {
        0..7 => 1,
        7 | 8 => rng.random_range(2..=4),
        _ => 10,
    };
    let mut datagram = Vec::new();
    for index in 0..lines {
        if index > 0 {
            datagram.push(b'\n');
        }
        let end = pick(rng, &["", "", "", "", "", "", "", "\r"]);
        loop {
            let mut line = line(rng);
            line.extend_from_slice(end.as_bytes());
            if avoid.line(&line).is_none() {
                datagram.extend_from_slice(&line);
                break;
            }
        }
        if datagram.len() > DATAGRAM_BYTES_MAX {
            break;
        }
    }
    if rng.random_bool(0.2) {
        datagram.push(b'\n');
    }
    datagram
}

fn line(rng: &mut SmallRng) -> Vec<u8> {
    let line = match rng.random_range(0..20) {
        0 => pick(rng, &ODD_LINES).to_owned(),
        1..4 => aggregate(rng),
        4..7 => several_samples(rng),
        _ => one_sample(rng),
    };
    let mut line = line.into_bytes();
    while rng.random_bool(0.08) {
        damage(rng, &mut line);
    }
    line
}

/// `name:value|type|sections`
fn one_sample(rng: &mut SmallRng) -> String {
    let is_tagged_by_name = rng.random_bool(0.3);
    let name = if is_tagged_by_name {
        tagged_name(rng)
    } else {
        name(rng)
    };
    // Both styles at once are an error, which needs no many tests.
    let has_tags = rng.random_bool(if is_tagged_by_name { 0.05 } else { 0.4 });
    let mut line = format!("{name}:{}|{}", value(rng), stat_type(rng));
    sections(rng, has_tags, &mut line);
    line
}

/// `name:value:value|type|sections`
fn aggregate(rng: &mut SmallRng) -> String {
    let mut line = if rng.random_bool(0.2) {
        tagged_name(rng)
    } else {
        name(rng)
    };
    for _ in 0..rng.random_range(2..=4) {
        line = format!("{line}:{}", value(rng));
    }
    let types = ["ms", "h", "d", "ms", "h", "d", "c", "g"];
    line = format!("{line}|{}", pick(rng, &types));
    let has_tags = rng.random_bool(0.4);
    sections(rng, has_tags, &mut line);
    line
}

/// `name:value|type:value|type`
fn several_samples(rng: &mut SmallRng) -> String {
    let mut line = if rng.random_bool(0.3) {
        tagged_name(rng)
    } else {
        name(rng)
    };
    for _ in 0..rng.random_range(2..=4) {
        line = format!("{line}:{}|{}", value(rng), stat_type(rng));
        sections(rng, false, &mut line);
    }
    line
}

fn name(rng: &mut SmallRng) -> String {
    if rng.random_bool(0.05) {
        return pick(rng, &PARTS).to_owned();
    }
    let segments = (0..rng.random_range(1..=4)).map(|_| {
        let segments = if rng.random_bool(0.05) {
            &ODD_SEGMENTS[..]
        } else {
            &SEGMENTS[..]
        };
        pick(rng, segments)
    });
    segments.collect::<Vec<_>>().join(".")
}

/// A name with InfluxDB, Librato or SignalFX tags.
fn tagged_name(rng: &mut SmallRng) -> String {
    let name = name(rng);
    let list = tag_list(rng, '=');
    match rng.random_range(0..4) {
        0 => format!("{name},{list}"),
        1 => format!("{name}#{list}"),
        2 => format!("{name}[{list}]"),
        _ => {
            let (head, tail) = name.split_at(name.find('.').unwrap_or(0));
            format!("{head}[{list}]{tail}")
        }
    }
}

fn tag_list(rng: &mut SmallRng, separator: char) -> String {
    let pieces = (0..rng.random_range(1..=3)).map(|_| {
        let keys = if rng.random_bool(0.15) {
            &ODD_TAG_KEYS[..]
        } else {
            &TAG_KEYS[..]
        };
        let key = pick(rng, keys);
        let value = if rng.random_bool(0.02) {
            // Longer than a page of memory, and than a line over TCP may be.
            "long-".repeat(rng.random_range(200..=1000))
        } else {
            pick(rng, &TAG_VALUES).to_owned()
        };
        match rng.random_range(0..20) {
            0 => key.to_owned(),
            1 => String::new(),
            2 => format!("#{key}{separator}{value}"),
            _ => format!("{key}{separator}{value}"),
        }
    });
    pieces.collect::<Vec<_>>().join(",")
}

fn value(rng: &mut SmallRng) -> &'static str {
    let values = if rng.random_bool(0.25) {
        &ODD_VALUES[..]
    } else {
        &VALUES[..]
    };
    pick(rng, values)
}

fn stat_type(rng: &mut SmallRng) -> &'static str {
    let types = if rng.random_bool(0.03) {
        &ODD_TYPES[..]
    } else {
        &TYPES[..]
    };
    pick(rng, types)
}

/// What follows the type, tags among it if there are to be any.
fn sections(rng: &mut SmallRng, has_tags: bool, line: &mut String) {
    let mut sections = Vec::new();
    if rng.random_bool(0.2) {
        let factors = if rng.random_bool(0.2) {
            &ODD_FACTORS[..]
        } else {
            &FACTORS[..]
        };
        sections.push(format!("@{}", pick(rng, factors)));
    }
    if has_tags {
        sections.push(format!("#{}", tag_list(rng, ':')));
        if rng.random_bool(0.2) {
            sections.push(format!("c:{}", pick(rng, &["id1", "id2", "a:b", ""])));
        }
    }
    if rng.random_bool(0.05) {
        sections.push(pick(rng, &["T1656581400", "T", "x", "", "c", "@0.5", "#"]).to_owned());
    }
    if rng.random_bool(0.2) {
        let middle = sections.len() / 2;
        sections.rotate_left(middle);
    }
    for section in sections {
        line.push('|');
        line.push_str(&section);
    }
}

/// Changes a byte, often to one that means something.
fn damage(rng: &mut SmallRng, line: &mut Vec<u8>) {
    let byte = match b":|#@,=[].-+\r\xff\xc3 ".choose(rng) {
        Some(&byte) if rng.random_bool(0.8) => byte,
        _ => rng.random(),
    };
    // A newline would make it two lines.
    let byte = if byte == b'\n' { b'_' } else { byte };
    let at = rng.random_range(0..=line.len());
    match rng.random_range(0..3) {
        0 => line.insert(at, byte),
        1 if at < line.len() => line[at] = byte,
        _ if at < line.len() => drop(line.remove(at)),
        _ => {}
    }
}
