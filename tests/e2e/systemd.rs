//! What systemd does for a service, done by hand: sockets that are open already, and a socket to be told by.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::process::{Process, command, free_address, run, wait_until};
use crate::support::{Result, Verdict, World, http};

/// How long a busy machine may take for what takes no time.
const SOON: Duration = Duration::from_secs(20);

/// Whatever systemd is told next; that may take as long as a start.
fn told(socket: &UnixDatagram, wanted: &str) -> Result {
    let start = Instant::now();
    let mut heard = Vec::new();
    while start.elapsed() < SOON {
        let mut buffer = [0; 4096];
        let Ok(length) = socket.recv(&mut buffer) else {
            continue;
        };
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.lines().any(|line| line == wanted) {
            return Ok(());
        }
        heard.push(text);
    }
    Err(format!("systemd was not told {wanted}, but {heard:?}").into())
}

/// It starts with the first client, serves on both sockets, says when it is ready, that it lives, that it
/// reads its configuration again, and when it stops.
pub(crate) fn activated(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    if !Path::new("/usr/bin/systemd-socket-activate").exists() {
        return Ok(Verdict::Skipped("there is no systemd-socket-activate".to_owned()));
    }
    let directory = world.directory()?;
    let path = directory.join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let (clients, admin) = (free_address()?, free_address()?);
    let mut activate = command("systemd-socket-activate");
    activate.args(["--listen", &clients, "--listen", &admin]);
    activate.arg(format!("--setenv=NOTIFY_SOCKET={}", path.display()));
    activate.arg("--setenv=WATCHDOG_USEC=1000000");
    activate.arg(format!(
        "--setenv=CACHE_DIRECTORY={}",
        directory.join("cache").display()
    ));
    // Addresses that nobody can listen at: those of the sockets take their place.
    activate.args([
        "--setenv=SEAWALL_SERVER__LISTEN=192.0.2.1:1",
        "--setenv=SEAWALL_SERVER__ADMIN=192.0.2.1:2",
        "--setenv=SEAWALL_ADMIN__REQUIRE_ROLE=false",
        "--setenv=SEAWALL_ACCESS__ANONYMOUS=loopback",
    ]);
    activate.args([env!("CARGO_BIN_EXE_seawall"), "serve"]);
    let mut process = Process::start("activated", activate, &directory)?;
    world.note_log(process.log());
    let answers =
        |address: &str, path: &str| http::get(address, path).is_ok_and(|answer| answer.status == 200);
    wait_until("clients to be served", SOON, || answers(&clients, "/v2/"))?;
    told(&socket, "READY=1")?;
    if !answers(&admin, "/readyz") {
        return Err("the operator is not served on the second socket".into());
    }
    told(&socket, "WATCHDOG=1")?;
    told(&socket, "WATCHDOG=1")?;
    run(command("kill").args(["-HUP", &process.id().to_string()]))?;
    told(&socket, "RELOADING=1")?;
    told(&socket, "READY=1")?;
    let status = process.stop()?;
    told(&socket, "STOPPING=1")?;
    match status.success() {
        true => Ok(Verdict::Passed),
        false => Err(format!("it ended with {status}").into()),
    }
}

/// How often the watchdog wants to hear of it, in microseconds; it is told twice as often.
const WATCHDOG: &str = "400000";
/// Longer than the watchdog waits, some times over.
const SILENCE: Duration = Duration::from_secs(2);

/// What systemd is told for so long.
fn heard(socket: &UnixDatagram, time: Duration) -> Vec<String> {
    let (start, mut all) = (Instant::now(), Vec::new());
    while start.elapsed() < time {
        let mut buffer = [0; 4096];
        if let Ok(length) = socket.recv(&mut buffer) {
            all.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
    }
    all
}

/// The threads that serve: those of the runtime.
fn workers(process: u32) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let path = thread?.path();
        let name = std::fs::read_to_string(path.join("comm"))?;
        let id = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("tokio") || id == process.to_string() {
            found.push(id);
        }
    }
    Ok(found)
}

/// While its runtime hangs it does not say that it lives, although the process does; afterwards it does again.
pub(crate) fn hanging(world: &World) -> Result<Verdict> {
    if let Some(skipped) = world.skips_without_seawall() {
        return Ok(skipped);
    }
    let directory = world.directory()?;
    let path = directory.join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut serve = command(env!("CARGO_BIN_EXE_seawall"));
    serve.arg("serve").env("NOTIFY_SOCKET", &path);
    serve.env("WATCHDOG_USEC", WATCHDOG);
    serve.env("CACHE_DIRECTORY", directory.join("cache"));
    serve.env("SEAWALL_SERVER__LISTEN", free_address()?);
    serve.env("SEAWALL_SERVER__ADMIN", free_address()?);
    let mut process = Process::start("hanging", serve, &directory)?;
    world.note_log(process.log());
    told(&socket, "WATCHDOG=1")?;
    told(&socket, "WATCHDOG=1")?;
    // Each worker stays in the call by which it waits for work.
    let waits = "epoll_wait,epoll_pwait,epoll_pwait2,futex";
    let mut strace = command("strace");
    strace.args(["-q", "-o", "/dev/null", "-e", &format!("trace={waits}")]);
    strace.args(["-e", &format!("inject={waits}:delay_exit=60000000")]);
    for worker in workers(process.id())? {
        strace.args(["-p", &worker]);
    }
    let mut strace = Process::start("strace", strace, &directory)?;
    wait_until("the beats to stop", SOON, || heard(&socket, SILENCE).is_empty())?;
    let meanwhile = heard(&socket, SILENCE);
    strace.stop()?;
    told(&socket, "WATCHDOG=1")?;
    let status = process.stop()?;
    match (meanwhile.is_empty(), status.success()) {
        (true, true) => Ok(Verdict::Passed),
        (false, _) => Err(format!("while it hung, systemd was told {meanwhile:?}").into()),
        (true, false) => Err(format!("it ended with {status}").into()),
    }
}
