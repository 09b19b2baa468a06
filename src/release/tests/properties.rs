//! Whatever people, pods, agents and processes do, in whatever order: the invariants hold after every write, a plan at rest
//! stays at rest, and when the trouble is over every release comes to an end. The invariants are checked by the simulator.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::json;

use super::fixtures::*;
use super::simulator::World;
use crate::api::{ConditionStatus, ConditionType, Cutover, DrainSource, PhaseName, PromotionMode, ScaleDown, keys};
use crate::release::{Snapshot, plan};

/// Something that happens.
#[derive(Clone, Debug)]
enum Op {
    Apply(u8),
    Replicas(i32),
    Pause(bool),
    Manual(bool),
    Probe(u8),
    Promote(u8),
    Abort(u8),
    Retry(u8),
    Rollback(u8, u8),
    Break(u8),
    Mend(u8),
    Fail(u8),
    Dither(u8),
    Pass(u8),
    Connect(u8),
    Visit(u8),
    Leave(u8),
    Flap(usize),
    Evict(usize),
    Steal(u8),
    LoseNode(bool),
    Silent(bool),
    Unread(bool),
    Source(u8),
    PerPod(bool),
    Overlap(bool),
    Litter(bool),
    Hold(usize),
    Restart,
    Kill(usize),
    Stale(usize),
    Wait(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let version = 1u8..4;
    prop_oneof![
        4 => version.clone().prop_map(Op::Apply),
        2 => (0i32..5).prop_map(Op::Replicas),
        1 => any::<bool>().prop_map(Op::Pause),
        1 => any::<bool>().prop_map(Op::Manual),
        1 => (0u8..2).prop_map(Op::Probe),
        1 => version.clone().prop_map(Op::Promote),
        1 => version.clone().prop_map(Op::Abort),
        1 => version.clone().prop_map(Op::Retry),
        2 => (version.clone(), version.clone()).prop_map(|(from, to)| Op::Rollback(from, to)),
        2 => version.clone().prop_map(Op::Break),
        2 => version.clone().prop_map(Op::Mend),
        1 => version.clone().prop_map(Op::Fail),
        1 => version.clone().prop_map(Op::Dither),
        2 => version.clone().prop_map(Op::Pass),
        2 => version.clone().prop_map(Op::Connect),
        1 => version.clone().prop_map(Op::Visit),
        2 => version.prop_map(Op::Leave),
        2 => (0usize..8).prop_map(Op::Flap),
        2 => (0usize..8).prop_map(Op::Evict),
        2 => (0u8..4).prop_map(Op::Steal),
        1 => any::<bool>().prop_map(Op::LoseNode),
        1 => any::<bool>().prop_map(Op::Silent),
        1 => any::<bool>().prop_map(Op::Unread),
        1 => (0u8..3).prop_map(Op::Source),
        3 => prop::bool::weighted(0.8).prop_map(Op::PerPod),
        2 => any::<bool>().prop_map(Op::Overlap),
        1 => any::<bool>().prop_map(Op::Litter),
        4 => (0usize..8).prop_map(Op::Hold),
        1 => Just(Op::Restart),
        3 => (0usize..7).prop_map(Op::Kill),
        2 => (0usize..6).prop_map(Op::Stale),
        5 => (1u32..40).prop_map(Op::Wait),
    ]
}

fn name(version: u8) -> String {
    format!("v{version}")
}

fn of(version: u8) -> String {
    revision(&name(version))
}

fn happen(world: &mut World, op: &Op, before: &[Snapshot]) {
    match *op {
        Op::Apply(version) => world.apply_version(&name(version)),
        Op::Replicas(replicas) => world.edit(|spec| spec.replicas = replicas),
        Op::Pause(paused) => world.edit(|spec| spec.paused = paused),
        Op::Manual(manual) => world.edit(|spec| spec.promotion.mode = if manual { PromotionMode::Manual } else { PromotionMode::Automatic }),
        Op::Probe(number) => world.edit(|spec| spec.smoke_probes[0].http_get.as_mut().unwrap().path = format!("/{number}")),
        Op::Promote(version) => world.command(keys::command::PROMOTE, of(version)),
        Op::Abort(version) => world.command(keys::command::ABORT, of(version)),
        Op::Retry(version) => world.command(keys::command::RETRY, of(version)),
        Op::Rollback(from, to) => world.command(keys::command::ROLLBACK, format!("{}-{}", of(from), of(to))),
        Op::Break(version) => {
            world.broken.insert(of(version));
        }
        Op::Mend(version) => {
            world.broken.remove(&of(version));
        }
        Op::Fail(version) => {
            world.failing.insert(of(version));
        }
        Op::Dither(version) => {
            world.undecided.insert(of(version));
        }
        Op::Pass(version) => {
            world.failing.remove(&of(version));
            world.undecided.remove(&of(version));
        }
        Op::Connect(version) => {
            world.open.insert(of(version), 1);
        }
        Op::Visit(version) => {
            world.arriving.insert(of(version), 1);
        }
        Op::Leave(version) => {
            world.open.remove(&of(version));
            world.arriving.remove(&of(version));
        }
        Op::Flap(place) => {
            let number = world.snapshot.pods.len().max(1);
            let now = world.now().wall;
            if let Some(pod) = world.snapshot.pods.get_mut(place % number) {
                (pod.ready, pod.ready_since) = (!pod.ready, Some(now));
            }
            world.reconcile();
        }
        Op::Evict(place) => {
            let number = world.snapshot.pods.len();
            if number > 0 {
                world.snapshot.pods.remove(place % number);
            }
            world.reconcile();
        }
        Op::Steal(how) => {
            let service = world.service_mut(SHOP);
            service.selector = match how {
                0 => labels(&[]),
                1 => labels(&[("app", SHOP)]),
                how => selector(&of(how)),
            };
        }
        Op::LoseNode(lost) => world.snapshot.nodes.get_mut("node-2").unwrap().exists = !lost,
        Op::Silent(silent) => world.silent = silent,
        Op::Unread(unread) => world.snapshot.unread = if unread { vec!["Services".into()] } else { vec![] },
        Op::Source(source) => world.edit(|spec| {
            let metric = json!({"port": PORT, "series": "sessions"});
            (spec.drain.source, spec.drain.metric) = match source {
                0 => (DrainSource::Auto, None),
                1 => (DrainSource::Timer, None),
                _ => (DrainSource::Metric, serde_json::from_value(metric).unwrap()),
            };
        }),
        Op::Overlap(both) => world.edit(|spec| spec.traffic.cutover = both.then_some(Cutover::Overlap)),
        Op::PerPod(alone) => world.edit(|spec| spec.drain.scale_down = if alone { ScaleDown::PerPod } else { ScaleDown::Together }),
        Op::Litter(littered) => world.littered = littered,
        Op::Hold(place) => {
            let number = world.snapshot.pods.len().max(1);
            if let Some(pod) = world.snapshot.pods.get(place % number) {
                world.holding.insert(pod.uid.clone(), 1);
                world.numbers.insert(pod.uid.clone(), Ok(1.0));
            }
        }
        Op::Restart => world.restart(),
        Op::Kill(writes) => {
            world.writes_left = Some(writes);
            world.settle();
            world.writes_left = None;
            world.restart();
        }
        Op::Stale(age) => {
            // Another process that believes it leads acts on what it read a while ago.
            if let Some(planned) = before.iter().rev().nth(age) {
                world.stale = true;
                let _ = world.carry_out(planned, plan(planned, world.now()));
                world.stale = false;
            }
        }
        Op::Wait(seconds) => world.run(seconds),
    }
}

/// The trouble is over.
fn heal(world: &mut World) {
    (world.broken, world.failing, world.undecided) = Default::default();
    (world.open, world.arriving, world.silent) = Default::default();
    (world.holding, world.numbers, world.littered) = Default::default();
    world.snapshot.unread.clear();
    world.snapshot.repairs.clear();
    world.snapshot.nodes.values_mut().for_each(|node| node.exists = true);
    world.edit(|spec| {
        spec.paused = false;
        spec.promotion.mode = PromotionMode::Automatic;
    });
}

fn over(world: &World) -> bool {
    world.phase() == PhaseName::Complete || condition(world.status(), ConditionType::Stalled).0 == ConditionStatus::True
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, rng_seed: RngSeed::Fixed(7), max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_invariants_hold_and_releases_end(ops in prop::collection::vec(op(), 1..30)) {
        let mut world = World::new("v1", &json!({
            "progressDeadlineSeconds": 60,
            "revisionHistoryLimit": 2,
            "onFailure": {"keepSeconds": 30},
            "disruptionBudget": {"minAvailable": 1},
            "traffic": {"services": ["shop", "shop-internal"], "previewServices": ["shop-preview"], "convergenceTimeoutSeconds": 20},
            "drain": {"deadlineSeconds": 90, "fallbackSeconds": 40},
        }));
        let mut before = vec![];
        world.settle();
        for op in &ops {
            happen(&mut world, op, &before);
            before.push(world.snapshot.clone());
            world.settle();
            before.push(world.snapshot.clone());
        }
        heal(&mut world);
        world.until("the release ends", over);
        // What is left over goes as well.
        world.run(250);
        prop_assert!(over(&world), "{:#?}", world.status());
        if let Some(switch) = world.status().switch.clone() {
            prop_assert!(switch.completed_at.is_some());
            for name in ["shop", "shop-internal"] {
                prop_assert_eq!(&world.snapshot.services[name].selector, &selector(&switch.to));
            }
            if world.phase() == PhaseName::Complete {
                let left: Vec<_> = world.snapshot.sets.iter().filter(|set| set.desired > 0 && set.revision != switch.to).collect();
                prop_assert!(left.is_empty(), "{left:?}");
                prop_assert!(world.snapshot.sets.iter().all(|set| set.loose.is_none()), "{:#?}", world.snapshot.sets);
            }
        }
    }
}
