//! Steps as text.

use std::fmt::{self, Write};

use super::staircase::Trial;
use super::step::Step;
use crate::machine::Machine;

/// Later than this for one call in a hundred, and the load came in bursts.
const LATE_TOLERATED_US: u64 = 10_000;

impl Step {
    /// What it tells a search.
    pub fn trial(&self) -> Trial {
        Trial {
            rate: self.rate_sent,
            lossy: self.lines_lost > 0.0,
            sender_too_slow: self.sender_too_slow,
        }
    }

    /// What the numbers alone do not say; empty if all is well.
    pub fn remarks(&self) -> String {
        let mut remarks = Vec::new();
        if self.sender_too_slow {
            remarks.push("THE SENDER WAS THE BOTTLENECK".to_owned());
        } else if self.sender_late_us[1] > LATE_TOLERATED_US {
            let ms = self.sender_late_us[1] / 1000;
            remarks.push(format!("the sender sent in bursts, up to {ms} ms late"));
        }
        if self.lines_lost > 0.0 && self.kernel_drops.is_some_and(|drops| drops > 0.0) {
            remarks.push("socket buffer too small".to_owned());
        }
        if self.own_drops > 0.0 {
            remarks.push(format!("{} thrown away by itself", self.own_drops));
        }
        if self.scrape_errors > 0 {
            remarks.push(format!("{} scrapes failed", self.scrape_errors));
        }
        remarks.extend(self.send_error.clone());
        remarks.join("; ")
    }
}

/// The machine, in a line.
pub fn head(f: &mut impl Write, machine: &Machine) -> fmt::Result {
    writeln!(
        f,
        "{}, {} cores; Linux {}; net.core.rmem_max {}",
        machine.cpu, machine.cores, machine.kernel, machine.rmem_max
    )
}

/// User and system time of some steps, from their total and the ticks of all.
pub fn split(total_us: f64, steps: &[&Step]) -> Option<[f64; 2]> {
    let ticks = |mode: usize| steps.iter().map(|step| step.cpu_ticks[mode]).sum::<u64>() as f64;
    let (user, system) = (ticks(0), ticks(1));
    let all = user + system;
    (all > 0.0).then(|| [total_us * user / all, total_us * system / all])
}

/// Steps, one a line.
pub fn steps(f: &mut impl Write, steps: &[Step]) -> fmt::Result {
    writeln!(
        f,
        "{:>9} {:>9} {:>10} {:>9}  {:>8} {:>7} {:>7} {:>6}  {:>7}  {:>22}",
        "asked/s",
        "sent/s",
        "lost",
        "kernel",
        "µs/line",
        "user",
        "system",
        "core",
        "MiB",
        "scrape ms 50/99/100 %"
    )?;
    for step in steps {
        let kernel = step
            .kernel_drops
            .map_or("?".to_owned(), |drops| drops.to_string());
        let cost = if step.lines_counted > 0.0 {
            step.cpu_us_per_line
        } else {
            0.0
        };
        let [user, system] = match split(cost, &[step]) {
            Some(parts) => parts.map(|us| format!("{us:.2}")),
            None => ["?".to_owned(), "?".to_owned()],
        };
        let scrape = step.scrape_us.map_or("-".to_owned(), |us| {
            us.map(|us| format!("{:.1}", us as f64 / 1e3)).join(" / ")
        });
        writeln!(
            f,
            "{:>9.0} {:>9.0} {:>10.0} {kernel:>9}  {cost:>8.2} {user:>7} {system:>7} {:>5.1}%  {:>7.1}  {scrape:>22}  {}",
            step.rate_asked,
            step.rate_sent,
            step.lines_lost,
            100.0 * step.cpu_of_core,
            step.resident_bytes as f64 / f64::from(1 << 20),
            step.remarks(),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_name_the_bottleneck() {
        assert_eq!(Step::default().remarks(), "");
        let step = Step {
            sender_too_slow: true,
            lines_lost: 3.0,
            kernel_drops: Some(3.0),
            ..Step::default()
        };
        assert_eq!(
            step.remarks(),
            "THE SENDER WAS THE BOTTLENECK; socket buffer too small"
        );
        let step = Step {
            sender_late_us: [5, 12_000],
            ..Step::default()
        };
        assert!(step.remarks().contains("12 ms late"));
    }

    #[test]
    fn the_split_is_of_all_steps_together() {
        let step = |user, system| Step {
            cpu_ticks: [user, system],
            ..Step::default()
        };
        let steps = [step(1, 0), step(0, 3)];
        let steps: Vec<&Step> = steps.iter().collect();
        assert_eq!(split(8.0, &steps), Some([2.0, 6.0]));
        assert_eq!(split(8.0, &[&step(0, 0)]), None);
    }
}
