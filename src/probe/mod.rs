//! One attempt of a smoke probe.
