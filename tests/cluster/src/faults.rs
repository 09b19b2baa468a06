//! What can be done to a running cluster to see how others bear it, and undone.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::cluster::Cluster;
use crate::component::Component;
use crate::error::{Error, Result};
use crate::node::control::{Request, ask};
use crate::process::Process;
use crate::{down, hub, network, up};

impl Cluster {
    /// Signals a component. If the signal ends it (any but SIGSTOP, SIGCONT, SIGHUP, SIGUSR1 and SIGUSR2), this returns
    /// when it has ended. Nothing starts it again but [`Cluster::start`].
    ///
    /// # Errors
    /// When it is not running, or does not run on that node, or does not end within 40 s.
    pub fn stop(&self, component: Component, node: usize, signal: Signal) -> Result<()> {
        self.check_component(component, node)?;
        let wait = !matches!(signal, Signal::SIGSTOP | Signal::SIGCONT | Signal::SIGHUP | Signal::SIGUSR1 | Signal::SIGUSR2);
        ask(&self.layout, node, &Request::Signal { name: component.name().into(), signal: signal as i32, wait }).map(|_| ())
    }

    /// Starts a component that has ended, or continues one that was stopped with SIGSTOP. For the API server, this
    /// returns when it is ready again.
    ///
    /// # Errors
    /// When it can't be started, or the API server is not ready within 60 s.
    pub fn start(&self, component: Component, node: usize) -> Result<()> {
        self.check_component(component, node)?;
        if self.programs(node)?.iter().any(|program| program.name == component.name() && program.running) {
            self.stop(component, node, Signal::SIGCONT)?;
        } else {
            up::start_component(self, component, node)?;
        }
        if component == Component::KubeApiserver { self.wait_ready(Duration::from_secs(60)) } else { Ok(()) }
    }

    /// Cuts a node's link: no packet passes between it and the other nodes. Node 1's API server stays reachable from
    /// the host.
    ///
    /// # Errors
    /// When the hub or the node does not run.
    pub fn cut(&self, node: usize) -> Result<()> {
        self.link(node, false)
    }

    /// Restores a node's link.
    ///
    /// # Errors
    /// When the hub or the node does not run.
    pub fn restore(&self, node: usize) -> Result<()> {
        self.link(node, true)
    }

    fn link(&self, node: usize, up: bool) -> Result<()> {
        self.check_node(node)?;
        let hub = hub::running(&self.layout).ok_or_else(|| Error::NoSuchCluster(self.name().into()))?;
        network::inside(hub, || network::ip(&network::link(node, up)))
    }

    /// Kills a node with everything in it, as a power failure would. Its Node object, its disk and its images stay.
    ///
    /// # Errors
    /// When a process of it resists.
    pub fn kill_node(&self, node: usize) -> Result<()> {
        self.check_node(node)?;
        down::clear_node(&self.layout, node)
    }

    /// Starts a killed node again, with all its components; returns when it is Ready.
    ///
    /// # Errors
    /// When the node runs, or does not become Ready in time.
    pub fn start_node(&self, node: usize) -> Result<()> {
        self.check_node(node)?;
        if Process::recorded(&self.layout.init(node)).is_some() {
            return Err(Error::Node { node, message: "is running".into() });
        }
        up::restart_node(self, node)
    }

    fn check_component(&self, component: Component, node: usize) -> Result<()> {
        self.check_node(node)?;
        if component.runs_on(node) { Ok(()) } else { Err(Error::NotThere { component: component.name(), node }) }
    }
}
