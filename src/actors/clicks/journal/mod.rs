//! The journal: segments of clicks that are not in the store yet.
//!
//! One folder holds `epoch` (that of the process that last used it), `lock`, one file
//! `<id>.seg` per segment, and `damaged/` for segments that an operator should look at. What ends
//! in `.new` or `.idle` is on its way to be a segment and holds no clicks.

mod boot;
mod head;
mod record;
pub(super) mod scan;
pub(super) mod segment;
pub(super) mod spool;
mod verify;

pub use boot::Boot;
pub(super) use head::HEADER_BYTES;
pub use head::Header;
pub use record::{Layout, Record};
pub use scan::{Damage, Scanned, header, scan};
pub use spool::segment_in_name;
pub use verify::{FileReport, FileState, verify};
