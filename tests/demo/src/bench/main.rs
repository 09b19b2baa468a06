//! `bench`: the figures of docs/benchmarks.md, measured on an embedded cluster of its own.

mod audit;
mod process;
mod release;
mod survival;
mod takeover;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bluegreen::api::BlueGreenDeployment;
use clap::Parser;
use cluster::progress::Quiet;
use cluster::{Options, tools_dir};
use demo::failure::{Failure, Result, io};
use demo::figures::{Figure, Row, markdown};
use demo::install::{self, Images};
use demo::place::Place;
use demo::programs::{beside, source};
use demo::shop::{NAMESPACE, SHOP, Shop, manifest};
use demo::users::Long;
use serde_json::json;
use tokio::task::block_in_place;
use tokio::time::sleep;

use release::Measured;

/// Name of the cluster.
const NAME: &str = "bench";
/// Releases that are measured at least: whether the tenth costs more than the first is a question of its own.
const RELEASES: u32 = 10;
/// How long the idle operator is looked at, each time.
const IDLE: Duration = Duration::from_secs(5);

/// Measures the operator on a cluster of its own and writes docs/benchmarks.md.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    /// Runs of each measurement; releases are at least ten
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    runs: u32,
    /// Where to write
    #[arg(long, value_name = "FILE", default_value_os_t = source("docs/benchmarks.md"))]
    out: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { runs, out } = Cli::parse();
    let outcome = all(runs).await;
    let down = block_in_place(|| cluster::down(NAME));
    let written = outcome.and_then(|text| {
        print!("{text}");
        std::fs::write(&out, text).map_err(io(format!("writing {}", out.display())))
    });
    match written.and(down.map_err(Failure::from)) {
        Ok(()) => {
            eprintln!("written to {}", out.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn all(runs: u32) -> Result<String> {
    let load = std::fs::read_to_string("/proc/loadavg").map_err(io("reading the load average"))?;
    let (place, log, up) = block_in_place(|| clusters(runs))?;
    let client = place.client().await?;
    let images = Images::made(&place)?;
    install::operator(&place, &client, &images, &[]).await?;
    let shop = Shop { client };
    install::namespace(&shop.client, NAMESPACE, json!({})).await?;
    shop.service(SHOP).await?;
    shop.apply::<BlueGreenDeployment>(SHOP, &manifest(&images.app, "v1", &release::spec())).await?;
    shop.complete(Duration::from_secs(120)).await?;
    Long::reachable(&place, &shop.address(80).await?, &shop.address(9000).await?).await?;

    let mut releases = vec![];
    for number in 1..=runs.max(RELEASES) {
        let measured = release::measure(&place, &shop, &images, &log, number).await?;
        let requests: u32 = measured.requests.values().sum();
        eprintln!("release {number}: switch {:.1} ms, scale-down {:.0} ms, {requests} requests", measured.switch_ms, measured.scale_down_ms);
        releases.push(measured);
    }
    let survived = survival::measure(&place, &shop, &images, runs.max(RELEASES) + 1).await?;
    eprintln!("long connections: {} of {} whole", survived.0, survived.1);
    let idle = idle(&shop, runs).await?;
    eprintln!("idle: looked at");

    install::operator(&place, &shop.client, &images, &["replicas=2"]).await?;
    let (mut told, mut deleted) = (Figure::default(), Figure::default());
    for _ in 0..runs {
        let takeover = takeover::measure(&place, &shop.client).await?;
        eprintln!("takeover: {} ms after SIGTERM, {} ms after DELETE", takeover.told.as_millis(), takeover.deleted.as_millis());
        told.add_ms(takeover.told);
        deleted.add_ms(takeover.deleted);
    }
    report(&releases, survived, idle, (told, deleted), up, load.split(' ').next().unwrap_or_default())
}

/// Starts the cluster as often as asked, and leaves it running the last time.
fn clusters(runs: u32) -> Result<(Place, PathBuf, Figure)> {
    let options = Options { name: NAME.into(), nodes: 2, audit: true };
    // Builds what is missing, so that what follows is warm.
    tools_dir(&mut Quiet)?;
    let mut up = Figure::default();
    loop {
        cluster::down(NAME)?;
        let begun = Instant::now();
        let (cluster, _) = cluster::Cluster::up(&options, &mut Quiet)?;
        let took = begun.elapsed();
        eprintln!("cluster up: {:.1} s", took.as_secs_f64());
        up.add(took.as_secs_f64());
        if up.runs() >= usize::try_from(runs).unwrap_or(usize::MAX) {
            let log = cluster.audit_log().ok_or_else(|| Failure::Said("the cluster has no audit log".into()))?;
            return Ok((Place::Embedded(cluster), log, up));
        }
    }
}

/// Memory and CPU of the idle operator.
struct Idle {
    controller_memory: Figure,
    agent_memory: Figure,
    controller_cpu: Figure,
    agent_cpu: Figure,
}

async fn idle(shop: &Shop, runs: u32) -> Result<Idle> {
    let mut idle = Idle {
        controller_memory: Figure::default(),
        agent_memory: Figure::default(),
        controller_cpu: Figure::default(),
        agent_cpu: Figure::default(),
    };
    for _ in 0..runs {
        let both = async || -> Result<_> { Ok((process::usage(&shop.client, "controller").await?, process::usage(&shop.client, "agent").await?)) };
        let (controller, agent) = both().await?;
        sleep(IDLE).await;
        let (controller_later, agent_later) = both().await?;
        // Thousandths of a core, as Kubernetes counts.
        let share = |later: Duration, before: Duration| later.saturating_sub(before).as_secs_f64() / IDLE.as_secs_f64() * 1000.0;
        idle.controller_memory.add(controller_later.memory);
        idle.agent_memory.add(agent_later.memory);
        idle.controller_cpu.add(share(controller_later.cpu, controller.cpu));
        idle.agent_cpu.add(share(agent_later.cpu, agent.cpu));
    }
    Ok(idle)
}

fn figure(releases: &[Measured], value: impl Fn(&Measured) -> f64) -> Figure {
    let mut figure = Figure::default();
    releases.iter().for_each(|measured| figure.add(value(measured)));
    figure
}

fn report(releases: &[Measured], (whole, all): (u32, u32), idle: Idle, (told, deleted): (Figure, Figure), up: Figure, load: &str) -> Result<String> {
    let Idle { controller_memory, agent_memory, controller_cpu, agent_cpu } = idle;
    let requests = |measured: &Measured| f64::from(measured.requests.values().sum::<u32>());
    let size = std::fs::metadata(beside("bluegreen")?).map_err(io("reading the size of the program"))?.len();
    let (mut binary, mut cut) = (Figure::default(), Figure::default());
    binary.add(f64::from(u32::try_from(size / 1000).unwrap_or(u32::MAX)) / 1000.0);
    cut.add(f64::from(all - whole));
    let row = |what: &str, unit, figure, aim, how: &str| Row { what: what.into(), unit, figure, aim, how: how.into() };
    let rows = [
        row(
            "last new pod ready → Service patched",
            "ms",
            figure(releases, |one| one.switch_ms),
            Some(20.0),
            "three pods, no smoke probes; both times from the API server's audit log: the kubelet's status patch that told of the last pod, answered, \
             until the controller's Service patch, answered. That one write also records the move.",
        ),
        row(
            "last old connection closed → ReplicaSet scaled to 0",
            "ms",
            figure(releases, |one| one.scale_down_ms),
            Some(3000.0),
            "an echo held open across the switch ends 3 s after convergence; until a watch shows the ReplicaSet at 0. Two samples 1 s apart must show \
             no connection, so it can't be much under 1 s.",
        ),
        row(
            &format!("long connections cut by a release ({whole} of {all} were whole)"),
            "connections",
            cut,
            Some(0.0),
            "six uploads, six streamed answers and six echoes of 60 s each, begun right before the change of the template. Whole: it began on the old \
             version, was under way at the switch, and ended after it with every byte confirmed, every line in its order.",
        ),
        row(
            "API requests of the controller in a release",
            "requests",
            figure(releases, requests),
            Some(30.0),
            "audit log, from the change of the template to 2 s after the release is complete; the controller's user, without watches, Leases and Events; \
             with one connection that holds the old pods for some seconds. Below: by verb, first and last release.",
        ),
        row(
            "SIGTERM of the leader → another pod leads",
            "ms",
            told,
            Some(1000.0),
            "two replicas; from the line of the leader's log that says that it stops, until a watch shows another holder of the Lease.",
        ),
        row(
            "DELETE of the leader's pod → another pod leads",
            "ms",
            deleted,
            None,
            "the same, from the answered DELETE: with the time until the kubelet sends SIGTERM, which it takes when other pods are just starting.",
        ),
        row("memory of the controller", "MiB", controller_memory, None, "resident set after all releases above, idle."),
        row("memory of an agent", "MiB", agent_memory, None, "the larger of two, in the same way."),
        row("CPU of the idle controller", "thousandths of a core", controller_cpu, None, "user and system time over 5 s, in steps of 2."),
        row("CPU of both idle agents", "thousandths of a core", agent_cpu, None, "the same."),
        row(
            "CPU time of the controller in a release",
            "ms",
            figure(releases, |one| one.controller_cpu.as_secs_f64() * 1000.0),
            None,
            "user and system time, in steps of 10 ms.",
        ),
        row("CPU time of both agents in a release", "ms", figure(releases, |one| one.agent_cpu.as_secs_f64() * 1000.0), None, "the same."),
        row("size of the program", "MB", binary, Some(16.0), "one static file, controller and agent in one; the image holds nothing else."),
        row("warm `cluster up`, two nodes", "s", up, Some(10.0), "from nothing to all nodes Ready and DNS answering, everything built before."),
    ];
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").map_err(io("reading the kernel's release"))?;
    // What follows the version is the build's own name.
    let kernel = release.trim().split('-').next().unwrap_or_default();
    let cores = std::thread::available_parallelism().map_err(io("counting cores"))?;
    let mut text = format!(
        "# Benchmarks\n\nMeasured with `make bench` on an embedded cluster of two nodes on one machine: {cores} cores, Linux {kernel}. Everything shares these cores: \
         API server, etcd, kubelets, pods, users and the bench itself. The load average when it began was {load}; much more than 0 means that other work \
         was in the way, and that all times are too long.\n\n"
    );
    text += &markdown(&rows);
    text += "\n## API requests, one by one\n\n| request | first release | last release |\n|---|---:|---:|\n";
    if let (Some(first), Some(last)) = (releases.first(), releases.last()) {
        let names: std::collections::BTreeSet<&String> = first.requests.keys().chain(last.requests.keys()).collect();
        for name in names {
            let count = |measured: &Measured| measured.requests.get(name).copied().unwrap_or_default();
            text += &format!("| {name} | {} | {} |\n", count(first), count(last));
        }
        text += &format!("| all | {:.0} | {:.0} |\n", requests(first), requests(last));
    }
    Ok(text)
}
