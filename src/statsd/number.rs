//! Numbers as Go's `strconv.ParseFloat` reads them.
//!
//! Senders were written against an exporter in Go, so its grammar is the
//! protocol's: decimal with optional point and exponent, hexadecimal with a
//! binary exponent, underscores between digits, `inf`, `infinity` and `nan` in
//! any case (`nan` without a sign). Rust's own parser differs at each edge, so
//! it only converts what this grammar has let through. Specification: the Go
//! language's floating-point literals and the documentation of `ParseFloat`.

/// Why bytes are not a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NumberError {
    /// Not of the grammar.
    Syntax,
    /// Of the grammar, but too large: the infinity it rounds to.
    Range(f64),
}

/// Reads all of `text` as one number, rounded to nearest even.
///
/// A magnitude too small becomes zero or a denormal, as in Go.
pub fn parse_number(text: &[u8]) -> Result<f64, NumberError> {
    if let Some(value) = small_decimal(text) {
        return Ok(value);
    }
    let (negative, magnitude) = match text {
        [b'+', rest @ ..] => (false, rest),
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let sign = if negative { -1.0 } else { 1.0 };
    if magnitude.eq_ignore_ascii_case(b"inf") || magnitude.eq_ignore_ascii_case(b"infinity") {
        return Ok(sign * f64::INFINITY);
    }
    if text.eq_ignore_ascii_case(b"nan") {
        return Ok(f64::NAN);
    }
    let value = match magnitude {
        [b'0', b'x' | b'X', digits @ ..] => hexadecimal(digits)?,
        digits => decimal(digits)?,
    };
    if value.is_infinite() {
        return Err(NumberError::Range(sign * value));
    }
    Ok(sign * value)
}

/// The common case in one pass: up to 15 digits with at most one point, no
/// exponent. Both the digits and the power of ten are then exact doubles, so
/// one division rounds correctly (Clinger 1990, "How to read floating point
/// numbers accurately").
fn small_decimal(text: &[u8]) -> Option<f64> {
    const POWERS: [f64; 16] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
    ];
    let (negative, magnitude) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    // Fifteen digits and a point.
    if magnitude.len() > 16 {
        return None;
    }
    let mut mantissa = 0_u64;
    let mut digits = 0;
    let mut digits_at_point = None;
    for &byte in magnitude {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa * 10 + u64::from(byte - b'0');
                digits += 1;
            }
            b'.' if digits_at_point.is_none() => digits_at_point = Some(digits),
            _ => return None,
        }
    }
    if digits == 0 || digits > 15 {
        return None;
    }
    let decimals = digits - digits_at_point.unwrap_or(digits);
    let value = mantissa as f64 / POWERS[decimals];
    Some(if negative { -value } else { value })
}

/// Digits with optional point and exponent, no sign.
fn decimal(text: &[u8]) -> Result<f64, NumberError> {
    let mut clean = Vec::with_capacity(text.len());
    let mut scan = Digits::new(text);
    let mantissa_digits = scan.mantissa(|byte| byte.is_ascii_digit(), &mut clean);
    if mantissa_digits == 0 {
        return Err(NumberError::Syntax);
    }
    if scan.take_either(b'e', b'E') {
        clean.push(b'e');
        scan.exponent(&mut clean)?;
    }
    scan.finish()?;
    // Only ASCII digits, a point, an `e` and a sign are left: Rust reads it.
    std::str::from_utf8(&clean)
        .ok()
        .and_then(|clean| clean.parse().ok())
        .ok_or(NumberError::Syntax)
}

/// What follows `0x`: hexadecimal digits with optional point, and a binary
/// exponent that must be there.
fn hexadecimal(text: &[u8]) -> Result<f64, NumberError> {
    let mut clean = Vec::with_capacity(text.len());
    let mut scan = Digits::after_prefix(text);
    let mantissa_digits = scan.mantissa(|byte| byte.is_ascii_hexdigit(), &mut clean);
    if mantissa_digits == 0 || !scan.take_either(b'p', b'P') {
        return Err(NumberError::Syntax);
    }
    let mut exponent_text = Vec::new();
    scan.exponent(&mut exponent_text)?;
    scan.finish()?;

    // 60 bits of mantissa hold all that rounding can see; what is cut off only
    // matters as "not zero".
    let mut mantissa = 0_u64;
    let mut cut_off = false;
    let mut exponent = 0_i64;
    let mut after_point = false;
    for byte in clean {
        if byte == b'.' {
            after_point = true;
            continue;
        }
        let digit = u64::from((byte as char).to_digit(16).unwrap_or(0));
        if mantissa >> 56 == 0 {
            mantissa = mantissa << 4 | digit;
            exponent -= if after_point { 4 } else { 0 };
        } else {
            cut_off |= digit != 0;
            exponent += if after_point { 0 } else { 4 };
        }
    }
    exponent += std::str::from_utf8(&exponent_text)
        .ok()
        .and_then(|text| text.parse::<i64>().ok())
        // More digits than an i64 holds: far past any double either way.
        .unwrap_or(if exponent_text.starts_with(b"-") {
            -100_000
        } else {
            100_000
        })
        .clamp(-100_000, 100_000);
    Ok(compose(mantissa, exponent, cut_off))
}

/// `mantissa × 2^exponent`, rounded to nearest even; `cut_off` says that the
/// true mantissa is a little larger.
fn compose(mantissa: u64, exponent: i64, cut_off: bool) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    // The highest bit's weight decides how many bits below it survive: 53, or
    // fewer for denormals.
    let width = i64::from(64 - mantissa.leading_zeros());
    let top = exponent + width - 1;
    if top > 1023 {
        return f64::INFINITY;
    }
    let lowest = (top - 52).max(-1074);
    let shift = lowest - exponent;
    if shift <= 0 {
        // All bits fit: at most 53 of them, moved up.
        return mantissa as f64 * power_of_two(exponent);
    }
    if shift > 63 {
        // Below half of the smallest denormal, or exactly half of it.
        return 0.0;
    }
    let kept = mantissa >> shift;
    let rest = mantissa & ((1 << shift) - 1);
    let half = 1_u64 << (shift - 1);
    let round_up = rest > half || (rest == half && (cut_off || kept & 1 == 1));
    (kept + u64::from(round_up)) as f64 * power_of_two(lowest)
}

/// 2^exponent for exponents a mantissa of 53 bits can meet; two factors, since
/// the power alone may be too small for a double.
fn power_of_two(exponent: i64) -> f64 {
    let half = exponent / 2;
    2_f64.powi(half as i32) * 2_f64.powi((exponent - half) as i32)
}

/// A reader of digits that allows an underscore between two digits.
struct Digits<'a> {
    text: &'a [u8],
    /// What was read last, to judge an underscore by.
    last: Last,
    underscores: bool,
    underscores_ok: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Last {
    Digit,
    Underscore,
    Other,
}

impl<'a> Digits<'a> {
    fn new(text: &'a [u8]) -> Self {
        Digits {
            text,
            last: Last::Other,
            underscores: false,
            underscores_ok: true,
        }
    }

    /// A base prefix counts as a digit: `0x_1p0` is allowed.
    fn after_prefix(text: &'a [u8]) -> Self {
        Digits {
            last: Last::Digit,
            ..Digits::new(text)
        }
    }

    /// Reads digits and at most one point, returns the number of digits.
    fn mantissa(&mut self, is_digit: fn(u8) -> bool, clean: &mut Vec<u8>) -> usize {
        let mut digits = 0;
        let mut point = false;
        while let Some((&byte, rest)) = self.text.split_first() {
            if is_digit(byte) {
                clean.push(byte);
                digits += 1;
            } else if byte == b'.' && !point {
                clean.push(byte);
                point = true;
            } else if byte != b'_' {
                break;
            }
            self.note(byte, is_digit(byte));
            self.text = rest;
        }
        digits
    }

    /// Reads a sign and decimal digits, the first not an underscore.
    fn exponent(&mut self, clean: &mut Vec<u8>) -> Result<(), NumberError> {
        if let [sign @ (b'+' | b'-'), rest @ ..] = self.text {
            clean.push(*sign);
            self.text = rest;
        }
        if !self.text.first().is_some_and(u8::is_ascii_digit) {
            return Err(NumberError::Syntax);
        }
        while let Some((&byte, rest)) = self.text.split_first() {
            if byte.is_ascii_digit() {
                clean.push(byte);
            } else if byte != b'_' {
                break;
            }
            self.note(byte, byte.is_ascii_digit());
            self.text = rest;
        }
        Ok(())
    }

    fn take_either(&mut self, lower: u8, upper: u8) -> bool {
        match self.text {
            [byte, rest @ ..] if *byte == lower || *byte == upper => {
                self.note(*byte, false);
                self.text = rest;
                true
            }
            _ => false,
        }
    }

    fn note(&mut self, byte: u8, is_digit: bool) {
        let now = match byte {
            b'_' => Last::Underscore,
            _ if is_digit => Last::Digit,
            _ => Last::Other,
        };
        self.underscores |= now == Last::Underscore;
        self.underscores_ok &= match (self.last, now) {
            (Last::Digit, _) => true,
            (_, Last::Underscore) => false,
            (Last::Underscore, _) => now == Last::Digit,
            (Last::Other, _) => true,
        };
        self.last = now;
    }

    fn finish(&self) -> Result<(), NumberError> {
        let trailing = self.last == Last::Underscore;
        if !self.text.is_empty() || trailing || !self.underscores_ok {
            return Err(NumberError::Syntax);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: f64) {
        let value = parse_number(text.as_bytes())
            .unwrap_or_else(|error| panic!("{text} is a number, got {error:?}"));
        assert_eq!(value.to_bits(), expect.to_bits(), "{text}: {value}");
    }

    fn refuse(text: &str) {
        assert_eq!(
            parse_number(text.as_bytes()),
            Err(NumberError::Syntax),
            "{text:?}"
        );
    }

    #[test]
    fn decimals() {
        for (text, value) in [
            ("0", 0.0),
            ("-0", -0.0),
            ("1", 1.0),
            ("+5", 5.0),
            ("-5.25", -5.25),
            (".5", 0.5),
            ("5.", 5.0),
            ("00012", 12.0),
            ("123456789012345", 123_456_789_012_345.0),
            ("0.1", 0.1),
            ("2.674997", 2.674997),
            ("1.7732000287651317e-05", 1.773_200_028_765_131_7e-5),
            ("1e3", 1000.0),
            ("1E+3", 1000.0),
            ("1e-3", 0.001),
            ("9007199254740993", 9_007_199_254_740_992.0),
            ("1e-999", 0.0),
            ("5e-324", 5e-324),
            ("1.7976931348623157e308", f64::MAX),
            ("0.000000000000000000000000000000000001", 1e-36),
        ] {
            check(text, value);
        }
    }

    #[test]
    fn hexadecimals_need_a_binary_exponent() {
        for (text, value) in [
            ("0x1p4", 16.0),
            ("0X1P+4", 16.0),
            ("0x1.8p1", 3.0),
            ("0x.8p1", 1.0),
            ("0x1p-1074", 5e-324),
            ("0x1p-1075", 0.0),
            ("0x1.8p-1075", 5e-324),
            ("0x1.fffffffffffff8p0", 2.0),
            ("0x1.fffffffffffff7p0", 1.999_999_999_999_999_8),
            ("0x1.00000000000008p0", 1.0),
            (
                "0x1.000000000000080000000000000001p0",
                1.000_000_000_000_000_2,
            ),
            ("0x123456789abcdef01p-8", 0x0123_4567_89ab_cdef_u64 as f64),
            ("-0x1p0", -1.0),
            ("0x0p99999999999999999999", 0.0),
            ("0x_1p0", 1.0),
        ] {
            check(text, value);
        }
        for text in ["0x10", "0x", "0xp1", "0x1p", "0x1p+", "0x1.p_1", "0xg1p1"] {
            refuse(text);
        }
    }

    #[test]
    fn underscores_stand_between_digits() {
        check("1_000", 1000.0);
        check("1_0.5", 10.5);
        check("1e1_0", 1e10);
        check("0_1", 1.0);
        for text in ["_1", "1_", "1__0", "1_.5", "1._5", "1_e5", "1e_5", "1e5_"] {
            refuse(text);
        }
    }

    #[test]
    fn infinities_and_nan() {
        for text in ["inf", "Inf", "+INF", "infinity", "+Infinity"] {
            check(text, f64::INFINITY);
        }
        for text in ["-inf", "-Infinity"] {
            check(text, f64::NEG_INFINITY);
        }
        for text in ["nan", "NaN", "NAN"] {
            assert!(parse_number(text.as_bytes()).is_ok_and(f64::is_nan));
        }
        for text in ["+nan", "-NaN", "infi", "in", "nano", "infinityx"] {
            refuse(text);
        }
    }

    #[test]
    fn too_large_says_so() {
        for (text, value) in [
            ("1e999", f64::INFINITY),
            ("-1e309", f64::NEG_INFINITY),
            ("0x1p1024", f64::INFINITY),
            ("0x1.fffffffffffff8p1023", f64::INFINITY),
            ("0x1p99999999999999999999", f64::INFINITY),
        ] {
            assert_eq!(
                parse_number(text.as_bytes()),
                Err(NumberError::Range(value)),
                "{text}"
            );
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "", "+", "-", ".", "e5", "1e", "1e+", "--5", "+-5", " 5", "5 ", "1,5", "0b11", "0o7",
            "1.2.3", "abc", "1f", "\u{661}", "1e5.5", "1\r",
        ] {
            refuse(text);
        }
    }
}
