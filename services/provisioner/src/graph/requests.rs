//! Calls as HTTP requests.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use forestsync_domain::SourceAnchor;
use forestsync_rules::diff;
use forestsync_schemas::desired::{CloudAttributes, CloudClass};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Value, json};

use super::extensions::Names;
use super::objects::anchor_text;
use crate::config::InitialPassword;
use crate::target::{Call, Yielded};

/// A request, alone or inside a batch. Its body may hold an initial password and is never shown.
#[derive(Clone)]
pub(super) struct Request {
    pub method: Method,
    /// Below the versioned root; starts with a slash.
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<Value>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("method", &self.method).field("path", &self.path).finish_non_exhaustive()
    }
}

impl Request {
    fn new(method: Method, path: String, body: Option<Value>) -> Self {
        Self { method, path, headers: Vec::new(), body }
    }

    pub(super) fn get(path: String) -> Self {
        Self::new(Method::GET, path, None)
    }

    pub(super) fn post(path: String, body: Value) -> Self {
        Self::new(Method::POST, path, Some(body))
    }

    /// Whether it may change something. A batch does if one of its requests does.
    pub(super) fn writes(&self) -> bool {
        if self.path != "/$batch" {
            return self.method != Method::GET;
        }
        let items = self.body.as_ref().and_then(|b| b.get("requests")).and_then(Value::as_array);
        items.is_none_or(|items| items.iter().any(|item| item.get("method").and_then(Value::as_str) != Some("GET")))
    }
}

pub(super) fn set_of(class: CloudClass) -> &'static str {
    if class == CloudClass::User { "users" } else { "groups" }
}

fn anchor_name(class: CloudClass) -> &'static str {
    if class == CloudClass::User { "onPremisesImmutableId" } else { "uniqueName" }
}

/// The properties in which an object may carry its anchor.
pub(super) fn anchor_names(names: &Names, class: CloudClass, by_extension: bool) -> Vec<String> {
    let extension = names.anchor().filter(|_| by_extension && class == CloudClass::Group);
    [anchor_name(class).to_owned()].into_iter().chain(extension).collect()
}

/// A literal of a filter or of a key: quotes doubled, everything encoded.
fn literal(text: &str) -> String {
    utf8_percent_encode(&text.replace('\'', "''"), NON_ALPHANUMERIC).to_string()
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// What is always asked for, because without `$select` Graph shows a few properties only.
pub(super) fn select(names: &Names, class: CloudClass, attributes: &[String]) -> String {
    let own: &[&str] = if class == CloudClass::User {
        &["id", "onPremisesImmutableId", "onPremisesSyncEnabled"]
    } else {
        &["id", "uniqueName", "onPremisesSyncEnabled", "mailEnabled"]
    };
    let mut selected: Vec<String> = own.iter().map(|&name| name.to_owned()).collect();
    selected.extend(names.anchor().filter(|_| class != CloudClass::User));
    for name in attributes.iter().filter_map(|attribute| names.selected(attribute)) {
        if !selected.contains(&name) {
            selected.push(name);
        }
    }
    selected.join(",")
}

/// The same of those that may be joined: also what they are called, and what stands in the way.
fn select_match(names: &Names, class: CloudClass, attributes: &[String]) -> String {
    let more: &[&str] = if class == CloudClass::User {
        &["userPrincipalName"]
    } else {
        &["displayName", "groupTypes", "isAssignableToRole"]
    };
    let mut all = attributes.to_vec();
    all.extend(more.iter().map(|&name| name.to_owned()));
    select(names, class, &all)
}

/// The first page of a group's members.
pub(super) fn members_path(group: &str) -> String {
    format!("/groups/{}/members?$select=id&$top=999", segment(group))
}

/// The first page of a group's owners; there are at most 100.
pub(super) fn owners_path(group: &str) -> String {
    format!("/groups/{}/owners?$select=id&$top=999", segment(group))
}

/// The first page of what a user is a direct member of: groups, administrative units and directory roles.
pub(super) fn roles_path(user: &str) -> String {
    format!("/users/{}/memberOf?$select=id&$top=999", segment(user))
}

fn deleted_set(class: CloudClass) -> &'static str {
    if class == CloudClass::User { "microsoft.graph.user" } else { "microsoft.graph.group" }
}

/// The first page of the deleted objects of a class.
pub(super) fn deleted_path(names: &Names, class: CloudClass, attributes: &[String]) -> String {
    format!("/directory/deletedItems/{}?$select={}&$top=999", deleted_set(class), select(names, class, attributes))
}

/// Appends the requests that make up a call. `root` begins the references to objects; with `no_filter` deleted objects
/// are not asked for by anchor. Users are created with a password as `password` says.
pub(super) fn of(
    call: &Call,
    root: &str,
    names: &Names,
    no_filter: bool,
    password: InitialPassword,
    out: &mut Vec<Request>,
) {
    match call {
        Call::LookUp { class, anchor, attributes, by_extension } => {
            let select = select(names, *class, attributes);
            let value = literal(&anchor_text(*class, anchor));
            let deleted = format!("directory/deletedItems/{}", deleted_set(*class));
            let sets = [Some(set_of(*class)), Some(deleted.as_str()).filter(|_| !no_filter)];
            for set in sets.into_iter().flatten() {
                for name in anchor_names(names, *class, *by_extension) {
                    out.push(Request::get(format!("/{set}?$filter={name}%20eq%20'{value}'&$select={select}")));
                }
            }
        }
        Call::Match { class, keys, attributes } => {
            let (set, select) = (set_of(*class), select_match(names, *class, attributes));
            for key in keys {
                let filter = format!("{}%20eq%20'{}'", key.attribute, literal(&key.value));
                out.push(Request::get(format!("/{set}?$filter={filter}&$select={select}")));
            }
        }
        Call::Read { class, id, attributes } => {
            let select = select(names, *class, attributes);
            out.push(Request::get(format!("/{}/{}?$select={select}", set_of(*class), segment(id))));
        }
        Call::ReadGroup { anchor, attributes } => {
            let (name, select) = (anchor_text(CloudClass::Group, anchor), select(names, CloudClass::Group, attributes));
            out.push(Request::get(format!("/groups(uniqueName='{}')?$select={select}", literal(&name))));
        }
        Call::ReadManager { id } => out.push(Request::get(format!("/users/{}/manager?$select=id", segment(id)))),
        Call::ListMembers { group } => out.push(Request::get(members_path(group))),
        Call::ListOwners { group } => out.push(Request::get(owners_path(group))),
        Call::ListRoles { user } => out.push(Request::get(roles_path(user))),
        Call::Create { class, anchor, attributes } => {
            out.push(create(names, *class, anchor, attributes, password));
        }
        Call::Update { class, id, changes, anchor } => {
            let mut body = diff::patch_body(changes);
            names.translate(&mut body);
            if let Some(anchor) = anchor {
                let name = match class {
                    CloudClass::User => Some(anchor_name(*class).to_owned()),
                    _ => names.anchor(),
                };
                body.extend(name.map(|name| (name, json!(anchor_text(*class, anchor)))));
            }
            let path = format!("/{}/{}", set_of(*class), segment(id));
            out.push(Request::new(Method::PATCH, path, Some(Value::Object(body))));
        }
        Call::Restore { id, without } => {
            let path = format!("/directory/deletedItems/{}/restore", segment(id));
            out.push(Request::new(Method::POST, path, without.as_ref().map(restoring)));
        }
        Call::Delete { class, id } => {
            out.push(Request::new(Method::DELETE, format!("/{}/{}", set_of(*class), segment(id)), None));
        }
        Call::SetManager { id, manager } => {
            let path = format!("/users/{}/manager/$ref", segment(id));
            out.push(match manager {
                Some(manager) => {
                    Request::new(Method::PUT, path, Some(json!({"@odata.id": format!("{root}/users/{manager}")})))
                }
                None => Request::new(Method::DELETE, path, None),
            });
        }
        Call::AddOwner { group, owner } => {
            let body = json!({"@odata.id": format!("{root}/users/{owner}")});
            out.push(Request::post(format!("/groups/{}/owners/$ref", segment(group)), body));
        }
        Call::RemoveOwner { group, owner } => {
            let path = format!("/groups/{}/owners/{}/$ref", segment(group), segment(owner));
            out.push(Request::new(Method::DELETE, path, None));
        }
        Call::AddMembers { group, members } => {
            let links: Vec<String> = members.iter().map(|m| format!("{root}/directoryObjects/{m}")).collect();
            let body = json!({ "members@odata.bind": links });
            out.push(Request::new(Method::PATCH, format!("/groups/{}", segment(group)), Some(body)));
        }
        Call::AddEach { group, members } => out.extend(members.iter().map(|member| {
            let body = json!({"@odata.id": format!("{root}/directoryObjects/{member}")});
            Request::post(format!("/groups/{}/members/$ref", segment(group)), body)
        })),
        // without /$ref this would delete the member itself
        Call::RemoveMembers { group, members } => out.extend(members.iter().map(|member| {
            let path = format!("/groups/{}/members/{}/$ref", segment(group), segment(member));
            Request::new(Method::DELETE, path, None)
        })),
    }
}

/// Graph's way to bring back who cannot have everything again (graph.md section 6).
fn restoring(without: &Yielded) -> Value {
    let mut body = json!({"autoReconcileProxyConflict": true});
    if let Some(name) = &without.name {
        body["newUserPrincipalName"] = json!(name);
    }
    body
}

fn create(
    names: &Names,
    class: CloudClass,
    anchor: &SourceAnchor,
    attributes: &CloudAttributes,
    password: InitialPassword,
) -> Request {
    let mut body = diff::create_body(attributes);
    names.translate(&mut body);
    let name = anchor_text(class, anchor);
    if class == CloudClass::User {
        body.insert("onPremisesImmutableId".into(), json!(name));
        body.insert(
            "passwordProfile".into(),
            json!({
                "forceChangePasswordNextSignIn": password.force_change,
                "password": random_password(password.length),
            }),
        );
        return Request::post("/users".into(), Value::Object(body));
    }
    body.entry("mailEnabled").or_insert(json!(false));
    body.entry("securityEnabled").or_insert(json!(true));
    let mut request =
        Request::new(Method::PATCH, format!("/groups(uniqueName='{}')", literal(&name)), Some(Value::Object(body)));
    request.headers.push(("Prefer", "create-if-missing".into()));
    request
}

/// Something of each kind that password rules ask for, and then six random bits for each character. Nobody ever learns it.
fn random_password(length: usize) -> String {
    let mut password = "aA1!".to_owned();
    while password.len() < length {
        password += &URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>());
    }
    password.truncate(length);
    password
}

#[cfg(test)]
mod tests {
    use forestsync_schemas::desired::ExtensionType;
    use forestsync_schemas::outcomes::AttributeChanges;

    use super::*;
    use crate::config::ExtensionApp;
    use crate::target::ANCHOR_EXTENSION;

    fn requests(call: &Call) -> Vec<Request> {
        let mut out = Vec::new();
        of(call, "https://graph.example/v1.0", &Names::default(), false, InitialPassword::default(), &mut out);
        assert_eq!(out.len(), call.requests());
        assert_eq!(out.iter().any(Request::writes), call.writes() > 0);
        out
    }

    fn look_up(class: CloudClass, anchor: &SourceAnchor, attributes: Vec<String>, by_extension: bool) -> Call {
        Call::LookUp { class, anchor: anchor.clone(), attributes, by_extension }
    }

    #[test]
    fn a_group_is_found_by_the_extension_too() {
        let app = ExtensionApp { client_id: "2b9d4e60-81c7-4f35-a0be-6d1f7c92e483".into(), object_id: "o".into() };
        let mut names = Names::new(Some(&app), true);
        names.define(ANCHOR_EXTENSION, ExtensionType::String);
        let (full, anchor) = (names.anchor().unwrap(), SourceAnchor::from("a==".to_owned()));
        let call = look_up(CloudClass::Group, &anchor, Vec::new(), true);
        let mut out = Vec::new();
        of(&call, "https://graph.example/v1.0", &names, false, InitialPassword::default(), &mut out);
        let select = format!("$select=id,uniqueName,onPremisesSyncEnabled,mailEnabled,{full}");
        let expected = ["groups", "directory/deletedItems/microsoft.graph.group"].into_iter().flat_map(|set| {
            let of = |name: &str| format!("/{set}?$filter={name}%20eq%20'a'&{select}");
            [of("uniqueName"), of(&full)]
        });
        assert_eq!(out.iter().map(|r| r.path.clone()).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        assert_eq!(out.len(), call.requests());
        // and it is given its anchor there
        let changes = AttributeChanges::new();
        let update = Call::Update { class: CloudClass::Group, id: "g".into(), changes, anchor: Some(anchor) };
        out.clear();
        of(&update, "https://graph.example/v1.0", &names, false, InitialPassword::default(), &mut out);
        assert_eq!(out[0].body, Some(json!({full: "a"})));
    }

    #[test]
    fn anchors_are_encoded() {
        let anchor = SourceAnchor::from("a+/'b==".to_owned());
        let class = CloudClass::User;
        let found = requests(&look_up(class, &anchor, vec!["a.b".into(), "a.c".into()], false));
        assert_eq!(
            found[0].path,
            "/users?$filter=onPremisesImmutableId%20eq%20'a%2B%2F%27%27b%3D%3D'\
             &$select=id,onPremisesImmutableId,onPremisesSyncEnabled,a"
        );
        assert!(found[1].path.starts_with("/directory/deletedItems/microsoft.graph.user?$filter="));
        let attributes = CloudAttributes::new();
        let made = requests(&Call::Create { class: CloudClass::Group, anchor, attributes });
        assert_eq!(made[0].path, "/groups(uniqueName='a%2D%5F%27%27b')");
        assert_eq!(made[0].headers, [("Prefer", "create-if-missing".to_owned())]);
    }

    #[test]
    fn a_member_is_removed_as_a_reference() {
        let found = requests(&Call::RemoveMembers { group: "g".into(), members: vec!["m".into(), "n".into()] });
        assert!(found.iter().all(|r| r.path.ends_with("/$ref") && r.method == Method::DELETE));
    }

    #[test]
    fn passwords_are_random_and_of_every_kind() {
        for length in [16, 36, 256] {
            let (one, other) = (random_password(length), random_password(length));
            assert_ne!(one, other);
            assert!(one.len() == length && one.is_ascii());
        }
    }

    #[test]
    fn a_user_is_created_with_a_password_that_is_shown_nowhere() {
        let (anchor, class) = (SourceAnchor::from("a".to_owned()), CloudClass::User);
        let call = Call::Create { class, anchor, attributes: CloudAttributes::new() };
        let mut out = Vec::new();
        let policy = InitialPassword { length: 20, force_change: false };
        of(&call, "https://graph.example/v1.0", &Names::default(), false, policy, &mut out);
        let profile = &out[0].body.as_ref().unwrap()["passwordProfile"];
        assert_eq!(profile["forceChangePasswordNextSignIn"], false);
        assert_eq!(profile["password"].as_str().unwrap().len(), 20);
        let shown = format!("{out:?} {call:?}");
        assert!(shown.contains("/users") && !shown.contains("aA1!") && !shown.contains("password"), "{shown}");
    }

    #[test]
    fn a_batch_writes_if_one_of_its_requests_does() {
        let read = json!({"requests": [{"method": "GET"}]});
        let write = json!({"requests": [{"method": "GET"}, {"method": "PATCH"}]});
        assert!(!Request::post("/$batch".into(), read).writes());
        assert!(Request::post("/$batch".into(), write).writes());
        assert!(Request::post("/$batch".into(), Value::Null).writes());
    }
}
