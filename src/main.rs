//! Parses arguments, runs, exits with the code of section 9 of the contract.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    shunt::cli::main()
}
