//! StatsD name to Prometheus series: the one place that translates.
//!
//! A mapping file is read ([`rules`]), compiled into a [`Mapper`], and never
//! changed after: a reload makes a new mapper and swaps it in whole. Mapping is
//! pure. It takes a sample and says what series it belongs to; whether that
//! series may exist is the registry's decision, and counting is the worker's.
//!
//! Rules are looked up by layers, one for the user's file and one for a built-in
//! profile under it. Within a layer every glob rule (`globs`) comes before every
//! regex rule (`regexes`), wherever they stand in the file, as in the reference.

mod escape;
mod globs;
mod go_regex;
mod regexes;
pub mod rules;
mod template;
mod treatment;
mod verdict;
mod yaml;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use self::escape::escape;
use self::globs::{Globs, Shadow};
use self::go_regex::GoRegex;
use self::regexes::Regexes;
use self::rules::{ConfigError, Defaults, MatchType, RuleFile, RuleText};
use self::template::Template;
use self::treatment::Treatment;
use crate::registry::{SeriesSpec, Shape};
use crate::statsd::{Sample, StatType};

pub use self::verdict::Verdict;

/// Rules that come with the program.
pub mod profiles {
    /// For Apache Airflow: the rules of its official chart.
    pub const AIRFLOW: &str = include_str!("profiles/airflow.yml");
}

/// Compiled rules, ready to map.
#[derive(Debug)]
pub struct Mapper {
    layers: Vec<Layer>,
    rules: Vec<Rule>,
    unmapped: Treatment,
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
    treatment: Treatment,
}

/// What a sample means.
#[derive(Debug)]
pub enum Mapped<'a> {
    /// A rule drops it.
    Dropped,
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
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// What the value is multiplied by.
    pub scale: f64,
    /// Whether a rule took the sample.
    pub mapped: bool,
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
            unmapped: Treatment::of_unmapped(&Defaults::default()),
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
        let mut mapper = Mapper::empty();
        for (file, content) in files {
            if mapper.layers.is_empty() {
                mapper.unmapped = Treatment::of_unmapped(&content.defaults);
            }
            mapper.add_layer(&file, content)?;
        }
        Ok(mapper)
    }

    fn add_layer(&mut self, file: &Arc<str>, content: RuleFile) -> Result<(), ConfigError> {
        let first = self.rules.len();
        let mut globs = Globs::new(!content.defaults.glob_disable_ordering);
        let mut regexes = Vec::new();
        for text in content.rules {
            let index = self.rules.len();
            let regex = match text.match_type {
                MatchType::Glob => {
                    globs.add(index as u32, &text.pattern, text.stat);
                    None
                }
                MatchType::Regex => Some(compile_regex(file, &text)?),
            };
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
        let Some((rule, captures)) = self.find(sample.name, sample.stat) else {
            return Mapped::Series(Plan {
                name: escape(sample.name),
                labels: tag_labels(sample.tags),
                scale: 1.0,
                mapped: false,
                shape: self.unmapped.shape(sample.stat),
                treatment: &self.unmapped,
            });
        };
        let rule = &self.rules[rule];
        if rule.text.drop {
            return Mapped::Dropped;
        }
        let name = captures.expand(&rule.name);
        if name.is_empty() {
            return Mapped::Nameless;
        }
        Mapped::Series(Plan {
            name: match escape(&name) {
                Cow::Borrowed(_) => name,
                Cow::Owned(escaped) => Cow::Owned(escaped),
            },
            labels: rule.labels(tag_labels(sample.tags), &captures),
            scale: rule.text.scale.unwrap_or(1.0),
            mapped: true,
            shape: rule.treatment.shape(sample.stat),
            treatment: &rule.treatment,
        })
    }

    /// The rule that takes a name, and what its pattern captured.
    fn find<'n>(&self, name: &'n str, stat: StatType) -> Option<(usize, Captures<'n>)> {
        let segments: Vec<&str> = name.split('.').collect();
        let accepts = |rule: usize| self.rules[rule].text.stat.is_none_or(|only| only == stat);
        self.layers.iter().find_map(|layer| {
            if let Some(rule) = layer.globs.find(&segments, stat) {
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
    fn labels<'a>(
        &'a self,
        mut labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
        captures: &Captures<'_>,
    ) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
        for (name, value) in &self.labels {
            match labels.binary_search_by(|(tag, _)| (**tag).cmp(name)) {
                Ok(_) if self.text.honor_labels => {}
                Ok(at) => labels[at].1 = captures.expand(value),
                Err(at) => labels.insert(at, (Cow::Borrowed(name), captures.expand(value))),
            }
        }
        labels
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

/// Tags as labels: keys made legal, ascending, of equal keys the last one.
fn tag_labels<'a>(tags: &[(&'a str, &'a str)]) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    let label = |(key, value): &(&'a str, &'a str)| (escape(key), Cow::Borrowed(*value));
    let mut labels: Vec<(Cow<'a, str>, Cow<'a, str>)> = tags.iter().map(label).collect();
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    // The sort keeps equal keys in order, so the later one is the one to keep.
    labels.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            std::mem::swap(&mut later.1, &mut kept.1);
        }
        same
    });
    labels
}

fn stars(pattern: &str) -> usize {
    pattern.split('.').filter(|segment| *segment == "*").count()
}

fn compile_regex(file: &Arc<str>, rule: &RuleText) -> Result<GoRegex, ConfigError> {
    GoRegex::new(&rule.pattern).map_err(|why| ConfigError {
        file: file.to_string(),
        line: rule.line,
        message: format!("regular expression `{}` {why}", rule.pattern),
    })
}

#[cfg(test)]
mod tests;
