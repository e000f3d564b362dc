//! Samples to bytes: the other direction of [`super::parse_line`], for the
//! load generator and for tests that go round.

use super::StatType;

/// Appends one line without a newline, tags in the DogStatsD dialect. Nothing
/// is escaped: StatsD has no escapes, so names and tags must not hold its
/// separators. Observers are written as `h`, whose values have no unit.
pub fn write_line(
    out: &mut Vec<u8>,
    name: &str,
    stat: StatType,
    value: f64,
    relative: bool,
    tags: &[(&str, &str)],
) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    if relative && value.is_sign_positive() {
        out.push(b'+');
    }
    out.extend_from_slice(value.to_string().as_bytes());
    out.extend_from_slice(match stat {
        StatType::Counter => b"|c",
        StatType::Gauge => b"|g",
        StatType::Observer => b"|h",
    });
    for (index, (key, value)) in tags.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"|#" } else { b"," });
        out.extend_from_slice(key.as_bytes());
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statsd::{Dialects, Tally, parse_line};

    #[test]
    fn what_is_written_reads_back() {
        let tags: &[(&str, &str)] = &[("dag_id", "etl:1"), ("task", "load")];
        for (stat, value, relative, tags) in [
            (StatType::Counter, 1.0, false, &tags[..0]),
            (StatType::Gauge, 0.7944076109997695, false, tags),
            (StatType::Gauge, 2.5, true, tags),
            (StatType::Gauge, -2.5, true, &tags[..1]),
            (StatType::Observer, 1e-9, false, tags),
            (StatType::Observer, f64::INFINITY, false, tags),
        ] {
            let mut line = Vec::new();
            write_line(&mut line, "airflow.x", stat, value, relative, tags);
            let mut seen = 0;
            parse_line(&line, &Dialects::ALL, &mut Tally::default(), |sample| {
                seen += 1;
                assert_eq!(
                    (
                        sample.name,
                        sample.stat,
                        sample.value,
                        sample.relative,
                        sample.tags
                    ),
                    ("airflow.x", stat, value, relative, tags)
                );
            });
            assert_eq!(seen, 1, "{}", String::from_utf8_lossy(&line));
        }
    }
}
