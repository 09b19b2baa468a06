//! A node: namespaces of its own (network, mounts, processes, host name, IPC, control groups) with a first process that
//! starts and stops the node's programs. Killing the keeper, or the first process, ends everything in the node, because
//! the kernel ends a process namespace with its first process.

pub(crate) mod control;
mod enter;
mod keeper;
mod mounts;
mod supervisor;

pub use enter::{become_program, enter};
pub use keeper::{init, keep};

pub(crate) use keeper::start;
