//! The release core, tested without a cluster: tables of single plans, whole stories against idealised peers, and properties.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod alone;
mod apart;
mod asking;
pub mod fixtures;
mod invariants;
mod jobs;
mod peers;
mod simulator;
mod writes;

mod baking;
mod budgets;
mod commands;
mod configs;
mod converging;
mod draining;
mod grouping;
mod hooking;
mod intent;
mod job_probes;
mod judging;
mod local;
mod metadata;
mod metrics;
mod overlapping;
mod parting;
mod paused;
mod properties;
mod releasing;
mod scaling;
mod services;
mod sizes;
mod smoke;
mod switching;
mod together;
mod unreadable;
