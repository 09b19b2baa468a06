#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::drain_agent::fixture::row;

fn at(state: State, inode: u64) -> Row {
    Row { inode, ..row("10.0.0.1:80", "10.0.0.2:4000", state) }
}

#[test]
fn a_connection_grows_older_and_never_younger() {
    use State::*;
    for (before, now, same) in [
        ((SynRecv, 0), (Established, 0), true),
        ((Established, 0), (Established, 7), true),
        ((Established, 7), (CloseWait, 7), true),
        ((CloseWait, 7), (LastAck, 0), true),
        ((Established, 7), (FinWait1, 0), true),
        ((FinWait1, 7), (FinWait2, 7), true),
        ((FinWait1, 0), (Closing, 0), true),
        ((FinWait2, 7), (FinWait2, 0), true),
        ((Established, 7), (TimeWait, 0), true),
        ((TimeWait, 0), (TimeWait, 0), true),
        // The client's port was used again.
        ((TimeWait, 0), (Established, 0), false),
        ((TimeWait, 0), (SynRecv, 0), false),
        ((CloseWait, 7), (Established, 7), false),
        ((Established, 7), (SynRecv, 0), false),
        ((Established, 7), (Established, 8), false),
        ((Established, 7), (Established, 0), false),
        ((Established, 7), (CloseWait, 0), false),
        ((LastAck, 0), (Established, 9), false),
        ((Unknown, 0), (Established, 9), false),
    ] {
        let seen = Seen::new(&at(before.0, before.1), Duration::ZERO);
        assert_eq!(seen.continues(&at(now.0, now.1)), same, "{before:?} {now:?}");
    }
}

#[test]
fn twice_in_one_reading_is_open_if_either_is() {
    let early = Seen::new(&at(State::Established, 7), Duration::from_secs(2));
    let late = Seen::new(&at(State::TimeWait, 0), Duration::from_secs(3));
    for merged in [early.merge(late), late.merge(early)] {
        assert!(merged.open);
        assert_eq!(merged.state, State::TimeWait);
        assert_eq!(merged.since, Duration::from_secs(2));
    }
}

#[test]
fn addresses_ports_and_namespace_name_a_connection() {
    let one = Tuple::of(1, &at(State::Established, 7));
    assert_eq!(one, Tuple::of(1, &at(State::TimeWait, 0)));
    assert_ne!(one, Tuple::of(2, &at(State::Established, 7)));
    assert_ne!(one, Tuple::of(1, &row("10.0.0.1:80", "10.0.0.2:4001", State::Established)));
    assert_ne!(one, Tuple::of(1, &row("10.0.0.3:80", "10.0.0.2:4000", State::Established)));
    assert!(!one.is_loopback());
    assert!(Tuple::of(1, &row("10.0.0.1:80", "127.0.0.6:4000", State::Established)).is_loopback());
}
