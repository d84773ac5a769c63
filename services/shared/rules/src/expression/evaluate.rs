//! Evaluates a compiled expression for one object.

use std::borrow::Cow;
use std::cell::Cell;
use std::cmp::Ordering;

use forestsync_domain::AttributeValue;

use super::check::{CallNode, Node};
use super::error::{EvalError, EvalErrorKind};
use super::functions::Prepared;
use super::input::{Input, Parameter};
use super::lexer::Comparison;
use super::schema::AttributeSyntax;
use super::value::Value;

/// The longest text or binary value that a function may make, in bytes.
pub(crate) const SIZE_LIMIT: usize = 64 * 1024;
/// How many values a function may read or make.
pub(crate) const LIST_LIMIT: usize = 2_000;
/// How many steps an evaluation may take; a step is a part of the expression evaluated, a value copied, or 64
/// bytes made or searched.
const STEP_LIMIT: u32 = 1_000_000;

/// Why an evaluation ends before the end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// `AuthoritativeNull` was reached.
    Clear,
    /// `IgnoreThisFlow` was reached.
    Ignore,
    Failed(EvalError),
}

/// A value, Null, or the end of the evaluation.
pub(crate) type Evaluated<'a> = Result<Option<Value<'a>>, Stop>;

/// A variable that `With`, `Where` or `Select` gave a value, and those around it.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'e, 'a> {
    value: Option<&'e Value<'a>>,
    outer: Scope<'e, 'a>,
}

pub(crate) type Scope<'e, 'a> = Option<&'e Frame<'e, 'a>>;

pub(super) struct Evaluator<'a> {
    input: &'a dyn Input,
    steps: Cell<u32>,
}

fn failed(kind: EvalErrorKind, function: &'static str, position: usize) -> Stop {
    Stop::Failed(EvalError { kind, function, position })
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(input: &'a dyn Input) -> Self {
        Self { input, steps: Cell::new(STEP_LIMIT) }
    }

    pub(super) fn run(&self, node: &'a Node, scope: Scope<'_, 'a>) -> Evaluated<'a> {
        self.spend(1, "the expression", 1)?;
        match node {
            Node::Null => Ok(None),
            Node::Clear => Err(Stop::Clear),
            Node::Ignore => Err(Stop::Ignore),
            Node::Raise(message, position) => Err(failed(EvalErrorKind::Raised(message.clone()), "Error", *position)),
            Node::Constant(value) => self.copied(Some(value), Value::borrowed),
            Node::Attribute { name, syntax, position } => self.attribute(name, *syntax, *position),
            Node::Parameter(parameter, position) => self.parameter(*parameter, *position).map(Some),
            Node::Variable(outwards) => {
                let frame = (0..*outwards).try_fold(scope, |scope, _| Some(scope?.outer)).flatten();
                self.copied(frame.and_then(|frame| frame.value), Value::clone)
            }
            Node::Call(call) => self.call(call, scope),
            Node::Not(operand, position) => Ok(Some((!self.condition(operand, "NOT", *position, scope)?).into())),
            Node::And(operands, position) => {
                for operand in operands {
                    if !self.condition(operand, "AND", *position, scope)? {
                        return Ok(Some(false.into()));
                    }
                }
                Ok(Some(true.into()))
            }
            Node::Or(operands, position) => {
                for operand in operands {
                    if self.condition(operand, "OR", *position, scope)? {
                        return Ok(Some(true.into()));
                    }
                }
                Ok(Some(false.into()))
            }
            Node::Concatenate(operands, position) => self.concatenate(operands, *position, scope),
            Node::Compare(comparison, operands, position) => {
                let [left, right] = &**operands;
                let (left, right) = (self.run(left, scope)?, self.run(right, scope)?);
                let holds = compare(*comparison, left, right);
                holds.map(|holds| Some(holds.into())).map_err(|kind| failed(kind, comparison.name(), *position))
            }
        }
    }

    fn spend(&self, steps: usize, function: &'static str, position: usize) -> Result<(), Stop> {
        let left = self.steps.get().checked_sub(u32::try_from(steps).unwrap_or(u32::MAX));
        self.steps.set(left.ok_or_else(|| failed(EvalErrorKind::TooLarge, function, position))?);
        Ok(())
    }

    /// A value that is needed once more; what it takes to copy it counts.
    fn copied<'v>(&self, value: Option<&'v Value<'a>>, copy: fn(&'v Value<'a>) -> Value<'a>) -> Evaluated<'a> {
        let Some(value) = value else { return Ok(None) };
        let values = if let Value::List(values) = value { values.len() } else { 0 };
        self.spend(values + value.built() / 64, "the expression", 1)?;
        Ok(Some(copy(value)))
    }

    fn attribute(&self, name: &str, syntax: AttributeSyntax, position: usize) -> Evaluated<'a> {
        match self.input.values(name) {
            [] => Ok(None),
            [value] => Ok(Some(read(value, syntax))),
            values if values.len() > LIST_LIMIT => Err(failed(EvalErrorKind::TooLarge, "[attribute]", position)),
            values => {
                self.spend(values.len(), "[attribute]", position)?;
                Ok(Some(Value::List(values.iter().map(|value| read(value, syntax)).collect())))
            }
        }
    }

    fn parameter(&self, parameter: Parameter, position: usize) -> Result<Value<'a>, Stop> {
        let text = self.input.parameter(parameter);
        let text = text.ok_or_else(|| failed(EvalErrorKind::NoParameter, parameter.name(), position))?;
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn condition(
        &self,
        node: &'a Node,
        function: &'static str,
        position: usize,
        scope: Scope<'_, 'a>,
    ) -> Result<bool, Stop> {
        let value = self.run(node, scope)?;
        value.map_or(Ok(false), |value| value.to_boolean().map_err(|kind| failed(kind, function, position)))
    }

    fn concatenate(&self, operands: &'a [Node], position: usize, scope: Scope<'_, 'a>) -> Evaluated<'a> {
        let fail = |kind| failed(kind, "&", position);
        let mut text: Option<String> = None;
        for operand in operands {
            let Some(value) = self.run(operand, scope)? else { continue };
            let part = value.into_text().map_err(fail)?;
            let text = text.get_or_insert_default();
            if text.len() + part.len() > SIZE_LIMIT {
                return Err(fail(EvalErrorKind::TooLarge));
            }
            text.push_str(&part);
        }
        self.spend(1 + text.as_ref().map_or(0, String::len) / 64, "&", position)?;
        Ok(text.map(Value::from))
    }

    fn call(&self, node: &'a CallNode, scope: Scope<'_, 'a>) -> Evaluated<'a> {
        let call = Call { evaluator: self, node, scope };
        let value = (node.run)(&call)?;
        let built = value.as_ref().map_or(0, Value::built);
        let is_too_long = matches!(&value, Some(Value::List(values)) if values.len() > LIST_LIMIT);
        if is_too_long || built > SIZE_LIMIT {
            return Err(call.fail(EvalErrorKind::TooLarge));
        }
        self.spend(1 + built / 64, node.name, node.position)?;
        Ok(value)
    }
}

/// What the directory holds, by the attribute's syntax. A value that is not of its syntax stays text, and the function
/// that needs more says so.
fn read(value: &AttributeValue, syntax: AttributeSyntax) -> Value<'_> {
    let text = match value {
        AttributeValue::Binary(bytes) => return Value::Binary(Cow::Borrowed(bytes)),
        AttributeValue::Text(text) => text,
    };
    let as_text = || Value::Text(Cow::Borrowed(text.as_str()));
    match syntax {
        AttributeSyntax::Integer | AttributeSyntax::FileTime => text.parse().map_or_else(|_| as_text(), Value::Integer),
        AttributeSyntax::Boolean => match text.as_str() {
            "TRUE" => Value::Boolean(true),
            "FALSE" => Value::Boolean(false),
            _ => as_text(),
        },
        _ => as_text(),
    }
}

/// Nothing is equal to Null, less or greater than it; everything is different from it, also Null.
fn compare(comparison: Comparison, left: Option<Value<'_>>, right: Option<Value<'_>>) -> Result<bool, EvalErrorKind> {
    use Comparison as C;
    let (Some(left), Some(right)) = (left.and_then(Value::first), right.and_then(Value::first)) else {
        return Ok(comparison == C::NotEqual);
    };
    if matches!(comparison, C::Equal | C::NotEqual) {
        return Ok(equal(&left, &right)? == (comparison == C::Equal));
    }
    let ordering = order(&left, &right)?;
    Ok(match comparison {
        C::Less => ordering == Ordering::Less,
        C::LessOrEqual => ordering != Ordering::Greater,
        C::Greater => ordering == Ordering::Greater,
        _ => ordering != Ordering::Less,
    })
}

/// Two values of one kind are compared as such, a text and a number as texts.
fn equal(left: &Value<'_>, right: &Value<'_>) -> Result<bool, EvalErrorKind> {
    use Value as V;
    Ok(match (left, right) {
        (V::Boolean(one), other) | (other, V::Boolean(one)) => match other {
            V::Boolean(_) | V::Text(_) => other.to_boolean()? == *one,
            _ => return Err(EvalErrorKind::NotComparable),
        },
        (V::Date(one), other) | (other, V::Date(one)) => match other {
            V::Date(_) | V::Text(_) => other.to_date()? == *one,
            _ => return Err(EvalErrorKind::NotComparable),
        },
        (V::Text(text), V::Integer(number)) | (V::Integer(number), V::Text(text)) => **text == number.to_string(),
        (V::Binary(one), V::Binary(two)) => one == two,
        (V::Binary(_), _) | (_, V::Binary(_)) => return Err(EvalErrorKind::NotComparable),
        (one, two) => one == two,
    })
}

/// Texts by their characters' numbers; a text and a number as numbers; a text and a date as dates.
fn order(left: &Value<'_>, right: &Value<'_>) -> Result<Ordering, EvalErrorKind> {
    use Value as V;
    Ok(match (left, right) {
        (V::Text(one), V::Text(two)) => one.cmp(two),
        (V::Integer(_), V::Integer(_) | V::Text(_)) | (V::Text(_), V::Integer(_)) => {
            left.to_integer()?.cmp(&right.to_integer()?)
        }
        (V::Date(_), V::Date(_) | V::Text(_)) | (V::Text(_), V::Date(_)) => left.to_date()?.cmp(&right.to_date()?),
        _ => return Err(EvalErrorKind::NotComparable),
    })
}

/// A call while it is evaluated: how a function comes by its arguments, each evaluated when it is asked for.
pub(crate) struct Call<'e, 'a> {
    evaluator: &'e Evaluator<'a>,
    node: &'a CallNode,
    scope: Scope<'e, 'a>,
}

impl<'a> Call<'_, 'a> {
    /// How many argument positions are written.
    pub(crate) fn count(&self) -> usize {
        self.node.arguments.len()
    }

    /// What was made of the literal arguments when the expression was compiled.
    pub(crate) fn prepared(&self) -> &'a Prepared {
        &self.node.prepared
    }

    pub(crate) fn fail(&self, kind: EvalErrorKind) -> Stop {
        failed(kind, self.node.name, self.node.position)
    }

    /// The argument as it is. Omitted ones and such as are not written are Null.
    pub(crate) fn value(&self, index: usize) -> Evaluated<'a> {
        self.node.arguments.get(index).map_or(Ok(None), |node| self.evaluator.run(node, self.scope))
    }

    /// The argument while the call's variable has a value.
    pub(crate) fn value_with(&self, index: usize, variable: Option<&Value<'a>>) -> Evaluated<'a> {
        let frame = Frame { value: variable, outer: self.scope };
        self.node.arguments.get(index).map_or(Ok(None), |node| self.evaluator.run(node, Some(&frame)))
    }

    fn converted<T>(
        &self,
        index: usize,
        convert: impl FnOnce(Value<'a>) -> Result<T, EvalErrorKind>,
    ) -> Result<Option<T>, Stop> {
        self.value(index)?.map(convert).transpose().map_err(|kind| self.fail(kind))
    }

    pub(crate) fn text(&self, index: usize) -> Result<Option<Cow<'a, str>>, Stop> {
        self.converted(index, Value::into_text)
    }

    pub(crate) fn integer(&self, index: usize) -> Result<Option<i64>, Stop> {
        self.converted(index, |value| value.to_integer())
    }

    pub(crate) fn date(&self, index: usize) -> Result<Option<jiff::Timestamp>, Stop> {
        self.converted(index, |value| value.to_date())
    }

    /// Whether a condition holds; Null does not.
    pub(crate) fn condition(&self, index: usize) -> Result<bool, Stop> {
        Ok(self.converted(index, |value| value.to_boolean())?.unwrap_or(false))
    }

    pub(crate) fn binary(&self, index: usize) -> Result<Option<Cow<'a, [u8]>>, Stop> {
        self.converted(index, |value| match value.first() {
            Some(Value::Binary(bytes)) => Ok(bytes),
            _ => Err(EvalErrorKind::NotBinary),
        })
    }

    /// The argument's values; empty if it is Null.
    pub(crate) fn list(&self, index: usize) -> Result<Vec<Value<'a>>, Stop> {
        Ok(self.value(index)?.map(Value::into_list).unwrap_or_default())
    }

    /// How many values the argument has; those of an attribute are counted where they are, however many.
    pub(crate) fn values_count(&self, index: usize) -> Result<usize, Stop> {
        if let Some(Node::Attribute { name, .. }) = self.node.arguments.get(index) {
            return Ok(self.evaluator.input.values(name).len());
        }
        Ok(self.list(index)?.len())
    }

    /// Whether the argument is Null or nothing but empty texts; an attribute is looked at where it is.
    pub(crate) fn is_null_or_empty(&self, index: usize) -> Result<bool, Stop> {
        if let Some(Node::Attribute { name, .. }) = self.node.arguments.get(index) {
            return Ok(self.evaluator.input.values(name).iter().all(|value| value.as_bytes().is_empty()));
        }
        Ok(self.value(index)?.is_none_or(|value| value.is_empty_text()))
    }

    /// Counts the search of so many bytes.
    pub(crate) fn spend_search(&self, bytes: usize) -> Result<(), Stop> {
        self.evaluator.spend(1 + bytes / 64, self.node.name, self.node.position)
    }

    /// Fails before a list gets longer than allowed.
    pub(crate) fn check_length(&self, length: usize) -> Result<(), Stop> {
        if length > LIST_LIMIT { Err(self.fail(EvalErrorKind::TooLarge)) } else { Ok(()) }
    }

    pub(crate) fn parameter(&self, parameter: Parameter) -> Evaluated<'a> {
        self.evaluator.parameter(parameter, self.node.position).map(Some)
    }

    /// The value of a list of results: Null if there is none, the value itself if there is one.
    pub(crate) fn from_list(mut values: Vec<Value<'a>>) -> Option<Value<'a>> {
        if values.len() > 1 { Some(Value::List(values)) } else { values.pop() }
    }
}
