//! The commands: API calls here, everything else in pure functions.

mod adopt;
mod check;
mod completion;
mod diff;
mod eject;
mod hand;
mod history;
pub mod list;
mod pass;
mod say;
mod spec;
mod status;
mod wait;

use crate::args::{Cli, Command};
use crate::choose;
use crate::cluster::Cluster;
use crate::failure::Result;
use crate::terminal::Terminal;

/// Carries the command out.
///
/// # Errors
/// As the command says.
pub async fn run(cli: Cli) -> Result {
    let Cli { globals, command } = cli;
    let terminal = Terminal::new(globals.no_color, command.output());
    if let Command::Completion { shell } = command {
        return completion::print(terminal, shell);
    }
    let cluster = Cluster::connect(&globals).await?;
    match command {
        Command::Status { name, watch: true, .. } => status::watch(&cluster, terminal, &name).await,
        Command::Status { name, watch: false, .. } => status::once(&cluster, terminal, &name).await,
        Command::List { all_namespaces, .. } => list::run(&cluster, terminal, all_namespaces).await,
        Command::History { name, .. } => history::run(&cluster, terminal, &name).await,
        Command::Diff { name, from, to, .. } => diff::run(&cluster, terminal, &name, from.as_deref(), to.as_deref()).await,
        Command::Promote(said) => say::run(&cluster, terminal, "promote", &said, choose::promote).await,
        Command::Abort(said) => say::run(&cluster, terminal, "abort", &said, choose::abort).await,
        Command::Retry(said) => say::run(&cluster, terminal, "retry", &said, choose::retry).await,
        Command::Rollback { said, to } => {
            say::run(&cluster, terminal, "rollback", &said, |object, sets| choose::rollback(object, sets, to.as_deref())).await
        }
        Command::Restart(said) => say::run(&cluster, terminal, "restart", &said, choose::restart).await,
        Command::Drain { said, finish: _, revision } => {
            say::run(&cluster, terminal, "drain", &said, |object, _| choose::finish_drain(object, revision.as_deref())).await
        }
        Command::Pause { name, .. } => spec::pause(&cluster, terminal, &name, true).await,
        Command::Resume { name, .. } => spec::pause(&cluster, terminal, &name, false).await,
        Command::SetImage { name, images, .. } => spec::set_image(&cluster, terminal, &name, &images).await,
        Command::Wait { name, goal, timeout, .. } => wait::run(&cluster, terminal, &name, goal, timeout).await,
        Command::Adopt { deployment, dry_run, timeout, .. } => adopt::run(&cluster, terminal, &deployment, dry_run, timeout).await,
        Command::Eject { name, timeout, .. } => eject::run(&cluster, terminal, &name, timeout).await,
        Command::Logs { name, whose, more } => pass::logs(&cluster, &name, whose, &more).await,
        Command::Open { name, port, active } => pass::open(&cluster, &name, port, active).await,
        Command::Check { file, .. } => check::run(&cluster, terminal, &file).await,
        Command::Completion { .. } => Ok(()),
    }
}
