//! StatsD name to Prometheus series.

pub mod go_regex;
pub mod rules;
pub mod template;
