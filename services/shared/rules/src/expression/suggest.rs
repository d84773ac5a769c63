//! "Did you mean".

/// The known name that a wrong one most likely stands for: the same in another case, or not far from it.
pub(super) enum Suggestion<'a> {
    /// Only the case differs.
    Case(&'a str),
    /// A few letters differ.
    Near(&'a str),
    None,
}

pub(super) fn suggest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Suggestion<'a> {
    let mut best: Option<(usize, &str)> = None;
    // a misspelling beyond a third of the word is a guess
    let limit = (wrong.chars().count() / 3).clamp(1, 3);
    for name in known {
        if name.eq_ignore_ascii_case(wrong) {
            return Suggestion::Case(name);
        }
        if wrong.len().abs_diff(name.len()) > limit {
            continue;
        }
        let distance = strsim::damerau_levenshtein(&wrong.to_ascii_lowercase(), &name.to_ascii_lowercase());
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    best.map_or(Suggestion::None, |(_, name)| Suggestion::Near(name))
}

/// A hint, or what else to say.
pub(super) fn hint<'a>(wrong: &str, known: impl Iterator<Item = &'a str>, otherwise: &str) -> String {
    match suggest(wrong, known) {
        Suggestion::Case(name) => format!("upper and lower case matter: write {name}"),
        Suggestion::Near(name) => format!("did you mean {name}?"),
        Suggestion::None => otherwise.to_owned(),
    }
}
