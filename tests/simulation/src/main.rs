//! `simulate`: releases in a simulated world, a seed each, until something does not hold.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use simulation::faults::Fault;
use simulation::matrix::Matrix;
use simulation::run::{Outcome, count_panics, run};
use simulation::story;
use simulation::what::{CELLS, What};

/// From so many runs on an empty cell of the matrix is a failure: each has been aimed at five times.
const ENOUGH: u64 = 5 * CELLS;
/// So many lines of the first failing seed's transcript are shown.
const LINES: usize = 60;
/// So many failing seeds are enough to look at.
const FAILURES: usize = 20;

/// Runs the operator's own code in a simulated world, one run a seed, and checks its invariants after every write.
#[derive(Parser, Debug)]
#[command(name = "simulate")]
struct Args {
    /// How many seeds
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Only this one
    #[arg(long)]
    seed: Option<u64>,
    /// Prints what happened in it
    #[arg(long, requires = "seed")]
    transcript: bool,
    /// Only this fault
    #[arg(long)]
    fault: Option<Fault>,
    /// Writes the stories' transcripts into this directory, and does nothing else
    #[arg(long, value_name = "DIR")]
    stories: Option<PathBuf>,
    /// Ends, and well, as soon as this invariant is violated: for mutations
    #[arg(long, value_name = "INVARIANT")]
    dies_by: Option<String>,
    /// How many at the same time; by default as many as there are processors
    #[arg(long)]
    jobs: Option<usize>,
}

fn main() -> ExitCode {
    count_panics();
    let args = Args::parse();
    match (&args.stories, args.seed) {
        (Some(directory), _) => tell(directory),
        (None, Some(seed)) => one(seed, args.fault, args.transcript),
        (None, None) => many(&args),
    }
}

fn tell(directory: &Path) -> ExitCode {
    for story in &story::ALL {
        let written = story.told().and_then(|text| {
            let path = directory.join(story.name).with_extension("txt");
            std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
        });
        if let Err(error) = written {
            eprintln!("{}: {error}", story.name);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn one(seed: u64, only: Option<Fault>, transcript: bool) -> ExitCode {
    let outcome = match run(What { only, ..What::from(seed) }, true) {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    if transcript || !outcome.violations.is_empty() {
        for line in &outcome.lines {
            println!("{line}");
        }
    }
    println!("seed {seed}: {} steps, {:.1} s, sum {:016x}", outcome.steps, outcome.time.as_secs_f64(), outcome.sum);
    told(&outcome)
}

fn told(outcome: &Outcome) -> ExitCode {
    for violation in &outcome.violations {
        println!("violated: {}: {} (at {:.3} s)", violation.invariant, violation.story, violation.at.as_secs_f64());
    }
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn many(args: &Args) -> ExitCode {
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let (next, stop) = (AtomicU64::new(args.from), AtomicBool::new(false));
    let end = args.from.saturating_add(args.seeds);
    let sum = Mutex::new(Matrix::default());
    let died = AtomicBool::new(false);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= end || stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(outcome) = run(What { only: args.fault, ..What::from(seed) }, false) else {
                        stop.store(true, Ordering::SeqCst);
                        return;
                    };
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    sum.add(&outcome);
                    for violation in &outcome.violations {
                        println!("seed {seed}: {}: {}", violation.invariant, violation.story);
                        let found = args.dies_by.as_ref().is_some_and(|name| violation.invariant == name);
                        died.fetch_or(found, Ordering::SeqCst);
                        stop.fetch_or(found || args.dies_by.is_none() && sum.failures.len() >= FAILURES, Ordering::SeqCst);
                    }
                    if sum.runs.is_multiple_of(1000) {
                        let seconds = begun.elapsed().as_secs_f64();
                        println!("{} runs in {seconds:.0} s, {} violations", sum.runs, sum.failures.len());
                    }
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    if args.dies_by.is_some() {
        println!("{} runs, {} violations", sum.runs, sum.failures.len());
        return if died.load(Ordering::SeqCst) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    println!("\n{}\n{}", sum.table(), sum.sums());
    println!("{:.1} runs a second with {jobs} at a time", sum.runs as f64 / begun.elapsed().as_secs_f64().max(0.001));
    let mut failed = false;
    if let Some((seed, invariant, story)) = sum.failures.iter().min() {
        let only = args.fault.map(|fault| format!(" --fault {fault:?}")).unwrap_or_default();
        if let Ok(outcome) = run(What { only: args.fault, ..What::from(*seed) }, true) {
            println!("\nhow seed {seed} came to its end:");
            for line in outcome.lines.iter().skip(outcome.lines.len().saturating_sub(LINES)) {
                println!("{line}");
            }
        }
        println!("\nviolated: {invariant}: {story}\nthe whole of it: simulate --seed {seed}{only} --transcript");
        failed = true;
    }
    let empty = sum.empty();
    if sum.runs >= ENOUGH && args.fault.is_none() && !empty.is_empty() {
        println!("never exercised: {empty:?}");
        failed = true;
    }
    if sum.runs < args.seeds && sum.failures.is_empty() {
        println!("not all seeds were run");
        failed = true;
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
