//! Two texts, line by line: what is in both, and what is in one only.

use std::fmt;

/// Beyond so many comparisons two texts are shown one after the other.
const MAX_COMPARISONS: usize = 4_000_000;

/// A line of one text, or of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    New(&'a str),
    Old(&'a str),
    Same(&'a str),
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New(line) => write!(f, "+ {line}"),
            Self::Old(line) => write!(f, "- {line}"),
            Self::Same(line) => write!(f, "  {line}"),
        }
    }
}

/// The shortest way from one text to the other, by lines.
pub(super) fn difference<'a>(old: &'a str, new: &'a str) -> Vec<Line<'a>> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let width = new.len() + 1;
    if old.len().saturating_mul(width) > MAX_COMPARISONS {
        let removed = old.into_iter().map(Line::Old);
        return removed.chain(new.into_iter().map(Line::New)).collect();
    }
    // For each pair of places, how many lines the rests of both texts share.
    let mut shared = vec![0_u32; (old.len() + 1) * width];
    let at = |old: usize, new: usize| old * width + new;
    let of = |shared: &[u32], place: usize| shared.get(place).copied().unwrap_or(0);
    for (i, old_line) in old.iter().enumerate().rev() {
        for (j, new_line) in new.iter().enumerate().rev() {
            let most = if old_line == new_line {
                of(&shared, at(i + 1, j + 1)) + 1
            } else {
                of(&shared, at(i + 1, j)).max(of(&shared, at(i, j + 1)))
            };
            if let Some(place) = shared.get_mut(at(i, j)) {
                *place = most;
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    loop {
        match (old.get(i), new.get(j)) {
            (None, None) => return lines,
            (Some(line), Some(same)) if line == same => {
                lines.push(Line::Same(line));
                (i, j) = (i + 1, j + 1);
            }
            (None, Some(line)) => {
                lines.push(Line::New(line));
                j += 1;
            }
            (Some(_), Some(line)) if of(&shared, at(i, j + 1)) > of(&shared, at(i + 1, j)) => {
                lines.push(Line::New(line));
                j += 1;
            }
            (Some(line), _) => {
                lines.push(Line::Old(line));
                i += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(old: &str, new: &str) -> Vec<String> {
        let lines = difference(old, new);
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lines_of_both_texts_stay_and_others_are_marked() {
        assert_eq!(
            shown("a\nb\nc\nd", "a\nc\nx\nd"),
            ["  a", "- b", "  c", "+ x", "  d"]
        );
        assert_eq!(shown("a", "b"), ["- a", "+ b"]);
        assert_eq!(shown("", "b"), ["+ b"]);
        assert!(shown("", "").is_empty());
    }

    #[test]
    fn huge_texts_are_not_compared() {
        let (old, new) = ("a\n".repeat(3000), "a\n".repeat(3001));
        assert_eq!(difference(&old, &new).len(), 6001);
    }
}
