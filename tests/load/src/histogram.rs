//! Latencies in a table of fixed size.

use std::time::Duration;

use crate::report::Latency;

/// Steps in each doubling: a value is at most 1/16 too large.
const STEPS: u32 = 16;

/// Counts of durations in microseconds.
#[derive(Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            // 2^40 microseconds are 12 days.
            counts: vec![0; slot(1 << 40)],
            total: 0,
            longest: 0,
        }
    }
}

/// The slot of a value: its own below 16, and beyond that by its highest bit and the four below it.
fn slot(value: u64) -> usize {
    let exponent = value.max(1).ilog2().max(4) - 4;
    let mantissa = value >> exponent;
    usize::try_from(u64::from(exponent * STEPS) + mantissa).unwrap_or(usize::MAX)
}

/// The largest value of a slot.
fn largest(slot: usize) -> u64 {
    let slot = u32::try_from(slot).unwrap_or(u32::MAX);
    let exponent = (slot / STEPS).saturating_sub(1);
    let mantissa = u64::from(slot - exponent * STEPS);
    ((mantissa + 1) << exponent) - 1
}

impl Histogram {
    /// Counts a duration.
    pub fn add(&mut self, duration: Duration) {
        let value = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let last = self.counts.len().saturating_sub(1);
        if let Some(count) = self.counts.get_mut(slot(value).min(last)) {
            *count += 1;
        }
        self.total += 1;
        self.longest = self.longest.max(value);
    }

    /// What is reported of it.
    #[must_use]
    pub fn latency(&self) -> Latency {
        Latency { p50_us: self.quantile(50), p99_us: self.quantile(99), max_us: self.longest }
    }

    fn quantile(&self, percent: u64) -> u64 {
        let wanted = (self.total * percent).div_ceil(100);
        let mut seen = 0;
        for (slot, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return largest(slot).min(self.longest);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_slot_that_is_hardly_larger() {
        for value in (0..2000).chain([1 << 20, (1 << 20) + 12_345, 1 << 33]) {
            let upper = largest(slot(value));
            assert!(upper >= value, "{value} {upper}");
            assert!(upper <= value + value / 16, "{value} {upper}");
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.latency(), Latency::default());
        for milliseconds in 1..=100 {
            histogram.add(Duration::from_millis(milliseconds));
        }
        let Latency { p50_us, p99_us, max_us } = histogram.latency();
        assert!((50_000..=53_200).contains(&p50_us), "{p50_us}");
        assert!((99_000..=100_000).contains(&p99_us), "{p99_us}");
        assert_eq!(max_us, 100_000);
    }
}
