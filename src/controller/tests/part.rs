//! A set is taken apart, write by write.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};

use super::super::apply::apply;
use super::super::fake::{Stage, service, template};
use super::*;
use crate::release::action::Action;
use crate::release::{Control, Set, Snapshot};

/// A release later: an old set of two pods that no Service leads to, with its mark.
async fn left() -> (Stage, Set, Left) {
    let mut stage = Stage::serving(json!({"replicas": 2})).await;
    stage.change(&json!({"template": template("v2")}));
    stage.look().await;
    stage.ready_pods();
    stage.look().await;
    let snapshot = stage.snapshot();
    let switch = snapshot.object.status.switch.clone().unwrap();
    let old = snapshot.sets.iter().find(|set| set.revision != switch.to).unwrap().clone();
    let left = Left {
        set: old.uid.clone(),
        revision: old.revision.clone(),
        issue: 1,
        color: old.color,
        attempt: switch.attempt,
        since: switch.completed_at.unwrap(),
    };
    stage.api.requests();
    (stage, old, left)
}

fn set_of<'a>(snapshot: &'a Snapshot, uid: &str) -> &'a Set {
    snapshot.sets.iter().find(|set| set.uid == uid).unwrap()
}

fn pods(stage: &Stage, set: &str) -> Vec<PodRef> {
    stage.snapshot().pods.iter().filter(|pod| pod.set_uid == set).map(PodRef::of).collect()
}

async fn done(stage: &Stage, action: Action) -> Result<(), ApiError> {
    let result = apply(&stage.context, &stage.snapshot(), &action).await;
    stage.feed();
    result
}

fn services() -> Vec<String> {
    vec!["shop".into()]
}

fn part_of(set: &Set, attempt: i64) -> Action {
    Action::Part { set: SetRef::of(set), attempt, services: services(), issue: 2 }
}

fn orphan_of(set: &Set) -> Action {
    Action::Orphan { set: SetRef::of(set), labels: set.selector.clone(), services: services() }
}

/// Takes the ReplicaSet out of the pods, as the garbage collector does.
fn collect(stage: &Stage, pods: &[PodRef], set: &str) {
    for pod in pods {
        let mut object = stage.api.now(Resource::Pod, &pod.name);
        object["metadata"]["ownerReferences"].as_array_mut().unwrap().retain(|owner| owner["uid"] != *set);
        stage.api.put(Resource::Pod, object);
    }
    stage.feed();
}

#[tokio::test]
async fn step_by_step_the_pods_become_the_objects_own() {
    let (stage, old, left) = left().await;
    let uid = stage.snapshot().object.uid;
    done(&stage, part_of(&old, left.attempt)).await.unwrap();
    let next = stage.api.now(Resource::ReplicaSet, &format!("shop-{}-2", old.revision));
    assert_eq!((&next["spec"]["replicas"], trim::annotation(&next, keys::ROLE)), (&json!(0), Some("retired@2")));
    for labels in ["/metadata/labels", "/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
        assert_eq!(
            (&next.pointer(labels).unwrap()[keys::ISSUE], &next.pointer(labels).unwrap()[keys::REVISION]),
            (&json!("2"), &json!(old.revision))
        );
    }
    assert_eq!(trim::set(&next).unwrap().template_identity, old.template_identity, "it is the same template");
    // A second time, as by another process: nothing is in the way.
    done(&stage, part_of(set_of(&stage.snapshot(), &old.uid), left.attempt)).await.unwrap();

    let pods = pods(&stage, &old.uid);
    assert_eq!(pods.len(), 2);
    for pod in &pods {
        done(&stage, Action::Mark { pod: pod.clone(), left: left.clone() }).await.unwrap();
        let owners = stage.api.now(Resource::Pod, &pod.name)["metadata"]["ownerReferences"].clone();
        assert_eq!((&owners[0]["uid"], &owners[1]["uid"], &owners[1]["controller"]), (&json!(old.uid), &json!(uid), &json!(false)));
    }
    let snapshot = stage.snapshot();
    assert!(snapshot.pods.iter().filter(|pod| pod.set_uid == old.uid).all(|pod| pod.left.as_ref() == Some(&left) && pod.control == Control::Set));
    assert!(set_of(&snapshot, &old.uid).loose.is_none(), "the set is still there");

    done(&stage, orphan_of(set_of(&snapshot, &old.uid))).await.unwrap();
    collect(&stage, &pods, &old.uid);
    let loose = set_of(&stage.snapshot(), &old.uid).clone();
    assert_eq!((loose.loose, loose.desired, loose.color), (Some(left.since), 2, old.color));
    for pod in &pods {
        done(&stage, Action::Own { pod: pod.clone(), left: left.clone() }).await.unwrap();
        let object = stage.api.now(Resource::Pod, &pod.name);
        assert_eq!(trim::label(&object, keys::REVISION), Some(format!("left.{}", old.revision).as_str()));
        assert_eq!(trim::controller(&object).unwrap().2, uid);
    }
    let gone = Action::DeletePod { pod: pods[0].clone(), revision: old.revision.clone(), services: services(), notice: None };
    done(&stage, gone).await.unwrap();
    assert_eq!(set_of(&stage.snapshot(), &old.uid).desired, 1);
}

#[tokio::test]
async fn nothing_is_taken_apart_while_a_service_leads_to_it() {
    let (stage, old, left) = left().await;
    stage.api.put(Resource::Service, service("shop", json!({"app": "shop", keys::REVISION: old.revision})));
    assert_eq!(done(&stage, part_of(&old, left.attempt)).await, Err(ApiError::Conflict));
    assert_eq!(stage.api.now(Resource::ReplicaSet, &format!("shop-{}-2", old.revision)), Value::Null);
    let orphan = orphan_of(set_of(&stage.snapshot(), &old.uid));
    assert_eq!(done(&stage, orphan).await, Err(ApiError::Conflict));
    assert!(!stage.api.now(Resource::ReplicaSet, &old.name).is_null());
}

#[tokio::test]
async fn a_name_that_somebody_else_has_is_told() {
    let (stage, old, left) = left().await;
    let name = format!("shop-{}-2", old.revision);
    stage.api.put(Resource::ReplicaSet, json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"replicas": 0}}));
    let refused = apply(&stage.context, &stage.snapshot(), &part_of(&old, left.attempt)).await;
    assert!(matches!(&refused, Err(ApiError::Invalid(message)) if message.contains("belongs to somebody else")), "{refused:?}");
}

#[tokio::test]
async fn a_pod_is_written_only_as_what_it_was_decided_on() {
    let (stage, old, left) = left().await;
    let pods = pods(&stage, &old.uid);
    let (first, other) = (pods[0].clone(), Left { set: "another".into(), ..left.clone() });
    assert_eq!(done(&stage, Action::Mark { pod: first.clone(), left: other }).await, Err(ApiError::Conflict));
    // Still its set's, it is neither taken over nor deleted.
    assert_eq!(done(&stage, Action::Own { pod: first.clone(), left: left.clone() }).await, Err(ApiError::Conflict));
    let delete = |pod: &PodRef| Action::DeletePod { pod: pod.clone(), revision: old.revision.clone(), services: services(), notice: None };
    assert_eq!(done(&stage, delete(&first)).await, Err(ApiError::Conflict));
    assert!(!stage.api.now(Resource::Pod, &first.name).is_null());
    // Another pod of that name is not the one that was meant.
    let stranger = PodRef { uid: "gone".into(), ..first.clone() };
    done(&stage, delete(&stranger)).await.unwrap();
    assert!(!stage.api.now(Resource::Pod, &first.name).is_null());
}

#[tokio::test]
async fn pods_of_an_object_made_again_are_found_by_their_labels() {
    let (stage, old, left) = left().await;
    done(&stage, part_of(&old, left.attempt)).await.unwrap();
    let pods = pods(&stage, &old.uid);
    for pod in &pods {
        done(&stage, Action::Mark { pod: pod.clone(), left: left.clone() }).await.unwrap();
    }
    done(&stage, orphan_of(set_of(&stage.snapshot(), &old.uid))).await.unwrap();
    collect(&stage, &pods, &old.uid);
    for pod in &pods {
        done(&stage, Action::Own { pod: pod.clone(), left: left.clone() }).await.unwrap();
    }
    // The object was deleted with --cascade=orphan and made again: nobody is an owner any more.
    let uid = stage.snapshot().object.uid;
    collect(&stage, &pods, &uid);
    let found = stage.snapshot();
    let found: Vec<_> = found.pods.iter().filter(|pod| pod.set_uid == old.uid).collect();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|pod| matches!(pod.control, Control::Nobody(_)) && pod.left.is_some()));
}

#[tokio::test]
async fn a_successor_that_is_found_is_written_anew_or_waited_for() {
    let (stage, old, left) = left().await;
    done(&stage, part_of(&old, left.attempt)).await.unwrap();
    let name = format!("shop-{}-2", old.revision);
    let first = stage.api.now(Resource::ReplicaSet, &name);
    // Left a second time: a deletion of the successor that was decided in between names a version that is no more.
    done(&stage, part_of(set_of(&stage.snapshot(), &old.uid), left.attempt + 2)).await.unwrap();
    let mut again = stage.api.now(Resource::ReplicaSet, &name);
    assert_ne!(first["metadata"]["resourceVersion"], again["metadata"]["resourceVersion"]);
    assert_eq!(trim::annotation(&again, keys::ROLE), Some("retired@4"));
    // One that ends is no successor, and one that another leader has plans for is left alone.
    let mut ends = again.clone();
    ends["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    again["metadata"]["annotations"][keys::ROLE] = json!("serving@9");
    for found in [ends, again] {
        stage.api.put(Resource::ReplicaSet, found);
        stage.feed();
        let parted = done(&stage, part_of(set_of(&stage.snapshot(), &old.uid), left.attempt + 2)).await;
        assert_eq!(parted, Err(ApiError::Conflict));
    }
}

#[tokio::test]
async fn a_mark_of_a_later_move_stays() {
    let (stage, old, left) = left().await;
    let pod = pods(&stage, &old.uid)[0].clone();
    let later = Left { attempt: left.attempt + 2, ..left.clone() };
    done(&stage, Action::Mark { pod: pod.clone(), left: later.clone() }).await.unwrap();
    assert_eq!(done(&stage, Action::Mark { pod: pod.clone(), left }).await, Err(ApiError::Conflict));
    assert_eq!(trim::left(&stage.api.now(Resource::Pod, &pod.name)), Some(later));
}
