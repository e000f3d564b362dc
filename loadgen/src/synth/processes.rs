//! What each kind of process sends, in the order of the captures.

use std::cmp::Reverse;
use std::time::Duration;

use rand::RngExt;

use super::model::{Ending, Phase, Run, State};
use super::outbox::{Process, SourceId};
use super::task;
use super::wire::{Value, Values};
use crate::airflow::Version;

/// Runs that a scheduler looks at in a loop although nothing happened in them.
const IDLE_RUNS_MAX: usize = 20;

const POOL_GAUGES: [&str; 5] = [
    "pool.open_slots",
    "pool.queued_slots",
    "pool.running_slots",
    "pool.deferred_slots",
    "pool.scheduled_slots",
];
const TASK_STATES: [&str; 4] = ["ti.scheduled", "ti.queued", "ti.running", "ti.deferred"];

/// A scheduler's loop; returns when the next begins.
pub(super) fn scheduler_loop(state: &mut State, index: usize, at: Duration) -> Duration {
    let source = state.schedulers[index].source;
    let is_v3 = state.shape.version == Version::V3;
    let mut now = at + state.some(Duration::from_millis(15));
    now = create_runs(state, source, now);
    let looked_at;
    (now, looked_at) = look_at_runs(state, index, now);
    if is_v3 {
        // Other parts of the loop look DAGs up too.
        let hits = (looked_at as f64 * 1.25 + state.rng.random::<f64>()) as usize;
        let mut process = state.outbox.process(source, now);
        for _ in 0..hits {
            process.count("scheduler.dag_bag.cache_hit", &[]);
        }
        now = process.pause();
    }
    now = critical_section(state, index, now);
    now = executor(state, index, now);
    now = periodically(state, index, now);
    let mut process = state.outbox.process(source, now);
    let took = Value::Block(millis(now - at));
    process.send("scheduler.scheduler_loop_duration", &[], took);
    process.pause() + state.rhythm.idle + state.some(Duration::from_millis(20))
}

/// Makes the runs that are due.
fn create_runs(state: &mut State, source: SourceId, mut now: Duration) -> Duration {
    while let Some(&Reverse((due, dag))) = state.due.peek()
        && due <= now
    {
        state.due.pop();
        state.due.push(Reverse((due + state.period, dag)));
        let run_type = match state.rng.random_bool(0.95) {
            true => "scheduled",
            false => "manual",
        };
        now += state.some(Duration::from_millis(20));
        let tasks = &state.cluster.dags[dag].tasks;
        let id = &*state.cluster.dags[dag].id;
        let mut process = state.outbox.process(source, now);
        if state.shape.version == Version::V3 {
            process.count("scheduler.dag_bag.cache_hit", &[]);
        }
        let mut operators: Vec<&str> = Vec::new();
        for task in tasks {
            if !operators.contains(&task.operator) {
                operators.push(task.operator);
            }
        }
        for operator in operators {
            let count = tasks
                .iter()
                .filter(|task| task.operator == operator)
                .count();
            let values = [
                ("task_type", operator),
                ("dag_id", id),
                ("run_type", run_type),
            ];
            process.send("task_instance_created", &values, Value::Count(count as i64));
        }
        let delay = Value::Delta(millis(now - due));
        process.send("dagrun.schedule_delay", &[("dag_id", id)], delay);
        now = process.pause();
        if tasks.is_empty() {
            continue;
        }
        state.runs.push(Run {
            dag,
            run_type,
            created: due,
            first_scheduled: None,
            task: 0,
            phase: Phase::Ready(now),
        });
    }
    now
}

/// Moves runs on; returns when that is done and how many it were.
fn look_at_runs(state: &mut State, index: usize, mut now: Duration) -> (Duration, usize) {
    let source = state.schedulers[index].source;
    let count = state.runs.len();
    let is_shared = state.schedulers.len() > 1;
    let mut idle = 0;
    let mut looked_at = 0;
    let mut over = Vec::new();
    for offset in 0..count {
        let place = (state.schedulers[index].cursor + offset) % count;
        let mut run = state.runs[place];
        if !has_news(&run, now) {
            // Or another scheduler has it locked.
            if idle == IDLE_RUNS_MAX || is_shared && state.rng.random_bool(0.4) {
                continue;
            }
            idle += 1;
        }
        looked_at += 1;
        let tasks = state.cluster.dags[run.dag].tasks.len();
        move_on(&mut run, tasks, now);
        let took = state.some(Duration::from_millis(6));
        let dag_id = &*state.cluster.dags[run.dag].id;
        let values = [("dag_id", dag_id), ("run_type", run.run_type)];
        let mut process = state.outbox.process(source, now);
        if state.shape.version == Version::V3 {
            process.count("scheduler.dag_bag.cache_hit", &[]);
        }
        process.work(took);
        let took = Value::Block(millis(took));
        process.send("dagrun.dependency-check", &values, took);
        if let Phase::Over(at, has_failed) = run.phase {
            run_over(
                &mut process,
                &run,
                at,
                has_failed,
                &values,
                state.shape.version,
            );
            over.push(place);
        }
        now = process.pause();
        state.runs[place] = run;
    }
    state.schedulers[index].cursor += idle;
    over.sort_unstable();
    for place in over.into_iter().rev() {
        state.runs.swap_remove(place);
    }
    (now, looked_at)
}

fn has_news(run: &Run, now: Duration) -> bool {
    match run.phase {
        Phase::Ready(since) => since <= now,
        Phase::Queued(_, end, _) => end <= now,
        Phase::Scheduled(_) => false,
        Phase::Over(..) => true,
    }
}

/// What follows from what happened in a run.
fn move_on(run: &mut Run, tasks: usize, now: Duration) {
    let after = |run: &Run, end: Duration| match run.task + 1 < tasks {
        true => (run.task + 1, Phase::Ready(end)),
        false => (run.task, Phase::Over(end, false)),
    };
    if let Phase::Queued(_, end, ending) = run.phase
        && end <= now
    {
        (run.task, run.phase) = match ending {
            Ending::Success | Ending::Skipped => after(run, end),
            Ending::Retry => (run.task, Phase::Ready(end)),
            Ending::Deferred(pause) => (run.task, Phase::Ready(end + pause)),
            Ending::Failed | Ending::Killed => (run.task, Phase::Over(end, true)),
        };
    }
    if let Phase::Ready(since) = run.phase
        && since <= now
    {
        run.first_scheduled.get_or_insert(now);
        run.phase = Phase::Scheduled(now);
    }
}

fn run_over(
    process: &mut Process<'_>,
    run: &Run,
    end: Duration,
    has_failed: bool,
    values: Values<'_>,
    version: Version,
) {
    let scheduled = run.first_scheduled.unwrap_or(end);
    let delay = Value::Delta(millis(scheduled.saturating_sub(run.created)));
    if version == Version::V3 {
        // Sent by an explicit call and by the registry: twice, and not in the
        // same form where the name has dots.
        let dag_id = values[0].1;
        process.send_raw(
            &format!("dagrun.{dag_id}.first_task_scheduling_delay"),
            &values[1..],
            delay,
        );
    }
    process.send("dagrun.first_task_scheduling_delay", values, delay);
    if version == Version::V3 {
        process.send("dagrun.first_task_start_delay", values, Value::Delta(110.5));
    }
    let name = match has_failed {
        true => "dagrun.duration.failed",
        false => "dagrun.duration.success",
    };
    process.send(
        name,
        values,
        Value::Delta(millis(end.saturating_sub(run.created))),
    );
}

/// Gives slots to tasks that want one.
fn critical_section(state: &mut State, index: usize, mut now: Duration) -> Duration {
    let source = state.schedulers[index].source;
    if state.rng.random_bool(0.035) {
        let mut process = state.outbox.process(source, now);
        process.count("scheduler.critical_section_busy", &[]);
        return process.pause();
    }
    let begin = now;
    let query = state.some(Duration::from_millis(7));
    now += query + Duration::from_millis(4);
    let (chosen, starving) = choose(state, now);
    let mut process = state.outbox.process(source, now);
    let took = Value::Block(millis(query));
    process.send("scheduler.critical_section_query_duration", &[], took);
    for &(pool, count) in &starving {
        let values = [("pool_name", state.cluster.pools[pool].name)];
        process.send("pool.starving_tasks", &values, Value::Whole(count));
    }
    let all = starving.iter().map(|(_, count)| count).sum();
    process.send("scheduler.tasks.starving", &[], Value::Whole(all));
    process.send(
        "scheduler.tasks.executable",
        &[],
        Value::Whole(chosen.len() as u64),
    );
    now = process.pause();
    for place in chosen {
        now = task::queue(state, index, place, now);
    }
    let mut process = state.outbox.process(source, now);
    let took = Value::Block(millis(now - begin));
    process.send("scheduler.critical_section_duration", &[], took);
    process.pause()
}

/// Which runs' tasks get a slot, and how many wait in each pool that tasks asked
/// for.
fn choose(state: &State, now: Duration) -> (Vec<usize>, Vec<(usize, u64)>) {
    let mut chosen = Vec::new();
    let mut starving = Vec::new();
    for pool in 0..state.cluster.pools.len() {
        let (queued, running, waiting) = state.usage(pool, now);
        if waiting == 0 {
            continue;
        }
        let free = state.slots(pool).saturating_sub(queued + running);
        let is_waiting = |run: &Run| {
            matches!(run.phase, Phase::Scheduled(_))
                && state.cluster.dags[run.dag].tasks[run.task].pool == pool
        };
        let places = (0..state.runs.len()).filter(|&place| is_waiting(&state.runs[place]));
        chosen.extend(places.take(free as usize));
        starving.push((pool, waiting.saturating_sub(free)));
    }
    (chosen, starving)
}

fn executor(state: &mut State, index: usize, now: Duration) -> Duration {
    let is_v3 = state.shape.version == Version::V3;
    let schedulers = state.schedulers.len() as u64;
    let (mut queued, mut running) = (0, 0);
    for run in &state.runs {
        match run.phase {
            Phase::Queued(start, ..) if start > now => queued += 1,
            Phase::Queued(_, end, _) if end > now => running += 1,
            _ => {}
        }
    }
    let (queued, running) = (queued / schedulers, running / schedulers);
    let open = state.parallelism.saturating_sub(queued + running);
    let name = match state.workers.is_empty() {
        true => "LocalExecutor",
        false => "CeleryExecutor",
    };
    let heartbeat = state.some(Duration::from_micros(600));
    let mut process = state.outbox.process(state.schedulers[index].source, now);
    for (metric, status, value) in [
        ("executor.open_slots", "open", open),
        ("executor.queued_tasks", "queued", queued),
        ("executor.running_tasks", "running", running),
    ] {
        let values = [
            ("status", status),
            ("executor_class_name", name),
            ("name", name),
        ];
        match is_v3 {
            true => process.send(metric, &values, Value::Whole(value)),
            false => process.send_bare(metric, &values, Value::Whole(value)),
        }
    }
    if is_v3 {
        let took = Value::Block(millis(heartbeat));
        process.send(
            "scheduler.executor_heartbeat_duration",
            &[("executor", name)],
            took,
        );
        process.work(Duration::from_millis(8));
        for metric in ["connection_test.active", "connection_test.pending"] {
            process.send(metric, &[], Value::Whole(0));
        }
    }
    process.pause()
}

/// What a scheduler reports now and then.
fn periodically(state: &mut State, index: usize, mut now: Duration) -> Duration {
    let is_v3 = state.shape.version == Version::V3;
    let scheduler = &mut state.schedulers[index];
    let source = scheduler.source;
    let dues = [
        scheduler.orphans.is_due(now),
        scheduler.heartbeat.is_due(now),
        scheduler.pools.is_due(now),
        is_v3 && scheduler.task_instances.is_due(now),
        scheduler.assets.is_due(now),
    ];
    let [orphans, heartbeat, pools, task_instances, assets] = dues;
    let mut process = state.outbox.process(source, now);
    if orphans {
        for metric in [
            "scheduler.orphaned_tasks.cleared",
            "scheduler.orphaned_tasks.adopted",
        ] {
            process.send(metric, &[], Value::Count(0));
        }
    }
    if heartbeat {
        process.count("scheduler_heartbeat", &[]);
    }
    if assets {
        let metric = if is_v3 {
            "asset.orphaned"
        } else {
            "dataset.orphaned"
        };
        process.send(metric, &[], Value::Whole(0));
    }
    now = process.pause();
    if pools {
        now = report_pools(state, source, now);
    }
    if task_instances {
        now = report_task_instances(state, index, now);
    }
    now
}

fn report_pools(state: &mut State, source: SourceId, mut now: Duration) -> Duration {
    for pool in 0..state.cluster.pools.len() {
        let (queued, running, scheduled) = state.usage(pool, now);
        let open = state.slots(pool).saturating_sub(queued + running);
        let values = [("pool_name", state.cluster.pools[pool].name)];
        let numbers = [open, queued, running, 0, scheduled].map(Value::Whole);
        let mut process = state.outbox.process(source, now);
        for (metric, number) in POOL_GAUGES.into_iter().zip(numbers) {
            process.send(metric, &values, number);
        }
        now = process.pause();
    }
    now
}

/// How many task instances are in each state, and 0 for those of the last time
/// that are no longer.
fn report_task_instances(state: &mut State, index: usize, now: Duration) -> Duration {
    let mut counts = std::collections::BTreeMap::new();
    for run in &state.runs {
        let place = match run.phase {
            Phase::Scheduled(_) => 0,
            Phase::Queued(start, ..) if start > now => 1,
            Phase::Queued(_, end, _) if end > now => 2,
            Phase::Ready(since) if since > now => 3,
            _ => continue,
        };
        *counts.entry((place, run.dag, run.task)).or_insert(0) += 1;
    }
    let scheduler = &mut state.schedulers[index];
    let fresh = counts.keys().copied().collect();
    let mut gone: Vec<_> = std::mem::replace(&mut scheduler.reported, fresh)
        .into_iter()
        .filter(|key| !counts.contains_key(key))
        .collect();
    gone.sort_unstable();
    let count = counts.values().sum::<u64>() as f64;
    let mut process = state.outbox.process(scheduler.source, now);
    let counts = counts
        .into_iter()
        .map(|(key, count)| (key, Value::Real(count as f64)));
    let mut all: Vec<_> = counts
        .chain(gone.into_iter().map(|key| (key, Value::Whole(0))))
        .collect();
    all.sort_by_key(|&((place, ..), _)| place);
    for ((place, dag, task), value) in all {
        let dag = &state.cluster.dags[dag];
        let values = [
            ("queue", "default"),
            ("dag_id", &*dag.id),
            ("task_id", &*dag.tasks[task].id),
        ];
        process.send(TASK_STATES[place], &values, value);
    }
    process.send("scheduler.dagruns.running", &[], Value::Real(count));
    process.pause()
}

/// A round of a DAG processor; returns when the next begins.
pub(super) fn dag_processor(state: &mut State, index: usize, at: Duration) -> Duration {
    let is_v3 = state.shape.version == Version::V3;
    let round = Duration::from_millis(if is_v3 { 630 } else { 970 });
    let files = state.cluster.files.len();
    let parse_times: Vec<Duration> = (0..files.min(64))
        .map(|_| state.some(Duration::from_millis(350)))
        .collect();
    let dags = state.shape.dags as u64;
    let total = state.some(Duration::from_millis(600)).as_secs_f64();
    let processor = &mut state.dag_processors[index];
    processor.backlog += files as f64 * round.as_secs_f64() / state.rhythm.parse.as_secs_f64();
    let due = (processor.backlog as usize).min(parse_times.len());
    processor.backlog = (processor.backlog - due as f64).min(files as f64);
    let heartbeat = is_v3 && processor.heartbeat.is_due(at);
    let file_stats = processor.file_stats.is_due(at);
    let mut process = state.outbox.process(processor.source, at);
    if heartbeat {
        process.count("dag_processor_heartbeat", &[]);
    }
    process.send(
        "dag_processing.file_path_queue_update_count",
        &[],
        Value::Count(1),
    );
    let queue = |left: usize| Value::Whole(left as u64);
    process.send("dag_processing.file_path_queue_size", &[], queue(due));
    for (left, took) in (0..due).rev().zip(&parse_times) {
        let file = processor.file % files;
        processor.file += 1;
        processor.parsed[file] = process.now;
        let name = &*state.cluster.files[file];
        let path = format!("/opt/airflow/dags/{name}.py");
        let values = |action| [("file_path", &*path), ("action", action)];
        process.count("dag_processing.processes", &values("start"));
        // The queue is looked at again and again while files are parsed.
        for _ in 0..if is_v3 { 4 } else { 1 } {
            process.work(Duration::from_millis(40));
            process.send("dag_processing.file_path_queue_size", &[], queue(left));
        }
        let values = [("bundle_name", "dags-folder"), ("file_name", name)];
        if is_v3 {
            let took = Value::Number(took.as_secs_f64());
            process.send("dag_processing.last_duration", &values, took);
        } else {
            let ends = [("file_path", &*path), ("action", "finish")];
            process.send("dag_processing.processes", &ends, Value::Count(-1));
            process.send(
                "dag_processing.last_duration",
                &values,
                Value::Delta(millis(*took)),
            );
        }
    }
    // Airflow 2 sums up each round, Airflow 3 when the queue was emptied.
    if !is_v3 || due > 0 && processor.file.is_multiple_of(2) {
        process.send("dag_processing.total_parse_time", &[], Value::Real(total));
        process.send("dagbag_size", &[], Value::Whole(dags));
        process.send("dag_processing.import_errors", &[], Value::Whole(0));
    }
    if file_stats {
        for (name, parsed) in state.cluster.files.iter().zip(&processor.parsed) {
            let path = format!("/opt/airflow/dags/{name}.py");
            let values = [
                ("file_path", &*path),
                ("bundle_name", "dags-folder"),
                ("file_name", name),
                ("dag_file", name),
            ];
            let ago = Value::Real((at.saturating_sub(*parsed)).as_micros() as f64 / 1e6);
            process.send(SECONDS_AGO[usize::from(is_v3)], &values, ago);
            if !is_v3 {
                process.send(NUM_QUERIES, &values, Value::Whole(12));
            }
        }
    }
    (at + round).max(process.pause())
}

/// In Airflow 2 there is only the form with values in the name.
const SECONDS_AGO: [&str; 2] = [
    "dag_processing.last_run.seconds_ago.{file_name}",
    "dag_processing.last_run.seconds_ago",
];
const NUM_QUERIES: &str = "dag_processing.last_num_of_db_queries.{dag_file}";

/// A round of the triggerer; returns when the next begins.
pub(super) fn triggerer(state: &mut State, at: Duration) -> Duration {
    let is_v3 = state.shape.version == Version::V3;
    let running = state.rng.random_range(0..6);
    let succeeded = state.rng.random_bool(0.25);
    let failed = state.rng.random_bool(0.04);
    let heartbeat = state.triggerer_heartbeat.is_due(at);
    let values = [("hostname", "airflow-triggerer-0")];
    let mut process = state.outbox.process(state.triggerer, at);
    process.send("triggers.running", &values, Value::Whole(running));
    if is_v3 {
        let left = Value::Whole(1000 - running);
        process.send("triggerer.capacity_left", &values, left);
    }
    if heartbeat {
        process.count("triggerer_heartbeat", &[]);
    }
    if succeeded {
        process.count("triggers.succeeded", &[]);
    }
    if failed {
        process.count("triggers.failed", &[]);
    }
    process.pause() + Duration::from_millis(if is_v3 { 900 } else { 1050 })
}

/// Something that an API server does; returns when it does the next.
pub(super) fn api_server(state: &mut State, at: Duration) -> Duration {
    let mut process = state.outbox.process(state.api_server, at);
    process.count("asset.updates", &[]);
    process.work(Duration::from_millis(4));
    process.count("api_server.dag_bag.cache_hit", &[]);
    process.pause() + state.some(Duration::from_secs(8))
}

/// As milliseconds, to the microsecond.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}
