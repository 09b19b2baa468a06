//! The kinds of `bluegreen.dev/v1alpha1`, one file a concern: fields, defaults and the rules that refuse what can never
//! work stand together.

mod bake;
mod blue_green_deployment;
mod condition;
mod config;
mod connection_watch;
mod crd;
mod disruption_budget;
mod drain;
mod exec;
mod group;
mod hooks;
mod http_probe;
pub mod keys;
mod metric;
mod pod_metadata;
mod pod_template;
mod prometheus;
mod smoke_probe;
mod status;
mod traffic;
mod webhook;

pub use bake::*;
pub use blue_green_deployment::*;
pub use condition::*;
pub use config::*;
pub use connection_watch::*;
pub use crd::*;
pub use disruption_budget::*;
pub use drain::*;
pub use exec::*;
pub use group::*;
pub use hooks::*;
pub use http_probe::*;
pub use metric::*;
pub use pod_metadata::*;
pub use pod_template::*;
pub use prometheus::*;
pub use smoke_probe::*;
pub use status::*;
pub use traffic::*;
pub use webhook::*;
