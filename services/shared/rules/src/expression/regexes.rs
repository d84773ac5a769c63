//! Regular expressions of .NET, as far as they run in linear time.

use regex::{Captures, Regex, RegexBuilder};

/// How much memory one compiled expression may take, in bytes.
const COMPILED_LIMIT: usize = 1 << 20;

/// What is wrong with a pattern, and what to do about it.
pub(super) type Wrong = (String, &'static str);

/// Compiles a pattern. What matches is the same as in .NET, except that `$` matches at the very end of the text only and
/// not before a line feed there.
pub(super) fn compile(pattern: &str) -> Result<Regex, Wrong> {
    check_classes(pattern)?;
    if pattern.contains("(?'") {
        return Err(("a group's name stands between ' and '".into(), "write (?<name>...)"));
    }
    RegexBuilder::new(pattern).size_limit(COMPILED_LIMIT).build().map_err(|error| {
        let text = error.to_string();
        // the last line says what is wrong, those before it show where
        let reason = text.rsplit("error: ").next().unwrap_or_default().trim().replace('\n', " ");
        let hint = if text.contains("look-around") {
            "match what lies around as well, in groups, and put it back with ${group}"
        } else if text.contains("backreferences") {
            "a group cannot be referred to in the pattern; ${group} works in the replacement"
        } else if matches!(error, regex::Error::CompiledTooBig(_)) {
            "use smaller counts in { }"
        } else {
            "\\ is written twice in a text: \"\\\\d+\""
        };
        (format!("the regular expression is not usable: {reason}"), hint)
    })
}

/// Refuses what .NET and this engine read differently inside of brackets.
fn check_classes(pattern: &str) -> Result<(), Wrong> {
    let mut letters = pattern.chars().peekable();
    let mut in_class = false;
    let mut is_start = false;
    while let Some(letter) = letters.next() {
        let twice = letters.peek() == Some(&letter);
        match letter {
            '\\' => {
                letters.next();
                is_start = false;
            }
            '[' if !in_class => {
                in_class = true;
                is_start = true;
                letters.next_if_eq(&'^');
            }
            '[' => return Err(("there is a [ within brackets".into(), "write \\\\[ for the character itself")),
            ']' if in_class && !is_start => in_class = false,
            '&' | '-' | '~' if in_class && twice => {
                return Err((format!("there is {letter}{letter} within brackets"), "write a character once"));
            }
            _ => is_start = false,
        }
    }
    Ok(())
}

/// A replacement text with references to groups.
#[derive(Debug, Clone)]
pub(crate) struct Replacement(Vec<Piece>);

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Group(usize),
}

/// The index of a group: by its name, or by .NET's numbering, which counts named groups after the others.
pub(super) fn group(regex: &Regex, name: &str) -> Option<usize> {
    let names: Vec<Option<&str>> = regex.capture_names().collect();
    if let Some(index) = names.iter().position(|known| *known == Some(name)) {
        return Some(index);
    }
    let number: usize = name.parse().ok()?;
    let unnamed = (1..names.len()).filter(|index| names.get(*index).is_some_and(Option::is_none));
    let named = (1..names.len()).filter(|index| names.get(*index).is_some_and(Option::is_some));
    std::iter::once(0).chain(unnamed).chain(named).nth(number)
}

impl Replacement {
    /// Reads `${name}`, `$1`, `$&` and `$$`; every other `$` is itself.
    pub(super) fn parse(text: &str, regex: &Regex) -> Result<Self, Wrong> {
        let mut pieces = vec![Piece::Text(String::new())];
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            push(&mut pieces, before);
            rest = after;
            if let Some(behind) = after.strip_prefix('$') {
                push(&mut pieces, "$");
                rest = behind;
            } else if let Some(behind) = after.strip_prefix('&') {
                pieces.push(Piece::Group(0));
                rest = behind;
            } else if let Some((name, behind)) = after.strip_prefix('{').and_then(|named| named.split_once('}')) {
                pieces.push(Piece::Group(known(regex, name)?));
                rest = behind;
            } else {
                let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
                if digits.is_empty() {
                    push(&mut pieces, "$");
                } else {
                    pieces.push(Piece::Group(known(regex, &digits)?));
                    rest = after.get(digits.len()..).unwrap_or_default();
                }
            }
        }
        push(&mut pieces, rest);
        Ok(Self(pieces))
    }

    /// The parts that stand for one match.
    pub(super) fn parts<'t>(&'t self, found: &Captures<'t>) -> impl Iterator<Item = &'t str> {
        self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Group(index) => found.get(*index).map_or("", |group| group.as_str()),
        })
    }
}

fn push(pieces: &mut Vec<Piece>, text: &str) {
    if let Some(Piece::Text(last)) = pieces.last_mut() {
        last.push_str(text);
    } else if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

fn known(regex: &Regex, name: &str) -> Result<usize, Wrong> {
    group(regex, name).ok_or_else(|| (format!("the regular expression has no group {name}"), "name it: (?<name>...)"))
}
