//! Which upstream of a route takes a request: shares by weight.
//!
//! In: weights and a random number. Out: an index. Not here: which endpoint of that upstream (`balance` decides).

use crate::base::draw::Draw;

/// Upstreams by index, with their shares.
#[derive(Clone, Debug)]
pub(crate) struct Split {
    parts: Vec<(usize, u32)>,
    total: u32,
}

impl Split {
    /// Weights are at most 1,000,000 each and one of them is positive; the configuration has seen to that.
    pub(crate) fn new(parts: Vec<(usize, u32)>) -> Self {
        let total = parts.iter().map(|(_, weight)| weight).sum();
        Split { parts, total }
    }

    pub(crate) fn choose(&self, draw: &mut Draw) -> usize {
        if let [(only, _)] = self.parts[..] {
            return only;
        }
        let mut ticket = draw.below(self.total);
        for (upstream, weight) in &self.parts {
            if ticket < *weight {
                return *upstream;
            }
            ticket -= weight;
        }
        self.parts[0].0
    }

    pub(crate) fn parts(&self) -> &[(usize, u32)] {
        &self.parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_upstream_gets_its_share() {
        let split = Split::new(vec![(0, 95), (1, 5), (2, 0)]);
        let mut draw = Draw::seeded(11);
        let mut counts = [0u32; 3];
        for _ in 0..100_000 {
            counts[split.choose(&mut draw)] += 1;
        }
        assert!((94_500..95_500).contains(&counts[0]), "{counts:?}");
        assert_eq!(counts[2], 0);
    }
}
