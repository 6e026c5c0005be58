//! What the disk below `storage.path` cannot promise.

use std::path::Path;

use rustix::fs::statfs;
use tracing::warn;

/// File systems that write every change to new blocks, by the number that `statfs` gives them.
const COPY_ON_WRITE: [(u32, &str); 3] =
    [(0x9123_683e, "Btrfs"), (0x2fc1_2fc1, "ZFS"), (0xca45_1a4e, "bcachefs")];

/// Warns of a file system on which blocks cannot be had beforehand. The journal is written through
/// mapped memory: a write that finds no block there ends the process, and cannot be refused.
pub(super) fn warn_of_copy_on_write(path: &Path) {
    // What cannot be asked will fail where it is used, in better words.
    let Ok(found) = statfs(path) else { return };
    if let Some(name) = copy_on_write(found.f_type as u32) {
        warn!(
            path = %path.display(),
            "`storage.path` is on {name}, which copies what it writes: when that disk is full, \
             the system may end this process; choose a place on ext4 or XFS, or never let it fill"
        );
    }
}

fn copy_on_write(kind: u32) -> Option<&'static str> {
    COPY_ON_WRITE.iter().find(|(known, _)| *known == kind).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_file_systems_that_copy_on_write_are_warned_of() {
        for (kind, name) in [
            (0x9123_683e, Some("Btrfs")),
            (0x2fc1_2fc1, Some("ZFS")),
            (0xca45_1a4e, Some("bcachefs")),
            (0xef53, None),      // ext4
            (0x5846_5342, None), // XFS
            (0x0102_1994, None), // tmpfs
        ] {
            assert_eq!(copy_on_write(kind), name);
        }
    }
}
