//! What `adopt` and `eject` have in common. Both write down the new owner first, paused; delete the old one without what it owns, at the very
//! version that was looked at; let the ReplicaSets change hands; and let the new owner go on. Killed after any of these, they can be
//! called again.

use bluegreen::controller::trim;
use serde_json::{Map, Value, json};

/// `apiVersion` and `kind` of a BlueGreenDeployment.
pub const OURS: (&str, &str) = ("bluegreen.dev/v1alpha1", "BlueGreenDeployment");
/// Of a Deployment.
pub const THEIRS: (&str, &str) = ("apps/v1", "Deployment");

/// Labels by which tools find, and delete, what they have made themselves: they have not made this.
const TOOLS: [&str; 6] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "helm.sh/",
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
];

/// What the Deployment controller notes on its ReplicaSets about their sizes. A Deployment that finds other numbers than its own takes that for
/// scaling (`isScalingEvent` of its controller), and does not roll out before somebody scales it.
pub const NOTES: [&str; 2] = ["deployment.kubernetes.io/desired-replicas", "deployment.kubernetes.io/max-replicas"];

/// Gives the successor the labels of an object. Its annotations are about itself.
pub fn copied(object: &Value, metadata: &mut Map<String, Value>) {
    let mut labels = trim::strings(object, "/metadata/labels");
    labels.retain(|key, _| !TOOLS.iter().any(|tool| key.starts_with(tool)));
    if !labels.is_empty() {
        metadata.insert("labels".into(), json!(labels));
    }
}

/// Names of the HorizontalPodAutoscalers that scale an object.
pub fn scalers(all: &[Value], (version, kind): (&str, &str), name: &str) -> Vec<String> {
    let group = |version: &str| version.split_once('/').map(|(group, _)| group.to_owned());
    let aims = |scaler: &&Value| {
        let at = |field: &str| trim::text(scaler, &format!("/spec/scaleTargetRef/{field}"));
        at("kind").as_deref() == Some(kind) && at("name").as_deref() == Some(name) && at("apiVersion").and_then(|at| group(&at)) == group(version)
    };
    all.iter().filter(aims).filter_map(|scaler| trim::text(scaler, "/metadata/name")).collect()
}

/// Makes a HorizontalPodAutoscaler scale another object of the same name.
pub fn scaler_patch((version, kind): (&str, &str)) -> Value {
    json!({"spec": {"scaleTargetRef": {"apiVersion": version, "kind": kind}}})
}

/// Whether a ReplicaSet has exactly the pods that it wants, all with the labels of its template, and its controller knows that template.
pub fn whole(set: &Value) -> bool {
    let number = |pointer: &str| set.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let wanted = number("/spec/replicas");
    set.pointer("/status/observedGeneration") == set.pointer("/metadata/generation")
        && number("/status/replicas") == wanted
        && number("/status/fullyLabeledReplicas") == wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaler_is_known_by_kind_name_and_group() {
        let scaler = |version: &str, kind: &str, name: &str| json!({"metadata": {"name": "auto"}, "spec": {"scaleTargetRef": {"apiVersion": version, "kind": kind, "name": name}}});
        let found = |scaler: Value| scalers(&[scaler], THEIRS, "shop").len();
        assert_eq!(found(scaler("apps/v1", "Deployment", "shop")), 1);
        assert_eq!(found(scaler("apps/v1", "Deployment", "cart")), 0);
        assert_eq!(found(scaler("apps/v1", "StatefulSet", "shop")), 0);
        assert_eq!(found(scaler("example.com/v1", "Deployment", "shop")), 0);
        assert_eq!(scalers(&[scaler("bluegreen.dev/v1alpha1", "BlueGreenDeployment", "shop")], OURS, "shop"), ["auto"]);
    }

    #[test]
    fn labels_of_tools_stay_behind() {
        let object = json!({"metadata": {"labels": {"app": "shop", "team": "a", "app.kubernetes.io/instance": "x", "helm.sh/chart": "shop-1"}}});
        let mut metadata = Map::new();
        copied(&object, &mut metadata);
        assert_eq!(Value::Object(metadata), json!({"labels": {"app": "shop", "team": "a"}}));
        let mut none = Map::new();
        copied(&json!({"metadata": {}}), &mut none);
        assert!(none.is_empty());
    }

    #[test]
    fn a_set_is_whole_when_every_pod_has_its_label() {
        let set = |labelled: i64, observed: i64| json!({"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": {"observedGeneration": observed, "replicas": 2, "fullyLabeledReplicas": labelled}});
        assert!(whole(&set(2, 2)));
        assert!(!whole(&set(1, 2)));
        // Its controller may still make pods of the template before.
        assert!(!whole(&set(2, 1)));
        assert!(whole(&json!({"metadata": {"generation": 1}, "spec": {"replicas": 0}, "status": {"observedGeneration": 1, "replicas": 0}})));
    }
}
