//! Ideal peers of the simulator: the ReplicaSet controller, kubelets, the endpoints controller, the probe runner, the drain
//! agents, and what the controller itself derives while it reads.

use std::collections::{BTreeMap, BTreeSet};

use super::fixtures::*;
use super::simulator::World;
use crate::api::{ProbeResult, keys};
use crate::release::action::SmokeRun;
use crate::release::intent::on_record;
use crate::release::metric::Reading;
use crate::release::revision::{known, raw_hash};
use crate::release::*;

/// Connections of one watched pod, as an agent counts them.
#[derive(Clone, Debug, Default)]
pub struct Count {
    epoch: i64,
    samples: i64,
    arrivals: i64,
    zero_since: Option<f64>,
}

impl World {
    /// What a controller derives while it reads: the intent on record, identity and pods born late.
    pub fn observe(&mut self) {
        self.regroup();
        let now = self.now().mono;
        let snapshot = &mut self.snapshot;
        let status = &mut snapshot.object.status;
        let uid = &snapshot.object.uid;
        let moved = snapshot.services.values().filter(|service| service.owner.as_ref().is_some_and(|owner| &owner.uid == uid));
        status.switch = on_record(status.switch.as_ref(), &snapshot.sets, moved);
        let raw_hash = raw_hash(&snapshot.object.spec.template);
        if !matches!(&snapshot.identity, Identity::Refused { .. }) {
            let known = known(&snapshot.sets, &raw_hash);
            snapshot.identity = match (known, &self.answer) {
                (Some(set), _) => Identity::Known { raw_hash, revision: set.revision.clone() },
                (None, Some((asked, answer))) if *asked == raw_hash => answer.clone(),
                _ => Identity::Unknown { raw_hash },
            };
        }
        let mut absent = std::mem::take(&mut snapshot.absent_since);
        reached::note(&mut absent, snapshot, now);
        snapshot.absent_since = absent;
        let mut present = std::mem::take(&mut snapshot.present_since);
        overlap::note(&mut present, snapshot, now);
        snapshot.present_since = present;
        snapshot.late_pods.clear();
        let Some(switch) = &snapshot.object.status.switch else { return };
        for set in snapshot
            .sets
            .iter()
            .filter(|set| (set.revision != switch.to || set.loose.is_some()) && set.role.is_some_and(|role| role.kind != RoleKind::Retired))
        {
            let there: BTreeSet<String> = snapshot.pods.iter().filter(|pod| pod.set_uid == set.uid).map(|pod| pod.uid.clone()).collect();
            let known = self.present.entry(set.uid.clone()).or_insert_with(|| (switch.attempt, there.clone()));
            if known.0 != switch.attempt {
                *known = (switch.attempt, there.clone());
            }
            if switch.completed_at.is_none() {
                known.1.extend(there.iter().cloned());
            }
            snapshot.late_pods.extend(there.difference(&known.1).cloned());
        }
    }

    /// One step of everybody else; whether anything changed.
    pub fn peers(&mut self) -> bool {
        let mut changed = false;
        if !self.idle {
            changed |= self.replica_sets();
            changed |= self.kubelets();
        }
        changed |= !self.late_endpoints && self.endpoints();
        changed |= self.probe_runner();
        changed |= self.tell();
        changed
    }

    fn replica_sets(&mut self) -> bool {
        let mut changed = false;
        let now = self.now().wall;
        for place in 0..self.snapshot.sets.len() {
            let set = self.snapshot.sets[place].clone();
            if set.loose.is_some() {
                continue;
            }
            let mine = |pod: &&Pod| pod.set_uid == set.uid && pod.alive() && pod.control == Control::Set;
            let mut alive: Vec<(bool, String)> = self.snapshot.pods.iter().filter(mine).map(|pod| (pod.ready, pod.uid.clone())).collect();
            let desired = usize::try_from(set.desired).unwrap();
            while alive.len() < desired {
                self.number += 1;
                let mut made = pod(&self.number.to_string(), &set.uid);
                made.node = Some(if self.number % 2 == 0 { "node-1".into() } else { "node-2".into() });
                made.addresses = vec![format!("10.2.{}.{}", self.number / 250, self.number % 250 + 1)];
                made.ready = false;
                made.ready_since = Some(now);
                alive.push((false, made.uid.clone()));
                self.snapshot.pods.push(made);
                changed = true;
            }
            // Pods that are not ready go first.
            alive.sort();
            for (_, uid) in alive.drain(..alive.len() - desired) {
                self.snapshot.pods.retain(|pod| pod.uid != uid);
                changed = true;
            }
            let replicas = count(alive.len());
            if set.replicas != replicas {
                self.number += 1;
                let set = &mut self.snapshot.sets[place];
                (set.replicas, set.resource_version) = (replicas, self.number.to_string());
                changed = true;
            }
        }
        changed | self.garbage_collector()
    }

    fn kubelets(&mut self) -> bool {
        let now = self.now().wall;
        let mut changed = false;
        for pod in self.snapshot.pods.iter_mut().filter(|pod| pod.alive() && pod.node.is_some()) {
            let set = self.snapshot.sets.iter().find(|set| set.uid == pod.set_uid);
            let ready = set.is_some_and(|set| !self.broken.contains(&set.revision));
            if pod.ready != ready {
                (pod.ready, pod.ready_since) = (ready, Some(now));
                changed = true;
            }
        }
        changed
    }

    fn endpoints(&mut self) -> bool {
        let mut changed = false;
        let snapshot = &mut self.snapshot;
        // An emptied selector leaves the slices as they are.
        for service in snapshot.services.values().filter(|service| !service.selector.is_empty()) {
            let wanted = service.selector.get(keys::REVISION);
            let ours = |key: &String| key == keys::REVISION || key == keys::SERVING;
            let others = service.selector.iter().any(|(key, value)| !ours(key) && (key.as_str(), value.as_str()) != ("app", SHOP));
            let serving = service.selector.get(keys::SERVING);
            let reached = |pod: &&Pod| {
                let set = snapshot.sets.iter().find(|set| set.uid == pod.set_uid);
                // One that has left its set has another label.
                !others
                    && pod.alive()
                    && serving.is_none_or(|serving| pod.serving.as_ref() == Some(serving))
                    && !matches!(pod.control, Control::Object(_))
                    && set.is_some_and(|set| wanted.is_none_or(|revision| *revision == set.revision))
            };
            let pods: BTreeMap<String, bool> = snapshot.pods.iter().filter(reached).map(|pod| (pod.uid.clone(), pod.ready)).collect();
            let known = snapshot.endpoints.entry(service.name.clone()).or_default();
            if known.pods != pods {
                known.pods = pods;
                changed = true;
            }
        }
        self.note_joined();
        changed
    }

    /// Notes since when pods are ready endpoints of every Service that leads to two revisions.
    fn note_joined(&mut self) {
        let snapshot = &self.snapshot;
        let leads = |name: &&String| snapshot.services.get(*name).is_some_and(|service| service.selector.contains_key(keys::SERVING));
        let names: Vec<&String> = snapshot.object.spec.traffic.services.iter().filter(leads).collect();
        let ready = |uid: &str| names.iter().all(|name| snapshot.endpoints.get(*name).is_some_and(|known| known.pods.get(uid) == Some(&true)));
        let joined: Vec<String> = snapshot.pods.iter().map(|pod| pod.uid.clone()).filter(|uid| ready(uid)).collect();
        self.joined_at.retain(|uid, _| joined.contains(uid));
        for uid in joined {
            self.joined_at.entry(uid).or_insert(self.seconds);
        }
    }

    fn probe_runner(&mut self) -> bool {
        let runs: Vec<_> = self.plan.effects.probes().cloned().collect();
        let mut changed = false;
        for run in runs {
            changed |= self.probe(&run);
        }
        changed
    }

    fn probe(&mut self, run: &SmokeRun) -> bool {
        let at = self.now().wall;
        let Some(set) = self.snapshot.sets.iter().find(|set| set.uid == run.set_uid) else { return false };
        let failing = if run.endless { &self.ill } else { &self.failing };
        let result = if failing.contains(&set.revision) {
            ProbeResult::Failed
        } else if self.undecided.contains(&set.revision) {
            ProbeResult::Running
        } else {
            ProbeResult::Passed
        };
        let mut changed = false;
        for probe in &run.runs {
            let known = self.snapshot.probes.iter_mut().find(|known| {
                known.set_uid == run.set_uid && known.probes == run.probes && known.probe == probe.probe.name && known.pod == probe.pod
            });
            let message = if result == ProbeResult::Passed { String::new() } else { "status 500".into() };
            let found = ProbeObservation {
                set_uid: run.set_uid.clone(),
                probes: run.probes.clone(),
                probe: probe.probe.name.clone(),
                pod: probe.pod.clone(),
                target: probe.target.clone(),
                result,
                attempts: 3,
                message,
                at,
            };
            match known {
                Some(known) if known.result == result => {}
                Some(known) if known.result == ProbeResult::Failed && run.persistent || run.endless => {
                    *known = found;
                    changed = true;
                }
                Some(known) if known.result != ProbeResult::Running => {}
                Some(known) => {
                    *known = found;
                    changed = true;
                }
                None => {
                    self.snapshot.probes.push(found);
                    changed = true;
                }
            }
        }
        self.note_passes();
        changed
    }

    /// Keeps the truth about who passed, for the invariants.
    fn note_passes(&mut self) {
        for known in self.snapshot.probes.iter().filter(|known| known.result == ProbeResult::Passed && !bake::is_of_bake(known)) {
            self.passed.insert(known.set_uid.clone());
            if let Some(pod) = &known.pod {
                self.passed_pods.insert((pod.clone(), known.probes.clone()));
            }
        }
    }

    fn tell(&mut self) -> bool {
        let mut changed = false;
        for call in &self.plan.effects.begin {
            if self.snapshot.begun.insert(call.pod.clone(), Begun::Told).is_none() {
                *self.told.entry(call.pod.clone()).or_default() += 1;
                changed = true;
            }
        }
        changed
    }

    /// Every agent reports once, and every number is read.
    pub fn agents(&mut self) {
        let now = self.now().mono;
        let reads = self.plan.effects.reads.clone();
        self.snapshot.readings.retain(|pod, reading| reads.iter().any(|reads| reads.pod == *pod && reads.about == reading.about));
        for reads in reads.into_iter().filter(|_| !self.silent) {
            let number = self.numbers.get(&reads.pod).cloned().unwrap_or(Ok(0.0));
            let reading = Reading::after(self.snapshot.readings.get(&reads.pod), reads.about, now, number);
            self.snapshot.readings.insert(reads.pod, reading);
        }
        let watched = self.plan.effects.watch.clone();
        self.counts.retain(|uid, count| watched.iter().any(|pod| pod.uid == *uid && pod.epoch == count.epoch));
        self.snapshot.reports.retain(|uid, _| self.counts.contains_key(uid));
        if self.silent {
            return;
        }
        for pod in &watched {
            let Some(revision) = self.revision_of(&pod.uid) else { continue };
            let open = self.open.get(&revision).copied().unwrap_or(0) + self.holding.get(&pod.uid).copied().unwrap_or(0);
            let count = self.counts.entry(pod.uid.clone()).or_insert(Count { epoch: pod.epoch, ..Count::default() });
            if count.samples > 0 {
                count.arrivals += self.arriving.get(&revision).copied().unwrap_or(0);
            }
            count.samples += 1;
            count.zero_since = if open > 0 { None } else { count.zero_since.or(Some(self.seconds)) };
            #[allow(clippy::cast_possible_truncation, reason = "milliseconds of a story")]
            let zero = count.zero_since.map(|since| ((self.seconds - since) * 1000.0) as i64);
            let mut report = report(&pod.uid, open, &[("10.9.9.9", count.arrivals)], zero);
            report.round = pod.epoch;
            report.samples = count.samples;
            report.ports[0].port = pod.ports[0];
            let samples = self.snapshot.reports.entry(pod.uid.clone()).or_default();
            samples.push(Sample { received: now, boot_id: "boot".into(), report, stale_after: 6, heard: now });
            let excess = samples.len().saturating_sub(64);
            samples.drain(..excess);
        }
    }

    fn revision_of(&self, pod: &str) -> Option<String> {
        let pod = self.snapshot.pods.iter().find(|known| known.uid == pod)?;
        self.snapshot.sets.iter().find(|set| set.uid == pod.set_uid).map(|set| set.revision.clone())
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap()
}
