//! StatsD name to Prometheus series: the one place that translates.
//!
//! A mapping file is read ([`rules`]), compiled into a [`Mapper`], and never
//! changed after: a reload makes a new mapper and swaps it in whole. A mapper
//! takes a sample and says what series it belongs to; whether that series may
//! exist is the registry's decision, and counting is the worker's. It changes
//! nothing but the [`Knowledge`] that some files gather of their senders.
//!
//! Rules are looked up by layers, one for the user's file and one for a built-in
//! profile under it. Within a layer every glob rule (`globs`) comes before every
//! regex rule (`regexes`), wherever they stand in the file, as in the reference.

mod conditions;
mod escape;
mod globs;
mod go_regex;
mod knowledge;
mod labels;
mod lessons;
pub mod profiles;
mod regexes;
pub mod rules;
mod template;
mod treatment;
mod verdict;
mod yaml;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use self::conditions::{Conditions, Scale};
use self::escape::escape;
use self::globs::{Globs, Shadow};
use self::go_regex::GoRegex;
use self::knowledge::{FactSet, TooManyFacts};
use self::labels::{Labels, TagEdits};
use self::lessons::Lesson;
use self::regexes::Regexes;
use self::rules::{
    ConfigError, Defaults, GaugeAggregation, MatchType, OwnText, RuleFile, RuleText,
};
use self::template::Template;
use self::treatment::Treatment;
use crate::registry::{SeriesSpec, Shape, Ttl};
use crate::statsd::Sample;

pub use self::knowledge::{Knowledge, Split};
pub use self::lessons::Learnt;
pub use self::verdict::Verdict;

/// What becomes of samples that no rule takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unmapped {
    /// A series under their own name.
    #[default]
    Keep,
    /// Nothing, as if a rule dropped them.
    Drop,
    /// Nothing, but they are counted as unmapped.
    Count,
}

/// Compiled rules, ready to map.
#[derive(Debug)]
pub struct Mapper {
    layers: Vec<Layer>,
    rules: Vec<Rule>,
    lessons: Vec<Lesson>,
    knowledge: Arc<Knowledge>,
    unmapped: Unmapped,
    /// Of what no rule takes.
    untaken: Treatment,
    /// That takes it as it is.
    no_edits: TagEdits,
}

/// The rules of one file, by their index in [`Mapper::rules`].
#[derive(Debug)]
struct Layer {
    rules: Range<usize>,
    globs: Globs,
    regexes: Regexes,
}

/// A compiled rule.
#[derive(Debug)]
pub struct Rule {
    /// As written, with its place in the file.
    pub text: RuleText,
    /// The file it came from.
    pub file: Arc<str>,
    name: Template,
    /// Label names, ascending, with their values.
    labels: Vec<(Box<str>, Template)>,
    /// What is parted into the labels `dag_id` and `task_id`.
    dag_and_task: Option<Template>,
    conditions: Conditions,
    tag_edits: TagEdits,
    scales: Vec<Scale>,
    treatment: Treatment,
}

/// What a sample means.
#[derive(Debug)]
pub enum Mapped<'a> {
    /// A rule drops it, or it is one of those that are dropped because none
    /// takes it.
    Dropped,
    /// No rule takes it, and it is only counted.
    Unmapped,
    /// A rule's template gave an empty name.
    Nameless,
    /// It belongs to a series.
    Series(Plan<'a>),
}

/// A series that a sample belongs to.
#[derive(Debug)]
pub struct Plan<'a> {
    /// A legal metric name; empty if the StatsD name was all tags.
    pub name: Cow<'a, str>,
    /// Legal label names, ascending, each once.
    pub labels: Labels<'a>,
    /// What the value is multiplied by.
    pub scale: f64,
    /// Whether a rule took the sample.
    pub mapped: bool,
    /// A gauge is set to the value even if that carries a sign.
    pub absolute: bool,
    /// A negative value of a counter is dropped, and no error.
    pub drops_negative: bool,
    /// How dag and task were told from each other, if a rule asked for that.
    pub split: Option<Split>,
    shape: &'a Shape,
    treatment: &'a Treatment,
}

// === impl Mapper ===

impl Mapper {
    /// A mapper without rules, for when there is no mapping file.
    pub fn empty() -> Mapper {
        Mapper {
            layers: Vec::new(),
            rules: Vec::new(),
            lessons: Vec::new(),
            knowledge: Arc::default(),
            unmapped: Unmapped::Keep,
            untaken: Treatment::of_unmapped(&Defaults::default()),
            no_edits: TagEdits::default(),
        }
    }

    /// Compiles files of rules, named, in the order in which they are asked.
    /// What no rule takes is treated by the defaults of the first.
    ///
    /// # Errors
    /// A regular expression that does not compile.
    pub fn compile(
        files: impl IntoIterator<Item = (Arc<str>, RuleFile)>,
    ) -> Result<Mapper, ConfigError> {
        Mapper::compile_with(files, Unmapped::Keep, Arc::default())
    }

    /// The same, where what the lines of the past have told is known already.
    ///
    /// # Errors
    /// A regular expression that does not compile, or more facts than can be.
    pub fn compile_with(
        files: impl IntoIterator<Item = (Arc<str>, RuleFile)>,
        unmapped: Unmapped,
        knowledge: Arc<Knowledge>,
    ) -> Result<Mapper, ConfigError> {
        let mut mapper = Mapper::empty();
        mapper.unmapped = unmapped;
        mapper.knowledge = knowledge;
        for (file, content) in files {
            if mapper.layers.is_empty() {
                mapper.untaken = Treatment::of_unmapped(&content.defaults);
            }
            let signs = content.defaults.own.gauge_signs;
            mapper.untaken.gauge_signs = mapper.untaken.gauge_signs.or(signs);
            mapper.add_layer(&file, content)?;
        }
        Ok(mapper)
    }

    fn add_layer(&mut self, file: &Arc<str>, content: RuleFile) -> Result<(), ConfigError> {
        let first = self.rules.len();
        let mut globs = Globs::new(!content.defaults.glob_disable_ordering);
        let mut regexes = Vec::new();
        for text in &content.learn {
            self.lessons.push(Lesson::new(file, text, &self.knowledge)?);
        }
        for text in content.rules {
            let index = self.rules.len();
            let regex = match text.match_type {
                MatchType::Glob => {
                    let is_conditional = text.own.is_conditional();
                    globs.add(index as u32, &text.pattern, text.stat, is_conditional);
                    None
                }
                MatchType::Regex => Some(compile_regex(file, &text.pattern, text.line)?),
            };
            let refuse = |_: TooManyFacts| too_many_facts(file, text.line);
            let template = |template: &str| match &regex {
                Some(regex) => Template::regex(template, regex),
                None => Template::glob(template, stars(&text.pattern)),
            };
            let labels = text.labels.iter();
            self.rules.push(Rule {
                name: template(&text.name),
                labels: labels
                    .map(|(name, value)| (Box::from(name.as_str()), template(value)))
                    .collect(),
                dag_and_task: text.own.dag_and_task.as_deref().map(template),
                conditions: Conditions::new(&text, &self.knowledge).map_err(refuse)?,
                tag_edits: TagEdits::new(&text.own, &content.defaults.own),
                scales: scales(&text.own, &self.knowledge).map_err(refuse)?,
                treatment: Treatment::of_rule(&text, &content.defaults),
                file: Arc::clone(file),
                text,
            });
            regexes.extend(regex.map(|regex| (index, regex)));
        }
        self.layers.push(Layer {
            rules: first..self.rules.len(),
            globs,
            regexes: Regexes::new(regexes),
        });
        Ok(())
    }

    /// All rules, those of the file that is asked first first.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// A sentence for each rule that is never reached: why, and what to do.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.layers.iter().flat_map(|layer| {
            layer.rules.clone().filter_map(|index| {
                let shadow = layer.globs.shadow_of(index as u32)?;
                let (before, why) = match shadow {
                    Shadow::Begins(before) => (before, "begins the same"),
                    Shadow::Covers(before) => (before, "takes all it could take"),
                };
                let (rule, before) = (&self.rules[index], &self.rules[before as usize]);
                Some(format!(
                    "{}:{}: rule `{}` is never reached: rule `{}` at line {} comes first and {why}; put it before that one",
                    rule.file, rule.text.line, rule.text.pattern, before.text.pattern, before.text.line,
                ))
            })
        })
    }

    /// The automaton of the glob rules as a Graphviz digraph; the user's file
    /// alone, if there is one.
    pub fn to_dot(&self) -> String {
        let name = |rule: u32| self.rules[rule as usize].text.name.clone();
        let empty = Globs::new(true);
        let globs = self.layers.first().map_or(&empty, |layer| &layer.globs);
        globs.to_dot(name)
    }

    /// Says what series a sample belongs to.
    pub fn map<'a>(&'a self, sample: &Sample<'a>) -> Mapped<'a> {
        self.learn(sample, |_| {});
        let facts = self.facts(sample);
        let Some((rule, captures)) = self.find(sample, facts) else {
            return self.map_untaken(sample, facts);
        };
        let rule = &self.rules[rule];
        if rule.text.drop {
            return Mapped::Dropped;
        }
        let name = captures.expand(&rule.name);
        if name.is_empty() {
            return Mapped::Nameless;
        }
        let mut labels = rule.labels(rule.tag_edits.labels(sample.tags), &captures);
        let split = rule.dag_and_task.as_ref().map(|template| {
            let text = captures.expand(template);
            let (dag, task, split) = self.knowledge.split(&text);
            for (label, id) in [("dag_id", dag), ("task_id", task)] {
                labels::set(&mut labels, label, Cow::Owned(id.to_owned()), false);
            }
            split
        });
        Mapped::Series(Plan {
            name: match escape(&name) {
                Cow::Borrowed(_) => name,
                Cow::Owned(escaped) => Cow::Owned(escaped),
            },
            labels,
            scale: rule.scale(facts),
            mapped: true,
            absolute: rule.treatment.is_absolute(sample.stat, facts),
            drops_negative: rule.text.own.drop_negative,
            split,
            shape: rule.treatment.shape(sample.stat),
            treatment: &rule.treatment,
        })
    }

    fn map_untaken<'a>(&'a self, sample: &Sample<'a>, facts: FactSet) -> Mapped<'a> {
        match self.unmapped {
            Unmapped::Keep => Mapped::Series(Plan {
                name: escape(sample.name),
                labels: self.no_edits.labels(sample.tags),
                scale: 1.0,
                mapped: false,
                absolute: self.untaken.is_absolute(sample.stat, facts),
                drops_negative: false,
                split: None,
                shape: self.untaken.shape(sample.stat),
                treatment: &self.untaken,
            }),
            Unmapped::Drop => Mapped::Dropped,
            Unmapped::Count => Mapped::Unmapped,
        }
    }

    /// Takes from a sample what it tells of its sender, and calls `each` with
    /// what is new of that. Mapping begins with it.
    pub fn learn<'a>(&'a self, sample: &Sample<'_>, each: impl FnMut(Learnt<'a>)) {
        let lessons = self.lessons.iter();
        lessons
            .filter_map(|lesson| lesson.learn(sample, &self.knowledge))
            .for_each(each);
    }

    /// Grows whenever a sample has told something new. What was mapped before
    /// may then mean something else.
    pub fn generation(&self) -> u64 {
        self.knowledge.generation()
    }

    /// What is known of the sender of a sample.
    fn facts(&self, sample: &Sample<'_>) -> FactSet {
        self.knowledge
            .facts()
            .and(FactSet::of_dialect(sample.dialect))
    }

    /// The rule that takes a sample, and what its pattern captured.
    fn find<'n>(&self, sample: &Sample<'n>, facts: FactSet) -> Option<(usize, Captures<'n>)> {
        let name = sample.name;
        let segments: Vec<&str> = name.split('.').collect();
        let accepts = |rule: usize| self.rules[rule].conditions.are_met(sample, facts);
        self.layers.iter().find_map(|layer| {
            let glob = layer
                .globs
                .find(&segments, sample.stat, |rule| accepts(rule as usize));
            if let Some(rule) = glob {
                let stars = layer.globs.captures(rule, &segments);
                return Some((rule as usize, Captures::Glob(name, stars)));
            }
            let (rule, captures) = layer.regexes.find(name, accepts)?;
            Some((rule, Captures::Regex(captures)))
        })
    }
}

// === impl Rule ===

impl Rule {
    /// The labels of a sample: its tags and the rule's own. The rule's win over
    /// tags of the same name, unless it honours them.
    fn labels<'a>(&'a self, mut labels: Labels<'a>, captures: &Captures<'_>) -> Labels<'a> {
        for (name, value) in &self.labels {
            let keeps = self.text.honor_labels;
            labels::set(&mut labels, name, captures.expand(value), keeps);
        }
        labels
    }

    /// What a value is multiplied by, where `facts` are known.
    fn scale(&self, facts: FactSet) -> f64 {
        let mut scales = self.scales.iter();
        let special = scales.find_map(|scale| scale.get(facts));
        special.or(self.text.scale).unwrap_or(1.0)
    }
}

// === impl Plan ===

impl Plan<'_> {
    /// What to ask the registry for.
    pub fn spec(&self) -> SeriesSpec<'_> {
        SeriesSpec {
            name: &self.name,
            help: &self.treatment.help,
            shape: self.shape,
            labels: &self.labels,
            ttl: self.treatment.ttl,
        }
    }

    /// How values of several senders are to be combined, for gauges.
    pub fn gauge_aggregation(&self) -> GaugeAggregation {
        self.treatment.gauge_aggregation
    }

    /// After how long a silent sender no longer counts in that.
    pub fn source_ttl(&self) -> Ttl {
        self.treatment.source_ttl
    }
}

/// What a pattern captured of a name.
enum Captures<'n> {
    /// The whole name and the segments that the stars matched.
    Glob(&'n str, Vec<&'n str>),
    Regex(regex::Captures<'n>),
}

impl<'n> Captures<'n> {
    fn get(&self, group: usize) -> Option<&'n str> {
        match self {
            Captures::Glob(name, _) if group == 0 => Some(name),
            Captures::Glob(_, stars) => stars.get(group - 1).copied(),
            Captures::Regex(captures) => captures.get(group).map(|found| found.as_str()),
        }
    }

    /// All groups from the first on.
    fn all(&self) -> Vec<String> {
        let count = match self {
            Captures::Glob(_, stars) => stars.len(),
            Captures::Regex(captures) => captures.len() - 1,
        };
        let group = |group| self.get(group).unwrap_or_default().to_owned();
        (1..=count).map(group).collect()
    }

    fn expand<'a>(&self, template: &'a Template) -> Cow<'a, str> {
        if let Some(literal) = template.as_literal() {
            return Cow::Borrowed(literal);
        }
        let mut text = String::new();
        template.expand(|group| self.get(group), &mut text);
        Cow::Owned(text)
    }
}

fn stars(pattern: &str) -> usize {
    pattern.split('.').filter(|segment| *segment == "*").count()
}

fn scales(own: &OwnText, knowledge: &Knowledge) -> Result<Vec<Scale>, TooManyFacts> {
    let scales = own.scale_when.iter();
    scales.map(|text| Scale::new(text, knowledge)).collect()
}

fn compile_regex(file: &Arc<str>, pattern: &str, line: usize) -> Result<GoRegex, ConfigError> {
    GoRegex::new(pattern).map_err(|why| ConfigError {
        file: file.to_string(),
        line,
        message: format!("regular expression `{pattern}` {why}"),
    })
}

fn too_many_facts(file: &Arc<str>, line: usize) -> ConfigError {
    ConfigError {
        file: file.to_string(),
        line,
        message: "there are more than 60 facts: use fewer words in `when`, `unless` and `fact`"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests;
