//! From the words of an expression to its tree.

use super::error::CompileError;
use super::lexer::{Comparison, Spanned, Token, tokens};

/// How deep calls, parentheses and `NOT` may nest.
pub(super) const DEPTH_LIMIT: usize = 64;

/// A part of an expression and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Syntax {
    pub(super) position: usize,
    pub(super) kind: SyntaxKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SyntaxKind {
    Text(String),
    Integer(i64),
    Attribute(String),
    Parameter(String),
    Variable(String),
    /// A literal such as `True`, or an option of a function such as `UTF8`.
    Word(String),
    /// `None` is an omitted argument.
    Call(String, Vec<Option<Syntax>>),
    Not(Box<Syntax>),
    And(Vec<Syntax>),
    Or(Vec<Syntax>),
    Concatenate(Vec<Syntax>),
    Compare(Comparison, Box<[Syntax; 2]>),
}

struct Parser {
    tokens: Vec<Spanned>,
    at: usize,
    depth: usize,
}

pub(super) fn parse(text: &str) -> Result<Syntax, CompileError> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    if *parser.peek() == Token::End {
        return Err(parser.wrong("the expression is empty", "write an attribute in brackets, a text or a call"));
    }
    let syntax = parser.any()?;
    match parser.peek() {
        Token::End => Ok(syntax),
        Token::Close => Err(parser.wrong("this ) closes nothing", "remove it, or open it before")),
        Token::Comma => Err(parser.wrong("a comma outside of a call", "an expression has one value")),
        Token::Compare(_) => Err(parser.wrong("comparisons cannot be chained", "write a<b AND b<c")),
        _ => Err(parser.wrong("an operator is missing here", "& concatenates texts; arguments are divided by commas")),
    }
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |spanned| &spanned.token)
    }

    fn position(&self) -> usize {
        self.tokens.get(self.at).map_or(1, |spanned| spanned.position)
    }

    fn wrong(&self, message: &str, hint: &str) -> CompileError {
        CompileError::new(self.position(), message, hint)
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == token;
        self.at += usize::from(found);
        found
    }

    fn any(&mut self) -> Result<Syntax, CompileError> {
        self.chain(&Token::Or, SyntaxKind::Or, |parser| parser.chain(&Token::And, SyntaxKind::And, Self::negation))
    }

    /// Operands of one associative operator, as one flat node however many there are.
    fn chain(
        &mut self,
        operator: &Token,
        kind: fn(Vec<Syntax>) -> SyntaxKind,
        operand: impl Fn(&mut Self) -> Result<Syntax, CompileError>,
    ) -> Result<Syntax, CompileError> {
        let first = operand(self)?;
        if self.peek() != operator {
            return Ok(first);
        }
        let position = first.position;
        let mut operands = vec![first];
        while self.take(operator) {
            operands.push(operand(self)?);
        }
        Ok(Syntax { position, kind: kind(operands) })
    }

    fn negation(&mut self) -> Result<Syntax, CompileError> {
        let position = self.position();
        if !self.take(&Token::Not) {
            return self.comparison();
        }
        self.enter()?;
        let operand = self.negation()?;
        self.depth -= 1;
        Ok(Syntax { position, kind: SyntaxKind::Not(Box::new(operand)) })
    }

    fn comparison(&mut self) -> Result<Syntax, CompileError> {
        let left = self.concatenation()?;
        let &Token::Compare(comparison) = self.peek() else { return Ok(left) };
        self.at += 1;
        let right = self.concatenation()?;
        Ok(Syntax { position: left.position, kind: SyntaxKind::Compare(comparison, Box::new([left, right])) })
    }

    fn concatenation(&mut self) -> Result<Syntax, CompileError> {
        self.chain(&Token::Concatenate, SyntaxKind::Concatenate, Self::operand)
    }

    fn enter(&mut self) -> Result<(), CompileError> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            let message = format!("more than {DEPTH_LIMIT} calls and parentheses within each other");
            return Err(self.wrong(&message, "compute parts of it in attributes of their own"));
        }
        Ok(())
    }

    fn operand(&mut self) -> Result<Syntax, CompileError> {
        let position = self.position();
        let token = self.peek().clone();
        let kind = match token {
            Token::Text(text) => SyntaxKind::Text(text),
            Token::Integer(number) => SyntaxKind::Integer(number),
            Token::Attribute(name) => SyntaxKind::Attribute(name),
            Token::Parameter(name) => SyntaxKind::Parameter(name),
            Token::Variable(name) => SyntaxKind::Variable(name),
            Token::Word(name) => {
                self.at += 1;
                let kind = if *self.peek() == Token::Open {
                    SyntaxKind::Call(name, self.arguments()?)
                } else {
                    SyntaxKind::Word(name)
                };
                return Ok(Syntax { position, kind });
            }
            Token::Open => {
                self.enter()?;
                self.at += 1;
                let inner = self.any()?;
                self.close(position)?;
                self.depth -= 1;
                return Ok(inner);
            }
            Token::End => return Err(self.wrong("the expression ends where a value is expected", "complete it")),
            Token::Comma | Token::Close => {
                return Err(self.wrong("a value is missing here", "write NULL where nothing is meant"));
            }
            Token::Not => return Err(self.wrong("NOT cannot stand here", "put it and its operand in parentheses")),
            _ => return Err(self.wrong("an operator without a value before it", "write a value on both sides")),
        };
        self.at += 1;
        Ok(Syntax { position, kind })
    }

    fn close(&mut self, opened: usize) -> Result<(), CompileError> {
        if self.take(&Token::Close) {
            return Ok(());
        }
        let hint = format!("the parenthesis at character {opened} is still open");
        Err(match self.peek() {
            Token::Compare(_) => self.wrong("comparisons cannot be chained", "write a<b AND b<c"),
            Token::End => self.wrong("a ) is missing at the end", &hint),
            _ => self.wrong("a comma, an operator or a ) is missing here", &hint),
        })
    }

    /// From the opening parenthesis to behind the closing one.
    fn arguments(&mut self) -> Result<Vec<Option<Syntax>>, CompileError> {
        let opened = self.position();
        self.enter()?;
        self.at += 1;
        let mut arguments = Vec::new();
        if !self.take(&Token::Close) {
            loop {
                let is_omitted = matches!(self.peek(), Token::Comma | Token::Close);
                arguments.push(if is_omitted { None } else { Some(self.any()?) });
                if !self.take(&Token::Comma) {
                    break;
                }
            }
            self.close(opened)?;
        }
        self.depth -= 1;
        Ok(arguments)
    }
}
