//! The command line.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cluster::image::Image;
use cluster::progress::Console;
use cluster::{Cluster, Component, Error, Found, Options, Result, Signal};

/// A real Kubernetes on this machine, for tests.
#[derive(Debug, Parser)]
#[command(name = "cluster", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, clap::Args)]
struct Name {
    /// The cluster's name
    #[arg(long, default_value = "bluegreen")]
    name: String,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build every program that is not built yet
    Build,
    /// Start a cluster, or find it running
    Up {
        #[command(flatten)]
        name: Name,
        /// How many nodes, 1 to 9
        #[arg(long, default_value_t = 2)]
        nodes: usize,
        /// Let the API server write an audit log
        #[arg(long)]
        audit: bool,
    },
    /// End a cluster and clear whatever is left of it
    Down {
        #[command(flatten)]
        name: Name,
        /// All clusters of this machine
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Show all clusters and whether their programs run
    Status,
    /// Print the path of a cluster's kubeconfig
    Kubeconfig(Name),
    /// Print the directory that holds kubectl and helm
    Tools,
    /// Print the directory that holds a cluster's logs
    Logs(Name),
    /// Load an image archive into every node
    LoadImage {
        #[command(flatten)]
        name: Name,
        /// As `cluster image` or `docker save` writes it
        archive: PathBuf,
    },
    /// Make an image archive out of files
    Image {
        /// The archive to write
        #[arg(long)]
        out: PathBuf,
        /// The image's name, such as localhost/shop:v1
        #[arg(long)]
        tag: String,
        /// The program and its first arguments, a word each
        #[arg(long, num_args = 1.., allow_hyphen_values = true, value_terminator = "--")]
        entrypoint: Vec<String>,
        /// User and group numbers, such as 65532:65532; root without
        #[arg(long)]
        user: Option<String>,
        /// A file of this machine and its path in the image
        #[arg(long = "file", value_name = "SRC=DST", value_parser = source_and_destination)]
        files: Vec<(PathBuf, String)>,
    },
    /// Run a program inside a node
    Exec {
        #[command(flatten)]
        name: Name,
        #[arg(long, default_value_t = 1)]
        node: usize,
        /// Take only the node's network; files and processes are the host's
        #[arg(long)]
        network_only: bool,
        #[arg(last = true, required = true)]
        argv: Vec<OsString>,
    },
    /// Signal a component
    Stop {
        #[command(flatten)]
        name: Name,
        #[arg(long)]
        component: Component,
        #[arg(long, default_value_t = 1)]
        node: usize,
        /// Such as SIGTERM or SIGSTOP
        #[arg(long, default_value = "SIGKILL", value_parser = signal)]
        signal: Signal,
    },
    /// Start a component that has ended, or continue one that was stopped
    Start {
        #[command(flatten)]
        name: Name,
        #[arg(long)]
        component: Component,
        #[arg(long, default_value_t = 1)]
        node: usize,
    },
    /// Cut a node's link to the others
    Cut(Node),
    /// Restore a node's link
    Restore(Node),
    /// Kill a node with everything in it; its Node object stays
    KillNode(Node),
    /// Start a killed node again
    StartNode(Node),
    /// Check on real clusters that all of this works; takes about three minutes
    Selfcheck,
    /// Say what is left of clusters, and fail if anything is
    Leftovers {
        /// Only of clusters with these names, or with these names, a dash and more
        names: Vec<String>,
    },
    #[command(flatten)]
    Helper(Helper),
}

#[derive(Debug, clap::Args)]
struct Node {
    #[command(flatten)]
    name: Name,
    #[arg(long)]
    node: usize,
}

/// What this program starts itself as.
#[derive(Debug, Subcommand)]
enum Helper {
    #[command(name = cluster::helper::HUB, hide = true)]
    Hub {
        #[arg(long)]
        state: PathBuf,
    },
    #[command(name = cluster::helper::KEEPER, hide = true)]
    Keeper {
        #[arg(long)]
        state: PathBuf,
        #[arg(long)]
        node: usize,
    },
    #[command(name = cluster::helper::INIT, hide = true)]
    Init {
        #[arg(long)]
        state: PathBuf,
        #[arg(long)]
        node: usize,
    },
    #[command(name = cluster::helper::ENTER, hide = true)]
    Enter {
        #[arg(long)]
        state: PathBuf,
        #[arg(long)]
        node: usize,
        #[arg(long)]
        network_only: bool,
        #[arg(last = true)]
        argv: Vec<OsString>,
    },
    #[command(name = cluster::helper::ANSWER, hide = true)]
    Answer {
        #[arg(long)]
        port: u16,
    },
    #[command(name = cluster::helper::BECOME, hide = true)]
    Become {
        #[arg(last = true)]
        argv: Vec<OsString>,
    },
}

fn source_and_destination(text: &str) -> Result<(PathBuf, String), String> {
    match text.split_once('=') {
        Some((from, to)) if to.starts_with('/') => Ok((from.into(), to.into())),
        _ => Err("give SRC=DST, with DST an absolute path".into()),
    }
}

fn signal(text: &str) -> Result<Signal, String> {
    text.parse().map_err(|_| "give a signal's name, such as SIGKILL, SIGTERM, SIGSTOP or SIGCONT".into())
}

/// Parses the command line and does what it says.
pub(crate) fn run() -> Result<ExitCode> {
    match Arguments::parse().command {
        Verb::Build => cluster::build(&mut Console::default())?,
        Verb::Up { name, nodes, audit } => up(&Options { name: name.name, nodes, audit })?,
        Verb::Down { name, all: false } => cluster::down(&name.name)?,
        Verb::Down { all: true, .. } => cluster::names()?.iter().try_for_each(|name| cluster::down(name))?,
        Verb::Status => status()?,
        Verb::Kubeconfig(Name { name }) => say(Cluster::attach(&name)?.kubeconfig().display())?,
        Verb::Tools => say(cluster::tools_dir(&mut Console::default())?.display())?,
        Verb::Logs(Name { name }) => say(Cluster::attach(&name)?.logs_dir().display())?,
        Verb::LoadImage { name, archive } => Cluster::attach(&name.name)?.load_image(&archive)?,
        Verb::Image { out, tag, entrypoint, user, files } => {
            let image = Image::new(tag).entrypoint(entrypoint).user(user.unwrap_or_default());
            files.into_iter().fold(image, |image, (from, to)| image.file(from, to)).write(&out)?;
        }
        Verb::Exec { name, node, network_only, argv } => {
            let cluster = Cluster::attach(&name.name)?;
            let mut command = if network_only { cluster.command_in_node(node, argv)? } else { cluster.command_inside(node, argv)? };
            let status = command.status().map_err(|source| Error::Io { doing: "starting a program in the node".into(), source })?;
            return Ok(exit_code(status.code().unwrap_or(1)));
        }
        Verb::Stop { name, component, node, signal } => Cluster::attach(&name.name)?.stop(component, node, signal)?,
        Verb::Start { name, component, node } => Cluster::attach(&name.name)?.start(component, node)?,
        Verb::Cut(Node { name, node }) => Cluster::attach(&name.name)?.cut(node)?,
        Verb::Restore(Node { name, node }) => Cluster::attach(&name.name)?.restore(node)?,
        Verb::KillNode(Node { name, node }) => Cluster::attach(&name.name)?.kill_node(node)?,
        Verb::StartNode(Node { name, node }) => Cluster::attach(&name.name)?.start_node(node)?,
        Verb::Selfcheck => {
            cluster::selfcheck(&mut Console::default())?;
            say("all checks passed")?;
        }
        Verb::Leftovers { names } => {
            let found = cluster::leftovers(&names)?;
            found.iter().try_for_each(say)?;
            if !found.is_empty() {
                return Err(Error::Left(found.len()));
            }
        }
        Verb::Helper(helper) => return run_helper(helper),
    }
    Ok(ExitCode::SUCCESS)
}

fn run_helper(helper: Helper) -> Result<ExitCode> {
    match helper {
        Helper::Hub { state } => cluster::run_hub(&state)?,
        Helper::Keeper { state, node } => cluster::keep(&state, node)?,
        Helper::Init { state, node } => cluster::init(&state, node)?,
        Helper::Enter { state, node, network_only, argv } => return cluster::enter(&state, node, network_only, &argv).map(exit_code),
        Helper::Answer { port } => cluster::answer(port)?,
        Helper::Become { argv } => return cluster::become_program(&argv, true).map(exit_code),
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a line; a reader that has gone away, as in a pipe to `head`, is an error and not a panic.
fn say(line: impl std::fmt::Display) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").map_err(|source| Error::Io { doing: "printing".into(), source })
}

fn exit_code(code: i32) -> ExitCode {
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn up(options: &Options) -> Result<()> {
    let begun = std::time::Instant::now();
    let mut console = Console::default();
    let (cluster, found) = Cluster::up(options, &mut console)?;
    drop(console);
    let (name, seconds) = (cluster.name(), begun.elapsed().as_secs_f64());
    match found {
        Found::Started => say(format_args!("cluster {name} is up after {seconds:.1} s"))?,
        Found::Running => say(format_args!("cluster {name} was up already"))?,
    }
    say(format_args!("export KUBECONFIG={} PATH={}:$PATH", cluster.kubeconfig().display(), cluster.tools_dir().display()))?;
    Ok(())
}

fn status() -> Result<()> {
    let names = cluster::names()?;
    if names.is_empty() {
        say(format_args!("no clusters"))?;
    }
    for name in names {
        let Ok(cluster) = Cluster::attach(&name) else {
            say(format_args!("{name}: remains of an interrupted start; clear them with `cluster down --name {name}`"))?;
            continue;
        };
        let health = cluster.health().map_or_else(|error| error.to_string(), |()| "all well".into());
        say(format_args!("{name}: {} nodes, {health}", cluster.nodes()))?;
        for state in cluster.status() {
            let place = if state.node == 0 { "-".into() } else { cluster.node_name(state.node) };
            let end = state.program.end.map(|end| format!(" ({end})")).unwrap_or_default();
            say(format_args!("  {place:24} {:24} {}{end}", state.program.name, if state.program.running { "running" } else { "not running" }))?;
        }
    }
    Ok(())
}
