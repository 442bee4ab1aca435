//! A bound of the kernel's on the memory of processes, with the files that they have touched in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Result, command};

/// Processes that may take so much memory together, and are killed by the kernel for more. It is gone when this is
/// dropped, if they are.
pub(crate) struct Memory(PathBuf);

impl Memory {
    /// A group of at most `bytes`; an error, in words, where none can be made.
    pub(crate) fn of(bytes: u64) -> Result<Self> {
        let name = format!("seawall-e2e-{}", std::process::id());
        // The second version of the kernel's interface, or the first.
        let (root, bound) = match Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            true => ("/sys/fs/cgroup", "memory.max"),
            false => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        };
        let group = Self(Path::new(root).join(name));
        std::fs::create_dir(&group.0)?;
        std::fs::write(group.0.join(bound), bytes.to_string())?;
        Ok(group)
    }

    /// `program`, which enters the group before it begins.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut entering = command("sh");
        entering.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
        entering.arg(self.0.join("cgroup.procs")).arg(program);
        entering
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // It stays if something still runs in it.
        let _ = std::fs::remove_dir(&self.0);
    }
}
