//! Where a release stands, for people.

use bluegreen::api::{DrainingStatus, HookResult, HookStatus, PhaseName, ProbeResult, ProbeStatus};
use jiff::Timestamp;

use crate::report::{Report, Revision, State};

use super::table::table;
use super::{Ink, Page, Span, ago, bold, faint, fit, ink, left, limits, of_color, plain};

/// Rows of probes that are shown; status has failures first.
const PROBES: usize = 10;

/// The whole page.
pub fn page(report: &Report, now: Timestamp, columns: usize) -> Page {
    let mut page = Page::new(columns);
    let (paint, headline) = headline(report);
    page.wrapped(vec![bold(&report.name), faint(format!(" in {}", report.namespace)), plain("  ")], paint, &headline);
    page.blank();
    steps(&mut page, report);
    limits(&mut page, &report.limits, now);
    if !report.revisions.is_empty() {
        page.blank();
        revisions(&mut page, report, now);
    }
    if !report.services.is_empty() {
        page.blank();
        services(&mut page, report);
    }
    group(&mut page, report);
    probes(&mut page, report);
    hooks(&mut page, report, now);
    for set in &report.draining {
        page.blank();
        draining(&mut page, set, now);
    }
    for (command, value) in &report.commands {
        page.blank();
        page.wrapped(vec![plain("  ")], Ink::Yellow, &format!("the command {command} ({value}) is not carried out yet"));
    }
    page
}

fn headline(report: &Report) -> (Ink, String) {
    let revision = report.goal.as_deref().or(report.revision.as_deref()).unwrap_or("of the template");
    let serves = || report.active().map_or_else(|| "nothing serves yet".to_owned(), |active| format!("{} serves", active.revision));
    let Some(phase) = report.phase.filter(|_| report.current) else {
        return (Ink::Yellow, "the operator has not looked at the latest change yet".into());
    };
    let stalled = report.stalled.is_some();
    let or_stalled = |paint, text: String| if stalled { (Ink::Red, format!("{text}; it is stalled")) } else { (paint, text) };
    if let Some(rejected) = &report.rejected {
        let gave_up = report.revision.as_deref().unwrap_or("of the template");
        // The phase may tell of the moment before it was given up.
        let end = report.goal.as_ref().filter(|_| phase != PhaseName::Rejected).map_or_else(serves, |goal| format!("on the way back to {goal}"));
        return (Ink::Red, format!("revision {gave_up} was given up ({}); {end}", rejected.reason));
    }
    match phase {
        PhaseName::Blocked => (Ink::Red, format!("something must be corrected before the release begins; {}", serves())),
        PhaseName::BringUp => or_stalled(Ink::Plain, format!("revision {revision} is brought up")),
        PhaseName::Smoke => or_stalled(Ink::Plain, format!("revision {revision} is tested")),
        PhaseName::AwaitPromotion if report.waiting.as_ref().is_some_and(|why| why.reason == "WaitsForGroup") => {
            (Ink::Yellow, format!("revision {revision} is tested and waits for its group"))
        }
        PhaseName::AwaitPromotion => (Ink::Yellow, format!("revision {revision} is tested and waits to be promoted")),
        PhaseName::Switch => or_stalled(Ink::Plain, format!("the traffic moves to revision {revision}")),
        PhaseName::Converge => or_stalled(Ink::Plain, format!("revision {revision} has the traffic; the move takes effect")),
        PhaseName::Bake => or_stalled(Ink::Plain, format!("revision {revision} serves, and must bear it for a while")),
        PhaseName::Drain => or_stalled(Ink::Plain, format!("revision {revision} serves; the old pods drain")),
        PhaseName::Complete => or_stalled(Ink::Green, format!("revision {revision} serves everyone")),
        PhaseName::Rejected => (Ink::Red, format!("the revision was given up; {}", serves())),
        PhaseName::Paused => (Ink::Yellow, format!("the release is held by spec.paused; {}", serves())),
    }
}

fn steps(page: &mut Page, report: &Report) {
    let widest = report.steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
    for step in &report.steps {
        let (paint, mark) = match step.state {
            State::Done => (Ink::Green, "✓"),
            State::Skipped => (Ink::Faint, "–"),
            State::Now => (Ink::Bold, "▶"),
            State::Waits => (Ink::Yellow, "‖"),
            State::Stalled => (Ink::Red, "!"),
            State::Failed => (Ink::Red, "✗"),
            State::ToCome => (Ink::Faint, "·"),
        };
        let name = format!("{:widest$}  ", step.name);
        let name = match step.state {
            State::Now | State::Waits | State::Stalled | State::Failed => bold(name),
            State::Skipped | State::ToCome => faint(name),
            State::Done => plain(name),
        };
        let note = match step.state {
            State::Stalled | State::Failed => Ink::Red,
            State::Waits => Ink::Yellow,
            State::Skipped => Ink::Faint,
            State::Done | State::Now | State::ToCome => Ink::Plain,
        };
        page.wrapped(vec![plain("  "), ink(paint, mark), plain(" "), name], note, step.note.as_deref().unwrap_or_default());
    }
}

fn colored(color: &str, text: impl AsRef<str>) -> Span {
    ink(of_color(color), text)
}

fn revisions(page: &mut Page, report: &Report, now: Timestamp) {
    let mut rows = vec![["REVISION", "COLOR", "STATE", "READY", "SINCE", "IMAGES"].map(faint).to_vec()];
    for Revision { revision, color, state, ready, wanted, since, images } in &report.revisions {
        let ready = if *state == "draining" { format!("{ready} left") } else { format!("{ready}/{wanted}") };
        let since = since.map_or_else(String::new, |since| ago(since, now));
        let mut images = images.iter().map(String::as_str);
        let first =
            [colored(color, revision), colored(color, color), plain(state), plain(ready), plain(since), plain(images.next().unwrap_or_default())];
        rows.push(first.to_vec());
        rows.extend(images.map(|image| ["", "", "", "", "", image].map(plain).to_vec()));
    }
    table(page, 2, rows);
}

fn services(page: &mut Page, report: &Report) {
    let widest = report.services.iter().map(|route| route.service.len()).max().unwrap_or(0);
    for route in &report.services {
        let kind = if route.preview { "preview" } else { "Service" };
        let name = format!("{:widest$}", route.service);
        let target = match &route.revision {
            _ if !route.exists => ink(Ink::Red, "does not exist"),
            None => faint("nobody yet"),
            Some(revision) => named(report, revision),
        };
        let beside = route.beside.as_ref().map(|revision| named(report, revision));
        let also = beside.map(|beside| [faint(" and "), beside]).into_iter().flatten().collect::<Vec<_>>();
        let room = page.columns().saturating_sub(14 + target.width() + also.iter().map(Span::width).sum::<usize>());
        page.line([faint(format!("  {kind}  ")), plain(fit(&name, room)), faint(" → "), target].into_iter().chain(also));
    }
}

fn group(page: &mut Page, report: &Report) {
    if let Some(why) = &report.group_unknown {
        page.blank();
        page.wrapped(vec![plain("  ")], Ink::Yellow, &format!("what the other members of its group do is not known: {why}"));
    }
    if report.group.is_empty() {
        return;
    }
    page.blank();
    let mut rows = vec![["GROUP", "RELEASE", "ACTIVE", ""].map(faint).to_vec()];
    for member in &report.group {
        let name = if member.name == report.name { bold(&member.name) } else { plain(&member.name) };
        let release = plain(member.release.as_deref().unwrap_or("–"));
        rows.push(vec![name, release, plain(member.active.as_deref().unwrap_or("none")), plain(&member.says)]);
    }
    table(page, 2, rows);
}

fn named(report: &Report, revision: &str) -> Span {
    let color = report.color(revision);
    colored(color, if color.is_empty() { revision.to_owned() } else { format!("{color} {revision}") })
}

fn probes(page: &mut Page, report: &Report) {
    let shown = matches!(
        report.phase,
        Some(PhaseName::BringUp | PhaseName::Smoke | PhaseName::AwaitPromotion | PhaseName::Paused | PhaseName::Rejected | PhaseName::Blocked)
    );
    // Of what was given up only what failed still matters.
    let matters = |probe: &&ProbeStatus| report.phase != Some(PhaseName::Rejected) || probe.result == ProbeResult::Failed;
    let probes: Vec<&ProbeStatus> = report.probes.iter().filter(matters).collect();
    if !shown || probes.is_empty() {
        return;
    }
    page.blank();
    let mut rows = vec![["PROBE", "AT", "", "TRIES", ""].map(faint).to_vec()];
    for probe in probes.iter().take(PROBES) {
        let result = match probe.result {
            ProbeResult::Failed => ink(Ink::Red, "✗ failed"),
            ProbeResult::Running => ink(Ink::Bold, "▶ runs"),
            ProbeResult::Passed => ink(Ink::Green, "✓ passed"),
        };
        rows.push(vec![plain(&probe.name), plain(&probe.target), result, plain(probe.attempts.to_string())]);
    }
    table(page, 2, rows);
    // What went wrong stands on its own, as it is often long; the same for all pods is said once.
    let mut said: Vec<&str> = vec![];
    // With what was given up the answer stands at its step.
    let told = |probe: &&&ProbeStatus| !probe.message.is_empty() && probe.result == ProbeResult::Running;
    for probe in probes.iter().take(PROBES).filter(told) {
        if !said.contains(&probe.message.as_str()) {
            page.wrapped(vec![plain("    ")], Ink::Red, &format!("{} on {}: {}", probe.name, probe.target, probe.message));
            said.push(&probe.message);
        }
    }
    if probes.len() > PROBES {
        page.line([faint(format!("    and {} more", probes.len() - PROBES))]);
    }
}

/// Those of the latest release that has any.
fn hooks(page: &mut Page, report: &Report, now: Timestamp) {
    let Some(latest) = report.hooks.iter().map(|hook| hook.attempt).max() else { return };
    let shown: Vec<&HookStatus> = report.hooks.iter().filter(|hook| hook.attempt == latest && hook.result != HookResult::Retried).collect();
    if shown.is_empty() {
        return;
    }
    page.blank();
    let mut rows = vec![["HOOK", "AT", "", "", "JOB"].map(faint).to_vec()];
    for hook in &shown {
        let (result, since) = match hook.result {
            HookResult::Waiting => (faint("· waits"), None),
            HookResult::Running | HookResult::Retried => (ink(Ink::Bold, "▶ runs"), Some(hook.started_at)),
            HookResult::Skipped => (faint("– skipped"), hook.finished_at),
            HookResult::Succeeded => (ink(Ink::Green, "✓ succeeded"), hook.finished_at),
            HookResult::Failed => (ink(Ink::Red, "✗ failed"), hook.finished_at),
        };
        let since = since.map_or_else(String::new, |since| ago(since, now));
        rows.push(vec![plain(&hook.name), plain(hook.point.field()), result, plain(since), plain(&hook.job)]);
    }
    table(page, 2, rows);
    // Of one that rejected the revision the step tells.
    for hook in shown.iter().filter(|hook| !hook.message.is_empty() && !hook.point.gates()) {
        page.wrapped(vec![plain("    ")], Ink::Red, &format!("{} of {}: {}", hook.name, hook.point.field(), hook.message));
    }
}

fn draining(page: &mut Page, set: &DrainingStatus, now: Timestamp) {
    if set.reason == "KeptWarm" {
        let kept = format!("its {} pods have drained, and stay for a way back for {} more", set.pods, left(set.deadline, now));
        return page.wrapped(vec![plain("  "), colored(&set.color, &set.revision), plain(" is warm: ")], Ink::Plain, &kept);
    }
    let open = match set.open_connections {
        Some(1) => "1 connection is open".to_owned(),
        Some(open) => format!("{open} connections are open"),
        None => "how many connections are open is not known".to_owned(),
    };
    let open = match (&set.metric, &set.message) {
        (_, Some(why)) => format!("{open}, and the metric can't be read: {why}"),
        (Some(number), None) => format!("the metric comes to {number}, and {open}"),
        (None, None) => open,
    };
    let oldest = set.oldest_since.map_or_else(String::new, |since| format!(", the oldest for {}", ago(since, now)));
    // That connections are open, or the number too high, has just been said.
    let said = match set.reason.as_str() {
        "MetricTooHigh" => set.metric.is_some(),
        "MetricUnreadable" => set.message.is_some(),
        reason => reason == "OpenConnections",
    };
    let reason = if said { String::new() } else { format!(" ({})", set.reason) };
    let what = format!("{open}{oldest}; {} of {} pods have drained{reason}; ", set.drained_pods, set.pods);
    let limit = if set.deadline > now { format!("at most {} more", left(set.deadline, now)) } else { "the deadline is over".to_owned() };
    page.wrapped(vec![plain("  "), colored(&set.color, &set.revision), plain(" drains: ")], Ink::Plain, &format!("{what}{limit}"));
    let rows = set.holders.iter().map(|holder| {
        let number = if holder.connections == 1 { "1 connection".to_owned() } else { format!("{} connections", holder.connections) };
        vec![plain(number), plain(format!("to port {}", holder.port)), plain(format!("from {}", holder.pod.as_deref().unwrap_or(&holder.address)))]
    });
    table(page, 4, rows.collect());
}

#[cfg(test)]
#[path = "../tests/status.rs"]
mod tests;
