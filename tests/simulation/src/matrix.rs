//! What was exercised: every fault in every phase, counted over all runs.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::faults::{Fault, Phase};
use crate::run::Outcome;

/// The sum of many runs.
#[derive(Debug, Default)]
pub struct Matrix {
    /// Runs.
    pub runs: u64,
    /// Runs in which something did not hold: seed, invariant, story.
    pub failures: Vec<(u64, &'static str, String)>,
    cells: BTreeMap<(Fault, Phase), u64>,
    phases: BTreeMap<Phase, u64>,
    totals: BTreeMap<&'static str, u64>,
}

impl Matrix {
    /// Adds a run.
    pub fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        for (cell, count) in &outcome.matrix {
            *self.cells.entry(*cell).or_default() += count;
        }
        for (phase, count) in &outcome.phases {
            *self.phases.entry(*phase).or_default() += count;
        }
        let [early, late, otherwise] = outcome.cut;
        let [together, undone] = outcome.together;
        let totals = [
            ("moves of traffic", outcome.moves),
            ("moves of a group together", together),
            ("of these undone by a member", undone),
            ("sets drained and scaled to 0", outcome.retired),
            ("old pods deleted one by one", outcome.alone),
            ("writes of the operator", outcome.writes),
            ("happenings", outcome.steps),
            ("edits of selectors with a second to put them back", outcome.repairs),
            ("connections of clients", outcome.connections),
            ("connections cut by retiring a drained set", early),
            ("connections cut by a drain's deadline, its timer, or a person's word", late),
            ("connections cut with pods deleted by hand, scaled down or given up", otherwise),
            ("connections lost with a node", outcome.lost),
            ("simulated hours", outcome.time.as_secs()),
        ];
        for (name, count) in totals {
            *self.totals.entry(name).or_default() += count;
        }
        if let Some(violation) = outcome.violations.first() {
            self.failures.push((outcome.seed, violation.invariant, violation.story.clone()));
        }
    }

    /// Cells in which nothing happened.
    pub fn empty(&self) -> Vec<(Fault, Phase)> {
        let all = Fault::ALL.into_iter().flat_map(|fault| Phase::ALL.into_iter().map(move |phase| (fault, phase)));
        all.filter(|cell| self.cells.get(cell).is_none_or(|count| *count == 0)).collect()
    }

    /// The table, as Markdown.
    pub fn table(&self) -> String {
        let mut text = String::from("| Fault |");
        for phase in Phase::ALL {
            write!(text, " {phase:?} |").ok();
        }
        text.push_str(" Sum |\n| --- |");
        text.push_str(&" ---: |".repeat(Phase::ALL.len() + 1));
        text.push('\n');
        for fault in Fault::ALL {
            write!(text, "| {fault:?} |").ok();
            let mut sum = 0;
            for phase in Phase::ALL {
                let count = self.cells.get(&(fault, phase)).copied().unwrap_or(0);
                sum += count;
                write!(text, " {count} |").ok();
            }
            writeln!(text, " {sum} |").ok();
        }
        text
    }

    /// The sums, a line each.
    pub fn sums(&self) -> String {
        let mut text = format!("{:>12}  runs\n", self.runs);
        for (name, count) in &self.totals {
            let count = if *name == "simulated hours" { count / 3600 } else { *count };
            writeln!(text, "{count:>12}  {name}").ok();
        }
        for (phase, count) in &self.phases {
            writeln!(text, "{count:>12}  times in phase {phase:?}").ok();
        }
        writeln!(text, "{:>12}  violations", self.failures.len()).ok();
        text
    }
}
