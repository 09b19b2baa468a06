//! `kubectl bluegreen`: see, drive and check blue-green releases.
//!
//! A command reads objects, and hands them with the time to pure functions: [`choose`] says what to write, [`report`] where a release
//! stands, [`text`] how that looks. Requests are made in [`commands`] only.

mod adopt;
mod aim;
mod answer;
mod args;
mod changes;
mod check;
mod choose;
mod cluster;
mod commands;
mod complete;
mod config;
mod dry;
mod eject;
mod failure;
mod finding;
#[cfg(test)]
#[path = "tests/fixtures.rs"]
mod fixtures;
mod follow;
mod hand;
mod history;
mod image;
mod manifest;
mod report;
mod terminal;
mod text;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use args::Cli;
use failure::{Failure, Result};

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let words: Vec<OsString> = std::env::args_os().collect();
    let outcome = match complete::asked(&words) {
        // kubectl asks under another name, and gets an answer in any case.
        Some(words) => runtime.block_on(complete::answer(&words)),
        None => runtime.block_on(commands::run(Cli::parse())),
    };
    // A watch may still be open; nothing is lost by not waiting for it.
    runtime.shutdown_background();
    end(outcome)
}

fn end(outcome: Result) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // `kubectl bluegreen list | head` has seen enough.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.code())
        }
    }
}
