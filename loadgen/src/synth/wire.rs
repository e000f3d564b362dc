//! How a call of Airflow's `Stats` becomes datagrams, in each version and
//! dialect.
//!
//! Both versions send most metrics twice: as a name that carries its values, and
//! as one that leaves them to tags, which plain StatsD cannot have. Airflow 3
//! writes a dot within a value as `__` and gives the first form only the tags
//! that its name lacks; Airflow 2 keeps the dots and gives both forms all tags.

use std::collections::HashMap;
use std::fmt::Write;

use crate::airflow::{Metric, Version, metrics};

/// The form of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Tags {
    /// Plain StatsD, which has none.
    None,
    /// `name:1|c|#key:value`
    Datadog,
    /// `name,key=value:1|c`
    Influxdb,
}

/// A value, as the caller knew it; clients write the same time in different
/// ways.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Count(i64),
    Whole(u64),
    Real(f64),
    /// Milliseconds measured around a block: seconds for Datadog's client.
    Block(f64),
    /// Milliseconds as a `timedelta`.
    Delta(f64),
    /// A bare number given as a time.
    Number(f64),
}

/// Keys with their values; those that a metric does not have are left out.
pub(super) type Values<'a> = &'a [(&'a str, &'a str)];

/// Writes datagrams.
pub(super) struct Wire {
    version: Version,
    tags: Tags,
    prefix: String,
    /// Tags of every line, only with Datadog's client.
    constant_tags: String,
    metrics: HashMap<&'static str, &'static Metric>,
}

impl Wire {
    pub(super) fn new(version: Version, tags: Tags, prefix: &str, constant_tags: &str) -> Wire {
        let of_version = metrics().iter().filter(|m| m.version == Some(version));
        let names = of_version.filter_map(|m| Some((m.name.or(m.twin)?, m)));
        Wire {
            version,
            tags,
            prefix: match prefix {
                "" => String::new(),
                prefix => format!("{prefix}."),
            },
            constant_tags: constant_tags.to_owned(),
            metrics: names.collect(),
        }
    }

    /// The datagrams that one call sends, in their order. The metric is named
    /// without its values, or by its only form.
    pub(super) fn call(
        &self,
        metric: &str,
        values: Values<'_>,
        value: Value,
    ) -> [Option<String>; 2] {
        let twin = self.metrics.get(metric).and_then(|metric| {
            let twin = metric.twin?;
            let mut line = self.prefix.clone();
            self.write_name(twin, values, &mut line);
            let is_left = |key: &&str| self.version == Version::V2 || !twin.contains(&holder(key));
            let keys = metric.tags.iter().copied().filter(is_left);
            Some(self.line(line, metric.stat_type, keys, values, value))
        });
        let bare = self.bare(metric, values, value);
        // Seen: the timer around these blocks ends with the second form.
        match value {
            Value::Block(_) => [bare, twin],
            _ => [twin, bare],
        }
    }

    /// The datagram that leaves values to tags, if the metric has one.
    pub(super) fn bare(&self, metric: &str, values: Values<'_>, value: Value) -> Option<String> {
        let metric = self.metrics.get(metric);
        debug_assert!(metric.is_some(), "not in this version");
        let metric = metric?;
        let line = format!("{}{}", self.prefix, metric.name?);
        let keys = metric.tags.iter().copied();
        Some(self.line(line, metric.stat_type, keys, values, value))
    }

    /// A timer of any name, with all of its values as tags.
    pub(super) fn raw_timer(&self, name: &str, values: Values<'_>, value: Value) -> String {
        let line = format!("{}{name}", self.prefix);
        self.line(
            line,
            "ms",
            values.iter().map(|(key, _)| *key),
            values,
            value,
        )
    }

    /// What Datadog's client tells about itself now and then.
    pub(super) fn telemetry(&self, metrics: u64, bytes: u64, packets: u64) -> String {
        let mut text = String::new();
        let dropped = ["dropped", "dropped_queue", "dropped_writer"];
        let mut line = |name: &str, count: u64| {
            let tags = "client:py,client_version:0.56.0,client_transport:udp";
            let _ = write!(text, "datadog.dogstatsd.client.{name}:{count}|c|#{tags}");
            if !self.constant_tags.is_empty() {
                let _ = write!(text, ",{}", self.constant_tags);
            }
            text.push('\n');
        };
        line("metrics", metrics);
        line("events", 0);
        line("service_checks", 0);
        line("bytes_sent", bytes);
        for what in dropped {
            line(&format!("bytes_{what}"), 0);
        }
        line("packets_sent", packets);
        for what in dropped {
            line(&format!("packets_{what}"), 0);
        }
        text
    }

    fn write_name(&self, pattern: &str, values: Values<'_>, line: &mut String) {
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once('{') {
            let (key, after) = after.split_once('}').unwrap_or((after, ""));
            let value = values
                .iter()
                .find(|(k, _)| *k == key)
                .map_or("", |(_, v)| v);
            line.push_str(before);
            match self.version {
                Version::V3 => line.push_str(&value.replace('.', "__")),
                Version::V2 => line.push_str(value),
            }
            rest = after;
        }
        line.push_str(rest);
    }

    fn line<'a>(
        &self,
        mut line: String,
        stat_type: &str,
        keys: impl Iterator<Item = &'a str> + Clone,
        values: Values<'_>,
        value: Value,
    ) -> String {
        let tags = keys.filter_map(|key| values.iter().find(|(k, _)| *k == key));
        if self.tags == Tags::Influxdb {
            for (key, value) in tags.clone() {
                let _ = write!(line, ",{key}={value}");
            }
        }
        line.push(':');
        self.write_value(value, &mut line);
        let _ = write!(line, "|{stat_type}");
        if self.tags == Tags::Datadog {
            let constant = Some(&self.constant_tags).filter(|tags| !tags.is_empty());
            let tags = tags.map(|(key, value)| format!("{key}:{value}"));
            for (index, tag) in tags.chain(constant.cloned()).enumerate() {
                line.push_str(if index == 0 { "|#" } else { "," });
                line.push_str(&tag);
            }
            line.push('\n');
        }
        line
    }

    fn write_value(&self, value: Value, line: &mut String) {
        let is_datadog = self.tags == Tags::Datadog;
        let _ = match value {
            Value::Count(count) => write!(line, "{count}"),
            Value::Whole(number) => write!(line, "{number}"),
            Value::Real(number) => write_python(number, line),
            Value::Block(ms) if is_datadog => write_python(ms / 1000.0, line),
            Value::Delta(ms) if is_datadog && self.version == Version::V2 => {
                write_python(ms / 1000.0, line)
            }
            Value::Delta(number) | Value::Number(number) if is_datadog => {
                write_python(number, line)
            }
            Value::Block(number) | Value::Delta(number) | Value::Number(number) => {
                write!(line, "{number:.6}")
            }
        };
    }
}

fn holder(key: &str) -> String {
    format!("{{{key}}}")
}

/// A number as Python's `str` writes it.
fn write_python(number: f64, line: &mut String) -> std::fmt::Result {
    if number != 0.0 && number.abs() < 1e-4 {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once("e-").unwrap_or((&text, "0"));
        return write!(line, "{digits}e-{exponent:0>2}");
    }
    write!(line, "{number:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(version: Version, tags: Tags, metric: &str, value: Value) -> Vec<String> {
        let wire = Wire::new(version, tags, "airflow", "env:prod");
        let values = [
            ("dag_id", "a.b"),
            ("task_id", "t"),
            ("state", "success"),
            ("run_type", "scheduled"),
            ("pool_name", "p"),
        ];
        let both = wire.call(metric, &values, value);
        both.into_iter().flatten().collect()
    }

    /// The lines as captured, with other names.
    #[test]
    fn lines_are_those_of_the_clients() {
        use Tags::{Datadog, Influxdb, None};
        use Version::{V2, V3};
        let one = Value::Count(1);
        for (version, tags, metric, value, expected) in [
            (
                V3,
                None,
                "ti.finish",
                one,
                [
                    "airflow.ti.finish.a__b.t.success:1|c",
                    "airflow.ti.finish:1|c",
                ],
            ),
            (
                V2,
                None,
                "ti.finish",
                one,
                [
                    "airflow.ti.finish.a.b.t.success:1|c",
                    "airflow.ti.finish:1|c",
                ],
            ),
            (
                V3,
                Datadog,
                "ti.start",
                one,
                [
                    "airflow.ti.start.a__b.t:1|c|#env:prod\n",
                    "airflow.ti.start:1|c|#dag_id:a.b,task_id:t,env:prod\n",
                ],
            ),
            (
                V3,
                Datadog,
                "dagrun.dependency-check",
                Value::Block(4.9642109997876105),
                [
                    "airflow.dagrun.dependency-check:0.0049642109997876105|ms|#dag_id:a.b,run_type:scheduled,env:prod\n",
                    "airflow.dagrun.dependency-check.a__b:0.0049642109997876105|ms|#run_type:scheduled,env:prod\n",
                ],
            ),
            (
                V2,
                Influxdb,
                "ti.start",
                one,
                [
                    "airflow.ti.start.a.b.t,dag_id=a.b,task_id=t:1|c",
                    "airflow.ti.start,dag_id=a.b,task_id=t:1|c",
                ],
            ),
            (
                V3,
                None,
                "pool.open_slots",
                Value::Whole(3),
                [
                    "airflow.pool.open_slots.p:3|g",
                    "airflow.pool.open_slots:3|g",
                ],
            ),
            (
                V3,
                None,
                "task.duration",
                Value::Delta(12.5),
                [
                    "airflow.dag.a__b.t.duration:12.500000|ms",
                    "airflow.task.duration:12.500000|ms",
                ],
            ),
        ] {
            assert_eq!(sent(version, tags, metric, value), expected);
        }
    }

    #[test]
    fn numbers_are_pythons() {
        for (number, expected) in [
            (1.0, "1.0"),
            (0.5, "0.5"),
            (1.7732e-5, "1.7732e-05"),
            (0.0001, "0.0001"),
            (0.0, "0.0"),
        ] {
            let mut text = String::new();
            write_python(number, &mut text).expect("written");
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn telemetry_is_eleven_lines() {
        let wire = Wire::new(
            Version::V3,
            Tags::Datadog,
            "airflow",
            "env:prod,cluster:af-eu1",
        );
        let text = wire.telemetry(1900, 170_000, 1900);
        assert_eq!(text.lines().count(), 11);
        assert!((1200..1400).contains(&text.len()), "{}", text.len());
    }
}
