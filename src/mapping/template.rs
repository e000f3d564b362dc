//! Templates of metric names and label values: text with references to what a
//! rule's pattern captured, such as `airflow_${1}_duration`.
//!
//! Glob and regex rules read references differently, and users depend on both
//! ways, so there are two parsers for one [`Template`]. It is parsed when the
//! mapping file is loaded; expanding it only copies text.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::go_regex::GoRegex;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Box<[Piece]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    /// The text of the first of these groups that took part in the match; of
    /// none, nothing.
    Reference(Box<[usize]>),
}

/// A reference in a template of a glob rule. The name extends as far as it
/// can, further dollars included, and each brace may be missing.
static GLOB_REFERENCE: LazyLock<Regex> = LazyLock::new(|| fixed(r"\$\{?([a-zA-Z0-9_$]+)\}?"));

/// A reference in a template of a regex rule, or an escaped dollar: the syntax
/// of `Regexp.Expand` in Go, which takes letters and digits of any script.
static REGEX_REFERENCE: LazyLock<Regex> =
    LazyLock::new(|| fixed(r"\$(?:\{([\pL\p{Nd}_]+)\}|([\pL\p{Nd}_]+)|(\$))"));

impl Template {
    /// Parses a template of a glob rule whose pattern has `captures` stars.
    ///
    /// `$1` is the first star. What looks like a reference but is no number
    /// of a star, as `$0`, `$name` or `$1_x`, stands for nothing.
    pub fn glob(text: &str, captures: usize) -> Template {
        Template::parse(text, &GLOB_REFERENCE, |reference| {
            let star = reference[1].parse().ok();
            let star = star.filter(|star| (1..=captures).contains(star));
            Piece::Reference(star.into_iter().collect())
        })
    }

    /// Parses a template of a regex rule.
    ///
    /// `$0` is the whole match, `$1` and `$name` are groups of `regex`, and
    /// `$$` is a dollar. A group that does not exist stands for nothing.
    pub fn regex(text: &str, regex: &GoRegex) -> Template {
        Template::parse(text, &REGEX_REFERENCE, |reference| {
            let Some(name) = reference.get(1).or(reference.get(2)) else {
                return Piece::Literal("$".into());
            };
            let name = name.as_str();
            Piece::Reference(match number(name) {
                Some(group) => [group].into(),
                None => regex.groups(name).collect(),
            })
        })
    }

    /// Appends the text to `out`. `capture` tells what a group captured, if it
    /// took part in the match. Groups and stars count from 1; 0 is the whole
    /// match, which no glob template refers to.
    pub fn expand<'n>(&self, capture: impl Fn(usize) -> Option<&'n str>, out: &mut String) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Reference(groups) => {
                    let text = groups.iter().find_map(|&group| capture(group));
                    out.push_str(text.unwrap_or(""));
                }
            }
        }
    }

    /// The text, if it is the same for every match.
    pub fn as_literal(&self) -> Option<&str> {
        match &*self.pieces {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Cuts the text at what `references` finds; the rest is literal.
    fn parse(text: &str, references: &Regex, resolve: impl Fn(&Captures) -> Piece) -> Template {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut end = 0;
        for reference in references.captures_iter(text) {
            let range = reference.get_match().range();
            literal.push_str(&text[end..range.start]);
            end = range.end;
            match resolve(&reference) {
                Piece::Literal(text) => literal.push_str(&text),
                Piece::Reference(groups) if groups.is_empty() => {}
                piece => {
                    push_literal(&mut pieces, &mut literal);
                    pieces.push(piece);
                }
            }
        }
        literal.push_str(&text[end..]);
        push_literal(&mut pieces, &mut literal);
        Template {
            pieces: pieces.into(),
        }
    }
}

fn push_literal(pieces: &mut Vec<Piece>, literal: &mut String) {
    if !literal.is_empty() {
        pieces.push(Piece::Literal(std::mem::take(literal).into()));
    }
}

/// A group's number; with leading zeros it would be a name.
fn number(name: &str) -> Option<usize> {
    let number = name.parse().ok();
    number.filter(|_| name == "0" || !name.starts_with('0'))
}

/// Compiles a pattern that is part of this program.
fn fixed(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is tested")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand<'n>(template: &Template, capture: impl Fn(usize) -> Option<&'n str>) -> String {
        let mut out = String::new();
        template.expand(capture, &mut out);
        out
    }

    #[test]
    fn glob_references() {
        let check = |text: &str, expanded: &str| {
            let captures = ["one", "two"];
            let template = Template::glob(text, captures.len());
            assert_eq!(
                expand(&template, |n| captures.get(n - 1).copied()),
                expanded,
                "{text}"
            );
        };
        check("", "");
        check("plain", "plain");
        check("n_${1}_$2", "n_one_two");
        check("$1_x", "");
        check("${1}_x", "one_x");
        check("$1$2", "");
        check("${1}${2}", "onetwo");
        check("$1-$2", "one-two");
        check("$1/$2", "one/two");
        check("$1.$1_x", "one.");
        check("$0", "");
        check("$01", "one");
        check("${1", "one");
        check("$1}", "one");
        check("${1}}", "one}");
        check("$$", "");
        check("$$1", "");
        check("$${1}", "{1}");
        check("a $ b", "a $ b");
        check("a$", "a$");
        check("${}", "${}");
        check("${ 1}", "${ 1}");
        check("$-1", "$-1");
        check("<$3>", "<>");
        check("$name tail", " tail");
        check("$1é", "oneé");
        check("$99999999999999999999", "");
        // Percent signs are text, and no captured text is read again.
        check("100% $1%d%%", "100% one%d%%");
        check("$2 $1", "two one");
    }

    #[test]
    fn glob_numbers_of_two_digits() {
        let captures = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
        let expand = |text| expand(&Template::glob(text, 12), |n| Some(captures[n - 1]));
        assert_eq!(expand("$1.$10"), "a.j");
        assert_eq!(expand("${12}/${10}/$9"), "l/j/i");
    }

    #[test]
    fn captures_are_not_expanded_again() {
        assert_eq!(expand(&Template::glob("$1", 1), |_| Some("$1%s")), "$1%s");
    }

    #[test]
    fn regex_references() {
        let regex = GoRegex::new(r"p\.(?P<first>\w+)\.(\w+)(?P<03>x)?").unwrap();
        let captures = regex.captures("p.one.two").unwrap();
        let check = |text: &str, expanded: &str| {
            let template = Template::regex(text, &regex);
            let capture = |n| captures.get(n).map(|m| m.as_str());
            assert_eq!(expand(&template, capture), expanded, "{text}");
        };
        check("", "");
        check("e_${2}_$1", "e_two_one");
        check("$first", "one");
        check("${first}x", "onex");
        check("$1_x", "");
        check("$1$2", "onetwo");
        check("$0", "p.one.two");
        check("$$1", "$1");
        check("$$$1", "$one");
        check("a$", "a$");
        check("${}", "${}");
        check("${1", "${1");
        check("${1 }", "${1 }");
        check("$ 1", "$ 1");
        check("$-$1", "$-one");
        check("$1}", "one}");
        check("[$9]", "[]");
        check("[$missing]", "[]");
        check("100%-$1%d", "100%-one%d");
        check("$01", "");
        check("[$3$03]", "[]");
        // Letters and digits of any script belong to the name.
        check("[$1é]", "[]");
        check("[$1٣]", "[]");
        check("[$1-é]", "[one-é]");
    }

    #[test]
    fn regex_names_that_repeat() {
        let check = |pattern: &str, name: &str, expanded: &str| {
            let regex = GoRegex::new(pattern).unwrap();
            let captures = regex.captures(name).unwrap();
            let template = Template::regex("$n", &regex);
            let capture = |n| captures.get(n).map(|m| m.as_str());
            assert_eq!(expand(&template, capture), expanded, "{pattern}");
        };
        check("(?P<n>a)(?P<n>b)", "ab", "a");
        check("(?P<n>a)|(?P<n>b)", "b", "b");
        check("(?P<n>)(?P<n>b)", "b", "");
    }

    #[test]
    fn literals_are_known() {
        assert_eq!(
            Template::glob("plain $0 text", 3).as_literal(),
            Some("plain  text")
        );
        assert_eq!(Template::glob("$1", 0).as_literal(), Some(""));
        assert_eq!(Template::glob("$1", 1).as_literal(), None);
        let regex = GoRegex::new("").unwrap();
        assert_eq!(Template::regex("a$$", &regex).as_literal(), Some("a$"));
        assert_eq!(Template::regex("$0", &regex).as_literal(), None);
    }
}
