//! The cluster in time: which process does something next, and the state that
//! they share.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::cluster::{Cluster, log_normal};
use super::outbox::{Outbox, SourceId};
use super::{Intervals, Shape, processes};
use crate::airflow::Version;
use crate::send::{Next, Traffic};

/// A cluster at work.
pub struct Model {
    pub(super) state: State,
    /// The next thing that each process does, the earliest on top. Of two at one
    /// time the first decided goes first.
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    count: u64,
    end: Duration,
}

/// What a process does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A scheduler's loop.
    Scheduler(usize),
    /// A round of the DAG processor, in Airflow 2 that of a scheduler.
    DagProcessor(usize),
    Triggerer,
    ApiServer,
}

/// What processes know and change.
pub(super) struct State {
    pub(super) shape: Shape,
    pub(super) cluster: Cluster,
    pub(super) rng: Xoshiro256PlusPlus,
    pub(super) outbox: Outbox,
    pub(super) rhythm: Rhythm,
    /// Of all schedulers together.
    pub(super) runs: Vec<Run>,
    /// When each DAG runs next, the earliest on top.
    pub(super) due: BinaryHeap<Reverse<(Duration, usize)>>,
    /// Between two runs of a DAG.
    pub(super) period: Duration,
    pub(super) schedulers: Vec<Scheduler>,
    pub(super) dag_processors: Vec<DagProcessor>,
    pub(super) triggerer: SourceId,
    pub(super) triggerer_heartbeat: Timer,
    pub(super) api_server: SourceId,
    /// Of the Celery workers.
    pub(super) workers: Vec<SourceId>,
    /// Task tries that a scheduler may have in its executor.
    pub(super) parallelism: u64,
    pub(super) job_id: u64,
}

/// How often things are reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rhythm {
    pub(super) idle: Duration,
    pub(super) heartbeat: Duration,
    pub(super) pools: Duration,
    pub(super) task_instances: Duration,
    pub(super) orphans: Duration,
    pub(super) assets: Duration,
    pub(super) parse: Duration,
    pub(super) file_stats: Duration,
}

/// A run of a DAG under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) dag: usize,
    pub(super) run_type: &'static str,
    pub(super) created: Duration,
    pub(super) first_scheduled: Option<Duration>,
    /// The task at hand.
    pub(super) task: usize,
    pub(super) phase: Phase,
}

/// Where the task at hand is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    /// Its dependencies are met since then, but nobody has looked.
    Ready(Duration),
    /// It wants a slot since then.
    Scheduled(Duration),
    /// It has one and starts then; and when it ends, and how.
    Queued(Duration, Duration, Ending),
    /// The whole run is over since then, and whether it failed.
    Over(Duration, bool),
}

/// How a task ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ending {
    Success,
    /// It will be tried again.
    Retry,
    Failed,
    /// It waits without a process for some time and is then tried again.
    Deferred(Duration),
    Skipped,
    /// Nobody hears of it again.
    Killed,
}

pub(super) struct Scheduler {
    pub(super) source: SourceId,
    pub(super) heartbeat: Timer,
    pub(super) pools: Timer,
    pub(super) task_instances: Timer,
    pub(super) orphans: Timer,
    pub(super) assets: Timer,
    /// Where it goes on looking at runs that wait for something.
    pub(super) cursor: usize,
    /// Task instances that it reported: state, DAG, task.
    pub(super) reported: HashSet<(usize, usize, usize)>,
}

pub(super) struct DagProcessor {
    pub(super) source: SourceId,
    pub(super) heartbeat: Timer,
    pub(super) file_stats: Timer,
    /// Files due, with a fraction.
    pub(super) backlog: f64,
    pub(super) file: usize,
    pub(super) parsed: Vec<Duration>,
}

/// Something done again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timer {
    next: Duration,
    interval: Duration,
}

impl Timer {
    pub(super) fn new(first: Duration, interval: Duration) -> Timer {
        Timer {
            next: first,
            interval,
        }
    }

    /// Whether it is time, and if so when again.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let is_due = now >= self.next;
        if is_due {
            self.next = now + self.interval;
        }
        is_due
    }
}

impl Rhythm {
    fn new(intervals: Intervals, version: Version) -> Rhythm {
        let seconds = |[
            idle,
            heartbeat,
            pools,
            task_instances,
            orphans,
            assets,
            parse,
            file_stats,
        ]: [f64; 8]| {
            let of = Duration::from_secs_f64;
            Rhythm {
                idle: of(idle),
                heartbeat: of(heartbeat),
                pools: of(pools),
                task_instances: of(task_instances),
                orphans: of(orphans),
                assets: of(assets),
                parse: of(parse),
                file_stats: of(file_stats),
            }
        };
        seconds(match (intervals, version) {
            (Intervals::Default, _) => [1.0, 5.0, 5.0, 30.0, 300.0, 60.0, 30.0, 30.0],
            // The files of Airflow 2 came round half as often, as each scheduler
            // parsed all of them on a busy machine.
            (Intervals::Captured, Version::V2) => [1.2, 2.0, 2.0, 5.0, 30.0, 20.0, 26.0, 10.0],
            (Intervals::Captured, Version::V3) => [0.5, 2.0, 2.0, 5.0, 30.0, 20.0, 12.0, 10.0],
        })
    }
}

impl Model {
    /// A cluster that begins to work.
    pub fn new(shape: &Shape) -> Model {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(shape.seed);
        let pools = usize::from(shape.pools);
        let cluster = Cluster::new(
            shape.dags,
            shape.tasks_per_dag,
            pools,
            shape.task_seconds,
            &mut rng,
        );
        let outbox = Outbox::new(
            shape.version,
            shape.tags,
            &shape.prefix,
            &shape.constant_tags,
        );
        let mut model = Model {
            state: State::new(shape, cluster, outbox, rng),
            events: BinaryHeap::new(),
            count: 0,
            end: shape.duration,
        };
        for index in 0..shape.schedulers {
            // Schedulers are not in step.
            let at = Duration::from_micros(model.state.rng.random_range(0..1_000_000));
            model.plan(at, Event::Scheduler(index));
        }
        for index in 0..model.state.dag_processors.len() {
            model.plan(
                Duration::from_millis(200 + 370 * index as u64),
                Event::DagProcessor(index),
            );
        }
        model.plan(Duration::from_millis(300), Event::Triggerer);
        if shape.version == Version::V3 {
            model.plan(Duration::from_secs(1), Event::ApiServer);
        }
        model
    }

    /// How many sources may be open together: the long-lived, and twice as many
    /// tasks as should be.
    pub fn sources_at_once_max(&self) -> usize {
        let state = &self.state;
        let lasting = state.schedulers.len() + state.dag_processors.len() + state.workers.len();
        lasting + 64 + state.parallelism as usize * state.schedulers.len()
    }

    fn plan(&mut self, at: Duration, event: Event) {
        self.count += 1;
        self.events.push(Reverse((at, self.count, event)));
    }

    fn run(&mut self, at: Duration, event: Event) {
        let state = &mut self.state;
        let next = match event {
            Event::Scheduler(index) => processes::scheduler_loop(state, index, at),
            Event::DagProcessor(index) => processes::dag_processor(state, index, at),
            Event::Triggerer => processes::triggerer(state, at),
            Event::ApiServer => processes::api_server(state, at),
        };
        self.plan(next, event);
    }
}

impl Traffic for Model {
    fn next(&mut self, payload: &mut Vec<u8>) -> Option<Next> {
        loop {
            let next = self.events.peek().map(|Reverse((at, ..))| *at);
            let next = next.filter(|&at| at < self.end);
            if let Some(sent) = self.state.outbox.take(next) {
                if sent.at >= self.end {
                    return None;
                }
                payload.extend_from_slice(sent.payload.as_bytes());
                return Some(Next {
                    at: sent.at,
                    source: sent.source,
                    is_last_of_source: sent.is_last_of_source,
                });
            }
            next?;
            if let Some(Reverse((at, _, event))) = self.events.pop() {
                self.run(at, event);
            }
        }
    }
}

impl State {
    fn new(
        shape: &Shape,
        cluster: Cluster,
        mut outbox: Outbox,
        mut rng: Xoshiro256PlusPlus,
    ) -> State {
        let rhythm = Rhythm::new(shape.intervals, shape.version);
        let now = Duration::ZERO;
        let schedulers: Vec<Scheduler> = (0..shape.schedulers)
            .map(|_| Scheduler {
                source: outbox.new_source(),
                heartbeat: Timer::new(now, rhythm.heartbeat),
                pools: Timer::new(now, rhythm.pools),
                task_instances: Timer::new(rhythm.task_instances, rhythm.task_instances),
                orphans: Timer::new(now, rhythm.orphans),
                assets: Timer::new(rhythm.assets, rhythm.assets),
                cursor: 0,
                reported: HashSet::new(),
            })
            .collect();
        let processor = |source| DagProcessor {
            source,
            heartbeat: Timer::new(now, rhythm.heartbeat),
            file_stats: Timer::new(rhythm.file_stats, rhythm.file_stats),
            backlog: 0.0,
            file: 0,
            parsed: vec![now; cluster.files.len()],
        };
        let dag_processors = match shape.version {
            // Each scheduler has its own, and shares its socket.
            Version::V2 => schedulers.iter().map(|s| processor(s.source)).collect(),
            Version::V3 => vec![processor(outbox.new_source())],
        };
        let runs_per_second = shape.task_rate / shape.tasks_per_dag.max(1) as f64;
        let period = Duration::from_secs_f64(shape.dags as f64 / runs_per_second);
        let due = (0..shape.dags).map(|dag| Reverse((period.mul_f64(rng.random()), dag)));
        let busy = shape.task_rate * shape.task_seconds * 4.0 / shape.schedulers.max(1) as f64;
        State {
            due: due.collect(),
            period,
            runs: Vec::new(),
            schedulers,
            dag_processors,
            triggerer: outbox.new_source(),
            triggerer_heartbeat: Timer::new(now, rhythm.heartbeat),
            api_server: outbox.new_source(),
            workers: (0..shape.workers).map(|_| outbox.new_source()).collect(),
            // Airflow's default, or what the wanted rate takes.
            parallelism: (busy.ceil() as u64).max(match shape.intervals {
                Intervals::Default => 32,
                Intervals::Captured => 8,
            }),
            job_id: 100,
            shape: shape.clone(),
            cluster,
            rng,
            outbox,
            rhythm,
        }
    }

    /// Some time around `typical`.
    pub(super) fn some(&mut self, typical: Duration) -> Duration {
        typical.mul_f64(log_normal(0.5, &mut self.rng))
    }

    /// Slots that a pool has: its own, or as many as the wanted rate takes.
    pub(super) fn slots(&self, pool: usize) -> u64 {
        let own = self.cluster.pools[pool].slots;
        match pool {
            0 => own.max(self.parallelism * self.schedulers.len() as u64),
            _ => own,
        }
    }

    /// Task tries of a pool: queued, running and waiting for a slot.
    pub(super) fn usage(&self, pool: usize, now: Duration) -> (u64, u64, u64) {
        let mut usage = (0, 0, 0);
        for run in &self.runs {
            if self.cluster.dags[run.dag].tasks[run.task].pool != pool {
                continue;
            }
            match run.phase {
                Phase::Queued(start, ..) if start > now => usage.0 += 1,
                Phase::Queued(_, end, _) if end > now => usage.1 += 1,
                Phase::Scheduled(_) => usage.2 += 1,
                _ => {}
            }
        }
        usage
    }
}
