//! What pods bear because of their role.

use serde_json::json;

use super::fixtures::*;
use super::simulator::World;
use crate::api::RoleMetadata;
use crate::api::keys::command;
use crate::release::metadata::PodRole;
use crate::release::plan;

/// Roles of a version's pods, as is written on them.
fn roles(world: &World, version: &str) -> Vec<Option<PodRole>> {
    world.pods(version).iter().map(|pod| pod.metadata.as_ref().map(|record| record.role)).collect()
}

fn label(role: &str) -> serde_json::Value {
    json!({"labels": {"role": role}})
}

#[test]
fn pods_bear_what_belongs_to_their_role_and_change_it_with_the_role() {
    let metadata = json!({"podMetadata": {"active": label("active"), "inactive": label("preview"), "draining": label("old")}});
    let mut world = World::installed("v1", &metadata);
    assert_eq!(roles(&world, "v1"), vec![Some(PodRole::Active); 3]);
    world.undecided.insert(revision("v2"));
    world.apply_version("v2");
    world.settle();
    assert_eq!(roles(&world, "v2"), vec![Some(PodRole::Inactive); 3]);
    world.open.insert(revision("v1"), 1);
    world.undecided.clear();
    world.until("all are in their new roles", |world| {
        roles(world, "v1") == vec![Some(PodRole::Draining); 3] && roles(world, "v2") == vec![Some(PodRole::Active); 3]
    });
    // Back again: what draining pods bore goes.
    world.command(command::ROLLBACK, format!("{}-{}", revision("v2"), revision("v1")));
    world.until("back", |world| {
        roles(world, "v1") == vec![Some(PodRole::Active); 3] && roles(world, "v2").iter().all(|role| *role == Some(PodRole::Draining))
    });
}

/// What a plan writes on pods: role, what they are to bear, and how many.
fn written(world: &World) -> Vec<(PodRole, RoleMetadata, usize)> {
    plan(&world.snapshot, world.now()).metadata.into_iter().map(|change| (change.role, change.wanted, change.pods.len())).collect()
}

#[test]
fn autoscalers_are_told_to_leave_draining_pods_alone() {
    let mut world = World::installed("v1", &json!({"podMetadata": {"draining": {"annotations": {"karpenter.sh/do-not-disrupt": "false"}}}}));
    assert_eq!(roles(&world, "v1"), vec![None; 3]);
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.until("v1 is being left", |world| roles(world, "v1") == vec![Some(PodRole::Draining); 3]);
    assert_eq!(roles(&world, "v2"), vec![None; 3]);
    world.snapshot.pods.iter_mut().for_each(|pod| pod.metadata = None);
    let written = written(&world);
    let expected = labels(&[("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"), ("karpenter.sh/do-not-disrupt", "false")]);
    let [(PodRole::Draining, wanted, 3)] = written.as_slice() else { panic!("{written:#?}") };
    assert_eq!(wanted.annotations, expected);
}

#[test]
fn draining_pods_come_first_and_a_pause_holds_all() {
    let mut world = World::installed("v1", &json!({"podMetadata": {"active": label("active")}}));
    world.open.insert(revision("v1"), 1);
    world.apply_version("v2");
    world.until("v1 is being left", |world| roles(world, "v1") == vec![Some(PodRole::Draining); 3]);
    assert!(written(&world).is_empty());
    world.snapshot.pods.iter_mut().for_each(|pod| pod.metadata = None);
    // Whatever the ReplicaSets are called.
    for _ in 0..2 {
        world.snapshot.sets.reverse();
        let roles: Vec<PodRole> = written(&world).into_iter().map(|(role, ..)| role).collect();
        assert_eq!(roles, [PodRole::Draining, PodRole::Active]);
    }
    world.edit(|spec| spec.paused = true);
    assert!(written(&world).is_empty());
}

#[test]
fn what_is_asked_for_anew_is_written_anew_and_what_is_not_any_more_goes() {
    let mut world = World::installed("v1", &json!({"podMetadata": {"active": label("active")}}));
    world.edit(|spec| spec.pod_metadata.active.labels = labels(&[("role", "live")]));
    assert_eq!(written(&world).iter().map(|(.., pods)| *pods).sum::<usize>(), 3);
    world.settle();
    assert!(written(&world).is_empty());
    world.edit(|spec| spec.pod_metadata.active = RoleMetadata::default());
    world.settle();
    assert_eq!(roles(&world, "v1"), vec![None; 3]);
}
