//! Tests of the whole program, from the outside. One binary, so that the crates
//! are linked once.

/// The Airflow profile, on lines of real clusters.
mod airflow;
/// What must hold for any bytes at all, shared with the fuzz targets.
#[path = "../../fuzz/checks.rs"]
mod checks;
/// Recorded behaviour of statsd_exporter, case by case.
mod conformance;
/// A million mutated lines, ten thousand mutated mapping files.
mod fuzz_smoke;
/// Starts the program under test; all other modules use it.
mod harness;
/// What the kernel drops is counted.
mod loss;
/// Plays one conformance case.
mod player;
/// The end of the program, and reloads.
mod shutdown;
/// One datagram from the wire to the page, and a clean end.
mod smoke;
/// Rules of this code base that the compiler does not check.
mod tidy;
