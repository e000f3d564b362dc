//! The `learn` sections of mapping files: which lines tell what of their
//! sender.

use std::sync::Arc;

use super::conditions::has_tag;
use super::knowledge::{FactSet, Knowledge};
use super::regexes::Filtered;
use super::rules::LearnText;
use super::template::Template;
use super::{ConfigError, compile_regex};
use crate::statsd::{Dialect, Sample};

/// One entry of the section.
#[derive(Debug)]
pub(super) struct Lesson {
    regex: Filtered,
    dialect: Option<Dialect>,
    tags: Box<[Box<str>]>,
    teaches: Teaches,
}

#[derive(Debug)]
enum Teaches {
    Fact(FactSet, Box<str>),
    DagId(Template),
}

/// What a line has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learnt<'a> {
    /// A fact.
    Fact(&'a str),
    /// The id of a DAG.
    DagId(String),
}

impl Lesson {
    pub(super) fn new(
        file: &Arc<str>,
        text: &LearnText,
        knowledge: &Knowledge,
    ) -> Result<Lesson, ConfigError> {
        let regex = compile_regex(file, &text.pattern, text.line)?;
        let teaches = match &text.fact {
            Some(fact) => {
                let set = knowledge.set([fact]);
                let set = set.map_err(|_| super::too_many_facts(file, text.line))?;
                Teaches::Fact(set, Box::from(fact.as_str()))
            }
            None => Teaches::DagId(Template::regex(&text.dag_id, &regex)),
        };
        Ok(Lesson {
            regex: Filtered::new(regex),
            dialect: text.dialect,
            tags: text.tags.iter().map(|tag| tag.as_str().into()).collect(),
            teaches,
        })
    }

    /// Takes from a sample what it has to tell, if that is new.
    pub(super) fn learn(&self, sample: &Sample<'_>, knowledge: &Knowledge) -> Option<Learnt<'_>> {
        let is_known =
            matches!(self.teaches, Teaches::Fact(set, _) if knowledge.facts().has_all(set));
        let is_other = self.dialect.is_some() && self.dialect != sample.dialect;
        if is_known || is_other || !self.tags.iter().all(|tag| has_tag(sample, tag)) {
            return None;
        }
        match &self.teaches {
            Teaches::Fact(set, word) => {
                let is_new = self.regex.is_match(sample.name) && knowledge.tell(*set);
                is_new.then_some(Learnt::Fact(word))
            }
            Teaches::DagId(template) => {
                let captures = self.regex.captures(sample.name)?;
                let mut id = String::new();
                let group = |group| captures.get(group).map(|found| found.as_str());
                template.expand(group, &mut id);
                knowledge.tell_dag_id(&id).then_some(Learnt::DagId(id))
            }
        }
    }
}
