//! Records, replays, synthesises and checks StatsD traffic.
//!
//! Most of this is the load generator's own. What the exporter's integration
//! tests need too (an exporter as a child process, the page reader, the
//! comparison, the case format) they take from here, as a dev-dependency, so
//! that the exporter's library carries none of it and nothing exists twice.

pub mod affinity;
pub mod airflow;
pub mod anonymize;
pub mod bench;
pub mod capture;
pub mod case;
pub mod compare;
pub mod diff;
pub mod endpoint;
pub mod exporter;
pub mod http;
pub mod interrupt;
pub mod kernel;
pub mod latency;
pub mod ledger;
pub mod machine;
pub mod mapping_rules;
pub mod multiply;
pub mod own_metrics;
pub mod ports;
pub mod process;
pub mod progress;
pub mod record;
pub mod replay;
pub mod scrape;
pub mod send;
pub mod sink;
pub mod stats;
pub mod synth;
pub mod target;
pub mod trace;
pub mod verify;
pub mod wait;

mod bytes;
mod duration;
