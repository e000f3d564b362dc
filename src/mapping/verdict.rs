//! Why each rule took a name or did not: what `explain` shows.

use super::conditions::has_tag;
use super::knowledge::FactSet;
use super::rules::MatchType;
use super::{Mapper, Rule};
use crate::statsd::{Sample, StatType};

/// What a rule made of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'m> {
    /// It takes the name; what its stars or groups captured, from `$1` on.
    Takes(Vec<String>),
    /// It would, but only takes samples of another type.
    OtherType(StatType),
    /// It would, but the line lacks this tag.
    LacksTag(&'m str),
    /// It would, if this fact were known.
    NotKnown(&'m str),
    /// It would, were this fact not known.
    Known(&'m str),
    /// Its pattern has another number of segments.
    OtherLength {
        /// Segments of the pattern.
        pattern: usize,
        /// Segments of the name.
        name: usize,
    },
    /// A segment differs, the first that does.
    OtherSegment {
        /// Counting from 1.
        at: usize,
        /// What the pattern has there.
        pattern: &'m str,
        /// What the name has there.
        name: String,
    },
    /// Its regular expression is not found in the name.
    NotFound,
    /// It would, but an earlier rule begins with the same pattern; see
    /// [`Mapper::warnings`].
    NeverReached,
    /// It would, but a rule that stands before it does.
    ComesLater(&'m str, usize),
    /// It would, but a rule whose pattern is more specific does.
    LessSpecific(&'m str, usize),
    /// It would, but it is a regex rule and a glob rule does.
    GlobFirst(&'m str, usize),
}

impl Verdict<'_> {
    /// Whether the rule's pattern fits the name, whatever else it lacks.
    pub fn is_of_fitting_pattern(&self) -> bool {
        !matches!(
            self,
            Verdict::OtherLength { .. } | Verdict::OtherSegment { .. } | Verdict::NotFound
        )
    }
}

impl Mapper {
    /// Every rule with its verdict on a sample, in the order of
    /// [`Mapper::rules`], by what is known at the time.
    pub fn verdicts<'m>(&'m self, sample: &Sample<'_>) -> Vec<(&'m Rule, Verdict<'m>)> {
        let (name, stat) = (sample.name, sample.stat);
        let facts = self.facts(sample);
        let mismatches = self.rules.iter().map(|rule| rule.glob_mismatch(name));
        let mut mismatches: Vec<Option<Verdict<'m>>> = mismatches.collect();
        for (rule, found) in self
            .layers
            .iter()
            .flat_map(|layer| layer.regexes.each(name))
        {
            mismatches[rule] = (!found).then_some(Verdict::NotFound);
        }
        let winner = self.find(sample, facts);
        let verdict = |(index, mismatch): (usize, Option<Verdict<'m>>)| {
            let rule = &self.rules[index];
            let mismatch = mismatch.or_else(|| self.unmet(rule, sample, facts));
            let verdict = match (mismatch, &winner) {
                (Some(mismatch), _) => mismatch,
                (None, _) if !self.is_reachable(index, stat) => Verdict::NeverReached,
                (None, Some((winner, _))) if *winner != index => self.beaten(index, *winner),
                (None, Some((_, captures))) => Verdict::Takes(captures.all()),
                (None, None) => unreachable!("a rule that fits and can be reached wins"),
            };
            (rule, verdict)
        };
        mismatches.into_iter().enumerate().map(verdict).collect()
    }

    /// What a rule whose pattern fits demands besides, and does not get.
    fn unmet<'m>(
        &'m self,
        rule: &'m Rule,
        sample: &Sample<'_>,
        facts: FactSet,
    ) -> Option<Verdict<'m>> {
        if let Some(only) = rule.text.stat.filter(|only| *only != sample.stat) {
            return Some(Verdict::OtherType(only));
        }
        let own = &rule.text.own;
        let is_known = |word: &&String| {
            let set = self.knowledge.set([*word]);
            set.is_ok_and(|set| facts.has_all(set))
        };
        let mut tags = own.match_tags.iter();
        let mut when = own.when.iter();
        let mut unless = own.unless.iter();
        if let Some(tag) = tags.find(|tag| !has_tag(sample, tag)) {
            Some(Verdict::LacksTag(tag))
        } else if let Some(word) = when.find(|word| !is_known(word)) {
            Some(Verdict::NotKnown(word))
        } else {
            unless.find(is_known).map(|word| Verdict::Known(word))
        }
    }

    fn is_reachable(&self, rule: usize, stat: StatType) -> bool {
        self.rules[rule].text.match_type == MatchType::Regex
            || self
                .layers
                .iter()
                .any(|layer| layer.globs.is_reachable(rule as u32, stat))
    }

    /// Why a rule that fits a name leaves it to another one.
    fn beaten(&self, rule: usize, winner: usize) -> Verdict<'_> {
        let other = &self.rules[winner];
        let (file, line) = (&*other.file, other.text.line);
        let same_file = self
            .layers
            .iter()
            .any(|layer| layer.rules.contains(&rule) && layer.rules.contains(&winner));
        if same_file && other.text.match_type != self.rules[rule].text.match_type {
            Verdict::GlobFirst(file, line)
        } else if rule < winner {
            Verdict::LessSpecific(file, line)
        } else {
            Verdict::ComesLater(file, line)
        }
    }
}

impl Rule {
    /// Why a glob does not fit a name; `None` if it does, or is no glob.
    fn glob_mismatch(&self, name: &str) -> Option<Verdict<'_>> {
        if self.text.match_type != MatchType::Glob {
            return None;
        }
        let count = |text: &str| text.split('.').count();
        if count(&self.text.pattern) != count(name) {
            return Some(Verdict::OtherLength {
                pattern: count(&self.text.pattern),
                name: count(name),
            });
        }
        let mut pairs = self
            .text
            .pattern
            .split('.')
            .zip(name.split('.'))
            .enumerate();
        let (at, (pattern, name)) = pairs.find(|(_, (p, n))| *p != "*" && p != n)?;
        Some(Verdict::OtherSegment {
            at: at + 1,
            pattern,
            name: name.to_owned(),
        })
    }
}
