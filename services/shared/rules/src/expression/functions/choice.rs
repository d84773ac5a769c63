//! Conditions and choices.

use super::super::evaluate::{Call, Evaluated, Stop};
use super::super::input::Parameter;
use super::super::types::Type;
use super::super::value::Value;
use super::{Binds, Body, Definition, Want, gives_any_of, gives_boolean, gives_first, gives_text, may, need};

pub(super) const ALL: [Definition; 18] = [
    Definition::new(
        "CBool(value)",
        "whether a value is true or a number that is not zero; False for anything else, also for Null",
        &[need(Want::One)],
        gives_boolean,
        |call| Ok(Some(call.value(0)?.is_some_and(|value| is_true(&value)).into())),
    ),
    Definition::new(
        "Coalesce(value1, [value2], ...)",
        "the first value that is not Null; an empty text is a value",
        &[need(Want::Any), may(Want::Any)],
        |types| gives_any_of(types.iter().copied()),
        coalesce,
    )
    .repeating(1),
    Definition::new("DefaultDomain()", "the tenant's default domain", &[], gives_text, |call| {
        call.parameter(Parameter::DefaultDomain)
    })
    .not_folded(),
    Definition::special("Error(message)", "fails the attribute with a message", &[need(Want::Text)], Body::Raise),
    Definition::new(
        "IIF(condition, value, otherwise)",
        "the one value if the condition holds, the other one if it does not or is Null",
        &[need(Want::Boolean), need(Want::Any), need(Want::Any)],
        |types| gives_any_of(types.iter().copied().skip(1)),
        |call| call.value(if call.condition(0)? { 1 } else { 2 }),
    ),
    Definition::new(
        "IgnoreFlowIfNullOrEmpty(value)",
        "the value; if it is Null or empty, the target is left as it is",
        &[need(Want::Any)],
        gives_first,
        |call| if call.is_null_or_empty(0)? { Err(Stop::Ignore) } else { call.value(0) },
    ),
    Definition::special(
        "ImportedValue(\"attribute\")",
        "the attribute as the directory has it",
        &[need(Want::Literal)],
        Body::Attribute,
    ),
    Definition::new(
        "IsEmpty(value)",
        "whether there is a value and it is an empty text",
        &[need(Want::Any)],
        gives_boolean,
        |call| Ok(Some((call.values_count(0)? > 0 && call.is_null_or_empty(0)?).into())),
    ),
    Definition::new("IsNull(value)", "whether there is no value", &[need(Want::Any)], gives_boolean, |call| {
        Ok(Some((call.values_count(0)? == 0).into()))
    }),
    Definition::new(
        "IsNullOrEmpty(value)",
        "whether there is no value or an empty text",
        &[need(Want::Any)],
        gives_boolean,
        |call| Ok(Some(call.is_null_or_empty(0)?.into())),
    ),
    Definition::new(
        "IsPresent(value)",
        "whether there is a value that is not an empty text",
        &[need(Want::Any)],
        gives_boolean,
        |call| Ok(Some((!call.is_null_or_empty(0)?).into())),
    ),
    Definition::new(
        "IsString(value)",
        "whether there is a value and it can be read as text",
        &[need(Want::Any)],
        gives_boolean,
        |call| {
            let value = call.value(0)?.and_then(Value::first);
            Ok(Some(value.is_some_and(|value| !matches!(value, Value::Binary(_))).into()))
        },
    ),
    Definition::new(
        "Not(value)",
        "False if the value is True, and True for anything else, also for Null",
        &[need(Want::One)],
        gives_boolean,
        |call| {
            let value = call.value(0)?.and_then(Value::first);
            let is_true = matches!(&value, Some(Value::Boolean(true)))
                || matches!(&value, Some(Value::Text(text)) if text == "True");
            Ok(Some((!is_true).into()))
        },
    ),
    Definition::new(
        "Redact(value)",
        "the value; no value is ever written to a log",
        &[need(Want::Any)],
        gives_first,
        |call| call.value(0),
    ),
    Definition::new(
        "Select($item, values, expression)",
        "what the expression gives for each value",
        &[need(Want::Variable(Binds::Each)), need(Want::List), need(Want::Any)],
        |types| Type::multi(types.get(2).copied().unwrap_or(Type::NOTHING).kind),
        select,
    )
    .not_folded(),
    Definition::new(
        "Switch(source, [default], key1, value1, ...)",
        "the value whose key is exactly the source, or the default",
        &[need(Want::Text), may(Want::Any), need(Want::Text), need(Want::Any)],
        |types| {
            let values = types.iter().skip(3).step_by(2);
            gives_any_of(types.get(1).into_iter().chain(values).copied())
        },
        switch,
    )
    .repeating(2),
    Definition::new(
        "Where($item, values, condition)",
        "the values for which the condition holds",
        &[need(Want::Variable(Binds::Each)), need(Want::List), need(Want::Boolean)],
        |types| Type::multi(types.get(1).copied().unwrap_or(Type::NOTHING).kind),
        where_,
    )
    .not_folded(),
    Definition::new(
        "With($name, value, expression)",
        "the expression, in which the name stands for the value",
        &[need(Want::Variable(Binds::Whole)), need(Want::Any), need(Want::Any)],
        |types| types.get(2).copied().unwrap_or(Type::NOTHING),
        |call| {
            let value = call.value(1)?;
            call.value_with(2, value.as_ref())
        },
    )
    .not_folded(),
];

fn is_true(value: &Value<'_>) -> bool {
    value.to_boolean().or_else(|_| value.to_integer().map(|number| number != 0)).unwrap_or(false)
}

fn coalesce<'a>(call: &Call<'_, 'a>) -> Evaluated<'a> {
    for index in 0..call.count() {
        if let Some(value) = call.value(index)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn switch<'a>(call: &Call<'_, 'a>) -> Evaluated<'a> {
    let Some(source) = call.text(0)? else { return call.value(1) };
    for index in (2..call.count()).step_by(2) {
        if call.text(index)?.as_ref() == Some(&source) {
            return call.value(index + 1);
        }
    }
    call.value(1)
}

fn select<'a>(call: &Call<'_, 'a>) -> Evaluated<'a> {
    let mut results = Vec::new();
    for value in call.list(1)? {
        let result = call.value_with(2, Some(&value))?;
        results.extend(result.map(Value::into_list).unwrap_or_default());
        call.check_length(results.len())?;
    }
    Ok(Call::from_list(results))
}

fn where_<'a>(call: &Call<'_, 'a>) -> Evaluated<'a> {
    let mut kept = Vec::new();
    for value in call.list(1)? {
        let condition = call.value_with(2, Some(&value))?;
        let holds = condition.map_or(Ok(false), |condition| condition.to_boolean()).map_err(|kind| call.fail(kind))?;
        if holds {
            kept.push(value);
        }
    }
    Ok(Call::from_list(kept))
}
