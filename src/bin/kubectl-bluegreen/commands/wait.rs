//! `wait`, and the waiting of other commands.

use std::time::Duration;

use bluegreen::api::PhaseName;
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::aim::{Aim, Progress, progress};
use crate::answer::{Outcome, Waited};
use crate::args::Goal;
use crate::cluster::{Cluster, read};
use crate::failure::{Failure, Result};
use crate::follow::{Follow, Seen};
use crate::report::{Report, Selections, State};
use crate::terminal::Terminal;
use crate::text::{Ink, Page, faint, short};

/// For how long something must be wrong before it counts: Services are often made a moment after the object that names them.
const GRACE: Duration = Duration::from_secs(3);

/// Waits for a release.
pub async fn run(cluster: &Cluster, terminal: Terminal, name: &str, goal: Goal, timeout: Duration) -> Result {
    let outcome = until(cluster, terminal, name, &Aim::Is(goal), None, timeout).await?;
    terminal.answer(&Waited { name: name.into(), namespace: cluster.namespace.clone(), goal, outcome })
}

/// Waits until something is so, and tells of the way there.
pub async fn until(cluster: &Cluster, terminal: Terminal, name: &str, aim: &Aim, key: Option<&str>, timeout: Duration) -> Result<Outcome> {
    let begun = Timestamp::now();
    let deadline = Instant::now() + timeout;
    let mut object = cluster.object(name).await?;
    let mut follow = Follow::new(cluster, name);
    let mut said = String::new();
    let mut blocked: Option<Instant> = None;
    loop {
        let until = match progress(aim, key, &object) {
            Progress::There(what) => {
                terminal.say(&format!("{name}: {what}."))?;
                return Ok(Outcome::of(&object, what));
            }
            Progress::Never(why) => return Err(Failure::Stuck(format!("{name}: {why}"))),
            Progress::Blocked(why) => {
                let since = *blocked.get_or_insert_with(Instant::now);
                if since.elapsed() >= GRACE {
                    return Err(Failure::Stuck(format!("{name}: {why}")));
                }
                deadline.min(since + GRACE)
            }
            Progress::NotYet => {
                blocked = None;
                deadline
            }
        };
        let line = line(&Report::of(&object, &[], &Selections::new()));
        // Whoever has just said the word need not be told how.
        let known = key.is_some() && object.status.as_ref().is_some_and(|status| status.phase == Some(PhaseName::AwaitPromotion));
        if line != said && !known {
            let elapsed = short(Timestamp::now().as_second() - begun.as_second());
            let mut page = Page::new(terminal.columns());
            page.wrapped(vec![faint(format!("{elapsed:>6}  "))], Ink::Plain, &line);
            terminal.print(&page)?;
            said = line;
        }
        match timeout_at(until, follow.next()).await {
            Ok(seen) => match seen? {
                Seen::Object(new) => object = read(new)?,
                Seen::Gone => return Err(Failure::Stuck(format!("BlueGreenDeployment {name} was deleted"))),
            },
            Err(_) if Instant::now() >= deadline => {
                return Err(Failure::Late(format!(
                    "{name}: not within {}; last seen: {said}",
                    short(i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX))
                )));
            }
            Err(_) => {}
        }
    }
}

/// Where the release stands, in a line.
fn line(report: &Report) -> String {
    let here = report.steps.iter().find(|step| matches!(step.state, State::Now | State::Waits | State::Stalled | State::Failed));
    match here.or(report.steps.iter().rfind(|step| step.state == State::Done)) {
        Some(step) => step.note.as_ref().map_or_else(|| step.name.to_owned(), |note| format!("{}: {note}", step.name)),
        None => "the operator has not looked at the latest change yet".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{object, released, status};

    #[test]
    fn the_way_is_told_in_a_line() {
        let line = |object| line(&Report::of(&object, &[], &Selections::new()));
        assert_eq!(line(object("{}")), "the operator has not looked at the latest change yet");
        assert_eq!(
            line(status(r#"{"phase": "Smoke", "revision": "new"}"#, &[("Reconciling", "Smoke", "1 of 2 pods passed")])),
            "smoke: 1 of 2 pods passed"
        );
        assert_eq!(line(released()), "done: revision new serves everyone");
    }
}
