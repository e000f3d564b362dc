//! A task try: from the scheduler that queues it to the last datagram of its
//! process.
//!
//! Airflow 3 gives each its own process with a socket of its own, gone after
//! nine datagrams. In Airflow 2 a task inherits the socket of whoever started it,
//! a scheduler or a Celery worker; only Datadog's client opens a new one.

use std::time::Duration;

use rand::RngExt;

use super::cluster::log_normal;
use super::model::{Ending, Phase, State};
use super::outbox::Process;
use super::processes::millis;
use super::wire::{Tags, Value, Values};
use crate::airflow::Version;

/// Airflow 2 counts no task in each of these when one starts, so that the series
/// exist.
const STATES: [&str; 14] = [
    "None",
    "removed",
    "scheduled",
    "queued",
    "running",
    "success",
    "restarting",
    "failed",
    "up_for_retry",
    "up_for_reschedule",
    "upstream_failed",
    "skipped",
    "deferred",
    "shutdown",
];

/// Queues the task at hand of a run; returns when the scheduler goes on.
pub(super) fn queue(state: &mut State, scheduler: usize, place: usize, now: Duration) -> Duration {
    let run = state.runs[place];
    let Phase::Scheduled(since) = run.phase else {
        return now;
    };
    let ending = ending(state);
    let median = state.cluster.dags[run.dag].tasks[run.task].median;
    let spread = log_normal(0.4, &mut state.rng);
    let lasts = Duration::from_secs_f64(median * spread).max(Duration::from_millis(50));
    let is_v3 = state.shape.version == Version::V3;
    let start = now + state.some(Duration::from_millis(if is_v3 { 400 } else { 900 }));
    let source = match (is_v3, state.shape.tags, state.workers.len()) {
        (true, ..) | (_, Tags::Datadog, _) => state.outbox.new_source(),
        (false, _, 0) => state.schedulers[scheduler].source,
        (false, _, count) => state.workers[state.rng.random_range(0..count)],
    };
    let is_alone = is_v3 || state.shape.tags == Tags::Datadog;
    state.job_id += 1;
    let job_id = state.job_id.to_string();
    let dag = &state.cluster.dags[run.dag];
    let task = &dag.tasks[run.task];
    let values = [
        ("dag_id", &*dag.id),
        ("task_id", &*task.id),
        ("queue", "default"),
        ("operator_name", task.operator),
        ("operator", task.operator),
        ("task_type", task.operator),
        ("job_id", &*job_id),
    ];
    let mut process = state.outbox.process(source, start);
    match is_v3 {
        true => airflow_3(&mut process, &values, lasts, ending),
        false => airflow_2(&mut process, &values, lasts, ending, start - since),
    }
    let end = if is_alone {
        process.end()
    } else {
        process.pause()
    };
    state.runs[place].phase = Phase::Queued(start, end, ending);
    if !is_v3 {
        return now + Duration::from_micros(800);
    }
    let mut process = state
        .outbox
        .process(state.schedulers[scheduler].source, now);
    let waited = Value::Delta(millis(now.saturating_sub(since)));
    process.send("task.scheduled_duration", &values, waited);
    process.work(Duration::from_micros(800));
    process.pause()
}

/// As often as in the captures.
fn ending(state: &mut State) -> Ending {
    match state.rng.random_range(0..1000) {
        0..800 => Ending::Success,
        800..860 => Ending::Retry,
        860..880 => Ending::Failed,
        880..970 => Ending::Deferred(state.some(Duration::from_secs(4))),
        970..988 => Ending::Skipped,
        _ => Ending::Killed,
    }
}

fn airflow_3(process: &mut Process<'_>, values: Values<'_>, lasts: Duration, ending: Ending) {
    let begin = process.now;
    process.count("ti.start", values);
    if ending == Ending::Killed {
        return;
    }
    process.work(lasts);
    let is_run_to_its_end = outcome(process, values, ending);
    finish(process, values, ending);
    if is_run_to_its_end {
        process.work(Duration::from_millis(60));
        let took = Value::Delta(millis(process.now - begin));
        process.send("task.duration", values, took);
    }
}

fn airflow_2(
    process: &mut Process<'_>,
    values: Values<'_>,
    lasts: Duration,
    ending: Ending,
    waited: Duration,
) {
    process.count("job_start", &[]);
    process.work(Duration::from_millis(300));
    // Seconds, whatever the type says.
    let waited = Value::Number(waited.as_secs_f64());
    process.send("task.queued_duration", values, waited);
    process.send(
        "task.mem_usage.{dag_id}.{task_id}",
        values,
        Value::Real(0.489_416_422_528_323),
    );
    process.send(
        "task.cpu_usage.{dag_id}.{task_id}",
        values,
        Value::Real(0.0),
    );
    process.work(Duration::from_millis(100));
    process.count("ti.start", values);
    for state in STATES {
        let values = [values, &[("state", state)]].concat();
        process.send("ti.finish", &values, Value::Count(0));
    }
    process.work(lasts);
    let code = match ending {
        Ending::Killed => "-9",
        Ending::Failed | Ending::Retry => "1",
        _ => "0",
    };
    if ending != Ending::Killed {
        process.send("task.duration", values, Value::Block(millis(lasts)));
        outcome(process, values, ending);
        finish(process, values, ending);
    }
    process.work(Duration::from_millis(90));
    let exit = [values, &[("return_code", code)]].concat();
    process.count("local_task_job.task_exit", &exit);
    process.count("job_end", &[]);
}

/// Success or failure; whether it is one of the two.
fn outcome(process: &mut Process<'_>, values: Values<'_>, ending: Ending) -> bool {
    let (operator, task) = match ending {
        Ending::Success => ("operator_successes", "ti_successes"),
        Ending::Failed | Ending::Retry => ("operator_failures", "ti_failures"),
        _ => return false,
    };
    process.count(operator, values);
    process.count(task, values);
    true
}

fn finish(process: &mut Process<'_>, values: Values<'_>, ending: Ending) {
    let state = match ending {
        Ending::Success => "success",
        Ending::Retry => "up_for_retry",
        Ending::Failed | Ending::Killed => "failed",
        Ending::Deferred(_) => "deferred",
        Ending::Skipped => "skipped",
    };
    let values = [values, &[("state", state)]].concat();
    process.count("ti.finish", &values);
}
