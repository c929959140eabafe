//! What pure chance may do: whether a count of failures is one that a given probability explains.

/// What lies outside of the interval on each side: 99 % lie within.
const TAIL: f64 = 0.005;

/// The least and the most of `trials` that happen by chance, each with this probability, in 99 of 100
/// runs.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(crate) fn interval(trials: u64, probability: f64) -> (u64, u64) {
    let (n, odds) = (trials as f64, probability / (1.0 - probability));
    // The probability of none at all, then of one more each time; as logarithms, since it may be
    // smaller than the least number.
    let mut log = n * (-probability).ln_1p();
    let (mut sum, mut least) = (0.0, None);
    for count in 0..trials {
        sum += log.exp();
        if least.is_none() && sum > TAIL {
            least = Some(count);
        }
        if sum >= 1.0 - TAIL {
            return (least.unwrap_or(count), count);
        }
        log += ((n - count as f64) / (count as f64 + 1.0) * odds).ln();
    }
    (least.unwrap_or(trials), trials)
}
