//! `older controller | drain-agent`: as `bluegreen`, but content with the older definitions.

use std::process::ExitCode;

use bluegreen::controller::schema::Needs;
use clap::{Parser, Subcommand};

/// The operator as an older build.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// What to log.
    #[arg(long, global = true, default_value = "info")]
    log: String,
    /// How to log; this build knows one way.
    #[arg(long, global = true, default_value = "text")]
    log_format: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reconcile BlueGreenDeployments.
    Controller(bluegreen::controller::Args),
    /// Count connections.
    DrainAgent(bluegreen::drain_agent::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { log: _, log_format: _, command } = Cli::parse();
    tracing_subscriber::fmt().with_target(false).with_writer(std::io::stderr).init();
    let outcome = match command {
        Command::Controller(args) => controller(args).await,
        Command::DrainAgent(args) => bluegreen::drain_agent::run(args).await.map_err(|error| error.to_string()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn controller(args: bluegreen::controller::Args) -> Result<(), String> {
    let crds = older::crds().map_err(|error| error.to_string())?;
    bluegreen::controller::run_as(args, Needs::of(&crds)).await.map_err(|error| error.to_string())
}
