//! The operator in a simulated world: its own code, on an API server in memory, among miniature peers that take their time, while things go
//! wrong. One seed is one run, always the same.

pub mod agenda;
pub mod controller;
pub mod faults;
pub mod history;
pub mod intent;
pub mod invariants;
pub mod json;
pub mod matrix;
pub mod peers;
pub mod people;
pub mod random;
pub mod run;
pub mod scenario;
pub mod setup;
pub mod sim;
pub mod store;
pub mod transcript;
pub mod watch;
