//! The API server of the world in memory ([`super::simulator`]): single writes, their guards, and what the transcript says of them.

use super::fixtures::*;
use super::invariants;
use super::simulator::{Conflict, World};
use crate::api::keys;
use crate::release::action::{Action, SelectWhy};
use crate::release::config::{Config, ConfigName, Copy};
use crate::release::revision::revision_name;
use crate::release::*;

impl World {
    /// One write, guarded as the API server guards it.
    pub fn apply(&mut self, planned: &Snapshot, action: &Action) -> Result<(), Conflict> {
        self.guards(planned, action)?;
        invariants::of_action(self, planned, action);
        let what = self.describe(action);
        match action {
            Action::Identify { raw_hash } => {
                let template = &planned.object.spec.template;
                let named = revision_name(SHOP, template, 0);
                self.answer = Some((raw_hash.clone(), Identity::Known { raw_hash: raw_hash.clone(), revision: named }));
                return Ok(());
            }
            Action::Adopt { set } => {
                let place = self.snapshot.orphans.iter().position(|orphan| orphan.uid == set.uid).ok_or(Conflict)?;
                let orphan = self.snapshot.orphans.remove(place);
                self.snapshot.sets.push(orphan);
            }
            Action::CheckHooks { hash } => {
                self.snapshot.hooks_checked = Some((hash.clone(), self.jobs.refusal.clone().map_or(Ok(()), Err)));
                return Ok(());
            }
            Action::RunHook { run } => return self.look_at_job(run),
            Action::DeleteJob { name, .. } => {
                self.jobs.delete(name);
                let at = self.now().mono;
                self.snapshot.jobs.insert(name.clone(), JobSeen { uid: None, state: JobState::Gone, at });
                return Ok(());
            }
            Action::LookUpOwner { owner } => {
                self.snapshot.owners.insert(owner.uid.clone(), OwnerState::Gone);
            }
            Action::CreateSet { revision, color, replicas, raw_hash, restarts } => {
                self.number += 1;
                let mut made = set(revision, *color, *replicas);
                made.uid = format!("set-{}", self.number);
                made.created = self.now().wall;
                made.min_ready_seconds = planned.object.spec.min_ready_seconds;
                made.template_hashes = vec![raw_hash.clone()];
                made.restarts = *restarts;
                made.configs = config::copies(&planned.object.spec.template["spec"]);
                made.template_identity = format!("identity-{raw_hash}");
                self.snapshot.sets.push(made);
            }
            Action::CopyConfig { source, copy, digest } => {
                self.number += 1;
                let id = ConfigName { kind: source.kind, name: copy.clone() };
                let version = self.number.to_string();
                let (copy_for, owner) = (Some(SHOP.into()), Some(UID.into()));
                let config =
                    Config { uid: format!("uid-{copy}"), id, resource_version: version, digest: digest.clone(), copy_for, owner, deleting: false };
                self.snapshot.configs.copies.push(Copy { config, unused_since: None });
            }
            Action::DeleteConfig { config } => self.snapshot.configs.copies.retain(|copy| copy.config.uid != config.uid),
            Action::Fence { set, switch, .. } => {
                let set = self.set_mut_of(&set.uid);
                set.role = Some(Role::serving(switch.attempt));
                set.switch = Some((**switch).clone());
            }
            Action::PatchSet { set, change: how } => {
                self.guarded(&set.uid, &set.resource_version)?;
                let set = self.snapshot.sets.iter_mut().find(|known| known.uid == set.uid).unwrap();
                change(set, how);
            }
            Action::Retire { set, attempt, services, notice } => {
                self.guarded(&set.uid, &set.resource_version)?;
                let role = |kind| Some(Role { kind, attempt: *attempt });
                let place = self.snapshot.sets.iter().position(|known| known.uid == set.uid).unwrap();
                self.snapshot.sets[place].role = role(RoleKind::Retiring);
                let selects = |service: &Service| services::may_lead(&service.selector, &selector(&set.revision));
                if services.iter().filter_map(|name| self.snapshot.services.get(name)).any(selects) {
                    return Err(Conflict);
                }
                // A process killed here leaves the fence behind.
                self.killed()?;
                let set = &mut self.snapshot.sets[place];
                (set.role, set.switch, set.proof, set.drain_begun, set.desired) = (role(RoleKind::Retired), None, None, None, 0);
                self.notices.extend(notice.clone());
            }
            Action::Part { .. } | Action::Mark { .. } | Action::Orphan { .. } | Action::Own { .. } | Action::DeletePod { .. } => self.part(action)?,
            Action::MarkServing { pod, value } => {
                let pod = self.snapshot.pods.iter_mut().find(|known| known.uid == pod.uid).ok_or(Conflict)?;
                pod.serving = Some(value.clone());
            }
            Action::TellByLabel { pod, .. } => {
                self.snapshot.begun.insert(pod.uid.clone(), Begun::Told);
                *self.told.entry(pod.uid.clone()).or_default() += 1;
            }
            Action::DeleteSet { set } => {
                self.guarded(&set.uid, &set.resource_version)?;
                self.snapshot.sets.retain(|known| known.uid != set.uid);
                self.snapshot.pods.retain(|pod| pod.set_uid != set.uid);
            }
            Action::Withdraw { service, withdrawn } => {
                let known = self.snapshot.services.get_mut(&service.name).ok_or(Conflict)?;
                known.withdrawn.clone_from(withdrawn);
                self.service_mut(&service.name);
            }
            Action::Select { service, selector, owner, selected, record, withdrawn, why } => {
                let known = self.snapshot.services.get_mut(&service.name).filter(|known| known.resource_version == service.resource_version);
                let known = known.ok_or(Conflict)?;
                known.selector.clone_from(selector);
                known.owner = Some(owner.clone());
                known.selected = Some(selected.clone());
                known.withdrawn.clone_from(withdrawn);
                if record.is_some() || known.switch.as_ref().is_some_and(|switch| switch.attempt != selected.attempt) {
                    known.switch = record.as_deref().cloned();
                }
                self.service_mut(&service.name);
                if let SelectWhy::Repair { editor } = why {
                    let count = self.snapshot.repairs.get(&service.name).map_or(0, |repairs| repairs.count);
                    let repairs = Repairs { count: count + 1, last: self.now().mono, editor: editor.clone() };
                    self.snapshot.repairs.insert(service.name.clone(), repairs);
                }
            }
            Action::WriteBudget { found, wanted } => self.write_budget(found.as_ref(), wanted)?,
            Action::DeleteBudget { budget } => drop(self.budgets().remove(&budget.name)),
            Action::Release { service } => {
                let known = self.snapshot.services.get_mut(&service.name).filter(|known| known.resource_version == service.resource_version);
                let known = known.ok_or(Conflict)?;
                (known.owner, known.selected, known.switch) = (None, None, None);
                known.withdrawn.clear();
                self.service_mut(&service.name);
            }
            Action::RemoveCommand { key, value } => {
                if self.snapshot.object.commands.get(*key) == Some(value) {
                    self.snapshot.object.commands.remove(*key);
                    self.touch();
                }
            }
        }
        self.transcript.push(what);
        Ok(())
    }

    /// Whether the API server takes a write that was decided on these versions.
    fn guards(&self, planned: &Snapshot, action: &Action) -> Result<(), Conflict> {
        let same = match action {
            Action::PatchSet { set, .. }
            | Action::Retire { set, .. }
            | Action::Part { set, .. }
            | Action::Orphan { set, .. }
            | Action::DeleteSet { set } => {
                self.snapshot.sets.iter().any(|known| known.uid == set.uid && known.resource_version == set.resource_version)
            }
            Action::Fence { set, replicas, .. } => {
                let basis = |set: &Set| (set.role, set.proof.clone(), set.drain_begun.clone());
                let read = planned.sets.iter().find(|known| known.uid == set.uid).map(basis);
                let now = self.snapshot.sets.iter().find(|known| known.uid == set.uid && !known.deleting);
                now.is_some_and(|now| now.desired == *replicas && Some(basis(now)) == read)
            }
            Action::Select { service, .. } | Action::Release { service } | Action::Withdraw { service, .. } => {
                self.snapshot.services.get(&service.name).is_some_and(|known| known.resource_version == service.resource_version)
            }
            Action::CreateSet { revision, .. } => !self.snapshot.sets.iter().any(|known| &known.revision == revision && known.loose.is_none()),
            Action::Mark { pod, .. }
            | Action::Own { pod, .. }
            | Action::DeletePod { pod, .. }
            | Action::MarkServing { pod, .. }
            | Action::TellByLabel { pod, .. } => self.snapshot.pods.iter().any(|known| known.uid == pod.uid && !known.terminating),
            Action::Identify { .. }
            | Action::CheckHooks { .. }
            | Action::RunHook { .. }
            | Action::DeleteJob { .. }
            | Action::Adopt { .. }
            | Action::LookUpOwner { .. }
            | Action::CopyConfig { .. }
            | Action::DeleteConfig { .. }
            | Action::WriteBudget { .. }
            | Action::DeleteBudget { .. }
            | Action::RemoveCommand { .. } => true,
        };
        if same { Ok(()) } else { Err(Conflict) }
    }

    pub(super) fn guarded(&mut self, uid: &str, version: &str) -> Result<(), Conflict> {
        self.number += 1;
        let number = self.number.to_string();
        let set = self.snapshot.sets.iter_mut().find(|set| set.uid == uid && set.resource_version == version).ok_or(Conflict)?;
        set.resource_version = number;
        Ok(())
    }

    fn describe(&self, action: &Action) -> String {
        match action {
            Action::Identify { .. } => "identify".into(),
            Action::CheckHooks { .. } => "check hooks".into(),
            Action::RunHook { run } => format!("look at {}", run.job),
            Action::DeleteJob { name, .. } => format!("delete {name}"),
            Action::Adopt { set } => format!("adopt {}", self.version(&set.revision)),
            Action::LookUpOwner { owner } => format!("look up {}", owner.name),
            Action::CopyConfig { source, .. } => format!("copy {}", source.name),
            Action::DeleteConfig { config } => format!("delete {}", config.id),
            Action::CreateSet { revision, color, replicas, .. } => format!("create {} {} x{replicas}", self.version(revision), color.name()),
            Action::Fence { set, switch, .. } => format!("fence {}@{}", self.version(&set.revision), switch.attempt),
            Action::PatchSet { set, change } => {
                let mut words = vec![format!("patch {}", self.version(&set.revision))];
                words.extend(change.replicas.map(|replicas| format!("x{replicas}")));
                words.extend(change.proof.as_ref().map(|proof| format!("proof of {}", proof.pods.len())));
                words.extend(change.drop_proof.then(|| "without proof".to_owned()));
                words.extend(change.color.map(|color| color.name().to_owned()));
                words.extend(change.drain_begun.as_ref().map(|told| format!("told {}", told.len())));
                words.join(" ")
            }
            Action::Retire { set, attempt, .. } => format!("retire {}@{attempt}", self.version(&set.revision)),
            Action::Part { set, attempt, issue, .. } => format!("part {}@{attempt}, then {issue}", self.version(&set.revision)),
            Action::Mark { left, .. } => format!("mark a pod of {}", self.version(&left.revision)),
            Action::Orphan { set, .. } => format!("orphan {}", self.version(&set.revision)),
            Action::Own { left, .. } => format!("own a pod of {}", self.version(&left.revision)),
            Action::DeletePod { revision, .. } => format!("delete a pod of {}", self.version(revision)),
            Action::DeleteSet { set } => format!("delete {}", self.version(&set.revision)),
            Action::TellByLabel { key, value, .. } => format!("tell a pod {key}={value}"),
            Action::MarkServing { value, .. } => {
                let (revision, attempt) = value.rsplit_once('.').unwrap_or_default();
                format!("mark a pod for {}@{attempt}", self.version(revision))
            }
            Action::Select { service, selected, selector, why, .. } => {
                let why = match why {
                    SelectWhy::Switch if selector.contains_key(keys::SERVING) => " beside",
                    SelectWhy::Switch => "",
                    SelectWhy::Park => " park",
                    SelectWhy::Preview => " preview",
                    SelectWhy::Repair { .. } => " repair",
                };
                format!("select {} {}@{}{why}", service.name, self.version(&selected.revision), selected.attempt)
            }
            Action::Withdraw { service, withdrawn } => {
                let revisions: Vec<&str> = withdrawn.iter().map(|revision| self.version(revision)).collect();
                format!("withdraw {} {}", service.name, revisions.join(" "))
            }
            Action::WriteBudget { wanted, .. } => format!("budget {}", self.covered(&wanted.selector).join(" ")),
            Action::DeleteBudget { .. } => "delete the budget".into(),
            Action::Release { service } => format!("release {}", service.name),
            Action::RemoveCommand { key, .. } => format!("remove {}", key.trim_start_matches(keys::PREFIX)),
        }
    }
}
