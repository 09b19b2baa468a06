//! What ends a load generator: its time, a signal, its caller.

use std::{io::Read, thread};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::report::Reason;

/// Says that it is time to end; the first reason counts.
#[derive(Clone, Debug)]
pub struct Stop {
    reason: watch::Sender<Option<Reason>>,
}

impl Default for Stop {
    fn default() -> Stop {
        Stop { reason: watch::Sender::new(None) }
    }
}

impl Stop {
    /// Ends it.
    pub fn stop(&self, reason: Reason) {
        self.reason.send_if_modified(|before| {
            let is_first = before.is_none();
            before.get_or_insert(reason);
            is_first
        });
    }

    /// Why it ends, if it does.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        *self.reason.borrow()
    }

    /// Waits for the end.
    pub async fn stopped(&self) {
        // The sender is `self`, so that there is nothing to fail.
        let _ = self.reason.subscribe().wait_for(Option::is_some).await;
    }

    /// Ends at SIGTERM and SIGINT.
    ///
    /// # Errors
    /// If the handlers can't be set.
    pub fn at_signals(&self) -> std::io::Result<()> {
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            let mut signals = signal(kind)?;
            let stop = self.clone();
            tokio::spawn(async move {
                signals.recv().await;
                stop.stop(Reason::Signal);
            });
        }
        Ok(())
    }

    /// Ends when standard input ends: a caller that dies takes its load with it.
    pub fn at_end_of_input(&self) {
        let stop = self.clone();
        // A thread of its own, for a read of standard input can't be cancelled; it ends with the process.
        thread::spawn(move || {
            let mut input = std::io::stdin().lock();
            let mut piece = [0; 256];
            while matches!(input.read(&mut piece), Ok(count) if count > 0) {}
            stop.stop(Reason::Closed);
        });
    }
}
