//! Which endpoint of an upstream takes the next attempt.
//!
//! In: the endpoints' weights and the ones to avoid. Out: the index of one endpoint, or that there is none.
//! Not here: connections (`upstream` has them) and weights between upstreams (`route::split` chose already).

/// No endpoint is left to try. The client sees 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoEndpoint;

/// Smooth weighted round robin, one a worker and upstream: each turn raises every endpoint by its weight and takes the highest,
/// which falls by the total (the method of nginx's upstream module, commit 52327e0). Equal weights give plain round robin.
#[derive(Clone, Debug)]
pub(crate) struct RoundRobin {
    credits: Vec<i64>,
}

impl RoundRobin {
    /// `offset` lets workers begin at different endpoints, so that few requests do not all meet the first one.
    pub(crate) fn new(weights: &[u32], offset: usize) -> Self {
        let mut cursor = RoundRobin { credits: vec![0; weights.len()] };
        for _ in 0..offset % weights.len().max(1) {
            let _ = cursor.pick(weights, None);
        }
        cursor
    }

    /// Takes the next endpoint, but not `avoid` unless it is the only one.
    pub(crate) fn pick(&mut self, weights: &[u32], avoid: Option<usize>) -> Result<usize, NoEndpoint> {
        let total: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
        if total == 0 {
            return Err(NoEndpoint);
        }
        for (credit, weight) in self.credits.iter_mut().zip(weights) {
            *credit += i64::from(*weight);
        }
        let usable = |index: &usize| weights[*index] > 0 && Some(*index) != avoid;
        let best = (0..weights.len()).filter(usable).max_by_key(|index| (self.credits[*index], std::cmp::Reverse(*index)));
        let chosen = best.or(avoid).ok_or(NoEndpoint)?;
        self.credits[chosen] -= total;
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(weights: &[u32], count: usize) -> Vec<usize> {
        let mut cursor = RoundRobin::new(weights, 0);
        (0..count).map(|_| cursor.pick(weights, None).unwrap()).collect()
    }

    #[test]
    fn endpoints_take_turns_by_weight_without_bursts() {
        assert_eq!(picks(&[1, 1, 1], 6), [0, 1, 2, 0, 1, 2]);
        assert_eq!(picks(&[5, 1, 1], 7), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(picks(&[1, 0], 3), [0, 0, 0]);
    }

    #[test]
    fn a_second_try_goes_elsewhere_if_there_is_an_elsewhere() {
        let mut cursor = RoundRobin::new(&[1, 1], 0);
        for _ in 0..10 {
            assert_eq!(cursor.pick(&[1, 1], Some(0)), Ok(1));
        }
        assert_eq!(RoundRobin::new(&[1], 0).pick(&[1], Some(0)), Ok(0));
        assert_eq!(RoundRobin::new(&[], 3).pick(&[], None), Err(NoEndpoint));
    }
}
