//! Placeholder for the memory store.
