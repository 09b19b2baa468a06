//! The cluster that all happens on: an embedded one, kind, or whatever the kubeconfig points to.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cluster::progress::Progress;
use cluster::{Cluster, Options};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::task::block_in_place;

use crate::failure::{Failure, Result, io};
use crate::programs::{beside, run, source};
use crate::shop::{NAMESPACE, USERS};

/// Name of the kind cluster, as kind-config.yaml has it.
const KIND: &str = "bluegreen";

/// The cluster that all happens on.
#[derive(Clone, Debug)]
pub enum Place {
    /// A cluster of this workspace's own making.
    Embedded(Cluster),
    /// A cluster made with kind.
    Kind {
        /// Its kubeconfig.
        kubeconfig: PathBuf,
    },
    /// A cluster that was there.
    Current {
        /// The kubeconfig's context, as the user typed it.
        context: String,
    },
}

impl Place {
    /// Brings up an embedded cluster, or finds it running.
    ///
    /// # Errors
    /// As the cluster says.
    pub fn embedded(options: &Options, progress: &mut dyn Progress) -> Result<Self> {
        Ok(Self::Embedded(block_in_place(|| Cluster::up(options, progress))?.0))
    }

    /// Makes a cluster with kind, or takes the one that is there.
    ///
    /// # Errors
    /// As kind says.
    pub fn kind() -> Result<Self> {
        let kubeconfig = beside("demo")?.with_file_name("kind.kubeconfig");
        let there = run(Command::new("kind").args(["get", "clusters"]))?.lines().any(|name| name == KIND);
        let mut command = Command::new("kind");
        if there {
            command.args(["export", "kubeconfig", "--name", KIND]);
        } else {
            command.args(["create", "cluster", "--wait", "120s", "--config"]).arg(source("kind-config.yaml"));
        }
        run(command.arg("--kubeconfig").arg(&kubeconfig))?;
        Ok(Self::Kind { kubeconfig })
    }

    /// Takes the cluster of the kubeconfig's current context, if the user types its name.
    ///
    /// # Errors
    /// If there is no kubeconfig, or something else was typed.
    pub fn current(input: &mut dyn BufRead, output: &mut dyn Write) -> Result<Self> {
        let context = Kubeconfig::read()?.current_context.ok_or_else(|| Failure::Said("the kubeconfig has no current context".into()))?;
        let question = format!(
            "This installs the operator and a sample app (namespaces bluegreen-system and {NAMESPACE}) through the context\n  {context}\nType its name to go on: "
        );
        output.write_all(question.as_bytes()).and_then(|()| output.flush()).map_err(io("asking"))?;
        let mut answer = String::new();
        input.read_line(&mut answer).map_err(io("reading the answer"))?;
        if answer.trim() == context { Ok(Self::Current { context }) } else { Err(Failure::Said("that is not its name; nothing was done".into())) }
    }

    /// A client with the kubeconfig's rights.
    ///
    /// # Errors
    /// If the kubeconfig can't be used.
    pub async fn client(&self) -> Result<Client> {
        let (kubeconfig, context) = match self {
            Self::Embedded(cluster) => (Kubeconfig::read_from(cluster.kubeconfig())?, None),
            Self::Kind { kubeconfig } => (Kubeconfig::read_from(kubeconfig)?, None),
            Self::Current { context } => (Kubeconfig::read()?, Some(context.clone())),
        };
        let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
        Ok(Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &options).await?)?)
    }

    /// kubectl; add arguments.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        self.tool("kubectl", "--context")
    }

    /// helm; add arguments.
    #[must_use]
    pub fn helm(&self) -> Command {
        self.tool("helm", "--kube-context")
    }

    fn tool(&self, name: &str, context_flag: &str) -> Command {
        match self {
            Self::Embedded(cluster) => {
                let mut command = Command::new(cluster.tools_dir().join(name));
                command.env("KUBECONFIG", cluster.kubeconfig());
                command
            }
            Self::Kind { kubeconfig } => {
                let mut command = Command::new(name);
                command.env("KUBECONFIG", kubeconfig);
                command
            }
            Self::Current { context } => {
                let mut command = Command::new(name);
                command.args([context_flag, context]);
                command
            }
        }
    }

    /// Puts an image archive on the nodes; at a cluster that was there before, images come from a registry.
    ///
    /// # Errors
    /// As the cluster says.
    pub fn load_image(&self, archive: &Path) -> Result {
        match self {
            Self::Embedded(cluster) => Ok(block_in_place(|| cluster.load_image(archive))?),
            Self::Kind { .. } => run(Command::new("kind").args(["load", "image-archive", "--name", KIND]).arg(archive)).map(drop),
            Self::Current { .. } => Ok(()),
        }
    }

    /// A directory for files that are needed for a moment. The embedded cluster's goes with the cluster, also where this program
    /// is interrupted.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        match self {
            Self::Embedded(cluster) => cluster.scratch_dir(),
            Self::Kind { .. } | Self::Current { .. } => std::env::temp_dir(),
        }
    }

    /// Whether users need a pod to live in: the embedded cluster's nodes can be entered instead.
    #[must_use]
    pub fn needs_users_pod(&self) -> bool {
        !matches!(self, Self::Embedded(_))
    }

    /// Where users are, for people.
    #[must_use]
    pub fn users_are(&self) -> &'static str {
        if self.needs_users_pod() { "in the pod `users`" } else { "in the network of node 2" }
    }

    /// The load generator with its arguments, where users are.
    ///
    /// # Errors
    /// If it was not built.
    pub fn load(&self, words: &[&str]) -> Result<Command> {
        match self {
            Self::Embedded(cluster) => {
                let program = beside("load")?;
                let argv = std::iter::once(program.as_os_str()).chain(words.iter().map(std::ffi::OsStr::new));
                Ok(cluster.command_in_node(cluster.nodes(), argv)?)
            }
            Self::Kind { .. } | Self::Current { .. } => {
                let mut command = self.kubectl();
                command.args(["--namespace", NAMESPACE, "exec", "--stdin", USERS, "--", "/load"]).args(words).stderr(Stdio::null());
                Ok(command)
            }
        }
    }

    /// How to look at the cluster, and how to remove what is left there: command lines.
    #[must_use]
    pub fn afterwards(&self) -> (Vec<String>, Vec<String>) {
        let watch = format!("kubectl -n {NAMESPACE} get bgd -w");
        match self {
            Self::Embedded(cluster) => {
                let kubeconfig = format!("export KUBECONFIG={}", cluster.kubeconfig().display());
                let path = format!("export PATH={}:$PATH", cluster.tools_dir().display());
                (vec![kubeconfig, path, watch], vec!["make demo-down".into()])
            }
            Self::Kind { kubeconfig } => {
                (vec![format!("export KUBECONFIG={}", kubeconfig.display()), watch], vec![format!("kind delete cluster --name {KIND}")])
            }
            Self::Current { context } => {
                let namespace = format!("kubectl --context {context} delete namespace {NAMESPACE} bluegreen-system");
                let helm = format!("helm --kube-context {context} uninstall bluegreen-operator --namespace bluegreen-system");
                (vec![format!("{watch} --context {context}")], vec![helm, namespace])
            }
        }
    }
}
