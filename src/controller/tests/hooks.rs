//! Jobs of hooks against an API server in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use super::super::fake::{Stage, template};
use super::*;

fn hooks() -> Value {
    let hook = |name: &str| json!({"name": name, "jobTemplate": {"spec": {"template": {"spec": {"containers": [{"name": "it", "image": "tool"}]}}}}});
    json!({"beforeBringUp": [hook("migrate")]})
}

/// A release that waits for its hook: the Job.
async fn begun() -> (Stage, Value) {
    let mut stage = Stage::serving(json!({})).await;
    stage.change(&json!({"template": template("v2"), "hooks": hooks()}));
    stage.look().await;
    let job = stage.api.only(Resource::Job);
    (stage, job)
}

fn end(stage: &Stage, mut job: Value, kind: &str) {
    job["status"] = json!({"conditions": [{"type": kind, "status": "True", "reason": "Why", "message": "in its words"}]});
    stage.api.put(Resource::Job, job);
    stage.clock.pass(Duration::from_secs(2));
}

fn row(stage: &Stage) -> Value {
    let status = stage.status();
    assert_eq!(status["hooks"].as_array().unwrap().len(), 1, "{status:#}");
    status["hooks"][0].clone()
}

#[tokio::test]
async fn it_is_on_record_before_it_is_made_and_its_end_before_anything_follows() {
    let (mut stage, job) = begun().await;
    let requests = stage.api.requests();
    let at = |verb: &str, resource: Resource| requests.iter().position(|request| request.verb == verb && request.resource == resource).unwrap();
    let recorded = requests.iter().position(|request| request.body.pointer("/status/hooks/0/result") == Some(&json!("Running"))).unwrap();
    assert!(recorded < at("create", Resource::Job), "{requests:?}");
    assert_eq!((&row(&stage)["uid"], &row(&stage)["job"]), (&job["metadata"]["uid"], &job["metadata"]["name"]));
    assert!(!requests.iter().any(|request| request.resource == Resource::ReplicaSet && request.verb == "create"));
    // It is looked at once a second, and nothing is written meanwhile.
    let again = stage.look().await.unwrap();
    assert!(again <= Duration::from_secs(1), "{again:?}");
    assert!(stage.api.requests().is_empty());
    end(&stage, job, "Complete");
    stage.look().await;
    assert_eq!(row(&stage)["result"], "Succeeded");
    let requests = stage.api.requests();
    let made = requests.iter().position(|request| request.resource == Resource::ReplicaSet && request.verb == "create").unwrap();
    let recorded = requests.iter().position(|request| request.body.pointer("/status/hooks/0/result") == Some(&json!("Succeeded"))).unwrap();
    assert!(recorded < made);
    assert_eq!(stage.notices().iter().filter(|notice| notice.reason == "HookSucceeded").count(), 1);
}

#[tokio::test]
async fn a_job_gets_what_it_needs_and_keeps_what_it_says() {
    let (_stage, job) = begun().await;
    let spec = &job["spec"];
    assert_eq!((&spec["activeDeadlineSeconds"], &spec["template"]["spec"]["restartPolicy"]), (&json!(600), &json!("Never")));
    assert_eq!(job["metadata"]["ownerReferences"][0]["name"], "shop");
    assert_eq!(job["metadata"]["labels"][keys::NAME], "shop");
    // Its pods bear nothing of ours: no Service may lead to them.
    assert!(spec["template"].get("metadata").is_none());
    let variables: Vec<&str> =
        spec["template"]["spec"]["containers"][0]["env"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(variables[..2], ["BLUEGREEN_HOOK", "BLUEGREEN_NAME"]);
    assert_eq!(variables.len(), 7);
    let (stage, _) = begun().await;
    let own = json!({
        "metadata": {"name": "mine", "labels": {"team": "a"}},
        "spec": {
            "activeDeadlineSeconds": 5, "ttlSecondsAfterFinished": 1, "suspend": true,
            "template": {"spec": {"restartPolicy": "OnFailure", "containers": [{"env": [{"name": "BLUEGREEN_NAME", "value": "other"}, {"name": "X"}]}]}},
        },
    });
    let made = super::job(
        &stage.snapshot().object,
        &Labels { point: HookPoint::AfterDrain, revision: "r" },
        Some("name"),
        &own,
        &[("BLUEGREEN_NAME", "shop".into()), ("Y", "y".into())],
    );
    assert_eq!((&made["metadata"]["name"], &made["metadata"]["labels"]["team"]), (&json!("name"), &json!("a")));
    assert_eq!((&made["spec"]["activeDeadlineSeconds"], &made["spec"]["ttlSecondsAfterFinished"]), (&json!(5), &Value::Null));
    assert_eq!(made["spec"]["suspend"], Value::Null);
    let told = &made["spec"]["template"]["spec"];
    assert_eq!(told["restartPolicy"], "OnFailure");
    assert_eq!(told["containers"][0]["env"], json!([{"name": "Y", "value": "y"}, {"name": "BLUEGREEN_NAME", "value": "other"}, {"name": "X"}]));
    // What is no Job at all is left for the API server to refuse.
    for nonsense in [json!("text"), json!({"spec": [1]}), json!({"spec": {"template": {"spec": {"containers": {"a": 1}}}}})] {
        super::job(&stage.snapshot().object, &Labels { point: HookPoint::AfterDrain, revision: "r" }, None, &nonsense, &[("Y", "y".into())]);
    }
}

#[tokio::test]
async fn one_that_fails_says_why() {
    let (mut stage, job) = begun().await;
    end(&stage, job.clone(), "FailureTarget");
    stage.look().await;
    assert_eq!(row(&stage)["result"], "Running", "it is on its way there");
    end(&stage, job, "Failed");
    stage.look().await;
    assert_eq!((&row(&stage)["result"], &row(&stage)["message"]), (&json!("Failed"), &json!("Why: in its words")));
    assert_eq!(stage.condition("Stalled").1, "HookFailed");
    assert!(stage.notices().iter().any(|notice| notice.message.contains("kubectl logs -n n job/shop-migrate-")));
}

#[tokio::test]
async fn its_last_words_are_shown_where_that_is_allowed() {
    for allowed in [false, true] {
        let (mut stage, job) = begun().await;
        Arc::get_mut(&mut stage.context).unwrap().installation.job_logs = allowed;
        let name = job["metadata"]["name"].as_str().unwrap().to_owned();
        let pod = |pod: &str, phase: &str, created: &str, owner: &Value| {
            let owners = json!([{"kind": "Job", "name": name, "uid": owner, "controller": true}]);
            let labels = json!({"batch.kubernetes.io/job-name": name});
            let metadata = json!({"name": pod, "namespace": "n", "creationTimestamp": created, "labels": labels, "ownerReferences": owners});
            json!({"metadata": metadata, "spec": {"containers": [{"name": "it"}]}, "status": {"phase": phase}})
        };
        let (own, foreign) = (&job["metadata"]["uid"], &json!("somebody's"));
        for (name, phase, created, owner) in [
            ("first", "Failed", "2026-01-01T00:00:00Z", own),
            ("last", "Failed", "2026-01-01T00:01:00Z", own),
            ("other", "Running", "2026-01-01T00:02:00Z", own),
            ("foreign", "Failed", "2026-01-01T00:03:00Z", foreign),
        ] {
            stage.api.put(Resource::Pod, pod(name, phase, created, owner));
            stage.api.log(name, "it", &format!("{name}: table\nis locked\n"));
        }
        end(&stage, job, "Failed");
        stage.look().await;
        let words = if allowed { "; its log ends: last: table / is locked" } else { "" };
        assert_eq!(row(&stage)["message"], format!("Why: in its words{words}"));
    }
}

#[tokio::test]
async fn a_leader_with_an_old_cache_does_not_make_it_again() {
    let (stage, job) = begun().await;
    // What it decides from: on record and not made yet. Since then it has ended, and was cleared away.
    let mut before = stage.snapshot();
    before.object.status.hooks[0].uid = None;
    before.jobs.clear();
    let again = crate::release::plan(&before, stage.context.clock.now());
    let Some(crate::release::Action::RunHook { run }) = again.actions.iter().find(|action| matches!(action, crate::release::Action::RunHook { .. }))
    else {
        panic!("{:?}", again.actions)
    };
    let uid = job["metadata"]["uid"].as_str().unwrap().to_owned();
    stage.api.delete(Resource::Job, "n", job["metadata"]["name"].as_str().unwrap(), (&uid, None), Dependents::Deleted).await.unwrap();
    stage.api.requests();
    assert_eq!(super::run(&stage.context, &before.object, run).await, Err(ApiError::Conflict));
    assert!(stage.api.requests().is_empty());
}

#[tokio::test]
async fn while_jobs_can_not_be_asked_about_the_rest_goes_on_and_that_is_told() {
    let mut stage = Stage::serving(json!({})).await;
    stage.change(&json!({"template": template("v2"), "hooks": hooks()}));
    stage.api.refuse(|request| (request.resource == Resource::Job).then(|| ApiError::Transient("a webhook is away".into())));
    let again = stage.look().await.unwrap();
    assert_eq!(stage.status()["observedGeneration"], stage.api.now(Resource::BlueGreenDeployment, "shop")["metadata"]["generation"]);
    let (_, reason, message) = stage.condition("Stalled");
    assert_eq!(reason, "HookRefused");
    assert!(message.ends_with("the API server could not be asked about this Job: a webhook is away"), "{message}");
    assert!(again <= Duration::from_secs(5), "{again:?}");
    stage.api.refuse(|_| None);
    stage.clock.pass(Duration::from_secs(6));
    stage.look().await;
    stage.api.only(Resource::Job);
}

#[tokio::test]
async fn a_refusal_ends_what_nothing_waits_for() {
    let (stage, _) = begun().await;
    let object = stage.snapshot().object;
    let run =
        |point| HookRun { job: "x".into(), point, revision: "r".into(), uid: None, path: "p".into(), template: Some(json!({})), environment: vec![] };
    stage.api.refuse(|request| (request.verb == "get" && request.resource == Resource::Job).then(|| ApiError::Forbidden("no right".into())));
    assert_eq!(super::run(&stage.context, &object, &run(HookPoint::BeforeSwitch)).await, Err(ApiError::Forbidden("no right".into())));
    assert_eq!(super::run(&stage.context, &object, &run(HookPoint::AfterSwitch)).await, Ok(()));
    let seen = stage.context.remember(&object.uid, |remembered| remembered.jobs["x"].state.clone());
    assert_eq!(seen, JobState::Failed("no right".into()));
}

#[tokio::test]
async fn what_was_refused_is_asked_again_after_a_while() {
    let mut stage = Stage::serving(json!({})).await;
    stage.change(&json!({"template": template("v2"), "hooks": hooks()}));
    stage.api.refuse(|request| (request.resource == Resource::Job).then(|| ApiError::Invalid("Job \"x\" is invalid: no".into())));
    let again = stage.look().await.unwrap();
    assert_eq!(stage.condition("Stalled").1, "HookRefused");
    assert!(again <= Duration::from_secs(61), "{again:?}");
    stage.api.refuse(|_| None);
    stage.clock.pass(Duration::from_secs(30));
    stage.look().await;
    assert_eq!(stage.condition("Stalled").1, "HookRefused");
    stage.clock.pass(Duration::from_secs(31));
    stage.look().await;
    assert_eq!(stage.condition("Stalled").0, "False");
    stage.api.only(Resource::Job);
}

#[tokio::test]
async fn while_jobs_can_not_be_made_the_rest_goes_on() {
    let mut stage = Stage::serving(json!({})).await;
    stage.change(&json!({"template": template("v2"), "hooks": hooks()}));
    stage
        .api
        .refuse(|request| (request.resource == Resource::Job && request.verb == "create").then(|| ApiError::Transient("a webhook is away".into())));
    stage.look().await;
    let tries = |stage: &Stage| stage.api.requests().iter().filter(|request| request.resource == Resource::Job).count();
    assert_eq!(tries(&stage), 1);
    // It has come to its end, and is not tried again at once.
    assert_eq!((&row(&stage)["result"], &stage.status()["phase"]), (&json!("Running"), &json!("BringUp")));
    stage.look().await;
    assert_eq!(tries(&stage), 0);
    stage.clock.pass(Duration::from_secs(2));
    stage.api.refuse(|_| None);
    stage.look().await;
    assert_eq!(row(&stage)["uid"], stage.api.only(Resource::Job)["metadata"]["uid"]);
}

#[tokio::test]
async fn a_job_of_somebody_else_is_neither_used_nor_deleted() {
    let mut stage = Stage::serving(json!({})).await;
    stage.change(&json!({"template": template("v2"), "hooks": hooks()}));
    let name = |request: &super::super::fake::Request| request.resource == Resource::Job && request.verb == "create";
    stage.api.refuse(move |request| name(request).then_some(ApiError::AlreadyExists));
    stage.look().await;
    let job = row(&stage)["job"].as_str().unwrap().to_owned();
    stage
        .api
        .put(Resource::Job, json!({"metadata": {"name": job, "namespace": "n"}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}));
    stage.clock.pass(Duration::from_secs(60));
    stage.look().await;
    assert_eq!(stage.condition("Stalled").1, "Refused");
    assert!(stage.status()["conditions"].to_string().contains("belongs to somebody else; delete it"));
    assert_eq!(row(&stage)["result"], "Running");
}

#[tokio::test]
async fn what_the_api_server_has_against_it_names_the_field() {
    let message = "Job.batch \"shop-x\" is invalid: spec.template.spec.containers[0].image: Required value";
    assert_eq!(
        refused("spec.hooks.afterDrain[1].jobTemplate", message),
        "spec.hooks.afterDrain[1].jobTemplate: the API server refuses this Job: spec.template.spec.containers[0].image: Required value"
    );
    let mut stage = Stage::serving(json!({})).await;
    stage.change(&json!({"template": template("v2"), "hooks": hooks()}));
    stage.api.refuse(|request| (request.resource == Resource::Job).then(|| ApiError::Forbidden("no right to jobs".into())));
    stage.look().await;
    assert_eq!(stage.condition("Stalled").1, "Forbidden");
    assert!(!stage.api.requests().iter().any(|request| request.resource == Resource::ReplicaSet && request.verb == "create"));
}
