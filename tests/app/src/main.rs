//! The sample app as a program. See the library for what it serves.

use std::process::ExitCode;

use app::{App, config::Config};
use clap::Parser;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let config = Config::parse();
    if config.signal_drain {
        return match kill(Pid::from_raw(1), Signal::SIGUSR1) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("app: process 1 got no signal: {error}");
                ExitCode::FAILURE
            }
        };
    }
    // As process 1 of a container it would not get a signal without a handler.
    let signals = signal(SignalKind::terminate()).and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
    let (mut terminate, mut interrupt) = match signals {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("app: cannot handle signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    let app = match App::start(&config).await {
        Ok(app) => app,
        Err(error) => {
            eprintln!("app: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("app {} serves http {} grpc {} echo {} websocket {} admin {}", config.version, app.http, app.grpc, app.echo, app.websocket, app.admin);
    tokio::select! {
        () = app.run() => ExitCode::FAILURE,
        // At once, and without a word to anybody: that is what the operator has to get along with.
        _ = terminate.recv() => std::process::exit(0),
        _ = interrupt.recv() => std::process::exit(0),
    }
}
