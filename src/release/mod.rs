//! A release as a pure function: [`plan`] takes a [`Snapshot`] and the time and answers what to do.
//!
//! One file a step. Nothing here talks to anybody, reads a clock or rolls dice.

pub mod action;
mod again;
pub mod bake;
pub mod begin;
pub mod bring_up;
pub mod budget;
pub mod command;
pub mod conditions;
pub mod config;
pub mod converge;
pub mod copies;
pub mod drain;
pub mod group;
pub mod growth;
pub mod history;
pub mod hooks;
pub mod intent;
pub mod judge;
pub mod local;
pub mod metadata;
pub mod metric;
pub mod overlap;
pub mod part;
pub mod peer;
pub mod plan;
pub mod preflight;
pub mod preview;
pub mod promotion;
pub mod reached;
pub mod revision;
pub mod rollback;
pub mod scale;
pub mod services;
pub mod set;
pub mod smoke;
pub mod snapshot;
pub mod status;
pub mod switch;
pub mod view;
pub mod window;

#[cfg(test)]
mod tests;

pub use action::{Action, Effects, Plan};
pub use peer::Peer;
pub use plan::plan;
pub use set::*;
pub use snapshot::*;
