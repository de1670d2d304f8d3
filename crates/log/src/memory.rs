//! Memory implementation.
