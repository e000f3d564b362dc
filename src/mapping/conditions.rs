//! What a rule demands of a line besides its name: the type of its sample, its
//! tags, and facts about its sender.

use super::knowledge::{FactSet, Knowledge, TooManyFacts};
use super::rules::{RuleText, ScaleText};
use crate::statsd::{Sample, StatType};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    stat: Option<StatType>,
    when: FactSet,
    unless: FactSet,
    tags: Box<[Box<str>]>,
}

/// A factor that holds under conditions.
#[derive(Debug)]
pub(super) struct Scale {
    when: FactSet,
    unless: FactSet,
    factor: f64,
}

impl Conditions {
    pub(super) fn new(text: &RuleText, knowledge: &Knowledge) -> Result<Self, TooManyFacts> {
        let tags = text.own.match_tags.iter();
        Ok(Conditions {
            stat: text.stat,
            when: knowledge.set(&text.own.when)?,
            unless: knowledge.set(&text.own.unless)?,
            tags: tags.map(|tag| Box::from(tag.as_str())).collect(),
        })
    }

    /// Whether a sample meets them, where `facts` are known.
    pub(super) fn are_met(&self, sample: &Sample<'_>, facts: FactSet) -> bool {
        self.stat.is_none_or(|only| only == sample.stat)
            && facts.has_all(self.when)
            && !facts.has_any(self.unless)
            && self.tags.iter().all(|tag| has_tag(sample, tag))
    }
}

impl Scale {
    pub(super) fn new(text: &ScaleText, knowledge: &Knowledge) -> Result<Self, TooManyFacts> {
        Ok(Scale {
            when: knowledge.set(&text.when)?,
            unless: knowledge.set(&text.unless)?,
            factor: text.scale,
        })
    }

    /// The factor, where `facts` are known.
    pub(super) fn get(&self, facts: FactSet) -> Option<f64> {
        let holds = facts.has_all(self.when) && !facts.has_any(self.unless);
        holds.then_some(self.factor)
    }
}

pub(super) fn has_tag(sample: &Sample<'_>, tag: &str) -> bool {
    sample.tags.iter().any(|(key, _)| *key == tag)
}
