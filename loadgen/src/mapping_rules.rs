//! The rules an exporter is run with, as its own flags name them.

use std::path::PathBuf;

use anyhow::Result;
use pitot::cli::MappingProfile;
use pitot::config::Mapping;
use pitot::mapping::{Mapper, profiles};
use pitot::rule_source::RuleSource;

/// The part of a command line that names rules.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RulesArgs {
    /// Mapping file of the exporter
    #[arg(long, value_name = "FILE")]
    pub mapping_config: Option<PathBuf>,
    /// Built-in rules, asked after those of the file
    #[arg(long, value_name = "NAME", value_parser = ["airflow"])]
    pub mapping_profile: Option<String>,
}

impl RulesArgs {
    /// Whether any are named.
    pub fn is_given(&self) -> bool {
        self.mapping_config.is_some() || self.mapping_profile.is_some()
    }

    /// What they are, in words.
    pub fn describe(&self) -> String {
        let file = self.mapping_config.as_ref();
        let file = file.map(|path| path.display().to_string());
        let profile = self.mapping_profile.as_ref();
        let profile = profile.map(|name| format!("profile {name}"));
        let named: Vec<String> = file.into_iter().chain(profile).collect();
        match named.is_empty() {
            true => "none".to_owned(),
            false => named.join(", "),
        }
    }

    /// Reads and compiles them; none at all map every name as it is.
    pub fn load(&self) -> Result<Mapper> {
        let profile = match self.mapping_profile {
            Some(_) => MappingProfile::Airflow,
            None => MappingProfile::None,
        };
        let file = self.mapping_config.clone();
        let mapping = Mapping {
            file,
            profile,
            fsm_dump: None,
        };
        RuleSource::new(&mapping).load()
    }

    /// What to start an exporter with: the text of a mapping file, and flags. A
    /// profile alone becomes a file, so that every exporter can take it.
    pub fn for_exporter(&self) -> Result<(Option<Vec<u8>>, Vec<String>)> {
        let text = match (&self.mapping_config, &self.mapping_profile) {
            (Some(path), _) => Some(std::fs::read(path)?),
            (None, Some(_)) => Some(profiles::AIRFLOW.as_bytes().to_vec()),
            (None, None) => None,
        };
        let profile = self.mapping_profile.iter();
        let flags = profile
            .filter(|_| self.mapping_config.is_some())
            .map(|profile| format!("--statsd.mapping-profile={profile}"));
        Ok((text, flags.collect()))
    }
}
