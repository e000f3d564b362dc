//! What is odd about Airflow's metrics, one by one.

use super::{check, exporter, page, page_after, rounded, samples};

/// Makes known what lines of the version have told before.
const AIRFLOW_2: &[&str] = &["--statsd.mapping-facts=airflow2"];
const AIRFLOW_3: &[&str] = &["--statsd.mapping-facts=airflow3,airflow33"];

#[test]
fn waiting_times_of_2_are_seconds_that_say_milliseconds() {
    let lines = [
        "airflow.dag.etl_sales.load.queued_duration:2.674997|ms",
        "airflow.dag.deferred.bad_trigger.scheduled_duration:6.524038|ms",
    ];
    let of_2 = [
        "airflow_task_queued_duration_seconds_sum{dag_id=\"etl_sales\",task_id=\"load\"} 2.674997",
        "airflow_task_queued_duration_seconds_count{dag_id=\"etl_sales\",task_id=\"load\"} 1",
        "airflow_task_scheduled_duration_seconds_sum{dag_id=\"deferred\",task_id=\"bad_trigger\"} 6.524038",
        "airflow_task_scheduled_duration_seconds_count{dag_id=\"deferred\",task_id=\"bad_trigger\"} 1",
    ];
    check(AIRFLOW_2, &lines, &of_2);
    // What only 2 sends tells of it as well as the flag.
    let told = ["airflow.local_task_job.task_exit.24.triggered_child.y.0:1|c"];
    check(&[], &[&told[..], &lines[..]].concat(), &of_2);

    let of_3 = ["airflow.dag.deferred.bad_trigger.scheduled_duration:1226.437000|ms"];
    let three = [
        "airflow_task_scheduled_duration_seconds_sum{dag_id=\"deferred\",task_id=\"bad_trigger\"} 1.226437",
        "airflow_task_scheduled_duration_seconds_count{dag_id=\"deferred\",task_id=\"bad_trigger\"} 1",
    ];
    check(AIRFLOW_3, &of_3, &three);
    // With the option of 2.11 that makes them milliseconds.
    let consistent = &["--statsd.mapping-facts=airflow2,timer_unit_consistency"];
    check(consistent, &of_3, &three);
    // Tags tell by themselves: only 3 knows the queue.
    check(
        AIRFLOW_2,
        &[
            "airflow.task.scheduled_duration:129.924|ms|#dag_id:deferred,task_id:wait_2,queue:default,env:prod,cluster:af-eu1",
        ],
        &[
            "airflow_task_scheduled_duration_seconds_sum{cluster=\"af-eu1\",dag_id=\"deferred\",env=\"prod\",queue=\"default\",task_id=\"wait_2\"} 0.129924",
            "airflow_task_scheduled_duration_seconds_count{cluster=\"af-eu1\",dag_id=\"deferred\",env=\"prod\",queue=\"default\",task_id=\"wait_2\"} 1",
        ],
    );
}

#[test]
fn block_timers_of_datadog_are_seconds_that_say_milliseconds() {
    let sum = |lines: &[&str]| {
        let page = page_after(&[], lines);
        let samples = samples(&page);
        let sum = samples.iter().find(|sample| sample.contains("_sum"));
        sum.expect("a sum").clone()
    };
    assert_eq!(
        sum(&[
            "airflow.scheduler.scheduler_loop_duration:0.2656523929999821|ms|#env:prod,cluster:af-eu1\n"
        ]),
        "airflow_scheduler_scheduler_loop_duration_seconds_sum{cluster=\"af-eu1\",env=\"prod\"} 0.265652393"
    );
    assert_eq!(
        sum(&["airflow.scheduler.scheduler_loop_duration:453.553015|ms"]),
        "airflow_scheduler_scheduler_loop_duration_seconds_sum 0.453553015"
    );
    // Without constant tags only the client's telemetry shows who is talking.
    assert_eq!(
        sum(&[
            "datadog.dogstatsd.client.metrics:937|c|#client:py,client_version:0.56.0,client_transport:udp",
            "airflow.scheduler.scheduler_loop_duration:0.25|ms",
        ]),
        "airflow_scheduler_scheduler_loop_duration_seconds_sum 0.25"
    );
    // An interval that 3 has measured itself is in milliseconds there too.
    assert_eq!(
        sum(&[
            "airflow.dagrun.schedule_delay:310882.646|ms|#dag_id:late_reports,env:prod,cluster:af-eu1"
        ]),
        "airflow_dagrun_schedule_delay_seconds_sum{cluster=\"af-eu1\",dag_id=\"late_reports\",env=\"prod\"} 310.882646"
    );
    // As 2.11 is said to send it; there is no capture of that mode.
    assert_eq!(
        sum(&[
            "airflow.task.cpu_usage.late_reports.slow:0.0|g|#env:prod",
            "airflow.dagrun.schedule_delay:310.882646|ms|#dag_id:late_reports,env:prod",
        ]),
        "airflow_dagrun_schedule_delay_seconds_sum{dag_id=\"late_reports\",env=\"prod\"} 310.882646"
    );
}

#[test]
fn parse_times_of_3_are_seconds_that_say_milliseconds() {
    let name = "airflow_dag_processing_last_duration_seconds";
    let seconds = |lines: &[&str], labels: &str| {
        let page = page_after(&[], lines);
        page.value(&format!("{name}_sum{{{labels}}}")).map(rounded)
    };
    let bundle = "bundle_name=\"dags-folder\",file_name=\"d10_slow_parse\"";
    let line = "airflow.dag_processing.last_duration.dags-folder.d10_slow_parse:1.810612|ms";
    assert_eq!(seconds(&[line], bundle), Some(1.810612));
    let line = "airflow.dag_processing.last_duration:1.8106117069996799|ms|#bundle_name:dags-folder,file_name:d10_slow_parse,env:prod";
    let labels = "bundle_name=\"dags-folder\",env=\"prod\",file_name=\"d10_slow_parse\"";
    assert_eq!(seconds(&[line], labels), Some(1.810611707));
    let line = "airflow.dag_processing.last_duration.d11_names:397.628000|ms";
    assert_eq!(seconds(&[line], "file_name=\"d11_names\""), Some(0.397628));
    // A file with a dot in its name, once another has told that this is 2.
    let dotted = "airflow.dag_processing.last_duration.team.daily:251.000000|ms";
    assert_eq!(
        seconds(&[line, dotted], "file_name=\"team.daily\""),
        Some(0.251)
    );
}

#[test]
fn gauges_that_overwrite_each_other_are_dropped() {
    check(
        &[],
        &[
            "airflow.pool.open_slots.default_pool:117|g",
            "airflow.pool.open_slots:117|g",
            "airflow.pool.open_slots.small_pool:2|g",
            "airflow.pool.open_slots:2|g",
            "airflow.ti.running.default.asset_producer.write_orders:1.0|g",
            "airflow.ti.running:1.0|g",
            "airflow.triggers.running.vm:3|g",
            "airflow.triggers.running:3|g",
            "airflow.dag_processing.last_run.seconds_ago.d08_defer:8.010278|g",
            "airflow.dag_processing.last_run.seconds_ago:8.010278|g",
        ],
        &[
            "airflow_dag_processing_last_run_age_seconds{file_name=\"d08_defer\"} 8.010278",
            "airflow_pool_open_slots{pool=\"default_pool\"} 117",
            "airflow_pool_open_slots{pool=\"small_pool\"} 2",
            "airflow_ti_running{dag_id=\"asset_producer\",queue=\"default\",task_id=\"write_orders\"} 1",
            "airflow_triggers_running{hostname=\"vm\"} 3",
        ],
    );
}

#[test]
fn what_is_sent_under_two_names_counts_once() {
    let tags = "env:prod,cluster:af-eu1";
    let constant = "cluster=\"af-eu1\"";
    let lines = [
        format!(
            "airflow.operator_failures_BashOperator:1|c|#dag_id:billing_flaky,task_id:nonzero,{tags}"
        ),
        format!(
            "airflow.operator_failures:1|c|#dag_id:billing_flaky,task_id:nonzero,operator_name:BashOperator,{tags}"
        ),
        format!("airflow.ti.start.trigger_parent.fire:1|c|#{tags}"),
        format!("airflow.ti.start:1|c|#dag_id:trigger_parent,task_id:fire,{tags}"),
        format!("airflow.executor.open_slots.LocalExecutor:8|g|#status:open,{tags}"),
        format!(
            "airflow.executor.open_slots:8|g|#status:open,executor_class_name:LocalExecutor,{tags}"
        ),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    check(
        &[],
        &lines,
        &[
            &format!(
                "airflow_executor_open_slots{{{constant},env=\"prod\",executor=\"LocalExecutor\"}} 8"
            ),
            &format!(
                "airflow_operator_failures_total{{{constant},dag_id=\"billing_flaky\",env=\"prod\",operator=\"BashOperator\",task_id=\"nonzero\"}} 1"
            ),
            &format!(
                "airflow_ti_start_total{{{constant},dag_id=\"trigger_parent\",env=\"prod\",task_id=\"fire\"}} 1"
            ),
        ],
    );
    // The same in InfluxDB's way, where a legacy name has no tag left.
    check(
        &[],
        &[
            "airflow.dagrun.dependency-check.etl_sales,run_type=scheduled:17.258694|ms",
            "airflow.dagrun.dependency-check,dag_id=etl_sales,run_type=scheduled:17.091641|ms",
            "airflow.ti.start.trigger_parent.fire:1|c",
            "airflow.ti.start,dag_id=trigger_parent,task_id=fire:1|c",
        ],
        &[
            "airflow_dagrun_dependency_check_seconds_sum{dag_id=\"etl_sales\",run_type=\"scheduled\"} 0.017091641",
            "airflow_dagrun_dependency_check_seconds_count{dag_id=\"etl_sales\",run_type=\"scheduled\"} 1",
            "airflow_ti_start_total{dag_id=\"trigger_parent\",task_id=\"fire\"} 1",
        ],
    );
    // And without tags.
    check(
        &[],
        &[
            "airflow.operator_failures_BashOperator:1|c",
            "airflow.operator_failures:1|c",
            "airflow.ti.start.trigger_parent.fire:1|c",
            "airflow.ti.start:1|c",
            "airflow.executor.open_slots.LocalExecutor:8|g",
            "airflow.executor.open_slots:8|g",
        ],
        &[
            "airflow_executor_open_slots{executor=\"LocalExecutor\"} 8",
            "airflow_operator_failures_total{operator=\"BashOperator\"} 1",
            "airflow_ti_start_total{dag_id=\"trigger_parent\",task_id=\"fire\"} 1",
        ],
    );
}

#[test]
fn one_label_for_the_three_tags_of_an_operator() {
    let page = page_after(
        &[],
        &[
            // In this order: 2.x, 2.x, 3.x.
            "airflow.operator_failures,dag_id=d,task_id=t,operator=Bash:1|c",
            "airflow.operator_successes,dag_id=d,task_id=t,task_type=Bash:1|c",
            "airflow.operator_successes,dag_id=d,task_id=t,operator_name=Bash:1|c",
        ],
    );
    let labels = "dag_id=\"d\",operator=\"Bash\",task_id=\"t\"";
    let value = |name: &str| page.value(&format!("airflow_operator_{name}_total{{{labels}}}"));
    assert_eq!(value("failures"), Some(1.0));
    assert_eq!(value("successes"), Some(2.0));
}

#[test]
fn zero_increments_make_series() {
    check(
        &[],
        &[
            "airflow.ti.finish.late_reports.slow.success:0|c",
            "airflow.ti.finish.late_reports.slow.None:0|c",
            "airflow.ti.finish:0|c",
            "airflow.ti.finish.late_reports.slow.success:1|c",
        ],
        &[
            "airflow_ti_finish_total{dag_id=\"late_reports\",state=\"None\",task_id=\"slow\"} 0",
            "airflow_ti_finish_total{dag_id=\"late_reports\",state=\"success\",task_id=\"slow\"} 1",
        ],
    );
}

#[test]
fn a_counter_that_goes_down_counts_starts() {
    let mut exporter = exporter(&[]);
    for line in [
        "airflow.dag_processing.processes:-1|c",
        "airflow.dag_processing.processes:1|c",
        "airflow.dag_processing.processes:-1|c",
        "airflow.dag_processing.processes:1|c",
    ] {
        exporter.datagram(line.as_bytes());
    }
    let starts = "airflow_dag_processing_process_starts_total 2";
    assert_eq!(samples(&page(&exporter)), [starts]);
    assert_eq!(exporter.counter("statsd_exporter_events_error_total"), 0.0);
    check(
        &[],
        &[
            "airflow.dag_processing.processes:1|c|#file_path:d12_many.py,action:start,env:prod",
            "airflow.dag_processing.processes:-1|c|#file_path:d12_many.py,action:terminate,env:prod",
        ],
        &["airflow_dag_processing_process_starts_total{env=\"prod\",file_path=\"d12_many.py\"} 1"],
    );
}

#[test]
fn names_with_job_ids_are_dropped() {
    check(
        &[],
        &[
            "airflow.local_task_job.task_exit.24.triggered_child.y.0:1|c",
            "airflow.local_task_job.task_exit:1|c",
            "airflow.local_task_job.task_exit.25.deferred.wait_1.0:1|c",
            "airflow.local_task_job.task_exit:1|c",
        ],
        &["airflow_local_task_job_task_exit_total 2"],
    );
    check(
        &[],
        &[
            "airflow.local_task_job.task_exit,dag_id=deferred,job_id=25,return_code=-9,task_id=wait_1:1|c",
        ],
        &[
            "airflow_local_task_job_task_exit_total{dag_id=\"deferred\",return_code=\"-9\",task_id=\"wait_1\"} 1",
        ],
    );
}

#[test]
fn tags_without_bounds_are_dropped() {
    check(
        &[],
        &[
            "airflow.deadline_alerts.callback_success:1|c|#path:_cb.late,dag_id:late_reports,kwargs:__,env:prod",
            "airflow.deadline_alerts.deadline_missed:1|c|#dag_id:late_reports,dagrun_id:manual__2026,env:prod",
            // As from a pod, whose container the client tells.
            "airflow.ti_failures:1|c|#dag_id:late_reports,task_id:slow|c:ci-1a2b",
        ],
        &[
            "airflow_deadline_alerts_callback_total{dag_id=\"late_reports\",env=\"prod\",status=\"success\"} 1",
            "airflow_deadline_alerts_deadline_missed_total{dag_id=\"late_reports\",env=\"prod\"} 1",
            "airflow_ti_failures_total{dag_id=\"late_reports\",task_id=\"slow\"} 1",
        ],
    );
}

#[test]
fn the_telemetry_of_the_datadog_client_is_dropped() {
    let telemetry = ["bytes_sent:86951", "metrics:937", "packets_dropped_queue:0"].map(|metric| {
        format!("datadog.dogstatsd.client.{metric}|c|#client:py,client_version:0.56.0,client_transport:udp,env:prod,cluster:af-eu1")
    });
    let mut exporter = exporter(&[]);
    // Lines of one datagram, which ends with a newline.
    exporter.datagram(format!("{}\n", telemetry.join("\n")).as_bytes());
    assert_eq!(samples(&page(&exporter)), [""; 0]);
    assert_eq!(
        exporter.counter("statsd_exporter_events_unmapped_total"),
        0.0
    );
    assert_eq!(exporter.counter("statsd_exporter_sample_errors_total"), 0.0);
}

#[test]
fn a_negative_gauge_is_absolute_from_datadog() {
    let tagged = "airflow.custom.balance:-12.5|g|#table:orders,env:prod,cluster:af-eu1";
    let labels = "{cluster=\"af-eu1\",env=\"prod\",table=\"orders\"}";
    let expect = format!("airflow_custom_balance{labels} -12.5");
    check(&[], &[tagged, tagged, tagged], &[&expect]);
    // Plain: first 0, then by how much it is less.
    let pair = [
        "airflow.custom.balance:0|g",
        "airflow.custom.balance:-12.5|g",
    ];
    check(
        &[],
        &[pair, pair].concat(),
        &["airflow_custom_balance -12.5"],
    );
    // 2.11 sends both in one datagram; so it does import_errors.
    let both =
        "airflow.dag_processing.import_errors:0|g\nairflow.dag_processing.import_errors:-1|g";
    check(
        &[],
        &[both, both],
        &["airflow_dag_processing_import_errors -1"],
    );
    // Deltas are only known to plain StatsD.
    let deltas = [
        "airflow.custom.inflight:+3|g",
        "airflow.custom.inflight:-2|g",
    ];
    check(&[], &deltas, &["airflow_custom_inflight 1"]);
}

#[test]
fn a_sampled_gauge_is_not_scaled() {
    check(
        &[],
        &["airflow.scheduler.dag_bag.cache_size:1|g|@0.1|#env:prod,cluster:af-eu1"],
        &["airflow_scheduler_dag_bag_cache_size{cluster=\"af-eu1\",env=\"prod\"} 1"],
    );
}

#[test]
fn first_task_scheduling_delays_of_3_3_count_once() {
    // Both legacy names of a DAG with dots, twice that of one without.
    let lines = [
        "airflow.dagrun.team-a.orders.daily_load.first_task_scheduling_delay:1409.145000|ms",
        "airflow.dagrun.team-a__orders__daily_load.first_task_scheduling_delay:1409.145000|ms",
        "airflow.dagrun.first_task_scheduling_delay:1409.145000|ms",
        "airflow.dagrun.late_reports.first_task_scheduling_delay:2799.029000|ms",
        "airflow.dagrun.late_reports.first_task_scheduling_delay:2799.029000|ms",
        "airflow.dagrun.first_task_scheduling_delay:2799.029000|ms",
    ];
    let name = "airflow_dagrun_first_task_scheduling_delay_seconds";
    let sum = format!("{name}_sum 4.208174");
    check(AIRFLOW_3, &lines, &[&sum, &format!("{name}_count 2")]);
    // Before, each came once, and there is a DAG to tell.
    let labels = "{dag_id=\"late_reports\"}";
    let (sum, count) = (
        format!("{name}_sum{labels} 2.799029"),
        format!("{name}_count{labels} 1"),
    );
    check(AIRFLOW_2, &lines[4..], &[&sum, &count]);
}

#[test]
fn a_dag_may_be_called_like_a_metric() {
    let page = page_after(
        AIRFLOW_2,
        &[
            "airflow.dagrun.schedule_delay.first_task_scheduling_delay:212.281000|ms",
            "airflow.dagrun.dependency-check.first_task_scheduling_delay:4.276178|ms",
            "airflow.dagrun.first_task_scheduling_delay.first_task_scheduling_delay:9472.106000|ms",
            "airflow.dag.first_task_scheduling_delay.success.duration:210.096119|ms",
            "airflow.dag.team-a.orders.daily_load.publish.duration.duration:1062.930806|ms",
            "airflow.ti.finish.first_task_scheduling_delay.success.failed:1|c",
        ],
    );
    let dag = "dag_id=\"first_task_scheduling_delay\"";
    for (series, value) in [
        (format!("airflow_dagrun_schedule_delay_seconds_sum{{{dag}}}"), 0.212281),
        (format!("airflow_dagrun_dependency_check_seconds_sum{{{dag}}}"), 0.004276178),
        (format!("airflow_dagrun_first_task_scheduling_delay_seconds_sum{{{dag}}}"), 9.472106),
        (format!("airflow_task_duration_seconds_sum{{{dag},task_id=\"success\"}}"), 0.210096119),
        (
            "airflow_task_duration_seconds_sum{dag_id=\"team-a\",task_id=\"orders.daily_load.publish.duration\"}".into(),
            1.062930806,
        ),
        (format!("airflow_ti_finish_total{{{dag},state=\"failed\",task_id=\"success\"}}"), 1.0),
    ] {
        assert_eq!(page.value(&series).map(rounded), Some(value), "{series}");
    }
}

#[test]
fn ids_with_dots_are_parted_by_what_is_known() {
    let task = "airflow.ti.start.team-a.orders.daily_load.stage_in.copy-files:1|c";
    // No line has told of that DAG: the first dot.
    check(
        &[],
        &[task],
        &[
            "airflow_ti_start_total{dag_id=\"team-a\",task_id=\"orders.daily_load.stage_in.copy-files\"} 1",
        ],
    );
    let run = "airflow.dagrun.duration.success.team-a.orders.daily_load:401836.578000|ms";
    let page = page_after(
        &[],
        &[
            run,
            task,
            "airflow.dag.team-a.orders.daily_load.stage_in.inner.check.schema.duration:1043.999204|ms",
            "airflow.task.cpu_usage.team-a.orders.daily_load.publish.duration:0.5|g",
            "airflow.ti.finish.team-a.orders.daily_load.stage_in.copy-files.success:1|c",
        ],
    );
    let dag = "dag_id=\"team-a.orders.daily_load\"";
    for series in [
        format!("airflow_dagrun_duration_seconds_count{{{dag},state=\"success\"}}"),
        format!("airflow_ti_start_total{{{dag},task_id=\"stage_in.copy-files\"}}"),
        format!(
            "airflow_task_duration_seconds_count{{{dag},task_id=\"stage_in.inner.check.schema\"}}"
        ),
        format!("airflow_task_cpu_usage_percent{{{dag},task_id=\"publish.duration\"}}"),
        format!(
            "airflow_ti_finish_total{{{dag},state=\"success\",task_id=\"stage_in.copy-files\"}}"
        ),
    ] {
        assert!(page.value(&series).is_some(), "{series}");
    }
    // 3.3 writes the dots otherwise, and nothing is left to part.
    check(
        &[],
        &["airflow.ti.start.team-a__orders__daily_load.stage_in__copy-files:1|c"],
        &[
            "airflow_ti_start_total{dag_id=\"team-a__orders__daily_load\",task_id=\"stage_in__copy-files\"} 1",
        ],
    );
}

#[test]
fn pools_with_blanks_and_dots() {
    check(
        &[],
        &[
            "airflow.pool.open_slots.ml_gpu_pool:4|g",
            "airflow.pool.open_slots.team__dwh-pool:1|g",
            // As 2.x has it; that of the blanks it does not send.
            "airflow.pool.open_slots.team.dwh-pool:2|g",
        ],
        &[
            "airflow_pool_open_slots{pool=\"ml_gpu_pool\"} 4",
            "airflow_pool_open_slots{pool=\"team.dwh-pool\"} 2",
            "airflow_pool_open_slots{pool=\"team__dwh-pool\"} 1",
        ],
    );
}

#[test]
fn a_single_executor_before_3_3_has_no_class() {
    check(
        &[],
        &["airflow.executor.open_slots:8|g"],
        &["airflow_executor_open_slots 8"],
    );
    check(
        &[],
        &["airflow.executor.open_slots,status=open,name=LocalExecutor:8|g"],
        &["airflow_executor_open_slots{executor=\"LocalExecutor\"} 8"],
    );
}

#[test]
fn datasets_and_zombies_have_the_names_of_3() {
    check(
        &[],
        &[
            "airflow.dataset.updates:1|c",
            "airflow.asset.updates:1|c",
            "airflow.zombies_killed:1|c",
            "airflow.task_instances_without_heartbeats_killed:1|c",
        ],
        &[
            "airflow_asset_updates_total 2",
            "airflow_task_instances_without_heartbeats_killed_total 2",
        ],
    );
}

#[test]
fn datadog_without_metric_tags_is_plain_but_for_its_units() {
    // statsd_datadog_metrics_tags=False: only constant tags are left.
    check(
        &[],
        &[
            "airflow.dagrun.dependency-check.late_reports:0.5|ms|#env:prod",
            "airflow.dagrun.dependency-check:0.5|ms|#env:prod",
            "airflow.pool.open_slots.default_pool:117|g|#env:prod",
            "airflow.pool.open_slots:117|g|#env:prod",
        ],
        &[
            "airflow_dagrun_dependency_check_seconds_sum{dag_id=\"late_reports\",env=\"prod\"} 0.5",
            "airflow_dagrun_dependency_check_seconds_count{dag_id=\"late_reports\",env=\"prod\"} 1",
            "airflow_pool_open_slots{env=\"prod\",pool=\"default_pool\"} 117",
        ],
    );
}

#[test]
fn the_rest_is_kept_dropped_or_counted() {
    let line = "airflow.custom.rows_loaded:3571|c";
    check(&[], &[line], &["airflow_custom_rows_loaded 3571"]);
    for (choice, unmapped, dropped) in [("drop", 0.0, 1.0), ("count", 1.0, 0.0)] {
        let mut exporter = exporter(&[&format!("--statsd.unmapped={choice}")]);
        exporter.datagram(line.as_bytes());
        assert_eq!(samples(&page(&exporter)), [""; 0]);
        let counter = |name: &str| exporter.counter(&format!("statsd_exporter_events_{name}"));
        assert_eq!(counter("unmapped_total"), unmapped, "{choice}");
        assert_eq!(counter("actions_total"), dropped, "{choice}");
    }
}
