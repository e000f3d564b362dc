//! `verify` against a receiver whose losses are known.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::sink::{Backend, Loss, Options, Sink};

const SETTLE: Duration = Duration::from_secs(10);

fn trace() -> Trace {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/data/traces/airflow-3.3.2-datadog.jsonl.gz");
    Trace::read(&path).expect("a trace")
}

fn airflow() -> Ledger {
    let rules = RulesArgs {
        mapping_profile: Some("airflow".to_owned()),
        ..RulesArgs::default()
    };
    Ledger::new(rules.load().expect("a good profile"))
}

/// A receiver with its own ledger that loses what it is told to.
fn receiver(loss: Loss) -> Sink {
    let options = Options {
        listen: "127.0.0.1:0".parse().expect("an address"),
        backend: Backend::Recvmmsg,
        gather: pitot::receive::Gather::Auto,
        shards: NonZeroUsize::MIN,
        read_buffer: 4 << 20,
        loss,
        metrics: Some("127.0.0.1:0".parse().expect("an address")),
    };
    Sink::start(&options, Some(airflow())).expect("started")
}

/// Sends the first datagrams of a trace, never more than the receiver's buffer
/// holds, so that nothing is lost but what should be.
fn check(loss: Loss, lost: u64) -> Report {
    const COUNT: usize = 5_000;
    let trace = trace();
    let sink = receiver(loss);
    let subject = Subject {
        to: Target::Udp(sink.address()),
        page: sink.endpoint().expect("a page"),
    };
    let datagrams = || {
        trace
            .datagrams()
            .take(COUNT)
            .map(|(d, _)| (d.source, d.payload))
    };
    let send = || {
        let mut sender = subject.to.open()?;
        for (sent, (_, payload)) in (0..).zip(datagrams()) {
            let arrived = crate::wait::until(SETTLE, || {
                anyhow::Ok((sent - sink.seen() < 256).then_some(()))
            });
            arrived?.context("the receiver does not read")?;
            sender.send(payload)?;
        }
        Ok(Sent {
            datagrams: COUNT as u64,
            trouble: None,
        })
    };
    let report = verify(&subject, airflow(), send, datagrams(), SETTLE).expect("verified");
    assert_eq!(report.lost(), lost as f64, "{report}");
    assert_eq!(sink.finish().expect("finished").lost, lost);
    report
}

#[test]
fn a_receiver_that_loses_nothing_is_clean() {
    let report = check(Loss::default(), 0);
    assert!(report.is_clean(), "{report}");
    assert!(report.judgement.families.len() > 20, "{report}");
}

#[test]
fn a_loss_is_found_exactly() {
    let report = check(
        Loss {
            first: 0,
            every: 100,
        },
        50,
    );
    assert!(!report.is_clean());
    let Losses {
        by_kernel,
        by_exporter,
        unknown,
        ..
    } = report.losses;
    assert_eq!((by_kernel, by_exporter, unknown), (0.0, 0.0, 50.0));

    // The differences are those of the lost datagrams and no others.
    let mut lost = airflow();
    for (number, (datagram, _)) in (1..).zip(trace().datagrams().take(5_000)) {
        if number % 100 == 0 {
            lost.datagram(datagram.source, datagram.payload, false);
        }
    }
    let missing: f64 = report
        .judgement
        .families
        .values()
        .map(|f| f.sent - f.arrived)
        .sum();
    let expected = lost.series().iter().map(|series| match &series.value {
        crate::ledger::Value::Counter(sum) => *sum,
        crate::ledger::Value::Gauge(_) => 0.0,
        crate::ledger::Value::Observer { count, .. } => *count as f64,
    });
    let expected: f64 = expected.sum();
    assert!(
        (missing - expected).abs() < 1e-6,
        "{missing} of {expected}: {report}"
    );
    let lost_series: Vec<String> = lost.series().iter().map(|s| s.family.clone()).collect();
    for difference in &report.judgement.differences {
        assert!(lost_series.contains(&difference.family), "{difference}");
    }
}
