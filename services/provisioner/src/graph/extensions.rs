//! Directory extensions (graph.md section 11): what they are called in the tenant, and their definitions.
//!
//! A wish says `extension.<name>`; the tenant says `extension_<application id without dashes>_<name>`. Whether the tenant
//! refuses to show one that nobody defined is not documented, so only those seen on the application are asked for.

use std::collections::BTreeMap;

use forestsync_schemas::desired::{CloudClass, ExtensionType};
use serde_json::{Map, Value, json};

use super::requests::Request;
use crate::config::ExtensionApp;
use crate::target::{ANCHOR_EXTENSION, Call, Extension, ExtensionState, Failure, FailureKind};

/// The property of a body under which the paths `extension.<name>` stand.
const OURS: &str = "extension";

/// What extensions are called.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    /// What stands before each name; nothing without an application.
    prefix: Option<String>,
    /// Those that the application defines.
    defined: BTreeMap<String, ExtensionType>,
    /// Groups may carry their anchor in one of them, of which it is not known yet whether it is defined.
    anchor_unknown: bool,
}

/// The name of an extension in a wish, without what stands before it.
fn own(name: &str) -> Option<&str> {
    name.strip_prefix(OURS)?.strip_prefix('.')
}

impl Names {
    /// `with_anchor`: groups may carry their anchor in [`ANCHOR_EXTENSION`].
    pub(super) fn new(app: Option<&ExtensionApp>, with_anchor: bool) -> Self {
        let prefix = app.map(|app| format!("extension_{}_", app.client_id.replace('-', "").to_ascii_lowercase()));
        Self { prefix, defined: BTreeMap::new(), anchor_unknown: with_anchor }
    }

    /// Takes over that the application defines it.
    pub(super) fn define(&mut self, name: &str, data_type: ExtensionType) {
        self.defined.insert(name.to_owned(), data_type);
        self.anchor_unknown &= name != ANCHOR_EXTENSION;
    }

    /// Takes over that the application does not define it, so that no object can have it.
    pub(super) fn miss(&mut self, name: &str) {
        self.anchor_unknown &= name != ANCHOR_EXTENSION;
    }

    /// The property in which groups carry their anchor that had none when they were found, if there is one.
    pub(super) fn anchor(&self) -> Option<String> {
        self.full(ANCHOR_EXTENSION).filter(|_| self.defined.contains_key(ANCHOR_EXTENSION))
    }

    /// Whether a call cannot be performed before it is known how groups carry their anchor.
    pub(super) fn must_wait(&self, call: &Call) -> bool {
        match call {
            Call::LookUp { by_extension: true, .. } => self.anchor_unknown,
            Call::Update { class: CloudClass::Group, anchor: Some(_), .. } => self.anchor().is_none(),
            _ => false,
        }
    }

    fn full(&self, name: &str) -> Option<String> {
        self.prefix.as_ref().map(|prefix| format!("{prefix}{name}"))
    }

    /// What to ask for, so that the attribute is shown; nothing for an extension that is not defined.
    pub(super) fn selected(&self, attribute: &str) -> Option<String> {
        match own(attribute) {
            Some(name) => self.full(name).filter(|_| self.defined.contains_key(name)),
            None => Some(attribute.split_once('.').map_or(attribute, |(top, _)| top).to_owned()),
        }
    }

    /// The value of an attribute in an answer.
    pub(super) fn value<'a>(&self, object: &'a Value, attribute: &str) -> Option<&'a Value> {
        match own(attribute) {
            Some(name) => object.get(self.full(name)?),
            None => attribute.split('.').try_fold(object, |value, part| value.get(part)),
        }
    }

    /// Puts extensions into a body as the tenant calls them, several values as what they are.
    pub(super) fn translate(&self, body: &mut Map<String, Value>) {
        let Some(Value::Object(values)) = body.remove(OURS) else { return };
        for (name, mut value) in values {
            let Some(full) = self.full(&name) else { continue };
            if let (Value::Array(items), Some(data_type)) = (&mut value, self.defined.get(&name)) {
                for item in items {
                    *item = typed(std::mem::take(item), *data_type);
                }
            }
            body.insert(full, value);
        }
    }

    /// A failure that names an extension, in our words.
    pub(super) fn failure(&self, mut failure: Failure) -> Failure {
        let named = failure.attribute.as_deref().zip(self.prefix.as_deref());
        if let Some(name) = named.and_then(|(attribute, prefix)| attribute.strip_prefix(prefix)) {
            failure.attribute = Some(format!("{OURS}.{name}"));
        }
        failure
    }
}

/// One of several values, which a wish has as a text.
fn typed(value: Value, data_type: ExtensionType) -> Value {
    let Value::String(text) = &value else { return value };
    let parsed = match data_type {
        ExtensionType::Integer | ExtensionType::LargeInteger => text.parse::<i64>().ok().map(Value::from),
        ExtensionType::Boolean => text.parse::<bool>().ok().map(Value::from),
        ExtensionType::Binary | ExtensionType::DateTime | ExtensionType::String => None,
    };
    parsed.unwrap_or(value)
}

fn path(app: &ExtensionApp) -> String {
    format!("/applications/{}/extensionProperties", app.object_id)
}

/// The first page of the definitions.
pub(super) fn list(app: &ExtensionApp) -> String {
    path(app)
}

/// Defines an extension.
pub(super) fn create(app: &ExtensionApp, extension: &Extension) -> Request {
    let body = json!({
        "name": extension.name,
        "dataType": extension.data_type.as_str(),
        "isMultiValued": extension.multi_valued,
        "targetObjects": targets(extension),
    });
    Request::post(path(app), body)
}

fn targets(extension: &Extension) -> Vec<&'static str> {
    extension.classes.iter().map(|class| if *class == CloudClass::User { "User" } else { "Group" }).collect()
}

/// What the definitions say of an extension; nothing if it is not among them.
pub(super) fn judge(names: &Names, definitions: &[Value], extension: &Extension) -> Option<ExtensionState> {
    let full = names.full(&extension.name)?;
    let text = |definition: &Value, name: &str| definition.get(name).and_then(Value::as_str).map(str::to_owned);
    let found = definitions.iter().find(|d| text(d, "name").is_some_and(|name| name.eq_ignore_ascii_case(&full)))?;
    let data_type = text(found, "dataType").unwrap_or_default();
    let multi_valued = found.get("isMultiValued").and_then(Value::as_bool).unwrap_or_default();
    if data_type != extension.data_type.as_str() || multi_valued != extension.multi_valued {
        let kind = |data_type: &str, multi: bool| format!("{data_type}, {}", if multi { "several" } else { "one" });
        return Some(ExtensionState::Refused {
            code: "extension_type",
            detail: format!(
                "the application defines it as {}, the configuration as {}",
                kind(&data_type, multi_valued),
                kind(extension.data_type.as_str(), extension.multi_valued)
            ),
            hint: "give the extension another name, or its type in the tenant; a definition cannot be changed",
        });
    }
    let held = found.get("targetObjects").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if let Some(missing) = targets(extension).into_iter().find(|target| !held.iter().any(|h| h == target)) {
        return Some(ExtensionState::Refused {
            code: "extension_target",
            detail: format!("the application does not define it for {missing}"),
            hint: "give the extension another name; a definition cannot be changed",
        });
    }
    Some(ExtensionState::Ready { made: false })
}

/// What it means that the definitions could not be read, or one could not be made; nothing if it may pass by itself.
pub(super) fn refusal(failure: &Failure) -> Option<ExtensionState> {
    let (code, detail, hint) = match failure.kind {
        FailureKind::Denied => (
            "extension_not_permitted",
            "the application may not read or make the definitions of extensions (403)",
            "grant it Application.ReadWrite.All, or make it the owner of the one that holds the extensions and grant \
             Application.ReadWrite.OwnedBy, and consent to it",
        ),
        FailureKind::NotFound => (
            "extension_app_unknown",
            "the tenant has no application with the object id of extension_app_object (404)",
            "write the object id of the app registration, not that of the enterprise application",
        ),
        FailureKind::Invalid | FailureKind::Conflict => (
            "extension_refused",
            "the tenant refuses to define it (400)",
            "a name has letters, digits and underscores only, and an application holds 100 extensions",
        ),
        _ => return None,
    };
    Some(ExtensionState::Refused { code, detail: detail.to_owned(), hint })
}

/// Those of these definitions that can be used from now on.
pub(super) fn usable<'a>(
    wanted: &'a [Extension],
    states: &'a BTreeMap<String, ExtensionState>,
) -> impl Iterator<Item = &'a Extension> {
    wanted.iter().filter(|e| matches!(states.get(&e.name), Some(ExtensionState::Ready { .. })))
}

#[cfg(test)]
mod tests {
    use crate::target::own_failure;

    use super::*;

    fn names() -> Names {
        let client_id = "2B9D4E60-81c7-4f35-a0be-6d1f7c92e483".to_owned();
        let mut names = Names::new(Some(&ExtensionApp { client_id, object_id: "o".into() }), false);
        names.define("badges", ExtensionType::Integer);
        names
    }

    const FULL: &str = "extension_2b9d4e6081c74f35a0be6d1f7c92e483_badges";

    #[test]
    fn names_are_translated_both_ways() {
        let names = names();
        assert_eq!(names.selected("extension.badges").as_deref(), Some(FULL));
        assert_eq!(names.selected("extension.unknown"), None);
        assert_eq!(names.selected("a.b").as_deref(), Some("a"));
        let body = json!({"extension": {"badges": ["7", "x"], "other": null}, "city": "Bern"});
        let Value::Object(mut body) = body else { unreachable!() };
        names.translate(&mut body);
        let other = FULL.replace("badges", "other");
        assert_eq!(Value::Object(body.clone()), json!({FULL: [7, "x"], other: null, "city": "Bern"}));
        let answer = Value::Object(body);
        assert_eq!(names.value(&answer, "extension.badges"), Some(&json!([7, "x"])));
        let named = Failure { attribute: Some(FULL.into()), ..own_failure(FailureKind::Invalid, "x") };
        assert_eq!(names.failure(named).attribute.as_deref(), Some("extension.badges"));
        let plain = Failure { attribute: Some("city".into()), ..own_failure(FailureKind::Invalid, "x") };
        assert_eq!(names.failure(plain).attribute.as_deref(), Some("city"));
    }

    #[test]
    fn a_definition_must_fit() {
        let wanted = |classes: &[CloudClass]| Extension {
            name: "badges".into(),
            data_type: ExtensionType::Integer,
            multi_valued: true,
            classes: classes.iter().copied().collect(),
        };
        let definition = |data_type: &str, multi: bool, targets: &[&str]| json!({"name": FULL, "dataType": data_type, "isMultiValued": multi, "targetObjects": targets});
        let (user, both) = ([CloudClass::User], [CloudClass::User, CloudClass::Group]);
        let fits = Some(ExtensionState::Ready { made: false });
        for (definition, classes, expected) in [
            (definition("Integer", true, &["User"]), &user[..], None),
            (definition("Integer", true, &["Group", "User"]), &both, None),
            (definition("Integer", true, &["User"]), &both, Some("extension_target")),
            (definition("Integer", false, &["User"]), &user, Some("extension_type")),
            (definition("String", true, &["User"]), &user, Some("extension_type")),
        ] {
            let found = judge(&names(), std::slice::from_ref(&definition), &wanted(classes));
            match (expected, &found) {
                (Some(expected), Some(ExtensionState::Refused { code, .. })) => assert_eq!(*code, expected),
                _ => assert_eq!(found, fits, "{definition}"),
            }
        }
        let other = json!({"name": FULL.replace("badges", "badge"), "dataType": "Integer"});
        assert_eq!(judge(&names(), &[other], &wanted(&user)), None);
        assert_eq!(
            create(&ExtensionApp { client_id: "c".into(), object_id: "o".into() }, &wanted(&both)).body.unwrap(),
            json!({
                "name": "badges", "dataType": "Integer", "isMultiValued": true, "targetObjects": ["User", "Group"],
            })
        );
    }
}
