//! The embedded store: SQLite in write-ahead mode, one writer thread with group commit, a few readers.
