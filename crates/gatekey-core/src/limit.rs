//! Placeholder for throttling.
