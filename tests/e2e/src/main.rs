//! The end-to-end tests: the operator, installed with its chart on a real cluster, under load.
//!
//! `e2e [FILTER..]` brings up a cluster, installs the operator, and runs the cases whose names contain one of the filters.
//! Everything must be built before (`make build`): the programs are taken from beside this one.

mod audit;
mod breaking;
mod cases;
mod diagnosis;
mod failure;
mod manifest;
mod outside;
mod proxy;
mod runner;
mod sockets;
mod stage;
mod traffic;
mod wait;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

/// End-to-end tests on a real cluster.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    /// Only cases whose names contain one of these.
    filter: Vec<String>,
    /// Names the cases and ends.
    #[arg(long)]
    list: bool,
    /// Cases at the same time.
    #[arg(long, default_value_t = 5)]
    jobs: usize,
    /// Leaves the clusters, and the namespaces of failed cases, for a look. The next run begins with new ones.
    #[arg(long)]
    keep: bool,
    /// Instead of the cases: every fault in every phase of a release, so many times; FILTER picks from them.
    #[arg(long, value_name = "ROUNDS")]
    faults: Option<u32>,
    /// Number of the first of these rounds: in odd ones and in even ones other releases let their old pods leave one by one.
    #[arg(long, default_value_t = 1)]
    from: u32,
    /// Writes the table of mistakes into docs/troubleshooting.md and ends.
    #[arg(long)]
    write_docs: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a controller behind a proxy to the API server that kills it after its k-th write. For the cases, which start it inside a node's network.
    Proxy {
        /// Kill after so many writes; 0: never.
        #[arg(long, default_value_t = 0)]
        kill_after: u64,
        /// A kubeconfig for the API server.
        #[arg(long)]
        kubeconfig: PathBuf,
        /// The API server as seen from here.
        #[arg(long)]
        server: String,
        /// The controller and its arguments.
        #[arg(last = true, required = true)]
        controller: Vec<String>,
    },
    /// Becomes a program that is killed when whoever started it ends. For the proxy.
    #[command(hide = true)]
    Bound {
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        program: Vec<String>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Cases block their thread while they wait for programs.
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(cli.jobs + 8).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("e2e: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(work(cli));
    runtime.shutdown_background();
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("e2e: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn work(cli: Cli) -> failure::Result<bool> {
    let Cli { filter, list, jobs, keep, faults, from, write_docs, command } = cli;
    match command {
        Some(Command::Proxy { kill_after, kubeconfig, server, controller }) => {
            return proxy::run(kill_after, &kubeconfig, &server, &controller).await.map(|()| true);
        }
        Some(Command::Bound { program }) => return proxy::bound(&program),
        None => {}
    }
    if write_docs {
        return cases::bad_input::write_docs().map(|()| true);
    }
    if let Some(rounds) = faults {
        return until_told(keep, breaking::clear, breaking::run(from..from + rounds, filter, keep)).await;
    }
    let wanted = |name: &str| filter.is_empty() || filter.iter().any(|part| name.contains(part.as_str()));
    let cases: Vec<runner::Case> = cases::all().into_iter().filter(|case| wanted(case.name)).collect();
    if list {
        for case in &cases {
            println!("{}", case.name);
        }
        return Ok(true);
    }
    if cases.is_empty() {
        return Err(failure::Failure::Claim("no case has such a name; see --list".into()));
    }
    let plan = runner::Plan { jobs, keep, all: filter.is_empty(), answers: Arc::default() };
    let all = cases.clone();
    until_told(keep, || runner::clear(&all), async move { runner::run(&cases, &plan).await }).await
}

/// Runs something until it ends, or this process is told to end: then its clusters are cleared.
async fn until_told(keep: bool, clear: impl FnOnce(), work: impl Future<Output = failure::Result<bool>> + Send + 'static) -> failure::Result<bool> {
    let running = tokio::spawn(work);
    let abort = running.abort_handle();
    tokio::select! {
        outcome = running => outcome.unwrap_or_else(|error| Err(failure::Failure::Claim(format!("the run ended: {error}")))),
        told = told_to_end() => {
            told?;
            abort.abort();
            if !keep {
                tokio::task::block_in_place(clear);
            }
            Err(failure::Failure::Claim("interrupted".into()))
        }
    }
}

/// Ends on SIGINT and on SIGTERM, which make and CI send: clusters must not outlive a run.
async fn told_to_end() -> failure::Result {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failure::io("listening for SIGINT"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failure::io("listening for SIGTERM"))?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
