//! Processes of the operator: started, stopped for a while, killed, and which of them leads.

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bluegreen::controller::context::{Clock, Context, Outlets};
use bluegreen::controller::fenced::{Fenced, Leadership};
use bluegreen::controller::lease::{Candidate, Outcome};
use bluegreen::controller::observe::Installation;
use bluegreen::controller::watches;
use bluegreen::controller::work::{Inlets, Work};
use bluegreen::controller::world::World;
use bluegreen::release::config::Snapshots;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::AbortHandle;

use super::api::SimApi;
use super::clock::SimClock;
use super::prober::SimProber;
use crate::agenda::Happening;
use crate::sim::{AGENT, OPERATOR, Sim, lock};
use crate::watch::Sink;

/// The operator's context over the simulated API server.
pub type Shell = Context<Fenced<SimApi>>;

/// Replicas of the operator.
pub const PLACES: usize = 2;

/// One process.
pub struct Process {
    /// As it stands in the Lease: the name of its pod, which outlives it.
    pub name: String,
    /// Which replica it is.
    pub place: usize,
    /// Whether it has not ended.
    pub alive: bool,
    /// Until when it is stopped.
    pub paused: Option<Duration>,
    /// What its parts share.
    pub context: Arc<Shell>,
    /// Its clocks.
    pub clock: SimClock,
    /// Whether it works: it leads, or believes so.
    pub works: bool,
    /// Since when.
    pub since: Duration,
    /// Until when it believes that it leads, without the Lease.
    pub usurps: Option<Duration>,
    /// It ends at the write after so many; true: after the write is done.
    pub dies: Option<(u32, bool)>,
    /// Its watches.
    pub watchers: Vec<usize>,
    /// Requests so far, but for the Lease and dry runs.
    pub requests: u64,
    task: Option<AbortHandle>,
}

/// How the next process of a place begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    /// How many versions ago its first lists are.
    pub old: u64,
    /// Delay of its watches, in milliseconds.
    pub slow: Option<(u64, u64)>,
    /// For how long it believes that it leads, without the Lease.
    pub usurps: Option<Duration>,
}

impl Sim {
    /// Whether a process has not ended.
    pub fn alive(&self, process: usize) -> bool {
        self.processes.get(process).is_some_and(|process| process.alive)
    }

    /// Until when a process is stopped.
    pub fn paused_until(&self, process: usize) -> Option<Duration> {
        let now = self.now();
        self.processes.get(process).and_then(|process| process.paused).filter(|until| *until > now)
    }

    /// The processes that work.
    pub fn working(&self) -> Vec<usize> {
        self.processes.iter().enumerate().filter(|(_, process)| process.alive && process.works).map(|(id, _)| id).collect()
    }

    /// Since when the process that works last has worked.
    pub fn led_since(&self) -> Option<Duration> {
        self.working().last().and_then(|id| self.processes.get(*id)).map(|process| process.since)
    }

    /// The process that is alive in a place.
    pub fn in_place(&self, place: usize) -> Option<usize> {
        self.processes.iter().rposition(|process| process.place == place && process.alive)
    }

    /// Starts a process in a place.
    pub fn start_process(&mut self, place: usize) {
        if self.in_place(place).is_some() {
            return;
        }
        let how = self.faults.starts.get_mut(place).map(std::mem::take).unwrap_or_default();
        let id = self.processes.len();
        let name = format!("operator-{place}");
        let leadership = Arc::new(Leadership::default());
        let wrong = self.faults.wrong_clocks.get(place).cloned().unwrap_or_else(|| Arc::new(AtomicI64::new(0)));
        let head_start = self.random.millis(1_000_000, 9_000_000);
        let clock = SimClock::new(self.start(), head_start, wrong);
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let api = SimApi::new(self.me(), id);
        let fenced = Fenced::new(api.clone(), leadership.clone(), shared.clone());
        let (wake, wakes) = unbounded_channel();
        let (want, wishes) = unbounded_channel();
        let (tell, told) = unbounded_channel();
        let world = World::new(vec![], true);
        let scopes = world.scopes();
        let agent = self.scenario.agent.then_some(AGENT);
        let installation = Installation {
            agent: self.scenario.agent,
            runtime_classes: vec![],
            cluster_wide: true,
            allowed_urls: Some(vec![]),
            allowed_webhooks: Some(vec![]),
            allowed_exec: Some(false),
            job_logs: false,
            config_snapshots: None,
            allowed_proxy: Some(false),
        };
        let prober = Arc::new(SimProber::new(self.me(), id));
        let outlets = Outlets { wake, wanted: want, events: tell };
        let context = Arc::new(Context::new(fenced, shared, prober, installation, world, outlets));
        context.tasks.at_home(context.clone());
        let inlets = Inlets { wakes, wishes, told };
        let life = Life { sim: self.me(), id, api, context: context.clone(), clock: clock.clone(), leadership };
        let candidate = Candidate::new(OPERATOR, "bluegreen-operator", &name);
        self.say(&name, || format!("starts (process {id}, {how:?})"));
        let task = tokio::spawn(life.live(candidate, inlets)).abort_handle();
        let usurps = how.usurps.map(|time| self.now() + time);
        self.processes.push(Process {
            name,
            place,
            alive: true,
            paused: None,
            context,
            clock,
            works: false,
            since: Duration::ZERO,
            usurps,
            dies: None,
            watchers: vec![],
            requests: 0,
            task: Some(task),
        });
        let since = self.store.revision().saturating_sub(how.old);
        let delay = how.slow.unwrap_or(self.scenario.watch_delay);
        for watch in watches::all(&scopes, OPERATOR, agent, true, Snapshots::None) {
            let watcher = self.watch(watch.clone(), Sink::Process(id, watch), delay, since);
            if let Some(process) = self.processes.get_mut(id) {
                process.watchers.push(watcher);
            }
        }
    }

    /// A process ends at once; another one takes its place after a while.
    pub fn end_process(&mut self, id: usize, why: &str) {
        let Some(process) = self.processes.get_mut(id).filter(|process| process.alive) else { return };
        process.alive = false;
        process.works = false;
        if let Some(task) = process.task.take() {
            task.abort();
        }
        process.context.tasks.end();
        let (name, place, watchers) = (process.name.clone(), process.place, std::mem::take(&mut process.watchers));
        self.say(&name, || format!("ends (process {id}): {why}"));
        for watcher in watchers {
            self.unwatch(watcher);
        }
        if !self.over {
            let wait = self.random.millis(500, 4000);
            self.later(wait, Happening::Start(place));
        }
    }

    /// Breaks the circles in which processes hold themselves, so that memory is given back.
    pub fn end_all(&mut self) {
        self.over = true;
        for id in 0..self.processes.len() {
            self.end_process(id, "the world ends");
        }
    }
}

/// What a process needs to live.
struct Life {
    sim: Weak<Mutex<Sim>>,
    id: usize,
    api: SimApi,
    context: Arc<Shell>,
    clock: SimClock,
    leadership: Arc<Leadership>,
}

impl Life {
    /// As the real `lead`: caches, Lease, work, until it no longer leads.
    async fn live(self, mut candidate: Candidate, inlets: Inlets) {
        while !self.context.world().synced() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let usurps = self.with(|sim, id| sim.processes.get(id).and_then(|process| process.usurps)).flatten();
        match usurps {
            Some(_) => self.leadership.renewed(self.clock.now().mono),
            None => self.acquire(&mut candidate).await,
        }
        self.with(|sim, id| {
            let name = sim.processes.get(id).map(|process| process.name.clone()).unwrap_or_default();
            sim.say(&name, || if usurps.is_some() { "believes that it leads, without the Lease".into() } else { "leads".into() });
            let now = sim.now();
            if let Some(process) = sim.processes.get_mut(id) {
                process.works = true;
                process.since = now;
            }
        });
        let work = Work::start(&self.context, OPERATOR, inlets);
        match usurps {
            Some(until) => self.believe(until).await,
            None => candidate.keep(&self.api, &self.leadership, &self.clock).await,
        }
        drop(work);
        self.with(|sim, id| sim.end_process(id, "it leads no more"));
    }

    async fn acquire(&self, candidate: &mut Candidate) {
        loop {
            let now = self.clock.now();
            let wait = match candidate.try_lead(&self.api, now.mono, now.wall).await {
                Ok(Outcome::Leads) => return self.leadership.renewed(now.mono),
                Ok(Outcome::Waits(wait)) => wait.clamp(Duration::from_millis(50), Duration::from_secs(2)),
                Err(_) => Duration::from_secs(1),
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn believe(&self, until: Duration) {
        while self.with(|sim, _| sim.now() < until && !sim.calm).unwrap_or(false) {
            self.leadership.renewed(self.clock.now().mono);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.leadership.resign();
    }

    fn with<T>(&self, act: impl FnOnce(&mut Sim, usize) -> T) -> Option<T> {
        self.sim.upgrade().map(|sim| act(&mut lock(&sim), self.id))
    }
}
