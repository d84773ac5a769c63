//! Whole texts.

use std::borrow::Cow;

use super::super::check::Arguments;
use super::super::error::{CompileError, EvalErrorKind};
use super::super::evaluate::{Call, Evaluated, SIZE_LIMIT};
use super::super::letters::{Culture, title, to_lower, to_upper, without_marks};
use super::super::value::Value;
use super::{Definition, Prepared, Want, gives_first, gives_text, may, need};

pub(super) const ALL: [Definition; 12] = [
    Definition::new(
        "Append(text, suffix)",
        "the text with another behind it",
        &[need(Want::Text), need(Want::Text)],
        gives_text,
        |call| {
            let (Some(text), Some(suffix)) = (call.text(0)?, call.text(1)?) else { return Ok(None) };
            if text.len() + suffix.len() > SIZE_LIMIT {
                return Err(call.fail(EvalErrorKind::TooLarge));
            }
            Ok(Some((text + suffix).into()))
        },
    ),
    Definition::new("CStr(value)", "the value as text", &[need(Want::Text)], gives_text, |call| {
        Ok(call.text(0)?.map(Value::Text))
    }),
    Definition::new("LCase(text)", "the text in lower case", &[need(Want::Text)], gives_text, |call| {
        Ok(call.text(0)?.map(|text| Value::Text(to_lower(text, cultured(call)))))
    }),
    Definition::new("LTrim(text)", "the text without white space before it", &[need(Want::Text)], gives_text, |call| {
        Ok(call.text(0)?.map(|text| cut(text, str::trim_start)))
    }),
    Definition::new(
        "NormalizeDiacritics(text)",
        "the text whose Latin letters have lost their marks: ä becomes a, ß ss, ø oe",
        &[need(Want::Text)],
        gives_text,
        |call| Ok(call.text(0)?.map(|text| Value::Text(without_marks(text)))),
    ),
    Definition::new(
        "PCase(text, [separators])",
        "the text with a capital at the beginning of each word",
        &[need(Want::Text), may(Want::Text)],
        gives_text,
        |call| {
            let (text, separators) = (call.text(0)?, call.text(1)?);
            Ok(text.map(|text| title(&text, separators.as_deref()).into()))
        },
    ),
    Definition::new("RTrim(text)", "the text without white space behind it", &[need(Want::Text)], gives_text, |call| {
        Ok(call.text(0)?.map(|text| cut(text, str::trim_end)))
    }),
    Definition::new("StripSpaces(text)", "the text without its spaces", &[need(Want::Text)], gives_text, |call| {
        let text = call.text(0)?;
        Ok(text.map(|text| if text.contains(' ') { text.replace(' ', "").into() } else { Value::Text(text) }))
    }),
    Definition::new(
        "ToLower(text, [culture])",
        "the text in lower case, by the rules of a culture such as \"tr-TR\" if there is one",
        &[need(Want::Text), may(Want::Literal)],
        gives_text,
        |call| Ok(call.text(0)?.map(|text| Value::Text(to_lower(text, cultured(call))))),
    )
    .preparing(culture),
    Definition::new(
        "ToUpper(text, [culture])",
        "the text in upper case, by the rules of a culture such as \"tr-TR\" if there is one",
        &[need(Want::Text), may(Want::Literal)],
        gives_text,
        |call| Ok(call.text(0)?.map(|text| Value::Text(to_upper(text, cultured(call))))),
    )
    .preparing(culture),
    Definition::new(
        "Trim(values)",
        "each value without white space at its ends",
        &[need(Want::List)],
        gives_first,
        trim,
    ),
    Definition::new("UCase(text)", "the text in upper case", &[need(Want::Text)], gives_text, |call| {
        Ok(call.text(0)?.map(|text| Value::Text(to_upper(text, cultured(call)))))
    }),
];

fn culture(arguments: &Arguments<'_>) -> Result<Prepared, CompileError> {
    let Some(name) = arguments.text(1) else { return Ok(Prepared::Nothing) };
    let culture = Culture::parse(name);
    let culture = culture.ok_or_else(|| arguments.wrong(1, "this is no culture", "write \"tr-TR\" or \"de\""))?;
    Ok(Prepared::Culture(culture))
}

/// The culture that was named, or none in particular.
fn cultured(call: &Call<'_, '_>) -> Culture {
    match call.prepared() {
        Prepared::Culture(culture) => *culture,
        _ => Culture::Invariant,
    }
}

fn cut(text: Cow<'_, str>, cut: for<'t> fn(&'t str) -> &'t str) -> Value<'_> {
    Value::Text(match text {
        Cow::Borrowed(text) => Cow::Borrowed(cut(text)),
        Cow::Owned(text) => {
            let kept = cut(&text);
            if kept.len() == text.len() { Cow::Owned(text) } else { Cow::Owned(kept.to_owned()) }
        }
    })
}

fn trim<'a>(call: &Call<'_, 'a>) -> Evaluated<'a> {
    let trimmed = |value| match value {
        Value::Text(text) => cut(text, str::trim),
        other => other,
    };
    Ok(call.value(0)?.map(|value| match value {
        Value::List(values) => Value::List(values.into_iter().map(trimmed).collect()),
        single => trimmed(single),
    }))
}
