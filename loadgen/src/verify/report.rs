//! What `verify` says.

use std::fmt;

use indicatif::HumanCount;
use serde_json::{Value, json};

use super::Sent;
use super::judge::Judgement;
use super::losses::Losses;

/// What was sent, what arrived, and who lost the rest.
#[derive(Debug)]
pub struct Report {
    pub(super) sent: Sent,
    pub(super) losses: Losses,
    pub(super) judgement: Judgement,
    /// Differences to print at most.
    pub(super) show: usize,
}

impl Report {
    /// Whether everything was sent, arrived, and nothing else did.
    pub fn is_clean(&self) -> bool {
        self.sent.trouble.is_none() && self.losses.is_clean() && self.judgement.is_clean()
    }

    /// What went missing between sender and page, in datagrams.
    pub fn lost(&self) -> f64 {
        self.losses.lost
    }

    /// The whole of it.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "clean": self.is_clean(),
            "trouble": self.sent.trouble,
            "losses": self.losses,
            "judgement": self.judgement,
        })
    }

    fn write_losses(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let losses = &self.losses;
        let (datagrams, lines) = (losses.datagrams_sent, losses.lines_sent);
        let counted = |count: Option<f64>| count.map_or("?".to_owned(), human);
        writeln!(
            f,
            "sent       {} datagrams, {} lines",
            HumanCount(datagrams),
            HumanCount(lines)
        )?;
        writeln!(
            f,
            "counted    {} datagrams, {} lines",
            counted(losses.datagrams_counted),
            counted(losses.lines_counted)
        )?;
        if losses.lost < 0.0 {
            let more = human(-losses.lost);
            writeln!(
                f,
                "lost       none, but {more} more came: somebody else sends too"
            )?;
        } else {
            let part = 100.0 * losses.lost / (datagrams as f64).max(1.0);
            let [lost, kernel, exporter, unknown] = [
                losses.lost,
                losses.by_kernel,
                losses.by_exporter,
                losses.unknown,
            ]
            .map(human);
            writeln!(
                f,
                "lost       {lost} ({part:.3} %): {kernel} by the kernel (socket buffer full), \
                 {exporter} by the exporter, {unknown} unknown"
            )?;
        }
        if let Some((kernel, exporter)) = losses.kernel_disagrees {
            let (kernel, exporter) = (human(kernel), human(exporter));
            writeln!(
                f,
                "           the kernel counts {kernel} drops, the exporter {exporter} of them"
            )?;
        }
        let refused = HumanCount(losses.refused);
        writeln!(f, "refused    {refused} lines and events should be")?;
        for refusals in &losses.refusals {
            let (got, want) = (human(refusals.got), human(refusals.want));
            writeln!(f, "           {}: {got}, want {want}", refusals.reason)?;
        }
        Ok(())
    }

    fn write_more(&self, f: &mut fmt::Formatter<'_>, count: usize) -> fmt::Result {
        match count.saturating_sub(self.show) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more"),
        }
    }

    fn write_families(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let families = &self.judgement.families;
        let mut differ: Vec<_> = families.iter().collect();
        differ.retain(|(_, family)| family.differences > 0);
        writeln!(
            f,
            "families   {} of {} as sent, {} series",
            families.len() - differ.len(),
            families.len(),
            HumanCount(self.judgement.series as u64)
        )?;
        for (name, family) in differ.iter().take(self.show) {
            let (kind, series) = (&family.kind, family.series);
            let (sent, arrived) = (human(family.sent), human(family.arrived));
            let missing = human(family.sent - family.arrived);
            let differences = family.differences;
            write!(f, "  {name} ({kind}, {series} series): ")?;
            match &**kind {
                "gauge" => writeln!(f, "{differences} differ")?,
                _ => writeln!(f, "{sent} sent, {arrived} arrived, {missing} missing")?,
            }
        }
        self.write_more(f, differ.len())?;
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_losses(f)?;
        self.write_families(f)?;
        let judgement = &self.judgement;
        writeln!(f, "differ     {} samples", judgement.differences.len())?;
        for difference in judgement.differences.iter().take(self.show) {
            writeln!(f, "  {difference}")?;
        }
        self.write_more(f, judgement.differences.len())?;
        if !judgement.overtaken.is_empty() {
            writeln!(
                f,
                "overtaken  {} gauges show the last value of another source",
                judgement.overtaken.len()
            )?;
        }
        if let Some(trouble) = &self.sent.trouble {
            writeln!(f, "\nNot all could be sent:\n{trouble}")?;
        }
        let verdict = if self.is_clean() {
            "Everything that was sent arrived, and nothing else."
        } else {
            "NOT everything that was sent arrived as it was sent."
        };
        writeln!(f, "{verdict}")
    }
}

/// A count that may be a fraction, as increments of sampled counters are.
fn human(count: f64) -> String {
    if count >= 0.0 && count.fract() == 0.0 {
        return HumanCount(count as u64).to_string();
    }
    let rounded = format!("{count:.3}");
    rounded
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}
