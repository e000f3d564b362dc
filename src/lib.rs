//! Pitot turns the StatsD datagrams of an Airflow cluster into a page that
//! Prometheus scrapes.

pub mod cli;
pub mod clock;
pub mod config;
pub mod explain;
pub mod exporter;
pub mod go_duration;
pub mod handles;
pub mod http;
pub mod log;
pub mod mapping;
pub mod panics;
pub mod receive;
pub mod registry;
pub mod relay;
pub mod render;
pub mod rule_source;
pub mod statsd;
pub mod sys;
pub mod telemetry;
pub mod worker;
