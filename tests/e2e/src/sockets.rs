//! What the kernel says of an app's sockets, as a second opinion beside the drain agent's.

use crate::failure::{Failure, Result, io};

/// FIN_WAIT1 in the tables of /proc/net (`include/net/tcp_states.h`).
const FIN_WAIT1: &str = "04";

/// Bytes that the app in a pod has still to send on connections to one of its ports that it has closed already.
///
/// # Errors
/// When the app's process can't be found or its sockets can't be read.
pub fn unsent_after_close(pod: &str, port: u16) -> Result<u64> {
    let process = process_of(pod)?;
    let mut unsent = 0;
    for table in ["tcp", "tcp6"] {
        let path = format!("/proc/{process}/net/{table}");
        let text = std::fs::read_to_string(&path).map_err(io(format!("reading {path}")))?;
        unsent += text.lines().filter_map(|line| queued(line, port)).sum::<u64>();
    }
    Ok(unsent)
}

/// The app's process: that with the pod's name as its host name, as the kubelet sets it.
///
/// # Errors
/// When there is none.
pub fn process_of(pod: &str) -> Result<String> {
    let host = format!("HOSTNAME={pod}");
    for entry in std::fs::read_dir("/proc").map_err(io("listing processes"))?.filter_map(std::result::Result::ok) {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if command.starts_with(b"/app") && environment.split(|byte| *byte == 0).any(|variable| variable == host.as_bytes()) {
            return Ok(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Err(Failure::Claim(format!("no process of pod {pod} was found")))
}

/// The length of the send queue, if the line is about a closed connection of the port.
fn queued(line: &str, port: u16) -> Option<u64> {
    let mut words = line.split_whitespace().skip(1);
    let local = words.next()?;
    let (state, queues) = (words.nth(1)?, words.next()?);
    let right = local.ends_with(&format!(":{port:04X}")) && state == FIN_WAIT1;
    let (send, _) = queues.split_once(':')?;
    right.then(|| u64::from_str_radix(send, 16).ok())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_closed_connection_of_the_port_counts() {
        let line = |local: &str, state: &str| {
            format!("   1: 0100C612:{local} 0200C612:D431 {state} 001F0000:00000000 01:00000014 00000000 0 0 0 2 0 20 4 0 10 -1")
        };
        assert_eq!(queued(&line("1F90", "04"), 8080), Some(0x1f_0000));
        assert_eq!(queued(&line("1F90", "01"), 8080), None);
        assert_eq!(queued(&line("2328", "04"), 8080), None);
        assert_eq!(queued("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode", 8080), None);
    }
}
