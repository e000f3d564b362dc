//! Medians: one disturbed run in five does not move them.

use serde::Serialize;

/// Some measurements of one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The one in the middle, or the mean of the two.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of no measurements it is all zeros.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (values.first(), values.last()) else {
            return Spread::default();
        };
        let half = values.len() / 2;
        Spread {
            median: f64::midpoint(values[half], values[values.len() - 1 - half]),
            min: *min,
            max: *max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let of = |values: &[f64]| {
            let Spread { median, min, max } = Spread::of(values.iter().copied());
            (median, min, max)
        };
        assert_eq!(of(&[]), (0.0, 0.0, 0.0));
        assert_eq!(of(&[3.0]), (3.0, 3.0, 3.0));
        assert_eq!(of(&[9.0, 1.0, 2.0]), (2.0, 1.0, 9.0));
        assert_eq!(of(&[4.0, 1.0, 2.0, 9.0]), (3.0, 1.0, 9.0));
    }
}
