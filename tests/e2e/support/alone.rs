//! A program of one test, which has a directory of its own and prints as the end-to-end tests do.

use std::path::Path;
use std::process::ExitCode;

use super::process::{Result, tail};

/// Runs the test; where it fails, the ends of these logs in its directory are printed, too.
pub(crate) fn run_alone(name: &str, logs: &[&str], test: impl FnOnce(&Path) -> Result) -> ExitCode {
    let directory = match tempfile::tempdir() {
        Ok(directory) => directory,
        Err(error) => {
            println!("FAILED  there is no directory for it: {error}\n\n0 passed, 1 failed");
            return ExitCode::FAILURE;
        }
    };
    match test(directory.path()) {
        Ok(()) => {
            println!("ok      {name}\n\n1 passed, 0 failed");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("FAILED  {name}\n{error}");
            for log in logs {
                println!("--- {log}\n{}", tail(&directory.path().join(log), 30));
            }
            println!("\n0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}
