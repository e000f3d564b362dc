//! Numbers as Go prints them.
//!
//! Pages are compared, and parsed by scripts, so a number has the digits that
//! Go's `strconv.FormatFloat(x, 'g', -1, 64)` gives it: the shortest that read
//! back as the same number, with an exponent if that is below -4 or above 5.
//! Zero has no sign.

/// From this exponent on, and below -4, a number is printed with it.
const EXPONENT_MAX: i32 = 6;
const EXPONENT_MIN: i32 = -4;

/// Appends a number.
pub(super) fn write_number(out: &mut Vec<u8>, value: f64) {
    let whole = value as i64;
    if whole as f64 == value && whole.unsigned_abs() < 1_000_000 {
        out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    } else if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else {
        if value < 0.0 {
            out.push(b'-');
        }
        if value.is_finite() {
            write_decimal(out, &Decimal::of(value.abs()));
        } else {
            out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"Inf" });
        }
    }
}

/// `d.ddd × 10^exponent`.
struct Decimal {
    /// ASCII; the first `len` count, of which the last is not zero.
    digits: [u8; Decimal::DIGITS_MAX],
    len: usize,
    exponent: i32,
}

impl Decimal {
    /// A double has at most 17; `ryu` may put a zero behind the point.
    const DIGITS_MAX: usize = 18;

    /// The shortest digits of a finite number above zero. `ryu` finds them, but
    /// only tells them in a layout of its own: `0.00123`, `1.23e-7`, `123.0`.
    fn of(magnitude: f64) -> Decimal {
        let mut buffer = ryu::Buffer::new();
        let text = buffer.format_finite(magnitude).as_bytes();
        let mut decimal = Decimal {
            digits: [0; Decimal::DIGITS_MAX],
            len: 0,
            exponent: -1,
        };
        let mut after_point = false;
        for (at, byte) in text.iter().enumerate() {
            match byte {
                b'.' => after_point = true,
                b'e' => {
                    decimal.exponent += parse_exponent(&text[at + 1..]);
                    break;
                }
                b'0' if decimal.len == 0 => decimal.exponent -= i32::from(after_point),
                digit => {
                    decimal.digits[decimal.len] = *digit;
                    decimal.len += 1;
                    decimal.exponent += i32::from(!after_point);
                }
            }
        }
        while decimal.len > 1 && decimal.digits[decimal.len - 1] == b'0' {
            decimal.len -= 1;
        }
        decimal
    }
}

fn parse_exponent(text: &[u8]) -> i32 {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        digits => (1, digits),
    };
    let number = |number, digit: &u8| number * 10 + i32::from(digit - b'0');
    sign * digits.iter().fold(0, number)
}

fn write_decimal(out: &mut Vec<u8>, decimal: &Decimal) {
    let digits = &decimal.digits[..decimal.len];
    let exponent = decimal.exponent;
    if !(EXPONENT_MIN..EXPONENT_MAX).contains(&exponent) {
        write_with_point(out, digits, 1);
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        let exponent = exponent.unsigned_abs();
        if exponent < 10 {
            out.push(b'0');
        }
        out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
    } else if exponent < 0 {
        out.extend_from_slice(b"0.");
        let zeros = exponent.unsigned_abs() as usize - 1;
        out.extend((0..zeros).map(|_| b'0'));
        out.extend_from_slice(digits);
    } else {
        write_with_point(out, digits, exponent as usize + 1);
    }
}

/// Digits with a point after the first `whole`, which may be more than there
/// are; no point at the end.
fn write_with_point(out: &mut Vec<u8>, digits: &[u8], whole: usize) {
    let (before, after) = digits.split_at(whole.min(digits.len()));
    out.extend_from_slice(before);
    out.extend((before.len()..whole).map(|_| b'0'));
    if !after.is_empty() {
        out.push(b'.');
        out.extend_from_slice(after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(value: f64) -> String {
        let mut out = Vec::new();
        write_number(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn prints_as_go_does() {
        // What the Go program `strconv.FormatFloat(x, 'g', -1, 64)` prints.
        for (value, expect) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (123.0, "123"),
            (100_000.0, "100000"),
            (123_456.0, "123456"),
            (999_999.0, "999999"),
            (-999_999.0, "-999999"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (-1e6, "-1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (1_234_567.5, "1.2345675e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (9_007_199_254_740_993.0, "9.007199254740992e+15"),
            (1e15, "1e+15"),
            (1e16, "1e+16"),
            (1e17, "1e+17"),
            (1e21, "1e+21"),
            (1e100, "1e+100"),
            (0.1, "0.1"),
            (0.5, "0.5"),
            (12.5, "12.5"),
            (120.5, "120.5"),
            (0.001, "0.001"),
            (0.0001, "0.0001"),
            (0.000_123_4, "0.0001234"),
            (0.000_099_9, "9.99e-05"),
            (1e-5, "1e-05"),
            (-1.25e-7, "-1.25e-07"),
            (1.0 / 3.0, "0.3333333333333333"),
            (100.0 / 3.0, "33.333333333333336"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1_735_689_600.123, "1.735689600123e+09"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN, "-1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (5e-324, "5e-324"),
            (u64::MAX as f64, "1.8446744073709552e+19"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(printed(value), expect);
        }
    }

    proptest! {
        #[test]
        fn reads_back_as_the_same_number(bits in any::<u64>(), whole in any::<i32>()) {
            for value in [f64::from_bits(bits), f64::from(whole), f64::from(whole) / 1000.0] {
                let text = printed(value);
                let back: f64 = text.parse().unwrap();
                prop_assert!(back == value || back.is_nan() && value.is_nan(), "{value}: {text}");
                prop_assert!(text.len() <= 24, "{text}");
            }
        }
    }
}
