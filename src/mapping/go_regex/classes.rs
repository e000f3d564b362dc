//! Classes of characters: in brackets, behind a backslash, of Unicode.

use super::{CODE_POINTS, NOTHING, Result, Translator, push_escaped};

/// Most code points in classes under `(?i)`, each of which the engine looks up
/// when it compiles: 100 classes of everything, half a second.
const FOLDED_MAX: u32 = 100 * CODE_POINTS;

/// Every character, for use inside brackets.
const EVERYTHING: &str = r"\x{0}-\x{10FFFF}";

impl<'p> Translator<'p> {
    /// After `[`. Inside, only `]`, `\`, `-` and `[:` mean anything, and a `]`
    /// that comes first is a character.
    pub(super) fn class(&mut self) -> Result<()> {
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
    pub(super) fn bracketed(&self, class: &str) -> String {
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

    /// After a backslash: a class such as `\d` or `\p{Greek}`, for use inside
    /// brackets.
    pub(super) fn escaped_class(&mut self) -> Result<Option<String>> {
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
}

/// The classes of `[[:alpha:]]`, which both engines limit to ASCII.
const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

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
