//! Pitot turns the StatsD datagrams of an Airflow cluster into a page that
//! Prometheus scrapes.

pub mod clock;
pub mod go_duration;
pub mod mapping;
pub mod receive;
pub mod registry;
pub mod render;
pub mod statsd;
pub mod sys;
