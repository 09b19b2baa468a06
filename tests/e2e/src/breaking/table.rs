//! What came of all of it, as a table for the documentation.

use std::collections::BTreeMap;

use bluegreen::api::PhaseName;

use super::fault::{Fault, PHASES};

/// What users noticed of one release, and how long it took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// Requests that failed.
    pub failed: u64,
    /// Long connections that were cut.
    pub cut: u64,
    /// Answers of the new version before the switch, or of the old one after convergence.
    pub wrong: u64,
    /// From the fault to the end of the release, in seconds.
    pub seconds: f64,
}

/// What came of a cell, over all rounds.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Releases that went as they should.
    pub passed: Vec<Measured>,
    /// Releases that did not.
    pub failed: u32,
}

/// All cells.
#[derive(Clone, Debug, Default)]
pub struct Table(BTreeMap<(Fault, String), Cell>);

impl Table {
    /// The cell of a fault and a phase.
    pub fn cell(&mut self, fault: Fault, phase: PhaseName) -> &mut Cell {
        self.0.entry((fault, format!("{phase:?}"))).or_default()
    }

    /// Releases, and those of them that failed.
    pub fn sums(&self) -> (usize, u32) {
        let failed = self.0.values().map(|cell| cell.failed).sum();
        let passed: usize = self.0.values().map(|cell| cell.passed.len()).sum();
        (passed + usize::try_from(failed).unwrap_or_default(), failed)
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let heads = PHASES.map(|phase| format!("{phase:?}")).join(" | ");
        let mut text = format!("| Fault | {heads} |\n| --- |{}\n", " --- |".repeat(PHASES.len()));
        for fault in Fault::ALL {
            let cells = PHASES.map(|phase| self.0.get(&(fault, format!("{phase:?}"))).map_or_else(|| "–".into(), words));
            text += &format!("| {fault:?} | {} |\n", cells.join(" | "));
        }
        text
    }
}

fn words(cell: &Cell) -> String {
    let sum = |of: fn(&Measured) -> u64| cell.passed.iter().map(of).sum::<u64>();
    let slowest = cell.passed.iter().map(|measured| measured.seconds).fold(0.0, f64::max);
    let failed = if cell.failed > 0 { format!("**{} failed**, ", cell.failed) } else { String::new() };
    let [lost, cut, wrong] = [sum(|measured| measured.failed), sum(|measured| measured.cut), sum(|measured| measured.wrong)];
    format!("{failed}{}: {lost}, {cut}, {wrong}; {slowest:.0} s", cell.passed.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_summed_up() {
        let mut table = Table::default();
        let measured = |failed, seconds| Measured { failed, cut: 1, wrong: 2, seconds };
        table.cell(Fault::EtcdKilled, PhaseName::Drain).passed.extend([measured(0, 9.6), measured(3, 12.4)]);
        table.cell(Fault::EtcdKilled, PhaseName::Smoke).failed = 1;
        assert_eq!(table.sums(), (3, 1));
        let text = table.markdown();
        assert!(text.contains("| EtcdKilled | – | **1 failed**, 0: 0, 0, 0; 0 s | – | – | 2: 3, 2, 4; 12 s |"), "{text}");
    }
}
