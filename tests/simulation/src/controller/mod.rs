//! The operator's own code in the simulated world: its API server, its clock, its way to the pods, its processes.

pub mod api;
pub mod clock;
pub mod prober;
pub mod process;
pub mod serve;
