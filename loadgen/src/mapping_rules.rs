//! The rules an exporter is run with, as its own flags name them.

use std::path::PathBuf;

use anyhow::Result;
use pitot::cli::MappingProfile;
use pitot::config::Mapping;
use pitot::mapping::{Mapper, Unmapped, profiles};
use pitot::rule_source::RuleSource;

/// The profile that every exporter understands.
const CHART: &str = "airflow-chart";

/// The part of a command line that names rules.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RulesArgs {
    /// Mapping file of the exporter
    #[arg(long, value_name = "FILE")]
    pub mapping_config: Option<PathBuf>,
    /// Built-in rules, asked after those of the file; airflow-chart has no more
    /// than statsd_exporter can read
    #[arg(long, value_name = "NAME", value_parser = ["airflow", "airflow-chart"])]
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
        let profile = match self.mapping_profile.as_deref() {
            Some(CHART) => MappingProfile::AirflowChart,
            Some(_) => MappingProfile::Airflow,
            None => MappingProfile::None,
        };
        let file = self.mapping_config.clone();
        let mapping = Mapping {
            file,
            profile,
            profile_prefix: "airflow".to_owned(),
            facts: Vec::new(),
            unmapped: Unmapped::Keep,
            fsm_dump: None,
        };
        RuleSource::new(&mapping).load()
    }

    /// What to start an exporter with: the text of a mapping file, and flags. The
    /// chart's rules alone become a file, so that every exporter can take them.
    pub fn for_exporter(&self) -> Result<(Option<Vec<u8>>, Vec<String>)> {
        let profile = self.mapping_profile.as_deref();
        if let (None, Some(CHART)) = (&self.mapping_config, profile) {
            return Ok((Some(profiles::AIRFLOW_CHART.into()), Vec::new()));
        }
        let text = self
            .mapping_config
            .as_ref()
            .map(std::fs::read)
            .transpose()?;
        let flag = profile.map(|name| format!("--statsd.mapping-profile={name}"));
        Ok((text, flag.into_iter().collect()))
    }
}
