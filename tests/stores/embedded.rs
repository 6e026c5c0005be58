//! What the embedded store must withstand beyond the suite.
