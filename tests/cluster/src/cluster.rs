//! A running cluster: what can be asked of it and done to it.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::api::Api;
use crate::component::Component;
use crate::dist::{self, Dist};
use crate::error::{Doing, Error, Result};
use crate::image::hex;
use crate::layout::{Layout, MAX_NODES, ROOT};
use crate::node::control::{Program, Request, ask};
use crate::process::{Process, wait_for, write_json};
use crate::progress::Progress;
use crate::{config, helper, hub, requirements, up};

/// What `up` is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// 1 to 20 lower-case letters, digits and dashes. Clusters of different names run side by side.
    pub name: String,
    /// 1 to 9. Node 1 also holds the control plane.
    pub nodes: usize,
    /// Whether the API server writes an audit log (level Metadata): see [`Cluster::audit_log`].
    pub audit: bool,
}

/// What is kept of a running cluster for the commands that come later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) nodes: usize,
    pub(crate) audit: bool,
    /// The API server's port on the host's 127.0.0.1.
    pub(crate) port: u16,
    pub(crate) dist: Dist,
    /// Stands for the programs, their flags and their configuration: see [`made_of`].
    #[serde(default)]
    pub(crate) made_of: String,
}

/// A name for all that a cluster is started with; another one, another cluster.
fn made_of(layout: &Layout, dist: &Dist, nodes: usize, audit: bool) -> String {
    let mut hash = Sha256::new();
    for node in 1..=nodes {
        for component in Component::ALL.into_iter().filter(|component| component.runs_on(node)) {
            hash.update(component.argv(layout, dist, node, audit).join("\0"));
        }
        for (_, text) in config::files(layout, dist, node) {
            hash.update(text);
        }
    }
    hex(&hash.finalize())
}

/// A handle to a running cluster. Dropping it changes nothing: the cluster runs until [`Cluster::down`].
#[derive(Debug, Clone)]
pub struct Cluster {
    pub(crate) layout: Layout,
    pub(crate) record: Record,
}

/// How a cluster came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It ran already, with the same options and all its parts well.
    Running,
    /// It was started.
    Started,
}

/// One program of one node, for `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The node it belongs to; 0 for the hub, which belongs to none.
    pub node: usize,
    /// What it is.
    pub program: Program,
}

impl Cluster {
    /// Starts a cluster, or finds it running: then at once. Builds what is missing first. What an interrupted or broken
    /// cluster of the same name left is cleared. When this returns, all nodes are Ready, the default ServiceAccount
    /// exists and DNS answers.
    ///
    /// # Errors
    /// When the machine lacks something (the message names the command that brings it), when a cluster of that name
    /// runs with other options or was started by another version, or when something does not start in time (the message
    /// names the logs).
    pub fn up(options: &Options, progress: &mut dyn Progress) -> Result<(Self, Found)> {
        let layout = Layout::new(&options.name)?;
        if !(1..=MAX_NODES).contains(&options.nodes) {
            return Err(Error::Nodes(options.nodes));
        }
        requirements::for_up()?;
        let dist = dist::build(progress)?;
        let made_of = made_of(&layout, &dist, options.nodes, options.audit);
        let _lock = lock(&layout)?;
        if let Ok(cluster) = Self::attach(&options.name)
            && cluster.health().is_ok()
        {
            let same = cluster.record.nodes == options.nodes && cluster.record.audit == options.audit;
            return if same && cluster.record.made_of != made_of {
                Err(Error::OtherVersion(options.name.clone()))
            } else if same {
                Ok((cluster, Found::Running))
            } else {
                let audit = if cluster.record.audit { "an audit log" } else { "no audit log" };
                let running = format!("{} nodes and {audit}", cluster.record.nodes);
                Err(Error::OtherOptions { name: options.name.clone(), running })
            };
        }
        crate::down::clear(&layout)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).doing(|| "taking a free port for the API server".into())?;
        let port = listener.local_addr().doing(|| "reading the API server's port".into())?.port();
        let cluster = Self { record: Record { nodes: options.nodes, audit: options.audit, port, dist, made_of }, layout };
        up::start(&cluster, listener, progress)?;
        Ok((cluster, Found::Started))
    }

    /// A handle to the cluster of that name, which must have been started; whether it is well is not looked at.
    ///
    /// # Errors
    /// When there is no such cluster.
    pub fn attach(name: &str) -> Result<Self> {
        let layout = Layout::new(name)?;
        requirements::root()?;
        let path = layout.record();
        let text = std::fs::read(&path).map_err(|_| Error::NoSuchCluster(name.into()))?;
        let record = serde_json::from_slice(&text).map_err(|source| Error::State { path, source })?;
        Ok(Self { layout, record })
    }

    /// Ends the cluster: every process, namespace, mount, control group and file of it.
    ///
    /// # Errors
    /// When something resists, such as a process that waits for a disk.
    pub fn down(self) -> Result<()> {
        down(self.name())
    }

    /// The cluster's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.layout.name()
    }

    /// The number of nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.record.nodes
    }

    /// The name of node `node` (1 to [`Cluster::nodes`]) in Kubernetes.
    #[must_use]
    pub fn node_name(&self, node: usize) -> String {
        self.layout.node_name(node)
    }

    /// The address of node `node` inside the cluster, where its NodePorts are.
    #[must_use]
    pub fn node_address(&self, node: usize) -> std::net::Ipv4Addr {
        crate::layout::node_address(node)
    }

    /// An administrator's kubeconfig, for use on the host.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig()
    }

    /// The API server's audit log, a JSON object a line; none unless it was asked for.
    #[must_use]
    pub fn audit_log(&self) -> Option<PathBuf> {
        self.record.audit.then(|| self.layout.audit_log())
    }

    /// The directory of all logs: `nK-COMPONENT.log`. They go with the cluster.
    #[must_use]
    pub fn logs_dir(&self) -> PathBuf {
        self.layout.logs()
    }

    /// A directory for archives and the like, which goes with the cluster.
    #[must_use]
    pub fn scratch_dir(&self) -> PathBuf {
        self.layout.scratch()
    }

    /// kubectl and helm of this cluster's version.
    #[must_use]
    pub fn tools_dir(&self) -> PathBuf {
        self.record.dist.tools()
    }

    /// kubectl with this cluster's kubeconfig; add arguments.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(self.tools_dir().join("kubectl"));
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// Loads an image archive, as `docker save` or [`crate::image::Image`] writes it, into every running node's store.
    ///
    /// # Errors
    /// When the file can't be read or containerd refuses it.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        up::on_all_nodes(self.nodes(), |node| match Process::recorded(&self.layout.init(node)) {
            Some(_) => self.load_image_on(node, archive),
            None => Ok(()),
        })
    }

    pub(crate) fn load_image_on(&self, node: usize, archive: &Path) -> Result<()> {
        let file = File::open(archive).doing(|| format!("opening {}", archive.display()))?;
        let ctr = self.record.dist.runtime_bin().join("ctr");
        let mut command =
            self.command_inside(node, [ctr.as_os_str(), "-n".as_ref(), "k8s.io".as_ref(), "images".as_ref(), "import".as_ref(), "-".as_ref()])?;
        // Through standard input: the file may be where the node does not see it.
        let output = command.stdin(file).output().doing(|| "starting ctr".into())?;
        succeeded("ctr images import", &output)
    }

    /// Runs a program inside a node, with the node's files, processes and network, and returns its output.
    ///
    /// # Errors
    /// When the node does not run. A program that fails is no error: look at the output's status.
    pub fn exec<S: AsRef<std::ffi::OsStr>>(&self, node: usize, argv: impl IntoIterator<Item = S>) -> Result<Output> {
        self.command_inside(node, argv)?.stdin(Stdio::null()).output().doing(|| "starting a program in the node".into())
    }

    /// A program that will run inside a node, with the node's files, processes and network. It is killed when the
    /// process that this command starts is, or the node.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn command_inside<S: AsRef<std::ffi::OsStr>>(&self, node: usize, argv: impl IntoIterator<Item = S>) -> Result<Command> {
        self.enter(node, &[], argv)
    }

    /// A program that will run on the host but in a node's network, where pods, Services and NodePorts can be reached:
    /// for load generators. The started process is the program itself: killing it kills the program. It lives on
    /// when the node is killed, and ends with the cluster.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn command_in_node<S: AsRef<std::ffi::OsStr>>(&self, node: usize, argv: impl IntoIterator<Item = S>) -> Result<Command> {
        self.enter(node, &["--network-only"], argv)
    }

    fn enter<S: AsRef<std::ffi::OsStr>>(&self, node: usize, flags: &[&str], argv: impl IntoIterator<Item = S>) -> Result<Command> {
        self.check_node(node)?;
        let mut command = Command::new(helper::program()?);
        command.args([helper::ENTER, "--state"]).arg(self.layout.dir()).args(["--node", &node.to_string()]);
        command.args(flags).arg("--").args(argv);
        Ok(command)
    }

    /// The programs of all nodes and whether they run. A node that does not answer counts as one that is not running.
    #[must_use]
    pub fn status(&self) -> Vec<State> {
        let mut states = vec![State { node: 0, program: Program { name: "hub".into(), running: hub::running(&self.layout).is_some(), end: None } }];
        for node in 1..=self.nodes() {
            match self.programs(node) {
                Ok(programs) => states.extend(programs.into_iter().map(|program| State { node, program })),
                Err(_) => states.push(State { node, program: Program { name: "node".into(), running: false, end: None } }),
            }
        }
        states
    }

    pub(crate) fn programs(&self, node: usize) -> Result<Vec<Program>> {
        ask(&self.layout, node, &Request::List)
    }

    /// Whether the cluster was started to its end, every part runs and the API server is ready; the error names what is not.
    ///
    /// # Errors
    /// When a start was interrupted, a program is not running or the API server is not ready.
    pub fn health(&self) -> Result<()> {
        // A start that is killed after its last program was started has nodes that never got Ready, or no DNS.
        if !self.layout.started().exists() {
            return Err(Error::Node { node: 1, message: "was never started to its end".into() });
        }
        self.parts()
    }

    /// Whether every part runs and the API server is ready, though the start may not have come to its end.
    pub(crate) fn parts(&self) -> Result<()> {
        let states = self.status();
        if let Some(state) = states.iter().find(|state| !state.program.running) {
            return Err(Error::Node { node: state.node, message: format!("{} is not running", state.program.name) });
        }
        let expected: usize = 1 + (1..=self.nodes()).map(|node| Component::ALL.into_iter().filter(|one| one.runs_on(node)).count()).sum::<usize>();
        if states.len() < expected {
            return Err(Error::Node { node: 1, message: "lacks programs".into() });
        }
        self.wait_ready(Duration::from_secs(2))
    }

    pub(crate) fn api(&self) -> Result<Api> {
        Api::new(&self.layout, self.record.port)
    }

    pub(crate) fn wait_ready(&self, within: Duration) -> Result<()> {
        let api = self.api()?;
        self.wait("an API server that is ready", within, || Ok(api.ready().then_some(())))
    }

    /// Waits for something about the cluster, or fails with the place of the logs.
    pub(crate) fn wait<T>(&self, what: &str, within: Duration, ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        wait_for(within, Duration::from_millis(25), ask)?.ok_or_else(|| Error::Timeout { what: what.into(), after: within, logs: self.layout.logs() })
    }

    pub(crate) fn write_record(&self) -> Result<()> {
        write_json(&self.layout.record(), &self.record)
    }

    pub(crate) fn check_node(&self, node: usize) -> Result<()> {
        if (1..=self.nodes()).contains(&node) {
            return Ok(());
        }
        Err(Error::NoSuchNode { cluster: self.name().into(), node, nodes: self.nodes() })
    }
}

/// Ends the cluster `name` and clears whatever is left of it; that there is none is fine.
///
/// # Errors
/// When something resists, such as a process that waits for a disk.
pub fn down(name: &str) -> Result<()> {
    let layout = Layout::new(name)?;
    requirements::root()?;
    let lock = lock(&layout)?;
    crate::down::clear(&layout)?;
    crate::places::remove_unused(layout.root(), || crate::down::any_is_there(layout.root()))?;
    // Removed while it is held: who waits for it gets the same file and goes on.
    let _ = std::fs::remove_file(layout.lock());
    drop(lock);
    Ok(())
}

/// The names of all clusters of which anything is left: a directory, a process or a control group.
///
/// # Errors
/// When the control groups can't be read.
pub fn names() -> Result<Vec<String>> {
    crate::down::names(Path::new(ROOT))
}

/// Keeps a second `up` or `down` of the same cluster waiting until the lock is dropped; a process that dies drops it.
fn lock(layout: &Layout) -> Result<Flock<File>> {
    std::fs::create_dir_all(ROOT).doing(|| format!("making {ROOT}"))?;
    loop {
        let path = layout.lock();
        let doing = || format!("locking {}", path.display());
        let file = File::create(&path).doing(doing)?;
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).doing(doing)?;
        // A `down` may have removed the file while this waited for it; then the lock is on nothing.
        use std::os::unix::fs::MetadataExt;
        let held = lock.metadata().doing(doing)?.ino();
        if std::fs::metadata(&path).is_ok_and(|now| now.ino() == held) {
            return Ok(lock);
        }
    }
}

pub(crate) fn succeeded(command: &str, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    Err(Error::Command { command: command.into(), status: output.status, output: String::from_utf8_lossy(&text).trim().into() })
}
