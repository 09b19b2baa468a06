//! The pace of a warm-up: requests at a rate that rises in a straight line, from one a second to the highest.
//!
//! After `t` seconds of `T` the rate is `1 + (top - 1) t / T`, and as many requests are due as there is area below that line:
//! `t + (top - 1) t² / 2T`. Solved for `t`, that says when a request is due.

use std::time::Duration;

/// How far behind its time a request may be and still be made up for. Timers are late by a millisecond or two; whoever is later than this has a
/// pod that can't keep up, and a burst would make that worse.
const SLACK: Duration = Duration::from_millis(20);

/// The line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    top: u32,
    seconds: u32,
}

impl Pace {
    /// From one request a second to `top` within so many seconds. Both are at least one.
    pub fn new(top: u32, seconds: u32) -> Self {
        Self { top: top.max(1), seconds: seconds.max(1) }
    }

    /// The highest rate, in requests a second.
    pub fn top(self) -> u32 {
        self.top
    }

    /// How many requests there are: the area below the whole line.
    pub fn total(self) -> u32 {
        let area = u64::from(self.seconds) * (u64::from(self.top) + 1) / 2;
        u32::try_from(area).unwrap_or(u32::MAX).max(1)
    }

    /// When a request is due, counted from the beginning; the first has the number 0.
    pub fn due(self, number: u32) -> Duration {
        let rise = f64::from(self.top - 1) / f64::from(self.seconds);
        let number = f64::from(number);
        // The root of rise t² / 2 + t = number, in the form that also holds for a line that does not rise.
        Duration::try_from_secs_f64(2.0 * number / (1.0 + (1.0 + 2.0 * rise * number).sqrt())).unwrap_or(Duration::MAX)
    }
}

/// One warm-up on its way: how many requests were begun, and by how much it is later than its pace asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Course {
    pace: Pace,
    begun: u32,
    behind: Duration,
}

impl Course {
    /// At its beginning.
    pub fn new(pace: Pace) -> Self {
        Self { pace, begun: 0, behind: Duration::ZERO }
    }

    /// When the next request is due, counted from the beginning; `None` once all were begun.
    pub fn next(&self) -> Option<Duration> {
        (self.begun < self.pace.total()).then(|| self.pace.due(self.begun).saturating_add(self.behind))
    }

    /// One was begun. What was missed is not made up for: all that follows is later by as much.
    pub fn begin(&mut self, at: Duration) {
        if let Some(due) = self.next() {
            self.behind += at.saturating_sub(due).saturating_sub(SLACK);
            self.begun += 1;
        }
    }

    /// One that was begun said nothing, and is to be sent again.
    pub fn again(&mut self) {
        self.begun = self.begun.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    fn paces() -> impl Strategy<Value = Pace> {
        (1..=200u32, 1..=600u32).prop_map(|(top, seconds)| Pace::new(top, seconds))
    }

    /// Those that are due within a time, when nothing is late.
    fn within(pace: Pace, from: f64, to: f64) -> usize {
        (0..pace.total()).map(|number| pace.due(number).as_secs_f64()).filter(|due| (from..to).contains(due)).count()
    }

    #[test]
    fn the_rate_rises_from_one_a_second_to_the_highest() {
        let pace = Pace::new(50, 20);
        assert_eq!((pace.total(), pace.due(0)), (510, Duration::ZERO));
        // At 0 s one a second, at 10 s 25.5, at 20 s 50.
        assert_eq!((within(pace, 0.0, 1.0), within(pace, 9.5, 10.5)), (3, 25));
        assert!((48..=50).contains(&within(pace, 19.0, 20.0)), "{}", within(pace, 19.0, 20.0));
        assert_eq!((Pace::new(1, 30).total(), Pace::new(1, 30).due(7)), (30, Duration::from_secs(7)));
        assert_eq!(Pace::new(0, 0), Pace::new(1, 1));
        assert_eq!(Pace::new(200, 600).total(), 60_300);
    }

    #[test]
    fn a_pod_that_can_not_keep_up_gets_no_burst() {
        let pace = Pace::new(100, 10);
        let mut course = Course::new(pace);
        while course.next().unwrap() < Duration::from_secs(5) {
            course.begin(course.next().unwrap());
        }
        let undisturbed = course;
        // It holds everything for a minute.
        course.begin(Duration::from_secs(65));
        let number = course.begun;
        let next = course.next().unwrap();
        let gap = pace.due(number) - pace.due(number - 1);
        assert_eq!(next, Duration::from_secs(65) + gap - SLACK);
        // What is within the slack is made up for.
        let mut late = undisturbed;
        late.begin(undisturbed.next().unwrap() + SLACK);
        assert_eq!(late.behind, Duration::ZERO);
        late.again();
        assert_eq!(late, undisturbed);
    }

    proptest! {
        /// Each is later than the one before, none is later than the end, and as many are due as the area says.
        #[test]
        fn the_area_below_the_line_is_the_number_of_requests(pace in paces(), part in 0.0..1.0f64) {
            let total = pace.total();
            let end = Duration::from_secs(u64::from(pace.seconds));
            prop_assert!((1..total).all(|number| pace.due(number - 1) < pace.due(number)));
            prop_assert!(pace.due(total - 1) < end);
            prop_assert!(pace.due(total + 1) > end);
            let at = part * end.as_secs_f64();
            let area = at + f64::from(pace.top - 1) * at * at / (2.0 * end.as_secs_f64());
            let due = f64::from(u32::try_from(within(pace, 0.0, at)).unwrap());
            prop_assert!((due - area).abs() <= 1.0001, "{due} {area}");
        }

        /// However late each is begun: all are, in order, none before its time, and in no second more than the highest rate asks and the slack lets through.
        #[test]
        fn whatever_holds_it_up_it_never_exceeds_its_rate(pace in paces(), late in prop::collection::vec(0..2_000u64, 1..50)) {
            let mut course = Course::new(pace);
            let mut late = late.into_iter().map(Duration::from_millis).cycle();
            let mut begun: Vec<Duration> = vec![];
            while let Some(next) = course.next().filter(|_| begun.len() < 2_000) {
                let free = begun.last().copied().unwrap_or_default();
                prop_assert!(next >= pace.due(course.begun));
                let at = next.max(free) + late.next().unwrap_or_default();
                course.begin(at);
                begun.push(at);
            }
            prop_assert_eq!(begun.len(), usize::try_from(pace.total()).unwrap().min(2_000));
            let most = usize::try_from(pace.top()).unwrap() + 6;
            for (place, at) in begun.iter().enumerate() {
                let second = begun[place..].iter().take_while(|next| **next < *at + Duration::from_secs(1)).count();
                prop_assert!(second <= most, "{second} in a second");
            }
        }
    }
}
