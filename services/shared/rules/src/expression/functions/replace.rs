//! Replace.

use std::borrow::Cow;

use super::super::check::Arguments;
use super::super::error::{CompileError, EvalErrorKind};
use super::super::evaluate::{Call, Evaluated, SIZE_LIMIT, Stop};
use super::super::value::Value;
use super::{Definition, Prepared, Want, gives_text, may, need};

pub(super) const ALL: [Definition; 1] = [Definition::new(
    "Replace(source, [old], [regexPattern], [regexGroup], [new], [newAttribute], [template])",
    "replaces a text or what a regular expression finds; also Replace(source, old, new)",
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
.preparing(prepare)];

/// What is replaced by what; the numbers are argument positions.
#[derive(Debug, Clone)]
pub(crate) enum Mode {
    /// Each occurrence of the old text by the new one at this position.
    Text { new: usize },
    /// Each occurrence of the old text in the template by the source.
    Template,
}

fn prepare(arguments: &Arguments<'_>) -> Result<Prepared, CompileError> {
    if arguments.text(1) == Some("") {
        return Err(arguments.wrong(
            1,
            "the text to replace is empty",
            "leave it out if a regular expression is meant",
        ));
    }
    let given = [1, 2, 3, 4, 5, 6].map(|index| arguments.is_given(index));
    let mode = match (arguments.given.len(), given) {
        (3, [true, true, ..]) => Mode::Text { new: 2 },
        (7, [true, false, false, true, false, false]) => Mode::Text { new: 4 },
        (7, [true, false, false, false, false, true]) => Mode::Template,
        _ => return Err(arguments.wrong(0, "these arguments together mean nothing", MODES)),
    };
    Ok(Prepared::Replace(Box::new(mode)))
}

const MODES: &str = "write Replace(source, old, , , new, , ), Replace(source, old, , , , , template), \
     Replace(source, , regex, , new, , ), Replace(source, , regex, group, new, , ) or \
     Replace(source, , regex, group, , [attribute], )";

fn replace<'a>(call: &Call<'_, 'a>) -> Evaluated<'a> {
    let Prepared::Replace(mode) = call.prepared() else { return Ok(None) };
    match &**mode {
        Mode::Text { new } => {
            let (Some(source), Some(old), Some(new)) = (call.text(0)?, call.text(1)?, call.text(*new)?) else {
                return Ok(None);
            };
            plain(call, source, &old, &new)
        }
        Mode::Template => {
            let (Some(source), Some(old), Some(template)) = (call.text(0)?, call.text(1)?, call.text(6)?) else {
                return Ok(None);
            };
            plain(call, template, &old, &source)
        }
    }
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
