//! The budget at the API server: its writes, and what becomes of all else when they fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::time::Duration;

use kube::core::SelectorExt;

use super::super::fake::{Request, Stage, template};
use super::*;
use crate::api::keys::command;
use crate::release::budget::Budgets;

const KIND: Resource = Resource::PodDisruptionBudget;

async fn serving() -> Stage {
    Stage::serving(json!({"disruptionBudget": {"minAvailable": 1}})).await
}

fn active(stage: &Stage) -> String {
    stage.snapshot().object.status.switch.unwrap().to
}

fn covered(stage: &Stage) -> Value {
    stage.api.now(KIND, "shop")["spec"]["selector"]["matchLabels"][keys::REVISION].clone()
}

fn writes(stage: &Stage) -> Vec<String> {
    let kinds = [KIND, Resource::Service];
    let of = |request: &Request| kinds.contains(&request.resource).then(|| format!("{} {:?}", request.verb, request.resource));
    stage.api.requests().iter().filter_map(of).collect()
}

/// Another version, up to where it serves if nothing is in its way.
async fn release(stage: &mut Stage) {
    stage.change(&json!({"template": template("v2")}));
    stage.look().await;
    stage.ready_pods();
    stage.api.requests();
    stage.look().await;
}

#[tokio::test]
async fn it_is_made_with_its_owner_and_moves_before_the_service() {
    let mut stage = serving().await;
    let made = stage.api.now(KIND, "shop");
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "shop", keys::REVISION: active(&stage)}}});
    assert_eq!((&made["spec"], trim::controller(&made).unwrap().2), (&spec, stage.snapshot().object.uid));
    release(&mut stage).await;
    assert_eq!(writes(&stage)[..2], ["patch PodDisruptionBudget", "patch Service"]);
    assert_eq!(covered(&stage), active(&stage));
}

#[tokio::test]
async fn what_somebody_makes_of_it_is_put_back_whole() {
    let mut stage = serving().await;
    let mut other = stage.api.now(KIND, "shop");
    let before = other["spec"].clone();
    other["spec"] = json!({"maxUnavailable": "50%", "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": {"app": "else", "tier": "web"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]}});
    stage.api.put(KIND, other);
    stage.look().await;
    assert_eq!(stage.api.now(KIND, "shop")["spec"], before);
    assert_eq!(writes(&stage), ["patch PodDisruptionBudget"]);
    stage.change(&json!({"disruptionBudget": null}));
    stage.look().await;
    assert_eq!((writes(&stage), stage.api.now(KIND, "shop")), (vec!["delete PodDisruptionBudget".into()], Value::Null));
}

#[tokio::test]
async fn where_it_is_refused_a_release_waits_with_the_reason_and_a_return_does_not() {
    for error in [
        ApiError::Forbidden("quota of budgets".into()),
        ApiError::Transient("failed calling webhook \"quota of budgets\"".into()),
        ApiError::Invalid("quota of budgets".into()),
    ] {
        let refuse = |stage: &Stage, error: &ApiError| {
            let error = error.clone();
            stage.api.refuse(move |request| (request.resource == KIND).then(|| error.clone()));
        };
        let mut stage = serving().await;
        let first = active(&stage);
        refuse(&stage, &error);
        release(&mut stage).await;
        assert_eq!((active(&stage), writes(&stage)), (first.clone(), vec!["patch PodDisruptionBudget".into()]));
        let (stalled, _, message) = stage.condition("Stalled");
        assert_eq!(stalled, "True");
        assert!(message.starts_with("PodDisruptionBudget \"shop\" can't be written: ") && message.contains("quota of budgets"), "{message}");
        stage.api.refuse(|_| None);
        stage.look().await;
        let second = active(&stage);
        assert!(second != first && covered(&stage) == second);
        refuse(&stage, &error);
        let mut object = stage.api.now(Resource::BlueGreenDeployment, "shop");
        object["metadata"]["annotations"] = json!({command::ABORT: second});
        stage.api.put(Resource::BlueGreenDeployment, object);
        stage.look().await;
        assert_eq!((active(&stage), covered(&stage)), (first.clone(), json!(second)));
        assert_eq!(trim::strings(&stage.api.now(Resource::Service, "shop"), "/spec/selector")[keys::REVISION], first);
        stage.api.refuse(|_| None);
        stage.look().await;
        assert_eq!(covered(&stage), first, "it follows as soon as it can");
    }
}

#[tokio::test]
async fn one_that_a_webhook_changes_is_not_written_again_and_again() {
    let mut stage = serving().await;
    stage.api.drop_of(|object| {
        if object["kind"] == "PodDisruptionBudget" {
            object["spec"]["minAvailable"] = json!(7);
        }
    });
    stage.change(&json!({"disruptionBudget": {"minAvailable": 2}}));
    stage.api.requests();
    stage.look().await;
    let number = writes(&stage).len();
    assert!(number <= 2, "{number}");
    assert!(stage.condition("Stalled").2.contains("an admission webhook makes another one of it"), "{:?}", stage.condition("Stalled"));
}

#[tokio::test]
async fn of_the_budgets_of_others_only_who_asks_for_one_reads_any() {
    let stage = serving().await;
    stage.api.put(KIND, json!({"metadata": {"name": "plain", "namespace": "n"}, "spec": {"selector": {"matchLabels": {"app": "else"}}}}));
    let read = || {
        stage.feed();
        let Budgets::Known(budgets) = stage.snapshot().budgets else { panic!("unknown") };
        budgets.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(read(), ["plain", "shop"]);
    stage.change(&json!({"disruptionBudget": null}));
    assert_eq!(read(), ["shop"], "which is to be deleted");
}

#[tokio::test]
async fn one_that_is_held_by_a_finalizer_is_told_of_after_a_moment() {
    let mut stage = serving().await;
    let mut held = stage.api.now(KIND, "shop");
    held["metadata"]["deletionTimestamp"] = json!(stage.context.clock.now().wall);
    stage.api.put(KIND, held);
    let again = stage.look().await.unwrap();
    assert!(stage.condition("Stalled").0 == "False" && again <= Duration::from_secs(11), "{again:?}");
    stage.clock.pass(again);
    stage.look().await;
    assert_eq!(stage.condition("Stalled").1, "BudgetDeleting");
    assert_eq!(writes(&stage), Vec::<String>::new(), "it can't be changed any more");
}

#[test]
fn a_selector_matches_as_kubernetes_says() {
    let of = |selector: Value| {
        let object = json!({"metadata": {"name": "plain", "uid": "u", "resourceVersion": "1"}, "spec": {"selector": selector}});
        trimmed(&object).unwrap().selector
    };
    let labels = BTreeMap::from([("app".into(), "shop".into()), ("tier".into(), "web".into())]);
    let matches = |selector: Value| of(selector).is_some_and(|selector| selector.matches(&labels));
    assert!(matches(json!({})) && matches(json!({"matchLabels": {}, "matchExpressions": []})), "an empty one matches all");
    assert!(!matches(Value::Null), "an absent one none");
    assert!(matches(json!({"matchLabels": {"app": "shop"}})) && !matches(json!({"matchLabels": {"app": "shop", "tier": "else"}})));
    for (key, operator, values, expected) in [
        ("app", "In", json!(["shop", "else"]), true),
        ("app", "In", json!(["else"]), false),
        ("none", "In", json!(["shop"]), false),
        ("app", "NotIn", json!(["shop"]), false),
        ("none", "NotIn", json!(["shop"]), true),
        ("app", "Exists", Value::Null, true),
        ("none", "Exists", Value::Null, false),
        ("app", "DoesNotExist", Value::Null, false),
        ("none", "DoesNotExist", Value::Null, true),
        // What nobody can mean matches nothing, and nothing breaks.
        ("app", "Gt", json!(["1"]), false),
        ("none", "NotIn", Value::Null, false),
        ("app", "", json!([]), false),
        ("app", "Exists", json!(7), false),
    ] {
        let expression = json!({"key": key, "operator": operator, "values": values});
        assert_eq!(matches(json!({"matchExpressions": [expression.clone()]})), expected, "{expression}");
        // All of them must be met.
        assert!(!matches(json!({"matchLabels": {"app": "else"}, "matchExpressions": [expression]})));
    }
    assert!(!matches(json!({"matchLabels": {"app": 7}})) && !matches(json!("app=shop")));
}
