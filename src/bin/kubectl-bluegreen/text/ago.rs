//! Durations in a few letters.

use jiff::Timestamp;

/// Seconds as `12s`, `4m10s`, `3h`, `2d`.
pub fn short(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..100 => format!("{seconds}s"),
        100..600 if seconds % 60 != 0 => format!("{}m{}s", seconds / 60, seconds % 60),
        100..10_800 => format!("{}m", seconds / 60),
        10_800..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long ago something was.
pub fn ago(since: Timestamp, now: Timestamp) -> String {
    short(now.as_second() - since.as_second())
}

/// How long it is until something; to the second, as people wait for it.
pub fn left(until: Timestamp, now: Timestamp) -> String {
    let seconds = (until.as_second() - now.as_second()).max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m{:02}s", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let all = [(-5, "0s"), (0, "0s"), (99, "99s"), (100, "1m40s"), (120, "2m"), (599, "9m59s"), (601, "10m"), (10_799, "179m"), (10_800, "3h")];
        for (seconds, text) in all.into_iter().chain([(172_799, "47h"), (172_800, "2d"), (i64::MAX, "106751991167300d")]) {
            assert_eq!(short(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn a_deadline_counts_down_by_seconds() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |seconds: i64| Timestamp::from_second(now.as_second() + seconds).unwrap();
        assert_eq!([left(at(59), now), left(at(61), now), left(at(3661), now), left(at(-9), now)], ["59s", "1m01s", "1h01m01s", "0s"]);
        assert_eq!(ago(at(-30), now), "30s");
    }
}
