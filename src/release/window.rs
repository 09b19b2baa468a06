//! Windows: at which times a switch may happen by itself.

use cronexpr::{Crontab, MakeTimestamp};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::api::Window;

use super::services::Block;

/// What can't be read of a window, by its field.
fn read(window: &Window) -> Result<Crontab, (&'static str, String)> {
    if TimeZone::get(&window.time_zone).is_err() {
        return Err(("timeZone", format!("there is no time zone \"{}\"; write a name of the IANA list, such as Europe/Berlin", window.time_zone)));
    }
    cronexpr::parse_crontab(&format!("{} {}", window.schedule, window.time_zone)).map_err(|error| {
        // The last line says why; those before it repeat the text.
        let text = error.to_string();
        let why = text.rsplit("^ ").next().unwrap_or_default();
        (
            "schedule",
            format!(
                "\"{}\" can't be read: {why}; write minute, hour, day of month, month and day of week, as in \"0 9 * * MON-FRI\"",
                window.schedule
            ),
        )
    })
}

/// What is wrong with the windows of a spec.
pub fn check(windows: &[Window]) -> Result<(), Block> {
    for (index, window) in windows.iter().enumerate() {
        let crontab = read(window).map_err(|(field, why)| Block::new("WindowInvalid", format!("spec.promotion.windows[{index}].{field}: {why}")))?;
        if crontab.find_next(MakeTimestamp(Timestamp::UNIX_EPOCH)).is_err() {
            let message = format!("spec.promotion.windows[{index}].schedule: \"{}\" never comes; correct it, or remove the window", window.schedule);
            return Err(Block::new("WindowInvalid", message));
        }
    }
    Ok(())
}

/// The earliest time from `from` on at which one of the windows is open; without any that is at once, and without any that can be read never.
pub fn open_from(windows: &[Window], from: Timestamp) -> Option<Timestamp> {
    if windows.is_empty() {
        return Some(from);
    }
    windows.iter().filter_map(|window| opens(window, from)).min()
}

fn opens(window: &Window, from: Timestamp) -> Option<Timestamp> {
    let length = SignedDuration::from_secs(window.duration_seconds.into());
    let crontab = read(window).ok()?;
    // The first opening that is not over by then.
    let opened = crontab.find_next(MakeTimestamp(from.checked_sub(length).ok()?)).ok()?.timestamp();
    Some(opened.max(from))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn window(schedule: &str, zone: &str, seconds: i32) -> Window {
        Window { schedule: schedule.into(), time_zone: zone.into(), duration_seconds: seconds }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_opens_by_the_clock_of_its_zone_and_closes_after_its_length() {
        let office = [window("0 9 * * MON-FRI", "Europe/Berlin", 8 * 3600)];
        for (from, opens) in [
            // A Friday in winter: Berlin is an hour ahead.
            ("2026-11-27T07:59:59Z", "2026-11-27T08:00:00Z"),
            ("2026-11-27T08:00:00Z", "2026-11-27T08:00:00Z"),
            ("2026-11-27T15:59:59Z", "2026-11-27T15:59:59Z"),
            // It is over, and the weekend follows.
            ("2026-11-27T16:00:00Z", "2026-11-30T08:00:00Z"),
            // In summer it is two hours.
            ("2026-07-01T00:00:00Z", "2026-07-01T07:00:00Z"),
        ] {
            assert_eq!(open_from(&office, at(from)), Some(at(opens)), "{from}");
        }
    }

    #[test]
    fn of_several_windows_the_next_one_counts_and_of_none_any_time_is_right() {
        let now = at("2026-11-27T12:00:00Z");
        assert_eq!(open_from(&[], now), Some(now));
        let two = [window("0 3 * * *", "UTC", 3600), window("30 18 * * *", "UTC", 600)];
        assert_eq!(open_from(&two, now), Some(at("2026-11-27T18:30:00Z")));
        assert_eq!(open_from(&two, at("2026-11-27T19:00:00Z")), Some(at("2026-11-28T03:00:00Z")));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_field() {
        for (bad, message) in [
            (window("0 9 * *", "UTC", 60), "spec.promotion.windows[1].schedule: \"0 9 * *\" can't be read: "),
            (window("0 25 * * *", "UTC", 60), "spec.promotion.windows[1].schedule: \"0 25 * * *\" can't be read: "),
            (window("0 9 * * *", "Mars/Olympus", 60), "spec.promotion.windows[1].timeZone: there is no time zone \"Mars/Olympus\"; "),
            (window("0 0 31 2 *", "UTC", 60), "spec.promotion.windows[1].schedule: \"0 0 31 2 *\" never comes; "),
        ] {
            let block = check(&[window("0 9 * * *", "Asia/Tokyo", 60), bad.clone()]).unwrap_err();
            assert_eq!(block.reason, "WindowInvalid");
            assert!(block.message.starts_with(message) && !block.message.contains('\n'), "{}", block.message);
            // Never at all is better than at any time.
            assert_eq!(open_from(&[bad], at("2026-11-27T12:00:00Z")), None);
        }
    }
}
