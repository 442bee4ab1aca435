//! `seawall run`: a Seawall for as long as a command takes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::clients::store;
use crate::support::images::TAG;
use crate::support::process::{Process, command, wait_until};
use crate::support::{Result, Verdict, World, http};

/// How long a busy machine may take for what takes no time.
const SOON: Duration = Duration::from_secs(20);

/// A configuration that gets `docker.io` from the upstream.
fn configuration(world: &World, directory: &Path) -> Result<PathBuf> {
    let path = directory.join("seawall.toml");
    let address = &world.upstream.address;
    let text = format!(
        "[cache]\nmin_free = \"0B\"\n[[upstream]]\nregistry = \"docker.io\"\nurl = \"http://{address}\"\n"
    );
    std::fs::write(&path, text)?;
    Ok(path)
}

/// `seawall run` of a shell's script, in `directory`.
fn script(world: &World, directory: &Path, more: &[&str], script: &str) -> Result<Command> {
    let mut run = command(env!("CARGO_BIN_EXE_seawall"));
    run.arg("run")
        .arg("--config")
        .arg(configuration(world, directory)?);
    run.args(more)
        .args(["--", "sh", "-c", script])
        .current_dir(directory);
    Ok(run)
}

fn said(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    both.join("\n")
}

/// skopeo, buildah and podman, without a word about a mirror; the second run finds what the first has pulled.
pub(crate) fn pulls(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let directory = world.directory()?;
    let (storage, policy) = store(&directory)?;
    let image = format!("docker.io/library/app:{TAG}");
    let pull = format!(
        "set -e\nexport CONTAINERS_STORAGE_CONF='{}'\n\
         skopeo --insecure-policy copy --quiet docker://{image} dir:copy && rm -r copy\n\
         buildah pull --quiet --signature-policy '{policy}' {image}\n\
         podman --cgroup-manager cgroupfs --events-backend file --tmpdir \"$PWD/tmp\" rmi --force {image}\n\
         podman --cgroup-manager cgroupfs --events-backend file --tmpdir \"$PWD/tmp\" pull --quiet \
         --signature-policy '{policy}' {image}\n",
        storage.display()
    );
    let before = world.upstream.asked()?.len();
    let first = script(world, &directory, &["--cache", "kept"], &pull)?.output()?;
    let text = said(&first);
    // The terminal is the command's: no request is logged there.
    if !first.status.success() || !text.contains("requests answered with") || text.contains("route=") {
        return Err(format!("the first run: {} {text}", first.status).into());
    }
    let gets = |asked: &[crate::support::upstream::Asked]| {
        asked.iter().filter(|asked| asked.method == "GET").count()
    };
    let asked = world.upstream.asked()?.split_off(before);
    // A manifest, a config and the layers.
    let needed = 1 + world.images.app.blobs().count();
    if gets(&asked) != needed {
        return Err(format!("expected {needed} GETs for three pulls, found {asked:#?}").into());
    }
    let before = world.upstream.asked()?.len();
    let again = format!("skopeo --insecure-policy copy --quiet docker://{image} dir:again && rm -r again");
    let second = script(world, &directory, &["--cache", "kept"], &again)?.output()?;
    let asked = world.upstream.asked()?.split_off(before);
    if !second.status.success() || gets(&asked) != 0 {
        return Err(format!("the second run: {} {} {asked:#?}", second.status, said(&second)).into());
    }
    Ok(Verdict::Passed)
}

/// Its exit code, the signals it gets, and no Seawall left behind, were we killed.
pub(crate) fn ends(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let directory = world.directory()?;
    let status = script(world, &directory, &["--quiet"], "exit 7")?.status()?;
    if status.code() != Some(7) {
        return Err(format!("a command that ends with 7 ended with {status}").into());
    }
    let trap = "trap 'exit 9' TERM; echo \"$SEAWALL_ADDRESS\" > up; while :; do sleep 0.1; done";
    let run = script(world, &directory, &["--quiet"], trap)?;
    let mut process = Process::start("run", run, &directory)?;
    let up = directory.join("up");
    wait_until("the command to begin", SOON, || up.exists())?;
    let status = process.stop()?;
    if status.code() != Some(9) {
        return Err(format!("a command that ends with 9 at SIGTERM ended with {status}").into());
    }
    std::fs::remove_file(&up)?;
    let run = script(
        world,
        &directory,
        &["--quiet"],
        "echo \"$SEAWALL_ADDRESS\" > new && mv new up && exec sleep 3",
    )?;
    let mut process = Process::start("killed", run, &directory)?;
    wait_until("the command to begin", SOON, || up.exists())?;
    let address = std::fs::read_to_string(&up)?.trim().to_owned();
    if !answers(&address) {
        return Err(format!("nobody answers at {address}").into());
    }
    process.kill()?;
    wait_until("its Seawall to end", SOON, || !answers(&address))?;
    Ok(Verdict::Passed)
}

/// True if a Seawall answers at `address`.
fn answers(address: &str) -> bool {
    http::get(address, "/v2/").is_ok_and(|answer| answer.status == 200)
}

/// Directories of runs below `temporary`.
fn scratches(temporary: &Path) -> usize {
    let entries = std::fs::read_dir(temporary).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("seawall-run-"))
        .count()
}

/// A killed run leaves its directory; the next one removes it, and not before the killed one's command has ended. One
/// that is told to end leaves nothing, whenever that is.
pub(crate) fn tidies_up(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let directory = world.directory()?;
    let temporary = directory.join("tmp");
    std::fs::create_dir(&temporary)?;
    let begin = |name: &str, line: &str| -> Result<Process> {
        let mut run = script(world, &directory, &["--quiet"], line)?;
        run.env("TMPDIR", &temporary);
        Process::start(name, run, &directory)
    };
    let another = || -> Result {
        let status = begin("another", "true")?.ended(SOON)?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("the next run ended with {status}").into()),
        }
    };
    let up = directory.join("up");
    let mut killed = begin("killed", "touch up; while [ ! -e end ]; do sleep 0.1; done")?;
    wait_until("the command to begin", SOON, || up.exists())?;
    killed.kill()?;
    another()?;
    if scratches(&temporary) != 1 {
        return Err("the next run took away what a command still uses".into());
    }
    std::fs::write(directory.join("end"), "")?;
    // The orphan ends by itself, and its Seawall when its transfers have.
    let mut failed = Ok(());
    wait_until("what was left to be removed", SOON, || {
        failed = another();
        failed.is_err() || scratches(&temporary) == 0
    })?;
    failed?;
    let mut told = begin("told", "exec sleep 60")?;
    wait_until("a run to begin", SOON, || scratches(&temporary) == 1)?;
    let status = told.stop()?;
    if status.code() != Some(143) || scratches(&temporary) > 0 {
        return Err(format!(
            "told to end as it begins: {status}, {} left",
            scratches(&temporary)
        )
        .into());
    }
    Ok(Verdict::Passed)
}

/// Whatever signal a run is told to end by, its command hears it; the run then ends as the command does, says what was
/// saved, and leaves neither its Seawall nor its directory.
pub(crate) fn hears_signals(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let directory = world.directory()?;
    let up = directory.join("up");
    let told = "echo \"$SEAWALL_ADDRESS\" > new && mv new up";
    for (signal, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
        let heard = format!("trap 'exit 9' {signal}; {told}; while :; do sleep 0.1; done");
        for (line, code) in [(heard, 9), (format!("{told}; exec sleep 60"), 128 + number)] {
            let case = format!("{signal}-{code}");
            let temporary = directory.join(&case);
            std::fs::create_dir(&temporary)?;
            let mut run = script(world, &directory, &[], &line)?;
            run.env("TMPDIR", &temporary);
            let mut process = Process::start(&format!("run-{case}"), run, &directory)?;
            process.wait_ready(SOON, || up.exists())?;
            let address = std::fs::read_to_string(&up)?.trim().to_owned();
            std::fs::remove_file(&up)?;
            let (before, left) = (answers(&address), scratches(&temporary));
            crate::support::process::run(
                command("kill").args([&format!("-{signal}"), &process.id().to_string()]),
            )?;
            let status = process.ended(SOON)?;
            let said = std::fs::read_to_string(process.log())?;
            let summed_up = said.contains("seawall: the command asked for nothing through it");
            let after = (answers(&address), scratches(&temporary));
            if status.code() != Some(code) || !summed_up || (before, left) != (true, 1) || after != (false, 0)
            {
                return Err(format!(
                    "{case}: it ended with {status}; its Seawall and directories before: {before}, {left}, \
                     after: {after:?}; it said: {said}"
                )
                .into());
            }
        }
    }
    Ok(Verdict::Passed)
}
