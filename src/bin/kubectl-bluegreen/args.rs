//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::image::Change;

/// See, drive and check blue-green releases.
#[derive(Parser, Debug)]
#[command(name = "kubectl-bluegreen", bin_name = "kubectl bluegreen", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed, or did not come in time; check: the manifest has mistakes
  2  it makes no sense as things are; wait: it can't go on by itself";

/// Flags of every command.
#[derive(Args, Clone, Debug, Default)]
pub struct Globals {
    /// Namespace; else that of the context
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// The kubeconfig; else KUBECONFIG, ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// No colours, as with the variable NO_COLOR
    #[arg(long, global = true)]
    pub no_color: bool,
}

/// A form for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Where a release stands: steps, revisions, probes, open connections
    Status {
        /// Name of the BlueGreenDeployment
        #[arg(value_parser = name)]
        name: String,
        /// Follow it, redrawing in place, until Ctrl-C
        #[arg(short, long, conflicts_with = "output")]
        watch: bool,
        /// For programs
        #[arg(short, long, value_enum)]
        output: Option<Format>,
    },
    /// All BlueGreenDeployments of a namespace, with what holds them up
    List {
        /// Of all namespaces
        #[arg(short = 'A', long, conflicts_with = "namespace")]
        all_namespaces: bool,
        /// For programs
        #[arg(short, long, value_enum)]
        output: Option<Format>,
    },
    /// The revisions there are
    History {
        /// Name of the BlueGreenDeployment
        #[arg(value_parser = name)]
        name: String,
        /// For programs
        #[arg(short, long, value_enum)]
        output: Option<Format>,
    },
    /// How the pod templates of two revisions differ
    Diff {
        /// Name of the BlueGreenDeployment
        #[arg(value_parser = name)]
        name: String,
        /// The old revision; by default the active one
        from: Option<String>,
        /// The new revision; by default what spec.template says
        to: Option<String>,
        /// For programs
        #[arg(short, long, value_enum)]
        output: Option<Format>,
    },
    /// Let the tested revision take the traffic
    Promote(Said),
    /// Give the revision of this release up, before or after the switch
    Abort(Said),
    /// Try a revision again that was given up
    Retry(Said),
    /// Leave the active revision for an earlier one
    Rollback {
        /// What every such command takes.
        #[command(flatten)]
        said: Said,
        /// Where to go; by default what served before
        #[arg(long, value_name = "REVISION")]
        to: Option<String>,
    },
    /// Replace the active pods by new ones, as a release of its own
    Restart(Said),
    /// End a drain now, with whatever is still connected
    Drain {
        /// What every such command takes.
        #[command(flatten)]
        said: Said,
        /// Says that open connections may be cut
        #[arg(long, required = true)]
        finish: bool,
        /// Which revision; needed where several drain
        revision: Option<String>,
    },
    /// Hold: no Service is moved, nothing is scaled down (spec.paused)
    Pause {
        /// Name of the BlueGreenDeployment
        #[arg(value_parser = name)]
        name: String,
        /// For programs
        #[arg(short, long, value_enum)]
        output: Option<Format>,
    },
    /// Go on after a pause
    Resume {
        /// Name of the BlueGreenDeployment
        #[arg(value_parser = name)]
        name: String,
        /// For programs
        #[arg(short, long, value_enum)]
        output: Option<Format>,
    },
    /// Change images of the pod template, which begins a release
    SetImage {
        /// Name of the BlueGreenDeployment
        #[arg(value_parser = name)]
        name: String,
        /// A container and its image; * for all of them
        #[arg(required = true, value_name = "CONTAINER=IMAGE")]
        images: Vec<Change>,
        /// For programs
        #[arg(short, long, value_enum)]
        output: Option<Format>,
    },
    /// Wait until a release has got somewhere
    Wait {
        /// Name of the BlueGreenDeployment
        #[arg(value_parser = name)]
        name: String,
        /// ready, switched or drained
        #[arg(long = "for", value_enum, default_value_t = Goal::Ready, hide_possible_values = true)]
        goal: Goal,
        /// How long, such as 90s or 1h30m
        #[arg(long, value_parser = duration, default_value = "10m")]
        timeout: Duration,
        /// For programs
        #[arg(short, long, value_enum)]
        output: Option<Format>,
    },
    /// Take a running Deployment over, with its pods as they are
    Adopt {
        /// The Deployment, as in shop or deployment/shop
        #[arg(value_parser = deployment)]
        deployment: String,
        /// Print the new manifest, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// How long, such as 90s or 1h30m
        #[arg(long, value_parser = duration, default_value = "5m")]
        timeout: Duration,
        /// For programs
        #[arg(short, long, value_enum)]
        output: Option<Format>,
    },
    /// Go back to a plain Deployment, with the pods as they are
    Eject {
        /// Name of the BlueGreenDeployment
        #[arg(value_parser = name)]
        name: String,
        /// How long, such as 90s or 1h30m
        #[arg(long, value_parser = duration, default_value = "5m")]
        timeout: Duration,
        /// For programs
        #[arg(short, long, value_enum)]
        output: Option<Format>,
    },
    /// Logs of one revision's pods, by kubectl logs
    Logs {
        /// Name of the BlueGreenDeployment
        #[arg(value_parser = name)]
        name: String,
        /// Whose; without any of these the active revision's
        #[command(flatten)]
        whose: Whose,
        /// Goes to kubectl logs, such as -f or --tail=100
        #[arg(last = true, value_name = "KUBECTL-ARGS")]
        more: Vec<String>,
    },
    /// A way to the preview Service from here, by kubectl port-forward
    Open {
        /// Name of the BlueGreenDeployment
        #[arg(value_parser = name)]
        name: String,
        /// Port of this machine; by default a free one
        #[arg(value_name = "LOCALPORT")]
        port: Option<u16>,
        /// To the Service that users reach
        #[arg(long)]
        active: bool,
    },
    /// What a cluster would say to a manifest, without changing anything
    Check {
        /// The manifest; - for the standard input
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
        /// For programs
        #[arg(short, long, value_enum)]
        output: Option<Format>,
    },
    /// The script that completes commands in a shell
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

impl Command {
    /// The form in which it is to answer.
    pub fn output(&self) -> Option<Format> {
        match self {
            Self::Promote(said) | Self::Abort(said) | Self::Retry(said) | Self::Restart(said) => said.output,
            Self::Rollback { said, .. } | Self::Drain { said, .. } => said.output,
            Self::Status { output, .. } | Self::List { output, .. } | Self::History { output, .. } | Self::Diff { output, .. } => *output,
            Self::Pause { output, .. } | Self::Resume { output, .. } | Self::SetImage { output, .. } => *output,
            Self::Wait { output, .. } | Self::Adopt { output, .. } | Self::Eject { output, .. } | Self::Check { output, .. } => *output,
            Self::Logs { .. } | Self::Open { .. } | Self::Completion { .. } => None,
        }
    }
}

/// What every command takes that says something to the operator.
#[derive(Args, Clone, Debug)]
pub struct Said {
    /// Name of the BlueGreenDeployment
    #[arg(value_parser = name)]
    pub name: String,
    /// Wait until it is carried out
    #[arg(long)]
    pub wait: bool,
    /// How long, such as 90s or 1h30m
    #[arg(long, requires = "wait", value_parser = duration, default_value = "10m")]
    pub timeout: Duration,
    /// For programs
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
}

/// Whose logs.
#[derive(Args, Clone, Copy, Debug, Default)]
#[group(multiple = false)]
pub struct Whose {
    /// The revision that serves
    #[arg(long)]
    pub active: bool,
    /// The one being brought up, or given up
    #[arg(long)]
    pub inactive: bool,
    /// Those that are being left
    #[arg(long)]
    pub draining: bool,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Goal {
    /// The template asked for serves everyone.
    Ready,
    /// All Services have been moved to it.
    Switched,
    /// It serves everyone, and no old pods are left.
    Drained,
}

/// Shells that can be helped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// A name, also as `bgd/NAME`.
fn name(text: &str) -> Result<String, String> {
    named(text, &["bgd", "bluegreendeployment", "bluegreendeployments", "bluegreendeployments.bluegreen.dev"], "BlueGreenDeployment", "bgd")
}

/// A name, also as `deployment/NAME`.
fn deployment(text: &str) -> Result<String, String> {
    named(text, &["deploy", "deployment", "deployments", "deployment.apps", "deployments.apps"], "Deployment", "deployment")
}

fn named(text: &str, kinds: &[&str], kind: &str, short: &str) -> Result<String, String> {
    let name = match text.split_once('/') {
        None => text,
        Some((known, name)) if kinds.contains(&known) => name,
        Some((other, _)) => return Err(format!("{other} is another kind; name a {kind}, as in shop or {short}/shop")),
    };
    let sound = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-' || letter == '.';
    if name.is_empty() || !name.chars().all(sound) {
        return Err("a name has lower case letters, digits, - and . only".into());
    }
    Ok(name.to_owned())
}

/// A duration as kubectl takes it.
fn duration(text: &str) -> Result<Duration, String> {
    let say = || "write a duration such as 90s, 10m or 1h30m".to_owned();
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| say())?;
    Duration::try_from(parsed).map_err(|_| say())
}

#[cfg(test)]
#[path = "tests/args.rs"]
mod tests;
