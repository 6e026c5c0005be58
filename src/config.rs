//! Configuration: file and environment into every module's section.
