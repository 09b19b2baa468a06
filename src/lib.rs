//! Blue-green releases for Kubernetes, measured instead of hoped for.
//!
//! A release is a pure function of what is observed ([`release`]); the [`controller`] observes and carries out, the
//! [`drain_agent`] counts the sockets of the pods that are being left, [`probe`] makes one attempt of a smoke probe.

pub mod api;
pub mod controller;
pub mod drain_agent;
pub mod listen;
pub mod pauses;
pub mod probe;
pub mod release;
pub mod serve;
pub mod signal;
