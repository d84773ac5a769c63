//! Upper and lower case, and letters without their marks.

use std::borrow::Cow;
use std::sync::LazyLock;

/// Whose rules of upper and lower case apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Culture {
    /// One character for one; neither form of the Turkish i changes.
    Invariant,
    /// Turkish and Azerbaijani: i with a dot and ı without.
    Turkic,
    /// Lithuanian: i keeps its dot under further marks.
    Lithuanian,
}

impl Culture {
    /// By a name such as `tr-TR`; `None` if it cannot be one. Cultures without rules of their own are as the invariant.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let language = parts.next().unwrap_or_default();
        let is_part = |part: &str| (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
        let is_language = (2..=3).contains(&language.len()) && language.bytes().all(|b| b.is_ascii_alphabetic());
        let is_name = name.is_empty() || is_language && parts.all(is_part);
        if !is_name {
            return None;
        }
        Some(match language.to_ascii_lowercase().as_str() {
            "tr" | "az" => Self::Turkic,
            "lt" => Self::Lithuanian,
            _ => Self::Invariant,
        })
    }
}

/// Lower case of one character.
pub(super) fn lower(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let mut mapped = c.to_lowercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// Upper case of one character.
pub(super) fn upper(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    let mut mapped = c.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) if c != 'ı' => one,
        _ => c,
    }
}

/// The form in which texts are compared without regard to case.
pub(super) fn folded(text: &str) -> String {
    text.chars().map(|c| lower(upper(c))).collect()
}

/// A text in lower case, borrowed if nothing changes.
pub(super) fn to_lower(text: Cow<'_, str>, culture: Culture) -> Cow<'_, str> {
    match culture {
        Culture::Invariant => mapped(text, lower),
        Culture::Turkic => mapped(text, |c| match c {
            'I' => 'ı',
            'İ' => 'i',
            other => lower(other),
        }),
        Culture::Lithuanian => lithuanian_lower(&text).into(),
    }
}

/// A text in upper case, borrowed if nothing changes.
pub(super) fn to_upper(text: Cow<'_, str>, culture: Culture) -> Cow<'_, str> {
    match culture {
        Culture::Invariant => mapped(text, upper),
        Culture::Turkic => mapped(text, |c| match c {
            'i' => 'İ',
            'ı' => 'I',
            other => upper(other),
        }),
        Culture::Lithuanian => lithuanian_upper(&text).into(),
    }
}

fn mapped(text: Cow<'_, str>, map: fn(char) -> char) -> Cow<'_, str> {
    if text.chars().all(|c| map(c) == c) { text } else { text.chars().map(map).collect::<String>().into() }
}

/// COMBINING DOT ABOVE.
const DOT: char = '\u{307}';

/// Whether a character is a mark that stands above its letter.
fn is_above(c: Option<&char>) -> bool {
    matches!(c, Some('\u{300}'..='\u{314}' | '\u{33D}'..='\u{344}' | '\u{346}' | '\u{34A}'..='\u{34C}'))
}

/// I, J and Į before a mark above, and Ì, Í and Ĩ, get the dot that their capitals have not (Unicode, SpecialCasing).
fn lithuanian_lower(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(c) = letters.next() {
        let mark = match c {
            'Ì' => '\u{300}',
            'Í' => '\u{301}',
            'Ĩ' => '\u{303}',
            'I' | 'J' | 'Į' if is_above(letters.peek()) => {
                result.extend([lower(c), DOT]);
                continue;
            }
            other => {
                result.push(lower(other));
                continue;
            }
        };
        result.extend(['i', DOT, mark]);
    }
    result
}

/// The dot that lower-case letters keep under marks goes.
fn lithuanian_upper(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut is_dotted = false;
    for c in text.chars() {
        if !(is_dotted && c == DOT) {
            result.push(upper(c));
        }
        is_dotted = matches!(c, 'i' | 'j' | 'į');
    }
    result
}

/// Letters with marks, by what they become. Capitals follow from these.
const MARKED: [(&str, &str); 27] = [
    ("a", "àáâãäåāăąǎǟǡǻȁȃȧḁẚạảấầẩẫậắằẳẵặ"),
    ("ae", "æǣǽ"),
    ("b", "ḃḅḇ"),
    ("c", "çćĉċčḉ"),
    ("d", "ďḋḍḏḑḓ"),
    ("e", "èéêëēĕėęěȅȇȩḕḗḙḛḝẹẻẽếềểễệ"),
    ("f", "ḟ"),
    ("g", "ĝğġģǧǵḡ"),
    ("h", "ĥȟḣḥḧḩḫẖ"),
    ("i", "ìíîïĩīĭįıǐȉȋḭḯỉị"),
    ("j", "ĵǰ"),
    ("k", "ķǩḱḳḵ"),
    ("l", "ĺļľłḷḹḻḽ"),
    ("m", "ḿṁṃ"),
    ("n", "ñńņňǹṅṇṉṋ"),
    ("o", "òóôõöōŏőơǒǫǭȍȏȫȭȯȱṍṏṑṓọỏốồổỗộớờởỡợ"),
    ("oe", "øœǿ"),
    ("p", "ṕṗ"),
    ("r", "ŕŗřȑȓṙṛṝṟ"),
    ("s", "śŝşšșṡṣṥṧṩ"),
    ("ss", "ß"),
    ("t", "ţťțṫṭṯṱẗ"),
    ("u", "ùúûüũūŭůűųưǔǖǘǚǜȕȗṳṵṷṹṻụủứừửữự"),
    ("v", "ṽṿ"),
    ("w", "ŵẁẃẅẇẉẘ"),
    ("y", "ýÿŷȳẏẙỳỵỷỹ"),
    ("z", "źżžẑẓẕ"),
];

/// The table of [`MARKED`] with capitals, sorted by letter.
static PLAIN: LazyLock<Vec<(char, String)>> = LazyLock::new(|| {
    let mut table = vec![('İ', "I".to_owned()), ('ẞ', "SS".to_owned())];
    for (plain, marked) in MARKED {
        for letter in marked.chars() {
            table.push((letter, plain.to_owned()));
            let capital = upper(letter);
            if capital != letter {
                table.push((capital, plain.to_ascii_uppercase()));
            }
        }
    }
    table.sort_unstable();
    table
});

/// A text whose Latin letters have lost their marks; marks of their own behind a letter a to z go as well.
pub(super) fn without_marks(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.is_ascii() {
        return text;
    }
    let mut result = String::with_capacity(text.len());
    let mut is_latin = false;
    for c in text.chars() {
        if c.is_ascii() {
            result.push(c);
            is_latin = c.is_ascii_alphabetic();
        } else if let Ok(index) = PLAIN.binary_search_by_key(&c, |(letter, _)| *letter) {
            result.push_str(PLAIN.get(index).map_or("", |(_, plain)| plain));
            is_latin = true;
        } else if !(is_latin && matches!(c, '\u{300}'..='\u{36F}')) {
            result.push(c);
            is_latin = false;
        }
    }
    result.into()
}

/// Each word with a capital first letter and small ones behind it. Without separators a word is a run of letters, digits
/// and apostrophes that begins with a letter, and one without any small letter is an acronym and stays as it is.
pub(super) fn title(text: &str, separators: Option<&str>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut word: Vec<char> = Vec::new();
    for c in text.chars() {
        let is_inside = match separators {
            Some(separators) => !separators.contains(c),
            None if word.is_empty() => c.is_alphabetic(),
            None => c.is_alphanumeric() || c == '\'' || matches!(c, '\u{300}'..='\u{36F}'),
        };
        if is_inside {
            word.push(c);
        } else {
            flush(&mut result, &mut word, separators.is_none());
            result.push(c);
        }
    }
    flush(&mut result, &mut word, separators.is_none());
    result
}

fn flush(result: &mut String, word: &mut Vec<char>, keeps_capitals: bool) {
    if keeps_capitals && !word.iter().any(|c| c.is_lowercase()) {
        result.extend(word.drain(..));
        return;
    }
    for (index, c) in word.drain(..).enumerate() {
        result.push(if index == 0 { upper(c) } else { lower(c) });
    }
}
