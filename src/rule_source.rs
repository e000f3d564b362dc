//! Where mapping rules come from: a file of the user's, a built-in profile
//! under it, both or neither.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use tracing::warn;

use crate::cli::bad_value;
use crate::config::Mapping;
use crate::mapping::rules::{self, RuleFile};
use crate::mapping::{Knowledge, Mapper, profiles};
use crate::panics;

/// Reads and compiles the rules, at start and at each reload. What was learnt
/// of the senders outlasts a reload.
#[derive(Clone, Debug)]
pub struct RuleSource {
    mapping: Mapping,
    knowledge: Arc<Knowledge>,
}

impl RuleSource {
    /// The source that the settings name.
    pub fn new(mapping: &Mapping) -> RuleSource {
        RuleSource {
            mapping: mapping.clone(),
            knowledge: Arc::default(),
        }
    }

    /// The user's file, which may change while the program runs.
    pub fn file(&self) -> Option<&Path> {
        self.mapping.file.as_deref()
    }

    /// Reads and compiles everything, the user's rules first. What is accepted
    /// but hardly meant is logged.
    ///
    /// # Errors
    /// What is wrong, each with file, line and remedy.
    pub fn load(&self) -> anyhow::Result<Mapper> {
        let files = self.files()?;
        self.tell_facts(&files)?;
        let (unmapped, knowledge) = (self.mapping.unmapped, Arc::clone(&self.knowledge));
        let compiled = panics::contain(|| Mapper::compile_with(files, unmapped, knowledge));
        let mapper = match compiled {
            Ok(compiled) => compiled?,
            Err(panic) => bail!("the mapping rules cannot be compiled: {panic}"),
        };
        for warning in mapper.warnings() {
            warn!("{warning}");
        }
        Ok(mapper)
    }

    fn files(&self) -> anyhow::Result<Vec<(Arc<str>, RuleFile)>> {
        let mut files = Vec::new();
        if let Some(path) = self.file() {
            let name = path.display().to_string();
            let text = fs::read(path).with_context(|| {
                format!("cannot read mapping file {name}; correct --statsd.mapping-config or make it readable")
            })?;
            files.push((Arc::from(name.as_str()), read(&text, &name)?));
        }
        if let Some((profile, text)) = self.mapping.profile.text() {
            let name = profiles::file_name(profile);
            let mut file = read(text.as_bytes(), &name)?;
            profiles::set_prefix(&mut file, &self.mapping.profile_prefix);
            files.push((Arc::from(name), file));
        }
        Ok(files)
    }

    /// Makes known what the user says is.
    fn tell_facts(&self, files: &[(Arc<str>, RuleFile)]) -> anyhow::Result<()> {
        let mut words: Vec<&String> = files.iter().flat_map(|(_, file)| file.facts()).collect();
        words.sort();
        words.dedup();
        for fact in &self.mapping.facts {
            if !words.contains(&fact) {
                let words: Vec<&str> = words.iter().map(|word| word.as_str()).collect();
                let why = match &*words.join(", ") {
                    "" => "is no fact: the rules ask for none".to_owned(),
                    words => format!("is no fact that the rules ask for, as are {words}"),
                };
                bail!("{}", bad_value("statsd.mapping-facts", fact, why));
            }
        }
        if let Ok(facts) = self.knowledge.set(&self.mapping.facts) {
            self.knowledge.tell(facts);
        }
        Ok(())
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
