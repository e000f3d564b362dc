//! Replaces the names of a cluster by pseudonyms, so that its traffic can be
//! shown around.
//!
//! What is not one of Airflow's own words is replaced: ids of DAGs, tasks, runs
//! and jobs, names of pools, queues, hosts and files, user code's own metrics,
//! the values of constant tags. What is (metric names, states, operators' and
//! executors' classes, the names that every installation has) stays, so that a
//! mapping does with the pseudonyms what it does with the names.
//!
//! A pseudonym has its name's shape: every letter becomes a letter of the same
//! case, every digit a digit, and the rest stays where it is. Names are replaced
//! between their dots and slashes, piece by piece, and `__` counts as a dot:
//! Airflow 3 writes `team.orders` as `team__orders` in a metric's name and not in
//! a tag, and both must go on meaning the same.

mod cipher;

use std::collections::HashMap;

use crate::airflow::Pieces;
use cipher::Cipher;

/// So many pieces are remembered, as replacing one takes microseconds.
const REMEMBERED_MAX: usize = 1 << 20;

/// Replaces names in datagrams. The same key gives the same pseudonyms.
#[derive(Debug)]
pub struct Anonymizer {
    pieces: Pieces,
    cipher: Cipher,
    known: HashMap<Box<str>, Box<str>>,
}

impl Anonymizer {
    /// For a cluster whose metric names begin with `prefix` and a dot.
    pub fn new(prefix: &str, key: &str) -> Anonymizer {
        Anonymizer {
            pieces: Pieces::new(prefix),
            cipher: Cipher::new(key),
            known: HashMap::new(),
        }
    }

    /// The datagram with pseudonyms; `None` if it is not text, for then nobody
    /// knows what it gives away.
    pub fn datagram(&mut self, payload: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(payload).ok()?;
        let mut pieces = Vec::new();
        self.pieces.of_datagram(text, |range, _| pieces.push(range));
        let mut out = String::with_capacity(text.len());
        let mut end = 0;
        for range in pieces {
            out.push_str(&text[end..range.start]);
            end = range.end;
            self.name(&text[range], &mut out);
        }
        out.push_str(&text[end..]);
        Some(out)
    }

    /// Appends the pseudonym of a name.
    fn name(&mut self, name: &str, out: &mut String) {
        let mut start = 0;
        while start < name.len() {
            let rest = &name[start..];
            let end = ["__", ".", "/"]
                .iter()
                .filter_map(|separator| Some((rest.find(separator)?, separator.len())))
                .min();
            let (end, separator) = end.unwrap_or((rest.len(), 0));
            self.unit(&rest[..end], out);
            out.push_str(&rest[end..end + separator]);
            start += end + separator;
        }
    }

    fn unit(&mut self, unit: &str, out: &mut String) {
        if let Some(pseudonym) = self.known.get(unit) {
            return out.push_str(pseudonym);
        }
        let pseudonym = self.cipher.pseudonym(unit);
        out.push_str(&pseudonym);
        if self.known.len() >= REMEMBERED_MAX {
            self.known.clear();
        }
        self.known.insert(unit.into(), pseudonym.into());
    }
}

/// A key that nobody knows, not even its user.
pub fn random_key() -> anyhow::Result<String> {
    use rand::TryRng;
    let mut rng = rand::rngs::SysRng;
    Ok(format!(
        "{:016x}{:016x}",
        rng.try_next_u64()?,
        rng.try_next_u64()?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn anonymized(lines: &[&str]) -> Vec<String> {
        let mut anonymizer = Anonymizer::new("airflow", "a key");
        let lines = lines
            .iter()
            .map(|line| anonymizer.datagram(line.as_bytes()));
        lines.map(|line| line.expect("text")).collect()
    }

    /// A letter's case, a digit, or the character itself.
    fn shape(text: &str) -> String {
        let class = |c: char| match c {
            'a'..='z' => 'a',
            'A'..='Z' => 'A',
            '0'..='9' => '0',
            c if c.is_ascii() => c,
            c => char::from_digit(c.len_utf8() as u32, 10).unwrap_or(c),
        };
        text.chars().map(class).collect()
    }

    #[test]
    fn a_name_is_the_same_everywhere() {
        let lines = anonymized(&[
            "airflow.ti.start.team-a__orders.load_all:1|c",
            "airflow.ti.start.team-a.orders.load_all:1|c",
            "airflow.ti.start:1|c|#dag_id:team-a.orders,task_id:load_all",
            "airflow.ti.start,dag_id=team-a.orders,task_id=load_all:1|c",
        ]);
        let names: HashSet<String> = lines
            .iter()
            .map(|line| {
                let line = line.replace("__", ".").replace(",task_id=", ".");
                let line = line.replace(",task_id:", ".");
                let line = line.trim_start_matches("airflow.ti.start");
                let line = line.trim_start_matches(":1|c|#dag_id:");
                let line = line.trim_start_matches(",dag_id=").trim_start_matches('.');
                line.trim_end_matches(":1|c").to_owned()
            })
            .collect();
        assert_eq!(names.len(), 1, "{lines:?}");
        let name = names.into_iter().next().expect("one");
        assert_eq!(shape(&name), shape("team-a.orders.load_all"));
        for part in ["team", "orders", "load", "all"] {
            assert!(!name.contains(part), "{name}");
        }
    }

    #[test]
    fn own_words_stay() {
        for line in [
            "airflow.operator_successes_PythonOperator:1|c",
            "airflow.executor.open_slots:8|g|#status:open,executor_class_name:LocalExecutor",
            "airflow.pool.open_slots.default_pool:128|g\nairflow.pool.open_slots:-1|g\n",
            "airflow.ti.finish:0|c|#state:up_for_retry,operator:BashOperator",
            "datadog.dogstatsd.client.metrics:1|c|#client:py,client_version:0.56.0",
        ] {
            assert_eq!(anonymized(&[line]), [line]);
        }
    }

    #[test]
    fn keys_matter_and_binary_is_refused() {
        let line = b"airflow.ti.start.orders_of_customers.load:1|c";
        let with = |key: &str| Anonymizer::new("airflow", key).datagram(line);
        assert_eq!(with("a"), with("a"));
        assert_ne!(with("a"), with("b"));
        let mut anonymizer = Anonymizer::new("airflow", "a");
        assert_eq!(anonymizer.datagram(b"\xff:1|c"), None);
        assert_ne!(random_key().expect("a key"), random_key().expect("a key"));
    }

    proptest! {
        #[test]
        fn shape_stays_and_names_stay_distinct(
            names in prop::collection::hash_set("[a-zA-Z0-9_./ é-]{1,12}", 1..40),
        ) {
            let mut anonymizer = Anonymizer::new("airflow", "k");
            let mut pseudonyms = HashSet::new();
            for name in &names {
                let mut out = String::new();
                anonymizer.name(name, &mut out);
                prop_assert_eq!(shape(&out), shape(name));
                prop_assert_eq!(out.len(), name.len());
                let mut again = String::new();
                Anonymizer::new("airflow", "k").name(name, &mut again);
                prop_assert_eq!(&out, &again);
                if name.is_ascii() {
                    prop_assert!(pseudonyms.insert(out));
                }
            }
        }

        #[test]
        fn any_text_keeps_its_lines_and_length(text in "\\PC{0,60}") {
            let out = Anonymizer::new("airflow", "k").datagram(text.as_bytes());
            let out = out.expect("text");
            prop_assert_eq!(out.len(), text.len());
        }
    }
}
