//! Checks of a request body against the property tables, and merging it into an object.

use serde_json::Value;

use super::directory::Props;
use super::reply::GraphError;
use super::schema::{self, Access, Property, Shape};

/// What the body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Create,
    Update,
}

/// Checks every property of a body: known, writable here, of its shape. `extensions` are the registered names.
pub(super) fn check(
    table: &'static [Property],
    resource: &str,
    body: &Props,
    mode: Mode,
    extensions: &[String],
) -> Result<(), Box<GraphError>> {
    let mut invalid = Vec::new();
    for (name, value) in body {
        if name.contains("@odata.") {
            continue;
        }
        if schema::is_extension(name) {
            if !extensions.contains(name) {
                return Err(GraphError::bad(format!("The following extension properties are not available: {name}.")));
            }
            continue;
        }
        let Some(property) = schema::find(table, name) else {
            return Err(GraphError::bad(format!("Invalid property '{name}'.")));
        };
        match (property.access, mode) {
            (Access::ReadOnly, _) | (Access::CreateOnly, Mode::Update) | (Access::UpdateOnly, Mode::Create) => {
                return Err(GraphError::read_only(name));
            }
            (Access::NotByApp, _) => return Err(GraphError::denied()),
            _ => {}
        }
        let fits = if value.is_null() { property.clearable || mode == Mode::Create } else { fits(property, value) };
        if !fits {
            invalid.push(name.clone());
        }
    }
    if invalid.is_empty() { Ok(()) } else { Err(GraphError::invalid(&invalid, resource)) }
}

fn fits(property: &Property, value: &Value) -> bool {
    match (property.shape, value) {
        (Shape::Text(most), Value::String(text)) => {
            !text.is_empty() && length(text) <= most && fits_text(property.name, text)
        }
        (Shape::Bool, Value::Bool(_)) | (Shape::Number, Value::Number(_)) | (Shape::Any, _) => true,
        (Shape::Time, Value::String(text)) => text.parse::<jiff::Timestamp>().is_ok(),
        (Shape::Texts(most), Value::Array(all)) => {
            all.len() <= most
                && all.iter().all(|v| v.as_str().is_some_and(|t| !t.is_empty() && fits_text(property.name, t)))
        }
        (Shape::List, Value::Array(all)) => all.iter().all(Value::is_object),
        (Shape::Object(names), Value::Object(inner)) => inner.iter().all(|(name, value)| {
            let text = value.as_str().is_some_and(|t| !t.is_empty() && length(t) <= 1_024);
            name.starts_with("@odata.") || (names.contains(&name.as_str()) && (value.is_null() || text))
        }),
        _ => false,
    }
}

fn fits_text(name: &str, text: &str) -> bool {
    match name {
        "usageLocation" => text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()),
        "onPremisesImmutableId" => !text.contains(['$', '_']),
        "mailNickname" => is_nickname(text),
        "mail" | "otherMails" => is_address(text),
        "businessPhones" => length(text) <= 64,
        "visibility" => ["Public", "Private", "HiddenMembership"].contains(&text),
        "groupTypes" => ["Unified", "DynamicMembership"].contains(&text),
        "userType" => ["Member", "Guest"].contains(&text),
        _ => true,
    }
}

/// Lengths count UTF-16 units, as the directory does.
fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

/// ASCII without `@ ( ) \ [ ] " ; : < > ,` and space.
fn is_nickname(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii() && c > ' ' && !"@()\\[]\";:<>,".contains(c))
}

fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"\",:;<>()[]\\".contains(c);
    !local.is_empty() && !local.contains('@') && local.chars().all(plain) && is_domain(domain)
}

fn is_domain(domain: &str) -> bool {
    let label = |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    domain.split('.').all(label)
}

/// The domain of a user principal name, lower case; `None` when the name is not acceptable
/// (characters `A-Za-z0-9 ' . - _ ! # ^ ~`, at most 64 before and 48 after the `@`).
pub(super) fn upn_domain(upn: &str) -> Option<String> {
    let (local, domain) = upn.split_once('@')?;
    let local_ok = !local.is_empty()
        && local.len() <= 64
        && !local.ends_with('.')
        && local.chars().all(|c| c.is_ascii_alphanumeric() || "'.-_!#^~".contains(c));
    (local_ok && domain.len() <= 48 && is_domain(domain)).then(|| domain.to_lowercase())
}

/// Eight to 256 characters of three of the four classes, unless the policy of the user turns that off.
pub(super) fn password_is_weak(password: &str, policies: Option<&str>) -> bool {
    let length = password.chars().count();
    if !(8..=256).contains(&length) {
        return true;
    }
    if policies.is_some_and(|p| p.contains("DisableStrongPassword")) {
        return false;
    }
    let classes = [
        password.chars().any(char::is_lowercase),
        password.chars().any(char::is_uppercase),
        password.chars().any(|c| c.is_ascii_digit()),
        password.chars().any(|c| !c.is_alphanumeric()),
    ];
    classes.into_iter().filter(|c| *c).count() < 3
}

/// The properties after the body was written over them: null and empty lists clear, parts of objects are merged.
pub(super) fn merge(table: &'static [Property], current: &Props, body: &Props) -> Props {
    let mut next = current.clone();
    for (name, value) in body {
        if name.contains("@odata.") || name == "passwordProfile" {
            continue;
        }
        let shape = schema::find(table, name).map(|p| p.shape);
        let merged = match (shape, value) {
            (Some(Shape::Object(_)), Value::Object(parts)) => {
                let mut object = next.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
                for (part, value) in parts.iter().filter(|(part, _)| !part.starts_with("@odata.")) {
                    if value.is_null() {
                        object.remove(part);
                    } else {
                        object.insert(part.clone(), value.clone());
                    }
                }
                (!object.is_empty()).then_some(Value::Object(object))
            }
            (_, Value::Null) => None,
            (_, Value::Array(all)) if all.is_empty() => None,
            _ => Some(value.clone()),
        };
        match merged {
            Some(value) => next.insert(name.clone(), value),
            None => next.remove(name),
        };
    }
    next
}
