//! The operator in a simulated world: its own code, on an API server in memory, among miniature peers that take their time, while things go
//! wrong. One seed is one run, always the same.

pub mod agenda;
pub mod basis;
pub mod bystander;
pub mod controller;
pub mod faults;
pub mod fidelity;
pub mod group;
pub mod history;
pub mod intent;
pub mod invariants;
pub mod json;
#[cfg(feature = "clock")]
pub mod matrix;
pub mod peers;
pub mod people;
pub mod random;
#[cfg(feature = "clock")]
pub mod run;
pub mod scenario;
pub mod setup;
pub mod sim;
pub mod store;
pub mod story;
pub mod transcript;
pub mod watch;
pub mod what;
