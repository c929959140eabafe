//! "Did you mean": which known words are a slip of the finger away from an unknown one.

/// Suggestions beyond this many only confuse.
const MAX_SUGGESTIONS: usize = 3;

/// Words longer than this are no slip of anything; the bound keeps the cost of odd input small.
const MAX_CHARACTERS: usize = 128;

/// Returns the candidates nearest to `word`, best first, at most three.
///
/// Near means: few edits apart (an insertion, a deletion, a substitution or a swap of neighbours
/// each count one; a third of the word at most), or one begins with the other. Case is ignored.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = folded(word);
    if wanted.is_empty() || wanted.len() > MAX_CHARACTERS {
        return Vec::new();
    }
    let mut near: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| Some((closeness(&wanted, &folded(candidate))?, candidate)))
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter()
        .take(MAX_SUGGESTIONS)
        .map(|(_, candidate)| candidate)
        .collect()
}

/// Returns `did you mean "a", "b" or "c"?`, or `None` where nothing is near.
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let near: Vec<String> = nearest(word, candidates)
        .into_iter()
        .map(|candidate| format!("`{candidate}`"))
        .collect();
    let (last, others) = near.split_last()?;
    Some(if others.is_empty() {
        format!("did you mean {last}?")
    } else {
        format!("did you mean {} or {last}?", others.join(", "))
    })
}

fn folded(word: &str) -> Vec<char> {
    word.chars()
        .take(MAX_CHARACTERS + 1)
        .flat_map(char::to_lowercase)
        .collect()
}

/// Edits between the two, or `None` where they are too far apart to suggest.
fn closeness(wanted: &[char], candidate: &[char]) -> Option<usize> {
    if candidate.is_empty() || candidate.len() > MAX_CHARACTERS {
        return None;
    }
    let allowed = (wanted.len().max(candidate.len()) / 3).max(1);
    let edits = distance(wanted, candidate);
    if edits <= allowed {
        return Some(edits);
    }
    // `gemini-2.5` for `gemini-2.5-flash`: a beginning of three letters or more is a good guess.
    let shorter = wanted.len().min(candidate.len());
    let is_beginning = wanted.iter().zip(candidate).all(|(a, b)| a == b);
    (shorter >= 3 && is_beginning).then_some(edits)
}

/// Damerau-Levenshtein distance in its optimal-string-alignment form.
#[expect(clippy::indexing_slicing, reason = "rows are as long as the words")]
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (row, &left) in a.iter().enumerate() {
        let mut current = Vec::with_capacity(b.len() + 1);
        current.push(row + 1);
        for (column, &right) in b.iter().enumerate() {
            let substituted = last[column] + usize::from(left != right);
            let mut best = substituted
                .min(last[column + 1] + 1)
                .min(current[column] + 1);
            let is_swap = row > 0 && column > 0 && left == b[column - 1] && a[row - 1] == right;
            if is_swap {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let known = ["gemini", "gemini_cli", "openai", "openrouter", "anthropic"];
        for (word, first) in [
            ("gemni", "gemini"),
            ("gmeini", "gemini"),
            ("GEMINI", "gemini"),
            ("opnai", "openai"),
            ("antropic", "anthropic"),
            ("gemini-cli", "gemini_cli"),
        ] {
            assert_eq!(nearest(word, known).first(), Some(&first), "{word}");
        }
    }

    #[test]
    fn what_is_far_from_everything_gets_no_suggestion() {
        assert!(nearest("zzz", ["gemini", "openai"]).is_empty());
        assert!(nearest("", ["gemini"]).is_empty());
        assert!(nearest(&"x".repeat(100_000), ["gemini"]).is_empty());
    }

    #[test]
    fn a_swap_of_neighbours_is_one_edit() {
        let letters = |word: &str| word.chars().collect::<Vec<_>>();
        assert_eq!(distance(&letters("ab"), &letters("ba")), 1);
        assert_eq!(distance(&letters("kitten"), &letters("sitting")), 3);
        assert_eq!(distance(&letters(""), &letters("abc")), 3);
    }

    #[test]
    fn a_beginning_is_a_good_guess() {
        assert_eq!(
            nearest("gemini-2.5", ["gemini-2.5-flash-preview-09"]),
            ["gemini-2.5-flash-preview-09"]
        );
    }

    #[test]
    fn the_question_names_every_candidate() {
        assert_eq!(
            did_you_mean("opena", ["openai", "openab"]).as_deref(),
            Some("did you mean `openab` or `openai`?")
        );
        assert_eq!(did_you_mean("zzz", ["openai"]), None);
    }
}
