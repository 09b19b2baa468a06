//! What goes wrong: which fault, when the release stands where, for how long. All of it follows from the seed.

mod breaking;
mod mending;
mod travel;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use crate::agenda::Happening;
use crate::controller::process::{PLACES, Start};
use crate::random::Random;
use crate::sim::Sim;
use crate::what::What;

/// Where a release stands, as the store has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names of status.phase")]
pub enum Phase {
    /// Nothing was written yet.
    #[default]
    None,
    Blocked,
    BringUp,
    Smoke,
    AwaitPromotion,
    Switch,
    Converge,
    Bake,
    Drain,
    Complete,
    Rejected,
    Paused,
}

impl Phase {
    /// All in which something may go wrong.
    pub const ALL: [Self; 11] = [
        Self::Blocked,
        Self::BringUp,
        Self::Smoke,
        Self::AwaitPromotion,
        Self::Switch,
        Self::Converge,
        Self::Bake,
        Self::Drain,
        Self::Complete,
        Self::Rejected,
        Self::Paused,
    ];

    /// From status.
    pub fn read(text: &str) -> Self {
        Self::ALL.into_iter().find(|phase| format!("{phase:?}") == text).unwrap_or_default()
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Somebody else writes between read and write: 409.
    Conflict,
    /// 429.
    Throttled,
    /// 500.
    ServerError,
    /// A write is done, but the connection breaks before the answer.
    AnswerLost,
    /// Requests take seconds, some longer than the operator waits.
    Slow,
    /// The API server is away.
    Away,
    /// The process is killed just before a write.
    KilledBefore,
    /// The process is killed after a write is done and before it hears of it.
    KilledAfter,
    /// All processes are killed; the next ones begin with old lists and slow watches.
    OldCache,
    /// A second process believes that it leads.
    TwoLeaders,
    /// The leader is stopped (SIGSTOP) for longer than its Lease, then continued.
    Stopped,
    /// The wall clock of one machine is set.
    ClockSet,
    /// A node is lost, and comes back or not.
    NodeLost,
    /// An agent process is restarted.
    AgentRestarted,
    /// An agent is silent.
    AgentSilent,
    /// Reports travel for seconds.
    LateReports,
    /// Every watch of the leader breaks and is listed anew.
    WatchesBroken,
    /// Watches of the leader are seconds behind.
    WatchesSlow,
    /// The EndpointSlice controller hears of nothing.
    EndpointsLate,
    /// A ReplicaSet is deleted by hand.
    SetDeleted,
    /// A pod is deleted by hand.
    PodDeleted,
    /// Pods lose their readiness.
    PodsUnready,
    /// A Service's selector is edited by hand.
    SelectorEdited,
    /// A Service's selector is emptied.
    SelectorEmptied,
    /// An applier forces a bare selector on a Service, every second, by server-side apply.
    SelectorApplied,
    /// A Service is deleted and made again.
    ServiceRemade,
    /// The BlueGreenDeployment is deleted, with all that it owns or without, and applied again.
    ObjectRemade,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::Conflict,
        Self::Throttled,
        Self::ServerError,
        Self::AnswerLost,
        Self::Slow,
        Self::Away,
        Self::KilledBefore,
        Self::KilledAfter,
        Self::OldCache,
        Self::TwoLeaders,
        Self::Stopped,
        Self::ClockSet,
        Self::NodeLost,
        Self::AgentRestarted,
        Self::AgentSilent,
        Self::LateReports,
        Self::WatchesBroken,
        Self::WatchesSlow,
        Self::EndpointsLate,
        Self::SetDeleted,
        Self::PodDeleted,
        Self::PodsUnready,
        Self::SelectorEdited,
        Self::SelectorEmptied,
        Self::SelectorApplied,
        Self::ServiceRemade,
        Self::ObjectRemade,
    ];

    /// Whether it is one of the drain agent.
    pub fn needs_agent(self) -> bool {
        matches!(self, Self::AgentRestarted | Self::AgentSilent | Self::LateReports)
    }
}

impl std::str::FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(|fault| format!("{fault:?}")).join(", ");
        Self::ALL.into_iter().find(|fault| format!("{fault:?}") == name).ok_or_else(|| format!("there is no fault {name}; there are {}", names()))
    }
}

/// A fault that is going to happen.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Which.
    pub fault: Fault,
    /// When the release comes to stand here, …
    pub phase: Phase,
    /// … for the so-manieth time from now on, …
    pub time: u32,
    /// … and after this.
    pub delay: Duration,
    /// How long it lasts, where it does.
    pub lasts: Duration,
    /// Whether the run aims at it: where it comes too late for its phase, or finds nothing to break, it waits for the next time.
    aimed: bool,
    begun: bool,
    /// Whether it goes on now.
    on: bool,
    /// What was broken: a node, a place of the operator.
    pub what: String,
}

impl Planned {
    fn at_random(random: &mut Random, what: &What, aim: Option<(Fault, Phase)>) -> Option<Self> {
        let (fault, phase) = (*random.one(&Fault::ALL)?, *random.one(&Phase::ALL)?);
        let (fault, phase) = aim.unwrap_or((what.only.unwrap_or(fault), phase));
        let soon = random.percent(50);
        let delay = match phase {
            // It takes some milliseconds.
            Phase::Switch => random.millis(0, 12),
            _ if soon => random.millis(0, 200),
            _ => random.millis(0, 4000),
        };
        let lasts = random.millis(1000, 30_000);
        Some(Self { fault, phase, time: 1, delay, lasts, aimed: aim.is_some(), begun: false, on: false, what: String::new() })
    }

    fn told((fault, phase, time, lasts): &(Fault, Phase, u32, u64)) -> Self {
        let lasts = Duration::from_millis(*lasts);
        Self { fault: *fault, phase: *phase, time: *time, delay: Duration::ZERO, lasts, aimed: false, begun: false, on: false, what: String::new() }
    }
}

/// What goes wrong, and what is going on.
#[derive(Debug)]
pub struct Faults {
    /// In no order.
    pub planned: Vec<Planned>,
    /// What goes on now, and how many of it.
    active: BTreeMap<Fault, u32>,
    /// What happened where.
    pub matrix: BTreeMap<(Fault, Phase), u64>,
    /// How the next process of each place begins.
    pub starts: Vec<Start>,
    /// By how many milliseconds each place's wall clock is wrong.
    pub wrong_clocks: Vec<Arc<AtomicI64>>,
    /// Writes of the operator that were carried out.
    pub writes: u64,
    random: Random,
    /// When a fault began or was over, but for edits of selectors.
    pub disturbances: Vec<Duration>,
}

impl Faults {
    /// From the seed: the one that the run aims at, and up to four more.
    pub fn new(what: &What) -> Self {
        let mut random = Random::new(what.seed, "faults");
        let planned = match what.story {
            Some(story) => story.faults.iter().map(Planned::told).collect(),
            None => {
                let more = random.between(0, 4);
                let aim = what.aim();
                let cells = aim.into_iter().map(Some).chain((0..more).map(|_| None));
                cells.filter_map(|cell| Planned::at_random(&mut random, what, cell)).collect()
            }
        };
        Self {
            planned,
            active: BTreeMap::new(),
            matrix: BTreeMap::new(),
            starts: vec![Start::default(); PLACES],
            wrong_clocks: (0..PLACES).map(|_| Arc::default()).collect(),
            writes: 0,
            random,
            disturbances: vec![],
        }
    }

    /// Whether a fault goes on.
    pub fn on(&self, fault: Fault) -> bool {
        self.active.get(&fault).is_some_and(|number| *number > 0)
    }

    /// Whether the API server is away.
    pub fn away(&self) -> bool {
        self.on(Fault::Away)
    }

    /// Whether anything but edits of selectors has gone on since shortly before a time.
    pub fn disturbed(&self, since: Duration) -> bool {
        let edit = |fault: &Fault| matches!(fault, Fault::SelectorEdited | Fault::SelectorEmptied);
        self.active.iter().any(|(fault, number)| !edit(fault) && *number > 0)
            || self.disturbances.iter().any(|at| *at + Duration::from_secs(6) >= since)
    }

    /// A fault began or was over.
    fn note(&mut self, fault: Fault, now: Duration) {
        if !matches!(fault, Fault::SelectorEdited | Fault::SelectorEmptied) {
            self.disturbances.push(now);
        }
    }
}

impl Sim {
    /// The release has come to stand somewhere: faults that wait for that are on their way.
    pub fn entered(&mut self, phase: Phase) {
        self.asked_to_promote(phase);
        if self.calm {
            return;
        }
        let now = self.now();
        for (number, planned) in self.faults.planned.iter_mut().enumerate().filter(|(_, planned)| planned.phase == phase && !planned.begun) {
            planned.time = planned.time.saturating_sub(1);
            if planned.time == 0 {
                planned.begun = true;
                self.agenda.add(now + planned.delay, Happening::Fault(number));
            }
        }
    }

    /// What the run aims at was missed: it comes sooner the next time.
    fn missed(&mut self, number: usize) {
        if let Some(planned) = self.faults.planned.get_mut(number).filter(|planned| planned.aimed) {
            planned.delay /= 4;
            planned.begun = false;
        }
    }
}
