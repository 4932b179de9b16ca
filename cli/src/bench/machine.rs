//! The machine on which the bench runs.

use std::process::Stdio;
use std::{env, fs, thread};

use tokio::process::Command;

use super::report::Machine;

impl Machine {
    /// This machine, as far as the system describes it.
    pub(crate) async fn this() -> Self {
        Self {
            cpu: model().await.unwrap_or_else(|| "unknown".to_owned()),
            cores: cores(),
            system: format!("{} {}", env::consts::OS, env::consts::ARCH),
        }
    }
}

/// The number of threads that can run at the same time.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

async fn model() -> Option<String> {
    if let Ok(text) = fs::read_to_string("/proc/cpuinfo") {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        return Some(line.split_once(':')?.1.trim().to_owned());
    }
    let asking =
        Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).stderr(Stdio::null()).output();
    let answer = String::from_utf8(asking.await.ok()?.stdout).ok()?;
    Some(answer.trim().to_owned()).filter(|model| !model.is_empty())
}
