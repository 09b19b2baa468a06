//! What a command has to say to the operator: which revision it is for, or why it makes no sense as things are.

use bluegreen::api::keys::command;
use bluegreen::api::{BlueGreenDeployment, BlueGreenDeploymentStatus, ConditionType, DrainSource, PhaseName, PromotionMode, Rejected};
use bluegreen::release::Set;

use crate::aim::Aim;
use crate::history::served;
use crate::report::{because, current};

/// An annotation to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its key.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// The revision that it is about.
    pub revision: String,
    /// What is going to happen.
    pub then: String,
    /// When it is carried out.
    pub aim: Aim,
}

/// Why nothing is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum No {
    /// It makes no sense as things are.
    Refused(String),
    /// The operator has not looked at the latest change yet.
    NotYet,
}

type Choice = Result<Word, No>;

fn refuse<T>(why: impl Into<String>) -> Result<T, No> {
    Err(No::Refused(why.into()))
}

/// The object as the operator sees it.
struct Facts<'a> {
    object: &'a BlueGreenDeployment,
    status: &'a BlueGreenDeploymentStatus,
    sets: &'a [Set],
    name: &'a str,
}

impl<'a> Facts<'a> {
    fn of(object: &'a BlueGreenDeployment, sets: &'a [Set]) -> Result<Self, No> {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        if object.metadata.deletion_timestamp.is_some() {
            return refuse(format!("{name} is being deleted"));
        }
        let status = object.status.as_ref().filter(|_| current(object)).ok_or(No::NotYet)?;
        Ok(Self { object, status, sets, name })
    }

    /// The revision of the spec.
    fn revision(&self) -> Result<&'a str, No> {
        match (&self.status.revision, because(self.status, ConditionType::Stalled)) {
            (Some(revision), _) => Ok(revision),
            (None, Some(why)) => refuse(format!("the template is no revision yet: {}", why.message)),
            (None, None) => Err(No::NotYet),
        }
    }

    fn active(&self) -> Option<&'a str> {
        self.status.switch.as_ref().map(|switch| switch.to.as_str())
    }

    fn rejected(&self) -> Option<&'a Rejected> {
        self.status.rejected.as_ref()
    }

    fn set(&self, revision: &str) -> Option<&'a Set> {
        self.sets.iter().find(|set| set.revision == revision)
    }

    /// Whether a tested revision waits for a person's word, or for a time that such a word goes before.
    fn waits(&self) -> bool {
        let promotion = &self.object.spec.promotion;
        promotion.mode == PromotionMode::Manual || promotion.after_seconds > 0 || !promotion.windows.is_empty()
    }

    /// What is to be added where the release is held.
    fn held(&self) -> String {
        if self.object.spec.paused { format!(", once kubectl bluegreen resume {} lets it go on", self.name) } else { String::new() }
    }

    /// How a set takes the traffic.
    fn way_back(&self, to: &str) -> &'static str {
        match self.set(to) {
            Some(set) if set.desired > 0 && set.drain_begun.is_none() => "its pods still stand",
            _ => "its pods are started and tested first",
        }
    }
}

/// Let the revision of the spec take the traffic.
pub fn promote(object: &BlueGreenDeployment, sets: &[Set]) -> Choice {
    let facts = Facts::of(object, sets)?;
    let (name, revision) = (facts.name, facts.revision()?);
    if let Some(rejected) = facts.rejected() {
        return refuse(format!("revision {revision} was given up ({}); kubectl bluegreen retry {name} tries it again", rejected.reason));
    }
    if facts.active() == Some(revision) {
        return refuse(format!("revision {revision} is active already; there is nothing to promote"));
    }
    if !facts.waits() {
        let group = if object.spec.promotion.group.is_some() {
            "its group is ready as well, which promote can't hasten"
        } else {
            "its smoke probes have passed"
        };
        return refuse(format!("spec.promotion waits for nobody's word: revision {revision} takes the traffic by itself as soon as {group}"));
    }
    let when = if facts.status.phase == Some(PhaseName::AwaitPromotion) { "now" } else { "as soon as its smoke probes have passed" };
    let group = if object.spec.promotion.group.is_some() { ", together with its group" } else { "" };
    let then = format!("revision {revision} takes the traffic {when}{group}{}", facts.held());
    Ok(Word { key: command::PROMOTE, value: revision.into(), revision: revision.into(), then, aim: Aim::Serves(revision.into()) })
}

/// Give the revision of the spec up.
pub fn abort(object: &BlueGreenDeployment, sets: &[Set]) -> Choice {
    let facts = Facts::of(object, sets)?;
    let (name, revision) = (facts.name, facts.revision()?);
    if let Some(rejected) = facts.rejected() {
        return refuse(format!("revision {revision} was given up already ({})", rejected.reason));
    }
    let word = |then: String, aim| Word {
        key: command::ABORT,
        value: revision.into(),
        revision: revision.into(),
        then: format!("{then}{}", facts.held()),
        aim,
    };
    if facts.active() != Some(revision) {
        let keep = object.spec.on_failure.keep_seconds;
        let then = format!("revision {revision} is given up; traffic is not touched, and its pods stay {keep} s for a look");
        return Ok(word(then, Aim::GivenUp(revision.into())));
    }
    let Some(from) = facts.status.switch.as_ref().and_then(|switch| switch.from.as_deref()).filter(|from| facts.set(from).is_some()) else {
        return refuse(format!("revision {revision} can't be aborted: there is no earlier revision to go back to"));
    };
    if facts.status.phase == Some(PhaseName::Complete) {
        return refuse(format!("the release of {revision} is complete; kubectl bluegreen rollback {name} leaves it for {from}"));
    }
    let then = format!("revision {revision} is given up; traffic goes back to {from}: {}", facts.way_back(from));
    Ok(word(then, Aim::Serves(from.into())))
}

/// Try the revision again that was given up.
pub fn retry(object: &BlueGreenDeployment, sets: &[Set]) -> Choice {
    let facts = Facts::of(object, sets)?;
    let Some(rejected) = facts.rejected() else {
        return refuse(format!("no revision of {} was given up; there is nothing to try again", facts.name));
    };
    let revision = rejected.revision.as_str();
    let then = format!("revision {revision} is tried again: {}{}", facts.way_back(revision), facts.held());
    Ok(Word { key: command::RETRY, value: revision.into(), revision: revision.into(), then, aim: Aim::TriedAgain(revision.into()) })
}

/// Leave the active revision for an earlier one.
pub fn rollback(object: &BlueGreenDeployment, sets: &[Set], to: Option<&str>) -> Choice {
    let facts = Facts::of(object, sets)?;
    let name = facts.name;
    let Some(active) = facts.active() else {
        return refuse(format!("no revision of {name} serves yet; there is nothing to roll back"));
    };
    let to = match to {
        Some(to) => named(&facts, active, to)?,
        None => earlier(&facts, active)?,
    };
    let then = format!("traffic goes back from {active} to {to}: {}{}", facts.way_back(to), facts.held());
    Ok(Word { key: command::ROLLBACK, value: format!("{active}-{to}"), revision: to.into(), then, aim: Aim::Serves(to.into()) })
}

/// Revisions that have served, the latest first, without the active one.
fn candidates<'a>(facts: &Facts<'a>, active: &str) -> Vec<&'a str> {
    let mut sets: Vec<&Set> = facts.sets.iter().filter(|set| served(set) && set.revision != active).collect();
    sets.sort_by_key(|set| std::cmp::Reverse((set.role.map(|role| role.attempt), set.created)));
    sets.into_iter().map(|set| set.revision.as_str()).collect()
}

fn named<'a>(facts: &Facts<'a>, active: &str, to: &str) -> Result<&'a str, No> {
    if to == active {
        return refuse(format!("revision {to} is active already"));
    }
    let candidates = candidates(facts, active);
    if let Some(found) = candidates.iter().find(|known| **known == to) {
        return Ok(found);
    }
    let there = if candidates.is_empty() { "there are no others".to_owned() } else { format!("there are {}", candidates.join(", ")) };
    if facts.set(to).is_some() {
        return refuse(format!("revision {to} has never served, so nothing shows that it can; {there}"));
    }
    refuse(format!("revision {to} is not in the history of {}; {there}", facts.name))
}

fn earlier<'a>(facts: &Facts<'a>, active: &str) -> Result<&'a str, No> {
    let name = facts.name;
    let spec = facts.status.revision.as_deref();
    if facts.rejected().is_none() && spec != Some(active) {
        let release = spec.map_or_else(|| "the template's revision".to_owned(), |spec| format!("revision {spec}"));
        return refuse(format!(
            "{release} has not taken the traffic yet: kubectl bluegreen abort {name} gives it up; to leave {active}, name with --to where to go"
        ));
    }
    // Whoever types it after a failed test means the release, which needs no way back.
    if let Some(rejected) = facts.rejected().filter(|rejected| rejected.return_to.is_none()) {
        return refuse(format!(
            "revision {} never had the traffic ({}), and {active} serves on; to leave {active}, name with --to where to go",
            rejected.revision, rejected.reason
        ));
    }
    // What a person or a failure gave up is not gone back to without being named.
    let given_up = facts.rejected().map(|rejected| rejected.revision.as_str());
    let found = candidates(facts, active).into_iter().find(|revision| Some(*revision) != given_up);
    found.map_or_else(|| refuse(format!("there is no earlier revision of {name} to go back to")), Ok)
}

/// Replace the active pods.
pub fn restart(object: &BlueGreenDeployment, sets: &[Set]) -> Choice {
    let facts = Facts::of(object, sets)?;
    let Some(active) = facts.active() else {
        return refuse(format!("no revision of {} serves yet; there is nothing to restart", facts.name));
    };
    if facts.rejected().is_none() && facts.status.revision.as_deref() != Some(active) {
        return refuse(format!(
            "a release is under way, whose pods are new anyway; kubectl bluegreen wait {} --for switched waits for it",
            facts.name
        ));
    }
    let then = format!("the pods of {active} are replaced by new ones, as a release of its own{}", facts.held());
    Ok(Word { key: command::RESTART, value: active.into(), revision: active.into(), then, aim: Aim::Restarted(active.into()) })
}

/// End a drain.
pub fn finish_drain(object: &BlueGreenDeployment, revision: Option<&str>) -> Choice {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let draining = object.status.as_ref().map(|status| status.draining.as_slice()).unwrap_or_default();
    let names: Vec<&str> = draining.iter().map(|set| set.revision.as_str()).collect();
    let found = match (revision, draining) {
        (_, []) => return refuse(format!("no revision of {name} drains")),
        (None, [only]) => only,
        (None, _) => return refuse(format!("{} drain; name one of them", names.join(" and "))),
        (Some(wanted), _) => match draining.iter().find(|set| set.revision == wanted) {
            Some(found) => found,
            None => return refuse(format!("revision {wanted} does not drain; {} does", names.join(" and "))),
        },
    };
    let open = match found.open_connections {
        Some(0) => "no connection is open".to_owned(),
        Some(1) => "1 open connection is cut".to_owned(),
        Some(open) => format!("{open} open connections are cut"),
        None => "whatever is still connected is cut".to_owned(),
    };
    let open = match (&found.metric, found.source) {
        (Some(number), _) => format!("their metric comes to {number}, and {open}"),
        (None, DrainSource::Metric) => format!("their metric is not known, and {open}"),
        _ => open,
    };
    let held = if object.spec.paused { ", once spec.paused is false" } else { "" };
    let then = format!("the pods of {} end now: {open}{held}", found.revision);
    Ok(Word {
        key: command::FINISH_DRAIN,
        value: found.revision.clone(),
        revision: found.revision.clone(),
        then,
        aim: Aim::DrainOver(found.revision.clone()),
    })
}

/// Whose logs to show.
pub fn logs(object: &BlueGreenDeployment, active: bool, inactive: bool, draining: bool) -> Result<Vec<String>, No> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let none = BlueGreenDeploymentStatus::default();
    let status = object.status.as_ref().unwrap_or(&none);
    let serves = status.switch.as_ref().map(|switch| switch.to.clone());
    let incoming = status.inactive.as_ref().map(|set| set.revision.clone()).or(status.rejected.as_ref().map(|rejected| rejected.revision.clone()));
    let found: Vec<String> = match (active, inactive, draining) {
        (_, true, _) => incoming.into_iter().collect(),
        (_, _, true) => status.draining.iter().map(|set| set.revision.clone()).collect(),
        (true, ..) => serves.into_iter().collect(),
        // At the first install there is only one that could be meant.
        _ => serves.or(incoming).into_iter().collect(),
    };
    if !found.is_empty() {
        return Ok(found);
    }
    refuse(match (inactive, draining) {
        (true, _) => format!("no revision of {name} is being brought up, and none was given up"),
        (_, true) => format!("no revision of {name} drains"),
        _ => format!("no revision of {name} serves yet"),
    })
}

#[cfg(test)]
#[path = "tests/choose.rs"]
mod tests;
