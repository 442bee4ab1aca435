//! Ways to make a disk fail under a running Seawall: mounts, and system calls that are made to fail.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::process::{Process, Result, command, run, wait_until};
use crate::support::{Seawall, http};

/// A mount, undone when this is dropped.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// An empty file system in memory, with these limits (`size=16m`, `nr_inodes=64`).
    pub(crate) fn small(at: &Path, limits: &str) -> Result<Self> {
        std::fs::create_dir_all(at)?;
        run(command("mount")
            .args(["-t", "tmpfs", "-o", limits, "tmpfs"])
            .arg(at))?;
        Ok(Self(at.to_owned()))
    }

    /// An empty file system of another kind: in a file at `aside`, or laid over a directory there. `None` if this machine
    /// cannot make one.
    pub(crate) fn of_kind(kind: &str, at: &Path, aside: &Path) -> Result<Option<Self>> {
        std::fs::create_dir_all(at)?;
        std::fs::create_dir_all(aside)?;
        let mut mount = command("mount");
        if kind == "overlay" {
            // What lies on top cannot lie on another overlay.
            let memory = Self::small(aside, "size=512m")?;
            let part = |name: &str| -> Result<String> {
                std::fs::create_dir(aside.join(name))?;
                Ok(aside.join(name).display().to_string())
            };
            let (lower, upper, work) = (part("lower")?, part("upper")?, part("work")?);
            mount.args(["-t", "overlay", "overlay", "-o"]);
            mount.arg(format!("lowerdir={lower},upperdir={upper},workdir={work}"));
            let mounted = run(mount.arg(at));
            drop(memory);
            return Ok(mounted.is_ok().then(|| Self(at.to_owned())));
        }
        let file = aside.join("disk");
        std::fs::File::create(&file)?.set_len(512 << 20)?;
        if run(command(&format!("mkfs.{kind}")).arg("-q").arg(&file)).is_err() {
            return Ok(None);
        }
        let mounted = run(mount.args(["-t", kind, "-o", "loop"]).arg(&file).arg(at));
        Ok(mounted.is_ok().then(|| Self(at.to_owned())))
    }

    /// The same files as before, read-only: laid over what is there, since a file system that has files open
    /// for writing cannot be made read-only by hand. Made ready at `aside`, an empty directory: at `at` itself,
    /// files could be opened for writing before the mount is read-only.
    pub(crate) fn read_only(at: &Path, aside: &Path) -> Result<Self> {
        std::fs::create_dir_all(aside)?;
        run(command("mount").arg("--bind").args([at, aside]))?;
        let ready = Self(aside.to_owned());
        run(command("mount").args(["-o", "remount,ro,bind"]).arg(aside))?;
        run(command("mount").arg("--bind").args([aside, at]))?;
        drop(ready);
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a process that ends with the test may still have files there.
        if let Err(error) = run(command("umount").arg("-l").arg(&self.0)) {
            println!("{} stays mounted: {error}", self.0.display());
        }
    }
}

/// System calls of a running Seawall that fail or take their time, as `strace` writes it, until this is dropped.
pub(crate) struct Injection {
    log: PathBuf,
    /// Ends the injection when it goes.
    _process: Process,
}

impl Injection {
    /// Begins. Only calls on `path` are touched, if one is given.
    pub(crate) fn begin(
        seawall: &Seawall,
        what: &str,
        path: Option<&Path>,
        directory: &Path,
    ) -> Result<Self> {
        let (calls, log) = (
            what.split(':').next().unwrap_or_default(),
            directory.join("strace"),
        );
        let _: std::io::Result<()> = std::fs::remove_file(&log);
        let mut strace = command("strace");
        strace.args([
            "-f",
            "-qq",
            "-p",
            &seawall.id().to_string(),
            "-e",
            &format!("trace={calls}"),
        ]);
        strace.args(["-e", &format!("inject={what}"), "-o"]).arg(&log);
        if let Some(path) = path {
            strace.arg("-P").arg(path);
        }
        let process = Process::start("injection", strace, directory)?;
        let status = format!("/proc/{}/status", seawall.id());
        wait_until("strace to be there", Duration::from_secs(10), || {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            text.lines()
                .any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        })?;
        Ok(Self {
            log,
            _process: process,
        })
    }

    /// The calls that were touched so far.
    pub(crate) fn fired(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let fired = text
            .lines()
            .filter(|line| line.contains("(INJECTED)") || line.contains("(DELAYED)"));
        fired.map(str::to_owned).collect()
    }
}

/// What `/readyz` says; it must say that it is ready.
pub(crate) fn readiness(seawall: &Seawall) -> Result<String> {
    let answer = http::get(&seawall.admin, "/readyz")?;
    let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
    match answer.status {
        200 => Ok(text),
        status => Err(format!("/readyz is {status}: {text}").into()),
    }
}

/// Waits until the disk is in this state, in a word; `ok` as well.
pub(crate) fn wait_for_disk(seawall: &Seawall, word: &str) -> Result {
    let wanted = format!("seawall_disk_state{{state=\"{word}\"}} 1");
    let is_so = || {
        let metrics = http::get(&seawall.admin, "/metrics");
        metrics.is_ok_and(|answer| {
            String::from_utf8_lossy(&answer.body)
                .lines()
                .any(|line| line == wanted)
        })
    };
    wait_until(&format!("the disk to be {word}"), Duration::from_secs(90), is_so)
}

/// The sum of what a counter counts, over all its labels that contain `label`.
pub(crate) fn counted(seawall: &Seawall, name: &str, label: &str) -> Result<u64> {
    let metrics = http::get(&seawall.admin, "/metrics")?;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    let lines = text
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(label));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(values.sum())
}
