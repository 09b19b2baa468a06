//! Figures of several runs, and tables of them.

use std::time::Duration;

/// Values of one figure, one a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure(Vec<f64>);

impl Figure {
    /// Adds a run.
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Adds a run's time, in milliseconds.
    pub fn add_ms(&mut self, time: Duration) {
        self.add(time.as_secs_f64() * 1000.0);
    }

    /// The number of runs.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.0.len()
    }

    /// The smallest, the middle one and the largest; none without runs. With an even number of runs the middle is between two.
    #[must_use]
    pub fn spread(&self) -> Option<[f64; 3]> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
        Some([*sorted.first()?, f64::midpoint(*low, *high), *sorted.last()?])
    }
}

/// One row of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// In which unit.
    pub unit: &'static str,
    /// The values.
    pub figure: Figure,
    /// The median must not be more than this.
    pub aim: Option<f64>,
    /// How it was measured.
    pub how: String,
}

impl Row {
    /// Whether the median is as it should be.
    #[must_use]
    pub fn meets_aim(&self) -> bool {
        match (self.aim, self.figure.spread()) {
            (Some(aim), Some([_, median, _])) => median <= aim,
            (Some(_), None) => false,
            (None, _) => true,
        }
    }
}

/// The rows as a Markdown table, then how each was measured.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::from("| | figure | unit | min | median | max | runs | aim |\n|---|---|---|---:|---:|---:|---:|---|\n");
    for (row, number) in rows.iter().zip(1..) {
        let Row { what, unit, figure, aim, how: _ } = row;
        let [min, median, max] = figure.spread().map_or_else(|| ["-"; 3].map(str::to_owned), |spread| spread.map(short));
        let aim = match aim {
            Some(aim) if row.meets_aim() => format!("at most {}", short(*aim)),
            Some(aim) => format!("at most {}: **missed**", short(*aim)),
            None => String::new(),
        };
        text += &format!("| {number} | {what} | {unit} | {min} | {median} | {max} | {} | {aim} |\n", figure.runs());
    }
    text += "\n## How each was measured\n\n";
    for (row, number) in rows.iter().zip(1..) {
        text += &format!("{number}. {}: {}\n", row.what, row.how);
    }
    text
}

fn short(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn figure(values: &[f64]) -> Figure {
        let mut figure = Figure::default();
        values.iter().for_each(|value| figure.add(*value));
        figure
    }

    #[test]
    fn the_spread_of_runs() {
        assert_eq!(figure(&[]).spread(), None);
        assert_eq!(figure(&[7.0]).spread(), Some([7.0, 7.0, 7.0]));
        assert_eq!(figure(&[9.0, 1.0, 2.0]).spread(), Some([1.0, 2.0, 9.0]));
        assert_eq!(figure(&[4.0, 1.0, 9.0, 2.0]).spread(), Some([1.0, 3.0, 9.0]));
    }

    #[test]
    fn a_missed_aim_is_said() {
        let row = |aim, values: &[f64]| Row { what: "time".into(), unit: "ms", figure: figure(values), aim, how: "by looking.".into() };
        let text = markdown(&[row(Some(20.0), &[18.25, 500.0, 19.0]), row(Some(20.0), &[21.0]), row(None, &[]), row(Some(1.0), &[])]);
        assert!(text.contains("| 1 | time | ms | 18.2 | 19 | 500 | 3 | at most 20 |"), "{text}");
        assert!(text.contains("| 2 | time | ms | 21 | 21 | 21 | 1 | at most 20: **missed** |"), "{text}");
        assert!(text.contains("| 3 | time | ms | - | - | - | 0 |  |"), "{text}");
        assert!(text.contains("| 4 | time | ms | - | - | - | 0 | at most 1: **missed** |"), "{text}");
        assert!(text.contains("\n2. time: by looking.\n"), "{text}");
    }
}
