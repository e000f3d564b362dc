//! The DAGs, tasks, pools and files of a cluster that does not exist.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// Everything with a name.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) dags: Vec<Dag>,
    pub(super) pools: Vec<Pool>,
    /// Files that define DAGs, without directory and `.py`.
    pub(super) files: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Dag {
    pub(super) id: String,
    pub(super) tasks: Vec<Task>,
}

#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) operator: &'static str,
    pub(super) pool: usize,
    /// Of its duration, in seconds.
    pub(super) median: f64,
}

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) name: &'static str,
    pub(super) slots: u64,
}

const TEAMS: [&str; 10] = [
    "finance",
    "marketing",
    "logistics",
    "risk",
    "web",
    "billing",
    "support",
    "ml",
    "growth",
    "core",
];
const SUBJECTS: [&str; 12] = [
    "orders",
    "invoices",
    "customers",
    "clicks",
    "sessions",
    "payments",
    "stock",
    "prices",
    "tickets",
    "accounts",
    "events",
    "leads",
];
const CADENCES: [&str; 5] = ["daily", "hourly", "sync", "export", "load"];
const STEPS: [&str; 10] = [
    "extract",
    "transform",
    "load",
    "check",
    "publish",
    "sync",
    "verify",
    "notify",
    "cleanup",
    "export_to_bucket",
];
const GROUPS: [&str; 3] = ["stage_in", "quality", "stage_out.inner"];
/// Repeated by how common they are.
const OPERATORS: [&str; 10] = [
    "PythonOperator",
    "PythonOperator",
    "PythonOperator",
    "PythonOperator",
    "BashOperator",
    "BashOperator",
    "BashOperator",
    "EmptyOperator",
    "_PythonDecoratedOperator",
    "BranchPythonOperator",
];
const POOLS: [(&str, u64); 8] = [
    ("default_pool", 128),
    ("small_pool", 2),
    ("ml_gpu_pool", 4),
    ("team.dwh-pool", 8),
    ("api_limited", 16),
    ("backfill", 32),
    ("reporting", 16),
    ("sensors", 64),
];

impl Cluster {
    /// `task_seconds`: the median duration of a task.
    pub(super) fn new(
        dags: usize,
        tasks_per_dag: usize,
        pools: usize,
        task_seconds: f64,
        rng: &mut impl Rng,
    ) -> Cluster {
        let pools = POOLS[..pools.clamp(1, POOLS.len())].iter();
        let pools: Vec<Pool> = pools.map(|&(name, slots)| Pool { name, slots }).collect();
        let dag = |number| Dag {
            id: dag_id(number, rng),
            tasks: (0..tasks_per_dag)
                .map(|step| task(step, pools.len(), task_seconds, rng))
                .collect(),
        };
        let dags: Vec<Dag> = (0..dags).map(dag).collect();
        // A few DAGs to a file, as where files generate them.
        let files = (0..dags.len().div_ceil(3)).map(|n| format!("d{n:02}_{}", SUBJECTS[n % 12]));
        Cluster {
            files: files.collect(),
            pools,
            dags,
        }
    }
}

fn dag_id(number: usize, rng: &mut impl Rng) -> String {
    let mut pick = |words: &[&'static str]| words.choose(rng).copied().unwrap_or_default();
    let (team, subject, cadence) = (pick(&TEAMS), pick(&SUBJECTS), pick(&CADENCES));
    match number % 10 {
        // One in ten has dots, as DAGs made by factories do.
        0 => format!("{team}-{number}.{subject}.{cadence}_load"),
        1 | 2 => format!("{team}_{subject}_{number:03}"),
        // Very long ones occur too.
        3 if number % 50 == 3 => format!(
            "{team}_{subject}_{}_{number}",
            "with_a_long_story".repeat(9)
        ),
        3 => format!("{subject}_{number}"),
        _ => format!("customer_{number:03}_{cadence}"),
    }
}

fn task(step: usize, pools: usize, seconds: f64, rng: &mut impl Rng) -> Task {
    let name = STEPS[step % STEPS.len()];
    let name = match step / STEPS.len() {
        0 => name.to_owned(),
        round => format!("{name}_{round}"),
    };
    let id = match rng.random_bool(0.1) {
        true => format!("{}.{name}", GROUPS[step % GROUPS.len()]),
        false => name,
    };
    Task {
        id,
        operator: OPERATORS.choose(rng).copied().unwrap_or("PythonOperator"),
        pool: match rng.random_bool(0.85) {
            true => 0,
            false => rng.random_range(0..pools),
        },
        median: seconds * log_normal(0.8, rng),
    }
}

/// Around 1, by so many standard deviations of its logarithm.
pub(super) fn log_normal(deviation: f64, rng: &mut impl Rng) -> f64 {
    // Twelve uniform numbers make a normal one, near enough, and ten squarings
    // an exponential, with the same bits on every machine: the library's
    // functions do not promise that, and a seed does.
    let sum: f64 = (0..12).map(|_| rng.random::<f64>()).sum();
    let base = 1.0 + (sum - 6.0) * deviation / 1024.0;
    (0..10).fold(base, |power, _| power * power)
}
