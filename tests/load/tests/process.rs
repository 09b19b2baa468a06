//! The program: how it is started, read, and ended.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use common::{DEADLINE, app};
use load::{
    child::{Child, ChildError},
    report::{Line, Reason},
};

fn load(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    command.args(words.split_whitespace());
    command
}

/// The app runs on its own runtime's threads, while the test blocks.
fn with_app(test: impl FnOnce(&app::App)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let app = runtime.block_on(app(&[]));
    test(&app);
}

#[test]
fn it_ends_with_its_input() {
    with_app(|app| {
        let child = Child::spawn(load(&format!("echo --target tcp://{} --every 10ms", app.echo))).unwrap();
        let open = child.wait_open(DEADLINE).unwrap();
        assert_eq!(open.version.as_deref(), Some("v1"));
        assert!(child.failures().is_empty());
        assert_eq!(child.lines()[0], Line::Open(open));
        let summary = child.stop().unwrap();
        assert_eq!((summary.reason, summary.failed), (Reason::Closed, 0), "{summary:?}");
        assert!(summary.ok > 0);
    });
}

#[test]
fn what_fails_at_the_very_end_is_told_too() {
    with_app(|app| {
        // Under way when it is told to end, and answered too late.
        let words = format!("dial --target http://{}/slow?ms=60000 --every 60s --read-timeout 3s", app.http);
        let child = Child::spawn(load(&words)).unwrap();
        let deadline = std::time::Instant::now() + DEADLINE;
        while !child.lines().iter().any(|line| matches!(line, Line::Tick(_))) && std::time::Instant::now() < deadline {
            assert!(child.failures().is_empty());
            std::thread::sleep(Duration::from_millis(5));
        }
        let summary = child.stop().unwrap();
        assert_eq!((summary.failed, child.failures().len()), (1, 1), "{summary:?}");
    });
}

#[test]
fn it_ends_at_sigterm_with_a_summary() {
    with_app(|app| {
        let command = load(&format!("run --target http://{}/ --ignore-stdin", app.http));
        let mut process = { command }.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(process.stdout.take().unwrap()));
        assert!(matches!(Line::parse(&lines.next().unwrap().unwrap()).unwrap(), Line::Tick(_)));
        assert!(Command::new("/bin/kill").arg(process.id().to_string()).status().unwrap().success());
        let last = lines.last().unwrap().unwrap();
        let Line::Summary(summary) = Line::parse(&last).unwrap() else { panic!("{last}") };
        assert_eq!((summary.reason, summary.failed), (Reason::Signal, 0), "{summary:?}");
        assert_eq!(process.wait().unwrap().code(), Some(0));
    });
}

#[test]
fn it_ends_when_nobody_reads_it() {
    with_app(|app| {
        let command = load(&format!("run --target http://{}/ --ignore-stdin", app.http));
        let mut process = { command }.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        drop(process.stdout.take());
        assert_eq!(process.wait().unwrap().code(), Some(0));
    });
}

#[test]
fn its_status_tells_of_failures_and_wrong_usage() {
    let status = |words: &str| {
        let mut command = load(words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap().code()
    };
    // Port 1 of loopback: nobody listens there.
    assert_eq!(status("stream --target http://127.0.0.1:1/ --ignore-stdin"), Some(1));
    assert_eq!(status("stream --target http://localhost:1/"), Some(2));
    assert_eq!(status("run"), Some(2));
}

#[test]
fn the_caller_is_told_what_went_wrong() {
    let Err(ChildError::Start { command, .. }) = Child::spawn(Command::new("/nonexistent/load")) else { panic!() };
    assert!(command.contains("/nonexistent/load"));
    let mut wrong = load("run");
    wrong.stderr(Stdio::null());
    let child = Child::spawn(wrong).unwrap();
    assert!(matches!(child.wait_open(DEADLINE), Err(ChildError::Ended { last: None, .. })));
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "echo strange"]);
    let child = Child::spawn(shell).unwrap();
    let Err(ChildError::Ended { strange, .. }) = child.wait(DEADLINE) else { panic!() };
    assert_eq!(strange.as_deref(), Some("strange"));
    with_app(|app| {
        let child = Child::spawn(load(&format!("run --target http://{}/", app.http))).unwrap();
        assert!(matches!(child.wait_open(Duration::from_millis(50)), Err(ChildError::Late { .. })));
        child.wait_for(DEADLINE, |line| matches!(line, Line::Tick(_)).then_some(())).unwrap();
        let summary = child.stop().unwrap();
        assert!(summary.ok > 0, "{summary:?}");
    });
}
