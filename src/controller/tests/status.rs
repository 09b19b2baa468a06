//! What is told of changes of status.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::super::fake::{Stage, key};
use futures::FutureExt;

use super::*;

/// Writes a status whose condition Drained says this, and answers the Events that follow.
async fn drained(stage: &mut Stage, value: ConditionStatus, reason: &str) -> usize {
    let snapshot = stage.snapshot();
    let mut status = snapshot.object.status.clone();
    let condition = status.conditions.iter_mut().find(|condition| condition.kind == ConditionType::Drained).unwrap();
    (condition.status, condition.reason) = (value, reason.into());
    write(&stage.context, &snapshot, &status).await.unwrap();
    assert!(stage.context.world().object(&key()).is_some());
    stage.notices().len()
}

#[tokio::test]
async fn a_drain_that_goes_to_and_fro_is_told_once() {
    use ConditionStatus::{False, True};
    let mut stage = Stage::serving(serde_json::json!({})).await;
    assert_eq!(drained(&mut stage, False, "OpenConnections").await, 1);
    for _ in 0..3 {
        assert_eq!(drained(&mut stage, False, "Settling").await, 0);
        assert_eq!(drained(&mut stage, False, "OpenConnections").await, 0);
    }
    assert_eq!(drained(&mut stage, False, "AgentSilent").await, 1, "another reason is news");
    assert_eq!(drained(&mut stage, False, "OpenConnections").await, 0);
    assert_eq!(drained(&mut stage, True, "NothingDraining").await, 1);
    assert_eq!(drained(&mut stage, False, "OpenConnections").await, 1, "the next drain is another one");
}

/// A field that an older definition does not have.
fn without_images(object: &mut Value) {
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("images");
    }
}

#[tokio::test]
async fn what_an_older_definition_drops_is_noticed() {
    let mut stage = Stage::serving(json!({})).await;
    stage.change(&json!({"replicas": 2}));
    stage.look().await;
    assert!(stage.context.dropped.notified().now_or_never().is_none(), "nothing was dropped");
    stage.api.drop_of(without_images);
    stage.change(&json!({"template": super::super::fake::template("v2")}));
    stage.look().await;
    stage.ready_pods();
    stage.look().await;
    assert!(stage.context.dropped.notified().now_or_never().is_some());
    stage.api.requests();
    stage.look().await;
    assert_eq!(stage.api.requests().len(), 0, "what would be dropped again is not written again");
}

#[tokio::test]
async fn a_status_that_an_older_definition_has_cut_is_made_whole() {
    let mut stage = Stage::serving(json!({})).await;
    let attempt = stage.status()["switch"]["attempt"].clone();
    let mut object = stage.api.now(Resource::BlueGreenDeployment, "shop");
    // As it was pruned in the middle of a release; what is left of it is not whole, and there is nothing that should be.
    object["status"]["active"].as_object_mut().unwrap().remove("color").unwrap();
    object["status"]["inactive"] = json!({"revision": "gone"});
    stage.api.put(Resource::BlueGreenDeployment, object);
    assert!(!stage.snapshot().object.status.conditions.is_empty(), "what can be read is read");
    stage.look().await;
    let status = stage.status();
    assert!(status["active"]["color"].is_string(), "{status:#}");
    assert_eq!(status.get("inactive"), None);
    assert_eq!(status["switch"]["attempt"], attempt);
    stage.api.requests();
    stage.look().await;
    assert_eq!(stage.api.requests().len(), 0, "and then it rests");
}

#[tokio::test]
async fn a_record_that_an_older_definition_has_cut_is_not_guessed() {
    let mut stage = Stage::serving(json!({})).await;
    let mut object = stage.api.now(Resource::BlueGreenDeployment, "shop");
    object["status"]["switch"].as_object_mut().unwrap().remove("attempt").unwrap();
    stage.api.put(Resource::BlueGreenDeployment, object);
    stage.api.requests();
    stage.look().await;
    assert_eq!(stage.api.requests().len(), 0);
}

#[tokio::test]
async fn nothing_follows_from_a_record_that_was_not_kept() {
    let stage = Stage::serving(json!({})).await;
    let snapshot = stage.snapshot();
    let mut status = snapshot.object.status.clone();
    let switch = status.switch.as_mut().unwrap();
    (switch.attempt, switch.from) = (switch.attempt + 1, Some("earlier".into()));
    status.images = "another".into();
    stage.api.drop_of(|object| {
        without_images(object);
        if let Some(switch) = object.pointer_mut("/status/switch").and_then(Value::as_object_mut) {
            switch.remove("from");
        }
    });
    let written = write(&stage.context, &snapshot, &status).await;
    assert!(matches!(&written, Err(ApiError::Transient(message)) if message.contains("status.switch.from")), "{written:?}");
}

#[test]
fn a_number_that_moves_is_a_mere_count_and_one_that_cannot_be_read_is_told() {
    let row = |more: Value| {
        let mut row = json!({"revision": "old", "color": "blue", "pods": 2, "drainedPods": 0, "source": "Metric", "reason": "MetricTooHigh",
            "since": "2027-01-15T08:00:00Z", "deadline": "2027-01-15T08:10:00Z"});
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        BlueGreenDeploymentStatus { draining: vec![serde_json::from_value(row).unwrap()], ..BlueGreenDeploymentStatus::default() }
    };
    let (four, three) = (row(json!({"metric": "4"})), row(json!({"metric": "3"})));
    assert!(four != three && without_counts(&four) == without_counts(&three));
    assert!(without_counts(&four) == without_counts(&row(json!({"message": "pod a: no answer"}))));
    assert!(without_counts(&four) != without_counts(&row(json!({"reason": "Settling"}))));
    let drained = |reason: &str| Condition {
        kind: ConditionType::Drained,
        status: ConditionStatus::False,
        reason: reason.into(),
        message: "it waits".into(),
        observed_generation: 1,
        last_transition_time: jiff::Timestamp::UNIX_EPOCH,
    };
    for (reason, warning) in [("MetricTooHigh", false), ("MetricUnreadable", true)] {
        let after = [drained(reason)];
        let told: Vec<bool> = notices(&[drained("Settling")], &after).into_iter().map(|(_, notice)| notice.warning).collect();
        assert_eq!(told, [warning], "{reason}");
    }
}
