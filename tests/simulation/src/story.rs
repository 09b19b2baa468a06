//! Stories: what happens in the main cases, step by step, in a world where nothing else goes on. Their transcripts are kept in `stories/`,
//! as documentation, and compared by a test.

use serde_json::{Value, json};

use crate::faults::{Fault, Phase};
use crate::people::Act;
use crate::scenario::{probe, template, version};

/// A version whose smoke probes fail.
pub const FAILS: u64 = 3;

/// A story.
#[derive(Debug)]
pub struct Story {
    /// As its file is called.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Who does what, and after how many milliseconds.
    pub acts: &'static [(u64, Act)],
    /// What goes wrong: when the release comes to stand there for the so-manieth time, and for how many milliseconds.
    pub faults: &'static [(Fault, Phase, u32, u64)],
}

/// All of them.
pub const ALL: [Story; 8] = [
    Story {
        name: "release",
        about: "A first install, and a release: new pods, smoke probes, the move, and the old pods leave when their last connection is closed.",
        acts: &[(8_000, Act::Release(2))],
        faults: &[],
    },
    Story {
        name: "failed-probe",
        about: "The new version fails its smoke probes: traffic never moves, and its pods are kept for a while.",
        acts: &[(8_000, Act::Release(FAILS))],
        faults: &[],
    },
    Story {
        name: "superseded",
        about: "Another version is applied while one is tested: the first is given up, the second takes its place.",
        acts: &[(8_000, Act::Release(2)), (10_500, Act::Release(4))],
        faults: &[],
    },
    Story {
        name: "back-while-it-drains",
        about: "The old template is applied again while the old pods still run: traffic returns at once, without new pods.",
        acts: &[(8_000, Act::Release(2)), (16_000, Act::Release(1))],
        faults: &[],
    },
    Story {
        name: "killed-in-the-switch",
        about: "The operator is killed right after a write of the switch, before it hears the answer; the next process goes on from there.",
        acts: &[(8_000, Act::Release(2))],
        faults: &[(Fault::KilledAfter, Phase::Switch, 2, 1_000)],
    },
    Story {
        name: "two-leaders",
        about: "A second process believes that it leads while a release is brought up: each write is made once, whoever comes second is refused.",
        acts: &[(8_000, Act::Release(2))],
        faults: &[(Fault::TwoLeaders, Phase::BringUp, 2, 20_000)],
    },
    Story {
        name: "emptied-selector",
        about: "Somebody empties the Service's selector while the new version is tested: it is put back to the version that serves.",
        acts: &[(8_000, Act::Release(2))],
        faults: &[(Fault::SelectorEmptied, Phase::Smoke, 2, 1_000)],
    },
    Story {
        name: "node-lost-in-the-drain",
        about: "A node with an old pod is lost while that pod's connections are waited for: it is unknown whether they are open.",
        acts: &[(8_000, Act::Release(2))],
        faults: &[(Fault::NodeLost, Phase::Drain, 1, 20_000)],
    },
];

#[cfg(feature = "clock")]
impl Story {
    /// The whole of it, as its file holds it.
    ///
    /// # Errors
    /// If something does not hold in it, or there is no runtime to be had.
    pub fn told(&'static self) -> Result<String, String> {
        let outcome = crate::run::run(crate::what::What { seed: 1, only: None, story: Some(self) }, true).map_err(|error| error.to_string())?;
        if let Some(violation) = outcome.violations.first() {
            return Err(format!("{}: {}", violation.invariant, violation.story));
        }
        Ok(format!(
            "{}\n\nSeconds, who, and what happened; [what the process had not heard of when it decided].\n\n{}\n",
            self.about,
            outcome.lines.join("\n")
        ))
    }
}

/// What all of them release.
pub fn spec() -> Value {
    json!({
        "replicas": 2,
        "selector": {"matchLabels": {"app": "shop"}},
        "template": template(&version(1)),
        "minReadySeconds": 0,
        "progressDeadlineSeconds": 60,
        "revisionHistoryLimit": 2,
        "traffic": {"services": ["shop"], "previewServices": [], "quietSeconds": 2, "convergenceTimeoutSeconds": 20},
        "smokeProbes": [probe("home", "EachPod", 2)],
        "promotion": {"mode": "Automatic"},
        "onFailure": {"keepSeconds": 10},
        "drain": {"minimumSeconds": 1, "deadlineSeconds": 60, "fallbackSeconds": 10, "maxSets": 2},
    })
}
