//! Counts by how long something took, in buckets that grow by a fixed factor.
//!
//! In: nanoseconds. Out: quantiles. A bucket is told as the value that is off by the same factor at both of its ends: within 14.3 % of the
//! exact one at 8 buckets a decade, 11.5 % at 10, 7.2 % at 16. A step that has passed keeps the buckets from the first to the last that holds
//! something, 16 bits each under a common shift, so that nothing saturates; a share below 1/65,536 of the largest bucket may be lost.
//! Not here: exact values, or the largest.

/// From 10 us to 1,000 s, 16 a decade: how long requests took.
pub(super) const DURATION_BUCKETS: usize = 128;
/// From 1 us to 400 ms, 10 a decade: the gateway's own time.
pub(super) const SELF_BUCKETS: usize = 56;
/// From 10 us to 100 s, 8 a decade: how long attempts took.
pub(super) const ATTEMPT_BUCKETS: usize = 56;

pub(super) static DURATIONS: Scale<DURATION_BUCKETS> = Scale::new(
    10_000,
    &[
        100_000, 115_478, 133_352, 153_993, 177_828, 205_353, 237_137, 273_842, 316_228, 365_174, 421_697, 486_968, 562_341, 649_382,
        749_894, 865_964,
    ],
);
pub(super) static SELVES: Scale<SELF_BUCKETS> =
    Scale::new(1_000, &[100_000, 125_893, 158_489, 199_526, 251_189, 316_228, 398_107, 501_187, 630_957, 794_328]);
pub(super) static ATTEMPTS: Scale<ATTEMPT_BUCKETS> =
    Scale::new(10_000, &[100_000, 133_352, 177_828, 237_137, 316_228, 421_697, 562_341, 749_894]);

/// Where the buckets lie. The first also takes what is less than its bound, the last what is more.
#[derive(Debug)]
pub(super) struct Scale<const N: usize> {
    lower_ns: [u64; N],
    /// The bucket of the smallest number that has so many bits.
    first: [u8; 65],
}

/// The buckets of a step that has passed.
#[derive(Clone, Debug)]
pub(super) struct Packed<const N: usize> {
    /// The place of the first one that is held.
    first: u8,
    shift: u8,
    buckets: Box<[u16]>,
}

impl<const N: usize> Scale<N> {
    /// `mantissas`: the bounds of one decade, in 100,000ths of its beginning.
    const fn new(least_ns: u64, mantissas: &[u64]) -> Self {
        let mut lower_ns = [0; N];
        let (mut at, mut decade_ns) = (0, least_ns);
        while at < N {
            lower_ns[at] = decade_ns * mantissas[at % mantissas.len()] / 100_000;
            at += 1;
            if at % mantissas.len() == 0 {
                decade_ns *= 10;
            }
        }
        let mut first = [0; 65];
        let mut bits = 1;
        while bits <= 64 {
            let mut bucket = first[bits - 1];
            while (bucket as usize) + 1 < N && lower_ns[bucket as usize + 1] <= 1 << (bits - 1) {
                bucket += 1;
            }
            first[bits] = bucket;
            bits += 1;
        }
        Scale { lower_ns, first }
    }

    /// A power of two holds five buckets at most, so that few bounds are looked at.
    pub(super) fn bucket(&self, nanos: u64) -> usize {
        let mut at = usize::from(self.first[64 - nanos.leading_zeros() as usize]);
        while at + 1 < N && self.lower_ns[at + 1] <= nanos {
            at += 1;
        }
        at
    }

    /// The value that is off by the same factor at both ends of the bucket.
    fn middle_ns(&self, bucket: usize) -> f64 {
        let lower = self.lower_ns[bucket] as f64;
        let factor = self.lower_ns[1] as f64 / self.lower_ns[0] as f64;
        2.0 * lower * factor / (1.0 + factor)
    }

    /// The value that this share of all is not above, in nanoseconds; none of nothing.
    pub(super) fn quantile_ns(&self, counts: &[u32; N], share: f64) -> Option<f64> {
        let all = total(counts);
        let rank = ((all as f64 * share).ceil() as u64).clamp(1, all.max(1));
        let mut reached = 0;
        let bucket = counts.iter().position(|&count| {
            reached += u64::from(count);
            reached >= rank
        })?;
        Some(self.middle_ns(bucket))
    }
}

pub(super) fn total<const N: usize>(counts: &[u32; N]) -> u64 {
    counts.iter().map(|&count| u64::from(count)).sum()
}

pub(super) fn add<const N: usize>(counts: &mut [u32; N], more: &[u32; N]) {
    for (count, more) in counts.iter_mut().zip(more) {
        *count = count.saturating_add(*more);
    }
}

impl<const N: usize> Packed<N> {
    pub(super) fn of(counts: &[u32; N]) -> Self {
        let largest = counts.iter().copied().max().unwrap_or(0);
        let shift = (32 - largest.leading_zeros()).saturating_sub(16);
        let half = (1_u64 << shift) >> 1;
        let first = counts.iter().position(|&count| count > 0).unwrap_or(N);
        let end = counts.iter().rposition(|&count| count > 0).map_or(N, |last| last + 1);
        let packed = |&count: &u32| u16::try_from((u64::from(count) + half) >> shift).unwrap_or(u16::MAX);
        Packed { first: first as u8, shift: shift as u8, buckets: counts[first..end].iter().map(packed).collect() }
    }

    pub(super) fn add_to(&self, counts: &mut [u32; N]) {
        for (count, bucket) in counts.iter_mut().skip(usize::from(self.first)).zip(&self.buckets) {
            *count = count.saturating_add(u32::from(*bucket) << self.shift);
        }
    }

    /// Bytes beside its own.
    pub(super) fn held_bytes(&self) -> usize {
        size_of_val(&*self.buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::draw::Draw;

    fn exact(sorted: &[u64], share: f64) -> f64 {
        sorted[((sorted.len() as f64 * share).ceil() as usize).max(1) - 1] as f64
    }

    /// Checks a scale against values spread over all that it covers.
    fn check<const N: usize>(scale: &Scale<N>, from_ns: f64, decades: f64, within: f64) {
        for seed in 0..20 {
            let mut draw = Draw::seeded(seed);
            let mut counts = [0; N];
            // Skewed, so that the quantiles fall into all parts of the scale.
            let skew = 0.3 + f64::from(draw.below(40)) / 10.0;
            let mut values: Vec<u64> = (0..5000)
                .map(|_| {
                    let uniform = f64::from(draw.below(1_000_000)) / 1e6;
                    (from_ns * 10_f64.powf(decades * uniform.powf(skew))) as u64
                })
                .collect();
            values.iter().for_each(|&value| counts[scale.bucket(value)] += 1);
            values.sort_unstable();
            for share in [0.01, 0.5, 0.9, 0.99, 0.999] {
                let (told, exact) = (scale.quantile_ns(&counts, share).unwrap(), exact(&values, share));
                assert!((told / exact - 1.0).abs() <= within, "seed {seed}, {share}: {told} for {exact}");
            }
        }
    }

    #[test]
    fn a_quantile_is_within_the_stated_error_of_the_exact_one() {
        check(&DURATIONS, 10_000.0, 7.99, 0.072);
        check(&SELVES, 1_000.0, 5.59, 0.115);
        check(&ATTEMPTS, 10_000.0, 6.99, 0.143);
    }

    #[test]
    fn every_value_has_its_bucket() {
        for bits in 0..64 {
            for value in [(1_u64 << bits) - 1, 1 << bits, (1 << bits) + 1, u64::MAX] {
                let expected = DURATIONS.lower_ns.iter().rposition(|&lower| lower <= value).unwrap_or(0);
                assert_eq!(DURATIONS.bucket(value), expected, "{value}");
                assert_eq!(SELVES.bucket(value), SELVES.lower_ns.iter().rposition(|&lower| lower <= value).unwrap_or(0), "{value}");
            }
        }
        assert_eq!(DURATIONS.quantile_ns(&[0; DURATION_BUCKETS], 0.5), None);
    }

    #[test]
    fn a_busy_step_is_packed_without_saturating() {
        let mut counts = [0; DURATION_BUCKETS];
        (counts[3], counts[20], counts[40]) = (3_000_000_000, 70_000_000, 400_000);
        let mut unpacked = [0; DURATION_BUCKETS];
        Packed::of(&counts).add_to(&mut unpacked);
        for (was, is) in counts.into_iter().zip(unpacked) {
            assert!(f64::from(was.abs_diff(is)) <= 65_536.0, "{was} became {is}");
        }
        let mut few = [0; DURATION_BUCKETS];
        (few[0], few[127]) = (65_535, 1);
        let mut same = [0; DURATION_BUCKETS];
        Packed::of(&few).add_to(&mut same);
        assert_eq!(few, same);
        let none = Packed::of(&[0; DURATION_BUCKETS]);
        none.add_to(&mut same);
        assert_eq!((few, none.held_bytes(), Packed::of(&counts).held_bytes()), (same, 0, 2 * 38));
    }
}
