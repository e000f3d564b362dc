//! `pitot explain`: what becomes of a line, and why.
//!
//! It runs the same parser, rules and registry as the exporter, on a registry
//! of its own, and writes down what each of them says.

use std::fmt::Write;

use crate::clock::Clock;
use crate::mapping::rules::MatchType;
use crate::mapping::{Learnt, Mapped, Mapper, Rule, Split, Verdict, profiles};
use crate::registry::{Refusal, Registry, Series, Shape};
use crate::statsd::{Dialects, LineError, Sample, StatType, Tally, parse_line};
use crate::telemetry;

/// Explains lines one after the other. A name's type conflicts with those of
/// the lines before, as it would in the exporter.
pub fn explain(mapper: &Mapper, dialects: &Dialects, lines: &[String]) -> String {
    let mut page = Page {
        mapper,
        registry: Registry::new(Clock::system(), telemetry::is_reserved),
        out: String::new(),
    };
    for line in lines {
        page.line(line, dialects);
    }
    page.out
}

struct Page<'m> {
    mapper: &'m Mapper,
    registry: Registry,
    out: String,
}

impl Page<'_> {
    /// Appends a line of text. Writing to a string cannot fail.
    fn say(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.out, "{text}");
    }

    fn line(&mut self, line: &str, dialects: &Dialects) {
        if !self.out.is_empty() {
            self.say(format_args!(""));
        }
        self.say(format_args!("{line}"));
        let mut tally = Tally::default();
        parse_line(line.as_bytes(), dialects, &mut tally, |sample| {
            self.sample(sample)
        });
        if tally.samples == 0 && tally.errors.iter().all(|count| *count == 0) {
            self.say(format_args!("  an empty line: nothing to count"));
        }
        for reason in LineError::ALL {
            let count = tally.errors[reason as usize];
            if count > 0 {
                self.say(format_args!(
                    "  refused: {} ({count} times)",
                    reason.as_str()
                ));
            }
        }
        if tally.tag_errors > 0 {
            self.say(format_args!("  bad tags, left out: {}", tally.tag_errors));
        }
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        let what = match (sample.stat, sample.relative) {
            (StatType::Counter, _) => "counter, add",
            (StatType::Gauge, false) => "gauge, set to",
            (StatType::Gauge, true) => "gauge, change by",
            (StatType::Observer, _) => "observer, observe",
        };
        let times = match sample.count {
            1 => String::new(),
            count => format!(", {count} times"),
        };
        self.say(format_args!("  name    {}", sample.name));
        self.say(format_args!("  sample  {what} {}{times}", sample.value));
        for (key, value) in sample.tags {
            self.say(format_args!("  tag     {key} = {value}"));
        }
        self.rules(sample);
    }

    fn rules(&mut self, sample: &Sample<'_>) {
        let mapper = self.mapper;
        mapper.learn(sample, |learnt| match learnt {
            Learnt::Fact(fact) => self.say(format_args!("  learnt  {fact}")),
            Learnt::DagId(id) => self.say(format_args!("  learnt  {id} is a DAG")),
        });
        let verdicts = mapper.verdicts(sample);
        let takes = |verdict: &Verdict<'_>| matches!(verdict, Verdict::Takes(_));
        let (winner, others): (Vec<_>, Vec<_>) = verdicts
            .into_iter()
            .partition(|(_, verdict)| takes(verdict));
        match winner.first() {
            Some((rule, Verdict::Takes(captures))) => {
                self.say(format_args!("  rule    {}", place(rule)));
                for (index, capture) in captures.iter().enumerate() {
                    self.say(format_args!("  capture ${} = {capture}", index + 1));
                }
            }
            _ => self.say(format_args!("  rule    none takes it")),
        }
        self.outcome(sample);
        let is_told = |(rule, verdict): &(&Rule, Verdict<'_>)| {
            // The hundreds of other metrics of a profile would tell nothing.
            !profiles::is_name(&rule.file) || verdict.is_of_fitting_pattern()
        };
        for (rule, verdict) in others.into_iter().filter(is_told) {
            self.say(format_args!("  not by  {}: {}", place(rule), why(&verdict)));
        }
    }

    fn outcome(&mut self, sample: &Sample<'_>) {
        let plan = match self.mapper.map(sample) {
            Mapped::Dropped => return self.say(format_args!("  result  dropped")),
            Mapped::Unmapped => {
                return self.say(format_args!("  result  none, only counted as unmapped"));
            }
            Mapped::Nameless => {
                return self.say(format_args!(
                    "  result  refused: the rule's name is empty (empty_metric_name)"
                ));
            }
            Mapped::Series(plan) => plan,
        };
        match plan.split {
            Some(Split::Known) => self.say(format_args!(
                "  split   after the longest DAG id that other lines have told"
            )),
            Some(Split::FirstDot) => self.say(format_args!(
                "  split   at the first dot: no line has told of a DAG whose id begins it"
            )),
            None => {}
        }
        let value = sample.value * plan.scale;
        if plan.scale != 1.0 {
            self.say(format_args!(
                "  scale   {} × {} = {value}",
                sample.value, plan.scale
            ));
        }
        if plan.absolute && sample.relative {
            self.say(format_args!(
                "  sign    part of the value: the gauge is set to it"
            ));
        }
        if sample.stat == StatType::Counter && value < 0.0 && plan.drops_negative {
            return self.say(format_args!("  result  dropped: it is negative"));
        }
        if sample.stat == StatType::Counter && value < 0.0 {
            return self.say(format_args!(
                "  result  refused: a counter cannot fall (illegal_negative_counter)"
            ));
        }
        match self.registry.series(&plan.spec(), self.registry.clock().now()) {
            Ok(series) => self.say(format_args!("  result  {}", show(&series))),
            Err(Refusal::EmptyName) => self.say(format_args!(
                "  result  refused: the name is empty (empty_metric_name)"
            )),
            Err(Refusal::ReservedLabelName) => self.say(format_args!(
                "  result  refused: a label name is reserved (reserved_label_name)"
            )),
            Err(Refusal::Conflict) => self.say(format_args!(
                "  result  refused: {} is in use with another type or by Pitot itself (events_conflict_total)",
                plan.name
            )),
        }
    }
}

/// A series as on the page, with its type.
fn show(series: &Series) -> String {
    let labels = series
        .labels()
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect::<Vec<_>>()
        .join(",");
    let labels = if labels.is_empty() {
        labels
    } else {
        format!("{{{labels}}}")
    };
    let options = match series.shape() {
        Shape::Counter | Shape::Gauge => String::new(),
        Shape::Summary(options) => format!(" with quantiles {:?}", options.quantiles),
        Shape::Histogram(options) => format!(" with buckets {:?}", options.buckets),
    };
    let kind = series.kind().as_str();
    format!("{kind} {}{labels}{options}", series.family().name)
}

fn place(rule: &Rule) -> String {
    let kind = match rule.text.match_type {
        MatchType::Glob => "glob",
        MatchType::Regex => "regex",
    };
    format!(
        "{}:{} {kind} {}",
        rule.file, rule.text.line, rule.text.pattern
    )
}

fn why(verdict: &Verdict<'_>) -> String {
    match verdict {
        Verdict::Takes(_) => "takes it".to_owned(),
        Verdict::OtherType(stat) => format!("it is for {}s only", stat.as_str()),
        Verdict::OtherLength { pattern, name } => {
            format!("it has {pattern} segments, the name {name}")
        }
        Verdict::OtherSegment { at, pattern, name } => {
            format!("segment {at} is `{name}`, not `{pattern}`")
        }
        Verdict::LacksTag(tag) => format!("the line has no tag `{tag}`"),
        Verdict::NotKnown(fact) => format!("it holds only where it is known: {fact}"),
        Verdict::Known(fact) => format!("it does not hold where it is known: {fact}"),
        Verdict::NotFound => "not found in the name".to_owned(),
        Verdict::NeverReached => {
            "it fits, but is never reached: an earlier rule begins with the same pattern".to_owned()
        }
        Verdict::ComesLater(file, line) => format!("it fits, but comes after {file}:{line}"),
        Verdict::LessSpecific(file, line) => {
            format!("it fits, but {file}:{line} is more specific")
        }
        Verdict::GlobFirst(file, line) => {
            format!("it fits, but globs come before regexes, and {file}:{line} fits")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::mapping::rules;

    #[track_caller]
    fn check(lines: &[&str], expect: &str) {
        let text = "mappings:\n\
            - {match: a.*.duration, name: a_seconds, labels: {task: $1}, scale: 2}\n\
            - {match: a.*.*, name: rest, match_metric_type: gauge}\n\
            - {match: drop.*, name: d, action: drop}\n";
        let file = rules::read(text.as_bytes(), "m.yml").unwrap();
        let mapper = Mapper::compile([(Arc::from("m.yml"), file)]).unwrap();
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(explain(&mapper, &Dialects::ALL, &lines), expect);
    }

    #[test]
    fn a_mapped_line() {
        check(
            &["a.b.duration:1500|ms|#dag:x,bad"],
            "a.b.duration:1500|ms|#dag:x,bad\n\
             \x20 name    a.b.duration\n\
             \x20 sample  observer, observe 1.5\n\
             \x20 tag     dag = x\n\
             \x20 rule    m.yml:2 glob a.*.duration\n\
             \x20 capture $1 = b\n\
             \x20 scale   1.5 × 2 = 3\n\
             \x20 result  summary a_seconds{dag=\"x\",task=\"b\"} with quantiles [0.5, 0.9, 0.99]\n\
             \x20 not by  m.yml:3 glob a.*.*: it is for gauges only\n\
             \x20 not by  m.yml:4 glob drop.*: it has 2 segments, the name 3\n\
             \x20 bad tags, left out: 1\n",
        );
    }

    #[test]
    fn refusals() {
        check(
            &["x:1|g", "x:1|c:-1|c:q|c", "drop.x:1|c"],
            "x:1|g\n\
             \x20 name    x\n\
             \x20 sample  gauge, set to 1\n\
             \x20 rule    none takes it\n\
             \x20 result  gauge x\n\
             \x20 not by  m.yml:2 glob a.*.duration: it has 3 segments, the name 1\n\
             \x20 not by  m.yml:3 glob a.*.*: it has 3 segments, the name 1\n\
             \x20 not by  m.yml:4 glob drop.*: it has 2 segments, the name 1\n\
             \n\
             x:1|c:-1|c:q|c\n\
             \x20 name    x\n\
             \x20 sample  counter, add 1\n\
             \x20 rule    none takes it\n\
             \x20 result  refused: x is in use with another type or by Pitot itself (events_conflict_total)\n\
             \x20 not by  m.yml:2 glob a.*.duration: it has 3 segments, the name 1\n\
             \x20 not by  m.yml:3 glob a.*.*: it has 3 segments, the name 1\n\
             \x20 not by  m.yml:4 glob drop.*: it has 2 segments, the name 1\n\
             \x20 name    x\n\
             \x20 sample  counter, add -1\n\
             \x20 rule    none takes it\n\
             \x20 result  refused: a counter cannot fall (illegal_negative_counter)\n\
             \x20 not by  m.yml:2 glob a.*.duration: it has 3 segments, the name 1\n\
             \x20 not by  m.yml:3 glob a.*.*: it has 3 segments, the name 1\n\
             \x20 not by  m.yml:4 glob drop.*: it has 2 segments, the name 1\n\
             \x20 refused: malformed_value (1 times)\n\
             \n\
             drop.x:1|c\n\
             \x20 name    drop.x\n\
             \x20 sample  counter, add 1\n\
             \x20 rule    m.yml:4 glob drop.*\n\
             \x20 capture $1 = x\n\
             \x20 result  dropped\n\
             \x20 not by  m.yml:2 glob a.*.duration: it has 3 segments, the name 2\n\
             \x20 not by  m.yml:3 glob a.*.*: it has 3 segments, the name 2\n",
        );
    }

    #[test]
    fn what_lines_tell_of_their_sender() {
        let text = "learn:\n\
            - {fact: two, match: ^tell$}\n\
            - {dag_id: $1, match: '^run\\.(.+)$'}\n\
            mappings:\n\
            - {match: 't\\.(.+)', match_type: regex, name: tt, dag_and_task: $1, when: two}\n\
            - {match: g, name: gg, gauge_signs: absolute}\n\
            - {match: n, name: nn, drop_negative: true}\n";
        let file = rules::read(text.as_bytes(), "profile:x").unwrap();
        let mapper = Mapper::compile([(Arc::from("profile:x"), file)]).unwrap();
        let lines = [
            "t.a.b.c:1|g",
            "tell:1|c",
            "t.a.b.c:1|g",
            "run.a.b:1|c",
            "t.a.b.c:1|g",
            "g:-1|g",
            "n:-1|c",
        ];
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let page = explain(&mapper, &Dialects::ALL, &lines);
        let told = ["learnt", "split", "result", "not by", "sign"];
        let is_told = |line: &&str| told.iter().any(|word| line.trim_start().starts_with(word));
        let found: Vec<&str> = page.lines().filter(is_told).map(str::trim_start).collect();
        assert_eq!(
            found,
            [
                "result  gauge t_a_b_c",
                // Of a profile only what fits.
                "not by  profile:x:5 regex t\\.(.+): it holds only where it is known: two",
                "learnt  two",
                "result  counter tell",
                "split   at the first dot: no line has told of a DAG whose id begins it",
                "result  gauge tt{dag_id=\"a\",task_id=\"b.c\"}",
                "learnt  a.b is a DAG",
                "result  counter run_a_b",
                "split   after the longest DAG id that other lines have told",
                "result  gauge tt{dag_id=\"a.b\",task_id=\"c\"}",
                "sign    part of the value: the gauge is set to it",
                "result  gauge gg",
                "result  dropped: it is negative",
            ]
        );
    }
}
