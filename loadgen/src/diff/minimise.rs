//! Fewer of something that still shows the difference.

use anyhow::Result;

/// The smallest part of `items` for which `shows` still holds, as far as leaving
/// out pieces finds it: no single item can be left out of the result. Delta
/// debugging, after Zeller and Hildebrandt, "Simplifying and Isolating
/// Failure-Inducing Input" (2002), with complements only.
pub fn minimise<T: Clone>(
    items: Vec<T>,
    mut shows: impl FnMut(&[T]) -> Result<bool>,
) -> Result<Vec<T>> {
    let mut items = items;
    let mut size = items.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        while start < items.len() {
            let end = (start + size).min(items.len());
            let rest = [&items[..start], &items[end..]].concat();
            if shows(&rest)? {
                items = rest;
            } else {
                start = end;
            }
        }
        size /= 2;
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(count: u32, needed: &[u32]) {
        let mut runs = 0;
        let all = (0..count).collect();
        let found = minimise(all, |part| {
            runs += 1;
            Ok(needed.iter().all(|item| part.contains(item)))
        });
        assert_eq!(found.expect("no error"), needed);
        assert!(runs < 80, "{runs} runs");
    }

    #[test]
    fn what_is_needed_stays() {
        check(200, &[17]);
        check(200, &[0, 17, 199]);
        check(200, &[]);
        check(1, &[0]);
        check(0, &[]);
    }

    #[test]
    fn errors_end_it() {
        let failed = minimise(vec![1], |_| anyhow::bail!("no"));
        assert!(failed.is_err());
    }
}
