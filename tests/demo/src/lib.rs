//! A real release to watch, and measured.
//!
//! Two programs: `demo` brings up a Kubernetes, installs the operator, and tells of a release while users are connected;
//! `bench` measures the operator on a cluster of its own and writes docs/benchmarks.md. Both take the other programs of this
//! workspace from beside themselves, so everything must be built before.

pub mod failure;
pub mod figures;
pub mod install;
pub mod place;
pub mod programs;
pub mod screen;
pub mod shop;
pub mod timeline;
pub mod users;
pub mod watch;
