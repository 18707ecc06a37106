//! Randomness, injected: identifiers and choices are drawn from a [`Draw`], so that a test can seed them.
//!
//! In: a seed, from the system or by hand. Out: uniform numbers. Not for secrets: the generator is fast, not cryptographic.

use rand::Rng;
use rand::rngs::SmallRng;

/// A worker's own source of random numbers.
pub(crate) struct Draw(SmallRng);

impl Draw {
    pub(crate) fn from_system() -> Self {
        Draw(rand::make_rng())
    }

    #[cfg(test)]
    pub(crate) fn seeded(seed: u64) -> Self {
        Draw(rand::SeedableRng::seed_from_u64(seed))
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `0..below`; zero where `below` is zero. The bias of the multiply-shift method is below 2^-32 for the
    /// small ranges used here (Lemire, "Fast Random Integer Generation in an Interval", 2019).
    pub(crate) fn below(&mut self, below: u32) -> u32 {
        ((u128::from(self.number()) * u128::from(below)) >> 64) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_below_their_bound_and_reach_every_value() {
        let mut draw = Draw::seeded(1);
        let mut seen = [0u32; 5];
        for _ in 0..5000 {
            seen[draw.below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| count > 800), "{seen:?}");
        assert_eq!(draw.below(0), 0);
    }
}
