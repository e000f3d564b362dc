//! What is wrong, or merely doubtful, in a mapping file.

use super::ConfigError;

/// More would help nobody, and a generated file can have a million.
const NOTES_MAX: usize = 100;

/// Collects errors and warnings, each once: an aliased node is read as often
/// as it is used.
pub(super) struct Notes {
    file: String,
    errors: Vec<ConfigError>,
    warnings: Vec<ConfigError>,
}

impl Notes {
    pub(super) fn new(file: &str) -> Notes {
        Notes {
            file: file.to_owned(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// One note, kept nowhere.
    pub(super) fn note(&self, line: usize, message: impl Into<String>) -> ConfigError {
        ConfigError {
            file: self.file.clone(),
            line,
            message: message.into(),
        }
    }

    /// The file cannot be used.
    pub(super) fn error(&mut self, line: usize, message: impl Into<String>) {
        let error = self.note(line, message);
        add(&mut self.errors, error);
    }

    /// The file can be used, though this is hardly meant.
    pub(super) fn warn(&mut self, line: usize, message: impl Into<String>) {
        let warning = self.note(line, message);
        add(&mut self.warnings, warning);
    }

    /// All errors so far in the order of their lines, if there are any.
    pub(super) fn check(&mut self) -> Result<(), Vec<ConfigError>> {
        if self.errors.is_empty() {
            return Ok(());
        }
        let mut errors = std::mem::take(&mut self.errors);
        errors.sort_by_key(|error| error.line);
        Err(errors)
    }

    /// The warnings in the order of their lines.
    pub(super) fn into_warnings(mut self) -> Vec<String> {
        self.warnings.sort_by_key(|warning| warning.line);
        self.warnings.iter().map(ConfigError::to_string).collect()
    }
}

fn add(notes: &mut Vec<ConfigError>, mut note: ConfigError) {
    if notes.len() == NOTES_MAX || notes.contains(&note) {
        return;
    }
    if notes.len() == NOTES_MAX - 1 {
        note.message.push_str(" (further ones are left out)");
    }
    notes.push(note);
}

/// Text for a message: in back quotes, and not the whole of a long one.
pub(super) fn quoted(text: &str) -> String {
    const LEN_MAX: usize = 60;
    match text.char_indices().nth(LEN_MAX) {
        None => format!("`{text}`"),
        Some((end, _)) => format!("`{}…`", &text[..end]),
    }
}
