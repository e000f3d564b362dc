//! What the text of a scalar means: null, truth, number or text.
//!
//! YAML 1.1 as yaml.v2 resolves it, which is neither the YAML 1.1 types
//! repository (no base 60) nor YAML 1.2 (`yes` is true, `017` is fifteen).

use std::borrow::Cow;

use crate::statsd::parse_number;

/// One value as written, quotes, escapes and line folding undone.
#[derive(Debug)]
pub struct Scalar {
    text: String,
    tag: Tag,
}

/// What a scalar says about its own type.
#[derive(Debug)]
enum Tag {
    /// Nothing, and it is not quoted: the text decides.
    Open,
    /// One of the types below.
    Resolved(Type),
    /// `!!binary`: text in base 64.
    Binary,
    /// Quotes, or a tag without a meaning here.
    Opaque,
}

/// Types that a tag can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Null,
    Bool,
    Int,
    Float,
}

/// A scalar's meaning.
#[derive(Debug, PartialEq)]
pub enum Value<'a> {
    /// `~`, `null` or nothing.
    Null,
    /// `yes`, `on`, `true`, `y` and their opposites.
    Bool(bool),
    /// Decimal, or with a prefix of another base; up to 64 bits, signed or not.
    Int(i128),
    /// Decimal, `.inf` or `.nan`.
    Float(f64),
    /// All else.
    Text(Cow<'a, str>),
}

impl Scalar {
    /// With the tag in its long form; `plain` without quotes and tag.
    pub(super) fn new(text: String, tag: Option<String>, plain: bool) -> Scalar {
        let tag = match tag.as_deref() {
            None | Some("") if plain => Tag::Open,
            Some("tag:yaml.org,2002:null") => Tag::Resolved(Type::Null),
            Some("tag:yaml.org,2002:bool") => Tag::Resolved(Type::Bool),
            Some("tag:yaml.org,2002:int") => Tag::Resolved(Type::Int),
            Some("tag:yaml.org,2002:float") => Tag::Resolved(Type::Float),
            Some("tag:yaml.org,2002:binary") => Tag::Binary,
            _ => Tag::Opaque,
        };
        Scalar { text, tag }
    }

    /// The text as written, whatever it means.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// If this is the merge key `<<`.
    pub fn is_merge(&self) -> bool {
        self.text == "<<" && matches!(self.tag, Tag::Open)
    }

    /// What it means; the error completes a sentence that starts with the text.
    pub fn value(&self) -> Result<Value<'_>, &'static str> {
        match self.tag {
            Tag::Open => Ok(resolve(&self.text)),
            Tag::Opaque => Ok(Value::Text(Cow::Borrowed(&self.text))),
            Tag::Binary => decode_base64(&self.text)
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .map(|text| Value::Text(Cow::Owned(text)))
                .ok_or("is not base 64 of UTF-8 as its tag !!binary says"),
            Tag::Resolved(wanted) => match (wanted, resolve(&self.text)) {
                (Type::Null, Value::Null) => Ok(Value::Null),
                (Type::Bool, Value::Bool(value)) => Ok(Value::Bool(value)),
                (Type::Int, Value::Int(value)) => Ok(Value::Int(value)),
                (Type::Float, Value::Int(value)) => Ok(Value::Float(value as f64)),
                (Type::Float, Value::Float(value)) => Ok(Value::Float(value)),
                _ => Err("is not of the type its tag says"),
            },
        }
    }
}

/// The meaning of plain text.
fn resolve(text: &str) -> Value<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" => Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Value::Float(f64::NEG_INFINITY),
        _ => resolve_number(text).unwrap_or(Value::Text(Cow::Borrowed(text))),
    }
}

fn resolve_number(text: &str) -> Option<Value<'_>> {
    match text.as_bytes()[0] {
        b'.' => return parse_number(text.as_bytes()).ok().map(Value::Float),
        b'0'..=b'9' | b'+' | b'-' => {}
        _ => return None,
    }
    let plain = text.replace('_', "");
    if let Some(int) = parse_int(&plain) {
        return Some(Value::Int(int));
    }
    // Letters other than the exponent's would be words or hexadecimal.
    if plain
        .bytes()
        .any(|byte| byte.is_ascii_alphabetic() && byte | 32 != b'e')
    {
        return None;
    }
    parse_number(plain.as_bytes()).ok().map(Value::Float)
}

/// An integer in base 10, or by its prefix (`0x`, `0o` or `0`, `0b`) in
/// another, if it fits into 64 bits.
fn parse_int(text: &str) -> Option<i128> {
    let (negative, magnitude) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match magnitude.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &magnitude[2..]),
        [b'0', b'o' | b'O', ..] => (8, &magnitude[2..]),
        [b'0', b'b' | b'B', ..] => (2, &magnitude[2..]),
        [b'0', _, ..] => (8, &magnitude[1..]),
        _ => (10, magnitude),
    };
    // Rust's parser takes a sign of its own.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let value = if negative { -value } else { value };
    (value >= i128::from(i64::MIN)).then_some(value)
}

/// RFC 4648, section 4, line breaks left out.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let symbols: Vec<u8> = text
        .bytes()
        .filter(|byte| !b"\r\n".contains(byte))
        .collect();
    if !symbols.len().is_multiple_of(4) {
        return None;
    }
    let padding = symbols
        .iter()
        .rev()
        .take(2)
        .take_while(|&&byte| byte == b'=')
        .count();
    let mut bytes = Vec::with_capacity(symbols.len() / 4 * 3);
    for group in symbols[..symbols.len() - padding].chunks(4) {
        let mut bits = 0_u32;
        for &symbol in group {
            bits = bits << 6 | sextet(symbol)?;
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

fn sextet(symbol: u8) -> Option<u32> {
    let value = match symbol {
        b'A'..=b'Z' => symbol - b'A',
        b'a'..=b'z' => symbol - b'a' + 26,
        b'0'..=b'9' => symbol - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: Value = Value::Float(f64::NAN);

    fn text(text: &str) -> Value<'_> {
        Value::Text(Cow::Borrowed(text))
    }

    fn same(left: &Value, right: &Value) -> bool {
        match (left, right) {
            (Value::Float(left), Value::Float(right)) if left.is_nan() => right.is_nan(),
            _ => left == right,
        }
    }

    fn check(written: &str, value: Value) {
        let scalar = Scalar::new(written.to_owned(), None, true);
        let found = scalar.value().unwrap();
        assert!(same(&found, &value), "{written} means {found:?}");
    }

    #[test]
    fn words() {
        for word in ["", "~", "null", "Null", "NULL"] {
            check(word, Value::Null);
        }
        for word in ["y", "Yes", "ON", "true", "True"] {
            check(word, Value::Bool(true));
        }
        for word in ["n", "No", "OFF", "false", "FALSE"] {
            check(word, Value::Bool(false));
        }
        for word in [
            "tRUE",
            "nil",
            "nan",
            "inf",
            "NaN",
            "<<",
            "a b",
            "é",
            "12h",
            "1:30",
            "2020-01-02",
        ] {
            check(word, text(word));
        }
    }

    #[test]
    fn integers() {
        for (written, value) in [
            ("0", 0),
            ("-0", 0),
            ("+5", 5),
            ("017", 15),
            ("-017", -15),
            ("0o17", 15),
            ("0x1F", 31),
            ("-0X1f", -31),
            ("0b11", 3),
            ("1_000", 1000),
            ("1__0_", 10),
            ("9223372036854775808", 1 << 63),
            ("18446744073709551615", (1 << 64) - 1),
            ("-9223372036854775808", -(1 << 63)),
        ] {
            check(written, Value::Int(value));
        }
    }

    #[test]
    fn floats() {
        for (written, value) in [
            ("1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("-.5", -0.5),
            ("+1e3", 1000.0),
            ("1E-3", 0.001),
            ("08", 8.0),
            ("1_0.5", 10.5),
            ("1e-400", 0.0),
            ("18446744073709551616", 18_446_744_073_709_551_616.0),
            ("-9223372036854775809", -9_223_372_036_854_775_808.0),
            ("+.inf", f64::INFINITY),
            ("-.INF", f64::NEG_INFINITY),
        ] {
            check(written, Value::Float(value));
        }
        check(".NaN", NAN);
        for word in [
            "1e400", "_1", ".", "-", "+", "0x", "0b12", "0x1p4", "1e", "+inf", "1.5.2", "- 1",
            "--1",
        ] {
            check(word, text(word));
        }
    }

    #[test]
    fn tags_and_quotes() {
        fn check(tag: &str, written: &str, value: Result<Value, ()>) {
            let tag = match tag.strip_prefix("!!") {
                Some(name) => Some(format!("tag:yaml.org,2002:{name}")),
                None => Some(tag.to_owned()).filter(|tag| !tag.is_empty()),
            };
            let scalar = Scalar::new(written.to_owned(), tag, false);
            assert_eq!(scalar.value().map_err(|_| ()), value, "{written}");
        }
        // Without a tag, these are quoted.
        for word in ["", "~", "yes", "5", "<<"] {
            check("", word, Ok(text(word)));
            check("!!str", word, Ok(text(word)));
            check("!local", word, Ok(text(word)));
        }
        check("!!int", "0x10", Ok(Value::Int(16)));
        check("!!int", "1.5", Err(()));
        check("!!float", "5", Ok(Value::Float(5.0)));
        check("!!float", "five", Err(()));
        check("!!bool", "no", Ok(Value::Bool(false)));
        check("!!bool", "0", Err(()));
        check("!!null", "~", Ok(Value::Null));
        check("!!null", "none", Err(()));
        check("!!binary", "aGk=", Ok(text("hi")));
        check("!!binary", "aGkh\r\nCg==", Ok(text("hi!\n")));
        for word in ["aGk", "aGk=aGk=", "a=k=", "====", "aG k", "/w=="] {
            check("!!binary", word, Err(()));
        }
    }
}
