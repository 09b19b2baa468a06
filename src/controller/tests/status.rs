//! What is told of changes of status.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::super::fake::{Stage, key};
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
