//! The regex rules of a mapping file, tried in the order of the file.
//!
//! Most names match no rule, and a regular expression takes 50 ns and more to
//! say so. Before it is asked, each literal text that every match of a rule
//! must contain (for `^airflow\.dag\.(.*)\.run$` these are `airflow.dag.` and
//! `.run`) is looked for in the name; nearly always one is missing.
//!
//! Measured, per name of captured Airflow traffic that matches nothing:
//!
//! | rules | each regex | this | `RegexSet` | Aho-Corasick |
//! |---|---|---|---|---|
//! | 4 | 200 ns | 24 ns | 48 ns | 100 ns |
//! | 30 | 1.8 µs | 0.18 µs | 0.05 µs | 0.10 µs |
//! | 1000 | 160 µs | 7 µs | 170 µs | 0.12 µs |
//!
//! `RegexSet` falls off a cliff when its automaton outgrows the cache.
//! Aho-Corasick over one literal per rule stays flat, but must choose literals
//! by how rare they are among the rules and bring candidates back into order;
//! for a path taken once per new series that is not worth it.

use memchr::memmem::Finder;
use regex::Captures;
use regex_syntax::hir::{Hir, HirKind, Look};

use super::go_regex::GoRegex;

/// So many literals are looked for at most; a name that has all of them
/// probably matches.
const LITERALS_MAX: usize = 4;

/// Regex rules in the order of the file.
#[derive(Clone, Debug)]
pub struct Regexes {
    rules: Box<[Rule]>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// The caller's number of the rule.
    index: usize,
    regex: Filtered,
}

/// A regular expression that is only asked where its literals occur.
#[derive(Clone, Debug)]
pub struct Filtered {
    regex: GoRegex,
    /// What each matching name begins with.
    prefix: Box<[u8]>,
    /// What each matching name contains, longest and so likely rarest first.
    required: Box<[Finder<'static>]>,
}

impl Regexes {
    /// Takes the rules in the order of the file, each with the number by which
    /// the caller knows it.
    pub fn new(patterns: impl IntoIterator<Item = (usize, GoRegex)>) -> Regexes {
        let rule = |(index, regex)| Rule {
            index,
            regex: Filtered::new(regex),
        };
        Regexes {
            rules: patterns.into_iter().map(rule).collect(),
        }
    }

    /// The first rule that `accept` takes and whose pattern is found anywhere
    /// in `name`, with what it captured.
    pub fn find<'n>(
        &self,
        name: &'n str,
        accept: impl Fn(usize) -> bool,
    ) -> Option<(usize, Captures<'n>)> {
        self.rules
            .iter()
            .filter(|rule| accept(rule.index))
            .find_map(|rule| Some((rule.index, rule.regex.captures(name)?)))
    }

    /// Every rule in order, and whether its pattern is found in `name`.
    pub fn each(&self, name: &str) -> impl Iterator<Item = (usize, bool)> {
        self.rules
            .iter()
            .map(|rule| (rule.index, rule.regex.regex.is_match(name)))
    }
}

impl Filtered {
    /// Looks for the literals of `regex`.
    pub fn new(regex: GoRegex) -> Filtered {
        Filtered {
            prefix: required_prefix(&regex),
            required: required_literals(&regex),
            regex,
        }
    }

    /// What the pattern captured, if it is found in `name`.
    pub fn captures<'n>(&self, name: &'n str) -> Option<Captures<'n>> {
        self.may_match(name)
            .then(|| self.regex.captures(name))
            .flatten()
    }

    /// Whether the pattern is found in `name`.
    pub fn is_match(&self, name: &str) -> bool {
        self.may_match(name) && self.regex.is_match(name)
    }

    fn may_match(&self, name: &str) -> bool {
        let contains = |literal: &Finder| literal.find(name.as_bytes()).is_some();
        name.as_bytes().starts_with(&self.prefix) && self.required.iter().all(contains)
    }
}

/// What every match begins with, as far as that is one literal.
fn required_prefix(regex: &GoRegex) -> Box<[u8]> {
    let Ok(hir) = regex_syntax::parse(regex.as_rust()) else {
        return Box::default();
    };
    match hir.kind() {
        HirKind::Concat(parts) => match (parts[0].kind(), parts[1].kind()) {
            (HirKind::Look(Look::Start), HirKind::Literal(literal)) => literal.0.clone(),
            _ => Box::default(),
        },
        _ => Box::default(),
    }
}

/// What every match contains. Patterns nested more deeply than the parser
/// takes by default give nothing and are always tried.
fn required_literals(regex: &GoRegex) -> Box<[Finder<'static>]> {
    let mut literals = Vec::new();
    if let Ok(hir) = regex_syntax::parse(regex.as_rust()) {
        collect_required(&hir, &mut literals);
    }
    literals.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    literals.dedup();
    literals
        .iter()
        .take(LITERALS_MAX)
        .map(|literal| Finder::new(literal).into_owned())
        .collect()
}

fn collect_required(hir: &Hir, literals: &mut Vec<Box<[u8]>>) {
    match hir.kind() {
        HirKind::Literal(literal) => literals.push(literal.0.clone()),
        HirKind::Capture(group) => collect_required(&group.sub, literals),
        HirKind::Repetition(repetition) if repetition.min > 0 => {
            collect_required(&repetition.sub, literals);
        }
        HirKind::Concat(parts) => {
            for part in parts {
                collect_required(part, literals);
            }
        }
        HirKind::Empty
        | HirKind::Class(_)
        | HirKind::Look(_)
        | HirKind::Repetition(_)
        | HirKind::Alternation(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regexes(patterns: &[&str]) -> Regexes {
        let compile = |&pattern: &&str| GoRegex::new(pattern).expect(pattern);
        Regexes::new(patterns.iter().map(compile).enumerate())
    }

    #[test]
    fn the_first_rule_in_the_file_wins() {
        let regexes = regexes(&[r"svc\.(\w+)\.req", "^svc", "r$", "(?i)svc"]);
        let check = |name: &str, expected: Option<(usize, &str)>| {
            let found = regexes.find(name, |_| true);
            let found = found.map(|(rule, captures)| (rule, captures.get(0).unwrap().as_str()));
            assert_eq!(found, expected, "{name}");
        };
        check("svc.alpha.req", Some((0, "svc.alpha.req")));
        check("xsvc.beta.req.y", Some((0, "svc.beta.req")));
        check("svc.req", Some((1, "svc")));
        check("other", Some((2, "r")));
        check("SVC.a.req", Some((3, "SVC")));
        check("none", None);
        check("", None);
    }

    #[test]
    fn rules_that_are_not_accepted_are_passed_over() {
        let regexes = regexes(&["a", "a", "b"]);
        let find = |accept: fn(usize) -> bool| regexes.find("a", accept).map(|(rule, _)| rule);
        assert_eq!(find(|_| true), Some(0));
        assert_eq!(find(|rule| rule != 0), Some(1));
        assert_eq!(find(|rule| rule == 2), None);
    }

    #[test]
    fn the_caller_numbers_the_rules() {
        let regex = |pattern| GoRegex::new(pattern).unwrap();
        let regexes = Regexes::new([(3, regex("b")), (7, regex("a"))]);
        assert_eq!(regexes.find("a", |_| true).unwrap().0, 7);
        assert_eq!(
            regexes.each("a").collect::<Vec<_>>(),
            [(3, false), (7, true)]
        );
    }

    #[test]
    fn literals_that_every_match_contains() {
        let check = |pattern: &str, expected: &[&str]| {
            let literals = required_literals(&GoRegex::new(pattern).unwrap());
            let literals: Vec<_> = literals
                .iter()
                .map(|l| std::str::from_utf8(l.needle()).unwrap())
                .collect();
            assert_eq!(literals, expected, "{pattern}");
        };
        check("", &[]);
        check("abc", &["abc"]);
        check(r"^airflow\.dag\.(.*)\.run$", &["airflow.dag.", ".run"]);
        check("(ab+)cd", &["cd", "a", "b"]);
        check("a?b*(cd){2,}e{0,3}", &["cd"]);
        check("(?:ab){0}c", &["c"]);
        check("ab|cd", &[]);
        check("(?i)ab", &[]);
        check("x(?i)ab(?-i)yz", &["yz", "x"]);
        check("é[b]", &["éb"]);
        check(r"a\b\Bb$", &["a", "b"]);
        check("a.a", &["a"]);
        check("a.bb.cc.d.eee.f", &["eee", "bb", "cc", "a"]);
        // Deeper than the analysis goes, and so tried on every name.
        check(&format!("{}{}", "(ab".repeat(200), ")".repeat(200)), &[]);
    }

    #[test]
    fn the_literal_that_every_match_begins_with() {
        for (pattern, expected) in [
            (r"^airflow\.dag\.(.*)", "airflow.dag."),
            ("^ab", "ab"),
            ("ab", ""),
            ("(^ab)c", ""),
            ("(?m)^ab", ""),
            ("^(?i)ab", ""),
            ("^a?b", ""),
            ("^", ""),
            ("", ""),
        ] {
            let prefix = required_prefix(&GoRegex::new(pattern).unwrap());
            assert_eq!(std::str::from_utf8(&prefix), Ok(expected), "{pattern}");
        }
    }

    /// No name may be kept from a pattern that matches it.
    #[test]
    fn the_literals_change_no_result() {
        let regexes = regexes(&[
            "a*b",
            "(a|b)c",
            "(ab|ac)d",
            "[a]b",
            "(?i)ab",
            "a{0}b",
            "(|a)b",
            "^$",
            r"\Qa.b\E",
            "(?:a|)b?",
            "(?:ab?)+c",
            r"a\.?b",
            "a|b|",
            "(?:(?:ab)?c)*d",
            "(?i)é",
            "a{2}.b",
            "^ab",
            "^a.?b$",
        ]);
        let mut names = vec![String::new()];
        let mut previous = 0;
        for _ in 0..4 {
            let grown = names.len();
            for i in previous..grown {
                names.extend(
                    "abcdA.é"
                        .chars()
                        .map(|c| format!("{}{c}", names[i]))
                        .collect::<Vec<_>>(),
                );
            }
            previous = grown;
        }
        assert_eq!(names.len(), 1 + 7 + 49 + 343 + 2401);
        for name in &names {
            for (rule, matches) in regexes.each(name) {
                let found = regexes.find(name, |index| index == rule).is_some();
                assert_eq!(found, matches, "rule {rule} on {name}");
            }
        }
    }
}
