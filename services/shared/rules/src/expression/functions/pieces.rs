//! Pieces of texts. Lengths and positions count UTF-16 code units, as the products do; a piece never holds half a
//! character.

use std::borrow::Cow;

use super::super::check::Arguments;
use super::super::error::{CompileError, EvalErrorKind};
use super::super::evaluate::{Call, Evaluated, SIZE_LIMIT};
use super::super::letters::folded;
use super::super::value::Value;
use super::{Definition, Prepared, Want, gives_integer, gives_text, may, need};

const CASES: Want = Want::Word(&["vbBinaryCompare", "vbTextCompare"]);

pub(super) const ALL: [Definition; 9] = [
    Definition::new(
        "InStr(text, find, [start], [vbTextCompare|vbBinaryCompare])",
        "where the first occurrence at or after the start begins, or 0",
        &[need(Want::Text), need(Want::Text), may(Want::Integer), may(CASES)],
        gives_integer,
        |call| find(call, false),
    )
    .preparing(start_is_positive),
    Definition::new(
        "InStrRev(text, find, [start], [vbTextCompare|vbBinaryCompare])",
        "where the last occurrence that ends at or before the start begins, or 0",
        &[need(Want::Text), need(Want::Text), may(Want::Integer), may(CASES)],
        gives_integer,
        |call| find(call, true),
    )
    .preparing(start_is_positive),
    Definition::new(
        "Left(text, count)",
        "so many characters from the left; \"\" of Null, and the text itself if the count is negative",
        &[need(Want::Text), need(Want::Integer)],
        gives_text,
        |call| end(call, |text, count| 0..count.min(units(text))),
    ),
    Definition::new("Len(text)", "how many characters a text has", &[need(Want::Text)], gives_integer, |call| {
        Ok(call.text(0)?.and_then(|text| i64::try_from(units(&text)).ok()).map(Value::Integer))
    }),
    Definition::new(
        "Mid(text, start, length)",
        "so many characters from the start on, which counts from 1",
        &[need(Want::Text), need(Want::Integer), need(Want::Integer)],
        gives_text,
        mid,
    )
    .preparing(start_and_length),
    Definition::new(
        "PadLeft(text, length, character)",
        "the text with characters before it until it is so long; \"\" of Null",
        &[need(Want::Text), need(Want::Integer), need(Want::Text)],
        gives_text,
        |call| pad(call, true),
    )
    .preparing(pads_with_one),
    Definition::new(
        "PadRight(text, length, character)",
        "the text with characters behind it until it is so long; \"\" of Null",
        &[need(Want::Text), need(Want::Integer), need(Want::Text)],
        gives_text,
        |call| pad(call, false),
    )
    .preparing(pads_with_one),
    Definition::new(
        "Right(text, count)",
        "so many characters from the right; \"\" of Null, and the text itself if the count is negative",
        &[need(Want::Text), need(Want::Integer)],
        gives_text,
        |call| {
            end(call, |text, count| {
                let all = units(text);
                all.saturating_sub(count)..all
            })
        },
    ),
    Definition::new(
        "Word(text, index, delimiters)",
        "the run of characters at a place between any of the delimiters; \"\" if there is none",
        &[need(Want::Text), need(Want::Integer), need(Want::Text)],
        gives_text,
        word,
    ),
];

/// Length in UTF-16 code units.
pub(super) fn units(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().map(char::len_utf16).sum() }
}

/// A range of UTF-16 code units as a range of bytes; half a character at either end is left out.
fn bytes(text: &str, range: &std::ops::Range<usize>) -> std::ops::Range<usize> {
    if text.is_ascii() {
        let end = range.end.min(text.len());
        return range.start.min(end)..end;
    }
    let (mut unit, mut start, mut end) = (0, text.len(), 0);
    for (at, c) in text.char_indices() {
        let after = unit + c.len_utf16();
        if unit >= range.start && after <= range.end {
            start = start.min(at);
            end = at + c.len_utf8();
        }
        unit = after;
    }
    start.min(end)..end
}

/// The piece between two positions in UTF-16 code units, borrowed where the text is.
pub(super) fn piece<'a>(text: Cow<'a, str>, range: &std::ops::Range<usize>) -> Cow<'a, str> {
    let range = bytes(&text, range);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(range).unwrap_or_default()),
        Cow::Owned(text) => Cow::Owned(text.get(range).unwrap_or_default().to_owned()),
    }
}

fn count(number: i64) -> usize {
    usize::try_from(number.max(0)).unwrap_or(usize::MAX)
}

fn end<'a>(call: &Call<'_, 'a>, range: fn(&str, usize) -> std::ops::Range<usize>) -> Evaluated<'a> {
    let Some(text) = call.text(0)? else { return Ok(Some(Value::Text(Cow::Borrowed("")))) };
    let Some(wanted) = call.integer(1)? else { return Ok(None) };
    if wanted < 0 {
        return Ok(Some(Value::Text(text)));
    }
    let range = range(&text, count(wanted));
    Ok(Some(Value::Text(piece(text, &range))))
}

fn start_and_length(arguments: &Arguments<'_>) -> Result<Prepared, CompileError> {
    if arguments.integer(1).is_some_and(|start| start < 1) {
        return Err(arguments.wrong(1, "positions are counted from 1", "the first character is 1"));
    }
    if arguments.integer(2).is_some_and(|length| length < 0) {
        return Err(arguments.wrong(2, "the length is negative", "write how many characters are wanted"));
    }
    Ok(Prepared::Nothing)
}

fn mid<'a>(call: &Call<'_, 'a>) -> Evaluated<'a> {
    let (Some(text), Some(start), Some(length)) = (call.text(0)?, call.integer(1)?, call.integer(2)?) else {
        return Ok(None);
    };
    if start < 1 || length < 0 {
        return Err(call.fail(EvalErrorKind::OutOfRange));
    }
    let start = count(start) - 1;
    Ok(Some(Value::Text(piece(text, &(start..start.saturating_add(count(length)))))))
}

fn word<'a>(call: &Call<'_, 'a>) -> Evaluated<'a> {
    let empty = Ok(Some(Value::Text(Cow::Borrowed(""))));
    let (Some(text), Some(index), Some(delimiters)) = (call.text(0)?, call.integer(1)?, call.text(2)?) else {
        return empty;
    };
    let Some(index) = count(index).checked_sub(1) else { return empty };
    let Some(range) = words(&text, &delimiters).nth(index) else { return empty };
    Ok(Some(Value::Text(match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(range).unwrap_or_default()),
        Cow::Owned(text) => Cow::Owned(text.get(range).unwrap_or_default().to_owned()),
    })))
}

/// The ranges of bytes between delimiters, without those that are empty.
fn words(text: &str, delimiters: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut at = 0;
    text.split_inclusive(move |c| delimiters.contains(c)).filter_map(move |part| {
        let start = at;
        at += part.len();
        let end = part
            .char_indices()
            .next_back()
            .filter(|(_, c)| delimiters.contains(*c))
            .map_or(at, |(last, _)| start + last);
        (end > start).then_some(start..end)
    })
}

fn start_is_positive(arguments: &Arguments<'_>) -> Result<Prepared, CompileError> {
    match arguments.integer(2) {
        Some(start) if start < 1 => Err(arguments.wrong(2, "positions are counted from 1", "leave the start out")),
        _ => Ok(Prepared::Nothing),
    }
}

fn find<'a>(call: &Call<'_, 'a>, from_behind: bool) -> Evaluated<'a> {
    let (Some(text), Some(wanted)) = (call.text(0)?, call.text(1)?) else { return Ok(None) };
    let start = match call.integer(2)? {
        Some(start) if start < 1 => return Err(call.fail(EvalErrorKind::OutOfRange)),
        start => start.map(count),
    };
    let (text, wanted) = if call.text(3)?.as_deref() == Some("vbTextCompare") {
        (folded(&text).into(), folded(&wanted).into())
    } else {
        (text, wanted)
    };
    let found = if from_behind {
        let searched = start.map_or(text.len(), |end| bytes(&text, &(0..end)).end);
        text.get(..searched).and_then(|text| text.rfind(&*wanted))
    } else {
        let skipped = start.map_or(0, |start| bytes(&text, &(0..start - 1)).end);
        let is_beyond = start.is_some_and(|start| start - 1 > units(&text));
        let rest = text.get(skipped..).filter(|_| !is_beyond);
        rest.and_then(|text| text.find(&*wanted)).map(|at| at + skipped)
    };
    let position = found.map_or(0, |at| 1 + text.get(..at).map_or(0, units));
    Ok(i64::try_from(position).ok().map(Value::Integer))
}

fn pads_with_one(arguments: &Arguments<'_>) -> Result<Prepared, CompileError> {
    match arguments.text(2) {
        Some(character) if character.chars().count() != 1 => {
            Err(arguments.wrong(2, "padding takes one character", "write \"0\" or \" \""))
        }
        _ => Ok(Prepared::Nothing),
    }
}

fn pad<'a>(call: &Call<'_, 'a>, before: bool) -> Evaluated<'a> {
    let Some(text) = call.text(0)? else { return Ok(Some(Value::Text(Cow::Borrowed("")))) };
    let (Some(length), Some(character)) = (call.integer(1)?, call.text(2)?) else { return Ok(Some(Value::Text(text))) };
    let mut characters = character.chars();
    let (Some(character), None) = (characters.next(), characters.next()) else {
        return Err(call.fail(EvalErrorKind::OutOfRange));
    };
    let missing = count(length).saturating_sub(units(&text)) / character.len_utf16();
    if missing == 0 {
        return Ok(Some(Value::Text(text)));
    }
    if missing > SIZE_LIMIT {
        return Err(call.fail(EvalErrorKind::TooLarge));
    }
    let padding: String = std::iter::repeat_n(character, missing).collect();
    Ok(Some(if before { padding + &text } else { text.into_owned() + &padding }.into()))
}
