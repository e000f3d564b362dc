//! The metric names of Airflow as patterns, and how a name is recognised.
//!
//! A name without tags carries its values as segments, and a value may itself
//! have dots (a DAG `team.orders`, in Airflow 2 every task of a TaskGroup). So
//! one placeholder of a pattern, the last that names something of the cluster,
//! takes all segments that are left over.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::LazyLock;

use super::Kind;

/// A major version of Airflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Version {
    /// 2.11
    #[value(name = "2")]
    V2,
    /// 3.3
    #[value(name = "3")]
    V3,
}

/// One metric of one version.
#[derive(Debug)]
pub struct Metric {
    /// `None` for what the client library sends by itself, without the prefix.
    pub version: Option<Version>,
    /// `c`, `g` or `ms`.
    pub stat_type: &'static str,
    /// The name that carries its values, for example `ti.start.{dag_id}.{task_id}`.
    pub twin: Option<&'static str>,
    /// The name that leaves its values to tags.
    pub name: Option<&'static str>,
    /// The keys of those tags, in the order of the line.
    pub tags: Vec<&'static str>,
}

/// All metrics known, by version and name.
pub fn metrics() -> &'static [Metric] {
    static METRICS: LazyLock<Vec<Metric>> = LazyLock::new(|| {
        let lines = include_str!("names.txt").lines();
        let lines = lines.filter(|line| !line.starts_with('#'));
        lines.filter_map(read_metric).collect()
    });
    &METRICS
}

fn read_metric(line: &'static str) -> Option<Metric> {
    let present = |field: &'static str| Some(field).filter(|&field| field != "-");
    let mut fields = line.split(' ');
    Some(Metric {
        version: match fields.next()? {
            "2" => Some(Version::V2),
            "3" => Some(Version::V3),
            _ => None,
        },
        stat_type: fields.next()?,
        twin: present(fields.next()?),
        name: present(fields.next()?),
        tags: present(fields.next()?).map_or_else(Vec::new, |tags| tags.split(',').collect()),
    })
}

/// All names of a cluster that has one prefix.
#[derive(Debug)]
pub struct Names {
    prefix: String,
    /// By first segment; of two patterns that fit, the better one is first.
    patterns: HashMap<&'static str, Vec<Pattern>>,
    /// The same for what carries no prefix.
    unprefixed: HashMap<&'static str, Vec<Pattern>>,
}

impl Names {
    /// For a cluster whose names begin with `prefix` and a dot; none if empty.
    pub fn new(prefix: &str) -> Names {
        let mut names = Names {
            prefix: match prefix.trim_end_matches('.') {
                "" => String::new(),
                prefix => format!("{prefix}."),
            },
            patterns: HashMap::new(),
            unprefixed: HashMap::new(),
        };
        for metric in metrics() {
            let by_first = match metric.version {
                Some(_) => &mut names.patterns,
                None => &mut names.unprefixed,
            };
            for name in [metric.twin, metric.name].into_iter().flatten() {
                let pattern = Pattern::read(name);
                let first = pattern.segments[0].literal().unwrap_or_default();
                let patterns: &mut Vec<Pattern> = by_first.entry(first).or_default();
                if !patterns.contains(&pattern) {
                    patterns.push(pattern);
                }
            }
        }
        for patterns in names.patterns.values_mut() {
            patterns.sort_by_key(Pattern::rank);
        }
        names
    }

    /// The parts of a name that are not Airflow's words, in order; `None` for a
    /// name that is not Airflow's.
    pub fn parts(&self, name: &str) -> Option<Vec<(Range<usize>, Kind)>> {
        let inside = name.strip_prefix(&self.prefix);
        let found = inside.and_then(|inside| find(&self.patterns, inside, self.prefix.len()));
        found.or_else(|| find(&self.unprefixed, name, 0))
    }

    /// The pattern that a name follows, for a reader: `ti.start.*`.
    pub fn shape(&self, name: &str) -> Option<String> {
        let mut shape = String::with_capacity(name.len());
        let mut end = self.prefix.len().min(name.len());
        for (range, _) in self.parts(name)? {
            if range.start < end {
                // Not prefixed.
                end = 0;
            }
            shape.push_str(&name[end..range.start]);
            if !shape.ends_with("*.") {
                shape.push('*');
            } else {
                shape.pop();
            }
            end = range.end;
        }
        shape.push_str(&name[end..]);
        Some(shape)
    }

    /// What comes before the name proper, with its dot.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

fn find(
    by_first: &HashMap<&'static str, Vec<Pattern>>,
    name: &str,
    offset: usize,
) -> Option<Vec<(Range<usize>, Kind)>> {
    let first = name.split('.').next()?;
    // `operator_successes_PythonOperator` is the one shape whose first segment
    // varies.
    let patterns = by_first.get(first).or_else(|| by_first.get(""))?;
    let mut ends = Vec::with_capacity(8);
    ends.extend(name.match_indices('.').map(|(at, _)| at));
    ends.push(name.len());
    let pattern = patterns.iter().find(|pattern| pattern.fits(name, &ends))?;
    Some(pattern.parts(&ends, offset))
}

/// A name with placeholders.
#[derive(Debug, PartialEq)]
struct Pattern {
    segments: Vec<Segment>,
    /// The placeholder that may take several segments.
    elastic: Option<usize>,
}

#[derive(Debug, PartialEq)]
enum Segment {
    Literal(&'static str),
    /// Airflow's word after this.
    Own(&'static str),
    Foreign(Kind),
}

impl Segment {
    fn literal(&self) -> Option<&'static str> {
        match self {
            Segment::Literal(text) => Some(text),
            _ => None,
        }
    }

    fn fits(&self, segment: &str) -> bool {
        match self {
            Segment::Literal(text) => segment == *text,
            Segment::Own(start) => segment.len() > start.len() && segment.starts_with(start),
            Segment::Foreign(_) => true,
        }
    }
}

impl Pattern {
    fn read(name: &'static str) -> Pattern {
        let segments: Vec<Segment> = name.split('.').map(read_segment).collect();
        let is_foreign = |segment: &Segment| matches!(segment, Segment::Foreign(_));
        Pattern {
            elastic: segments.iter().rposition(is_foreign),
            segments,
        }
    }

    /// Literal before placeholder before end, from the left.
    fn rank(&self) -> Vec<u8> {
        let weights = self.segments.iter().map(|segment| match segment {
            Segment::Literal(_) => 0,
            Segment::Own(_) => 1,
            Segment::Foreign(_) => 2,
        });
        weights.chain([3]).collect()
    }

    /// Whether a name fits whose segments end at `ends`.
    fn fits(&self, name: &str, ends: &[usize]) -> bool {
        let is_long_enough = match self.elastic {
            Some(_) => ends.len() >= self.segments.len(),
            None => ends.len() == self.segments.len(),
        };
        is_long_enough
            && self.segments.iter().enumerate().all(|(index, segment)| {
                self.elastic == Some(index) || segment.fits(&name[self.range(index, ends)])
            })
    }

    /// Where the segment at `index` of this pattern stands in a name.
    fn range(&self, index: usize, ends: &[usize]) -> Range<usize> {
        let extra = ends.len() - self.segments.len();
        let is_after = self.elastic.is_some_and(|elastic| index > elastic);
        let first = index + if is_after { extra } else { 0 };
        let last = first
            + if self.elastic == Some(index) {
                extra
            } else {
                0
            };
        let start = match first {
            0 => 0,
            first => ends[first - 1] + 1,
        };
        start..ends[last]
    }

    fn parts(&self, ends: &[usize], offset: usize) -> Vec<(Range<usize>, Kind)> {
        let segments = self.segments.iter().enumerate();
        let foreign = segments.filter_map(|(index, segment)| match segment {
            Segment::Foreign(kind) => {
                let range = self.range(index, ends);
                Some((range.start + offset..range.end + offset, *kind))
            }
            _ => None,
        });
        foreign.collect()
    }
}

fn read_segment(text: &'static str) -> Segment {
    let Some((before, rest)) = text.split_once('{') else {
        return Segment::Literal(text);
    };
    match tag_kind(rest.trim_end_matches('}')) {
        Some(kind) if before.is_empty() => Segment::Foreign(kind),
        _ => Segment::Own(before),
    }
}

/// What the value of a tag or placeholder names; `None` for words of Airflow.
/// A key that is not in this table is not one of Airflow's.
pub(super) fn tag_kind(key: &str) -> Option<Kind> {
    match key {
        "dag_id" => Some(Kind::Dag),
        "task_id" => Some(Kind::Task),
        "file_path" | "file_name" | "dag_file" => Some(Kind::File),
        "hostname" | "worker_name" | "host" => Some(Kind::Host),
        "pool_name" | "queue" | "bundle_name" => Some(Kind::Place),
        "action"
        | "count"
        | "event_type"
        | "executor"
        | "executor_class_name"
        | "name"
        | "operator"
        | "operator_name"
        | "prior_state"
        | "return_code"
        | "run_type"
        | "state"
        | "status"
        | "task_type"
        | "transport_type"
        | "client"
        | "client_version"
        | "client_transport" => None,
        _ => Some(Kind::Other),
    }
}

/// Keys of tags that say nothing about a cluster: Airflow's own, and those that
/// every Datadog installation has.
pub(super) fn is_known_key(key: &str) -> bool {
    const OTHERS: [&str; 12] = [
        "env",
        "cluster",
        "service",
        "version",
        "region",
        "team",
        "team_name",
        "namespace",
        "job_id",
        "run_id",
        "dagrun_id",
        "func_name",
    ];
    static KEYS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
        let own = metrics()
            .iter()
            .flat_map(|metric| metric.tags.iter().copied());
        own.chain(OTHERS).collect()
    });
    KEYS.contains(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(name: &str) -> Option<Vec<(&str, Kind)>> {
        let parts = Names::new("airflow").parts(name)?;
        let texts = parts.into_iter().map(|(range, kind)| (&name[range], kind));
        Some(texts.collect())
    }

    #[test]
    fn parts_of_names() {
        use Kind::*;
        for (name, expected) in [
            ("airflow.ti.start", vec![]),
            ("airflow.ti.start.a.b", vec![("a", Dag), ("b", Task)]),
            ("airflow.ti.start.a.b.c", vec![("a", Dag), ("b.c", Task)]),
            (
                "airflow.dag.team.duration.duration.queued_duration",
                vec![("team", Dag), ("duration.duration", Task)],
            ),
            (
                "airflow.dagrun.first_task_scheduling_delay.first_task_scheduling_delay",
                vec![("first_task_scheduling_delay", Dag)],
            ),
            ("airflow.dagrun.schedule_delay.x.y", vec![("x.y", Dag)]),
            (
                "airflow.dagrun.schedule_delay.first_task_scheduling_delay",
                vec![("first_task_scheduling_delay", Dag)],
            ),
            (
                "airflow.local_task_job.task_exit.101.a.b.-9",
                vec![("101", Other), ("a", Dag), ("b", Task)],
            ),
            (
                "airflow.ti.queued.default.a.b",
                vec![("default", Place), ("a", Dag), ("b", Task)],
            ),
            (
                "airflow.ti.finish.a.b.success",
                vec![("a", Dag), ("b", Task)],
            ),
            ("airflow.pool.open_slots.x.y", vec![("x.y", Place)]),
            ("airflow.executor.open_slots.LocalExecutor", vec![]),
            ("airflow.operator_successes_MyOperator", vec![]),
            ("airflow.task_instance_created_MyOperator", vec![]),
            ("airflow.dag_processing.last_duration.f", vec![("f", File)]),
            (
                "airflow.dag_processing.last_duration.b.f",
                vec![("b", Place), ("f", File)],
            ),
            (
                "airflow.triggers.running.box.local",
                vec![("box.local", Host)],
            ),
            ("datadog.dogstatsd.client.metrics", vec![]),
        ] {
            assert_eq!(parts(name), Some(expected), "{name}");
        }
        for name in [
            "airflow.custom.orders",
            "ti.start",
            "airflow",
            "",
            "airflow.ti",
        ] {
            assert_eq!(parts(name), None, "{name}");
        }
    }

    #[test]
    fn shapes() {
        let names = Names::new("airflow");
        for (name, shape) in [
            ("airflow.ti.start.a.b", Some("ti.start.*")),
            (
                "airflow.ti.finish.a.b.c.success",
                Some("ti.finish.*.success"),
            ),
            ("airflow.ti.start", Some("ti.start")),
            ("airflow.custom", None),
        ] {
            assert_eq!(names.shape(name).as_deref(), shape, "{name}");
        }
    }
}
