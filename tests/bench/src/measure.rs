//! How a figure is measured, so that it may be believed on a machine that does other things too.
//!
//! 1. **Alternation.** Subject and floor take turns within one run, and who begins changes from round to round: a clock
//!    that is throttled or a neighbour that wakes up meets both alike.
//! 2. **Ratios by round.** A ratio is taken within each round, between two measurements that are moments apart, and the
//!    figure is the median of those ratios, not the ratio of two medians.
//! 3. **Spread.** Every figure has its 10th and 90th percentile beside it. One whose spread is more than a fifth of its
//!    median is called noisy, and its verdict is a guess then.
//!
//! Criterion is not used. It measures one thing after the other, so a drift between two of them is taken for a
//! difference; what is asked for here are ratios, of requests over a network as of functions.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// What went wrong with a row.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Above this share of the median, a spread is noise.
const NOISE: f64 = 0.2;

/// Where the values of the rounds lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) p10: f64,
    pub(crate) median: f64,
    pub(crate) p90: f64,
}

impl Spread {
    /// Of no values there is none.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        Some(Self {
            p10: quantile(values, 0.1)?,
            median: quantile(values, 0.5)?,
            p90: quantile(values, 0.9)?,
        })
    }

    /// Whether the rounds disagree so much that the median says little.
    pub(crate) fn is_noisy(self) -> bool {
        self.p90 - self.p10 > self.median.abs() * NOISE
    }
}

/// The value below which a share of the values lies, from 0 to 1, on the line between the two nearest.
pub(crate) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    #[allow(clippy::cast_precision_loss, reason = "a number of rounds")]
    let place = share.clamp(0.0, 1.0) * last as f64;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the list")]
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * place.fract())
}

/// What the rounds of a row gave.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) subject: Vec<f64>,
    /// Of the same length, or empty where there is no floor.
    pub(crate) floor: Vec<f64>,
    /// What a reader has to know to judge it.
    pub(crate) notes: Vec<String>,
}

impl Measured {
    /// Subject ÷ floor, by round.
    pub(crate) fn ratios(&self) -> Vec<f64> {
        self.subject.iter().zip(&self.floor).map(|(subject, floor)| subject / floor).collect()
    }

    /// With something that a reader has to know.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// How often something is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub(crate) count: usize,
    /// Whether the floor, where there is one, is measured too.
    pub(crate) floors: bool,
}

/// Measures both by turns, the subject first in every second round.
pub(crate) fn alternate(
    rounds: Rounds,
    mut subject: impl FnMut() -> Result<f64, Fault>,
    mut floor: impl FnMut() -> Result<f64, Fault>,
) -> Result<Measured, Fault> {
    if !rounds.floors {
        return repeat(rounds.count, subject);
    }
    let mut measured = Measured::default();
    for round in 0..rounds.count {
        if round % 2 == 0 {
            measured.subject.push(subject()?);
            measured.floor.push(floor()?);
        } else {
            measured.floor.push(floor()?);
            measured.subject.push(subject()?);
        }
    }
    Ok(measured)
}

/// Measures what has no floor.
pub(crate) fn repeat(rounds: usize, subject: impl FnMut() -> Result<f64, Fault>) -> Result<Measured, Fault> {
    let subject = std::iter::repeat_with(subject).take(rounds).collect::<Result<_, _>>()?;
    Ok(Measured { subject, ..Measured::default() })
}

/// Nanoseconds that one call takes, over calls that take `at_least` together. The number of each call is its argument.
pub(crate) fn nanos_each<T>(at_least: Duration, next: &mut usize, mut call: impl FnMut(usize) -> T) -> f64 {
    // The clock is read once in so many calls: it takes as long as a hot verification.
    const BATCH: usize = 64;
    let (started, mut calls) = (Instant::now(), 0_u32);
    loop {
        for _ in 0..BATCH {
            black_box(call(*next));
            *next = next.wrapping_add(1);
        }
        calls += 64;
        let took = started.elapsed();
        if took >= at_least {
            return took.as_secs_f64() * 1e9 / f64::from(calls);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_on_the_line_between_the_two_nearest() {
        let values = [4.0, 1.0, 3.0, 2.0, 5.0];
        assert_eq!(quantile(&values, 0.5), Some(3.0));
        assert_eq!(quantile(&values, 0.0), Some(1.0));
        assert_eq!(quantile(&values, 1.0), Some(5.0));
        assert_eq!(quantile(&values, 0.1), Some(1.4));
        assert_eq!(quantile(&[7.0], 0.9), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_figure_is_the_median_of_ratios_and_not_the_ratio_of_medians() {
        // The second half of the run was on a machine half as fast.
        let measured = Measured {
            subject: vec![10.0, 10.0, 20.0, 20.0, 20.0],
            floor: vec![5.0, 5.0, 10.0, 10.0, 10.0],
            notes: Vec::new(),
        };
        let spread = Spread::of(&measured.ratios()).unwrap();
        assert_eq!(spread, Spread { p10: 2.0, median: 2.0, p90: 2.0 });
        assert!(!spread.is_noisy());
    }

    #[test]
    fn a_spread_of_more_than_a_fifth_is_noise() {
        assert!(!Spread { p10: 0.95, median: 1.0, p90: 1.14 }.is_noisy());
        assert!(Spread { p10: 0.9, median: 1.0, p90: 1.11 }.is_noisy());
    }

    #[test]
    fn who_begins_changes_from_round_to_round() {
        let order = std::cell::RefCell::new(String::new());
        let turn = |who: char| {
            order.borrow_mut().push(who);
            Ok(1.0)
        };
        let rounds = Rounds { count: 3, floors: true };
        let measured = alternate(rounds, || turn('s'), || turn('f')).unwrap();
        assert_eq!(*order.borrow(), "sffssf");
        assert_eq!((measured.subject.len(), measured.floor.len()), (3, 3));
    }

    #[test]
    fn time_is_told_for_one_call() {
        let mut calls = 0;
        let nanos = nanos_each(Duration::from_millis(2), &mut 0, |_| calls += 1);
        assert!(calls >= 64 && nanos > 0.0 && nanos < 1e6, "{calls} calls of {nanos} ns");
    }
}
