//! Command lines as typed: what each sets, shows or is refused for.

use std::os::unix::ffi::OsStringExt;
use std::{env, fs, process};

use super::*;

fn parse_words(arguments: &[&str]) -> Result<Command, Exit> {
    let argv = ["/usr/bin/pitot"].iter().chain(arguments);
    parse(argv.map(OsString::from))
}

fn accepted(arguments: &[&str]) -> Flags {
    match parse_words(arguments) {
        Ok(Command::Run(flags)) => flags,
        other => panic!("{arguments:?} gave {other:?}"),
    }
}

/// The message, without what goes around all of them.
fn refused(arguments: &[&str]) -> String {
    let exit = parse_words(arguments).expect_err("the arguments are bad");
    assert_eq!((exit.code, exit.stdout.as_str()), (1, ""), "{arguments:?}");
    let message = exit.stderr.strip_prefix("pitot: error: ");
    let message = message.and_then(|message| message.strip_suffix(", try --help\n"));
    message.expect("all errors have this form").to_owned()
}

/// What goes to standard output.
fn shown(arguments: &[&str]) -> String {
    let exit = parse_words(arguments).expect_err("the program only prints");
    assert_eq!((exit.code, exit.stderr.as_str()), (0, ""), "{arguments:?}");
    exit.stdout
}

/// Runs `test` with `@path` of a file of arguments.
fn with_file(name: &str, text: &str, test: impl FnOnce(&str)) {
    let path = env::temp_dir().join(format!("pitot-cli-{}-{name}", process::id()));
    let argument = format!("@{}", path.display());
    fs::write(&path, text.replace("{self}", &argument)).unwrap();
    test(&argument);
    fs::remove_file(path).unwrap();
}

#[test]
fn without_arguments_all_is_default() {
    let flags = accepted(&[]);
    assert_eq!(flags, Flags::default());
    assert_eq!(flags.web_listen_address, ":9102");
    assert_eq!(flags.statsd_event_flush_interval, Nanos(200_000_000));
    assert_eq!(flags.log_level, Level::INFO);
    assert!(flags.statsd_parse_signalfx_tags && !flags.check_config);
}

#[test]
fn every_flag_is_set_from_its_own_name() {
    let all = || GROUPS.iter().flat_map(|group| group.flags);
    for flag in all() {
        let argument = match (flag.is_switch, flag.default, (flag.words)().last()) {
            (true, "true", _) => format!("--no-{}", flag.name),
            (true, _, _) => format!("--{}", flag.name),
            (false, _, Some(word)) if *word != flag.default => {
                format!("--{}={word}", flag.name)
            }
            (false, "200ms" | "0s" | "auto", _) => format!("--{}=1m", flag.name),
            (false, _, _) => format!("--{}=7", flag.name),
        };
        let argument = argument.replace("log.level=7", "log.level=debug");
        assert_ne!(accepted(&[&argument]), Flags::default(), "{argument}");
        let same = all().filter(|other| other.name == flag.name).count();
        assert_eq!(same, 1, "{}", flag.name);
    }
}

#[test]
fn values_may_follow_or_be_attached() {
    for arguments in [
        &["--statsd.listen-udp=:1"][..],
        &["--statsd.listen-udp", ":1"],
        &["--statsd.listen-udp", "--", ":1"],
    ] {
        assert_eq!(accepted(arguments).statsd_listen_udp, ":1", "{arguments:?}");
    }
    let flags = accepted(&["--statsd.listen-udp=a=b", "--statsd.listen-tcp", "-"]);
    assert_eq!(flags.statsd_listen_udp, "a=b");
    assert_eq!(flags.statsd_listen_tcp, "");
    let dashes = accepted(&["--statsd.mapping-config", "--", "--check-config"]);
    assert_eq!(dashes.statsd_mapping_config, "--check-config");
    assert_eq!(
        accepted(&["--statsd.listen-udp=@s"]).statsd_listen_udp,
        "@s"
    );
    assert_eq!(
        accepted(&["--check-config", "--"]),
        accepted(&["--check-config"])
    );
}

#[test]
fn switches() {
    let on = |argument| accepted(&[argument]).statsd_parse_librato_tags;
    assert!(on("--statsd.parse-librato-tags"));
    assert!(!on("--no-statsd.parse-librato-tags"));
}

#[test]
fn other_values() {
    let nanos =
        |text| accepted(&["--statsd.event-flush-interval", text]).statsd_event_flush_interval;
    assert_eq!(nanos("1h2m3.5s"), Nanos(3_723_500_000_000));
    assert_eq!(nanos("1w2d"), Nanos(9 * 86_400 * 1_000_000_000));
    assert_eq!(accepted(&["--log.level=DEBUG"]).log_level, Level::DEBUG);
    assert_eq!(
        accepted(&["--log.format=json"]).log_format,
        log::Format::Json
    );
    assert_eq!(
        accepted(&["--statsd.cache-type=random"]).statsd_cache_type,
        CacheType::Random
    );
    let profile = |text| accepted(&["--statsd.mapping-profile", text]).statsd_mapping_profile;
    assert_eq!(profile("airflow"), MappingProfile::Airflow);
    assert_eq!(profile("-"), MappingProfile::None);
}

#[test]
fn errors_name_argument_and_remedy() {
    for (arguments, message) in [
        (&["--nonsense"][..], "unknown long flag '--nonsense'"),
        (&["--nonsense=5"], "unknown long flag '--nonsense'"),
        (&["--statsd.cache"], "unknown long flag '--statsd.cache'"),
        (
            &["--no-no-check-config"],
            "unknown long flag '--no-no-check-config'",
        ),
        (&["--=x"], "unknown long flag '--'"),
        (
            &["--no-statsd.cache-size"],
            "unknown long flag '--no-statsd.cache-size': --statsd.cache-size takes a value",
        ),
        (&["-x"], "unknown short flag '-x': names take two dashes"),
        (
            &["-statsd.cache-size=5"],
            "unknown short flag '-s': names take two dashes",
        ),
        (&["-é"], "unknown short flag '-é': names take two dashes"),
        (&["word"], "unexpected \"word\": only flags may be given"),
        (
            &["--", "--check-config"],
            "unexpected \"--check-config\": only flags may be given",
        ),
        (&["--", "--"], "unexpected \"--\": only flags may be given"),
        (&["-"], "unexpected \"\": only flags may be given"),
        (
            &["--check-config", "explain"],
            "unexpected \"explain\": it must come first",
        ),
        (
            &["--statsd.cache-size"],
            "expected argument for flag '--statsd.cache-size': write --statsd.cache-size=VALUE",
        ),
        (
            &["--statsd.cache-size", "-1"],
            "expected argument for flag '--statsd.cache-size': write --statsd.cache-size=VALUE",
        ),
        (
            &["--check-config=false"],
            "unexpected \"false\": write --check-config or --no-check-config without a value",
        ),
        (
            &["--no-check-config=true"],
            "unexpected \"true\": write --check-config or --no-check-config without a value",
        ),
        (
            &["--check-config", "false"],
            "unexpected \"false\": only flags may be given",
        ),
        (
            &["--statsd.cache-size=5", "--statsd.cache-size=5"],
            "flag '--statsd.cache-size' cannot be repeated",
        ),
        (
            &["--check-config", "--no-check-config"],
            "flag '--check-config' cannot be repeated",
        ),
        (
            &["--statsd.cache-size="],
            "--statsd.cache-size: \"\" is not a number; write for example 1000",
        ),
        (
            &["--statsd.cache-size=x", "--log.level=loud"],
            "--statsd.cache-size: \"x\" is not a number; write for example 1000",
        ),
        (
            &["--statsd.cache-size=1e30"],
            "--statsd.cache-size: \"1e30\" does not fit into 64 bits",
        ),
        (
            &["--statsd.event-queue-size=-1"],
            "--statsd.event-queue-size: \"-1\" is not a number from 0 up; write for example 1000",
        ),
        (
            &["--log.level="],
            "--log.level: \"\" is not one of debug, info, warn, error",
        ),
        (
            &["--log.format=JSON"],
            "--log.format: \"JSON\" is not one of logfmt, json",
        ),
        (
            &["--statsd.cache-type=LRU"],
            "--statsd.cache-type: \"LRU\" is not one of lru, random",
        ),
        (
            &["--statsd.mapping-profile=x"],
            "--statsd.mapping-profile: \"x\" is not one of \"\", airflow, airflow-chart",
        ),
        (
            &["--statsd.event-flush-interval=5"],
            "--statsd.event-flush-interval: \"5\" lacks a unit; write for example 30s",
        ),
        (&["@"], "expected the name of a file of arguments after @"),
        (
            &["explain"],
            "expected a line to explain, such as 'jobs.done:1|c'",
        ),
    ] {
        assert_eq!(refused(arguments), message, "{arguments:?}");
    }
}

#[test]
fn help_and_version_win_over_what_comes_later() {
    for arguments in [
        &["--version"][..],
        &["--version", "--nonsense"],
        &["--version=x"],
        &["--no-version"],
        &["--log.level=loud", "--version"],
        &["explain", "--version"],
        &["--help", "--version"],
    ] {
        assert!(
            shown(arguments).starts_with("pitot, version "),
            "{arguments:?}"
        );
    }
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["-hh"],
        &["--help-long"],
        &["--help-long", "word"],
        &["--no-help"],
        &["--help", "--log.level=loud"],
        &["--check-config", "--help", "--check-config"],
        &["explain", "--help"],
    ] {
        assert!(
            shown(arguments).starts_with("usage: pitot "),
            "{arguments:?}"
        );
    }
    assert!(shown(&["--help-man"]).starts_with(".TH pitot 1\n"));
    refused(&["--nonsense", "--version"]);
    // Plain help alone waits until the whole line has been looked at.
    for arguments in [
        &["word", "--help"][..],
        &["--help", "word"],
        &["-h", "--nonsense"],
        &["-hx"],
        &["--help", "--statsd.cache-size"],
    ] {
        refused(arguments);
    }
    let message = refused(&["--no-help=1"]);
    assert_eq!(message, "unexpected \"1\": --help takes no value");
}

#[test]
fn argument_files() {
    let text = "--statsd.cache-size=7\r\n\n  \n# comment\n--log.format\njson\n";
    with_file("plain", text, |file| {
        let flags = accepted(&["--check-config", file, "--statsd.cache-type=random"]);
        assert_eq!(flags.statsd_cache_size, 7);
        assert_eq!(flags.log_format, log::Format::Json);
        assert_eq!(flags.statsd_cache_type, CacheType::Random);
        assert_eq!(
            refused(&[file, file]),
            "flag '--statsd.cache-size' cannot be repeated"
        );
        let as_word = format!("unexpected {file:?}: only flags may be given");
        assert_eq!(refused(&["--", file]), as_word);
    });
    with_file("value", "rules.yml\n", |file| {
        let flags = accepted(&["--statsd.mapping-config", file]);
        assert_eq!(flags.statsd_mapping_config, "rules.yml");
    });
    with_file("circle", "{self}\n", |file| {
        assert!(refused(&[file]).contains("lead back to itself"));
    });
    assert!(refused(&["@/no/such/file"]).starts_with("cannot read arguments from"));
    assert!(refused(&["@/"]).starts_with("cannot read arguments from"));
}

#[test]
fn lines_to_explain() {
    let explained = parse_words(&[
        "explain",
        "a:1|c",
        "--check-config",
        "b:2|g|#c:d",
        "--",
        "-:1|c",
    ]);
    let lines = ["a:1|c", "b:2|g|#c:d", "-:1|c"].map(str::to_owned);
    let expected = Command::Explain {
        flags: accepted(&["--check-config"]),
        lines: lines.to_vec(),
    };
    assert_eq!(explained, Ok(expected));
}

#[test]
fn arguments_that_are_not_utf8() {
    for bytes in [
        &b"\xff"[..],
        b"--\xff",
        b"-\xff",
        b"@\xff",
        b"--statsd.listen-udp=\xff",
    ] {
        let argv = [b"pitot", bytes].map(|word| OsString::from_vec(word.to_vec()));
        let exit = parse(argv).unwrap_err();
        assert!(exit.stderr.contains(r"\xFF"), "{}", exit.stderr);
        assert!(exit.stderr.contains("is not UTF-8"), "{}", exit.stderr);
    }
}

#[test]
fn errors_carry_the_name_of_the_file() {
    let stderr = |argv: &[&str]| parse(argv.iter().map(OsString::from)).unwrap_err().stderr;
    assert!(stderr(&["/bin/statsd_exporter", "-x"]).starts_with("statsd_exporter: error: "));
    assert!(stderr(&["", "-x"]).starts_with("pitot: error: "));
    assert!(matches!(parse([]), Ok(Command::Run(_))));
}
