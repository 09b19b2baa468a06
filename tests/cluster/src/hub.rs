//! The hub: one process a cluster that stays outside the nodes. Its network namespace holds the bridge between them,
//! and it forwards a loopback port of the host to the API server inside node 1.
//!
//! The listening socket belongs to the host's network namespace because `up` made it there and handed it over; each
//! connection to the API server is made by a thread that has moved into node 1's namespace for that purpose, and
//! stays usable from anywhere once it is made.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::setsid;

use crate::error::{Doing, Error, Result};
use crate::helper;
use crate::layout::{API_PORT, Layout};
use crate::network;
use crate::process::{Process, wait_for};

/// Starts the hub of a cluster, which takes over `listener`, and waits until its bridge is there.
pub(crate) fn start(layout: &Layout, listener: TcpListener) -> Result<()> {
    let mut command = helper::command(helper::HUB, layout, &layout.hub_log())?;
    let mut child = command.stdin(std::os::fd::OwnedFd::from(listener)).spawn().doing(|| "starting the hub".into())?;
    let within = std::time::Duration::from_secs(10);
    let up = wait_for(within, std::time::Duration::from_millis(5), || {
        let ended = child.try_wait().doing(|| "waiting for the hub".into())?.is_some();
        Ok((ended || running(layout).is_some()).then_some(!ended))
    })?;
    match up {
        Some(true) => Ok(()),
        _ => Err(Error::Start { what: "the hub".into(), message: std::fs::read_to_string(layout.hub_log()).unwrap_or_default().trim().into() }),
    }
}

/// The hub's process, if it lives.
pub(crate) fn running(layout: &Layout) -> Option<Process> {
    Process::recorded(&layout.hub())
}

/// The hub's own life; returns only with an error.
///
/// # Errors
/// When the namespace or the bridge can't be made, or the listener it was started with fails.
pub fn run(state: &Path) -> Result<()> {
    let layout = Layout::of_dir(state)?;
    // Fails only for a process group's leader, which a freshly started program is not unless it is one already.
    let _ = setsid();
    let listener = io::stdin().as_fd().try_clone_to_owned().doing(|| "taking over the listener".into())?;
    let listener = TcpListener::from(listener);
    unshare(CloneFlags::CLONE_NEWNET).doing(|| "making the hub's network namespace".into())?;
    network::ip(network::BRIDGE)?;
    if let Some(me) = Process::of(i32::try_from(std::process::id()).unwrap_or_default()) {
        me.record(&layout.hub())?;
    }
    loop {
        let (client, _) = listener.accept().doing(|| "accepting a connection".into())?;
        let layout = layout.clone();
        std::thread::spawn(move || {
            // A connection that can't be made or breaks ends; the client sees that. Nobody else needs to know.
            let _ = dial(&layout).and_then(|server| join(client, server).doing(|| "forwarding".into()));
        });
    }
}

/// Connects to the API server; moves the calling thread into node 1's namespace.
fn dial(layout: &Layout) -> Result<TcpStream> {
    let init = Process::recorded(&layout.init(1)).ok_or_else(|| Error::Node { node: 1, message: "is not running".into() })?;
    network::enter(init)?;
    TcpStream::connect((Ipv4Addr::LOCALHOST, API_PORT)).doing(|| "connecting to the API server".into())
}

/// Copies both ways until both are done. What the server ends is ended for the client at once; a client may still
/// read after it has said all it has to say.
fn join(client: TcpStream, server: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let end = match io::copy(&mut from_client, &mut to_server) {
            Ok(_) => Shutdown::Write,
            Err(_) => Shutdown::Both,
        };
        // Either end may be closed already.
        let _ = to_server.shutdown(end);
    });
    let (mut from_server, mut to_client) = (server, client);
    let copied = io::copy(&mut from_server, &mut to_client);
    let _ = to_client.shutdown(Shutdown::Both);
    let _ = from_server.shutdown(Shutdown::Both);
    copied.map(|_| ())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use std::io::{Read, Write};

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn a_half_closed_client_still_reads_the_answer() {
        let (mut client, hub_client) = pair();
        let (hub_server, mut server) = pair();
        let hub = std::thread::spawn(move || join(hub_client, hub_server));
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).unwrap();
        server.write_all(b"answer").unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
        hub.join().unwrap().unwrap();
    }

    #[test]
    fn a_server_that_goes_ends_the_client_at_once() {
        let (mut client, hub_client) = pair();
        let (hub_server, server) = pair();
        let hub = std::thread::spawn(move || join(hub_client, hub_server));
        drop(server);
        client.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        let _ = hub.join().unwrap();
    }
}
