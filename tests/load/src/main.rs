//! The load generator as a program. See the library for what it does and says.

use std::process::ExitCode;

use clap::Parser;
use load::{execute, options::Options, stop::Stop};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    let stop = Stop::default();
    if let Err(error) = stop.at_signals() {
        eprintln!("load: cannot handle signals: {error}");
        return ExitCode::FAILURE;
    }
    let summary = execute(options, Box::new(std::io::stdout()), stop).await;
    if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
