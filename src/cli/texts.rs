//! What the program prints instead of running: help, manual page, version.

use super::values::list;
use super::{BUILD, Build, Flag, GROUPS, Show};

/// The name in help and version; errors carry the name of the file.
pub(super) const PROGRAM: &str = "pitot";

const ABOUT: &str = "Receives StatsD lines and serves them as Prometheus metrics. \
    With explain, shows what would become of each LINE and exits.";

/// Help for the flags that print something and exit.
const SHOW_FLAGS: [(&str, &str); 3] = [
    ("-h, --help, --help-long", "Print this text and exit."),
    ("--help-man", "Print a manual page and exit."),
    ("--version", "Print version and build and exit."),
];

impl Show {
    pub(super) fn text(self) -> String {
        match self {
            Show::Help => help(),
            Show::ManPage => man_page(),
            Show::Version => version(),
        }
    }
}

pub(super) fn help() -> String {
    let mut text =
        format!("usage: {PROGRAM} [<flags>]\n       {PROGRAM} explain [<flags>] LINE...\n\n");
    push_wrapped(&mut text, "", ABOUT);
    for (title, flags) in flag_texts() {
        text.push_str(&format!("\n{title}:\n"));
        for (flag, help) in flags {
            text.push_str(&format!("  {flag}\n"));
            push_wrapped(&mut text, "      ", &help);
        }
    }
    text
}

fn man_page() -> String {
    // Troff takes a backslash for an escape and a dash for a hyphen.
    let escape = |text: &str| text.replace('\\', r"\e").replace('-', r"\-");
    let mut text = format!(
        ".TH {PROGRAM} 1\n.SH NAME\n{PROGRAM}\n.SH SYNOPSIS\n\
         .B {PROGRAM}\n[flags]\n.br\n.B {PROGRAM} explain\n[flags] LINE...\n\
         .SH DESCRIPTION\n{ABOUT}\n"
    );
    for (title, flags) in flag_texts() {
        text.push_str(&format!(".SH {title:?}\n"));
        for (flag, help) in flags {
            text.push_str(&format!(".TP\n.B {}\n{}\n", escape(&flag), escape(&help)));
        }
    }
    text
}

/// Titles with their flags, and each flag with its help.
fn flag_texts() -> Vec<(&'static str, Vec<(String, String)>)> {
    let show_flags = SHOW_FLAGS.map(|(flag, help)| (flag.to_owned(), help.to_owned()));
    let mut texts = vec![("Help", show_flags.to_vec())];
    for group in GROUPS {
        let flags = group.flags.iter().map(flag_text).collect();
        texts.push((group.title, flags));
    }
    texts
}

fn flag_text(flag: &Flag) -> (String, String) {
    let Flag { name, default, .. } = flag;
    let mut help = flag.help.trim_start().to_owned();
    let words = (flag.words)();
    if !words.is_empty() {
        help += &format!(" One of: {}.", list(&words));
    }
    if flag.is_switch && *default == "true" {
        help += " On by default.";
    }
    let shown = if flag.is_switch {
        format!("--[no-]{name}")
    } else {
        format!("--{name}={}", list(&[default]))
    };
    (shown, help)
}

/// Appends a paragraph that keeps within 80 columns.
fn push_wrapped(out: &mut String, indent: &str, text: &str) {
    let mut column = 0;
    for word in text.split_whitespace() {
        if column > 0 && column + 1 + word.len() > 80 {
            out.push('\n');
            column = 0;
        }
        let before = if column == 0 { indent } else { " " };
        out.push_str(before);
        out.push_str(word);
        column += before.len() + word.len();
    }
    out.push('\n');
}

/// Six lines, in the layout all exporters of Prometheus share.
fn version() -> String {
    let Build {
        version,
        branch,
        revision,
        user,
        date,
        toolchain,
        os,
        arch,
    } = BUILD;
    format!(
        "{PROGRAM}, version {version} (branch: {branch}, revision: {revision})\n  \
           build user:       {user}\n  \
           build date:       {date}\n  \
           rust version:     {toolchain}\n  \
           platform:         {os}/{arch}\n  \
           tags:             \n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_tells_every_flag_within_80_columns() {
        let help = help();
        let man_page = man_page().replace(r"\-", "-");
        for flag in GROUPS.iter().flat_map(|group| group.flags) {
            let (shown, text) = flag_text(flag);
            assert!(help.contains(&format!("  {shown}\n")), "{shown}");
            assert!(
                man_page.contains(&format!(".B {shown}\n{text}\n")),
                "{shown}"
            );
            assert!(text.ends_with('.'), "{shown}: {text}");
        }
        assert!(help.lines().all(|line| line.len() <= 80));
        let switch = "  --[no-]statsd.parse-librato-tags\n      Read Librato tags, name#key=value:1|c. On by default.\n";
        assert!(help.contains(switch));
        let choice = "  --log.format=logfmt\n      Format of the records, on standard error. One of: logfmt, json.\n";
        assert!(help.contains(choice));
    }

    #[test]
    fn the_version_has_six_lines() {
        let version = version();
        let first = format!("pitot, version {} (branch: ", env!("CARGO_PKG_VERSION"));
        assert!(version.starts_with(&first), "{version}");
        assert_eq!(version.lines().count(), 6);
        assert!(version.contains(&format!(
            "  platform:         {}/{}\n",
            BUILD.os, BUILD.arch
        )));
    }
}
