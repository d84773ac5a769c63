//! Replace.

use std::borrow::Cow;

use regex::Regex;

use super::super::check::Arguments;
use super::super::error::{CompileError, EvalErrorKind};
use super::super::evaluate::{Call, Evaluated, SIZE_LIMIT, Stop};
use super::super::regexes::{self, Replacement};
use super::super::value::Value;
use super::{Definition, Prepared, Want, gives_text, may, need};

pub(super) const ALL: [Definition; 2] = [
    Definition::new(
        "Replace(source, [old], [regexPattern], [regexGroup], [new], [newAttribute], [template])",
        "replaces a text, or what a regular expression finds, by another; also Replace(source, old, new)",
        &[
            need(Want::Text),
            may(Want::Text),
            may(Want::Text),
            may(Want::Literal),
            may(Want::Text),
            may(Want::Text),
            may(Want::Text),
        ],
        gives_text,
        replace,
    )
    .preparing(prepare),
    Definition::new(
        "ReplaceChars(text, \"a:b,c:d\")",
        "each character before a colon replaced by the text behind it; white space in the pattern counts for nothing",
        &[need(Want::Text), need(Want::Literal)],
        gives_text,
        replace_characters,
    )
    .preparing(prepare_characters),
];

/// What is replaced by what; the numbers are argument positions.
#[derive(Debug, Clone)]
pub(crate) enum Mode {
    /// Each occurrence of the old text by the new one at this position.
    Text { new: usize },
    /// Each occurrence of the old text in the template by the source.
    Template,
    /// Each match, by a text that may refer to groups.
    Match { regex: Regex, new: Replacement },
    /// Each match, by a text that is computed and taken as it is.
    MatchComputed { regex: Regex },
    /// A group of each match.
    Group { regex: Regex, group: usize },
    /// The source if it has a value, else the group of the first match in the other attribute.
    Extract { regex: Regex, group: usize },
}

const MODES: &str = "write Replace(source, old, , , new, , ), Replace(source, old, , , , , template), \
     Replace(source, , regex, , new, , ), Replace(source, , regex, group, new, , ) or \
     Replace(source, , regex, group, , [attribute], )";

fn prepare(arguments: &Arguments<'_>) -> Result<Prepared, CompileError> {
    if arguments.text(1) == Some("") {
        return Err(arguments.wrong(
            1,
            "the text to replace is empty",
            "leave it out if a regular expression is meant",
        ));
    }
    let regex = || match arguments.text(2) {
        Some(pattern) => regexes::compile(pattern).map_err(|(message, hint)| arguments.wrong(2, message, hint)),
        None => Err(arguments.wrong(2, "the regular expression must be a literal text", "it is compiled once")),
    };
    let group = |regex: &Regex| {
        let name = arguments.text(3).unwrap_or_default();
        let missing =
            || arguments.wrong(3, format!("the regular expression has no group {name}"), "name it: (?<name>...)");
        regexes::group(regex, name).ok_or_else(missing)
    };
    let given = [1, 2, 3, 4, 5, 6].map(|index| arguments.is_given(index));
    let mode = match (arguments.given.len(), given) {
        (3, [true, true, ..]) => Mode::Text { new: 2 },
        (7, [true, false, false, true, false, false]) => Mode::Text { new: 4 },
        (7, [true, false, false, false, false, true]) => Mode::Template,
        (7, [false, true, false, true, false, false]) => {
            let regex = regex()?;
            match arguments.text(4) {
                None => Mode::MatchComputed { regex },
                Some(new) => {
                    let new = Replacement::parse(new, &regex);
                    Mode::Match { new: new.map_err(|(message, hint)| arguments.wrong(4, message, hint))?, regex }
                }
            }
        }
        (7, [false, true, true, true, false, false]) => {
            let regex = regex()?;
            Mode::Group { group: group(&regex)?, regex }
        }
        (7, [false, true, true, false, true, false]) => {
            let regex = regex()?;
            Mode::Extract { group: group(&regex)?, regex }
        }
        _ => return Err(arguments.wrong(0, "these arguments together mean nothing", MODES)),
    };
    Ok(Prepared::Replace(Box::new(mode)))
}

fn replace<'a>(call: &Call<'_, 'a>) -> Evaluated<'a> {
    let Prepared::Replace(mode) = call.prepared() else { return Ok(None) };
    let source = call.text(0)?;
    if let Mode::Extract { regex, group } = &**mode {
        return match source.filter(|source| !source.is_empty()) {
            Some(source) => Ok(Some(Value::Text(source))),
            None => extract(call, regex, *group),
        };
    }
    let Some(source) = source else { return Ok(None) };
    match &**mode {
        Mode::Text { new } => {
            let (Some(old), Some(new)) = (call.text(1)?, call.text(*new)?) else { return Ok(None) };
            plain(call, source, &old, &new)
        }
        Mode::Template => {
            let (Some(old), Some(template)) = (call.text(1)?, call.text(6)?) else { return Ok(None) };
            plain(call, template, &old, &source)
        }
        Mode::Match { regex, new } => {
            each(call, source, regex, |text, found| new.parts(found).try_for_each(|part| push(call, text, part)))
        }
        Mode::MatchComputed { regex } => {
            let Some(new) = call.text(4)? else { return Ok(None) };
            each(call, source, regex, |text, _| push(call, text, &new))
        }
        Mode::Group { regex, group } => {
            let Some(new) = call.text(4)? else { return Ok(None) };
            each(call, source, regex, |text, found| {
                let whole = found.get_match();
                let Some(part) = found.get(*group) else { return push(call, text, whole.as_str()) };
                let (start, end) = (part.start() - whole.start(), part.end() - whole.start());
                push(call, text, whole.as_str().get(..start).unwrap_or_default())?;
                push(call, text, &new)?;
                push(call, text, whole.as_str().get(end..).unwrap_or_default())
            })
        }
        Mode::Extract { .. } => Ok(None),
    }
}

fn extract<'a>(call: &Call<'_, 'a>, regex: &Regex, group: usize) -> Evaluated<'a> {
    let Some(text) = call.text(5)? else { return Ok(None) };
    let found = regex.captures(&text).and_then(|found| found.get(group).map(|group| group.range()));
    Ok(found.map(|range| match text {
        Cow::Borrowed(text) => Value::Text(Cow::Borrowed(text.get(range).unwrap_or_default())),
        Cow::Owned(text) => text.get(range).unwrap_or_default().to_owned().into(),
    }))
}

/// Copies the source with each match replaced by what `replace` appends.
fn each<'a>(
    call: &Call<'_, 'a>,
    source: Cow<'a, str>,
    regex: &Regex,
    replace: impl for<'t> Fn(&mut String, &regex::Captures<'t>) -> Result<(), Stop>,
) -> Evaluated<'a> {
    let mut replaced = String::new();
    let mut copied = 0;
    let mut has_match = false;
    for found in regex.captures_iter(&source) {
        let whole = found.get_match();
        // each search may look at all that is left, which makes many of them quadratic
        call.spend_search(source.len() - whole.start())?;
        push(call, &mut replaced, source.get(copied..whole.start()).unwrap_or_default())?;
        replace(&mut replaced, &found)?;
        copied = whole.end();
        has_match = true;
    }
    if !has_match {
        return Ok(Some(Value::Text(source)));
    }
    push(call, &mut replaced, source.get(copied..).unwrap_or_default())?;
    Ok(Some(replaced.into()))
}

fn plain<'a>(call: &Call<'_, 'a>, text: Cow<'a, str>, old: &str, new: &str) -> Evaluated<'a> {
    if old.is_empty() || !text.contains(old) {
        return Ok(Some(Value::Text(text)));
    }
    let mut replaced = String::with_capacity(text.len());
    for (index, part) in text.split(old).enumerate() {
        if index > 0 {
            push(call, &mut replaced, new)?;
        }
        push(call, &mut replaced, part)?;
    }
    Ok(Some(replaced.into()))
}

fn push(call: &Call<'_, '_>, text: &mut String, part: &str) -> Result<(), Stop> {
    if text.len() + part.len() > SIZE_LIMIT {
        return Err(call.fail(EvalErrorKind::TooLarge));
    }
    text.push_str(part);
    Ok(())
}

/// Which character becomes what.
pub(crate) type Characters = Vec<(char, String)>;

fn prepare_characters(arguments: &Arguments<'_>) -> Result<Prepared, CompileError> {
    let pattern: String = arguments.text(1).unwrap_or_default().chars().filter(|c| !c.is_whitespace()).collect();
    let mut characters = Characters::new();
    for entry in pattern.split(',') {
        let mut source = entry.split_once(':').map(|(source, target)| (source.chars(), target));
        match source.as_mut().map(|(source, target)| (source.next(), source.next(), target)) {
            Some((Some(source), None, target)) if !target.contains(':') => {
                characters.push((source, (*target).to_owned()));
            }
            _ => {
                let hint = "write one character, a colon and what replaces it, divided by commas: \"ö:oe,ß:ss\"";
                return Err(arguments.wrong(1, "the pattern is not of the form a:b,c:d", hint));
            }
        }
    }
    Ok(Prepared::Characters(characters))
}

fn replace_characters<'a>(call: &Call<'_, 'a>) -> Evaluated<'a> {
    let (Some(text), Prepared::Characters(characters)) = (call.text(0)?, call.prepared()) else { return Ok(None) };
    let target = |c: char| characters.iter().find(|(source, _)| *source == c).map(|(_, target)| target.as_str());
    if !text.chars().any(|c| target(c).is_some()) {
        return Ok(Some(Value::Text(text)));
    }
    let mut replaced = String::with_capacity(text.len());
    for c in text.chars() {
        push(call, &mut replaced, target(c).unwrap_or(c.encode_utf8(&mut [0; 4])))?;
    }
    Ok(Some(replaced.into()))
}
