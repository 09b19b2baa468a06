//! The end of the log of a Job that failed: what a person would look at first. It is read only where whoever installs the operator has
//! allowed that, since a log may hold what not everybody who reads status may see.

use serde_json::Value;

use super::api::{ApiServer, LOG, Resource, Which};
use super::context::Context;
use super::trim;

/// Most characters that are shown.
const SHOWN: usize = 200;

/// The last words of the pod of a Job that failed last; `None` where they may not be read or can't be.
pub async fn last_words<A: ApiServer>(context: &Context<A>, namespace: &str, job: &str, uid: &str) -> Option<String> {
    if !context.installation.job_logs {
        return None;
    }
    let of_job = Which { labels: Some(format!("batch.kubernetes.io/job-name={job}")), ..Which::default() };
    let pods = context.api.list(Resource::Pod, namespace, of_job).await.ok()?;
    // Anybody may give a label to a pod of his.
    let own = |pod: &&Value| trim::controller(pod).is_some_and(|(_, _, owner)| owner == uid);
    let failed = pods.iter().filter(own).filter(|pod| trim::text(pod, "/status/phase").as_deref() == Some("Failed"));
    let last = failed.max_by_key(|pod| trim::text(pod, "/metadata/creationTimestamp"))?;
    let log = context.api.log_end(namespace, &trim::text(last, "/metadata/name")?, &container(last)?).await.ok()?;
    // What was cut is not the end.
    shown(&log).filter(|_| log.len() < LOG)
}

/// The container that ended badly, or the first one.
fn container(pod: &Value) -> Option<String> {
    let all = ["/status/initContainerStatuses", "/status/containerStatuses"].into_iter().flat_map(|list| trim::list(pod, list));
    let failed = |status: &&Value| status.pointer("/state/terminated/exitCode").and_then(Value::as_i64).is_some_and(|code| code != 0);
    let failed = all.filter(failed).find_map(|status| trim::text(status, "/name"));
    failed.or_else(|| trim::text(pod, "/spec/containers/0/name"))
}

/// The last characters, in one line.
fn shown(log: &str) -> Option<String> {
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let line: String = lines.join(" / ").chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let from = line.char_indices().rev().nth(SHOWN - 1).map_or(0, |(at, _)| at);
    line.get(from..).filter(|text| !text.is_empty()).map(|text| format!("{}{text}", if from > 0 { "…" } else { "" }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn the_end_is_one_short_line() {
        assert_eq!(shown("\n one\ttwo \r\n\n\u{1b}[31mthree\n").unwrap(), "one two /  [31mthree");
        assert_eq!(shown(" \n\n"), None);
        let long = shown(&"ä".repeat(5000)).unwrap();
        assert_eq!((long.chars().count(), long.starts_with('…')), (SHOWN + 1, true));
        assert_eq!(shown(&"x".repeat(SHOWN)).unwrap().len(), SHOWN);
    }

    #[test]
    fn it_is_that_of_the_container_that_failed() {
        let ended = |name: &str, code: i64| json!({"name": name, "state": {"terminated": {"exitCode": code}}});
        let pod =
            |statuses: Value| json!({"spec": {"containers": [{"name": "first"}, {"name": "second"}]}, "status": {"containerStatuses": statuses}});
        assert_eq!(container(&pod(json!([ended("first", 0), ended("second", 3)]))).unwrap(), "second");
        assert_eq!(container(&pod(json!([{"name": "second", "state": {"running": {}}}]))).unwrap(), "first");
        assert_eq!(container(&json!({"spec": {}, "status": "odd"})), None);
        let early = json!({"spec": {"containers": [{"name": "first"}]}, "status": {"initContainerStatuses": [ended("init", 1)]}});
        assert_eq!(container(&early).unwrap(), "init");
    }
}
