//! Dates.

use super::super::types::{Kind, Type};
use super::{Definition, Want, need};

pub(super) const ALL: [Definition; 1] = [Definition::new(
    "CDate(text)",
    "the date that a text is; UTC unless it states an offset",
    &[need(Want::Date)],
    |_| Type::single(Kind::Date),
    |call| Ok(call.date(0)?.map(Into::into)),
)];
