//! The commands that kubectl carries out: logs and open. This process becomes kubectl.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use bluegreen::api::{BlueGreenDeployment, keys};
use bluegreen::controller::api::Resource;
use bluegreen::controller::trim;
use bluegreen::release::Service;

use crate::args::Whose;
use crate::choose::{self, No};
use crate::cluster::Cluster;
use crate::failure::{Failure, Result};

/// Shows logs.
pub async fn logs(cluster: &Cluster, name: &str, whose: Whose, more: &[String]) -> Result {
    let object = cluster.object(name).await?;
    let revisions = match choose::logs(&object, whose.active, whose.inactive, whose.draining) {
        Ok(revisions) => revisions,
        Err(No::Refused(why)) => return Err(Failure::Refused(why)),
        Err(No::NotYet) => vec![],
    };
    kubectl(cluster, logs_of(&revisions, more))
}

/// Forwards a port.
pub async fn open(cluster: &Cluster, name: &str, port: Option<u16>, active: bool) -> Result {
    let object = cluster.object(name).await?;
    let service = service_of(&object, active)?;
    let found = cluster.get(Resource::Service, service).await?.and_then(|found| trim::service(&found));
    let Some(found) = found else {
        return Err(Failure::Refused(format!("Service \"{service}\" does not exist")));
    };
    kubectl(cluster, forward(&found, port)?)
}

fn logs_of(revisions: &[String], more: &[String]) -> Vec<OsString> {
    // Pods that leave their ReplicaSet one by one bear the revision behind a prefix.
    let values: Vec<String> = revisions.iter().flat_map(|revision| [revision.clone(), format!("{}{revision}", keys::LEFT_PREFIX)]).collect();
    let selector = format!("{} in ({})", keys::REVISION, values.join(","));
    // kubectl follows 5 at most unless it is told otherwise.
    let words = ["logs", "--selector", &selector, "--prefix", "--all-containers", "--max-log-requests=100"];
    words.into_iter().map(OsString::from).chain(more.iter().map(OsString::from)).collect()
}

fn service_of(object: &BlueGreenDeployment, active: bool) -> Result<&str> {
    let traffic = &object.spec.traffic;
    let (list, field) = if active { (&traffic.services, "services") } else { (&traffic.preview_services, "previewServices") };
    let other = if active { "" } else { "; --active opens the one that users reach" };
    list.first().map(String::as_str).ok_or_else(|| Failure::Refused(format!("spec.traffic.{field} names no Service{other}")))
}

fn forward(service: &Service, port: Option<u16>) -> Result<Vec<OsString>> {
    let Some(target) = service.ports.iter().find(|port| port.protocol == "TCP") else {
        return Err(Failure::Refused(format!("Service \"{}\" has no TCP port", service.name)));
    };
    // Without a number kubectl takes a free port and says which.
    let local = port.map_or_else(String::new, |port| port.to_string());
    Ok(["port-forward".into(), format!("service/{}", service.name), format!("{local}:{}", target.port)].map(OsString::from).to_vec())
}

fn kubectl(cluster: &Cluster, words: Vec<OsString>) -> Result {
    Err(Failure::Kubectl(std::process::Command::new("kubectl").args(&cluster.kubectl).args(words).exec()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::object;

    #[test]
    fn logs_are_those_of_the_revisions_and_what_is_said_last_counts() {
        let words = logs_of(&["abc".into()], &["-f".into(), "--max-log-requests=3".into()]);
        let selector = "bluegreen.dev/revision in (abc,left.abc)";
        assert_eq!(words, ["logs", "--selector", selector, "--prefix", "--all-containers", "--max-log-requests=100", "-f", "--max-log-requests=3"]);
    }

    #[test]
    fn the_preview_is_opened_unless_the_active_one_is_asked_for() {
        let both = object(r#"{"traffic": {"services": ["shop"], "previewServices": ["shop-preview"]}}"#);
        assert_eq!((service_of(&both, false).unwrap(), service_of(&both, true).unwrap()), ("shop-preview", "shop"));
        let error = service_of(&object("{}"), false).unwrap_err();
        assert_eq!(error.code(), 2);
        assert!(error.to_string().ends_with("names no Service; --active opens the one that users reach"), "{error}");
    }

    #[test]
    fn the_first_tcp_port_is_forwarded() {
        let ports = json!([{"port": 53, "protocol": "UDP"}, {"port": 80, "targetPort": "http"}]);
        let service =
            |ports| trim::service(&json!({"metadata": {"name": "shop", "uid": "u", "resourceVersion": "1"}, "spec": {"ports": ports}})).unwrap();
        assert_eq!(forward(&service(ports.clone()), Some(8080)).unwrap(), ["port-forward", "service/shop", "8080:80"]);
        assert_eq!(forward(&service(ports), None).unwrap(), ["port-forward", "service/shop", ":80"]);
        assert_eq!(forward(&service(json!([])), None).unwrap_err().code(), 2);
    }
}
