//! What one run simulates: a seed, which decides everything; with it a cell of the matrix fault × phase that the run aims at, one fault
//! alone, or a story.

use crate::faults::{Fault, Phase};
use crate::story::Story;

/// How many cells the matrix has: so many seeds in a row aim at each of them once.
pub const CELLS: u64 = (Fault::ALL.len() * Phase::ALL.len()) as u64;

/// What one run simulates.
#[derive(Clone, Copy, Debug)]
pub struct What {
    /// Decides everything that is not decided below.
    pub seed: u64,
    /// The only fault there is.
    pub only: Option<Fault>,
    /// A story that is told; nothing else goes wrong in it.
    pub story: Option<&'static Story>,
}

impl From<u64> for What {
    fn from(seed: u64) -> Self {
        Self { seed, only: None, story: None }
    }
}

impl What {
    /// What the run must not miss: this fault, in this phase. The world is made so that the release comes to stand there.
    pub fn aim(&self) -> Option<(Fault, Phase)> {
        if self.story.is_some() {
            return None;
        }
        let place = |of: u64, length: usize| usize::try_from(of % u64::try_from(length).unwrap_or(1)).unwrap_or(0);
        let phase = *Phase::ALL.get(place(self.seed, Phase::ALL.len()))?;
        let fault = *Fault::ALL.get(place(self.seed / u64::try_from(Phase::ALL.len()).unwrap_or(1), Fault::ALL.len()))?;
        Some((self.only.unwrap_or(fault), phase))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn seeds_in_a_row_aim_at_every_cell() {
        let aims: BTreeSet<_> = (7..7 + CELLS).filter_map(|seed| What::from(seed).aim()).collect();
        assert_eq!(aims.len(), Fault::ALL.len() * Phase::ALL.len());
    }
}
