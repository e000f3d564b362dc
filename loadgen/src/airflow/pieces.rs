//! Finds the names of a cluster in lines, whatever their dialect.

use std::ops::Range;

use pitot::statsd::Parts;

use super::names::{is_known_key, tag_kind};
use super::{Kind, Names};

/// What every installation has.
const PLACES_OF_ALL: [&str; 4] = ["default", "default_pool", "dags-folder", "example_dags"];

/// Finds the pieces of lines that are not Airflow's own words.
#[derive(Debug)]
pub struct Pieces {
    names: Names,
}

impl Pieces {
    /// For a cluster whose metric names begin with `prefix` and a dot.
    pub fn new(prefix: &str) -> Pieces {
        Pieces {
            names: Names::new(prefix),
        }
    }

    /// Calls `piece` for each such piece of a datagram, from left to right.
    pub fn of_datagram(&self, datagram: &str, mut piece: impl FnMut(Range<usize>, Kind)) {
        let mut start = 0;
        for line in datagram.split('\n') {
            self.of_line(line, start, &mut piece);
            start += line.len() + 1;
        }
    }

    fn of_line(&self, line: &str, at: usize, piece: &mut impl FnMut(Range<usize>, Kind)) {
        let Some(parts) = Parts::split(line.as_bytes()) else {
            // Not a line at all: nobody knows what it says.
            if !line.is_empty() {
                piece(at..at + line.len(), Kind::Other);
            }
            return;
        };
        // Cut at ASCII characters, so these are whole characters.
        let (name, rest) = line.split_at(parts.name.len());
        match name.split_once(',') {
            Some((bare, tags)) => {
                self.of_name(bare, at, piece);
                of_tags(tags, '=', at + bare.len() + 1, piece);
            }
            None => self.of_name(name, at, piece),
        }
        let (values, sections) = rest.split_at(1 + parts.value.len());
        if !values.bytes().all(is_numeric) {
            piece(
                at + name.len() + 1..at + name.len() + values.len(),
                Kind::Other,
            );
        }
        let mut start = at + name.len() + values.len() + 1;
        for section in sections[1..].split('|') {
            of_section(section, start, piece);
            start += section.len() + 1;
        }
    }

    fn of_name(&self, name: &str, at: usize, piece: &mut impl FnMut(Range<usize>, Kind)) {
        let Some(parts) = self.names.parts(name) else {
            let prefix = self.names.prefix();
            let kept = if name.starts_with(prefix) {
                prefix.len()
            } else {
                0
            };
            return piece(at + kept..at + name.len(), Kind::Other);
        };
        for (range, kind) in parts {
            if kind != Kind::Place || !PLACES_OF_ALL.contains(&&name[range.clone()]) {
                piece(at + range.start..at + range.end, kind);
            }
        }
    }
}

/// Type, sampling rate, tags and what Datadog's client adds.
fn of_section(section: &str, at: usize, piece: &mut impl FnMut(Range<usize>, Kind)) {
    if let Some(tags) = section.strip_prefix('#') {
        return of_tags(tags, ':', at + 1, piece);
    }
    let is_type = matches!(section, "c" | "g" | "ms" | "h" | "d" | "s");
    let number = section.strip_prefix(['@', 'T']);
    let is_number = number.is_some_and(|number| number.bytes().all(is_numeric));
    if is_type || is_number || section.is_empty() {
        return;
    }
    // A container's id and the like keep what says that they are one.
    let kept = section.find(':').map_or(0, |colon| colon + 1);
    piece(at + kept..at + section.len(), Kind::Other);
}

fn of_tags(tags: &str, is: char, mut at: usize, piece: &mut impl FnMut(Range<usize>, Kind)) {
    for tag in tags.split(',') {
        let (key, value) = tag.split_once(is).unwrap_or((tag, ""));
        if !is_known_key(key) && !key.is_empty() {
            piece(at..at + key.len(), Kind::Other);
        }
        let kind = tag_kind(key);
        let is_common = kind == Some(Kind::Place) && PLACES_OF_ALL.contains(&value);
        if let Some(kind) = kind.filter(|_| !value.is_empty() && !is_common) {
            piece(at + key.len() + 1..at + tag.len(), kind);
        }
        at += tag.len() + 1;
    }
}

fn is_numeric(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E' | b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The datagram with its pieces in brackets.
    fn marked(datagram: &str) -> String {
        let mut marked = String::new();
        let mut end = 0;
        Pieces::new("airflow").of_datagram(datagram, |range, _| {
            marked.push_str(&datagram[end..range.start]);
            marked.push_str(&format!("[{}]", &datagram[range.clone()]));
            end = range.end;
        });
        marked + &datagram[end..]
    }

    #[test]
    fn pieces_of_every_dialect() {
        for expected in [
            "airflow.ti.start:1|c",
            "airflow.ti.start.[a].[b.c]:1|c\n",
            "airflow.ti.start:1|c|#dag_id:[a.x],task_id:[b],[mine]:[prod]\n",
            "airflow.ti.start,dag_id=[a],task_id=[b]:1|c",
            "airflow.ti.finish:1|c|#dag_id:[a],task_id:[b],state:success,env:[prod]",
            "airflow.pool.open_slots.default_pool:3|g|#pool_name:default_pool",
            "airflow.pool.open_slots.[small]:-3|g\nairflow.pool.open_slots:1e-05|g",
            "airflow.[custom.orders]:1|c|@0.5",
            "[other.thing]:1|ms",
            "airflow.job_end:[x]|c|[zzz]",
            "airflow.job_end:1|c|c:[deadbeef]|T12",
            "[nonsense]",
            "",
            "airflow.job_end:1|c|#dag_id:,[flag]",
        ] {
            let plain = expected.replace(['[', ']'], "");
            assert_eq!(marked(&plain), expected);
        }
    }
}
