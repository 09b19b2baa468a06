//! A fixed set of seeds, on every change; more of them with `make simulate`.
#![allow(clippy::unwrap_used, clippy::panic)]

use simulation::matrix::Matrix;
use simulation::run::{Outcome, count_panics, run};
use simulation::what::CELLS;

/// Runs a range of seeds on two threads.
fn seeds(from: u64, number: u64) -> Vec<Outcome> {
    count_panics();
    let half = |first: u64| (from + first..from + number).step_by(2).map(|seed| run(seed, false).unwrap()).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        let mut all = half(0);
        all.extend(other.join().unwrap());
        all
    })
}

#[test]
fn nothing_is_violated_whatever_goes_wrong_wherever_the_release_stands() {
    let outcomes = seeds(1, 3 * CELLS);
    let mut sum = Matrix::default();
    for outcome in &outcomes {
        if let Some(violation) = outcome.violations.first() {
            panic!("{}: {}; to see it: simulate --seed {} --transcript", violation.invariant, violation.story, outcome.seed);
        }
        sum.add(outcome);
    }
    // What holds because nothing happened is worth nothing.
    assert_eq!(sum.empty(), []);
    assert!(outcomes.iter().map(|outcome| outcome.retired).sum::<u64>() > 200);
}

#[test]
fn a_seed_is_one_run() {
    for seed in [3, 14, 159] {
        let (one, other) = (run(seed, true).unwrap(), run(seed, true).unwrap());
        assert_eq!(one.lines, other.lines);
        assert_eq!((one.sum, one.steps, one.writes), (other.sum, other.steps, other.writes));
        assert!(!one.lines.is_empty());
    }
}
