//! What every operation has at hand ([`Ctx`]) and the parts they share: finding an object, choosing properties, links.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::control::Faults;
use super::directory::{Directory, Field, Kind, Object, Props};
use super::options::Knobs;
use super::reply::GraphError;
use super::request::GraphRequest;
use super::schema::{self, DEVICE, GROUP, Property, Shape, USER};

/// A domain of the tenant.
#[derive(Clone, Debug)]
pub(super) struct Domain {
    pub name: String,
    pub verified: bool,
    pub federated: bool,
    pub initial: bool,
}

/// What is fixed about the tenant.
#[derive(Clone, Debug)]
pub(super) struct Tenant {
    pub id: String,
    pub client_id: String,
    pub domains: Vec<Domain>,
    pub privileged: BTreeSet<String>,
}

impl Tenant {
    pub(super) fn initial_domain(&self) -> &str {
        self.domains.iter().find(|d| d.initial).map_or("", |d| d.name.as_str())
    }

    /// The verified domain named so.
    pub(super) fn verified(&self, name: &str) -> Option<&Domain> {
        self.domains.iter().find(|d| d.verified && d.name.eq_ignore_ascii_case(name))
    }
}

/// One operation's surroundings.
pub(super) struct Ctx<'a> {
    pub directory: &'a mut Directory,
    pub knobs: &'a Knobs,
    pub tenant: &'a Tenant,
    pub faults: &'a mut Faults,
    pub request: &'a GraphRequest,
    pub roles: &'a BTreeSet<String>,
    pub now: Instant,
    /// This read goes to the replica that sees writes late.
    pub late: bool,
}

/// The properties asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    Default,
    Named(Vec<String>),
}

/// The property table of a kind.
pub(super) fn table(kind: Kind) -> &'static [Property] {
    match kind {
        Kind::User | Kind::Contact => USER,
        Kind::Group => GROUP,
        Kind::Device => DEVICE,
    }
}

impl Ctx<'_> {
    pub(super) fn lag(&self, of: Duration) -> Duration {
        if self.late { of } else { Duration::ZERO }
    }

    /// Whether writes must keep the old properties for late readers.
    pub(super) fn lagging(&self) -> bool {
        let v = &self.knobs.visibility;
        v.key_reads.max(v.filters).max(v.references) > Duration::ZERO
    }

    /// One of the roles is in the token, else 403.
    pub(super) fn need(&self, roles: &[&str]) -> Result<(), Box<GraphError>> {
        if roles.iter().any(|r| self.roles.contains(*r)) { Ok(()) } else { Err(GraphError::denied()) }
    }

    /// The live object a path names: by id, for users also by name, for groups also by `uniqueName`.
    /// Writes find everything; only reads can be late.
    pub(super) fn locate(&self, kind: Kind, name: &str) -> Result<Uuid, Box<GraphError>> {
        if let Some(unique) = self.request.unique_name.as_deref().filter(|_| name == "*" && kind == Kind::Group) {
            let found = self.directory.find_one(false, kind, Field::UniqueName, unique);
            return found.ok_or_else(|| GraphError::not_found(unique));
        }
        let id = match name.parse::<Uuid>() {
            Ok(id) => Some(id),
            Err(_) if kind == Kind::User => self.directory.find_one(false, kind, Field::Upn, name),
            Err(_) => return Err(GraphError::bad_id(name)),
        };
        let live = id.filter(|id| self.directory.live(*id).is_some_and(|o| o.kind == kind));
        live.ok_or_else(|| GraphError::not_found(name))
    }

    /// As [`locate`](Self::locate), with what a key read sees.
    pub(super) fn read(&self, kind: Kind, name: &str) -> Result<(Uuid, &Object, &Props), Box<GraphError>> {
        let id = self.locate(kind, name)?;
        let lag = self.lag(self.knobs.visibility.key_reads);
        let object = self.directory.get(id);
        let seen = object.and_then(|o| o.seen(lag, self.now).map(|p| (id, o, p)));
        seen.ok_or_else(|| GraphError::not_found(name))
    }

    /// `$select`, checked against the kind.
    pub(super) fn selection(&self, kind: Kind) -> Result<Selection, Box<GraphError>> {
        self.select(|name| {
            schema::find(table(kind), name).is_some()
                || matches!((kind, name), (Kind::User, "manager") | (_, "members"))
        })
    }

    /// `$select` over objects of any kind.
    pub(super) fn mixed_selection(&self) -> Result<Selection, Box<GraphError>> {
        self.select(|name| schema::find(USER, name).or_else(|| schema::find(GROUP, name)).is_some())
    }

    fn select(&self, known: impl Fn(&str) -> bool) -> Result<Selection, Box<GraphError>> {
        let Some(text) = self.request.option("$select") else { return Ok(Selection::Default) };
        let names: Vec<String> = text.split(',').map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).collect();
        if names.is_empty() || names.iter().any(|n| n == "*") {
            return Ok(Selection::Default);
        }
        match names.iter().find(|n| !known(n) && !schema::is_extension(n)) {
            Some(unknown) => Err(GraphError::gateway(format!(
                "Parsing OData Select and Expand failed: Could not find a property named '{unknown}'."
            ))),
            None => Ok(Selection::Named(names)),
        }
    }

    /// The object as the whole of an answer. `set` is the entity set of its kind.
    pub(super) fn whole(&self, set: &str, kind: Kind, id: Uuid, props: &Props, selection: &Selection) -> Props {
        let path = match selection {
            Selection::Default => format!("{set}/$entity"),
            Selection::Named(names) => format!("{set}({})/$entity", names.join(",")),
        };
        let mut answer = Props::new();
        answer.insert("@odata.context".into(), self.context(&path));
        answer.append(&mut self.shape(kind, id, props, selection));
        answer
    }

    /// The object as an answer shows it.
    pub(super) fn shape(&self, kind: Kind, id: Uuid, props: &Props, selection: &Selection) -> Map<String, Value> {
        let mut out = Map::new();
        match selection {
            Selection::Default => {
                for property in table(kind).iter().filter(|p| p.default) {
                    show(&mut out, property, id, props);
                }
            }
            Selection::Named(names) => {
                for name in names {
                    if let Some(property) = schema::find(table(kind), name) {
                        show(&mut out, property, id, props);
                    } else if let Some(value) = props.get(name) {
                        out.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        if self.knobs.unknown_properties {
            out.insert("practiceUnknownProperty".into(), json!({"since": "tomorrow"}));
            if let Some(value) = out.get_mut("visibility") {
                *value = json!("unknownFutureValue");
            }
        }
        out
    }

    /// The object with its type, as lists of mixed kinds show it.
    pub(super) fn typed(&self, object: &Object, id: Uuid, props: &Props, selection: &Selection) -> Map<String, Value> {
        let mut out = Map::new();
        out.insert("@odata.type".into(), json!(object.kind.odata_type()));
        out.append(&mut self.shape(object.kind, id, props, selection));
        out
    }

    /// `@odata.context` of an answer.
    pub(super) fn context(&self, what: &str) -> Value {
        json!(format!("{}/v1.0/$metadata#{what}", self.request.base))
    }

    /// The names of the registered extension properties for a kind.
    pub(super) fn extension_names(&self, kind: Kind) -> Vec<String> {
        let all = self.directory.extensions.values().flatten();
        let fits = all.filter(|e| {
            let targets = e.get("targetObjects").and_then(Value::as_array);
            targets.is_some_and(|t| t.iter().any(|v| v.as_str() == Some(kind.resource())))
        });
        fits.filter_map(|e| e.get("name").and_then(Value::as_str).map(str::to_owned)).collect()
    }

    /// Refuses writes to what another master owns.
    pub(super) fn writable(&self, id: Uuid) -> Result<(), Box<GraphError>> {
        let Some(object) = self.directory.get(id) else { return Ok(()) };
        if object.flag("onPremisesSyncEnabled") {
            return Err(GraphError::directory_synced());
        }
        if object.flag("practiceExternal") {
            return Err(GraphError::external_service());
        }
        if object.flag("isAssignableToRole") {
            // takes RoleManagement.ReadWrite.Directory, which no application here has
            return Err(GraphError::denied());
        }
        let key = object.key(id);
        match self.faults.refused.get(&key) {
            Some(property) => Err(GraphError::invalid_one(property, object.kind.resource())),
            None => Ok(()),
        }
    }

    /// Refuses sensitive actions on administrators.
    pub(super) fn unprivileged(&self, id: Uuid) -> Result<(), Box<GraphError>> {
        if self.is_privileged(id) { Err(GraphError::denied()) } else { Ok(()) }
    }

    /// Whether somebody is an administrator.
    pub(super) fn is_privileged(&self, id: Uuid) -> bool {
        self.directory.get(id).is_some_and(|o| {
            o.privileged
                || o.text("userPrincipalName").is_some_and(|upn| self.tenant.privileged.contains(&upn.to_lowercase()))
        })
    }

    /// The same by id or name.
    pub(super) fn holds_role(&self, name: &str) -> Result<bool, Box<GraphError>> {
        Ok(self.is_privileged(self.read(Kind::User, name)?.0))
    }
}

fn show(out: &mut Map<String, Value>, property: &Property, id: Uuid, props: &Props) {
    let value = match (property.name, props.get(property.name), property.shape) {
        ("id", ..) => json!(id.to_string()),
        (_, Some(value), _) => value.clone(),
        (_, None, Shape::Texts(_) | Shape::List) => json!([]),
        // Not nullable in the contract, so left out when there is none.
        ("birthday" | "hireDate", None, _) => return,
        (_, None, _) => Value::Null,
    };
    out.insert(property.name.to_owned(), value);
}

/// The security identifier the directory derives from an object id: `S-1-12-1-` and four numbers.
pub(super) fn security_identifier(id: Uuid) -> String {
    let bytes = id.to_bytes_le();
    let number = |at: usize| {
        let part = bytes.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok());
        u32::from_le_bytes(part.unwrap_or_default())
    };
    format!("S-1-12-1-{}-{}-{}-{}", number(0), number(4), number(8), number(12))
}
