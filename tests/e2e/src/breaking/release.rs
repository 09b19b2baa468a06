//! One release, which stands in a certain phase when something breaks.

use std::collections::BTreeSet;
use std::time::Duration;

use bluegreen::api::PhaseName;
use load::report::Failed;
use tokio::time::Instant;

use super::control::Control;
use super::fault::Fault;
use super::table::Measured;
use crate::claim;
use crate::failure::{Failure, Result};
use crate::manifest::{Manifest, shop};
use crate::stage::{Stage, revision};
use crate::traffic::Load;
use crate::wait::stays;

/// Long connections of each release.
const HELD: usize = 3;
/// How long nodes may take to follow a Service that was made again.
const FOLLOW_MS: u64 = 3000;

/// What happened when it broke.
#[derive(Clone, Debug, Default)]
pub struct Happened {
    /// The pods whose connections went with them.
    pub ended: BTreeSet<String>,
    /// Between these times (milliseconds since the Unix epoch) users could not be served, whatever an operator does.
    pub out: Option<(u64, u64)>,
}

/// A release under way, with its users.
pub struct Release {
    /// Where.
    pub stage: Stage,
    /// What is to break.
    pub fault: Fault,
    /// Where the release is to stand then.
    pub phase: PhaseName,
    /// Whether old pods leave one by one (`drain.scaleDown: PerPod`): then there is one more of them than connections that last.
    pub one_by_one: bool,
    /// The revision that is left.
    pub old: String,
    /// The revision that comes; empty before it is known.
    pub new: String,
    users: Load,
    held: Vec<(Load, String)>,
}

impl Release {
    /// Installs the first version, with users and connections that last.
    pub async fn prepare(stage: Stage, fault: Fault, phase: PhaseName, one_by_one: bool) -> Result<Self> {
        stage.service("shop").await?;
        stage.apply(&version(&stage, "v1", fault, phase, one_by_one)).await?;
        let old = revision(&stage.complete(120).await?)?;
        let users = stage.users_from(1, "shop", &["--rate", "25", "--keepalive", "0"]).await?;
        let mut held = vec![];
        for _ in 0..if one_by_one { HELD - 1 } else { HELD } {
            let load = stage.long(1, &["echo", "--target", "tcp://{echo}"]).await?;
            let pod = load.open()?.pod.unwrap_or_default();
            held.push((load, pod));
        }
        Ok(Self { stage, fault, phase, one_by_one, old, new: String::new(), users, held })
    }

    /// Begins the release. Phases in which it can be kept come first, and then those that pass: they are reached at about the same time in all
    /// releases of a round.
    pub async fn approach(&mut self) -> Result {
        match self.phase {
            PhaseName::AwaitPromotion | PhaseName::Converge => self.begin(PhaseName::AwaitPromotion).await,
            PhaseName::Drain => self.begin(PhaseName::Drain).await,
            _ => Ok(()),
        }
    }

    /// The tests of this one begin.
    pub async fn test(&mut self) -> Result {
        if self.phase == PhaseName::Smoke { self.begin(PhaseName::Smoke).await } else { Ok(()) }
    }

    /// What passes quickly.
    pub async fn enter(&mut self) -> Result {
        match self.phase {
            PhaseName::BringUp => self.begin(PhaseName::BringUp).await,
            PhaseName::Converge => {
                self.stage.command("bluegreen.dev/promote", &self.new).await?;
                self.is_in(PhaseName::Converge, 30).await?;
                if matches!(self.fault, Fault::NodeKilled | Fault::OldPodDeleted | Fault::OldSetDeleted) {
                    // Nodes follow a switch with a delay, in which the old pods must live.
                    self.users.only("v2", 20).await?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether it still stands where it is to stand.
    pub async fn stands(&mut self) -> Result {
        self.is_in(self.phase, 0).await
    }

    async fn begin(&mut self, phase: PhaseName) -> Result {
        self.stage.apply(&version(&self.stage, "v2", self.fault, self.phase, self.one_by_one)).await?;
        self.is_in(phase, 90).await
    }

    async fn is_in(&mut self, phase: PhaseName, seconds: u64) -> Result {
        let status = self.stage.until(&format!("the phase is {phase:?}"), seconds, |status| status.phase == Some(phase)).await?;
        self.new = revision(&status)?;
        Ok(())
    }

    /// The pod of the first long connection.
    pub fn holder(&self) -> Result<&str> {
        self.held.first().map(|(_, pod)| pod.as_str()).ok_or_else(|| Failure::Claim("nothing is held".into()))
    }

    /// Brings the release to its end, and counts what users noticed.
    pub async fn finish(self, broken: Instant, happened: &Happened, control: &Control) -> Result<Measured> {
        let Self { stage, fault, phase, one_by_one, old: _, new, users, held } = self;
        if phase == PhaseName::AwaitPromotion {
            stage.until("it waits for a person", 120, |status| status.phase == Some(PhaseName::AwaitPromotion)).await?;
            stage.command("bluegreen.dev/promote", &new).await?;
        }
        stage.serves(&new, 150).await?;
        let left = |phase: Option<PhaseName>| matches!(phase, Some(PhaseName::Drain | PhaseName::Complete));
        stage.until("the old set drains", 120, |status| left(status.phase)).await?;
        stays("the traffic stays", 2, || async {
            let selected = stage.selected("shop").await?;
            Ok(crate::wait::when(selected == new, || format!("the Service selects {selected:?}")))
        })
        .await?;
        let mut cut = 0;
        for (load, pod) in held {
            let lost = load.failures();
            let summary = load.stop()?;
            cut += summary.failed;
            let expected = happened.ended.contains(&pod);
            claim!(summary.failed == 0 || expected, "the connection to pod {pod} was cut: {lost:?}");
        }
        let status = stage.complete(150).await?;
        let seconds = broken.elapsed().as_secs_f64();
        users.only("v2", 30).await?;
        let moved = status.switch.as_ref().map(|switch| (switch.started_at, switch.converged_at));
        let failures = users.failures();
        let early = moved.map_or(0, |(started, _)| users.answers("v2", 0, millis(started)));
        let late = moved.and_then(|(_, converged)| converged).map_or(0, |converged| users.answers("v1", millis(converged), u64::MAX));
        let summary = users.stop()?;
        let measured = Measured { failed: summary.failed, cut, wrong: early + late, seconds };
        let everybodys = failures.iter().filter(|failed| control.explains(failed)).count();
        if everybodys > 0 {
            stage.notes.say(format!("{everybodys} failed when those to a Service that nobody touches did"));
        }
        let explained = |failed: &Failed| happened.explains(failed) || control.explains(failed);
        let unexplained: Vec<&Failed> = failures.iter().filter(|failed| !explained(failed)).collect();
        claim!(unexplained.is_empty(), "{} requests failed; the first: {:?}", unexplained.len(), unexplained.first());
        claim!(summary.failed == u64::try_from(failures.len()).unwrap_or_default(), "requests failed at the very end: {:?}", summary.failures);
        claim!(fault.moves_traffic() || measured.wrong == 0, "{early} early answers of v2, {late} late ones of v1");
        let how = if one_by_one { "one by one: " } else { "" };
        stage.notes.say(format!("{how}{} requests, {} failed, {cut} cut, {} wrong, {seconds:.0} s", summary.ok, summary.failed, measured.wrong));
        Ok(measured)
    }
}

impl Happened {
    /// Whether a request failed because of what happened, and of nothing else.
    fn explains(&self, failed: &Failed) -> bool {
        self.out.is_some_and(|(from, to)| failed.at_ms >= from && failed.at_ms.saturating_sub(failed.after_ms) <= to + FOLLOW_MS)
    }
}

fn millis(time: jiff::Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or_default()
}

/// A version whose release stands long enough in each phase for something to happen there.
fn version(stage: &Stage, version: &str, fault: Fault, phase: PhaseName, one_by_one: bool) -> Manifest {
    let manual = matches!(phase, PhaseName::AwaitPromotion | PhaseName::Converge);
    let mut manifest = shop(version)
        .spec("/smokeProbes/0/successThreshold", if phase == PhaseName::Smoke && version == "v2" { 14 } else { 3 })
        .spec("/traffic/quietSeconds", 5)
        .spec("/traffic/convergenceTimeoutSeconds", 90)
        .spec("/drain/deadlineSeconds", 240)
        .spec("/promotion/mode", if manual && version == "v2" { "Manual" } else { "Automatic" });
    if phase == PhaseName::BringUp && version == "v2" {
        manifest = manifest.env("APP_READY_AFTER", "6");
    }
    if one_by_one {
        manifest = manifest.spec("/drain/scaleDown", "PerPod").spec("/replicas", HELD);
    }
    if fault.deletes_pods() {
        manifest = manifest.container("/lifecycle/preStop/sleep/seconds", 3);
    }
    if fault == Fault::NodeKilled {
        // Whoever serves is not on the node that is killed: for users of its pods nothing can be done.
        let new_dies = !matches!(phase, PhaseName::Converge | PhaseName::Drain);
        let dies = (version == "v2") == new_dies;
        manifest = manifest.on_node(stage.world.cluster.node_name(if dies { 2 } else { 1 }));
    }
    manifest
}

/// A release that takes longer in one of its steps has failed.
pub const LIMIT: Duration = Duration::from_secs(400);
