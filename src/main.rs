//! The program: flags, then one of two things to do, then an exit status.

use std::io::{self, Write};
use std::process::ExitCode;

use pitot::cli::{self, Command, Flags};
use pitot::config::Config;
use pitot::rule_source::RuleSource;
use pitot::{explain, exporter, log, panics};

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(exit) => {
            print(&exit.stdout);
            // Nobody is left to be told if standard error is closed.
            let _ = io::stderr().write_all(exit.stderr.as_bytes());
            return ExitCode::from(exit.code);
        }
    };
    let (Command::Run(flags) | Command::Explain { flags, .. }) = &command;
    log::init(flags.log_level, flags.log_format);
    panics::end_process();
    let outcome = match &command {
        Command::Run(flags) => exporter::run(flags),
        Command::Explain { flags, lines } => show(flags, lines),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn show(flags: &Flags, lines: &[String]) -> anyhow::Result<()> {
    let config = Config::from_flags(flags)?;
    let mapper = RuleSource::new(&config.mapping).load()?;
    print(&explain::explain(&mapper, &config.dialects, lines));
    Ok(())
}

/// A closed pipe, as of `pitot --help | head`, is no error.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
