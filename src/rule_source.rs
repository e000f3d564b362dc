//! Where mapping rules come from: a file of the user's, a built-in profile
//! under it, both or neither.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use tracing::warn;

use crate::cli::MappingProfile;
use crate::config::Mapping;
use crate::mapping::rules::{self, RuleFile};
use crate::mapping::{Mapper, profiles};
use crate::panics;

/// Reads and compiles the rules, at start and at each reload.
#[derive(Clone, Debug)]
pub struct RuleSource(Mapping);

impl RuleSource {
    /// The source that the settings name.
    pub fn new(mapping: &Mapping) -> RuleSource {
        RuleSource(mapping.clone())
    }

    /// The user's file, which may change while the program runs.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// Reads and compiles everything, the user's rules first. What is accepted
    /// but hardly meant is logged.
    ///
    /// # Errors
    /// What is wrong, each with file, line and remedy.
    pub fn load(&self) -> anyhow::Result<Mapper> {
        let mut files = Vec::new();
        if let Some(path) = self.file() {
            let name = path.display().to_string();
            let text = fs::read(path).with_context(|| {
                format!("cannot read mapping file {name}; correct --statsd.mapping-config or make it readable")
            })?;
            files.push((Arc::from(name.as_str()), read(&text, &name)?));
        }
        if self.0.profile == MappingProfile::Airflow {
            let name = "profile:airflow";
            files.push((Arc::from(name), read(profiles::AIRFLOW.as_bytes(), name)?));
        }
        let compiled = panics::contain(|| Mapper::compile(files));
        let mapper = match compiled {
            Ok(compiled) => compiled?,
            Err(panic) => bail!("the mapping rules cannot be compiled: {panic}"),
        };
        for warning in mapper.warnings() {
            warn!("{warning}");
        }
        Ok(mapper)
    }
}

fn read(text: &[u8], name: &str) -> anyhow::Result<RuleFile> {
    let file = match panics::contain(|| rules::read(text, name)) {
        Ok(Ok(file)) => file,
        Ok(Err(errors)) => {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            bail!("{}", errors.join("; "));
        }
        Err(panic) => bail!("{name} cannot be read as YAML: {panic}"),
    };
    for warning in &file.warnings {
        warn!("{warning}");
    }
    Ok(file)
}
