//! Which run of the kernel this is: what a killed process left in mapped memory is whole as long as
//! the kernel runs on, and only then.

use std::fs;
use std::sync::LazyLock;

/// Linux makes a new one with every start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A run of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Boot(pub [u8; 16]);

static CURRENT: LazyLock<Boot> = LazyLock::new(|| {
    let text = fs::read_to_string(BOOT_ID).unwrap_or_default();
    // Where there is no such file, all runs are taken for one.
    let hash = if text.is_empty() { [0; 32] } else { *blake3::hash(text.as_bytes()).as_bytes() };
    let mut boot = Boot::default();
    boot.0.copy_from_slice(&hash[..16]);
    boot
});

impl Boot {
    pub fn current() -> Self {
        *CURRENT
    }
}
