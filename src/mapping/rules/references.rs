//! References in templates that stand for nothing.
//!
//! A template is never refused for them; but who writes `$1_total` means
//! `${1}_total`, and gets an empty string.

use super::MatchType;
use super::names::captures;

/// What is wrong with the references of `template`, one sentence each.
pub(super) fn complaints(template: &str, match_type: MatchType, pattern: &str) -> Vec<String> {
    let complaint = |reference: Reference| match match_type {
        MatchType::Glob => glob_complaint(reference, captures(pattern)),
        MatchType::Regex => regex_complaint(reference, pattern),
    };
    references(template, match_type)
        .into_iter()
        .filter_map(complaint)
        .collect()
}

/// A dollar sign and what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reference<'a> {
    /// As it stands in the template.
    text: &'a str,
    /// Without dollar sign and braces.
    inner: &'a str,
}

/// All references in the order of the template. Those of a glob's template are
/// as long as can be, dollar signs included; those of a regular expression's
/// end where Go's `Expand` ends them, and `$$` is a dollar sign.
fn references(template: &str, match_type: MatchType) -> Vec<Reference<'_>> {
    let glob = match_type == MatchType::Glob;
    let mut found = Vec::new();
    let mut rest = template;
    while let Some(dollar) = rest.find('$') {
        rest = &rest[dollar..];
        let inner = rest[1..].strip_prefix('{').unwrap_or(&rest[1..]);
        let belongs = |c: char| c.is_ascii_alphanumeric() || c == '_' || glob && c == '$';
        let end = inner.find(|c| !belongs(c)).unwrap_or(inner.len());
        let after = inner[end..].strip_prefix('}').unwrap_or(&inner[end..]);
        let text = &rest[..rest.len() - after.len()];
        if end > 0 {
            let inner = &inner[..end];
            found.push(Reference { text, inner });
            rest = after;
        } else {
            rest = rest[1..].strip_prefix('$').unwrap_or(&rest[1..]);
        }
    }
    found
}

fn glob_complaint(reference: Reference, captures: usize) -> Option<String> {
    let Reference { text, inner } = reference;
    match split_number(inner) {
        (Some(number), "") if (1..=captures).contains(&number) => None,
        (Some(_), "") => Some(format!(
            "`{text}` stands for nothing, since the pattern has {captures} asterisks: correct the number"
        )),
        (Some(number), rest) => Some(format!(
            "`{text}` stands for nothing: write `${{{number}}}{rest}`"
        )),
        (None, _) => Some(format!(
            "`{text}` stands for nothing: refer to an asterisk by its number, as in `${{1}}`"
        )),
    }
}

/// Which groups an expression has is known only to who compiles it; but a
/// group whose name starts with a digit is always a slip.
fn regex_complaint(reference: Reference, pattern: &str) -> Option<String> {
    let Reference { text, inner } = reference;
    match split_number(inner) {
        (Some(number), rest) if !rest.is_empty() && !pattern.contains(&format!("<{inner}>")) => {
            Some(format!(
                "`{text}` stands for a group named `{inner}`, which there is not: write `${{{number}}}{rest}`"
            ))
        }
        _ => None,
    }
}

/// The number that `text` starts with, and what follows.
fn split_number(text: &str) -> (Option<usize>, &str) {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    (text[..text.len() - rest.len()].parse().ok(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks which advice is given, `number` for a wrong one.
    fn check(match_type: MatchType, pattern: &str, template: &str, advice: &[&str]) {
        let complaints = complaints(template, match_type, pattern);
        let given: Vec<_> = complaints
            .iter()
            .map(|complaint| match complaint.rsplit_once("write `") {
                Some((_, advice)) => advice.trim_end_matches('`'),
                None => complaint.rsplit(' ').next().unwrap_or(""),
            })
            .collect();
        assert_eq!(given, advice, "{template}");
    }

    #[test]
    fn in_templates_of_globs() {
        let check = |template, advice: &[&str]| check(MatchType::Glob, "a.*.b.*", template, advice);
        check("", &[]);
        check("$1", &[]);
        check("x_${1}_$2", &[]);
        check("${1}$2-$1", &[]);
        check("$01", &[]);
        check("$ ${} $-1 5$", &[]);
        check("$1_foo", &["${1}_foo"]);
        check("${1_foo}", &["${1}_foo"]);
        check("$1$2", &["${1}$2"]);
        check("$0 $3", &["number", "number"]);
        check("$name", &["`${1}`"]);
        check("$$", &["`${1}`"]);
    }

    #[test]
    fn in_templates_of_regexes() {
        let check =
            |template, advice: &[&str]| check(MatchType::Regex, "(?P<2x>a)", template, advice);
        check("$1$2 $0 $9 $name ${name} $2x", &[]);
        check("$$1_foo", &[]);
        check("$1_foo", &["${1}_foo"]);
        check("$$$1_foo", &["${1}_foo"]);
    }
}
