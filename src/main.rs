//! The one binary of the operator: controller, drain agent, and the generator of the CRDs.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// Blue-green releases for Kubernetes that wait until the old pods' connections have really drained.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// What to log: a level (error, warn, info, debug, trace), or levels by module, as in `warn,kube=debug`; info where none is named.
    #[arg(long, global = true, env = "LOG", default_value = "info")]
    log: String,
    /// How to log.
    #[arg(long, global = true, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Reconcile BlueGreenDeployments.
    Controller(bluegreen::controller::Args),
    /// Count the connections of this node's pods that are being left.
    DrainAgent(bluegreen::drain_agent::Args),
    /// Print the CustomResourceDefinitions.
    Crd {
        /// Write one file each into this directory instead.
        #[arg(long)]
        directory: Option<std::path::PathBuf>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut filter: Targets = cli.log.parse().unwrap_or_else(|error| {
        eprintln!("--log: {error}; logging at level info");
        Targets::new()
    });
    // A misspelt level is a module to this library, and all else would be silent.
    if filter.default_level().is_none() {
        filter = filter.with_default(LevelFilter::INFO);
    }
    let lines = tracing_subscriber::fmt::layer().with_target(false).with_writer(std::io::stderr);
    let lines = match cli.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    let outcome: Result<(), Box<dyn std::error::Error>> = match cli.command {
        Command::Controller(args) => serve(bluegreen::controller::run(args)),
        Command::DrainAgent(args) => serve(bluegreen::drain_agent::run(args)),
        Command::Crd { directory } => crd(directory.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve<E: std::error::Error + 'static>(work: impl Future<Output = Result<(), E>>) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(work).map_err(Into::into);
    // Watches are still open; nothing is lost by not waiting for them.
    runtime.shutdown_background();
    outcome
}

fn crd(directory: Option<&std::path::Path>) -> Result<(), Box<dyn std::error::Error>> {
    for crd in bluegreen::api::crds()? {
        let text = bluegreen::api::yaml(&crd)?;
        let plural = crd.pointer("/spec/names/plural").and_then(serde_json::Value::as_str).unwrap_or("crd");
        match directory {
            Some(directory) => std::fs::write(directory.join(format!("{plural}.yaml")), text)?,
            None => match std::io::stdout().write_all(format!("---\n{text}").as_bytes()) {
                // `bluegreen crd | head` has seen enough.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                written => written?,
            },
        }
    }
    Ok(())
}
