//! What can never work is found before anything starts. What runs is not touched by any of it.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::api::{DrainSource, Exec, Expect, ExpectedHeader, HookPoint, HttpHeader, ProbeTarget, SmokeProbe, Through};

use super::budget;
use super::services::{self, Block};
use super::smoke::port_of_service;
use super::snapshot::{Identity, Snapshot};
use super::window;
use crate::probe::{Endpoint, Series, pointer};

/// The first thing that keeps a new revision from being brought up.
pub fn check(snapshot: &Snapshot) -> Result<(), Block> {
    problems(snapshot).next().map_or(Ok(()), Err)
}

/// What keeps a new revision from being brought up, in the order in which a person would want to know.
pub fn problems(snapshot: &Snapshot) -> impl Iterator<Item = Block> {
    let spec = &snapshot.object.spec;
    let lists = [("smokeProbes", &spec.smoke_probes), ("bake.probes", &spec.bake.probes)];
    let probes = lists.into_iter().flat_map(|(list, probes)| probes.iter().enumerate().map(move |(index, probe)| (list, index, probe)));
    let probes = probes.flat_map(|(list, index, probe)| {
        let path = format!("spec.{list}[{index}]");
        [
            probe_port(snapshot, &path, probe),
            probe_words(&path, probe),
            probe_url(snapshot, &path, probe),
            probe_command(snapshot, &path, probe),
            probe_way(snapshot, &path, probe),
        ]
    });
    let first = std::iter::once_with(|| template(snapshot)).chain(std::iter::once_with(|| host_ports(snapshot)));
    let found = first.chain(probes).chain(std::iter::once_with(|| drain_ports(snapshot)));
    let found = found.chain(std::iter::once_with(|| job_labels(snapshot)));
    let found = found.chain(std::iter::once_with(|| window::check(&snapshot.object.spec.promotion.windows)));
    let found = found.chain(std::iter::once_with(|| pods_addressed(snapshot)));
    let found = found.chain(std::iter::once_with(|| budget::check(snapshot)));
    found.filter_map(Result::err).chain(unsuitable(snapshot))
}

/// A load balancer that sends traffic to pods themselves would have no target for a while after a move in one write. Where none was made yet
/// there is nobody to lose, and where none is to be made nothing to say.
fn pods_addressed(snapshot: &Snapshot) -> Result<(), Block> {
    let traffic = &snapshot.object.spec.traffic;
    let there = |active: &str| matches!(&snapshot.identity, Identity::Known { revision, .. } if revision == active);
    if traffic.cutover.is_some() || snapshot.object.status.switch.as_ref().is_none_or(|switch| there(&switch.to)) {
        return Ok(());
    }
    let found = traffic.services.iter().enumerate().find_map(|(index, name)| Some((index, name, snapshot.services.get(name)?.addresses_pods?)));
    let Some((index, name, annotation)) = found else { return Ok(()) };
    Err(Block::new(
        "PodsAddressed",
        format!(
            "spec.traffic.services[{index}]: by its annotation {annotation} a load balancer sends the traffic of Service \"{name}\" to pods themselves, and has no healthy one for some seconds when all of them change at once; set spec.traffic.cutover to Overlap, or to Atomic if that is accepted"
        ),
    ))
}

fn template(snapshot: &Snapshot) -> Result<(), Block> {
    if let Some(block) = snapshot.configs.problem() {
        return Err(block);
    }
    let Identity::Refused { reason, message } = &snapshot.identity else {
        return Ok(());
    };
    let reason = match reason.as_str() {
        "QuotaExceeded" => "QuotaExceeded",
        "Forbidden" => "Forbidden",
        _ => "TemplateRefused",
    };
    Err(Block::new(reason, message.clone()))
}

/// The part of [`check`] that concerns Services.
pub fn traffic(snapshot: &Snapshot) -> Result<(), Block> {
    unsuitable(snapshot).next().map_or(Ok(()), Err)
}

/// What is wrong with Services.
fn unsuitable(snapshot: &Snapshot) -> impl Iterator<Item = Block> {
    let traffic = &snapshot.object.spec.traffic;
    let lists = [("services", &traffic.services), ("previewServices", &traffic.preview_services)];
    let declared = lists.into_iter().flat_map(|(list, names)| names.iter().enumerate().map(move |(index, name)| (list, index, name)));
    let looks = declared.map(|(list, index, name)| services::check(snapshot, &format!("spec.traffic.{list}[{index}]"), name));
    looks.filter_map(Result::err).chain(std::iter::once_with(|| services::exposed_elsewhere(snapshot)).filter_map(Result::err))
}

/// Containers of the template; init containers only if they go on running beside the others (KEP-753).
fn containers(snapshot: &Snapshot) -> impl Iterator<Item = (&'static str, usize, &Value)> {
    let list = |path: &str| snapshot.object.spec.template.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let main = list("/spec/containers").iter().enumerate().map(|(index, container)| ("containers", index, container));
    let sidecars = list("/spec/initContainers").iter().enumerate().map(|(index, container)| ("initContainers", index, container));
    main.chain(sidecars.filter(|(_, _, container)| container.get("restartPolicy").and_then(Value::as_str) == Some("Always")))
}

/// Named ports of the template.
pub fn template_ports(snapshot: &Snapshot) -> Vec<(String, i32)> {
    containers(snapshot)
        .flat_map(|(_, _, container)| container.get("ports").and_then(Value::as_array).into_iter().flatten())
        .filter_map(|port| {
            let number = i32::try_from(port.get("containerPort")?.as_i64()?).ok()?;
            Some((port.get("name")?.as_str()?.to_owned(), number))
        })
        .collect()
}

/// Pods of a Job that look like pods of the app would be found by whatever selects those.
fn job_labels(snapshot: &Snapshot) -> Result<(), Block> {
    let spec = &snapshot.object.spec;
    for job in HookPoint::ALL.into_iter().flat_map(|point| spec.jobs_at(point)) {
        let labels = job.template.pointer("/spec/template/metadata/labels");
        let has = |(key, value): (&String, &String)| labels.and_then(|labels| labels.get(key)?.as_str()) == Some(value);
        if spec.selector.match_labels.iter().all(has) {
            let path = format!("{}.spec.template.metadata.labels", job.path());
            let why = "with all labels of spec.selector its pods would be taken for pods of the app; remove one of them";
            return Err(Block::new("HookRefused", format!("{path}: {why}")));
        }
    }
    Ok(())
}

fn host_ports(snapshot: &Snapshot) -> Result<(), Block> {
    if snapshot.object.spec.drain.source == DrainSource::Timer {
        return Ok(());
    }
    for (list, index, container) in containers(snapshot) {
        for (port, value) in container.get("ports").and_then(Value::as_array).into_iter().flatten().enumerate() {
            if value.get("hostPort").and_then(Value::as_i64).is_some_and(|number| number > 0) {
                return Err(Block::new(
                    "HostPort",
                    format!(
                        "spec.template.spec.{list}[{index}].ports[{port}].hostPort: a host port bypasses the Service and two revisions can't share it on one node; remove it, or set spec.drain.source to Timer"
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// The port of a probe and the field it stands in.
pub fn port_of(probe: &SmokeProbe) -> Option<(&'static str, &IntOrString)> {
    let http = probe.http().map(|action| (action.field, action.port));
    let tcp = probe.tcp_socket.as_ref().map(|action| ("tcpSocket", &action.port));
    let grpc = probe.grpc.as_ref().map(|action| ("grpc", &action.port));
    http.or(tcp).or(grpc)
}

fn probe_port(snapshot: &Snapshot, path: &str, probe: &SmokeProbe) -> Result<(), Block> {
    let Some((kind, port)) = port_of(probe) else {
        return Ok(());
    };
    let path = format!("{path}.{kind}.port");
    match probe.target {
        ProbeTarget::EachPod => known_port(snapshot, &path, port),
        ProbeTarget::PreviewService => {
            let name = snapshot.object.spec.traffic.preview_services.first().map(String::as_str).unwrap_or_default();
            // A missing Service is named by the check of the Services, in better words.
            let Some(service) = snapshot.services.get(name) else {
                return Ok(());
            };
            if port_of_service(service, port).is_none() {
                let ports = service
                    .ports
                    .iter()
                    .filter(|port| port.protocol == "TCP")
                    .map(|port| if port.name.is_empty() { port.port.to_string() } else { format!("{} ({})", port.name, port.port) });
                return Err(Block::new(
                    "PortUnknown",
                    format!("{path}: Service \"{name}\" has no port {}; it has {}", text(port), ports.collect::<Vec<_>>().join(", ")),
                ));
            }
            if service.headless {
                return Err(Block::new(
                    "ServiceUnsuitable",
                    format!("{path}: Service \"{name}\" is headless and has no address to probe; use the target EachPod"),
                ));
            }
            Ok(())
        }
    }
}

/// What can't be sent, or can't be in any answer, would fail every attempt, and reject the revision for what is a fault of the probe.
fn probe_words(path: &str, probe: &SmokeProbe) -> Result<(), Block> {
    if let Some(webhook) = &probe.webhook {
        return expected(&format!("{path}.webhook"), &webhook.expect);
    }
    let Some(http) = probe.http() else { return Ok(()) };
    let field = format!("{path}.{}", http.field);
    for (place, HttpHeader { name, value }) in http.headers.iter().enumerate() {
        crate::probe::sendable(name, value).map_err(|why| header(format!("{field}.httpHeaders[{place}]"), why))?;
    }
    expected(&field, http.expect)
}

fn header(path: String, why: String) -> Block {
    Block::new("HeaderInvalid", format!("{path}: {why}; correct it, or remove it"))
}

/// What can't be in any answer.
fn expected(field: &str, expect: &Expect) -> Result<(), Block> {
    for (place, ExpectedHeader { name, value }) in expect.headers.iter().enumerate() {
        let value = value.as_deref().unwrap_or_default();
        crate::probe::comparable(name, value).map_err(|why| header(format!("{field}.expect.headers[{place}]"), why))?;
    }
    for (place, wanted) in expect.json_pointer.iter().enumerate() {
        crate::probe::pointer(&wanted.path).map_err(|why| Block::new("PathInvalid", format!("{field}.expect.jsonPointer[{place}].path: {why}")))?;
    }
    Ok(())
}

/// Where the controller may ask is decided by whoever installs it: a spec could lead it anywhere.
fn probe_url(snapshot: &Snapshot, path: &str, probe: &SmokeProbe) -> Result<(), Block> {
    let refused = |path: &str, endpoint: &Endpoint, list: &str| {
        let who = endpoint.authority();
        Block::new("UrlNotAllowed", format!("{path}: this operator may not ask {who}; whoever installs it can add that to {list}"))
    };
    if let Some(asked) = &probe.prometheus {
        let path = format!("{path}.prometheus.url");
        let endpoint = Endpoint::parse(&asked.url).map_err(|why| Block::new("UrlInvalid", format!("{path}: {why}")))?;
        let allowed = snapshot.allowed_urls.as_ref().is_none_or(|list| list.iter().any(|allowed| allowed.same_origin(&endpoint)));
        return if allowed { Ok(()) } else { Err(refused(&path, &endpoint, "allowedUrls")) };
    }
    let Some(asked) = &probe.webhook else { return Ok(()) };
    let path = format!("{path}.webhook.url");
    let endpoint = Endpoint::parse(&asked.url).map_err(|why| Block::new("UrlInvalid", format!("{path}: {why}")))?;
    let allowed = snapshot.allowed_webhooks.as_ref().is_none_or(|list| list.iter().any(|allowed| allowed.covers(&endpoint)));
    if allowed { Ok(()) } else { Err(refused(&path, &endpoint, "allowedWebhooks")) }
}

fn probe_command(snapshot: &Snapshot, path: &str, probe: &SmokeProbe) -> Result<(), Block> {
    probe.exec.as_ref().map_or(Ok(()), |exec| command(snapshot, &format!("{path}.exec"), exec))
}

/// A probe that the API server passes on: whether it does is decided by whoever installs the controller, and nothing of it may mean the API server.
fn probe_way(snapshot: &Snapshot, path: &str, probe: &SmokeProbe) -> Result<(), Block> {
    let Some(http) = probe.http().filter(|_| probe.through == Through::ApiServer) else { return Ok(()) };
    if snapshot.allowed_proxy == Some(false) {
        let why = "this operator may not send anything through the API server; whoever installs it can set allowProxy";
        return Err(Block::new("ProxyNotAllowed", format!("{path}.through: {why}")));
    }
    let field = format!("{path}.{}", http.field);
    let why = crate::probe::passable(http.path);
    why.map_err(|why| Block::new("PathInvalid", format!("{field}.path: the path can't go through the API server: {why}")))?;
    for (place, HttpHeader { name, .. }) in http.headers.iter().enumerate() {
        crate::probe::passed_on(name).map_err(|why| header(format!("{field}.httpHeaders[{place}]"), why))?;
    }
    for (place, wanted) in http.expect.headers.iter().enumerate() {
        crate::probe::passed_back(&wanted.name).map_err(|why| header(format!("{field}.expect.headers[{place}]"), why))?;
    }
    Ok(())
}

/// Whether commands are run at all is decided by whoever installs the controller.
fn command(snapshot: &Snapshot, path: &str, exec: &Exec) -> Result<(), Block> {
    if snapshot.allowed_exec == Some(false) {
        let why = "this operator may not run commands in pods; whoever installs it can set allowExec";
        return Err(Block::new("ExecNotAllowed", format!("{path}: {why}")));
    }
    let names: Vec<&str> = containers(snapshot).filter_map(|(_, _, container)| container.get("name")?.as_str()).collect();
    if names.contains(&exec.container.as_str()) {
        return Ok(());
    }
    let message = format!("{path}.container: no container of the template is named \"{}\"; it has {}", exec.container, names.join(", "));
    Err(Block::new("ContainerUnknown", message))
}

fn drain_ports(snapshot: &Snapshot) -> Result<(), Block> {
    let drain = &snapshot.object.spec.drain;
    for (index, port) in drain.ports.iter().enumerate() {
        known_port(snapshot, &format!("spec.drain.ports[{index}]"), port)?;
    }
    if let Some(http) = drain.begin.as_ref().and_then(|begin| begin.http.as_ref()) {
        known_port(snapshot, "spec.drain.begin.http.port", &http.port)?;
        if !http.path.starts_with('/') {
            return Err(Block::new("PathInvalid", format!("spec.drain.begin.http.path: \"{}\" does not begin with /", http.path)));
        }
    }
    if let Some(exec) = drain.begin.as_ref().and_then(|begin| begin.exec.as_ref()) {
        command(snapshot, "spec.drain.begin.exec", exec)?;
    }
    if let Some(metric) = &drain.metric {
        known_port(snapshot, "spec.drain.metric.port", &metric.port)?;
        let path = |field: &str| format!("spec.drain.metric.{field}");
        if !metric.path.starts_with('/') {
            return Err(Block::new("PathInvalid", format!("{}: \"{}\" does not begin with /", path("path"), metric.path)));
        }
        let series = metric.series.as_ref().and_then(|series| Series::parse(series).err().map(|why| ("series", why)));
        let pointer = metric.json_pointer.as_ref().and_then(|at| pointer(at).err().map(|why| ("jsonPointer", why)));
        if let Some((field, why)) = series.or(pointer) {
            return Err(Block::new("MetricInvalid", format!("{}: {why}", path(field))));
        }
    }
    Ok(())
}

fn known_port(snapshot: &Snapshot, path: &str, port: &IntOrString) -> Result<(), Block> {
    match port {
        IntOrString::Int(number) if (1..=65535).contains(number) => Ok(()),
        IntOrString::Int(number) => Err(Block::new("PortUnknown", format!("{path}: {number} is not a port; use a number from 1 to 65535"))),
        IntOrString::String(name) => {
            let ports = template_ports(snapshot);
            if ports.iter().any(|(known, _)| known == name) {
                return Ok(());
            }
            let names: Vec<&str> = ports.iter().map(|(name, _)| name.as_str()).collect();
            let have = if names.is_empty() {
                "no container of the template names a port".to_owned()
            } else {
                format!("the template has {}", names.join(", "))
            };
            Err(Block::new("PortUnknown", format!("{path}: no container port is named \"{name}\"; {have}")))
        }
    }
}

fn text(port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => format!("\"{name}\""),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn probe(kind: &str, more: serde_json::Value) -> SmokeProbe {
        let mut action = serde_json::json!({"port": "http"});
        action.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(serde_json::json!({"name": "home", kind: action})).unwrap()
    }

    fn found(probe: &SmokeProbe) -> (&'static str, String) {
        let Block { reason, message, .. } = probe_words("spec.smokeProbes[3]", probe).unwrap_err();
        (reason, message)
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_named_before_anything_starts() {
        let with = |name: &str, value: &str| serde_json::json!({"httpHeaders": [{"name": "Host", "value": "shop.example.com"}, {"name": name, "value": value}]});
        for kind in ["httpGet", "httpPost"] {
            assert_eq!(probe_words("spec.smokeProbes[0]", &probe(kind, with("X-Version", "zw\u{f6}lf"))), Ok(()));
            for (name, value, why) in [
                ("X Version", "1", "the header \"X Version\" has characters that HTTP does not allow"),
                ("X-Version", "1\r\nHost: other", "the header \"X-Version\" has characters that HTTP does not allow"),
                ("Content-Length", "5", "the header \"content-length\" announces a body, which only the probe itself may do"),
                ("Transfer-Encoding", "chunked", "the header \"transfer-encoding\" announces a body, which only the probe itself may do"),
            ] {
                let message = format!("spec.smokeProbes[3].{kind}.httpHeaders[1]: {why}; correct it, or remove it");
                assert_eq!(found(&probe(kind, with(name, value))), ("HeaderInvalid", message));
            }
        }
    }

    #[test]
    fn a_header_that_no_answer_can_have_is_named_before_anything_starts() {
        let with = |header: serde_json::Value| serde_json::json!({"expect": {"headers": [{"name": "x-version"}, header]}});
        // Answers may announce a body.
        let fine = [serde_json::json!({"name": "Content-Length", "value": "5"}), serde_json::json!({"name": "X", "value": ""})];
        for header in fine {
            assert_eq!(probe_words("spec.smokeProbes[0]", &probe("httpGet", with(header))), Ok(()));
        }
        for header in [serde_json::json!({"name": "X Version"}), serde_json::json!({"name": "X Version", "value": "1"})] {
            let message = "spec.smokeProbes[3].httpPost.expect.headers[1]: the header \"X Version\" has characters that HTTP does not allow; correct it, or remove it";
            assert_eq!(found(&probe("httpPost", with(header))), ("HeaderInvalid", message.to_owned()));
        }
        assert_eq!(found(&probe("httpGet", with(serde_json::json!({"name": "x", "value": "a\nb"})))).0, "HeaderInvalid");
    }

    #[test]
    fn a_path_that_is_no_json_pointer_is_named_before_anything_starts() {
        let with = |path: &str| serde_json::json!({"expect": {"jsonPointer": [{"path": "/status", "value": "ok"}, {"path": path, "value": "1"}]}});
        for path in ["", "/", "/a/0/b", "//", "/a~1b/~0", "/zwölf und mehr"] {
            assert_eq!(probe_words("spec.smokeProbes[0]", &probe("httpGet", with(path))), Ok(()), "{path}");
        }
        for (path, why) in [
            ("status", "\"status\" does not begin with /; write a JSON pointer such as /checks/0/status"),
            ("$.status", "\"$.status\" does not begin with /; write a JSON pointer such as /checks/0/status"),
            ("/a~2", "\"/a~2\" has a ~ without 0 or 1 behind it; write ~0 for a tilde in a name and ~1 for a slash"),
            ("/a~", "\"/a~\" has a ~ without 0 or 1 behind it; write ~0 for a tilde in a name and ~1 for a slash"),
        ] {
            let message = format!("spec.smokeProbes[3].httpGet.expect.jsonPointer[1].path: {why}");
            assert_eq!(found(&probe("httpGet", with(path))), ("PathInvalid", message));
        }
    }
}
