//! Distinguished names (RFC 4514, and the extended form of MS-ADTS 3.1.1.3.4.1.5).

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{ObjectGuid, Sid};

/// Why something is not a distinguished name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DnError {
    /// A relative name has no `=`.
    #[error("the part {0:?} of a distinguished name has no '='")]
    NoEquals(String),
    /// The text before `=` is no attribute type.
    #[error("{0:?} is no attribute type of a distinguished name")]
    Type(String),
    /// A backslash is followed by neither a special character nor two hexadecimal digits.
    #[error("a distinguished name has a broken escape in {0:?}")]
    Escape(String),
    /// A special character stands unescaped.
    #[error("{0:?} must be escaped in a distinguished name")]
    Unescaped(char),
    /// The escaped bytes are no UTF-8.
    #[error("a distinguished name holds bytes that are not UTF-8")]
    NotUtf8,
    /// An extended name has a component that cannot be read.
    #[error("the extended distinguished name has an unreadable {0} component")]
    Extended(&'static str),
}

/// One relative name: type and unescaped value.
#[derive(Debug, Clone)]
pub struct Rdn {
    kind: String,
    value: String,
}

impl Rdn {
    /// The attribute type as written, such as `CN`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The value without escapes.
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// A distinguished name. Equality and hash disregard case, as the directory does; the text keeps it.
///
/// The empty name (that of the rootDSE) has no relative names.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Dn {
    rdns: Vec<Rdn>,
}

impl Dn {
    /// The relative names, the object's own first.
    pub fn rdns(&self) -> &[Rdn] {
        &self.rdns
    }

    /// The object's own relative name, if the name is not empty.
    pub fn rdn(&self) -> Option<&Rdn> {
        self.rdns.first()
    }

    /// The name of the parent, `None` for the empty name.
    pub fn parent(&self) -> Option<Self> {
        (!self.rdns.is_empty()).then(|| Self { rdns: self.rdns[1..].to_vec() })
    }

    /// A child of this name.
    #[must_use]
    pub fn child(&self, kind: &str, value: &str) -> Self {
        let mut rdns = Vec::with_capacity(self.rdns.len() + 1);
        rdns.push(Rdn { kind: kind.to_owned(), value: value.to_owned() });
        rdns.extend_from_slice(&self.rdns);
        Self { rdns }
    }

    /// Whether this is `ancestor` or lies under it.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        let Some(skip) = self.rdns.len().checked_sub(ancestor.rdns.len()) else {
            return false;
        };
        self.rdns[skip..].iter().zip(&ancestor.rdns).all(|(a, b)| same(a, b))
    }

    /// The form to compare and index by: lower case, the same escapes whatever the directory wrote.
    pub fn key(&self) -> String {
        self.to_string().to_lowercase()
    }

    /// The DNS name made of the trailing `DC=` components, empty if there are none.
    pub fn domain_name(&self) -> String {
        let start = self.rdns.iter().rposition(|r| !r.kind.eq_ignore_ascii_case("dc")).map_or(0, |i| i + 1);
        let labels: Vec<&str> = self.rdns[start..].iter().map(Rdn::value).collect();
        labels.join(".").to_lowercase()
    }
}

fn same(a: &Rdn, b: &Rdn) -> bool {
    a.kind.eq_ignore_ascii_case(&b.kind) && (a.value == b.value || a.value.to_lowercase() == b.value.to_lowercase())
}

impl PartialEq for Dn {
    fn eq(&self, other: &Self) -> bool {
        self.rdns.len() == other.rdns.len() && self.is_within(other)
    }
}

impl Eq for Dn {}

impl Hash for Dn {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// What RFC 4514 wants escaped wherever it stands.
const SPECIAL: [char; 8] = ['"', '+', ',', ';', '<', '>', '\\', '='];

fn write_value(f: &mut fmt::Formatter<'_>, value: &str) -> fmt::Result {
    let last = value.chars().count().saturating_sub(1);
    for (i, c) in value.chars().enumerate() {
        match c {
            c if SPECIAL.contains(&c) => write!(f, "\\{c}")?,
            ' ' if i == 0 || i == last => f.write_str("\\ ")?,
            '#' if i == 0 => f.write_str("\\#")?,
            c if c.is_ascii_control() => write!(f, "\\{:02X}", c as u32)?,
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

impl fmt::Display for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, rdn) in self.rdns.iter().enumerate() {
            if i > 0 {
                f.write_char(',')?;
            }
            write!(f, "{}=", rdn.kind)?;
            write_value(f, &rdn.value)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dn({self})")
    }
}

/// Splits at unescaped commas; the parts keep their escapes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut escaped, mut start) = (Vec::new(), false, 0);
    for (i, b) in text.bytes().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                parts.push(text.get(start..i).unwrap_or_default());
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

fn unescape(text: &str) -> Result<String, DnError> {
    let broken = || DnError::Escape(text.chars().take(80).collect());
    let (mut out, bytes, mut i, mut keep) = (Vec::with_capacity(text.len()), text.as_bytes(), 0, 0);
    while let Some(&b) = bytes.get(i) {
        if b == b'\\' {
            let next = *bytes.get(i + 1).ok_or_else(broken)?;
            let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
            if let (Some(high), Some(low)) = (digit(i + 1), digit(i + 2)) {
                out.push((high << 4 | low) as u8);
                i += 3;
            } else if next.is_ascii_hexdigit() || next.is_ascii_alphanumeric() {
                return Err(broken());
            } else {
                out.push(next);
                i += 2;
            }
            keep = out.len();
        } else {
            if matches!(b, b'"' | b'+' | b';' | b'<' | b'>') {
                return Err(DnError::Unescaped(char::from(b)));
            }
            out.push(b);
            i += 1;
        }
    }
    // unescaped blanks at the end are not part of the value
    while out.len() > keep && out.last() == Some(&b' ') {
        out.pop();
    }
    String::from_utf8(out).map_err(|_| DnError::NotUtf8)
}

impl FromStr for Dn {
    type Err = DnError;

    fn from_str(text: &str) -> Result<Self, DnError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let rdns = split(text).into_iter().map(|part| {
            let (kind, value) =
                part.split_once('=').ok_or_else(|| DnError::NoEquals(part.chars().take(80).collect()))?;
            let kind = kind.trim();
            if kind.is_empty() || !kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
                return Err(DnError::Type(kind.chars().take(80).collect()));
            }
            Ok(Rdn { kind: kind.to_owned(), value: unescape(value.trim_start_matches(' '))? })
        });
        Ok(Self { rdns: rdns.collect::<Result<_, _>>()? })
    }
}

impl TryFrom<String> for Dn {
    type Error = DnError;

    fn try_from(text: String) -> Result<Self, DnError> {
        text.parse()
    }
}

impl From<Dn> for String {
    fn from(dn: Dn) -> Self {
        dn.to_string()
    }
}

impl JsonSchema for Dn {
    fn schema_name() -> Cow<'static, str> {
        "Dn".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "A distinguished name in the form of RFC 4514."})
    }
}

/// A value of DN syntax as a server sends it: with the object's GUID and SID in front where the extended-DN control
/// was asked for, and for some attributes even where it was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendedDn {
    /// objectGUID of the object named.
    pub guid: Option<ObjectGuid>,
    /// objectSid of the object named, where it has one.
    pub sid: Option<Sid>,
    /// The name itself.
    pub dn: Dn,
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks_exact(2).map(|p| p[0] << 4 | p[1]).collect())
}

impl FromStr for ExtendedDn {
    type Err = DnError;

    fn from_str(text: &str) -> Result<Self, DnError> {
        let (mut guid, mut sid, mut rest) = (None, None, text);
        while let Some(inner) = rest.strip_prefix('<') {
            let (component, after) = inner.split_once('>').ok_or(DnError::Extended("unterminated"))?;
            match component.split_once('=') {
                Some(("GUID", value)) => {
                    let parsed = if value.contains('-') {
                        value.parse().ok()
                    } else {
                        hex(value).and_then(|bytes| ObjectGuid::from_slice(&bytes).ok())
                    };
                    guid = Some(parsed.ok_or(DnError::Extended("GUID"))?);
                }
                Some(("SID", value)) => {
                    let parsed = if value.starts_with("S-") {
                        value.parse().ok()
                    } else {
                        hex(value).and_then(|bytes| Sid::from_slice(&bytes).ok())
                    };
                    sid = Some(parsed.ok_or(DnError::Extended("SID"))?);
                }
                _ => {} // a component of a later version of the protocol
            }
            rest = after.strip_prefix(';').unwrap_or(after);
        }
        Ok(Self { guid, sid, dn: rest.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_servers_write() {
        let dn: Dn = r"CN=M\C3\BCller\, Anna\2B,OU=R&D\; Dept,DC=Lab,DC=local".parse().unwrap();
        assert_eq!(dn.rdn().unwrap().value(), "Müller, Anna+");
        assert_eq!(dn.parent().unwrap().rdn().unwrap().value(), "R&D; Dept");
        assert_eq!(dn.to_string(), r"CN=Müller\, Anna\+,OU=R&D\; Dept,DC=Lab,DC=local");
        assert_eq!(dn.domain_name(), "lab.local");
        let gone: Dn = r"CN=carl\0ADEL:00112233-4455-6677-8899-aabbccddeeff,CN=Deleted Objects,DC=x".parse().unwrap();
        assert!(gone.rdn().unwrap().value().starts_with("carl\nDEL:"));
        assert!(gone.to_string().starts_with(r"CN=carl\0ADEL:"));
    }

    #[test]
    fn compares_without_case() {
        let upper: Dn = "CN=ÄRGER,DC=X".parse().unwrap();
        let lower: Dn = "cn=ärger,dc=x".parse().unwrap();
        assert_eq!(upper, lower);
        assert_eq!(upper.key(), lower.key());
        assert!(upper.is_within(&"dc=x".parse().unwrap()));
        assert!(!"DC=X".parse::<Dn>().unwrap().is_within(&upper));
        assert!(upper.is_within(&Dn::default()));
    }

    #[test]
    fn refuses_broken_names() {
        for text in ["CN", "=x", r"CN=a\", r"CN=a\g", "CN=a+b", r"CN=\FF", "C N=x", "CN=a,,DC=b"] {
            assert!(text.parse::<Dn>().is_err(), "{text}");
        }
    }

    #[test]
    fn reads_both_extended_forms() {
        let guid: ObjectGuid = "00112233-4455-6677-8899-aabbccddeeff".parse().unwrap();
        for text in [
            "<GUID=33221100554477668899aabbccddeeff>;<SID=01020000000000052000000020020000>;CN=x,DC=y",
            "<GUID=00112233-4455-6677-8899-aabbccddeeff>;<SID=S-1-5-32-544>;CN=x,DC=y",
        ] {
            let extended: ExtendedDn = text.parse().unwrap();
            assert_eq!(extended.guid, Some(guid));
            assert_eq!(extended.sid.unwrap().as_str(), "S-1-5-32-544");
            assert_eq!(extended.dn.to_string(), "CN=x,DC=y");
        }
        assert!("<GUID=12>;CN=x".parse::<ExtendedDn>().is_err());
        assert_eq!("CN=x".parse::<ExtendedDn>().unwrap().guid, None);
    }

    proptest! {
        #[test]
        fn text_round_trips(values in proptest::collection::vec(".{1,20}", 1..5)) {
            let dn = values.iter().fold(Dn::default(), |dn, value| dn.child("CN", value));
            let again: Dn = dn.to_string().parse().unwrap();
            prop_assert_eq!(&again, &dn);
            for (a, b) in again.rdns().iter().zip(dn.rdns()) {
                prop_assert_eq!(a.value(), b.value());
            }
        }

        #[test]
        fn never_panics(text in ".*") {
            let _checked = text.parse::<Dn>().map(|dn| dn.key());
            let _checked = text.parse::<ExtendedDn>();
        }
    }
}
