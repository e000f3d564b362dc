//! Random mapping files, from the same small alphabets as the lines, so that
//! most lines match something and rules compete.

use pitot::statsd::StatType;
use rand::RngExt;
use rand::rngs::SmallRng;

use super::lines::{SEGMENTS, TAG_KEYS};
use super::{avoid, pick};

/// A mapping file in pieces, so that rules can be left out.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// What comes before the rules, some of it rules too; empty for no mapping
    /// file.
    pub head: String,
    /// In order.
    pub rules: Vec<Rule>,
}

/// One rule: its text, and what [`avoid`] must know of it.
#[derive(Clone, Debug)]
pub struct Rule {
    /// A list item of YAML on one line.
    pub text: String,
    /// The value of `match`.
    pub pattern: String,
    /// Not a regular expression.
    pub is_glob: bool,
    /// The value of `match_metric_type`.
    pub stat: Option<StatType>,
    /// It adds labels.
    pub has_labels: bool,
    /// It multiplies by zero.
    pub zeroes: bool,
}

/// The head of a file without defaults.
pub const HEAD: &str = "mappings:\n";

/// Two rules that match nothing here and make the reference backtrack, which
/// without order it does only if some rules make it. Pitot always does.
const BACKTRACKING: &str = "\
- {match: zz.*.q.q.q.q, match_type: glob, name: zz}
- {match: zz.y.r.r.r.r, match_type: glob, name: zz}
";

/// With names that only literal rules have, and always this text: two help
/// texts for one name poison the reference.
const HELPED: (&str, &str) = ("m_helped", "Text with \\ and \" and 'é'.");

const NAMES: [&str; 16] = [
    "m_one",
    "m_two",
    "m_one",
    "m_two",
    "m_$1",
    "m_$2",
    "m_${1}",
    "m_${1}_x",
    "m_$1_foo",
    "m_${1}${2}",
    "m_$1$2",
    "m_${2}_${1}",
    "m_$01",
    "m_$0",
    "m_$3",
    "${1}",
];

const LABEL_VALUES: [&str; 14] = [
    "$1", "${1}", "$2", "${2}_x", "const", "", "$1-$2", "${1}${2}", "$1$2", "$$", "$", "$1 é",
    "${1", "$nn",
];

/// Where Go's dialect and that of Rust's `regex` part, among plain ones.
const REGEXES: [&str; 28] = [
    ".*",
    "^(.*)$",
    r"^(\w+)\.(\w+)$",
    r"(\w*)\.(.*)",
    "b$",
    "^a",
    r"([ab]+)(\d)?",
    r"\bdag\b",
    "[^.]+",
    "(?i)A_B",
    r"[[:alpha:]]+\.(.*)",
    "[a&&b]",
    r"\Qa.b\E",
    "a{,2}",
    "a{1,2}b?",
    r"(?P<nn>[a-x]+)\.(\w+)",
    "(?U)a+(.*)",
    r"[\w-]+-f",
    "(a|ab)(.*)",
    "",
    r"\.9",
    "x{1}1",
    "[]a]b",
    "[a[b]",
    r"\<|a",
    "é",
    r"(\D+)\.(\S*)",
    r"^(?:task|dag)_?(\d)",
];

/// A random mapping file; now and then none.
pub fn rules(rng: &mut SmallRng) -> Rules {
    if rng.random_bool(0.1) {
        return Rules::default();
    }
    loop {
        let rules = any_rules(rng);
        if avoid::rules(&rules).is_none() {
            return rules;
        }
    }
}

fn any_rules(rng: &mut SmallRng) -> Rules {
    let defaults = Defaults {
        is_regex: rng.random_bool(0.1),
        unordered: rng.random_bool(0.2),
    };
    let rules: Vec<Rule> = (0..rng.random_range(0..12))
        .map(|_| rule(rng, &defaults))
        .collect();
    let backtracking = if defaults.unordered { BACKTRACKING } else { "" };
    let head = format!("{}{HEAD}{backtracking}", defaults.text(rng));
    Rules { head, rules }
}

struct Defaults {
    is_regex: bool,
    unordered: bool,
}

impl Defaults {
    fn text(&self, rng: &mut SmallRng) -> String {
        let mut fields = Fields::default();
        if self.is_regex {
            fields.add("match_type", "regex");
        }
        if self.unordered {
            fields.add("glob_disable_ordering", "true");
        }
        if rng.random_bool(0.3) {
            fields.add("observer_type", pick(rng, &["histogram", "summary"]));
        }
        if rng.random_bool(0.2) {
            fields.add("histogram_options", &buckets(rng));
        }
        if rng.random_bool(0.2) {
            fields.add("summary_options", &quantiles(rng));
        }
        if fields.0.is_empty() {
            return String::new();
        }
        format!("defaults: {}\n", fields.text())
    }
}

fn rule(rng: &mut SmallRng, defaults: &Defaults) -> Rule {
    let is_glob = rng.random_bool(0.7);
    let pattern = if is_glob {
        glob(rng)
    } else {
        pick(rng, &REGEXES).to_owned()
    };
    let mut fields = Fields::default();
    fields.add("match", &quoted(&pattern));
    if is_glob == defaults.is_regex {
        fields.add("match_type", if is_glob { "glob" } else { "regex" });
    }
    if rng.random_bool(0.1) {
        fields.add("name", HELPED.0);
        fields.add("help", &quoted(HELPED.1));
    } else {
        fields.add("name", &quoted(pick(rng, &NAMES)));
    }
    let stat = rng.random_bool(0.25).then(|| pick(rng, &StatType::ALL));
    if let Some(stat) = stat {
        fields.add("match_metric_type", stat.as_str());
    }
    let has_labels = rng.random_bool(0.4);
    if has_labels {
        fields.add("labels", &labels(rng));
        if rng.random_bool(0.3) {
            fields.add("honor_labels", "true");
        }
    }
    if rng.random_bool(0.1) {
        fields.add("action", pick(rng, &["drop", "drop", "map", "\"\""]));
    }
    let mut zeroes = false;
    if rng.random_bool(0.1) {
        let scale = pick(rng, &["2", "0.5", "0", "-1", "1e-6", "1000", "0x10"]);
        fields.add("scale", scale);
        zeroes = scale == "0";
    }
    match rng.random_range(0..10) {
        0 => {
            fields.add("observer_type", "histogram");
            fields.add("histogram_options", &buckets(rng));
        }
        1 => fields.add("observer_type", "histogram"),
        2 => {
            fields.add("observer_type", "summary");
            fields.add("summary_options", &quantiles(rng));
        }
        _ => {}
    }
    if rng.random_bool(0.01) {
        // Both must refuse the file.
        let (key, value) = pick(rng, &[("unknown", "1"), ("ttl", "soon"), ("scale", "much")]);
        fields.add(key, value);
    }
    Rule {
        text: format!("- {}\n", fields.text()),
        pattern,
        is_glob,
        stat,
        has_labels,
        zeroes,
    }
}

fn glob(rng: &mut SmallRng) -> String {
    let segments = (0..rng.random_range(1..=4)).map(|index| {
        let segment = pick(rng, &SEGMENTS);
        let may_begin = index > 0 || !segment.starts_with(|c: char| c.is_ascii_digit());
        if may_begin && rng.random_bool(0.5) {
            segment
        } else {
            "*"
        }
    });
    segments.collect::<Vec<_>>().join(".")
}

fn labels(rng: &mut SmallRng) -> String {
    let mut fields = Fields::default();
    for key in TAG_KEYS {
        if rng.random_bool(0.3) {
            fields.add(key, &quoted(pick(rng, &LABEL_VALUES)));
        }
    }
    fields.text()
}

fn buckets(rng: &mut SmallRng) -> String {
    let lists = [
        "[1]",
        "[0.5, 1, 10]",
        "[-1, 0, 2.5]",
        "[.005, 1, +.inf]",
        "[]",
        "[1, 1e6]",
    ];
    format!("{{buckets: {}}}", pick(rng, &lists))
}

fn quantiles(rng: &mut SmallRng) -> String {
    let mut fields = Fields::default();
    if rng.random_bool(0.8) {
        let list = ["0.5", "0.9", "0.25", "0", "1", "0.999"].into_iter();
        let list = list.filter(|_| rng.random_bool(0.4));
        let list = list.map(|q| format!("{{quantile: {q}, error: 0.01}}"));
        fields.add(
            "quantiles",
            &format!("[{}]", list.collect::<Vec<_>>().join(", ")),
        );
    }
    if rng.random_bool(0.3) {
        fields.add("max_age", pick(rng, &["10m", "1h30m"]));
        fields.add("age_buckets", pick(rng, &["1", "3"]));
    }
    fields.text()
}

/// The fields of a YAML mapping in flow style.
#[derive(Default)]
struct Fields(Vec<String>);

impl Fields {
    fn add(&mut self, key: &str, value: &str) {
        self.0.push(format!("{key}: {value}"));
    }

    fn text(&self) -> String {
        format!("{{{}}}", self.0.join(", "))
    }
}

/// A YAML scalar in single quotes, in which only they are special.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
