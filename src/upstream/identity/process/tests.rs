//! Programs that behave, and those that do not: real ones, which the shell is told to be.

use std::os::unix::fs::OpenOptionsExt;

use super::*;

fn shell(script: &str) -> Vec<String> {
    vec!["-c".to_owned(), script.to_owned()]
}

async fn run(script: &str, limit: Duration) -> Result<Ended, String> {
    let command = Command {
        program: "/bin/sh".as_ref(),
        arguments: &shell(script),
        environment: &[("SECRET".to_owned(), Secret::new("CANARY".to_owned()))],
        timeout: limit,
    };
    command.run(b"registry.example".to_vec()).await
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_program_gets_its_input_and_little_environment_and_gives_its_output_and_its_end() {
    let ended = run("cat; echo; env | sort | cut -d= -f1 | tr '\\n' ' '; exit 3", LONG).await;
    let ended = ended.unwrap();
    let output = String::from_utf8(ended.output).unwrap();
    let (read, names) = output.split_once('\n').unwrap();
    assert_eq!(read, "registry.example");
    // The shell adds its own.
    let own = ["PWD", "OLDPWD", "SHLVL", "_"];
    let names: Vec<&str> = names
        .split_whitespace()
        .filter(|name| !own.contains(name))
        .collect();
    let allowed = ["HOME", "PATH", "SECRET"];
    assert!(
        names.iter().all(|name| allowed.contains(name)) && names.contains(&"SECRET"),
        "{names:?}"
    );
    assert!(!ended.success && ended.status.contains('3'), "{}", ended.status);
}

#[tokio::test]
async fn one_that_hangs_is_killed_with_all_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("alive");
    // Whoever holds the pipe's end is alive: it is closed when the last of them is gone.
    let script = format!(
        "mkfifo {0}; exec 9<>{0}; (sleep 1000) & echo started >&2; sleep 1000",
        pipe.display()
    );
    let hung = run(&script, Duration::from_millis(300)).await;
    assert_eq!(hung.err().unwrap(), "it did not end within 300ms");
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    let ended = async {
        // With no reader left, a writer cannot open it.
        let open = || {
            std::fs::OpenOptions::new()
                .write(true)
                .custom_flags(nonblocking)
                .open(&pipe)
        };
        while open().is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, ended)
        .await
        .expect("something of it lives on");
}

#[tokio::test]
async fn one_that_writes_without_end_is_ended() {
    let flood = run("yes CANARY", LONG).await;
    assert_eq!(flood.err().unwrap(), "it wrote more than 65536 bytes");
    let complaints = run(
        "i=0; while [ $i -lt 9999 ]; do echo CANARY >&2; i=$((i+1)); done; echo {}",
        LONG,
    )
    .await;
    assert!(complaints.is_ok_and(|ended| ended.output.len() <= 3));
    let missing = Command {
        program: "/nowhere/helper".as_ref(),
        arguments: &[],
        environment: &[],
        timeout: LONG,
    };
    assert!(
        missing
            .run(Vec::new())
            .await
            .err()
            .unwrap()
            .starts_with("it cannot be run: ")
    );
}

// S032
#[test]
fn complaints_are_quoted_in_one_short_line_without_what_may_be_secret() {
    let secret = "eyJhbGciOiJSUzI1NiIsImtpZCI6IkNBTkFSWSJ9";
    let text = format!("error:\n  token {secret} was\x1b[31m refused\r\n");
    assert_eq!(quotable(text.as_bytes()), "error: token *** was[31m refused");
    assert_eq!(quotable(&b"word ".repeat(1000)).chars().count(), 200);
    let answer = b"cannot store: { \"Username\": \"robot\", \"Secret\": \"hunter2\" }\n";
    assert_eq!(quotable(answer), "cannot store: ***");
    assert_eq!(quotable(b"{}"), "***");
}
