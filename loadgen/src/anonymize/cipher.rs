//! A permutation of the words of one shape, chosen by a key.
//!
//! A table of the names seen so far would make a pseudonym depend on what came
//! before. Instead the word is encrypted onto its own alphabet: its letters and
//! digits are a number with mixed radices, cut into two halves, and each half in
//! turn is shifted by a keyed hash of the other (an alternating Feistel network).
//! Every step can be undone, so no two words share a pseudonym, and the key alone
//! decides.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

/// A Feistel network of four rounds is safe for wide halves; short words are
/// not wide.
const ROUNDS: u8 = 10;

/// Encrypts words.
#[derive(Debug)]
pub(super) struct Cipher {
    key: (u64, u64),
}

/// A letter or digit of a word.
struct Place {
    /// Which of the word's characters.
    index: usize,
    /// The first character of its alphabet.
    base: u8,
    radix: u64,
    value: u64,
}

impl Cipher {
    pub(super) fn new(key: &str) -> Cipher {
        let half = |number: u64| {
            let mut hasher = SipHasher24::new_with_keys(number, 0);
            hasher.write(key.as_bytes());
            hasher.finish()
        };
        Cipher {
            key: (half(1), half(2)),
        }
    }

    /// The word that stands for a word. Letters beyond ASCII become others that
    /// take as many bytes; only among those may two words meet.
    pub(super) fn pseudonym(&self, word: &str) -> String {
        let mut chars: Vec<char> = word.chars().collect();
        let mut places: Vec<Place> = (0..).zip(&chars).filter_map(place).collect();
        let middle = places.len() / 2;
        for round in 0..ROUNDS {
            let (left, right) = places.split_at_mut(middle);
            let (shifted, fixed) = match round % 2 {
                0 => (right, left),
                _ => (left, right),
            };
            for (number, place) in (0..).zip(shifted) {
                let shift = self.hash(round, number, place.radix, fixed);
                place.value = (place.value + shift % place.radix) % place.radix;
            }
        }
        for place in &places {
            chars[place.index] = char::from(place.base + place.value as u8);
        }
        for (number, c) in (0..).zip(&mut chars) {
            *c = self.foreign(number, *c, word);
        }
        chars.into_iter().collect()
    }

    fn hash(&self, round: u8, number: u64, radix: u64, fixed: &[Place]) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.key.0, self.key.1);
        hasher.write_u8(round);
        hasher.write_u64(number);
        hasher.write_u64(radix);
        for place in fixed {
            hasher.write(&[place.base, place.value as u8]);
        }
        hasher.finish()
    }

    fn foreign(&self, number: u64, c: char, word: &str) -> char {
        // Letters, many of them, and all of one length.
        let (first, count) = match c.len_utf8() {
            1 => return c,
            2 => (0x0400, 0x0100),
            3 => (0x4e00, 0x4000),
            _ => (0x2_0000, 0x8000),
        };
        let mut hasher = SipHasher24::new_with_keys(self.key.1, self.key.0);
        hasher.write_u64(number);
        hasher.write(word.as_bytes());
        let code = first + (hasher.finish() % count) as u32;
        char::from_u32(code).unwrap_or('?')
    }
}

fn place((index, &c): (usize, &char)) -> Option<Place> {
    let (base, radix) = match c {
        'a'..='z' => (b'a', 26),
        'A'..='Z' => (b'A', 26),
        '0'..='9' => (b'0', 10),
        _ => return None,
    };
    Some(Place {
        index,
        base,
        radix,
        value: u64::from(c as u32 - u32::from(base)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn all_words_of_a_shape_stay_apart() {
        let cipher = Cipher::new("key");
        let letters = || 'a'..='z';
        let words: HashSet<String> = letters()
            .flat_map(|a| letters().flat_map(move |b| (0..10).map(move |c| format!("{a}-{b}{c}"))))
            .map(|word| cipher.pseudonym(&word))
            .collect();
        assert_eq!(words.len(), 26 * 26 * 10);
        let single: HashSet<String> = letters()
            .map(|a| cipher.pseudonym(&a.to_string()))
            .collect();
        assert_eq!(single.len(), 26);
    }

    #[test]
    fn neighbours_do_not_look_alike() {
        let cipher = Cipher::new("key");
        let [a, b] = ["customer_001_sync", "customer_002_sync"].map(|word| cipher.pseudonym(word));
        let same = a.bytes().zip(b.bytes()).filter(|(a, b)| a == b).count();
        assert!(same < 8, "{a} {b}");
        assert_eq!(cipher.pseudonym("日本é").len(), "日本é".len());
    }
}
