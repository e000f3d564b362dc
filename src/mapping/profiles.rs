//! Rules that come with the program.

use super::rules::{MatchType, RuleFile};

/// For Apache Airflow: every metric of 2.x and 3.x under one name, whichever
/// way it was sent.
pub const AIRFLOW: &str = include_str!("profiles/airflow.yml");

/// The rules of Airflow's official chart, for dashboards made with those.
pub const AIRFLOW_CHART: &str = include_str!("profiles/airflow-chart.yml");

/// The name of a profile's file in messages.
pub fn file_name(profile: &str) -> String {
    format!("{NAME_START}{profile}")
}

/// Whether a file is a profile, by its name in messages.
pub fn is_name(file: &str) -> bool {
    file.starts_with(NAME_START)
}

const NAME_START: &str = "profile:";

/// What the patterns of the profiles begin with.
const PREFIX: &str = "airflow.";

/// Puts another prefix before the patterns of a profile: Airflow's
/// `statsd_prefix`, to which its clients add a dot.
pub fn set_prefix(file: &mut RuleFile, prefix: &str) {
    let glob = match prefix {
        "" => String::new(),
        prefix => format!("{prefix}."),
    };
    let regex = format!("^{}", regex_syntax::escape(&glob));
    let old_regex = format!("^{}", regex_syntax::escape(PREFIX));
    let replace = |pattern: &mut String, old: &str, new: &str| {
        if let Some(rest) = pattern.strip_prefix(old) {
            *pattern = format!("{new}{rest}");
        }
    };
    for rule in &mut file.rules {
        match rule.match_type {
            MatchType::Glob => replace(&mut rule.pattern, PREFIX, &glob),
            MatchType::Regex => {
                replace(&mut rule.pattern, &old_regex, &regex);
                // The chart does not anchor its own.
                replace(&mut rule.pattern, PREFIX, &regex[1..]);
            }
        }
    }
    for lesson in &mut file.learn {
        replace(&mut lesson.pattern, &old_regex, &regex);
    }
}
