//! Query strings: what a visitor brought, merged into where the link leads.

/// `location` with the visitor's parameters: equal names are overridden, `strip` is removed, the
/// fragment stays last. The result is printable ASCII. Unchanged input borrows.
pub fn merge_query(_location: &str, _visitor_query: &str, _strip: &str) -> String {
    unreachable!("replaced by the domain work package")
}

/// True when `query` has a parameter called `name`, with or without a value.
pub fn has_parameter(_query: &str, _name: &str) -> bool {
    unreachable!("replaced by the domain work package")
}
