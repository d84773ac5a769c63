//! Distinguished names as text: parsing with every escape of RFC 4514, printing with the escapes that Samba's ldb uses.
//!
//! ldb escapes `,` `\` `+` `"` `<` `>` `#` `?` with a backslash wherever they stand, a space at either end, and writes
//! `;` `=` CR LF and NUL as hexadecimal pairs. Windows differs in which of the two forms it picks; a client has to
//! read both.

/// One naming step: the attribute type as written and the value without escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RdnText {
    pub(crate) kind: String,
    pub(crate) value: String,
}

/// Appends `value` with the escapes it needs within a DN.
pub(crate) fn escape_into(out: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (at, c) in value.chars().enumerate() {
        match c {
            ',' | '\\' | '+' | '"' | '<' | '>' | '#' | '?' => out.extend(['\\', c]),
            ' ' if at == 0 || at == last => out.push_str("\\ "),
            ';' => out.push_str("\\3B"),
            '=' => out.push_str("\\3D"),
            '\r' => out.push_str("\\0D"),
            '\n' => out.push_str("\\0A"),
            '\0' => out.push_str("\\00"),
            c => out.push(c),
        }
    }
}

/// `value` with the escapes it needs within a DN, as Samba prints it.
///
/// ```
/// assert_eq!(forestsync_practice::forest::escape_rdn("R&D; Dept"), "R&D\\3B Dept");
/// ```
pub fn escape_rdn(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 4);
    escape_into(&mut out, value);
    out
}

/// Splits a DN into its steps, the leaf first. `None` when the text is not a DN; the empty text is the empty DN.
pub(crate) fn parse(text: &str) -> Option<Vec<RdnText>> {
    let mut steps = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (kind, after) = rest.split_once('=')?;
        let kind = kind.trim();
        if kind.is_empty() || !kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
            return None;
        }
        let (value, left) = value(after.trim_start_matches(' '))?;
        if value.is_empty() {
            return None;
        }
        steps.push(RdnText { kind: kind.to_owned(), value });
        match left {
            None => break,
            Some(left) if left.trim().is_empty() => return None,
            Some(left) => rest = left,
        }
    }
    Some(steps)
}

/// Reads one value up to an unescaped comma or semicolon; returns it and what follows the separator.
fn value(text: &str) -> Option<(String, Option<&str>)> {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted_value(quoted);
    }
    let mut bytes = Vec::new();
    // Trailing spaces count only when escaped: the length up to the last significant byte.
    let mut significant = 0;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ',' | ';' => {
                bytes.truncate(significant);
                return Some((String::from_utf8(bytes).ok()?, text.get(at + 1..)));
            }
            '\\' => {
                escaped(&mut chars, &mut bytes)?;
                significant = bytes.len();
            }
            '"' => return None,
            c => {
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                if c != ' ' {
                    significant = bytes.len();
                }
            }
        }
    }
    bytes.truncate(significant);
    Some((String::from_utf8(bytes).ok()?, None))
}

fn escaped(chars: &mut std::str::CharIndices<'_>, bytes: &mut Vec<u8>) -> Option<()> {
    let (_, first) = chars.next()?;
    match first.to_digit(16) {
        Some(high) => {
            let low = chars.next()?.1.to_digit(16)?;
            bytes.push((high << 4 | low) as u8);
        }
        None => bytes.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes()),
    }
    Some(())
}

/// The RFC 2253 form of a value in quotes.
fn quoted_value(text: &str) -> Option<(String, Option<&str>)> {
    let mut bytes = Vec::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let rest = text.get(at + 1..)?.trim_start();
                let left = match rest.strip_prefix([',', ';']) {
                    Some(left) => Some(left),
                    None if rest.is_empty() => None,
                    None => return None,
                };
                return Some((String::from_utf8(bytes).ok()?, left));
            }
            '\\' => escaped(&mut chars, &mut bytes)?,
            c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    None
}

/// The form under which names are compared: case does not count, everything else does (as in Samba; Windows also
/// ignores diacritics).
pub(crate) fn fold(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_lowercase() } else { text.to_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(dn: &str) -> Vec<String> {
        parse(dn).unwrap().into_iter().map(|r| r.value).collect()
    }

    #[test]
    fn reads_every_escape() {
        assert_eq!(values(r"CN=Doe\, John,OU=R\26D,DC=x"), ["Doe, John", "R&D", "x"]);
        assert_eq!(values(r"CN=\C3\A9t\C3\A9,DC=x"), ["été", "x"]);
        assert_eq!(values(r"CN=\ lead\ , DC = x "), [" lead ", "x"]);
        assert_eq!(values(r"CN=carl\0ADEL:1-2,DC=x"), ["carl\nDEL:1-2", "x"]);
        assert_eq!(values("CN=\"a, b\",DC=x"), ["a, b", "x"]);
        assert_eq!(values(""), Vec::<String>::new());
    }

    #[test]
    fn refuses_what_is_not_a_dn() {
        for text in ["x", "CN=", "CN=a,", "=a", "CN=a\\", "CN=a\\4", "CN=\\FF,DC=x", "CN=a\"b", "C N=a"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn printing_and_reading_agree() {
        let awkward = [" ", "#", ";", "a", ",", "=", "+", "<", ">", "\"", "\\", "\n", "é", "😀", "ש", "?", "\r"];
        for first in awkward {
            for last in awkward {
                let value = format!("{first}mid {last}dle{last}");
                assert_eq!(values(&format!("CN={},DC=x", escape_rdn(&value))), [value, "x".to_owned()]);
            }
        }
    }
}
