//! Durations as Go writes them: `1h2m3.5s`, `200ms`, `-5s`.
//!
//! Flags and mapping files use them; flags know two units more.

/// Nanoseconds in a second, and so on up.
const SECOND: f64 = 1e9;

/// Which units beyond Go's own a duration may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    /// `ns us µs ms s m h`, as in mapping files.
    Go,
    /// Also `d` (24 hours) and `w` (7 days), as in flags.
    WithDays,
}

/// Reads a duration in nanoseconds; the error says what is wrong, in the words
/// of a sentence that has already named the text.
pub fn parse(text: &str, units: Units) -> Result<i64, &'static str> {
    let (negative, mut rest) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err("is not a duration such as 30s or 1h15m");
    }
    let mut nanos = 0_i128;
    while !rest.is_empty() {
        let number_len = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_len);
        let unit_len = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err("is not a duration such as 30s or 1h15m");
        }
        let unit_ns = unit_ns(unit, units)?;
        // At most 19 digits can matter; more would only overflow.
        let whole: i128 = match whole {
            "" => 0,
            digits if digits.trim_start_matches('0').len() > 19 => return Err("is too long"),
            digits => digits.parse().unwrap_or(i128::MAX >> 64),
        };
        let fraction = match fraction {
            "" => 0.0,
            digits => format!("0.{digits}").parse().unwrap_or(0.0),
        };
        nanos += whole * unit_ns + (fraction * unit_ns as f64) as i128;
        if nanos > i128::from(i64::MAX) {
            return Err("is too long");
        }
        rest = after;
    }
    let nanos = if negative { -nanos } else { nanos };
    i64::try_from(nanos).map_err(|_| "is too long")
}

fn unit_ns(unit: &str, units: Units) -> Result<i128, &'static str> {
    let seconds = match unit {
        "ns" => return Ok(1),
        "us" | "µs" | "μs" => return Ok(1_000),
        "ms" => return Ok(1_000_000),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" if units == Units::WithDays => 86_400,
        "w" if units == Units::WithDays => 604_800,
        "" => return Err("lacks a unit; write for example 30s"),
        _ => return Err("has an unknown unit; use ns, us, ms, s, m or h"),
    };
    Ok(seconds * SECOND as i128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("200ms", 200_000_000),
            ("1h2m3s4ms", 3_723_004_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("-5s", -5_000_000_000),
            ("+1us", 1_000),
            ("1µs", 1_000),
            ("0.1ns", 0),
            ("9223372036s", 9_223_372_036_000_000_000),
        ] {
            assert_eq!(parse(text, Units::Go), Ok(nanos), "{text}");
        }
        assert_eq!(parse("1d1w", Units::WithDays), Ok(691_200_000_000_000));
    }

    #[test]
    fn what_is_no_duration() {
        for text in [
            "",
            "-",
            "5",
            "1.5",
            "s",
            ".s",
            "1..5s",
            "5 s",
            "soon",
            "1h5",
            "5d",
            "5x",
            "0x5s",
            "9223372037s",
            "99999999999999999999h",
        ] {
            assert!(parse(text, Units::Go).is_err(), "{text}");
        }
    }
}
