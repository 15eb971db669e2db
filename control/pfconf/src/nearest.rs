//! "Did you mean …?"

/// The candidate that a misspelt word is most like, if any is close.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = match word.len() {
        0..=2 => return None,
        3..=5 => 1,
        6..=40 => 2,
        _ => return None,
    };
    let by_distance = candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= most)
        .map(|candidate| {
            let edits = distance(word.as_bytes(), candidate.as_bytes());
            (edits, candidate.len().abs_diff(word.len()), candidate)
        });
    by_distance.filter(|(edits, ..)| (1..=most).contains(edits)).min().map(|(.., candidate)| candidate)
}

/// Insertions, deletions, substitutions and swaps of neighbours that make one word of the other.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substituted = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substituted.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

/// The same as a hint, else another hint.
pub(crate) fn hint<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    otherwise: Option<&str>,
) -> Option<String> {
    match nearest(word, candidates) {
        Some(candidate) => Some(format!("did you mean '{candidate}'?")),
        None => otherwise.map(str::to_owned),
    }
}
