//! Whether an argument is what its place asks for.

use super::super::error::CompileError;
use super::super::functions::{Definition, Want};
use super::super::lexer::Comparison;
use super::super::parser::Syntax;
use super::super::suggest;
use super::super::types::{Kind, Type};
use super::super::value::Value;
use super::{Node, Typed};

/// Compares the number of argument positions with what the function takes.
pub(super) fn count(
    definition: &'static Definition,
    arguments: &[Option<Syntax>],
    position: usize,
) -> Result<(), CompileError> {
    let count = arguments.len();
    let (least, most) = definition.arity();
    let wrong = if count < least || most.is_some_and(|most| count > most) {
        let expected = match most {
            Some(most) if most == least => format!("{least}"),
            Some(most) => format!("{least} to {most}"),
            None => format!("{least} or more"),
        };
        format!("{} takes {expected} arguments, not {count}", definition.name)
    } else if definition.repeats > 1 && !(count - definition.parameters.len()).is_multiple_of(definition.repeats) {
        format!("{} takes an even number of arguments, not {count}", definition.name)
    } else {
        return Ok(());
    };
    Err(CompileError::new(position, wrong, format!("the call is {}", definition.signature)))
}

/// One of the words that may stand at a place.
pub(super) fn word(
    words: &'static [&'static str],
    word: &str,
    position: usize,
    role: &str,
) -> Result<Typed, CompileError> {
    match words.iter().find(|known| **known == word) {
        Some(known) => Ok(Typed::new(Node::Constant(Value::Text((*known).into())), Type::TEXT, position)),
        None => Err(not_a_word(words, word, position, role)),
    }
}

fn not_a_word(words: &'static [&'static str], word: &str, position: usize, role: &str) -> CompileError {
    let otherwise = format!("it is one of {}", words.join(", "));
    let hint = suggest::hint(word, words.iter().copied(), &otherwise);
    CompileError::new(position, format!("{role} is none of the words that may stand here"), hint)
}

/// The argument as its place wants it, or what is wrong with it.
pub(super) fn fit(argument: Typed, want: Want, role: &str) -> Result<Typed, CompileError> {
    let position = argument.position;
    let refuse = |message: String, hint: &str| Err(CompileError::new(position, message, hint));
    let of = argument.of;
    match want {
        Want::Any | Want::List => return Ok(argument),
        Want::Word(words) => return Err(not_a_word(words, "", position, role)),
        Want::Variable(_) => return refuse(format!("{role} is a variable"), "write $item"),
        Want::Literal => {
            return match argument.node {
                Node::Constant(Value::Text(_)) => Ok(argument),
                _ => refuse(format!("{role} must be a literal text"), "it is compiled once and not for every object"),
            };
        }
        _ => {}
    }
    if of.is_multi {
        let hint = "take one with Item(..., 1), or treat each with Select($item, ..., ...)";
        return refuse(format!("{role} may have several values, and one is needed"), hint);
    }
    if of.kind.is_open() {
        return Ok(argument);
    }
    let fits = match want {
        Want::Text => of.kind != Kind::Binary,
        Want::Integer => matches!(of.kind, Kind::Integer | Kind::Text),
        Want::Boolean => matches!(of.kind, Kind::Boolean | Kind::Text),
        Want::Date => matches!(of.kind, Kind::Date | Kind::Text),
        Want::Binary => of.kind == Kind::Binary,
        _ => true,
    };
    if !fits {
        let (wanted, hint) = match want {
            Want::Text => ("text", "ConvertToBase64, StringFromGuid and StringFromSid make text of bytes"),
            Want::Integer => ("a number", "DateDiff and NumFromDate make numbers of dates"),
            Want::Boolean => ("a condition", "compare it: BitAnd(...)<>0, or use CBool"),
            Want::Date => ("a date", "DateFromNum makes a date of a number"),
            _ => ("binary", "CGuid and binary attributes are binary"),
        };
        return refuse(format!("{role} must be {wanted} and is {}", of.kind), hint);
    }
    literal(argument, want, role)
}

/// A literal text where another kind is needed must be one of that kind.
fn literal(argument: Typed, want: Want, role: &str) -> Result<Typed, CompileError> {
    let position = argument.position;
    let Node::Constant(value @ Value::Text(_)) = &argument.node else { return Ok(argument) };
    let (converted, wanted) = match want {
        Want::Integer => (value.to_integer().map(Value::Integer), "a whole number"),
        Want::Boolean => (value.to_boolean().map(Value::Boolean), "True or False"),
        Want::Date => (value.to_date().map(Value::Date), "a date"),
        _ => return Ok(argument),
    };
    let Ok(value) = converted else {
        let hint = if want == Want::Date { "write it as \"2024-01-31\"" } else { "" };
        return Err(CompileError::new(position, format!("{role} must be {wanted}"), hint));
    };
    let of = Type::single(match value {
        Value::Integer(_) => Kind::Integer,
        Value::Boolean(_) => Kind::Boolean,
        _ => Kind::Date,
    });
    Ok(Typed::new(Node::Constant(value), of, position))
}

/// Whether two operands can be compared; a literal takes the kind of the other side.
pub(super) fn comparable(comparison: Comparison, left: &mut Typed, right: &mut Typed) -> Result<(), CompileError> {
    let role = format!("an operand of {}", comparison.name());
    for side in [&*left, &*right] {
        let refuse = |message: String, hint: &str| Err(CompileError::new(side.position, message, hint));
        if side.of.is_multi {
            let hint = "take one with Item(..., 1), or search all of them with Contains(..., \"text\")>0";
            return refuse(format!("{role} may have several values"), hint);
        }
        if side.of.kind == Kind::Nothing {
            return refuse("nothing is equal to NULL".to_owned(), "use IsNull(...) or IsPresent(...)");
        }
    }
    adopt(left, right.of.kind, &role)?;
    adopt(right, left.of.kind, &role)?;
    let (one, two) = (left.of.kind, right.of.kind);
    let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    let has_order = |kind| !matches!(kind, Kind::Boolean | Kind::Binary);
    let is_like = match (one, two) {
        (Kind::Binary, other) | (other, Kind::Binary) => matches!(other, Kind::Binary | Kind::Any),
        (Kind::Any | Kind::Text, _) | (_, Kind::Any | Kind::Text) => true,
        (one, two) => one == two,
    };
    let fits = is_like && (is_equality || has_order(one) && has_order(two));
    if fits {
        return Ok(());
    }
    let message = format!("{} cannot be compared with {} by {}", one, two, comparison.name());
    Err(CompileError::new(left.position, message, "convert one of them: CStr, CNum, CDate, ConvertToBase64"))
}

fn adopt(side: &mut Typed, other: Kind, role: &str) -> Result<(), CompileError> {
    let Node::Constant(value @ Value::Text(_)) = &side.node else { return Ok(()) };
    let (converted, wanted) = match other {
        Kind::Integer => (value.to_integer().map(Value::Integer), "a whole number"),
        Kind::Boolean => (value.to_boolean().map(Value::Boolean), "True or False"),
        Kind::Date => (value.to_date().map(Value::Date), "a date"),
        _ => return Ok(()),
    };
    let Ok(converted) = converted else {
        let message = format!("{role} is compared with {other} and must be {wanted}");
        return Err(CompileError::new(side.position, message, "a text that is none is never equal to it"));
    };
    side.node = Node::Constant(converted);
    side.of = Type::single(other);
    Ok(())
}
