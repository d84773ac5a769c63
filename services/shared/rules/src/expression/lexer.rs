//! The words of an expression.

use super::error::CompileError;

/// The longest text of an expression, in bytes.
pub(super) const TEXT_LIMIT: usize = 16 * 1024;

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// `[name]`
    Attribute(String),
    /// `"text"`, without its escapes.
    Text(String),
    Integer(i64),
    /// A name that is no operator: of a function, a literal or an option.
    Word(String),
    /// `$name`
    Variable(String),
    /// `%name%`
    Parameter(String),
    Open,
    Close,
    Comma,
    And,
    Or,
    Not,
    Concatenate,
    Compare(Comparison),
    End,
}

impl Token {
    /// Whether an operand ends here, so that `&H` behind it is a concatenation and not a number.
    fn ends_operand(&self) -> bool {
        use Token as T;
        matches!(
            self,
            T::Attribute(_) | T::Text(_) | T::Integer(_) | T::Word(_) | T::Variable(_) | T::Parameter(_) | T::Close
        )
    }
}

#[derive(Debug, Clone)]
pub(super) struct Spanned {
    pub(super) token: Token,
    /// Counted in characters from 1.
    pub(super) position: usize,
}

struct Lexer {
    characters: Vec<char>,
    at: usize,
}

/// Splits the text; the last token is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Spanned>, CompileError> {
    if text.len() > TEXT_LIMIT {
        let message = format!("the expression has {} bytes, more than the {TEXT_LIMIT} allowed", text.len());
        return Err(CompileError::new(1, message, "compute parts of it in attributes of their own"));
    }
    let mut lexer = Lexer { characters: text.chars().collect(), at: 0 };
    let mut found: Vec<Spanned> = Vec::new();
    loop {
        while lexer.peek(0).is_some_and(char::is_whitespace) {
            lexer.at += 1;
        }
        let position = lexer.at + 1;
        let after_operand = found.last().is_some_and(|last| last.token.ends_operand());
        let token = lexer.next(after_operand)?;
        let is_end = token == Token::End;
        found.push(Spanned { token, position });
        if is_end {
            return Ok(found);
        }
    }
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at + ahead).copied()
    }

    fn advance(&mut self, by: usize, token: Token) -> Token {
        self.at += by;
        token
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek(0).is_some_and(&wanted) {
            self.at += 1;
        }
        self.characters.get(start..self.at).unwrap_or_default().iter().collect()
    }

    fn next(&mut self, after_operand: bool) -> Result<Token, CompileError> {
        use Comparison as C;
        let Some(first) = self.peek(0) else { return Ok(Token::End) };
        let second = self.peek(1);
        Ok(match (first, second) {
            ('(', _) => self.advance(1, Token::Open),
            (')', _) => self.advance(1, Token::Close),
            (',', _) => self.advance(1, Token::Comma),
            ('<', Some('>')) => self.advance(2, Token::Compare(C::NotEqual)),
            ('<', Some('=')) => self.advance(2, Token::Compare(C::LessOrEqual)),
            ('>', Some('=')) => self.advance(2, Token::Compare(C::GreaterOrEqual)),
            ('<', _) => self.advance(1, Token::Compare(C::Less)),
            ('>', _) => self.advance(1, Token::Compare(C::Greater)),
            ('=', Some('=')) => return Err(self.wrong("== is no operator", "equality is written with one =")),
            ('=', _) => self.advance(1, Token::Compare(C::Equal)),
            ('!', _) => return Err(self.wrong("! is no operator", "write <> or NOT")),
            ('|', Some('|')) => self.advance(2, Token::Or),
            ('|', _) => return Err(self.wrong("| is no operator", "write || or OR, and BitOr for bits")),
            ('&', Some('H' | 'h')) if !after_operand => return self.hexadecimal(),
            ('&', Some('&')) => self.advance(2, Token::And),
            ('&', _) => self.advance(1, Token::Concatenate),
            ('"', _) => return self.text(),
            ('[', _) => return self.attribute(),
            ('%', _) => return self.parameter(),
            ('$', _) => return self.variable(),
            ('-', Some('0'..='9')) | ('0'..='9', _) => return self.decimal(),
            (c, _) if c.is_ascii_alphabetic() || c == '_' => self.word(),
            ('“' | '”' | '„' | '\'' | '‘' | '’', _) => {
                return Err(self.wrong("this quotation mark is none of the language", "write texts as \"text\""));
            }
            ('+' | '-' | '*' | '/', _) => {
                return Err(
                    self.wrong(format!("{first} is no operator"), "& concatenates texts; DateAdd adds to dates")
                );
            }
            (c, _) => return Err(self.wrong(format!("{c:?} means nothing here"), "texts stand between \" and \"")),
        })
    }

    fn wrong(&self, message: impl Into<String>, hint: &str) -> CompileError {
        CompileError::new(self.at + 1, message, hint)
    }

    fn word(&mut self) -> Token {
        let word = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        match word.as_str() {
            "AND" => Token::And,
            "OR" => Token::Or,
            "NOT" => Token::Not,
            _ => Token::Word(word),
        }
    }

    fn text(&mut self) -> Result<Token, CompileError> {
        let start = self.at + 1;
        let mut text = String::new();
        self.at += 1;
        loop {
            match (self.peek(0), self.peek(1)) {
                (None, _) => {
                    return Err(CompileError::new(start, "the text that begins here does not end", "close it with \""));
                }
                (Some('"'), _) => {
                    self.at += 1;
                    return Ok(Token::Text(text));
                }
                (Some('\\'), Some(escaped @ ('\\' | '"'))) => {
                    text.push(escaped);
                    self.at += 2;
                }
                (Some('\\'), _) => {
                    return Err(self.wrong("\\ escapes only \\ and \" in a text", "write \\\\ for one backslash"));
                }
                (Some(c), _) => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
    }

    fn attribute(&mut self) -> Result<Token, CompileError> {
        let start = self.at + 1;
        self.at += 1;
        let name = self.take_while(|c| c != ']' && c != '"' && c != '[' && c != '(');
        if self.peek(0) != Some(']') {
            return Err(CompileError::new(
                start,
                "the attribute name that begins here does not end",
                "close it with ]",
            ));
        }
        self.at += 1;
        if name.trim().is_empty() {
            return Err(CompileError::new(start, "the attribute has no name", "write [attribute]"));
        }
        Ok(Token::Attribute(name.trim().to_owned()))
    }

    fn parameter(&mut self) -> Result<Token, CompileError> {
        let start = self.at + 1;
        self.at += 1;
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_');
        if self.peek(0) != Some('%') || name.is_empty() {
            return Err(CompileError::new(start, "the parameter that begins here does not end", "write %Domain.FQDN%"));
        }
        self.at += 1;
        Ok(Token::Parameter(name))
    }

    fn variable(&mut self) -> Result<Token, CompileError> {
        self.at += 1;
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() {
            self.at -= 1;
            return Err(self.wrong("the variable has no name", "write $item"));
        }
        Ok(Token::Variable(name))
    }

    fn decimal(&mut self) -> Result<Token, CompileError> {
        let position = self.at + 1;
        let sign = if self.peek(0) == Some('-') { "-" } else { "" };
        self.at += sign.len();
        let digits = self.take_while(|c| c.is_ascii_digit());
        if self.peek(0).is_some_and(|c| c == '.' || c.is_ascii_alphabetic()) {
            return Err(CompileError::new(
                position,
                "only whole numbers are known",
                "put anything else between \" and \"",
            ));
        }
        let number = format!("{sign}{digits}").parse();
        number.map(Token::Integer).map_err(|_| too_long(position))
    }

    fn hexadecimal(&mut self) -> Result<Token, CompileError> {
        let position = self.at + 1;
        self.at += 2;
        let digits = self.take_while(|c| c.is_ascii_alphanumeric());
        if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(CompileError::new(position, "&H begins a hexadecimal number", "write its digits: &HF"));
        }
        i64::from_str_radix(&digits, 16).map(Token::Integer).map_err(|_| too_long(position))
    }
}

fn too_long(position: usize) -> CompileError {
    CompileError::new(position, "the number does not fit into 64 bits", "the largest is 9223372036854775807")
}
