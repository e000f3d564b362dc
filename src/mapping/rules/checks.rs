//! Whether the fields of a rule, each of the right type, make a rule.

use super::fields::{At, WrittenRule};
use super::notes::quoted;
use super::{Defaults, MatchType, ObserverType, names};

/// What keeps a rule from working: a line, and a message for it.
pub(super) type RuleError = (usize, String);

/// Checks a rule whose fields are of the right types. The order is the
/// reference's.
pub(super) fn check_rule(rule: &WrittenRule, defaults: &Defaults) -> Result<(), RuleError> {
    check_labels(rule)?;
    check_name(rule)?;
    if rule.effective_match_type(defaults) == MatchType::Glob {
        check_glob(rule)?;
    }
    check_options(rule, rule.effective_observer_type(defaults))
}

fn check_labels(rule: &WrittenRule) -> Result<(), RuleError> {
    let mut labels = rule.labels.iter();
    let Some((label, template)) = labels.find(|(label, _)| !names::is_label_name(label)) else {
        return Ok(());
    };
    let message = format!(
        "label name {} is not legal: use letters, digits and underscores, at least two characters, not starting with a digit",
        quoted(label)
    );
    Err((template.line, message))
}

fn check_name(rule: &WrittenRule) -> Result<(), RuleError> {
    let At { line, value: name } = &rule.name;
    if name.is_empty() {
        let message = "the rule has no `name`: add one, even if it only drops samples";
        return Err((rule.line, message.to_owned()));
    }
    if names::is_name_template(name) {
        return Ok(());
    }
    let message = format!(
        "metric name {} is not legal: use letters, digits and underscores, not starting with a digit, and references such as ${{1}}",
        quoted(name)
    );
    Err((*line, message))
}

fn check_glob(rule: &WrittenRule) -> Result<(), RuleError> {
    let At { line, value: glob } = &rule.pattern;
    if glob.is_empty() {
        return Err((
            rule.line,
            "the rule has no `match`: add a pattern".to_owned(),
        ));
    }
    if names::is_glob(glob) {
        return Ok(());
    }
    let message = format!(
        "pattern {} is not legal: between dots, write either one asterisk or a word of letters, digits, underscores and dashes, not starting with a dash, the first one not with a digit either",
        quoted(glob)
    );
    Err((*line, message))
}

fn check_options(rule: &WrittenRule, observer_type: Option<ObserverType>) -> Result<(), RuleError> {
    let (line, kept, refused) = match (observer_type, &rule.summary, &rule.histogram) {
        (Some(ObserverType::Histogram), Some(options), _) => (options.line, "histogram", "summary"),
        (Some(ObserverType::Summary), _, Some(options)) => (options.line, "summary", "histogram"),
        _ => return Ok(()),
    };
    let message = format!(
        "the observer_type is {kept}: remove `{refused}_options`, or write `observer_type: {refused}`"
    );
    Err((line, message))
}
