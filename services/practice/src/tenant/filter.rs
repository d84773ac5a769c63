//! `$filter`: parsing, what it demands (advanced query parameters), what indexes answer it, evaluation.
//!
//! Strings compare without case, anchors with. Text and nesting are bounded.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;
use uuid::Uuid;

use super::directory::{Field, Props};

/// A parsed filter.
#[derive(Debug)]
pub(super) enum Filter {
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
    Not(Box<Filter>),
    Compare(String, Operator, Value),
    In(String, Vec<Value>),
    StartsWith(String, String),
    EndsWith(String, String),
    /// Any element of the collection; the element itself is the path `""`.
    Any(String, Box<Filter>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
}

/// A look-up an index can answer.
#[derive(Debug)]
pub(super) enum Probe {
    Id(Uuid),
    Equal(Field, String),
    Prefix(Field, String),
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Open,
    Close,
    Comma,
    Colon,
}

const LONGEST: usize = 16_384;
const DEEPEST: usize = 50;

/// Parses a filter; the error is the message for the client.
pub(super) fn parse(text: &str) -> Result<Filter, String> {
    let bad = || format!("Invalid filter clause: {}", text.chars().take(120).collect::<String>());
    if text.len() > LONGEST {
        return Err("Invalid filter clause: it is too long.".into());
    }
    let mut parser = Parser { tokens: tokens(text).ok_or_else(bad)?.into_iter().peekable(), variable: None };
    let filter = parser.or(0).ok_or_else(bad)?;
    if parser.tokens.next().is_some() { Err(bad()) } else { Ok(filter) }
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            ' ' | '\t' => {
                chars.next();
            }
            '(' | ')' | ',' | ':' => {
                chars.next();
                out.push(match c {
                    '(' => Token::Open,
                    ')' => Token::Close,
                    ',' => Token::Comma,
                    _ => Token::Colon,
                });
            }
            '\'' => out.push(Token::Text(quoted(&mut chars)?)),
            _ => out.push(Token::Word(word(&mut chars)?)),
        }
    }
    Some(out)
}

fn quoted(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    chars.next();
    let mut text = String::new();
    loop {
        match chars.next()? {
            '\'' if chars.peek() == Some(&'\'') => {
                chars.next();
                text.push('\'');
            }
            '\'' => return Some(text),
            c => text.push(c),
        }
    }
}

/// A name, path, number, GUID or date; a colon belongs to it only in a date.
fn word(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut text = String::new();
    while let Some(&c) = chars.peek() {
        let date = text.starts_with(|d: char| d.is_ascii_digit());
        if c.is_alphanumeric() || matches!(c, '_' | '.' | '/' | '-' | '+' | '$') || (c == ':' && date) {
            text.push(c);
            chars.next();
        } else {
            break;
        }
    }
    (!text.is_empty()).then_some(text)
}

struct Parser {
    tokens: Peekable<std::vec::IntoIter<Token>>,
    variable: Option<String>,
}

impl Parser {
    fn keyword(&mut self, word: &str) -> bool {
        let here = matches!(self.tokens.peek(), Some(Token::Word(w)) if w.eq_ignore_ascii_case(word));
        if here {
            self.tokens.next();
        }
        here
    }

    fn eat(&mut self, token: &Token) -> Option<()> {
        (self.tokens.next().as_ref() == Some(token)).then_some(())
    }

    fn or(&mut self, depth: usize) -> Option<Filter> {
        if depth > DEEPEST {
            return None;
        }
        let mut left = self.and(depth)?;
        while self.keyword("or") {
            left = Filter::Or(Box::new(left), Box::new(self.and(depth)?));
        }
        Some(left)
    }

    fn and(&mut self, depth: usize) -> Option<Filter> {
        let mut left = self.not(depth)?;
        while self.keyword("and") {
            left = Filter::And(Box::new(left), Box::new(self.not(depth)?));
        }
        Some(left)
    }

    fn not(&mut self, depth: usize) -> Option<Filter> {
        if depth > DEEPEST {
            return None;
        }
        if self.keyword("not") { Some(Filter::Not(Box::new(self.not(depth + 1)?))) } else { self.primary(depth) }
    }

    fn primary(&mut self, depth: usize) -> Option<Filter> {
        match self.tokens.next()? {
            Token::Open => {
                let inner = self.or(depth + 1)?;
                self.eat(&Token::Close)?;
                Some(inner)
            }
            Token::Word(word) if self.tokens.peek() == Some(&Token::Open) => {
                self.tokens.next();
                self.call(&word, depth)
            }
            Token::Word(path) => self.comparison(path),
            _ => None,
        }
    }

    fn call(&mut self, name: &str, depth: usize) -> Option<Filter> {
        if let Some(collection) = name.strip_suffix("/any") {
            let Some(Token::Word(variable)) = self.tokens.next() else { return None };
            self.eat(&Token::Colon)?;
            let outer = self.variable.replace(variable);
            let inner = self.or(depth + 1)?;
            self.variable = outer;
            self.eat(&Token::Close)?;
            return Some(Filter::Any(collection.to_owned(), Box::new(inner)));
        }
        let Some(Token::Word(path)) = self.tokens.next() else { return None };
        let path = self.path(path);
        self.eat(&Token::Comma)?;
        let Some(Token::Text(text)) = self.tokens.next() else { return None };
        self.eat(&Token::Close)?;
        // `startswith(…) eq true` says the same as `startswith(…)`.
        if self.keyword("eq") && !self.keyword("true") {
            return None;
        }
        match name.to_ascii_lowercase().as_str() {
            "startswith" => Some(Filter::StartsWith(path, text)),
            "endswith" => Some(Filter::EndsWith(path, text)),
            _ => None,
        }
    }

    fn comparison(&mut self, path: String) -> Option<Filter> {
        let path = self.path(path);
        let Some(Token::Word(operator)) = self.tokens.next() else { return None };
        let operator = match operator.to_ascii_lowercase().as_str() {
            "eq" => Operator::Eq,
            "ne" => Operator::Ne,
            "gt" => Operator::Gt,
            "ge" => Operator::Ge,
            "lt" => Operator::Lt,
            "le" => Operator::Le,
            "in" => return self.values(path),
            _ => return None,
        };
        Some(Filter::Compare(path, operator, self.literal()?))
    }

    fn values(&mut self, path: String) -> Option<Filter> {
        self.eat(&Token::Open)?;
        let mut values = vec![self.literal()?];
        loop {
            match self.tokens.next()? {
                Token::Comma => values.push(self.literal()?),
                Token::Close => return Some(Filter::In(path, values)),
                _ => return None,
            }
        }
    }

    fn literal(&mut self) -> Option<Value> {
        Some(match self.tokens.next()? {
            Token::Text(text) => Value::String(text),
            Token::Word(word) => match word.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                _ => word.parse::<i64>().map_or_else(|_| Value::String(word.clone()), Value::from),
            },
            _ => return None,
        })
    }

    fn path(&self, path: String) -> String {
        match &self.variable {
            Some(variable) if *variable == path => String::new(),
            Some(variable) => match path.strip_prefix(variable.as_str()).and_then(|p| p.strip_prefix('/')) {
                Some(inner) => inner.to_owned(),
                None => path,
            },
            None => path,
        }
    }
}

impl Filter {
    /// Whether the filter needs `ConsistencyLevel: eventual` and `$count=true`.
    pub(super) fn is_advanced(&self, always: &[&str]) -> bool {
        let special = |path: &str| always.contains(&path);
        match self {
            Self::And(a, b) | Self::Or(a, b) => a.is_advanced(always) || b.is_advanced(always),
            Self::Not(_) | Self::EndsWith(..) => true,
            Self::Compare(path, operator, value) => *operator == Operator::Ne || value.is_null() || special(path),
            Self::In(path, _) | Self::StartsWith(path, _) => special(path),
            Self::Any(path, inner) => path.ends_with("/$count") || inner.is_advanced(always),
        }
    }

    /// Calls `seen` with every property the filter names.
    pub(super) fn properties(&self, seen: &mut impl FnMut(&str)) {
        match self {
            Self::And(a, b) | Self::Or(a, b) => {
                a.properties(seen);
                b.properties(seen);
            }
            Self::Not(a) => a.properties(seen),
            Self::Compare(p, ..) | Self::In(p, _) | Self::StartsWith(p, _) | Self::EndsWith(p, _) | Self::Any(p, _) => {
                seen(p.split('/').next().unwrap_or(p));
            }
        }
    }

    /// The look-ups whose union holds every match; `None` when there is no index for it.
    pub(super) fn probes(&self) -> Option<Vec<Probe>> {
        match self {
            Self::And(a, b) => a.probes().or_else(|| b.probes()),
            Self::Or(a, b) => {
                let mut both = a.probes()?;
                both.extend(b.probes()?);
                Some(both)
            }
            Self::Compare(path, Operator::Eq, Value::String(text)) => equal(path, text).map(|p| vec![p]),
            Self::In(path, values) => values.iter().map(|v| v.as_str().and_then(|text| equal(path, text))).collect(),
            Self::StartsWith(path, text) => Some(vec![Probe::Prefix(Field::named(path)?, text.clone())]),
            Self::Any(path, inner) => {
                let field = Field::named(path)?;
                match inner.as_ref() {
                    Self::Compare(element, Operator::Eq, Value::String(text)) if element.is_empty() => {
                        Some(vec![Probe::Equal(field, text.clone())])
                    }
                    Self::StartsWith(element, text) if element.is_empty() => {
                        Some(vec![Probe::Prefix(field, text.clone())])
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Whether the object matches.
    pub(super) fn matches(&self, id: Uuid, props: &Props) -> bool {
        let id_text = id.to_string();
        self.test(&|path| match path {
            "id" => Value::String(id_text.clone()),
            _ => at(props, path).cloned().unwrap_or(Value::Null),
        })
    }

    fn test(&self, value: &dyn Fn(&str) -> Value) -> bool {
        match self {
            Self::And(a, b) => a.test(value) && b.test(value),
            Self::Or(a, b) => a.test(value) || b.test(value),
            Self::Not(a) => !a.test(value),
            Self::Compare(path, operator, literal) => compare(path, &value(path), *operator, literal),
            Self::In(path, literals) => {
                let have = value(path);
                literals.iter().any(|literal| compare(path, &have, Operator::Eq, literal))
            }
            Self::StartsWith(path, text) => {
                value(path).as_str().is_some_and(|have| have.to_lowercase().starts_with(&text.to_lowercase()))
            }
            Self::EndsWith(path, text) => {
                value(path).as_str().is_some_and(|have| have.to_lowercase().ends_with(&text.to_lowercase()))
            }
            Self::Any(path, inner) => value(path).as_array().is_some_and(|all| {
                all.iter().any(|element| {
                    inner.test(&|path| match path {
                        "" => element.clone(),
                        _ => element.get(path).cloned().unwrap_or(Value::Null),
                    })
                })
            }),
        }
    }
}

fn equal(path: &str, text: &str) -> Option<Probe> {
    if path == "id" {
        return Some(Probe::Id(text.parse().unwrap_or_default()));
    }
    Field::named(path).map(|field| Probe::Equal(field, text.to_owned()))
}

fn at<'a>(props: &'a Props, path: &str) -> Option<&'a Value> {
    let mut steps = path.split('/');
    let first = props.get(steps.next()?)?;
    steps.try_fold(first, |value, step| value.get(step))
}

fn compare(path: &str, have: &Value, operator: Operator, literal: &Value) -> bool {
    let order = match (have, literal) {
        (Value::String(a), Value::String(b)) if matches!(path, "onPremisesImmutableId" | "uniqueName") => {
            Some(a.cmp(b))
        }
        (Value::String(a), Value::String(b)) => Some(a.to_lowercase().cmp(&b.to_lowercase())),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.as_i64().cmp(&b.as_i64()).into(),
        (Value::Null, Value::Null) => Some(std::cmp::Ordering::Equal),
        _ => None,
    };
    match operator {
        Operator::Eq => order.is_some_and(std::cmp::Ordering::is_eq),
        Operator::Ne => !order.is_some_and(std::cmp::Ordering::is_eq),
        Operator::Gt => order.is_some_and(std::cmp::Ordering::is_gt),
        Operator::Ge => order.is_some_and(std::cmp::Ordering::is_ge),
        Operator::Lt => order.is_some_and(std::cmp::Ordering::is_lt),
        Operator::Le => order.is_some_and(std::cmp::Ordering::is_le),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(filter: &str) -> bool {
        let props = json!({
            "displayName": "Zoë O'Hara", "accountEnabled": true, "onPremisesImmutableId": "Ab+/==",
            "proxyAddresses": ["SMTP:zoe@contoso.com", "smtp:z@contoso.com"], "createdDateTime": "2026-01-02T03:04:05Z",
            "onPremisesExtensionAttributes": {"extensionAttribute1": "x"},
        });
        let Value::Object(props) = props else { return false };
        parse(filter).unwrap().matches(Uuid::nil(), &props)
    }

    #[test]
    fn evaluates() {
        for yes in [
            "displayName eq 'zoë o''hara'",
            "startswith(displayName,'ZOË') and accountEnabled eq true",
            "proxyAddresses/any(p:p eq 'smtp:Z@contoso.com')",
            "proxyAddresses/any(x:startswith(x,'SMTP:zoe'))",
            "onPremisesImmutableId in ('nothing', 'Ab+/==')",
            "not (displayName eq 'x') and createdDateTime ge 2026-01-01T00:00:00Z",
            "onPremisesExtensionAttributes/extensionAttribute1 eq 'x' or jobTitle eq 'y'",
            "jobTitle eq null",
            "endswith(displayName, 'hara')",
        ] {
            assert!(holds(yes), "{yes}");
        }
        for no in ["onPremisesImmutableId eq 'ab+/=='", "jobTitle ne null", "accountEnabled eq false"] {
            assert!(!holds(no), "{no}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        let deep = format!("{}a eq 1{}", "(".repeat(5_000), ")".repeat(5_000));
        let nots = format!("{}a eq 1", "not ".repeat(3_000));
        for bad in ["", "a", "a eq", "a eq 'x", "a xx 'y'", "any(p:p eq 1)", "a eq 'x')", "f(a,'x')", "§", &deep, &nots]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
