//! Sizes on the command line.

/// Reads for example `212992`, `208k` or `4M`; the letters are powers of 1024.
pub fn parse(text: &str) -> Result<usize, String> {
    let (digits, shift) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'M')) => (&text[..at], 20),
        Some((at, 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number: usize = digits
        .parse()
        .map_err(|_| format!("{text} is not a number of bytes such as 212992, 208k or 4M"))?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("{text} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("212992", 212_992),
            ("208k", 212_992),
            ("4M", 4 << 20),
        ] {
            assert_eq!(parse(text), Ok(bytes));
        }
        for text in ["", "k", "-1", "4MB", "1.5M", "99999999999G"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
