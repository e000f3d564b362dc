//! What a measurement ran on: numbers mean nothing without it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::kernel;

/// The machine.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The model of its processor.
    pub cpu: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// `net.core.rmem_max`, in bytes.
    pub rmem_max: usize,
}

impl Machine {
    /// The one this runs on.
    pub fn here() -> Machine {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split_once(": "));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Machine {
            cpu: model.map_or("unknown", |(_, model)| model).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.trim().to_owned(),
            rmem_max: kernel::receive_buffer_max(),
        }
    }
}

/// What a program says to `--version`, its first line.
pub fn version_of(binary: &Path) -> String {
    let output = Command::new(binary).arg("--version").output();
    let said = output.map(|output| [output.stdout, output.stderr].concat());
    let said = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
    said.lines().next().unwrap_or("unknown").to_owned()
}
