//! Parses arguments, runs, exits with the code of section 9 of the contract.

use std::process::ExitCode;

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long freed memory is kept before it goes back to the system: `mi_option_purge_delay` in
/// `mimalloc.h`, which the bindings do not name. `MIMALLOC_PURGE_DELAY` goes before it.
const PURGE_DELAY: mi_option_t = 15;
/// In milliseconds. What one flush of clicks takes, the next one takes again: given back in
/// between, each page of it would be cleared anew, which costs more than the flush.
const KEPT_MS: i64 = 10_000;

#[expect(unsafe_code, reason = "settings of the allocator are a C function")]
fn main() -> ExitCode {
    // SAFETY: it stores a number, and no other thread runs yet.
    unsafe { mi_option_set_default(PURGE_DELAY, KEPT_MS) };
    shunt::cli::main()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_that_of_the_delay() {
        // Its default, in milliseconds.
        #[expect(unsafe_code, reason = "settings of the allocator are a C function")]
        let delay = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(delay, 1_000);
    }
}
