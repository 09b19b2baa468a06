//! Whether uploads, streams and echoes that began before a switch survive the release.

use std::time::Duration;

use bluegreen::api::BlueGreenDeployment;
use demo::failure::{Failure, Result};
use demo::install::Images;
use demo::place::Place;
use demo::shop::{SHOP, Shop, brief, manifest};
use demo::timeline::Timeline;
use demo::users::{Long, Purpose};
use demo::watch::Watches;
use tokio::time::{Instant, interval};

use super::release::spec;

/// How many of each.
const EACH: usize = 6;
/// How long each lasts: longer than the fixed delays that other operators wait.
const SECONDS: u64 = 60;
/// How long the release may take.
const WITHIN: Duration = Duration::from_secs(180);

/// Releases the next version while they are connected. Returns how many outlived the switch whole, of how many; of the others
/// what became of them is printed.
///
/// # Errors
/// If they don't come about, or the release does not end in time.
pub async fn measure(place: &Place, shop: &Shop, images: &Images, version: u32) -> Result<(u32, u32)> {
    let (http, echo) = (shop.address(80).await?, shop.address(9000).await?);
    let purposes: Vec<Purpose> = [Purpose::Upload(SECONDS), Purpose::Stream(SECONDS), Purpose::Echo].repeat(EACH);
    let mut long = Long::begin(place, &http, &echo, &purposes)?;
    let begun = Instant::now();
    let (from, to) = (format!("v{version}"), format!("v{}", version + 1));
    let mut watches = Watches::begin(shop);
    let mut timeline = Timeline::new(&from, &to);
    shop.apply::<BlueGreenDeployment>(SHOP, &manifest(&images.app, &to, &spec())).await?;
    let mut looks = interval(Duration::from_millis(100));
    while !timeline.is_over() || long.iter().any(|one| one.ended.is_none()) {
        tokio::select! {
            biased;
            Some(seen) = watches.seen.recv() => {
                timeline.see(&seen);
            }
            _ = looks.tick() => {
                let echoes_over = begun.elapsed() >= Duration::from_secs(SECONDS);
                for one in &mut long {
                    if one.purpose == Purpose::Echo && echoes_over { one.stop()? } else { one.look()? };
                }
            }
        }
        if begun.elapsed() >= WITHIN {
            let seen = brief(&shop.api().get(SHOP).await?);
            return Err(Failure::Late { what: format!("the end of the release of {to}"), within: WITHIN, seen });
        }
    }
    let (mut whole, mut all) = (0, 0);
    for one in &long {
        all += 1;
        match one.outlived(&from, timeline.switched_ms()) {
            Ok(_) => whole += 1,
            Err(reason) => eprintln!("{} of the survival release: {reason}", one.purpose.name()),
        }
    }
    Ok((whole, all))
}
