//! What Airflow's metrics look like: their names, and where in a line names of
//! the cluster (DAGs, tasks, pools, hosts) stand.

mod names;
mod pieces;

pub use names::{Metric, Names, Version, metrics};
pub use pieces::Pieces;

/// What a part of a line names, if it is not Airflow's own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A DAG; where dots leave it open, with its TaskGroups and task.
    Dag,
    /// A task.
    Task,
    /// A file that defines DAGs, with or without its path.
    File,
    /// A machine or a worker.
    Host,
    /// A pool, queue or bundle; the ones that every installation has do not
    /// count.
    Place,
    /// Anything else: user code's own names, run and job ids, constant tags.
    Other,
}
