//! The binary: everything is in the library.

use std::process::ExitCode;

/// The platform's own costs a fifth of a request, and keeps the memory of a burst.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    llmproxy::cli::main()
}
