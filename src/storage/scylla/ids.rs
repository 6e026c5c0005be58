//! Ids as CQL has them: its largest whole number has a sign.

use crate::domain::id::Id;

pub(super) const fn signed(id: Id) -> i64 {
    id.0 as i64
}

pub(super) const fn unsigned(id: i64) -> Id {
    Id(id as u64)
}
