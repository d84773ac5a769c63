//! From the tree of an expression to what is evaluated: names resolved, arguments counted, types compared, literals
//! checked, and what does not depend on the object computed once.

mod argument;

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::error::{CompileError, EvalErrorKind};
use super::evaluate::{Call, Evaluated, Evaluator, Stop};
use super::functions::{self, Binds, Body, Definition, Prepared, Want};
use super::input::{Nothing, Parameter};
use super::lexer::Comparison;
use super::parser::{Syntax, SyntaxKind};
use super::schema::{AttributeSyntax, Schema};
use super::suggest;
use super::types::{Kind, Type};
use super::value::Value;

/// A part of a compiled expression.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Null,
    Clear,
    Ignore,
    /// The literal text of `Error(...)`, and where it is written.
    Raise(String, usize),
    Constant(Value<'static>),
    Attribute {
        name: String,
        syntax: AttributeSyntax,
        position: usize,
    },
    Parameter(Parameter, usize),
    /// How many variables lie between this use and the one meant.
    Variable(usize),
    Call(Box<CallNode>),
    Not(Box<Node>, usize),
    And(Vec<Node>, usize),
    Or(Vec<Node>, usize),
    Concatenate(Vec<Node>, usize),
    Compare(Comparison, Box<[Node; 2]>, usize),
}

/// A call of a function.
#[derive(Debug, Clone)]
pub(crate) struct CallNode {
    pub(crate) name: &'static str,
    pub(crate) run: for<'e, 'a> fn(&Call<'e, 'a>) -> Evaluated<'a>,
    pub(crate) arguments: Vec<Node>,
    pub(crate) prepared: Prepared,
    pub(crate) position: usize,
}

/// A checked argument.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(crate) node: Node,
    pub(crate) of: Type,
    pub(crate) position: usize,
}

impl Typed {
    fn new(node: Node, of: Type, position: usize) -> Self {
        Self { node, of, position }
    }

    /// Whether it is the same for every object.
    fn is_constant(&self) -> bool {
        matches!(self.node, Node::Null | Node::Constant(_))
    }
}

pub(super) struct Checker<'s> {
    schema: &'s Schema,
    pub(super) attributes: BTreeSet<String>,
    /// Those in scope, the innermost last.
    variables: Vec<(String, Type)>,
}

type Checked = Result<Typed, CompileError>;

impl<'s> Checker<'s> {
    pub(super) fn new(schema: &'s Schema) -> Self {
        Self { schema, attributes: BTreeSet::new(), variables: Vec::new() }
    }

    pub(super) fn check(&mut self, syntax: &Syntax) -> Checked {
        let position = syntax.position;
        let typed = |node, of| Ok(Typed::new(node, of, position));
        match &syntax.kind {
            SyntaxKind::Text(text) => typed(Node::Constant(text.clone().into()), Type::TEXT),
            SyntaxKind::Integer(number) => typed(Node::Constant((*number).into()), Type::INTEGER),
            SyntaxKind::Attribute(name) => self.attribute(name, position),
            SyntaxKind::Parameter(name) => {
                let wanted = format!("%{name}%");
                let known = || Parameter::WRITTEN.into_iter().map(Parameter::name);
                let Some(parameter) = Parameter::WRITTEN.into_iter().find(|parameter| parameter.name() == wanted)
                else {
                    let known_names = known().collect::<Vec<_>>().join(", ");
                    let hint = suggest::hint(&wanted, known(), &format!("there are {known_names}"));
                    return Err(CompileError::new(position, format!("there is no parameter {wanted}"), hint));
                };
                typed(Node::Parameter(parameter, position), Type::TEXT)
            }
            SyntaxKind::Variable(name) => {
                let found = self.variables.iter().rev().enumerate().find(|(_, (known, _))| known == name);
                let Some((outwards, (_, of))) = found else {
                    let message = format!("${name} has no value here");
                    return Err(CompileError::new(position, message, "variables are those of With, Where and Select"));
                };
                typed(Node::Variable(outwards), *of)
            }
            SyntaxKind::Word(word) => literal(word, position),
            SyntaxKind::Call(name, arguments) => self.call(name, arguments, position),
            SyntaxKind::Not(operand) => {
                let operand = self.condition(operand, "NOT")?;
                typed(Node::Not(Box::new(operand), position), Type::BOOLEAN)
            }
            SyntaxKind::And(operands) => {
                let operands =
                    operands.iter().map(|operand| self.condition(operand, "AND")).collect::<Result<_, _>>()?;
                typed(Node::And(operands, position), Type::BOOLEAN)
            }
            SyntaxKind::Or(operands) => {
                let operands =
                    operands.iter().map(|operand| self.condition(operand, "OR")).collect::<Result<_, _>>()?;
                typed(Node::Or(operands, position), Type::BOOLEAN)
            }
            SyntaxKind::Concatenate(operands) => self.concatenate(operands, position),
            SyntaxKind::Compare(comparison, operands) => self.compare(*comparison, operands, position),
        }
    }

    fn attribute(&mut self, name: &str, position: usize) -> Checked {
        let Some((syntax, of)) = self.schema.type_of(name) else {
            let message = format!("there is no attribute {name}");
            return Err(CompileError::new(position, message, self.schema.hint(name)));
        };
        self.attributes.insert(name.to_owned());
        Ok(Typed::new(Node::Attribute { name: name.to_owned(), syntax, position }, of, position))
    }

    fn condition(&mut self, syntax: &Syntax, operator: &str) -> Result<Node, CompileError> {
        let operand = self.check(syntax)?;
        Ok(argument::fit(operand, Want::Boolean, &format!("an operand of {operator}"))?.node)
    }

    fn concatenate(&mut self, operands: &[Syntax], position: usize) -> Checked {
        let mut nodes: Vec<Node> = Vec::new();
        for operand in operands {
            let operand = argument::fit(self.check(operand)?, Want::Text, "an operand of &")?;
            match (nodes.last_mut(), operand.node) {
                // neighbouring literals become one
                (Some(Node::Constant(Value::Text(before))), Node::Constant(Value::Text(text))) => {
                    before.to_mut().push_str(&text);
                }
                (_, node) => nodes.push(node),
            }
        }
        let node = match nodes.pop() {
            Some(Node::Constant(only)) if nodes.is_empty() => Node::Constant(only),
            last => {
                nodes.extend(last);
                Node::Concatenate(nodes, position)
            }
        };
        Ok(Typed::new(node, Type::TEXT, position))
    }

    fn compare(&mut self, comparison: Comparison, operands: &[Syntax; 2], position: usize) -> Checked {
        let [left, right] = operands;
        let (mut left, mut right) = (self.check(left)?, self.check(right)?);
        argument::comparable(comparison, &mut left, &mut right)?;
        let folds = left.is_constant() && right.is_constant();
        let node = Node::Compare(comparison, Box::new([left.node, right.node]), position);
        let node = if folds { fold(&node, comparison.name(), position)? } else { node };
        Ok(Typed::new(node, Type::BOOLEAN, position))
    }

    fn call(&mut self, name: &str, arguments: &[Option<Syntax>], position: usize) -> Checked {
        let Some(definition) = functions::find(name) else { return Err(unknown(name, position)) };
        argument::count(definition, arguments, position)?;
        if matches!(definition.body, Body::Attribute) {
            let [Some(Syntax { kind: SyntaxKind::Text(name), position })] = arguments else {
                let hint = "write ImportedValue(\"proxyAddresses\")";
                return Err(CompileError::new(position, "ImportedValue takes the name of an attribute as text", hint));
            };
            return self.attribute(name, *position);
        }
        let arguments = self.arguments(definition, arguments, position)?;
        let types: Vec<Type> =
            arguments.iter().map(|argument| argument.as_ref().map_or(Type::NOTHING, |a| a.of)).collect();
        let of = (definition.result)(&types);
        let checked = Arguments { function: definition.name, position, given: &arguments };
        let Body::Run(run) = definition.body else {
            return Ok(Typed::new(Node::Raise(checked.literal_text(), position), Type::NOTHING, position));
        };
        let prepared = (definition.prepare)(&checked)?;
        let folds = definition.folds && arguments.iter().flatten().all(Typed::is_constant);
        let arguments = arguments.into_iter().map(|argument| argument.map_or(Node::Null, |a| a.node)).collect();
        let call = CallNode { name: definition.name, run, arguments, prepared, position };
        let node = Node::Call(Box::new(call));
        Ok(Typed::new(if folds { fold(&node, definition.name, position)? } else { node }, of, position))
    }

    fn arguments(
        &mut self,
        definition: &'static Definition,
        arguments: &[Option<Syntax>],
        position: usize,
    ) -> Result<Vec<Option<Typed>>, CompileError> {
        let mut checked = Vec::with_capacity(arguments.len());
        let outer = self.variables.len();
        for (index, argument) in arguments.iter().enumerate() {
            let parameter = definition.parameter(index);
            let role = format!("argument {} of {}", index + 1, definition.name);
            let Some(argument) = argument else {
                if parameter.optional {
                    checked.push(None);
                    continue;
                }
                let message = format!("{role} is missing");
                return Err(CompileError::new(position, message, format!("the call is {}", definition.signature)));
            };
            let typed = match (parameter.want, &argument.kind) {
                (Want::Variable(_), SyntaxKind::Variable(_)) => {
                    Typed::new(Node::Null, Type::NOTHING, argument.position)
                }
                (Want::Word(words), SyntaxKind::Word(word) | SyntaxKind::Text(word)) => {
                    argument::word(words, word, argument.position, &role)?
                }
                (want, _) => argument::fit(self.check(argument)?, want, &role)?,
            };
            checked.push(Some(typed));
            // the variable of the call has a value in what follows its second argument
            if let (Some(Some(Syntax { kind: SyntaxKind::Variable(name), .. })), Want::Variable(binds), 1) =
                (arguments.first(), definition.parameter(0).want, index)
            {
                let whole = checked.last().and_then(Option::as_ref).map_or(Type::NOTHING, |typed| typed.of);
                let of = if binds == Binds::Whole { whole } else { Type::single(whole.kind) };
                self.variables.push((name.clone(), of));
            }
        }
        self.variables.truncate(outer);
        Ok(checked)
    }
}

fn literal(word: &str, position: usize) -> Checked {
    let (node, of) = match word {
        "True" => (Node::Constant(true.into()), Type::BOOLEAN),
        "False" => (Node::Constant(false.into()), Type::BOOLEAN),
        "NULL" => (Node::Null, Type::NOTHING),
        "AuthoritativeNull" => (Node::Clear, Type::NOTHING),
        "IgnoreThisFlow" => (Node::Ignore, Type::NOTHING),
        _ => {
            let literals = ["True", "False", "NULL", "AuthoritativeNull", "IgnoreThisFlow", "AND", "OR", "NOT"];
            let hint = if functions::find(word).is_some() {
                format!("{word} is a function: write {word}(...)")
            } else {
                let otherwise = "attributes stand in brackets: [name]; texts in quotation marks: \"text\"";
                suggest::hint(word, literals.into_iter(), otherwise)
            };
            return Err(CompileError::new(position, format!("{word} means nothing here"), hint));
        }
    };
    Ok(Typed::new(node, of, position))
}

fn unknown(name: &str, position: usize) -> CompileError {
    if let Some(refused) = functions::refused(name) {
        return CompileError::new(
            position,
            format!("{} is not available: {}", refused.name, refused.reason),
            refused.hint,
        );
    }
    let hint = suggest::hint(name, functions::names(), "the list of functions has all there are");
    CompileError::new(position, format!("there is no function {name}"), hint)
}

/// Computes what is the same for every object; that it fails for every object is an error in the expression.
fn fold(node: &Node, name: &str, position: usize) -> Result<Node, CompileError> {
    let input = Nothing;
    let result = match Evaluator::new(&input).run(node, None) {
        Ok(value) => Ok(value.map_or(Node::Null, |value| Node::Constant(value.into_owned()))),
        Err(Stop::Failed(error)) => Err(error.kind),
        Err(Stop::Clear) => Ok(Node::Clear),
        Err(Stop::Ignore) => Ok(Node::Ignore),
    };
    result.map_err(|kind: EvalErrorKind| {
        CompileError::new(position, format!("{name} fails for every object: {kind}"), "correct its literal arguments")
    })
}

/// The checked arguments of a call, for what a function makes of its literals when it is compiled.
pub(crate) struct Arguments<'c> {
    pub(crate) function: &'static str,
    pub(crate) position: usize,
    pub(crate) given: &'c [Option<Typed>],
}

impl Arguments<'_> {
    pub(crate) fn get(&self, index: usize) -> Option<&Typed> {
        self.given.get(index).and_then(Option::as_ref)
    }

    pub(crate) fn is_given(&self, index: usize) -> bool {
        self.get(index).is_some()
    }

    pub(crate) fn position_of(&self, index: usize) -> usize {
        self.get(index).map_or(self.position, |argument| argument.position)
    }

    /// The text of an argument that is literal.
    pub(crate) fn text(&self, index: usize) -> Option<&str> {
        match &self.get(index)?.node {
            Node::Constant(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The number of an argument that is literal.
    pub(crate) fn integer(&self, index: usize) -> Option<i64> {
        match &self.get(index)?.node {
            Node::Constant(value) => value.to_integer().ok(),
            _ => None,
        }
    }

    pub(crate) fn wrong(&self, index: usize, message: impl Into<String>, hint: impl Into<String>) -> CompileError {
        CompileError::new(self.position_of(index), format!("{}: {}", self.function, message.into()), hint)
    }

    /// The literal parts of a message, with `…` for the others.
    fn literal_text(&self) -> String {
        self.get(0).map_or_else(String::new, |message| literal_text(&message.node))
    }
}

fn literal_text(node: &Node) -> String {
    match node {
        Node::Constant(value) => value.clone().into_text().map_or_else(|_| "…".to_owned(), Cow::into_owned),
        Node::Concatenate(parts, _) => parts.iter().map(literal_text).collect(),
        Node::Call(call) if call.name == "Append" => call.arguments.iter().map(literal_text).collect(),
        _ => "…".to_owned(),
    }
}

impl Kind {
    /// Whether nothing is known that a value of this kind could not be.
    fn is_open(self) -> bool {
        matches!(self, Self::Any | Self::Nothing)
    }
}
