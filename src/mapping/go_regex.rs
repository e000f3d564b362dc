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

use regex::{Captures, Regex, RegexBuilder};

/// Longest pattern, in bytes; no StatsD name is longer.
const PATTERN_BYTES_MAX: usize = 64 * 1024;

/// Deepest nesting of groups and repetitions. The engine compiles recursively,
/// and this takes it half a megabyte of stack, a quarter of what a thread has.
/// Go allows 1000 and knows of no real pattern deeper than 128.
const DEPTH_MAX: usize = 250;

/// The same for the engine's parser: one level of ours is up to four of its
/// own (group, alternation, concatenation, repetition), a class a few more.
const PARSER_DEPTH_MAX: u32 = 4 * DEPTH_MAX as u32 + 10;

/// Most copies that nested counts may ask for, as in Go: `(a{100}){10}`.
const COPIES_MAX: u32 = 1000;

/// Most code points in classes under `(?i)`, each of which the engine looks up
/// when it compiles: 100 classes of everything, half a second.
const FOLDED_MAX: u32 = 100 * CODE_POINTS;

/// Compiled size of one pattern, in bytes: `(.*)` takes 2 KiB, `[^.]{1000}`
/// 1 MiB, `\pL{90}` 4 MiB. With it grow the time and memory of compiling, here
/// at most 50 ms, and of the slowest match.
const COMPILED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// So much of a pattern is shown in an error.
const QUOTE_CHARS_MAX: usize = 40;

/// How many code points Unicode has.
const CODE_POINTS: u32 = 0x11_0000;

/// Every character, for use inside brackets.
const EVERYTHING: &str = r"\x{0}-\x{10FFFF}";

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

    // === Repetition ===

    fn repeat(&mut self, operator: &Operator<'p>) -> Result<()> {
        let start = self.rest;
        self.rest = operator.after;
        let &Operator { text, min, max, .. } = operator;
        if min > COPIES_MAX || max.is_some_and(|max| max > COPIES_MAX || max < min) {
            return Err(format!(
                "has the bad count `{text}`; counts ascend and end at {COPIES_MAX}"
            ));
        }
        let lazy = self.take_if("?") != self.flags.lazy;
        let Some(item) = self.group.last.take() else {
            return Err(format!("has nothing that `{text}` could repeat"));
        };
        // Perl gives `a++` a meaning of its own, so Go refuses it.
        if let Some(next) = self::operator(self.rest) {
            self.rest = next.after;
            return Err(format!("repeats a repetition: {}", self.quote("", start)));
        }
        if item.is_repetition {
            // Go allows this with something in between, as in `a*(?i)?`.
            self.rust.insert_str(item.start, "(?:");
            self.rust.push(')');
        }
        self.rust.push_str(text);
        if lazy {
            self.rust.push('?');
        }
        let copies = match max.unwrap_or(min) {
            0 if max.is_some() => 1,
            count if text.starts_with('{') => item.copies.saturating_mul(count.max(1)),
            _ => item.copies,
        };
        if copies > COPIES_MAX {
            return Err(format!(
                "asks for more than {COPIES_MAX} copies with `{text}`"
            ));
        }
        self.push(Item {
            start: item.start,
            is_repetition: true,
            depth: item.depth + 1,
            copies,
        })
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

    /// After a backslash: a class such as `\d` or `\p{Greek}`, for use inside
    /// brackets.
    fn escaped_class(&mut self) -> Result<Option<String>> {
        let start = self.rest;
        let class = match self.take() {
            Some('d') => "[:digit:]".into(),
            Some('D') => "[:^digit:]".into(),
            Some('w') => "[:word:]".into(),
            Some('W') => "[:^word:]".into(),
            // Unlike `[:space:]`, without vertical tab.
            Some('s') => r"\t\n\f\r\x20".into(),
            Some('S') => r"[^\t\n\f\r\x20]".into(),
            Some('p' | 'P') => self.unicode_class(start)?,
            _ => {
                self.rest = start;
                return Ok(None);
            }
        };
        self.fold(CODE_POINTS)?;
        Ok(Some(class))
    }

    /// After `\p` or `\P`, which `start` begins with.
    fn unicode_class(&mut self, start: &'p str) -> Result<String> {
        let name_start = self.rest;
        let name = if self.take() == Some('{') {
            while self.take().is_some_and(|c| c != '}') {}
            self.since(name_start)[1..].strip_suffix('}').unwrap_or("")
        } else {
            self.since(name_start)
        };
        let (name, negated) = match name.strip_prefix('^') {
            Some(name) => (name, start.starts_with('p')),
            None => (name, start.starts_with('P')),
        };
        unicode_class(name, negated)
            .ok_or_else(|| format!("has the unknown class {}", self.quote(r"\", start)))
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

    // === Classes ===

    /// After `[`. Inside, only `]`, `\`, `-` and `[:` mean anything, and a `]`
    /// that comes first is a character.
    fn class(&mut self) -> Result<()> {
        let mut class = String::from(if self.take_if("^") { "^" } else { "" });
        let mut is_first = true;
        while is_first || !self.take_if("]") {
            is_first = false;
            if let Some(named) = self.named_class()? {
                class.push_str(&named);
                continue;
            }
            let start = self.rest;
            let low = self.class_character()?;
            // A dash before the closing bracket is a character.
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            let high = match is_range && self.rest.len() > 1 && self.take_if("-") {
                true => self.class_character()?,
                false => low,
            };
            if high < low {
                return Err(format!("has the empty range {}", self.quote("", start)));
            }
            self.fold(high - low + 1)?;
            push_range(&mut class, low, high);
        }
        self.item(&self.bracketed(&class))
    }

    /// `[:alpha:]` or an escape that stands for a class.
    fn named_class(&mut self) -> Result<Option<String>> {
        let start = self.rest;
        if self.take_if(r"\") {
            let class = self.escaped_class()?;
            if class.is_none() {
                self.rest = start;
            }
            return Ok(class);
        }
        let Some((name, after)) = start.strip_prefix("[:").and_then(|s| s.split_once(":]")) else {
            return Ok(None);
        };
        self.rest = after;
        if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(format!("has the unknown class {}", self.quote("", start)));
        }
        self.fold(CODE_POINTS)?;
        Ok(Some(self.since(start).into()))
    }

    fn class_character(&mut self) -> Result<u32> {
        match self.take() {
            Some('\\') => self.escaped_character(),
            Some(character) => Ok(character.into()),
            None => Err("lacks a closing `]`".into()),
        }
    }

    /// The engine folds a class before it negates it, as Go does.
    fn bracketed(&self, class: &str) -> String {
        match self.flags.fold {
            true => format!("(?i:[{class}])"),
            false => format!("[{class}]"),
        }
    }

    /// Counts code points of a class, or more, against the limit if the class
    /// will be folded.
    fn fold(&mut self, code_points: u32) -> Result<()> {
        if self.flags.fold {
            self.folded += code_points;
        }
        if self.folded > FOLDED_MAX {
            return Err("has too many large classes under `(?i)`".into());
        }
        Ok(())
    }
}

/// The classes of `[[:alpha:]]`, which both engines limit to ASCII.
const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// A repetition operator at the start of a text.
struct Operator<'p> {
    /// Without a `?` that follows it.
    text: &'p str,
    min: u32,
    max: Option<u32>,
    after: &'p str,
}

/// Reads `*`, `+`, `?`, `{2}`, `{2,}` or `{2,3}`. Braces around anything else
/// are ordinary characters.
fn operator(text: &str) -> Option<Operator<'_>> {
    let (min, max, length) = match text.as_bytes().first()? {
        b'*' => (0, None, 1),
        b'+' => (1, None, 1),
        b'?' => (0, Some(1), 1),
        b'{' => {
            let is_count = |byte: &u8| byte.is_ascii_digit() || *byte == b',';
            let length = text.bytes().skip(1).take_while(is_count).count();
            let (counts, after) = text[1..].split_at(length);
            after.strip_prefix('}')?;
            let (min, max) = match counts.split_once(',') {
                None => (count(counts)?, Some(count(counts)?)),
                Some((min, "")) => (count(min)?, None),
                Some((min, max)) => (count(min)?, Some(count(max)?)),
            };
            (min, max, length + 2)
        }
        _ => return None,
    };
    let (text, after) = text.split_at(length);
    Some(Operator {
        text,
        min,
        max,
        after,
    })
}

/// Digits without leading zeros; what is too large for the type is too large
/// for a count as well.
fn count(digits: &str) -> Option<u32> {
    let is_count = !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    is_count.then(|| digits.parse().unwrap_or(u32::MAX))
}

/// A general category or script as Rust writes it inside brackets, if there is
/// one of that name. Both engines ignore case, spaces, dashes and underscores.
fn unicode_class(name: &str, negated: bool) -> Option<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_');
    if !name.chars().all(is_name) {
        return None;
    }
    if ["cs", "surrogate"].contains(&&*name.to_ascii_lowercase()) {
        // Rust has no name for what UTF-8 cannot hold.
        return Some(if negated { EVERYTHING } else { NOTHING }.into());
    }
    let p = if negated { 'P' } else { 'p' };
    ["gc", "sc"]
        .map(|property| format!(r"\{p}{{{property}={name}}}"))
        .into_iter()
        .find(|class| regex_syntax::parse(class).is_ok())
}

/// Writes a range inside brackets; of surrogates, which UTF-8 cannot hold,
/// nothing is left.
fn push_range(class: &mut String, low: u32, high: u32) {
    let low = char::from_u32(low).unwrap_or('\u{E000}');
    let high = char::from_u32(high).unwrap_or('\u{D7FF}');
    if low > high {
        return class.push_str(NOTHING);
    }
    push_escaped(class, low);
    if low < high {
        class.push('-');
        push_escaped(class, high);
    }
}

fn push_escaped(rust: &mut String, character: char) {
    if regex_syntax::is_meta_character(character) {
        rust.push('\\');
    }
    rust.push(character);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the groups captured, joined by commas; `-` for one without part.
    fn captured(pattern: &str, name: &str) -> String {
        let regex = GoRegex::new(pattern).unwrap_or_else(|e| panic!("{pattern} {e}"));
        let captures = regex.captures(name);
        assert_eq!(regex.is_match(name), captures.is_some(), "{pattern}");
        let Some(captures) = captures else {
            return "no match".into();
        };
        let text =
            |group: Option<regex::Match>| group.map_or("-".into(), |m| m.as_str().to_owned());
        captures.iter().map(text).collect::<Vec<_>>().join(",")
    }

    fn check(pattern: &str, name: &str, expected: &str) {
        assert_eq!(captured(pattern, name), expected, "{pattern} on {name:?}");
    }

    #[test]
    fn leftmost_first_anywhere() {
        check("", "a", "");
        check("b.", "abcbd", "bc");
        check(r"(a+?)(a*)b\.(9|99)", "aab.99", "aab.9,a,a,9");
        check(r"^(.*)\.(.*)$", "foo.bar.baz", "foo.bar.baz,foo.bar,baz");
        check("(ab|abc)(cd|d)", "abcd", "abcd,ab,cd");
        check("a|ab|", "ab", "a");
        check("x(solo)?(y)?", "xy", "xy,-,y");
    }

    #[test]
    fn repetitions() {
        check("(a*)*", "aab", "aa,aa");
        check("(a*)+", "b", ",");
        check("(|a)*", "aa", ",");
        check("(|a)+", "aa", ",");
        check("(a|b)*?c", "abc", "abc,b");
        check("(a|b){2,}?", "abab", "ab,b");
        check("(a){0}(b)", "ab", "b,-,b");
        check("(a{0}b)", "ab", "b,b");
        check("a{2}", "aaa", "aa");
        check("a{2,3}?", "aaa", "aa");
        check("a??b", "ab", "ab");
        check("^*a", "ba", "a");
        check(r"\b*a", "ba", "a");
        check("a(?i)*", "aA", "a");
        check("a+(?i)?", "aa", "aa");
        check("(?:a*(?i)*b)", "aab", "aab");
        check("(?:)*a", "a", "a");
        check(r"a\Q\E*", "aa", "aa");
        check(r"\Qab\E+", "abb", "abb");
        check("(?U)a+", "aa", "a");
        check("(?U)a+?", "aa", "aa");
        check("(?U)a{1,2}", "aa", "a");
        check("(?U:a*)b*", "abb", "");
        check("((a{100}){10}){1}|b", "b", "b,-,-");
        check("((a{1000}){0}){1000}(b)", "b", "b,,-,b");
    }

    #[test]
    fn braces_that_count_nothing() {
        check("br{x", "br{x", "br{x");
        check("a{", "a{", "a{");
        check("a{,5}", "a{,5}", "a{,5}");
        check("a{}", "a{}", "a{}");
        check("a{01}", "a{01}", "a{01}");
        check("a{1,02}", "a{1,02}", "a{1,02}");
        check("a{ 1}", "a{ 1}", "a{ 1}");
        check("a{1", "a{1", "a{1");
        check("a{1}{", "a{", "a{");
        check("{1x}", "{1x}", "{1x}");
        check("sq]}$", "sq]}", "sq]}");
    }

    #[test]
    fn borders() {
        check("^b", "a\nb", "no match");
        check("(?m)^b$", "a\nb\nc", "b");
        check("a$", "a\n", "no match");
        check("(?m)a$", "a\n", "a");
        check(r"\Ab", "a\nb", "no match");
        check(r"(?m)\Ab", "a\nb", "no match");
        check(r"(?m)a\z", "a\n", "no match");
        check(r"\bb\b", "éb", "b");
        check(r"\Bé\B", "aé", "no match");
        check(r"a\b", "aé", "a");
        check(r"\B", "é", "");
        check(r"x|\Bx?", "aéa", "no match");
    }

    #[test]
    fn dots() {
        check("w(.)", "wé", "wé,é");
        check(".", "\n", "no match");
        check("(?s).", "\n", "\n");
        check("(?s)(?-s).", "\n", "no match");
        check(".", "\r", "\r");
    }

    #[test]
    fn flags_end_with_their_group() {
        check("(?i:a)b", "Ab", "Ab");
        check("(?i:a)b", "AB", "no match");
        check("((?i)a)b", "AB", "no match");
        check("a(?i)b|c", "C", "C");
        check("(?i)a(?-i)b", "AB", "no match");
        check("(?i-i)a", "A", "no match");
        check("(?is-m:a.)", "A\n", "A\n");
        check("(?)a", "a", "a");
        check("(?s-i:.)", "\n", "\n");
    }

    #[test]
    fn folding() {
        check("(?i)K", "\u{212A}", "\u{212A}");
        check("(?i)ſ", "S", "S");
        check("(?i)σ", "ς", "ς");
        check("(?i)É", "é", "é");
        check("(?i)ß", "ss", "no match");
        check(r"(?i)\w", "\u{212A}", "\u{212A}");
        check(r"(?i)\W", "\u{212A}", "no match");
        check("(?i)[^k]", "\u{212A}", "no match");
        check("(?i)[a-c]", "B", "B");
        check("(?i)[[:lower:]]", "ſ", "ſ");
        check(r"(?i)\p{Lu}", "a", "a");
        check(r"(?i)\P{Lu}", "a1", "1");
        check(r"(?i)[\P{Lu}]", "a1", "1");
        check(r"(?i)\Qk.\E", "K.", "K.");
        check(r"(?i)\x6B", "K", "K");
        check("(?i)é+", "éÉ", "éÉ");
    }

    #[test]
    fn perl_classes_are_ascii() {
        check(r"(\w+)\.(\d+)", "aéb.9", "b.9,b,9");
        check(r"\D", "٣", "٣");
        check(r"\d", "٣", "no match");
        check(r"\W", "é", "é");
        check(r"\s", " ", " ");
        check(r"\s", "\u{A0}", "no match");
        check(r"\s", "\u{B}", "no match");
        check(r"\S", "\u{B}", "\u{B}");
        check(r"[\w-z]+", "a-z", "a-z");
        check(r"[\d\s]+", "a1 2", "1 2");
        check(r"[^\D]", "a1", "1");
        check(r"[^\W_]", "_a", "a");
    }

    #[test]
    fn brackets() {
        check("[]a]+", "]a", "]a");
        check("[^]a]", "]ab", "b");
        check("[a[b]+", "a[b", "a[b");
        check("[a&&b]+", "a&b", "a&b");
        check("[a~~b]+", "a~b", "a~b");
        check("[!--]+", "#-", "#-");
        check("[--/]+", "-./", "-./");
        check("[a-]+", "a-", "a-");
        check("[-a]+", "a-", "a-");
        check("[a-c-e]+", "b-e", "b-e");
        check("[a^]+", "a^", "a^");
        check("[^^]", "^a", "a");
        check(r"[\]\-\\]+", r"]-\", r"]-\");
        check("[ #]+", " #", " #");
        check("[^a]", "\n", "\n");
        check("[é-ü]", "ê", "ê");
        check(r"[\x41-\103]+", "ABCD", "ABC");
        check("[(|)*$.]+", "(|)*$.", "(|)*$.");
        check("[[:word:].]+", "-a_1.-", "a_1.");
        check("[[:^alpha:]]", "aé", "é");
        check("[^[:^digit:]]", "a1", "1");
        check("[:word:]+", "word:", "word:");
        check("[[:word]+", "[:word", "[:word");
        check("[[:]+", "[:", "[:");
        check("[[.a.]]", "a]", "a]");
        check("[[=a=]]", "=]", "=]");
    }

    #[test]
    fn unicode_classes() {
        check(r"\p{Greek}+", "aΩΨb", "ΩΨ");
        check(r"\p{^Greek}", "Ωa", "a");
        check(r"\P{Greek}", "Ωa", "a");
        check(r"\P{^Greek}", "aΩ", "Ω");
        check(r"\pN", "a٣", "٣");
        check(r"\pZZ", "a Z", " Z");
        check(r"\PLL", "aL1L", "1L");
        check(r"\p{Lu}", "aÉ", "É");
        check(r"\p{uppercase_letter}", "aÉ", "É");
        check(r"[\p{Lu}\p{Nd}]+", "aÉ1", "É1");
        check(r"[^\PL]", "1é", "é");
        check(r"\p{Sc}", "€", "€");
        check(r"\p{Any}", "a", "a");
        check(r"\p{ASCII}+", "ab€", "ab");
        check(r"\p{Old_Italic}", "𐌀", "𐌀");
        check(r"\p{Zl}", "\u{2028}", "\u{2028}");
    }

    #[test]
    fn surrogates_match_nothing() {
        check(r"a|\x{D800}", "a", "a");
        check(r"[\x{D800}a]", "a", "a");
        check(r"[^\x{D800}]", "a", "a");
        check(r"[\x{D000}-\x{DFFF}]", "\u{D7FF}", "\u{D7FF}");
        check(r"[\x{D800}-\x{DFFF}]", "a", "no match");
        check(r"\p{Cs}", "a", "no match");
        check(r"\P{Cs}", "a", "a");
        check(r"[^\x00-\x{10FFFF}]", "a", "no match");
    }

    #[test]
    fn escapes() {
        check(r"\Qa.b*c\E", "a.b*c", "a.b*c");
        check(r"\Qa(", "a(", "a(");
        check(r"\Q\d\E", r"\d", r"\d");
        check(r"\<\>(x)", "<>x", "<>x,x");
        check(r"\-\/\:\_\&\#\~\ \!", "-/:_&#~ !", "-/:_&#~ !");
        check(r"\173", "{", "{");
        check(r"\0", "\0", "\0");
        check(r"\08", "\u{0}8", "\u{0}8");
        check(r"\1234", "S4", "S4");
        check(r"\777", "ǿ", "ǿ");
        check(r"\x{9}", "\t", "\t");
        check(r"\x7e", "~", "~");
        check(r"\x{10FFFF}", "\u{10FFFF}", "\u{10FFFF}");
        check(
            r"\a\f\n\r\t\v",
            "\u{7}\u{C}\n\r\t\u{B}",
            "\u{7}\u{C}\n\r\t\u{B}",
        );
        check("a#b c", "a#b c", "a#b c");
    }

    #[test]
    fn names_of_groups() {
        let groups = |pattern: &str, name: &str| -> Vec<usize> {
            GoRegex::new(pattern).unwrap().groups(name).collect()
        };
        assert_eq!(groups("(a)(?P<n>b)", "n"), [2]);
        assert_eq!(groups("(?<n>a)", "n"), [1]);
        assert_eq!(groups("(?P<n>a)(?:b)(?P<n>c)", "n"), [1, 2]);
        assert_eq!(groups("(?P<1>a)(?P<01>b)(?P<_>c)", "01"), [2]);
        assert!(groups("(?P<n>a)", "m").is_empty());
        assert!(groups("(?P<n>a)", "N").is_empty());
        check("(?P<n>a)(?P<n>b)(c)", "abc", "abc,a,b,c");
    }

    #[test]
    fn what_go_refuses() {
        let check = |pattern: &str, part: &str| {
            let error = GoRegex::new(pattern).expect_err(pattern);
            assert!(error.contains(part), "{pattern} {error}");
        };
        check("a(?=b)", "`(?=`");
        check("a(?!b)", "`(?!`");
        check("(?<=a)b", "look-around");
        check("(?<!a)b", "look-around");
        check("(?>a)", "`(?>`");
        check("(?#a)", "`(?#`");
        check("(?x)a b", "`(?x`");
        check("(?i-)a", "`(?i-)`");
        check("(?--i)a", "`(?--`");
        check("(?i", "`(?i`");
        check("(?", "`(?`");
        check("(?P=n)", "`(?P`");
        check("(?'n'a)", "`(?'`");
        check("(?P<n", "`(?P<n`");
        check("(?P<>a)", "`(?P<>`");
        check("(?P<é>a)", "`(?P<é>`");
        check("(?P<a b>a)", "`(?P<a b>`");
        check(r"(a)\1", r"escape `\1`");
        check(r"\18", r"escape `\1`");
        check(r"\8", r"escape `\8`");
        for escape in [
            r"\Z", r"\C", r"\h", r"\u", r"\e", r"\K", r"\R", r"\X", r"\E", r"\é",
        ] {
            check(&format!("{escape}0041"), &format!("escape `{escape}`"));
        }
        for escape in [
            r"\x",
            r"\x4",
            r"\xg1",
            r"\x{}",
            r"\x{g}",
            r"\x{110000}",
            r"\x{4",
        ] {
            check(escape, r"escape `\x");
        }
        check("a\\", "ends with a backslash");
        check("a**", "`**`");
        check("a++", "`++`");
        check("a*??", "`*??`");
        check("a{2}{3}", "`{2}{3}`");
        check("*a", "nothing that `*`");
        check("a|+", "nothing that `+`");
        check("(?:?)", "nothing that `?`");
        check("(?i)*", "nothing that `*`");
        check("{2}", "nothing that `{2}`");
        check("a{1001}", "count `{1001}`");
        check("a{1001,}", "count `{1001,}`");
        check("a{2,1}", "count `{2,1}`");
        check("a{99999999999}", "count `{99999999999}`");
        check("(a{100}){11}", "1000 copies with `{11}`");
        check("((a{2,10}b{5}){10,}c)+{2}", "`+{2}`");
        check("(?:(?:a{2,10}b{5}){10,}c){11}", "1000 copies with `{11}`");
        check("(a", "`)`");
        check("a)", "`)`");
        check("(a))", "`)`");
        check("[a", "`]`");
        check("[]", "`]`");
        check("[^]", "`]`");
        check(r"[\d", "`]`");
        check("[a-", "`]`");
        check("[z-a]", "range `z-a`");
        check(
            &format!("(?<{}>a)", "é".repeat(100)),
            &format!("`(?<{}…`", "é".repeat(38)),
        );
        check(r"[a-\d]", r"escape `\d`");
        check(r"[\Qa\E]", r"escape `\Q`");
        check(r"[\b]", r"escape `\b`");
        check("[[:nope:]]", "class `[:nope:]`");
        check(r"\p{Nope}", r"class `\p{Nope}`");
        check(r"\p{^^Greek}", r"class `\p{^^Greek}`");
        check(r"\p{}", r"class `\p{}`");
        check(r"\p{Greek", r"class `\p{Greek`");
        check(r"\p{gc=L}", r"class `\p{gc=L}`");
        check(r"[\pX]", r"class `\pX`");
        check(r"\pé", r"class `\pé`");
        check(r"\p", r"class `\p`");
        check(r"\P{Alphabetic}", r"class `\P{Alphabetic}`");
    }

    #[test]
    fn limits() {
        let refused = |pattern: &str| GoRegex::new(pattern).err();
        let check = |pattern: &str, part: &str| {
            let error = refused(pattern).expect("refused");
            assert!(error.contains(part), "{error}");
        };
        let nested = |open: &str, depth: usize, close: &str| {
            format!("{}a{}", open.repeat(depth), close.repeat(depth))
        };
        for (open, levels, close) in [
            ("(", 1, ")"),
            ("(a|b", 2, "c)*"),
            ("(?i:k|(?:[a-z]b)?", 1, ")"),
        ] {
            let deepest = (DEPTH_MAX - 3) / levels;
            assert_eq!(refused(&nested(open, deepest, close)), None, "{open}");
            check(
                &nested(open, deepest + 4, close),
                "nested more than 250 deep",
            );
        }
        check(&nested("(", 20_000, ")"), "nested more than 250 deep");
        check(
            &format!("a*{}", "(?i)*".repeat(300)),
            "nested more than 250 deep",
        );
        check(
            &"a".repeat(PATTERN_BYTES_MAX + 1),
            "longer than 65536 bytes",
        );
        assert_eq!(refused("[^.]{1000}"), None);
        check(r"\pL{1000}", "4194304 bytes when compiled");
        check(&r"\pL".repeat(20_000), "4194304 bytes when compiled");
        assert_eq!(refused(&r"(?i)[\x00-\x{10FFFF}]".repeat(50)), None);
        check(&r"(?i)\pL".repeat(101), "too many large classes");
        check(
            &r"(?i)[\x00-\x{10FFFF}]".repeat(101),
            "too many large classes",
        );
    }

    #[test]
    fn translations_stay_readable() {
        let check = |pattern: &str, rust: &str| {
            assert_eq!(GoRegex::new(pattern).unwrap().as_rust(), rust);
        };
        check(r"^airflow\.dag\.(.*)\.run$", r"^airflow\.dag\.(.*)\.run$");
        check(r"(?P<x>\w+)\s?a{", r"([[:word:]]+)[\t\n\f\r\x20]?a\{");
        check("(?i)a1(?-i)[^a&&b]", r"(?i:a)1[^a\&\&b]");
        check("(?sm)^.(?U)a*(?i)?", "(?m:^)(?s:.)(?:a*?)??");
    }
}
