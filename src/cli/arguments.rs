//! Arguments one at a time, by the rules of kingpin: their dashes understood,
//! files of arguments put in their places.

use std::collections::VecDeque;
use std::ffi::OsString;

/// One argument, its dashes understood.
pub(super) enum Argument {
    /// `--name` or `--name=value`.
    Flag { name: String, value: Option<String> },
    /// `-h`, also out of a bundle such as `-hv`.
    Letter(char),
    /// Anything else.
    Word(String),
}

/// The arguments still to be read, argument files put in their places.
pub(super) struct Arguments {
    waiting: VecDeque<OsString>,
    /// A `--` came by: no flags and no files any more.
    only_words: bool,
    /// How many argument files may still be read. A file may name others, and
    /// so itself.
    files_left: u8,
}

impl Arguments {
    pub(super) fn new(waiting: VecDeque<OsString>) -> Arguments {
        Arguments {
            waiting,
            only_words: false,
            files_left: 100,
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<Argument>, String> {
        while let Some(raw) = self.waiting.pop_front() {
            let text = raw
                .into_string()
                .map_err(|raw| format!("argument {raw:?} is not UTF-8; use a name that is"))?;
            if self.only_words {
                return Ok(Some(Argument::Word(text)));
            }
            if text == "--" {
                self.only_words = true;
            } else if let Some(flag) = text.strip_prefix("--") {
                let (name, value) = match flag.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (flag, None),
                };
                let name = name.to_owned();
                return Ok(Some(Argument::Flag { name, value }));
            } else if let Some(letters) = text.strip_prefix('-') {
                return Ok(Some(self.first_letter(letters)));
            } else if let Some(path) = text.strip_prefix('@') {
                self.put_file(path)?;
            } else {
                return Ok(Some(Argument::Word(text)));
            }
        }
        Ok(None)
    }

    /// Splits a bundle of short flags. A lone dash is an empty word, as in
    /// kingpin.
    fn first_letter(&mut self, letters: &str) -> Argument {
        let mut rest = letters.chars();
        let Some(letter) = rest.next() else {
            return Argument::Word(String::new());
        };
        if !rest.as_str().is_empty() {
            self.waiting
                .push_front(format!("-{}", rest.as_str()).into());
        }
        Argument::Letter(letter)
    }

    /// Puts the lines of a file in front, without comments and blank lines.
    fn put_file(&mut self, path: &str) -> Result<(), String> {
        if path.is_empty() {
            return Err("expected the name of a file of arguments after @".to_owned());
        }
        self.files_left = self.files_left.checked_sub(1).ok_or_else(|| {
            format!("too many argument files; does {path:?} lead back to itself?")
        })?;
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read arguments from {path:?}: {error}"))?;
        let is_argument = |line: &&str| !line.starts_with('#') && !line.trim().is_empty();
        for line in text.lines().filter(is_argument).rev() {
            self.waiting.push_front(line.into());
        }
        Ok(())
    }
}
