//! The `seawall` command.

/// Returns memory to the system after bursts, and keeps large buffers from fragmenting the heap.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    seawall::cli::main()
}
