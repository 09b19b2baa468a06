//! `kubectl bluegreen` on a terminal of 80 columns, as a person sees it.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::Arc;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::task::block_in_place;

use super::plugin::plugin;
use crate::claim;
use crate::failure::{Failure, Result, io};
use crate::manifest::shop;
use crate::stage::Stage;

const ROWS: u16 = 24;
const COLUMNS: u16 = 80;
/// More than any picture here.
const MOST: usize = 1 << 20;

/// What the plugin shows, until it ends or has shown enough; then it gets what Ctrl-C sends. The signal by which it ended comes with that.
fn shown(stage: &Stage, words: &[&str], enough: impl Fn(&str) -> bool) -> Result<(String, Option<i32>)> {
    let failed = |error: nix::Error| Failure::Claim(format!("a terminal: {error}"));
    let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(Some(&size), None).map_err(failed)?;
    let side = |fd: &OwnedFd| fd.try_clone().map(Stdio::from).map_err(io("the terminal"));
    let mut command = plugin(stage, words)?;
    command.env("TERM", "xterm").stdin(side(&terminal.slave)?).stdout(side(&terminal.slave)?).stderr(side(&terminal.slave)?);
    let mut child = command.spawn().map_err(io("starting the plugin"))?;
    // Held here, too, the other side would never see that the last one has closed it.
    drop(command);
    drop(terminal.slave);
    let (mut master, mut seen, mut asked) = (File::from(terminal.master), vec![], false);
    let mut part = [0; 4096];
    // It answers with an error when the program is gone.
    while let Ok(length @ 1..) = block_in_place(|| master.read(&mut part)) {
        seen.extend(part.iter().take(length));
        if !asked && (enough(&String::from_utf8_lossy(&seen)) || seen.len() > MOST) {
            asked = true;
            kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).map_err(failed)?;
        }
    }
    let ended = block_in_place(|| child.wait()).map_err(io("waiting for the plugin"))?;
    Ok((String::from_utf8_lossy(&seen).into_owned(), ended.signal()))
}

/// A text as it is seen, without colours and movements.
fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    let after = |part: &str| part.split_once(|letter: char| letter.is_ascii_alphabetic()).map(|(_, rest)| rest.to_owned()).unwrap_or_default();
    parts.fold(first, |whole, part| whole + &after(part))
}

fn fits(what: &str, picture: &str) -> Result {
    let picture = plain(picture);
    let lines: Vec<&str> = picture.lines().map(|line| line.trim_end_matches('\r')).collect();
    claim!(lines.len() < usize::from(ROWS), "{what} is too high: {picture}");
    let wide = lines.iter().find(|line| line.chars().count() > usize::from(COLUMNS));
    claim!(wide.is_none(), "{what} is too wide: {wide:?}");
    Ok(())
}

/// Colours and 80 columns, no colours where they are not wanted, and a picture that is drawn over itself until Ctrl-C.
pub async fn plugin_on_a_terminal(stage: Arc<Stage>) -> Result {
    let first = stage.installed(&shop("v1")).await?;
    let never = |_: &str| false;
    let (picture, ended) = shown(&stage, &["status", "shop"], never)?;
    claim!(ended.is_none() && picture.contains("\x1b[32m") && plain(&picture).contains(&first), "status shows {picture:?}");
    fits("status", &picture)?;
    let (picture, _) = shown(&stage, &["status", "shop", "--no-color"], never)?;
    claim!(!picture.contains('\x1b') && picture.contains(&first), "status --no-color shows {picture:?}");
    // What takes a picture back: up by its lines, and nothing below.
    let again = "A\r\x1b[J";
    let watch = shown(&stage, &["status", "shop", "--watch"], |seen| seen.matches(again).count() >= 3)?;
    let (pictures, ended) = watch;
    claim!(ended == Some(Signal::SIGINT as i32), "the watch ended by {ended:?}: {pictures:?}");
    for picture in pictures.split(again) {
        fits("a picture of the watch", picture)?;
    }
    let drawn = pictures.split(again).filter(|picture| plain(picture).contains(&first)).count();
    claim!(drawn >= 3, "{drawn} of these show the revision: {pictures:?}");
    let (none, _) = shown(&stage, &["list"], never)?;
    fits("list", &none)
}
