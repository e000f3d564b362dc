//! StatsD name to Prometheus series.

pub mod rules;
mod yaml;
