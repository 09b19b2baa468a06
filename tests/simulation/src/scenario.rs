//! What is simulated: an installation, a spec, versions that behave well or not. All of it follows from the seed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::faults::Phase;
use crate::group;
use crate::random::Random;
use crate::what::What;

/// Number of the version that is released first where the run aims at what comes after a move, or at a rejection.
pub const AIMED: u64 = 9;

/// How the pods of a version behave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Behaviour {
    /// They never become ready.
    pub never_ready: bool,
    /// Milliseconds until they are ready.
    pub ready_after: (u64, u64),
    /// Their smoke probes fail.
    pub fails_smoke: bool,
    /// Their smoke probes fail at first.
    pub smokes_late: bool,
    /// They lose and regain readiness.
    pub flaps: bool,
    /// They get ill some seconds after they have started: probes of a bake fail.
    pub ill: bool,
}

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Whether the drain agent is installed.
    pub agent: bool,
    /// Usual delay of the operator's watches, in milliseconds.
    pub watch_delay: (u64, u64),
    /// Active Services.
    pub services: Vec<String>,
    /// Whether there is a preview Service.
    pub preview: bool,
    /// Whether a person promotes.
    pub manual: bool,
    /// Whether the object and the bystander are a group.
    pub group: bool,
    /// The spec at the beginning.
    pub spec: Value,
    /// Seconds until everything goes well and people rest.
    pub busy_seconds: u64,
    versions: BTreeMap<String, Behaviour>,
}

/// The image of a pod or of a pod template: which version it is.
pub fn version_of(pod: &Value) -> &str {
    crate::json::text(pod, "/spec/containers/0/image")
}

/// The pod template of a version.
pub fn template(version: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "shop"}},
        "spec": {"containers": [{
            "name": "app",
            "image": version,
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": crate::peers::agent::PROBE_PERIOD},
        }]},
    })
}

/// The name of a version by number.
pub fn version(number: u64) -> String {
    format!("shop:v{number}")
}

impl Scenario {
    /// From the seed; so that the release comes to stand where the run aims at, or as a story wants it.
    pub fn new(what: &What) -> Self {
        let good = Behaviour { ready_after: (300, 4000), ..Behaviour::default() };
        if what.story.is_some() {
            return Self::of_a_story(good);
        }
        let aim = what.aim();
        let random = &mut Random::new(what.seed, "scenario");
        let mut versions = BTreeMap::from([(version(1), good)]);
        for number in 2..AIMED {
            let behaviour = match random.between(0, 99) {
                0..60 => good,
                60..72 => Behaviour { fails_smoke: true, ..good },
                72..80 => Behaviour { smokes_late: true, ..good },
                80..88 => Behaviour { never_ready: true, ..good },
                _ => Behaviour { flaps: true, ..good },
            };
            versions.insert(version(number), behaviour);
        }
        let baking = &mut Random::new(what.seed, "bake");
        for behaviour in versions.values_mut().skip(1) {
            behaviour.ill = baking.percent(30);
        }
        let aims = |at: &[Phase]| aim.is_some_and(|(_, phase)| at.contains(&phase));
        versions.insert(version(AIMED), Behaviour { fails_smoke: aims(&[Phase::Rejected]), ..good });
        let services: Vec<String> = if random.percent(40) { vec!["shop".into(), "shop-admin".into()] } else { vec!["shop".into()] };
        let preview = random.percent(40);
        let manual = random.percent(30) || aims(&[Phase::AwaitPromotion]);
        let quiet = random.between(2, 8);
        let deadline = random.between(20, 90);
        let spec = json!({
            "replicas": random.between(1, 3),
            "selector": {"matchLabels": {"app": "shop"}},
            "template": template(&version(1)),
            "minReadySeconds": if random.percent(30) { random.between(1, 4) } else { 0 },
            "progressDeadlineSeconds": random.between(20, 60),
            "revisionHistoryLimit": random.between(0, 3),
            "traffic": {
                "services": services,
                "previewServices": if preview { json!(["shop-preview"]) } else { json!([]) },
                "quietSeconds": quiet,
                "convergenceTimeoutSeconds": quiet + random.between(5, 30),
            },
            "smokeProbes": probes(random, preview, aims(&[Phase::Smoke, Phase::Rejected])),
            "promotion": {"mode": if manual { "Manual" } else { "Automatic" }},
            "onFailure": {"keepSeconds": random.between(0, 30)},
            "drain": drain(random, deadline),
        });
        let mut spec = spec;
        // With a chance of its own, so that every other seed means what it meant before.
        if Random::new(what.seed, "scale down").percent(40) {
            crate::json::set(&mut spec, "drain", "scaleDown", json!("PerPod"));
        }
        if Random::new(what.seed, "metric").percent(12) && crate::json::text(&spec, "/drain/source").is_empty() {
            crate::json::set(&mut spec, "drain", "source", json!("Metric"));
            crate::json::set(&mut spec, "drain", "metric", json!({"port": "http", "jsonPointer": "/open", "periodSeconds": 2}));
        }
        if Random::new(what.seed, "told by a label").percent(50)
            && let Some(begin) = spec.pointer_mut("/drain/begin")
        {
            *begin = json!({"label": {"key": "draining", "value": "true"}});
        }
        if Random::new(what.seed, "budget").percent(25)
            && let Some(spec) = spec.as_object_mut()
        {
            spec.insert("disruptionBudget".into(), json!({"minAvailable": 1}));
        }
        if Random::new(what.seed, "overlap").percent(15) && !aims(&[Phase::Drain]) {
            crate::json::set(&mut spec, "traffic", "cutover", json!("Overlap"));
            crate::json::set(&mut spec, "traffic", "overlapSeconds", json!(Random::new(what.seed, "overlap for").between(1, 12)));
        }
        if Random::new(what.seed, "pod metadata").percent(30)
            && let Some(spec) = spec.as_object_mut()
        {
            spec.insert("podMetadata".into(), json!({"active": {"labels": {"role": "active"}}, "draining": {"labels": {"role": "old"}}}));
        }
        // A Job that fails, or takes its time, would keep some of the few runs that aim at a drain from getting there.
        if !aims(&[Phase::Drain])
            && let Some(hooks) = hooks(&mut Random::new(what.seed, "hooks"))
            && let Some(spec) = spec.as_object_mut()
        {
            spec.insert("hooks".into(), hooks);
        }
        if !aims(&[Phase::Drain])
            && Random::new(what.seed, "suite").percent(15)
            && let Some(probes) = spec.get_mut("smokeProbes").and_then(Value::as_array_mut)
        {
            probes.push(json!({"name": "suite", "job": job("suite")}));
        }
        after_the_switch(&mut spec, baking, aims(&[Phase::Bake]));
        // Pods that are kept warm don't drain, as status has it, and a bake comes first: with what else may happen too few of the runs would get there.
        if aims(&[Phase::Drain])
            && let Some(whole) = spec.as_object_mut()
        {
            whole.remove("bake");
            crate::json::set(&mut spec, "drain", "keepWarmSeconds", json!(0));
        }
        if baking.percent(20)
            && let Some(spec) = spec.as_object_mut()
        {
            spec.insert("bringUp".into(), json!({"previewReplicas": baking.between(1, 2)}));
        }
        if !manual && baking.percent(20) {
            crate::json::set(&mut spec, "promotion", "afterSeconds", json!(baking.between(2, 15)));
        }
        let grouped = !aims(&[Phase::Drain]) && group::joins(&mut spec, &mut versions, what.seed);
        Self {
            agent: random.percent(85) || aim.is_some_and(|(fault, _)| fault.needs_agent()),
            watch_delay: *random.one(&[(1, 20), (5, 200), (20, 900)]).unwrap_or(&(5, 200)),
            services,
            preview,
            manual,
            group: grouped,
            spec,
            busy_seconds: random.between(60, 240),
            versions,
        }
    }

    fn of_a_story(good: Behaviour) -> Self {
        let fails = Behaviour { fails_smoke: true, ..good };
        let mut versions: BTreeMap<_, _> = (1..=AIMED).map(|number| (version(number), good)).collect();
        versions.insert(version(crate::story::FAILS), fails);
        Self {
            agent: true,
            watch_delay: (1, 20),
            services: vec!["shop".into()],
            preview: false,
            manual: false,
            group: false,
            spec: crate::story::spec(),
            busy_seconds: 60,
            versions,
        }
    }

    /// How a version behaves.
    pub fn behaviour(&self, version: &str) -> Behaviour {
        self.versions.get(version).copied().unwrap_or_default()
    }
}

/// Name of the probes of a bake.
pub const BAKE: &str = "bake";

/// One probe: its path names what the truth is remembered by.
pub fn probe(name: &str, target: &str, need: u64) -> Value {
    json!({
        "name": name, "target": target, "periodSeconds": 1, "timeoutSeconds": 2, "successThreshold": need, "failureThreshold": 3,
        "httpGet": {"path": format!("/{name}?need={need}"), "port": "http"},
    })
}

fn probes(random: &mut Random, preview: bool, some: bool) -> Value {
    let mut probes = vec![];
    if random.percent(85) || some {
        probes.push(probe("home", "EachPod", random.between(1, 3)));
    }
    if preview && random.percent(50) {
        probes.push(probe("outside", "PreviewService", random.between(1, 3)));
    }
    Value::Array(probes)
}

/// Jobs at some points of a release.
fn hooks(random: &mut Random) -> Option<Value> {
    if !random.percent(30) {
        return None;
    }
    let mut hooks = serde_json::Map::new();
    for point in ["beforeBringUp", "beforeSwitch", "afterSwitch", "afterDrain", "onRollback"] {
        let some = (0..random.between(0, 2)).map(|number| {
            let name = format!("{}-{number}", point.to_lowercase());
            json!({"name": name, "jobTemplate": job(&name)})
        });
        hooks.insert(point.into(), some.collect());
    }
    Some(Value::Object(hooks))
}

fn job(name: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": name, "image": "tool"}]}}}})
}

/// What a new version must bear after the switch, and how long the old one is kept warm.
fn after_the_switch(spec: &mut Value, random: &mut Random, some: bool) {
    if some || random.percent(30) {
        let probes = if random.percent(70) { json!([probe(BAKE, "EachPod", random.between(1, 3))]) } else { json!([]) };
        let seconds = random.between(8, 40);
        if let Some(spec) = spec.as_object_mut() {
            spec.insert("bake".into(), json!({"seconds": seconds, "probes": probes}));
        }
    }
    if random.percent(25) && spec.pointer("/drain/begin").is_none() {
        crate::json::set(spec, "drain", "keepWarmSeconds", json!(random.between(5, 60)));
    }
}

fn drain(random: &mut Random, deadline: u64) -> Value {
    let mut drain = json!({
        "minimumSeconds": random.between(0, 5),
        "deadlineSeconds": deadline,
        "fallbackSeconds": random.between(5, 30),
        "maxSets": random.between(1, 2),
    });
    if random.percent(25) {
        crate::json::object(&mut drain, "begin").into_iter().for_each(|begin| {
            begin.insert("http".into(), json!({"path": "/drain", "port": "http"}));
        });
    }
    if random.percent(10)
        && let Some(drain) = drain.as_object_mut()
    {
        drain.insert("source".into(), json!("Timer"));
    }
    drain
}
