//! Who lost what is missing: the counters of the kernel and of the exporter,
//! before and after.

use std::collections::BTreeMap;

use pitot::statsd::LineError;
use serde::Serialize;

use crate::ledger::Counts;
use crate::own_metrics::{DATAGRAMS, DROPS, KERNEL_DROPS, LINES};
use crate::scrape::{Page, SampleKey};

const LINE_ERRORS: &str = "statsd_exporter_sample_errors_total";
const EVENT_ERRORS: &str = "statsd_exporter_events_error_total";
const CONFLICTS: &str = "statsd_exporter_events_conflict_total";

/// Counters at one moment. What is `None` nobody counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    lines: Option<f64>,
    datagrams: Option<f64>,
    /// Taken from the socket and thrown away.
    own_drops: f64,
    /// As the exporter says.
    reported_kernel_drops: Option<f64>,
    /// As this machine says.
    kernel_drops: Option<u64>,
    line_errors: BTreeMap<String, f64>,
    event_errors: f64,
    conflicts: f64,
}

/// What became of what was sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Losses {
    pub(super) datagrams_sent: u64,
    pub(super) lines_sent: u64,
    /// As counted by the exporter.
    pub(super) datagrams_counted: Option<f64>,
    pub(super) lines_counted: Option<f64>,
    /// In datagrams, or in lines where the exporter counts no datagrams.
    pub(super) lost: f64,
    /// Of these, because a socket buffer was full.
    pub(super) by_kernel: f64,
    /// Of these, taken by the exporter and thrown away.
    pub(super) by_exporter: f64,
    /// Of these, with nobody who says so.
    pub(super) unknown: f64,
    /// Both the kernel and the exporter count its drops, and differ so: first
    /// the kernel's.
    pub(super) kernel_disagrees: Option<(f64, f64)>,
    /// Refusals that are not as many as they should be.
    pub(super) refusals: Vec<Refusals>,
    /// Refusals that should be.
    pub(super) refused: u64,
}

/// How often something was refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Refusals {
    pub(super) reason: String,
    pub(super) want: f64,
    pub(super) got: f64,
}

// === impl Marks ===

impl Marks {
    /// Reads them from a page and from the kernel.
    pub(super) fn of(page: &Page, kernel_drops: Option<u64>) -> Marks {
        let total = |name: &str| -> Option<f64> {
            let family = page.family(name)?;
            Some(family.samples.iter().map(|sample| sample.value).sum())
        };
        let errors = page.family(LINE_ERRORS);
        let errors = errors.into_iter().flat_map(|family| &family.samples);
        Marks {
            lines: total(LINES),
            datagrams: total(DATAGRAMS),
            own_drops: total(DROPS).unwrap_or_default(),
            reported_kernel_drops: total(KERNEL_DROPS),
            kernel_drops,
            line_errors: errors
                .filter_map(|sample| Some((reason(&sample.key)?, sample.value)))
                .collect(),
            event_errors: total(EVENT_ERRORS).unwrap_or_default(),
            conflicts: total(CONFLICTS).unwrap_or_default(),
        }
    }
}

fn reason(key: &SampleKey) -> Option<String> {
    let reason = key.labels.iter().find(|(name, _)| name == "reason");
    reason.map(|(_, value)| value.clone())
}

// === impl Losses ===

impl Losses {
    /// Compares two moments with what was sent between them. `is_datagram` is
    /// false for a stream, whose datagrams nobody counts.
    pub(super) fn between(
        before: &Marks,
        after: &Marks,
        sent: &Counts,
        is_datagram: bool,
    ) -> Losses {
        let grown = |of: fn(&Marks) -> Option<f64>| {
            of(after).map(|value| value - of(before).unwrap_or_default())
        };
        let lines_counted = grown(|marks| marks.lines);
        let datagrams_counted = grown(|marks| marks.datagrams).filter(|_| is_datagram);
        let by_exporter = after.own_drops - before.own_drops;
        let kernel = grown(|marks| marks.kernel_drops.map(|drops| drops as f64));
        let reported = grown(|marks| marks.reported_kernel_drops);
        let missing_lines = lines_counted.map(|counted| sent.lines as f64 - counted);
        let lost = match datagrams_counted {
            // Those it threw away are among those it counted.
            Some(counted) => sent.datagrams as f64 - counted + by_exporter,
            None => missing_lines.unwrap_or_default(),
        };
        // A lack of lines that no lost datagram explains.
        let unexplained = match missing_lines {
            Some(missing) if lost == 0.0 || sent.lines == sent.datagrams => missing - lost,
            _ => 0.0,
        };
        let lost = lost + unexplained;
        let at_most = |drops: f64, rest: f64| drops.min(rest).max(0.0);
        let by_exporter = at_most(by_exporter, lost);
        let by_kernel = kernel.or(reported).unwrap_or_default();
        let by_kernel = at_most(by_kernel, lost - by_exporter);
        Losses {
            datagrams_sent: sent.datagrams,
            lines_sent: sent.lines,
            datagrams_counted,
            lines_counted,
            lost,
            by_kernel,
            by_exporter,
            unknown: lost - by_kernel - by_exporter,
            kernel_disagrees: kernel.zip(reported).filter(|(k, r)| k != r),
            refusals: refusals(before, after, sent),
            refused: sent.line_errors.iter().sum::<u64>() + sent.event_errors + sent.conflicts,
        }
    }

    /// Whether everything was counted and refused as it should be.
    pub(super) fn is_clean(&self) -> bool {
        self.lost == 0.0 && self.refusals.is_empty()
    }
}

/// The refusals that are not as many as they should be.
fn refusals(before: &Marks, after: &Marks, sent: &Counts) -> Vec<Refusals> {
    let errors = |marks: &Marks, reason: &str| {
        let errors = marks.line_errors.get(reason);
        errors.copied().unwrap_or_default()
    };
    let by_reason = LineError::ALL.iter().map(|error| {
        let reason = error.as_str();
        let got = errors(after, reason) - errors(before, reason);
        (reason, sent.line_errors[*error as usize], got)
    });
    let events = after.event_errors - before.event_errors;
    let conflicts = after.conflicts - before.conflicts;
    by_reason
        .chain([
            ("events_error", sent.event_errors, events),
            ("events_conflict", sent.conflicts, conflicts),
        ])
        .map(|(reason, want, got)| Refusals {
            reason: reason.to_owned(),
            want: want as f64,
            got,
        })
        .filter(|refusals| refusals.want != refusals.got)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lost, by the kernel, by the exporter, unknown.
    fn check(sent: (u64, u64), page: &str, kernel: Option<u64>, want: [f64; 4]) -> Losses {
        let before = Marks::of(&Page::default(), kernel.map(|_| 5));
        let page = Page::parse(page).expect("a page");
        let after = Marks::of(&page, kernel.map(|drops| drops + 5));
        let sent = Counts {
            datagrams: sent.0,
            lines: sent.1,
            ..Counts::default()
        };
        let losses = Losses::between(&before, &after, &sent, true);
        let Losses {
            lost,
            by_kernel,
            by_exporter,
            unknown,
            ..
        } = losses;
        assert_eq!([lost, by_kernel, by_exporter, unknown], want, "{page:?}");
        losses
    }

    fn page(datagrams: u32, lines: u32, drops: u32) -> String {
        format!("{DATAGRAMS} {datagrams}\n{LINES} {lines}\n{DROPS} {drops}\n")
    }

    #[test]
    fn losses_are_put_down_to_whoever_counts_them() {
        assert!(check((100, 100), &page(100, 100, 0), Some(0), [0.0; 4]).is_clean());
        check(
            (100, 100),
            &page(90, 90, 0),
            Some(10),
            [10.0, 10.0, 0.0, 0.0],
        );
        check((100, 100), &page(90, 90, 0), Some(4), [10.0, 4.0, 0.0, 6.0]);
        check((100, 100), &page(90, 90, 0), None, [10.0, 0.0, 0.0, 10.0]);
        // Thrown away after it was counted.
        check(
            (100, 100),
            &page(90, 85, 5),
            Some(10),
            [15.0, 10.0, 5.0, 0.0],
        );
        // Lines that went missing inside.
        check((100, 100), &page(100, 97, 0), Some(0), [3.0, 0.0, 0.0, 3.0]);
        check(
            (100, 250),
            &page(100, 240, 0),
            Some(0),
            [10.0, 0.0, 0.0, 10.0],
        );
        // Of a lost datagram's lines nobody knows how many there were.
        check((100, 250), &page(99, 247, 0), Some(1), [1.0, 1.0, 0.0, 0.0]);
        // Somebody else's datagrams were dropped too.
        check((100, 100), &page(99, 99, 0), Some(7), [1.0, 1.0, 0.0, 0.0]);
        // Somebody else sends.
        check(
            (100, 100),
            &page(101, 101, 0),
            Some(0),
            [-1.0, 0.0, 0.0, -1.0],
        );
        // No counter of datagrams.
        check(
            (100, 100),
            &format!("{LINES} 60\n"),
            Some(30),
            [40.0, 30.0, 0.0, 10.0],
        );
    }

    #[test]
    fn the_kernel_and_the_exporter_may_disagree() {
        let agree = format!("{}{KERNEL_DROPS} 10\n", page(90, 90, 0));
        let losses = check((100, 100), &agree, Some(10), [10.0, 10.0, 0.0, 0.0]);
        assert_eq!(losses.kernel_disagrees, None);
        let differ = format!("{}{KERNEL_DROPS} 8\n", page(90, 90, 0));
        let losses = check((100, 100), &differ, Some(10), [10.0, 10.0, 0.0, 0.0]);
        assert_eq!(losses.kernel_disagrees, Some((10.0, 8.0)));
        check((100, 100), &differ, None, [10.0, 8.0, 0.0, 2.0]);
    }

    #[test]
    fn refusals_are_expected_by_reason() {
        let mut sent = Counts::default();
        sent.line_errors[LineError::MalformedValue as usize] = 2;
        sent.conflicts = 1;
        let page = format!(
            "{LINE_ERRORS}{{reason=\"malformed_value\"}} 2\n\
             {LINE_ERRORS}{{reason=\"malformed_line\"}} 1\n"
        );
        let after = Marks::of(&Page::parse(&page).expect("a page"), None);
        let losses = Losses::between(&Marks::default(), &after, &sent, true);
        let found: Vec<_> = losses
            .refusals
            .iter()
            .map(|r| (&*r.reason, r.want, r.got))
            .collect();
        assert_eq!(
            found,
            [("malformed_line", 0.0, 1.0), ("events_conflict", 1.0, 0.0)]
        );
        assert_eq!(losses.refused, 3);
    }
}
