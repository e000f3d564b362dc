//! Regular expressions as Go reads them, run by Rust's engine.
//!
//! Mapping files are written for Go's `regexp` package (RE2 syntax, Perl
//! flags). Both engines find the leftmost match and prefer alternatives in the
//! order written, so only the notation differs, but it does so in ways that
//! change meanings silently: `[a&&b]`, `\<`, `\w`, `(?P<1>a)`, `a{,5}`.
//!
//! A pattern is therefore read token by token after Go's grammar, and each
//! token is written as the Rust notation of the same thing, spelled so that
//! it depends on no flag: `.` under `(?s)` becomes `(?s:.)`, `\d` becomes
//! `[[:digit:]]`. Groups keep their number and lose their name, which is kept
//! here, as Go allows names that Rust does not.
//!
//! The grammar is that of <https://pkg.go.dev/regexp/syntax>. What is known to
//! differ: Unicode classes and case folding follow the Unicode version of
//! Rust's engine; `\p` also knows scripts by their ISO code (`\p{Grek}`); and
//! the limits below are tighter than Go's.

mod classes;
mod repetition;

use regex::{Captures, Regex, RegexBuilder};

use self::repetition::operator;

/// Longest pattern, in bytes; no StatsD name is longer.
const PATTERN_BYTES_MAX: usize = 64 * 1024;

/// Deepest nesting of groups and repetitions. The engine compiles recursively,
/// and this takes it half a megabyte of stack, a quarter of what a thread has.
/// Go allows 1000 and knows of no real pattern deeper than 128.
const DEPTH_MAX: usize = 250;

/// The same for the engine's parser: one level of ours is up to four of its
/// own (group, alternation, concatenation, repetition), a class a few more.
const PARSER_DEPTH_MAX: u32 = 4 * DEPTH_MAX as u32 + 10;

/// Compiled size of one pattern, in bytes: `(.*)` takes 2 KiB, `[^.]{1000}`
/// 1 MiB, `\pL{90}` 4 MiB. With it grow the time and memory of compiling, here
/// at most 50 ms, and of the slowest match.
const COMPILED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// So much of a pattern is shown in an error.
const QUOTE_CHARS_MAX: usize = 40;

/// How many code points Unicode has.
const CODE_POINTS: u32 = 0x11_0000;

/// No character at all, for use inside and outside brackets.
const NOTHING: &str = r"[^\x{0}-\x{10FFFF}]";

/// A pattern of a mapping file, compiled.
#[derive(Clone, Debug)]
pub struct GoRegex {
    regex: Regex,
    /// In order of their numbers; names may repeat.
    names: Vec<NamedGroup>,
}

#[derive(Clone, Debug)]
struct NamedGroup {
    name: Box<str>,
    number: usize,
}

impl GoRegex {
    /// Compiles a pattern; the error says what is wrong with it, in the words
    /// of a sentence that has already named the pattern.
    pub fn new(pattern: &str) -> Result<GoRegex, String> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(format!("is longer than {PATTERN_BYTES_MAX} bytes"));
        }
        let (rust, names) = Translator::new(pattern).translate()?;
        let regex = RegexBuilder::new(&rust)
            .size_limit(COMPILED_BYTES_MAX)
            .nest_limit(PARSER_DEPTH_MAX)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => {
                    format!("needs more than {COMPILED_BYTES_MAX} bytes when compiled")
                }
                other => format!("cannot be compiled: {other}"),
            })?;
        Ok(GoRegex { regex, names })
    }

    /// The leftmost match, found anywhere in `name`, with its groups.
    pub fn captures<'n>(&self, name: &'n str) -> Option<Captures<'n>> {
        self.regex.captures(name)
    }

    /// Whether the pattern is found anywhere in `name`.
    pub fn is_match(&self, name: &str) -> bool {
        // `Regex::is_match` (1.13) can be wrong where `\B` meets a character
        // of several bytes.
        self.regex.find(name).is_some()
    }

    /// The numbers of the groups called `name`, ascending: a name may occur
    /// more than once, and a reference then means the first that took part.
    pub fn groups(&self, name: &str) -> impl Iterator<Item = usize> {
        self.names
            .iter()
            .filter(move |group| *group.name == *name)
            .map(|group| group.number)
    }

    /// The pattern in Rust's notation.
    pub fn as_rust(&self) -> &str {
        self.regex.as_str()
    }
}

/// The flags of `(?imsU)`.
#[derive(Clone, Copy, Default)]
struct Flags {
    fold: bool,
    multi_line: bool,
    dot_newline: bool,
    lazy: bool,
}

/// What a repetition would repeat: the output from `start` to its end.
#[derive(Clone, Copy)]
struct Item {
    start: usize,
    is_repetition: bool,
    /// Levels of groups and repetitions, the item itself included.
    depth: usize,
    /// How often counts like `{10}` copy the innermost part.
    copies: u32,
}

/// An open group; the outermost stands for the whole pattern.
struct Group {
    /// Where it starts in the output.
    start: usize,
    /// The flags in force before it, and again after it.
    outer: Flags,
    /// What came last in the current alternative.
    last: Option<Item>,
    /// The most of any item so far, without `last`.
    depth: usize,
    /// The most of any item so far, without `last`.
    copies: u32,
}

impl Group {
    fn new(start: usize, outer: Flags) -> Group {
        Group {
            start,
            outer,
            last: None,
            depth: 0,
            copies: 1,
        }
    }

    /// Nothing can repeat the last item any more: it counts as it is.
    fn settle(&mut self) {
        if let Some(item) = self.last.take() {
            self.depth = self.depth.max(item.depth);
            self.copies = self.copies.max(item.copies);
        }
    }
}

/// Reads Go's notation from `rest` and writes Rust's to `rust`.
struct Translator<'p> {
    rest: &'p str,
    flags: Flags,
    /// The group being read.
    group: Group,
    /// The groups around it, outermost first.
    outer: Vec<Group>,
    rust: String,
    group_count: usize,
    names: Vec<NamedGroup>,
    /// Code points in classes under `(?i)` so far.
    folded: u32,
}

type Result<T, E = String> = std::result::Result<T, E>;

impl<'p> Translator<'p> {
    fn new(pattern: &'p str) -> Self {
        Translator {
            rest: pattern,
            flags: Flags::default(),
            group: Group::new(0, Flags::default()),
            outer: Vec::new(),
            rust: String::with_capacity(pattern.len()),
            group_count: 0,
            names: Vec::new(),
            folded: 0,
        }
    }

    fn translate(mut self) -> Result<(String, Vec<NamedGroup>)> {
        while !self.rest.is_empty() {
            match operator(self.rest) {
                Some(operator) => self.repeat(&operator)?,
                None => self.token()?,
            }
        }
        if !self.outer.is_empty() {
            return Err("lacks a closing `)`".into());
        }
        Ok((self.rust, self.names))
    }

    fn token(&mut self) -> Result<()> {
        match self.take() {
            Some('(') => self.open(),
            Some(')') => self.close(),
            Some('|') => {
                self.group.settle();
                self.rust.push('|');
                Ok(())
            }
            Some('[') => self.class(),
            Some('\\') => self.escape(),
            Some('^') if self.flags.multi_line => self.item("(?m:^)"),
            Some('^') => self.item("^"),
            Some('$') if self.flags.multi_line => self.item("(?m:$)"),
            Some('$') => self.item("$"),
            Some('.') if self.flags.dot_newline => self.item("(?s:.)"),
            Some('.') => self.item("."),
            Some(character) => self.literal(character.into()),
            None => Ok(()),
        }
    }

    // === Reading ===

    fn take(&mut self) -> Option<char> {
        let character = self.rest.chars().next()?;
        self.rest = &self.rest[character.len_utf8()..];
        Some(character)
    }

    fn take_if(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// What has been read since `start` was the rest.
    fn since(&self, start: &'p str) -> &'p str {
        &start[..start.len() - self.rest.len()]
    }

    /// The same for an error, behind the character that led there.
    fn quote(&self, first: &str, start: &'p str) -> String {
        let text = self.since(start);
        match text.char_indices().nth(QUOTE_CHARS_MAX) {
            Some((end, _)) => format!("`{first}{}…`", &text[..end]),
            None => format!("`{first}{text}`"),
        }
    }

    // === Writing ===

    /// Writes something that a repetition can follow.
    fn item(&mut self, rust: &str) -> Result<()> {
        let start = self.rust.len();
        self.rust.push_str(rust);
        self.push(Item {
            start,
            is_repetition: false,
            depth: 1,
            copies: 1,
        })
    }

    fn push(&mut self, item: Item) -> Result<()> {
        if item.depth > DEPTH_MAX {
            return Err(format!("is nested more than {DEPTH_MAX} deep"));
        }
        self.group.settle();
        self.group.last = Some(item);
        Ok(())
    }

    fn literal(&mut self, code_point: u32) -> Result<()> {
        let Some(character) = char::from_u32(code_point) else {
            return self.item(NOTHING); // A surrogate, which UTF-8 cannot hold.
        };
        let mut text = String::new();
        push_escaped(&mut text, character);
        if self.flags.fold && (character.is_ascii_alphabetic() || !character.is_ascii()) {
            text = format!("(?i:{text})");
        }
        self.item(&text)
    }

    // === Groups ===

    /// After `(`.
    fn open(&mut self) -> Result<()> {
        let start = self.rest;
        if !self.take_if("?") {
            return self.open_capture();
        }
        if self.take_if("P<") || self.take_if("<") {
            return self.open_named(start);
        }
        let mut flags = self.flags;
        let mut on = true;
        let mut is_complete = true;
        while let Some(character) = self.take() {
            match character {
                'i' => flags.fold = on,
                'm' => flags.multi_line = on,
                's' => flags.dot_newline = on,
                'U' => flags.lazy = on,
                '-' if on => on = false,
                ':' if is_complete => {
                    self.open_group("(?:");
                    self.flags = flags;
                    return Ok(());
                }
                ')' if is_complete => {
                    self.flags = flags;
                    return Ok(());
                }
                _ => break,
            }
            is_complete = character != '-';
        }
        let group = self.quote("(", start);
        Err(format!("has {group}, which Go's expressions lack"))
    }

    /// After `(?P<` or `(?<`; `start` is where `?` was.
    fn open_named(&mut self, start: &'p str) -> Result<()> {
        let name_start = self.rest;
        while self.take().is_some_and(|c| c != '>') {}
        let name = self.since(name_start).strip_suffix('>').unwrap_or("");
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            let group = self.quote("(", start);
            return Err(format!(
                "has {group}, which names no group; Go's expressions lack look-around"
            ));
        }
        self.names.push(NamedGroup {
            name: name.into(),
            number: self.group_count + 1,
        });
        self.open_capture()
    }

    fn open_capture(&mut self) -> Result<()> {
        self.group_count += 1;
        self.open_group("(");
        Ok(())
    }

    fn open_group(&mut self, rust: &str) {
        let inner = Group::new(self.rust.len(), self.flags);
        self.outer.push(std::mem::replace(&mut self.group, inner));
        self.rust.push_str(rust);
    }

    /// After `)`.
    fn close(&mut self) -> Result<()> {
        let Some(outer) = self.outer.pop() else {
            return Err("has a `)` that closes nothing".into());
        };
        let mut inner = std::mem::replace(&mut self.group, outer);
        inner.settle();
        self.flags = inner.outer;
        self.rust.push(')');
        self.push(Item {
            start: inner.start,
            is_repetition: false,
            depth: inner.depth + 1,
            copies: inner.copies,
        })
    }

    // === Escapes ===

    /// After a backslash outside brackets.
    fn escape(&mut self) -> Result<()> {
        if self.take_if("A") {
            self.item("^")
        } else if self.take_if("z") {
            self.item("$")
        } else if self.take_if("b") {
            self.item(r"(?-u:\b)")
        } else if self.take_if("B") {
            self.item(r"(?-u:\B)")
        } else if self.take_if("Q") {
            self.quotation()
        } else if let Some(class) = self.escaped_class()? {
            self.item(&self.bracketed(&class))
        } else {
            let code_point = self.escaped_character()?;
            self.literal(code_point)
        }
    }

    /// After `\Q`; up to `\E`, everything is literal.
    fn quotation(&mut self) -> Result<()> {
        let (literal, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
        self.rest = rest;
        literal.chars().try_for_each(|c| self.literal(c.into()))
    }

    /// After a backslash: a single character as its code point.
    fn escaped_character(&mut self) -> Result<u32> {
        let start = self.rest;
        let Some(character) = self.take() else {
            return Err("ends with a backslash".into());
        };
        let code_point = match character {
            'a' => Some(0x07),
            'f' => Some(0x0C),
            'n' => Some(0x0A),
            'r' => Some(0x0D),
            't' => Some(0x09),
            'v' => Some(0x0B),
            'x' => self.hexadecimal(),
            '0'..='7' => self.octal(start),
            _ if character.is_ascii() && !character.is_ascii_alphanumeric() => {
                Some(character.into())
            }
            _ => None,
        };
        code_point.ok_or_else(|| format!("has the unknown escape {}", self.quote(r"\", start)))
    }

    /// After `\x`: two digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Option<u32> {
        if !self.take_if("{") {
            let high = self.take()?.to_digit(16)?;
            let low = self.take()?.to_digit(16)?;
            return Some(16 * high + low);
        }
        let mut code_point = self.take()?.to_digit(16)?;
        while !self.take_if("}") {
            code_point = 16 * code_point + self.take()?.to_digit(16)?;
            if code_point >= CODE_POINTS {
                return None;
            }
        }
        Some(code_point)
    }

    /// At most three digits from `start`. A single one other than zero would
    /// be a reference back, which no linear engine has.
    fn octal(&mut self, start: &'p str) -> Option<u32> {
        let is_octal = |byte: &u8| matches!(byte, b'0'..=b'7');
        let length = start.bytes().take(3).take_while(is_octal).count();
        let (digits, rest) = start.split_at(length);
        self.rest = rest;
        let code_point = u32::from_str_radix(digits, 8).ok();
        code_point.filter(|_| length > 1 || digits == "0")
    }
}

fn push_escaped(rust: &mut String, character: char) {
    if regex_syntax::is_meta_character(character) {
        rust.push('\\');
    }
    rust.push(character);
}

#[cfg(test)]
mod tests;
