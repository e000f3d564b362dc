//! Rules of this code base that the compiler does not check: who may import
//! whom, that each file says what it is, where `unsafe` may stand, and how long
//! a file may be.
//!
//! The rules look at tokens and not at text, so comments and strings may say
//! what they like.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

/// Who may import whom. A module may always import itself; what no row names
/// may import nothing. Data moves one way: a stage knows the vocabulary of the
/// stages before it, never its user.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    // The edge: flags, settings, wiring, and what the program does besides.
    (
        "main",
        &[
            "cli",
            "config",
            "explain",
            "exporter",
            "log",
            "panics",
            "rule_source",
        ],
    ),
    (
        "exporter",
        &[
            "cli",
            "config",
            "handles",
            "http",
            "log",
            "mapping",
            "panics",
            "receive",
            "registry",
            "relay",
            "render",
            "rule_source",
            "statsd",
            "sys",
            "telemetry",
            "worker",
        ],
    ),
    ("explain", &["mapping", "registry", "statsd", "telemetry"]),
    ("rule_source", &["cli", "config", "mapping", "panics"]),
    (
        "config",
        &[
            "cli",
            "http",
            "log",
            "mapping",
            "receive",
            "registry",
            "relay",
            "statsd",
            "telemetry",
            "worker",
        ],
    ),
    // For the words that their flags choose from.
    ("cli", &["log", "mapping", "receive", "statsd"]),
    ("log", &[]),
    ("panics", &[]),
    // The way of a sample. The worker alone joins the stages.
    ("receive", &["sys"]),
    ("statsd", &[]),
    ("mapping", &["registry", "statsd"]),
    ("registry", &[]),
    ("handles", &["registry", "statsd"]),
    ("relay", &["telemetry"]),
    (
        "worker",
        &[
            "handles",
            "mapping",
            "receive",
            "registry",
            "relay",
            "statsd",
            "telemetry",
        ],
    ),
    // The way of a scrape.
    ("render", &["registry", "telemetry"]),
    ("http", &["registry", "render", "telemetry"]),
    // For the reasons that are labels of its counters.
    ("telemetry", &["statsd"]),
    ("sys", &[]),
    // The other program: it speaks the wire format, receives as Pitot does, and
    // knows what Pitot's rules make of a line.
    (
        "loadgen",
        &[
            "cli",
            "config",
            "mapping",
            "receive",
            "registry",
            "rule_source",
            "statsd",
            "sys",
            "telemetry",
        ],
    ),
];

/// Vocabulary that every module may import: they import nothing themselves.
const FOR_ALL: &[&str] = &["clock", "go_duration"];

/// The most lines of a file.
const LINES_MAX: usize = 600;

#[test]
fn modules_import_only_what_they_may() {
    let mut found = Vec::new();
    for file in Source::all(&["src", "loadgen/src"]) {
        let module = file.module();
        for import in file.imports() {
            let is_allowed = import == module
                || FOR_ALL.contains(&&*import)
                || MAY_IMPORT
                    .iter()
                    .any(|(name, allowed)| *name == module && allowed.contains(&&*import));
            if !is_allowed {
                found.push(format!("{}: {module} may not import {import}", file.name));
            }
        }
    }
    assert_none(&found);
}

#[test]
fn every_file_says_what_it_is() {
    let silent = Source::all(&["src", "loadgen", "tests", "benches", "fuzz"])
        .into_iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| format!("{}: the first line is not //!", file.name));
    assert_none(&silent.collect::<Vec<_>>());
}

#[test]
fn unsafe_code_stays_behind_its_fence() {
    let loose = Source::all(&["src", "loadgen", "tests", "benches", "fuzz"])
        .into_iter()
        .filter(|file| !file.name.starts_with("src/sys/"))
        .filter(|file| has_word(&file.tokens(), "unsafe"))
        .map(|file| format!("{}: unsafe outside src/sys/", file.name));
    assert_none(&loose.collect::<Vec<_>>());
}

#[test]
fn no_file_is_too_long() {
    let long = Source::all(&["src", "loadgen", "tests", "benches", "fuzz"])
        .into_iter()
        .map(|file| (file.text.lines().count(), file.name))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .map(|(lines, name)| format!("{name}: {lines} lines"));
    assert_none(&long.collect::<Vec<_>>());
}

fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// A file of Rust code.
struct Source {
    /// Its path from the top of the repository.
    name: String,
    text: String,
}

impl Source {
    /// All below some directories, those that exist.
    fn all(directories: &[&str]) -> Vec<Source> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut pending: Vec<PathBuf> = directories.iter().map(|name| root.join(name)).collect();
        let mut sources = Vec::new();
        while let Some(path) = pending.pop() {
            if path.is_dir() {
                let entries = fs::read_dir(&path).expect("a directory");
                pending.extend(entries.map(|entry| entry.expect("an entry").path()));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).expect("below the root");
                sources.push(Source {
                    name: name.to_str().expect("a plain name").to_owned(),
                    text: fs::read_to_string(&path).expect("text"),
                });
            }
        }
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        sources
    }

    /// The module it belongs to, of those directly below the crate's root.
    fn module(&self) -> &str {
        let inside = match self.name.strip_prefix("src/") {
            Some(inside) => inside,
            None => return self.name.split('/').next().unwrap_or_default(),
        };
        let first = inside.split('/').next().unwrap_or_default();
        first.trim_end_matches(".rs")
    }

    /// How many `super` lead from it to the crate's root.
    fn depth(&self) -> usize {
        let is_root = self.name.ends_with("/mod.rs");
        self.name.split('/').count() - 1 - usize::from(is_root)
    }

    fn tokens(&self) -> Vec<TokenTree> {
        let stream: TokenStream = self.text.parse().expect(&self.name);
        stream.into_iter().collect()
    }

    /// The modules directly below the library's root that its paths lead to.
    fn imports(&self) -> BTreeSet<String> {
        let is_outside = self.name == "src/main.rs" || !self.name.starts_with("src/");
        let mut imports = BTreeSet::new();
        if is_outside {
            collect_imports(&self.tokens(), "pitot", NEVER, &mut imports);
        } else {
            collect_imports(&self.tokens(), "crate", self.depth(), &mut imports);
        }
        imports
    }
}

/// A depth for files outside the library: no `super` leads there.
const NEVER: usize = usize::MAX / 2;

/// Adds the first module of each path that starts at `root`, or with the
/// `depth` times `super` that lead there too.
fn collect_imports(tokens: &[TokenTree], root: &str, depth: usize, imports: &mut BTreeSet<String>) {
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            let opens_module = at >= 2 && is_word(&tokens[at - 2], "mod");
            let inside: Vec<TokenTree> = group.stream().into_iter().collect();
            collect_imports(&inside, root, depth + usize::from(opens_module), imports);
        }
        match after_root(&tokens[at..], root, depth) {
            Some([TokenTree::Ident(module), ..]) => {
                imports.insert(module.to_string());
            }
            Some([TokenTree::Group(list), ..]) => {
                let items: Vec<TokenTree> = list.stream().into_iter().collect();
                let items =
                    items.split(|token| matches!(token, TokenTree::Punct(p) if p.as_char() == ','));
                imports.extend(items.filter_map(|item| Some(item.first()?.to_string())));
            }
            _ => {}
        }
    }
}

fn after_root<'a>(
    mut tokens: &'a [TokenTree],
    root: &str,
    depth: usize,
) -> Option<&'a [TokenTree]> {
    if let Some(rest) = after_segment(tokens, root) {
        return Some(rest);
    }
    for _ in 0..depth {
        tokens = after_segment(tokens, "super")?;
    }
    Some(tokens)
}

/// What follows `segment::`.
fn after_segment<'a>(tokens: &'a [TokenTree], segment: &str) -> Option<&'a [TokenTree]> {
    let is_colon = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ':');
    match tokens {
        [word, a, b, rest @ ..] if is_word(word, segment) && is_colon(a) && is_colon(b) => {
            Some(rest)
        }
        _ => None,
    }
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

fn has_word(tokens: &[TokenTree], word: &str) -> bool {
    tokens.iter().any(|token| match token {
        TokenTree::Group(group) => {
            let inside: Vec<TokenTree> = group.stream().into_iter().collect();
            has_word(&inside, word)
        }
        token => is_word(token, word),
    })
}

#[test]
fn imports_are_found_in_every_shape() {
    let file = |name: &str, text: &str| {
        let (name, text) = (name.to_owned(), text.to_owned());
        Source { name, text }
            .imports()
            .into_iter()
            .collect::<Vec<_>>()
    };
    let inside = "use crate::a::B; use crate::{b::{c, d}, e}; fn f() { crate::g::h(\"crate::x\") }";
    assert_eq!(file("src/m/n.rs", inside), ["a", "b", "e", "g"]);
    let supers = "use super::a; use super::super::b; mod t { use super::super::c; use super::super::super::d; }";
    assert_eq!(file("src/m/n.rs", supers), ["b", "d"]);
    assert_eq!(
        file(
            "src/m/n/tests.rs",
            "use super::super::a; use super::super::super::b;"
        ),
        ["b"]
    );
    assert_eq!(
        file("src/m/mod.rs", "use super::a; mod t { use super::b; }"),
        ["a"]
    );
    assert_eq!(
        file("src/m.rs", "// crate::x\nuse super::{a, b};"),
        ["a", "b"]
    );
    assert_eq!(
        file(
            "loadgen/src/m.rs",
            "use crate::a; use super::b; use pitot::c;"
        ),
        ["c"]
    );
}
