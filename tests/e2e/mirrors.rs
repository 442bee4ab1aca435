//! `seawall mirror-config` on a machine: what it writes when, and what it leaves behind.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::process::{Process, command, free_address, run, wait_until};
use crate::support::{Result, Verdict, World};

/// What may pass until a change is seen: three looks, a second apart, on a busy machine.
const SEEN: Duration = Duration::from_secs(20);

/// `seawall mirror-config containerd` for the machine whose root is `machine`.
fn configure(machine: &Path, address: &str, more: &[&str]) -> Command {
    let mut configure = command(env!("CARGO_BIN_EXE_seawall"));
    configure.args(["mirror-config", "containerd", "--address", address, "--root"]);
    configure.arg(machine).args(more);
    configure
}

fn hosts(machine: &Path, registry: &str) -> std::path::PathBuf {
    machine
        .join("etc/containerd/certs.d")
        .join(registry)
        .join("hosts.toml")
}

/// A dead mirror is not written; a living one is, beside what was there, and is taken out again.
pub(crate) fn only_what_answers(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let machine = world.directory()?;
    let theirs = hosts(&machine, "ghcr.io");
    std::fs::create_dir_all(theirs.parent().unwrap_or(&machine))?;
    std::fs::write(&theirs, "server = \"https://ghcr.example.com\"\n")?;
    let start = Instant::now();
    let dead = configure(&machine, &free_address()?, &["--write", "--wait", "1s"]).output()?;
    let said = String::from_utf8_lossy(&dead.stderr).into_owned();
    if dead.status.code() != Some(1) || !said.contains("nothing was written") || start.elapsed() > SEEN {
        return Err(format!(
            "a dead mirror: {} after {:?}: {said}",
            dead.status,
            start.elapsed()
        )
        .into());
    }
    if hosts(&machine, "docker.io").exists() {
        return Err("a dead mirror was written".into());
    }
    let seawall = world.seawall()?;
    run(&mut configure(&machine, &seawall.address, &["--write"]))?;
    for registry in ["docker.io", "ghcr.io", "registry.k8s.io", "_default"] {
        let text = std::fs::read_to_string(hosts(&machine, registry))?;
        if !text.contains(&format!("[host.\"http://{}\"]", seawall.address)) {
            return Err(format!("{registry} is told: {text}").into());
        }
    }
    seawall.stop()?;
    // What is taken out need not answer.
    run(&mut configure(&machine, "127.0.0.1:1", &["--remove"]))?;
    let left = run(command("find").arg(&machine).args(["-type", "f"]))?;
    if left.trim() != theirs.display().to_string() {
        return Err(format!("left behind: {left}").into());
    }
    if std::fs::read_to_string(&theirs)? != "server = \"https://ghcr.example.com\"\n" {
        return Err("what was there before was not restored".into());
    }
    Ok(Verdict::Passed)
}

/// The nodes of a cluster: the mirror comes, crashes, comes back and is drained.
pub(crate) fn followed(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let (machine, directory) = (world.directory()?, world.directory()?);
    let seawall = world.seawall_on(&world.upstream.address, &directory)?;
    let address = seawall.address.clone();
    let follow = configure(&machine, &address, &["--write", "--follow"]);
    let mut follow = Process::start("mirror-config", follow, &directory)?;
    world.note_log(follow.log());
    let written = || hosts(&machine, "_default").exists();
    wait_until("the mirror to be written", SEEN, written)?;
    seawall.kill()?;
    wait_until("the dead mirror to be taken out", SEEN, || !written())?;
    let settings = directory.join("seawall.toml");
    let mut serve = command(env!("CARGO_BIN_EXE_seawall"));
    serve.arg("serve").arg("--config").arg(settings);
    let mut again = Process::start("again", serve, &directory)?;
    wait_until("the mirror to be written again", SEEN, written)?;
    let status = follow.stop()?;
    if !status.success() || written() {
        return Err(format!("ended with {status}; the mirror is still there: {}", written()).into());
    }
    again.stop()?;
    Ok(Verdict::Passed)
}
