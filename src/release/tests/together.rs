//! Whatever becomes of the members of a group, and however old what they read of each other: no decision is recorded by anybody unless all that it
//! names had promised to follow, all of them follow or all are taken back, and nobody stays behind for ever.
//! The first is checked by [`Worlds`] after every turn.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::json;

use super::fixtures::*;
use super::grouping::Worlds;
use crate::api::{Group, PhaseName, keys};
use crate::release::{Snapshot, plan};

const MEMBERS: usize = 3;

/// Something that happens to a member.
#[derive(Clone, Debug)]
enum Op {
    /// It is looked at by a process that reads the others as they were so many changes ago, and may end after so many writes.
    Turn {
        ages: Vec<usize>,
        writes: Option<usize>,
    },
    /// Another process, which believes it leads, acts on what it read so many turns ago.
    Stale(usize),
    Apply(u8),
    /// All of them get a version, one right after the other.
    ApplyAll(u8),
    Release(u8),
    Pause(bool),
    Fail(u8),
    Pass(u8),
    Break(u8),
    Mend(u8),
    Ill(u8),
    Abort(u8),
    Retry(u8),
    Rollback(u8, u8),
    Leave,
    Join,
    Delete,
    Wait(u32),
}

fn op() -> impl Strategy<Value = (usize, Op)> {
    let version = 1u8..4;
    let ages = prop::collection::vec(prop_oneof![3 => Just(0usize), 2 => 0usize..4], MEMBERS);
    let writes = prop_oneof![3 => Just(None), 2 => (0usize..9).prop_map(Some)];
    let what = prop_oneof![
        90 => (ages, writes).prop_map(|(ages, writes)| Op::Turn { ages, writes }),
        5 => (0usize..8).prop_map(Op::Stale),
        3 => version.clone().prop_map(Op::Apply),
        7 => version.clone().prop_map(Op::ApplyAll),
        1 => (1u8..3).prop_map(Op::Release),
        1 => any::<bool>().prop_map(Op::Pause),
        1 => version.clone().prop_map(Op::Fail),
        2 => version.clone().prop_map(Op::Pass),
        1 => version.clone().prop_map(Op::Break),
        2 => version.clone().prop_map(Op::Mend),
        1 => version.clone().prop_map(Op::Ill),
        1 => version.clone().prop_map(Op::Abort),
        2 => version.clone().prop_map(Op::Retry),
        1 => (version.clone(), version).prop_map(|(from, to)| Op::Rollback(from, to)),
        1 => Just(Op::Leave),
        3 => Just(Op::Join),
        1 => Just(Op::Delete),
        3 => (1u32..4).prop_map(Op::Wait),
    ];
    (0..MEMBERS, what)
}

fn of(version: u8) -> String {
    revision(&format!("v{version}"))
}

fn group(release: Option<u8>) -> Option<Group> {
    Some(Group { name: "storefront".into(), release: release.map(|release| release.to_string()) })
}

fn happen(worlds: &mut Worlds, place: usize, op: &Op, named: bool, before: &[Vec<Snapshot>]) {
    match *op {
        Op::Turn { ref ages, writes } => {
            worlds.all[place].writes_left = writes;
            worlds.turn(place, ages);
            if writes.is_some() {
                worlds.all[place].writes_left = None;
                worlds.all[place].restart();
            }
        }
        Op::Stale(age) => {
            if let Some(planned) = before[place].iter().rev().nth(age).filter(|_| !worlds.gone.contains(&place)) {
                let world = &mut worlds.all[place];
                world.stale = true;
                let _ = world.carry_out(planned, plan(planned, world.now()));
                world.stale = false;
                worlds.note(place);
            }
        }
        Op::Apply(version) => worlds.act(place, |world| world.apply_version(&format!("v{version}"))),
        Op::ApplyAll(version) => (0..MEMBERS).for_each(|place| {
            worlds.act(place, |world| {
                world.apply_version(&format!("v{version}"));
                world.edit(|spec| spec.promotion.group = group(named.then_some(version)));
            });
        }),
        Op::Release(release) if named => worlds.act(place, |world| world.edit(|spec| spec.promotion.group = group(Some(release)))),
        Op::Release(_) => {}
        Op::Pause(paused) => worlds.act(place, |world| world.edit(|spec| spec.paused = paused)),
        Op::Fail(version) => drop(worlds.all[place].failing.insert(of(version))),
        Op::Pass(version) => drop(worlds.all[place].failing.remove(&of(version))),
        Op::Break(version) => drop(worlds.all[place].broken.insert(of(version))),
        Op::Mend(version) => drop(worlds.all[place].broken.remove(&of(version))),
        Op::Ill(version) => drop(worlds.all[place].ill.insert(of(version))),
        Op::Abort(version) => worlds.act(place, |world| world.command(keys::command::ABORT, of(version))),
        Op::Retry(version) => worlds.act(place, |world| world.command(keys::command::RETRY, of(version))),
        Op::Rollback(from, to) => worlds.act(place, |world| world.command(keys::command::ROLLBACK, format!("{}-{}", of(from), of(to)))),
        Op::Leave => worlds.act(place, |world| world.edit(|spec| spec.promotion.group = None)),
        Op::Join => worlds.act(place, |world| world.edit(|spec| spec.promotion.group = group(named.then_some(1)))),
        Op::Delete => {
            if worlds.gone.is_empty() {
                worlds.gone.insert(place);
            }
        }
        Op::Wait(seconds) => worlds.all[place].run(seconds),
    }
}

/// The trouble is over, and whatever was given up is tried again.
fn heal(worlds: &mut Worlds, named: bool) {
    for place in 0..MEMBERS {
        worlds.act(place, |world| {
            (world.failing, world.broken, world.ill) = Default::default();
            world.snapshot.object.commands.clear();
            world.edit(|spec| {
                spec.paused = false;
                spec.promotion.group = group(named.then_some(9));
            });
        });
    }
    for _ in 0..6 {
        worlds.run(8);
        for place in 0..MEMBERS {
            if let Some(rejected) = worlds.all[place].status().rejected.clone() {
                worlds.act(place, |world| world.command(keys::command::RETRY, rejected.revision.clone()));
            }
        }
    }
    worlds.run(60);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, rng_seed: RngSeed::Fixed(11), max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn members_follow_one_decision_or_none_and_nobody_stays_behind(ops in prop::collection::vec(op(), 30..160), named in any::<bool>(), bakes in any::<bool>()) {
        let probes = json!([{"name": "good", "httpGet": {"port": "http"}}]);
        let mut worlds = Worlds::installed(MEMBERS, &json!({
            "replicas": 1,
            "progressDeadlineSeconds": 60,
            "traffic": {"services": ["shop"], "quietSeconds": 1, "convergenceTimeoutSeconds": 3},
            "drain": {"source": "Timer", "fallbackSeconds": 2, "deadlineSeconds": 5, "minimumSeconds": 1},
            "bake": if bakes { json!({"seconds": 4, "probes": probes}) } else { json!({}) },
            "promotion": {"group": if named { json!({"name": "storefront", "release": "1"}) } else { json!({"name": "storefront"}) }},
        }));
        let mut before = vec![vec![]; MEMBERS];
        for (place, op) in &ops {
            happen(&mut worlds, *place, op, named, &before);
            before[*place].push(worlds.all[*place].snapshot.clone());
        }
        worlds.settle();
        worlds.whole();
        heal(&mut worlds, named);
        worlds.whole();
        for world in worlds.there() {
            prop_assert_eq!(world.phase(), PhaseName::Complete, "{:#?}", world.status());
            let wanted = world.status().revision.clone();
            prop_assert_eq!(world.status().switch.as_ref().map(|switch| switch.to.clone()), wanted);
        }
    }
}
