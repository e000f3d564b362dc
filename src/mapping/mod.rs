//! StatsD name to Prometheus series.

pub mod go_regex;
pub mod regexes;
pub mod rules;
pub mod template;
