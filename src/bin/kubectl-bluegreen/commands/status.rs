//! `status`: where a release stands, once or all the time.

use std::collections::BTreeMap;
use std::time::Duration;

use bluegreen::api::{BlueGreenDeployment, keys};
use bluegreen::controller::api::Resource;
use bluegreen::controller::trim;
use bluegreen::release::Set;
use futures::future::join_all;
use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::{Cluster, read};
use crate::failure::Result;
use crate::follow::{Follow, Seen};
use crate::history;
use crate::report::{Report, Selections};
use crate::terminal::{Live, Terminal};
use crate::text;

/// How often deadlines are counted down.
const TICK: Duration = Duration::from_secs(1);

/// Prints it once.
pub async fn once(cluster: &Cluster, terminal: Terminal, name: &str) -> Result {
    let (object, all) = tokio::join!(cluster.object(name), replica_sets(cluster, name));
    let report = report(cluster, &object?, &all?).await?;
    if terminal.output.is_some() {
        return terminal.answer(&report);
    }
    terminal.print(&text::status::page(&report, Timestamp::now(), terminal.columns()))
}

/// Shows it until it is interrupted, or the object is deleted.
pub async fn watch(cluster: &Cluster, terminal: Terminal, name: &str) -> Result {
    let object = cluster.object(name).await?;
    let mut follow = Follow::new(cluster, name);
    let mut report = report(cluster, &object, &replica_sets(cluster, name).await?).await?;
    let mut live = Live::default();
    show(terminal, &mut live, &report)?;
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            seen = follow.next() => match seen? {
                Seen::Gone => return terminal.say(&format!("BlueGreenDeployment {name} was deleted.")),
                Seen::Object(object) => {
                    let object = read(object)?;
                    let new = self::report(cluster, &object, &replica_sets(cluster, name).await?).await?;
                    if new != report {
                        report = new;
                        show(terminal, &mut live, &report)?;
                    }
                }
            },
            // Where nobody looks only changes are printed.
            _ = tick.tick(), if terminal.live => show(terminal, &mut live, &report)?,
        }
    }
}

fn show(terminal: Terminal, live: &mut Live, report: &Report) -> Result {
    let (columns, rows) = terminal.size();
    let mut page = text::status::page(report, Timestamp::now(), columns);
    if terminal.live {
        return terminal.write(&live.draw(&mut page, rows, terminal.colour));
    }
    page.blank();
    terminal.print(&page)
}

/// The ReplicaSets that bear an object's name.
///
/// # Errors
/// If they can't be listed.
pub async fn replica_sets(cluster: &Cluster, name: &str) -> Result<Vec<Value>> {
    cluster.list(Resource::ReplicaSet, Some(&cluster.namespace), Some(&format!("{}={name}", keys::NAME))).await
}

async fn report(cluster: &Cluster, object: &BlueGreenDeployment, all: &[Value]) -> Result<Report> {
    let sets: Vec<Set> = history::sets(object, all);
    let traffic = &object.spec.traffic;
    let selections = traffic.services.iter().chain(&traffic.preview_services).map(|service| selection(cluster, service));
    let selections: Result<Vec<_>> = join_all(selections).await.into_iter().collect();
    let selections: Selections = selections?.into_iter().flatten().collect();
    let report = Report::of(object, &sets, &selections);
    if object.spec.promotion.group.is_none() {
        return Ok(report);
    }
    let all = cluster.list(Resource::BlueGreenDeployment, Some(&cluster.namespace), None).await;
    // One that can't be read is told of where it is asked about.
    Ok(report.grouped(object, all.map(|all| all.into_iter().filter_map(|found| read(found).ok()).collect())))
}

/// The selector of a Service; `None` where it does not exist.
async fn selection(cluster: &Cluster, service: &str) -> Result<Option<(String, BTreeMap<String, String>)>> {
    let found = cluster.get(Resource::Service, service).await?;
    Ok(found.map(|found| (service.to_owned(), trim::strings(&found, "/spec/selector"))))
}
