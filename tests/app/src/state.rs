//! What all ports share: who the app is, what it was told, and what it shall get wrong.

use std::{
    fs,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;
use tokio::{sync::watch, time::Instant};

use crate::config::{Config, Fault};

/// Shared by all ports.
#[derive(Debug)]
pub struct State {
    /// Who answers.
    pub identity: Identity,
    /// When a draining app closes a silent connection.
    pub drain_idle: Duration,
    slow: Duration,
    ready_at: Instant,
    told: watch::Sender<Told>,
    webhook_key: Option<String>,
    requests: AtomicU64,
    passed_on: AtomicU64,
    judges: Mutex<Judges>,
}

/// Who answers.
#[derive(Clone, Debug, Serialize)]
pub struct Identity {
    /// `APP_NAME`.
    pub app: String,
    /// `APP_VERSION`.
    pub version: String,
    /// `POD_NAME`.
    pub pod: String,
}

/// What the app was told so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Told {
    /// `/readyz` fails.
    pub ready: bool,
    /// `/` fails.
    pub home: bool,
    /// `/` is slow.
    pub slow: bool,
    /// gRPC health fails.
    pub grpc: bool,
    /// How often it was told to drain.
    pub drain: u64,
    /// How many sessions it has.
    pub sessions: u64,
}

/// How an app judges as a webhook.
#[derive(Debug)]
pub struct Judges {
    /// The status that it answers.
    pub verdict: u16,
    /// What it was last asked.
    pub last: String,
}

impl Told {
    fn set(&mut self, fault: Fault, on: bool) {
        let switch = match fault {
            Fault::Ready => &mut self.ready,
            Fault::Home => &mut self.home,
            Fault::Slow => &mut self.slow,
            Fault::Grpc => &mut self.grpc,
        };
        *switch = on;
    }
}

impl State {
    /// The state at the start.
    #[must_use]
    pub fn new(config: &Config) -> State {
        let mut told = Told::default();
        for fault in &config.fail {
            told.set(*fault, true);
        }
        State {
            identity: Identity { app: config.name.clone(), version: config.version.clone(), pod: config.pod.clone().unwrap_or_else(host_name) },
            drain_idle: Duration::from_millis(config.drain_idle_ms),
            slow: Duration::from_millis(config.slow_ms),
            ready_at: Instant::now() + Duration::from_secs(config.ready_after),
            told: watch::Sender::new(told),
            webhook_key: config.webhook_key.clone(),
            requests: AtomicU64::new(0),
            passed_on: AtomicU64::new(0),
            judges: Mutex::new(Judges { verdict: 200, last: String::new() }),
        }
    }

    /// `/` was asked for once more, by somebody who was passed on by an API server or not.
    pub fn asked(&self, passed_on: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.passed_on.fetch_add(u64::from(passed_on), Ordering::Relaxed);
    }

    /// How often it was, and how often by an API server.
    pub fn requests(&self) -> (u64, u64) {
        (self.requests.load(Ordering::Relaxed), self.passed_on.load(Ordering::Relaxed))
    }

    /// How it judges.
    pub fn judges(&self) -> MutexGuard<'_, Judges> {
        self.judges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a text was signed with the key (`sha256=` and the HMAC-SHA256 in hexadecimal digits).
    #[must_use]
    pub fn signed(&self, text: &str, signature: &str) -> bool {
        let Some(mut mac) = self.webhook_key.as_ref().and_then(|key| Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()) else { return false };
        mac.update(text.as_bytes());
        let digits: Vec<String> = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        signature == format!("sha256={}", digits.concat())
    }

    /// What it was told so far.
    pub fn told(&self) -> Told {
        *self.told.borrow()
    }

    /// To be woken when it is told something.
    pub fn watch(&self) -> watch::Receiver<Told> {
        self.told.subscribe()
    }

    /// Whether the pod should get traffic.
    pub fn is_ready(&self) -> bool {
        !self.told().ready && Instant::now() >= self.ready_at
    }

    /// How long `/` shall take now.
    pub fn delay(&self) -> Duration {
        if self.told().slow { self.slow } else { Duration::ZERO }
    }

    /// Turns a fault on or off.
    pub fn fail(&self, fault: Fault, on: bool) {
        self.told.send_modify(|told| told.set(fault, on));
    }

    /// Tells it how many sessions it has.
    pub fn has(&self, sessions: u64) {
        self.told.send_modify(|told| told.sessions = sessions);
    }

    /// Tells it to drain; there is no way back, as with most apps.
    pub fn drain(&self) {
        self.told.send_modify(|told| told.drain += 1);
    }
}

/// The pod's name, unless its spec says otherwise.
fn host_name() -> String {
    // proc(5): the host name of the reader's own UTS namespace; an image without a libc's files has it too.
    fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_else(|_| "unknown".to_owned())
}
