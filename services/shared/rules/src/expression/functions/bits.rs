//! Numbers.

use super::super::evaluate::{Call, Evaluated};
use super::{Definition, Want, gives_boolean, gives_integer, need};

pub(super) const ALL: [Definition; 5] = [
    Definition::new(
        "BitAnd(number1, number2)",
        "the bits that both numbers have",
        &[need(Want::Integer), need(Want::Integer)],
        gives_integer,
        |call| both(call, |one, two| (one & two).into()),
    ),
    Definition::new(
        "BitOr(number1, number2)",
        "the bits that either number has",
        &[need(Want::Integer), need(Want::Integer)],
        gives_integer,
        |call| both(call, |one, two| (one | two).into()),
    ),
    Definition::new("CNum(text)", "the whole number that a text is", &[need(Want::Integer)], gives_integer, |call| {
        Ok(call.integer(0)?.map(Into::into))
    }),
    Definition::new(
        "IsBitSet(number, mask)",
        "whether the number has any bit of the mask",
        &[need(Want::Integer), need(Want::Integer)],
        gives_boolean,
        |call| both(call, |one, two| (one & two != 0).into()),
    ),
    Definition::new(
        "IsNumeric(value)",
        "whether a value is a whole number or can be read as one; False for Null",
        &[need(Want::One)],
        gives_boolean,
        |call| Ok(Some(call.value(0)?.is_some_and(|value| value.to_integer().is_ok()).into())),
    ),
];

fn both<'a>(call: &Call<'_, 'a>, combine: impl Fn(i64, i64) -> super::super::value::Value<'a>) -> Evaluated<'a> {
    let (one, two) = (call.integer(0)?, call.integer(1)?);
    Ok(one.zip(two).map(|(one, two)| combine(one, two)))
}
