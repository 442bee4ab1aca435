//! Cache directories that a start must refuse: what it says is all that the operator has to go by.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::process::{command, run};
use crate::support::{Result, Verdict, World};

/// F076, F097, F101, and a directory of somebody else: the start says what is wrong and what to do, at once.
pub(crate) fn refused_starts(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let directory = world.directory()?;
    let seawall = world.seawall_on(&world.upstream.address, &directory)?;
    refused(&directory.join("cache"), &[], &["in use by another process"])?;
    seawall.stop()?;
    let newer = world.directory()?;
    std::fs::create_dir(newer.join("v2"))?;
    refused(&newer, &[], &["has layout v2", "understands v1 only"])?;
    let foreign = tempfile::Builder::new().prefix("seawall-foreign-").tempdir()?;
    run(command("chmod").arg("755").arg(foreign.path()))?;
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let words = [
        "belongs to user 0 and group 0",
        "runs as user 65534",
        "chown -R 65534:65534",
    ];
    refused(foreign.path(), &nobody, &words)?;
    // Whoever listens there already.
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    for (key, name) in [("LISTEN", "listen"), ("ADMIN", "admin")] {
        let address = format!("SEAWALL_SERVER__{key}={}", taken.local_addr()?);
        let told = format!("[server] {name} = ");
        refused(
            &world.directory()?,
            &["env", &address],
            &[&told, "choose a free address"],
        )?;
    }
    Ok(Verdict::Passed)
}

/// Starts a Seawall on a cache directory that it must refuse in these words, within a second or what a busy
/// machine makes of it.
fn refused(cache: &Path, wrapper: &[&str], words: &[&str]) -> Result {
    let binary = env!("CARGO_BIN_EXE_seawall");
    let mut whole: Vec<&str> = wrapper.to_vec();
    whole.extend([binary, "serve"]);
    let mut serve = command(whole[0]);
    serve.args(&whole[1..]).env("SEAWALL_CACHE__DIRECTORY", cache);
    serve.env("SEAWALL_SERVER__LISTEN", "127.0.0.1:0");
    serve.env("SEAWALL_SERVER__ADMIN", "127.0.0.1:0").current_dir("/");
    let start = Instant::now();
    let ended = serve.output()?;
    let (took, text) = (
        start.elapsed(),
        String::from_utf8_lossy(&ended.stderr).into_owned(),
    );
    if ended.status.code() != Some(1) || took > Duration::from_secs(5) {
        return Err(format!("ended with {} after {took:?}: {text}", ended.status).into());
    }
    match words.iter().find(|word| !text.contains(**word)) {
        Some(word) => Err(format!("{word:?} is not in: {text}").into()),
        None => Ok(()),
    }
}
