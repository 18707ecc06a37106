//! The binary: hands its arguments to the library and its exit code to the shell. No logic.

/// Gives freed pages back, which the system's allocator keeps: idle connections cost little.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    pellucid::cli::run()
}
