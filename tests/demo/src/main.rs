//! `demo`: a blue-green release on a real Kubernetes, told as it happens, under load and with long connections.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use cluster::Options;
use demo::failure::{Failure, Result};
use demo::install::{self, Images};
use demo::place::Place;
use demo::screen::Screen;
use demo::shop::{NAMESPACE, PREVIEW, SHOP, Shop, brief, demo_spec, manifest};
use demo::timeline::{Line, Timeline};
use demo::users::{Long, Purpose, Shares, Short};
use demo::watch::Watches;
use serde_json::json;
use tokio::time::{Instant, interval, sleep};

/// The longest that a release may take here.
const RELEASE_WITHIN: Duration = Duration::from_secs(180);
/// How long the echo goes on, at least, once users are connected.
const ECHO: Duration = Duration::from_secs(29);
/// How long the echo goes on after the switch, at least: on a slow machine too it must be seen to outlive it.
const ECHO_AFTER_SWITCH: Duration = Duration::from_secs(15);
/// The longer ones end one after the other, so that it can be seen who holds the old pods. Where a release is so slow that one
/// ends before the switch, its user begins another.
const LONG: [Purpose; 3] = [Purpose::Upload(25), Purpose::Stream(27), Purpose::Echo];

/// A blue-green release on a real Kubernetes, told as it happens. The cluster stays; the next run releases the next version.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    /// Where it happens
    #[arg(long, env = "CLUSTER", value_enum, default_value_t = On::Embedded)]
    cluster: On,
    /// The operator's image, where the cluster can pull it (CLUSTER=current only)
    #[arg(long, env = "IMAGE")]
    image: Option<String>,
    /// The sample app's image, where the cluster can pull it (CLUSTER=current only)
    #[arg(long, env = "APP_IMAGE")]
    app_image: Option<String>,
    /// Also write what is shown into this file, as plain text
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Write both images into this directory as docker archives, to be pushed to a registry, and end
    #[arg(long, value_name = "DIR")]
    save_images: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum On {
    /// Two nodes on this machine, without a container engine: needs Linux and root
    Embedded,
    /// A cluster made by kind with kind-config.yaml; this way was not tested
    Kind,
    /// The kubeconfig's current context, after a question; needs IMAGE and APP_IMAGE
    Current,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut screen = match Screen::new(cli.record.as_deref()) {
        Ok(screen) => screen,
        Err(error) => {
            eprintln!("demo: {error}");
            return ExitCode::FAILURE;
        }
    };
    match run(&cli, &mut screen).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            screen.bad(&format!("demo: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli, screen: &mut Screen) -> Result<bool> {
    if let Some(directory) = &cli.save_images {
        for path in Images::save(directory)? {
            screen.line(&path.display().to_string());
        }
        return Ok(true);
    }
    screen.line("A blue-green release on a real Kubernetes, seen by its users");
    let place = get_place(cli, screen)?;
    let client = place.client().await?;
    let version = client.apiserver_version().await?.git_version;
    screen.at(&match &place {
        Place::Embedded(cluster) => format!("cluster \"{}\" runs: two nodes, Kubernetes {version}", cluster.name()),
        Place::Kind { .. } => format!("the kind cluster runs Kubernetes {version}"),
        Place::Current { context } => format!("the cluster of context {context} runs Kubernetes {version}"),
    });
    screen.live("making the images of operator and sample app, and putting them on the nodes");
    let images = match (&place, &cli.image, &cli.app_image) {
        (Place::Current { .. }, Some(operator), Some(app)) => Images::named(operator, app)?,
        (Place::Current { .. }, ..) => {
            let how = "demo --save-images DIR writes both as archives; push them (skopeo copy docker-archive:FILE docker://NAME) and name them";
            return Err(Failure::Said(format!("CLUSTER=current needs IMAGE=... and APP_IMAGE=..., which the cluster can pull: {how}")));
        }
        _ => Images::made(&place)?,
    };
    screen.at("the images of operator and sample app are on the nodes");
    screen.live("installing the operator with its Helm chart");
    install::operator(&place, &client, &images, &[]).await?;
    screen.at("the operator is installed with its chart: a controller, and a drain agent on each node");
    let shop = Shop { client };
    let from = first_version(&place, &shop, &images, screen).await?;
    let outcome = release(&place, &shop, &images, from, screen).await?;
    let (look, remove) = place.afterwards();
    screen.heading("The cluster stays. Look at it:");
    look.iter().for_each(|line| screen.line(&format!("  {line}")));
    screen.line(&format!("Again, with v{}: make demo. To remove it:", from + 2));
    remove.iter().for_each(|line| screen.line(&format!("  {line}")));
    Ok(outcome)
}

fn get_place(cli: &Cli, screen: &mut Screen) -> Result<Place> {
    screen.heading("Getting ready");
    match cli.cluster {
        On::Embedded => {
            screen.live("starting a cluster of two nodes on this machine");
            Place::embedded(&Options { name: "demo".into(), nodes: 2, audit: false }, screen)
        }
        On::Kind => {
            screen.line("(this way was not tested; the embedded cluster was)");
            screen.live("kind makes a cluster of two nodes");
            Place::kind()
        }
        On::Current => Place::current(&mut std::io::stdin().lock(), &mut std::io::stdout()),
    }
}

/// Makes sure that some version serves, and returns its number.
async fn first_version(place: &Place, shop: &Shop, images: &Images, screen: &mut Screen) -> Result<u32> {
    install::namespace(&shop.client, NAMESPACE, json!({})).await?;
    if place.needs_users_pod() {
        shop.users_pod(place, &images.app).await?;
    }
    for service in [SHOP, PREVIEW] {
        shop.service(service).await?;
    }
    let within = Duration::from_secs(120);
    if let Some(number) = shop.version().await? {
        screen.live("waiting for an earlier release to be complete");
        shop.complete(within).await?;
        screen.at(&format!("the sample app \"shop\" serves v{number}, as the last run left it"));
        return Ok(number);
    }
    screen.live("the sample app starts");
    shop.apply::<bluegreen::api::BlueGreenDeployment>(SHOP, &manifest(&images.app, "v1", &demo_spec("v1"))).await?;
    shop.complete(within).await?;
    screen.at("the sample app \"shop\" serves v1: three pods, smoke-tested, then given the Service");
    Ok(1)
}

async fn release(place: &Place, shop: &Shop, images: &Images, number: u32, screen: &mut Screen) -> Result<bool> {
    let (from, to) = (format!("v{number}"), format!("v{}", number + 1));
    let (http, echo) = (shop.address(80).await?, shop.address(9000).await?);
    Long::reachable(place, &http, &echo).await?;
    screen.heading(&format!("Users connect, {}, to the Service's address {http}", place.users_are()));
    let mut short = Short::begin(place, &http, 50)?;
    screen.at("50 new connections a second; 8 are kept for 5 s each, with ten requests a second");
    let mut long = Long::begin(place, &http, &echo, &LONG)?;
    for one in &long {
        let who = one.pod().map_or_else(|| format!("to {from}, which answers at its end"), |pod| format!("answered by {from}, pod {pod}"));
        screen.at(&format!("{}, {who}", one.purpose.about()));
    }
    let echo_until = Instant::now() + ECHO;

    let mut watches = Watches::begin(shop);
    let mut timeline = Timeline::new(&from, &to);
    screen.heading(&format!("The release of {to}, from the change of spec.template on"));
    screen.restart();
    shop.apply::<bluegreen::api::BlueGreenDeployment>(SHOP, &manifest(&images.app, &to, &demo_spec(&to))).await?;
    let mut shares = Shares::default();
    let mut before = vec![];
    let mut looks = interval(Duration::from_millis(100));
    let deadline = Instant::now() + RELEASE_WITHIN;
    let mut switched = None;
    while !timeline.is_over() || long.iter().any(|one| one.ended.is_none()) {
        tokio::select! {
            biased;
            Some(seen) = watches.seen.recv() => {
                for line in timeline.see(&seen) {
                    match line {
                        Line::Plain(text) => screen.at(&text),
                        Line::Important(text) => screen.important(&text),
                    }
                }
                if timeline.switched_ms().is_some() && switched.is_none() {
                    switched = Some(Instant::now());
                    screen.at(&format!("still connected to {from}: {}", names(&long)));
                }
            }
            _ = looks.tick() => {
                for tick in short.ticks() {
                    match shares.of(&tick) {
                        (text, true) => screen.at(&text),
                        (text, false) => screen.live(&text),
                    }
                }
                let echo_over = Instant::now() >= echo_until && switched.is_some_and(|at| at.elapsed() >= ECHO_AFTER_SWITCH);
                let mut ended = vec![];
                for one in &mut long {
                    let over = if one.purpose == Purpose::Echo && echo_over { one.stop()? } else { one.look()? };
                    if over {
                        ended.push(told(one, &from, timeline.switched_ms()));
                        if timeline.switched_ms().is_none() && one.was_whole() == Some(true) {
                            for again in Long::begin(place, &http, &echo, &[one.purpose])? {
                                before.push(std::mem::replace(one, again));
                            }
                        }
                    }
                }
                for text in ended {
                    screen.at(&format!("{text}; still there: {}", names(&long)));
                }
            }
        }
        if Instant::now() >= deadline {
            let seen = brief(&shop.api().get(SHOP).await?);
            return Err(Failure::Late {
                what: format!("the end of the release; see kubectl -n {NAMESPACE} describe bgd {SHOP}"),
                within: RELEASE_WITHIN,
                seen,
            });
        }
    }
    // The last second of users after the last old pod is part of the proof.
    sleep(Duration::from_secs(1)).await;
    let short = short.stop()?;
    screen.heading("Result");
    Ok(demo::users::result(&short, &before, &long, &timeline, &from, screen))
}

/// The long connections that go on.
fn names(long: &[Long]) -> String {
    let names: Vec<&str> = long.iter().filter(|one| one.ended.is_none()).map(|one| one.purpose.name()).collect();
    if names.is_empty() { "nobody".into() } else { names.join(", ") }
}

fn told(one: &Long, from: &str, switched_ms: Option<u64>) -> String {
    let name = one.purpose.name();
    let after = switched_ms.map_or_else(
        || "before the switch".to_owned(),
        |at| format!("{:.1} s after the switch", Duration::from_millis(one.ended_ms().saturating_sub(at)).as_secs_f64()),
    );
    format!("{name} to {from} ended {after}, {}", one.story())
}
