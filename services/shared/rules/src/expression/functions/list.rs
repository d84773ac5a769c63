//! Several values.

use std::borrow::Cow;
use std::collections::HashSet;

use super::super::check::Arguments;
use super::super::error::{CompileError, EvalErrorKind};
use super::super::evaluate::{Call, Evaluated, SIZE_LIMIT};
use super::super::letters::folded;
use super::super::value::Value;
use super::{
    Definition, Prepared, Want, gives_element, gives_first, gives_integer, gives_text, gives_texts, may, need,
};

pub(super) const ALL: [Definition; 8] = [
    Definition::new(
        "Count(values)",
        "how many values there are; 0 for Null",
        &[need(Want::List)],
        gives_integer,
        count,
    ),
    Definition::new(
        "Item(values, index)",
        "the value at a place, counted from 1; an error if there is none",
        &[need(Want::List), need(Want::Integer)],
        gives_element,
        |call| {
            let (Some(values), Some(index)) = (call.value(0)?, call.integer(1)?) else { return Ok(None) };
            let value = place(index).and_then(|index| values.into_list().into_iter().nth(index));
            value.map(Some).ok_or_else(|| call.fail(EvalErrorKind::OutOfRange))
        },
    )
    .preparing(place_is_positive),
    Definition::new(
        "ItemOrNull(values, index)",
        "the value at a place, counted from 1; Null if there is none",
        &[need(Want::List), need(Want::Integer)],
        gives_element,
        |call| {
            let (Some(values), Some(index)) = (call.value(0)?, call.integer(1)?) else { return Ok(None) };
            Ok(place(index).and_then(|index| values.into_list().into_iter().nth(index)))
        },
    )
    .preparing(place_is_positive),
    Definition::new(
        "Join(separator, value1, value2, ...)",
        "all values that are not Null, with the separator between them",
        &[need(Want::Text), need(Want::List), may(Want::List)],
        gives_text,
        join,
    )
    .repeating(1),
    Definition::new(
        "RemoveDuplicates(values)",
        "each value once, where it came first; upper and lower case differ",
        &[need(Want::List)],
        gives_first,
        |call| {
            let mut seen = HashSet::new();
            let mut values = call.list(0)?;
            values.retain(|value| seen.insert(value.clone()));
            Ok(Call::from_list(values))
        },
    ),
    Definition::new(
        "Split(text, delimiter, [limit])",
        "the parts of a text between delimiters; at most so many, the last with the rest",
        &[need(Want::Text), need(Want::Text), may(Want::Integer)],
        gives_texts,
        split,
    )
    .preparing(|arguments| {
        if arguments.text(1) == Some("") {
            return Err(arguments.wrong(1, "the delimiter is empty", "write the text that stands between the parts"));
        }
        if arguments.integer(2).is_some_and(|limit| limit < 1) {
            return Err(arguments.wrong(2, "the limit must be 1 or more", "leave it out for all parts"));
        }
        Ok(Prepared::Nothing)
    }),
    Definition::new("ValueCount(values)", "the same as Count", &[need(Want::List)], gives_integer, count),
    Definition::new(
        "Contains(values, find, [CaseSensitive|CaseInsensitive])",
        "the place of the first value that has the text in it (of a reference: that is the text), or 0",
        &[need(Want::List), need(Want::Text), may(Want::Word(&["CaseSensitive", "CaseInsensitive"]))],
        gives_integer,
        contains,
    )
    .preparing(|arguments| {
        use super::super::check::Node;
        use super::super::schema::AttributeSyntax;
        let of = arguments.get(0).map(|argument| &argument.node);
        let is_reference = matches!(of, Some(Node::Attribute { syntax: AttributeSyntax::Reference, .. }));
        Ok(if is_reference { Prepared::Whole } else { Prepared::Nothing })
    }),
];

/// From a place counted from 1 to an index.
fn place(place: i64) -> Option<usize> {
    usize::try_from(place).ok()?.checked_sub(1)
}

fn place_is_positive(arguments: &Arguments<'_>) -> Result<Prepared, CompileError> {
    match arguments.integer(1) {
        Some(place) if place < 1 => Err(arguments.wrong(1, "places are counted from 1", "the first value is 1")),
        _ => Ok(Prepared::Nothing),
    }
}

fn count<'a>(call: &Call<'_, 'a>) -> Evaluated<'a> {
    Ok(i64::try_from(call.values_count(0)?).ok().map(Value::Integer))
}

fn join<'a>(call: &Call<'_, 'a>) -> Evaluated<'a> {
    let Some(separator) = call.text(0)? else { return Ok(None) };
    let mut joined: Option<Cow<'a, str>> = None;
    for index in 1..call.count() {
        for value in call.list(index)? {
            let text = value.into_text().map_err(|kind| call.fail(kind))?;
            joined = Some(match joined {
                None => text,
                Some(before) if before.len() + separator.len() + text.len() > SIZE_LIMIT => {
                    return Err(call.fail(EvalErrorKind::TooLarge));
                }
                Some(before) => {
                    let mut before = before.into_owned();
                    before.push_str(&separator);
                    before.push_str(&text);
                    Cow::Owned(before)
                }
            });
        }
    }
    Ok(joined.map(Value::Text))
}

fn split<'a>(call: &Call<'_, 'a>) -> Evaluated<'a> {
    let (Some(text), Some(delimiter)) = (call.text(0)?, call.text(1)?) else { return Ok(None) };
    let limit = match call.integer(2)? {
        Some(limit) => usize::try_from(limit).map_err(|_| call.fail(EvalErrorKind::OutOfRange))?,
        None => usize::MAX,
    };
    if delimiter.is_empty() {
        return Ok(Some(Value::Text(text)));
    }
    let parts = match text {
        Cow::Borrowed(text) => collect(call, text.splitn(limit, &*delimiter).map(Cow::Borrowed)),
        Cow::Owned(text) => collect(call, text.splitn(limit, &*delimiter).map(|part| Cow::Owned(part.to_owned()))),
    };
    Ok(Call::from_list(parts?))
}

/// The parts as values, unless there are too many to be made.
fn collect<'a>(
    call: &Call<'_, 'a>,
    parts: impl Iterator<Item = Cow<'a, str>>,
) -> Result<Vec<Value<'a>>, super::super::evaluate::Stop> {
    let mut values = Vec::new();
    for part in parts {
        call.check_length(values.len() + 1)?;
        values.push(Value::Text(part));
    }
    Ok(values)
}

fn contains<'a>(call: &Call<'_, 'a>) -> Evaluated<'a> {
    let Some(find) = call.text(1)? else { return Ok(None) };
    let ignores_case = call.text(2)?.as_deref() == Some("CaseInsensitive");
    let is_whole = matches!(call.prepared(), Prepared::Whole);
    let fold = |text: &str| if ignores_case { folded(text) } else { text.to_owned() };
    let wanted = fold(&find);
    for (index, value) in call.list(0)?.into_iter().enumerate() {
        let text = value.into_text().map_err(|kind| call.fail(kind))?;
        let found = match (ignores_case, is_whole) {
            (false, false) => text.contains(&*find),
            (false, true) => text == find,
            (true, false) => fold(&text).contains(&wanted),
            (true, true) => fold(&text) == wanted,
        };
        if found {
            return Ok(i64::try_from(index + 1).ok().map(Value::Integer));
        }
    }
    Ok(Some(0.into()))
}
