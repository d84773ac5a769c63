//! Users: create, read, update, soft delete, with the validation of Graph v1.0.

use serde_json::{Value, json};
use uuid::Uuid;

use super::clock;
use super::context::{Ctx, Selection, security_identifier};
use super::directory::{Field, Kind, Props};
use super::reply::{GraphError, Outcome, Reply};
use super::schema::{self, USER};
use super::validate::{self, Mode};

const REQUIRED: &[&str] = &["accountEnabled", "displayName", "mailNickname", "passwordProfile", "userPrincipalName"];

fn text<'a>(props: &'a Props, name: &str) -> Option<&'a str> {
    props.get(name).and_then(Value::as_str)
}

impl Ctx<'_> {
    /// `POST /users`: 201 with the default properties.
    pub(super) fn create_user(&mut self) -> Outcome {
        let body = self.request.object()?;
        let anchor = text(&body, "onPremisesImmutableId").unwrap_or_default().to_owned();
        let repeated = !anchor.is_empty() && self.anchor_holder(&anchor, None).is_some();
        self.try_create_user(&body, &anchor).map_err(|e| e.without_effect(repeated))
    }

    fn try_create_user(&mut self, body: &Props, anchor: &str) -> Outcome {
        if let Some(missing) = REQUIRED.iter().find(|name| body.get(**name).is_none_or(Value::is_null)) {
            return Err(GraphError::required(missing, "User"));
        }
        validate::check(USER, "User", body, Mode::Create, &self.extension_names(Kind::User))?;
        let mut props = validate::merge(USER, &Props::new(), body);
        self.check_upn(&props)?;
        check_password(body, true)?;
        let manager = match body.get("manager@odata.bind") {
            Some(reference) => Some(self.reference(reference)?),
            None => None,
        };
        if let Some(property) = self.faults.refused.get(anchor) {
            return Err(GraphError::invalid_one(property, "User"));
        }
        set_addresses(&mut props, None, false);
        self.check_unique(None, &Props::new(), &props)?;
        let count: usize = [Kind::User, Kind::Group]
            .iter()
            .map(|k| self.directory.listing(*k, false).len() + self.directory.listing(*k, true).len())
            .sum();
        if self.knobs.object_quota.is_some_and(|quota| count >= quota) {
            return Err(GraphError::object_quota());
        }
        let id = Uuid::new_v4();
        let created = clock::date_time_offset(clock::now());
        props.entry("userType").or_insert_with(|| json!("Member"));
        props.insert("createdDateTime".into(), json!(created));
        props.insert("lastPasswordChangeDateTime".into(), json!(created));
        props.insert("securityIdentifier".into(), json!(security_identifier(id)));
        self.directory.insert(id, Kind::User, props, self.now);
        if manager.is_some() {
            self.directory.set_manager(id, manager, self.now);
        }
        let Some(object) = self.directory.get(id) else { return Err(GraphError::not_found("user")) };
        let answer = self.whole("users", Kind::User, id, &object.props, &Selection::Default);
        let location = format!(
            "{}/v2/{}/directoryObjects/{id}/Microsoft.DirectoryServices.User",
            self.request.base, self.tenant.id
        );
        Ok(Reply::json(201, answer).header("Location", location).wrote("user.create", object.key(id), true))
    }

    /// `GET /users/{id or name}`.
    pub(super) fn get_user(&self, name: &str) -> Outcome {
        let selection = self.selection(Kind::User)?;
        let (id, object, props) = self.read(Kind::User, name)?;
        let mut answer = self.whole("users", Kind::User, id, props, &selection);
        if self.request.option("$expand").is_some_and(|e| e.starts_with("manager")) {
            let manager = object.manager.and_then(|m| self.directory.live(m).map(|o| (m, o)));
            let manager = manager.map(|(m, o)| self.typed(o, m, &o.props, &Selection::Default));
            answer.insert("manager".into(), manager.map_or(Value::Null, Value::Object));
        }
        Ok(Reply::json(200, answer))
    }

    /// `PATCH /users/{id}`: 204.
    pub(super) fn patch_user(&mut self, name: &str) -> Outcome {
        let id = self.locate(Kind::User, name)?;
        let body = self.request.object()?;
        self.writable(id)?;
        let sensitive = |name: &String| schema::find(USER, name).is_some_and(|p| p.sensitive);
        if body.keys().any(sensitive) {
            self.unprivileged(id)?;
        }
        if let Some(bind) = body.keys().find(|k| k.ends_with("@odata.bind")) {
            return Err(GraphError::bad(format!("The navigation property '{bind}' cannot be set in an update.")));
        }
        validate::check(USER, "User", &body, Mode::Update, &self.extension_names(Kind::User))?;
        let Some(current) = self.directory.get(id).map(|o| o.props.clone()) else {
            return Err(GraphError::not_found(name));
        };
        let clears = body.get("onPremisesImmutableId").is_some_and(Value::is_null);
        if clears && self.knobs.clear_immutable_id_refused {
            return Err(GraphError::invalid_one("onPremisesImmutableId", "User"));
        }
        let mut next = validate::merge(USER, &current, &body);
        if body.contains_key("userPrincipalName") || clears {
            self.check_upn(&next)?;
        }
        check_password(&body, false)?;
        if body.contains_key("mail") {
            set_addresses(&mut next, text(&current, "mail"), self.knobs.clearing_mail_keeps_addresses);
        }
        self.check_unique(Some(id), &current, &next)?;
        let password = body.get("passwordProfile").is_some_and(|p| p.get("password").is_some());
        if password {
            next.insert("lastPasswordChangeDateTime".into(), json!(clock::date_time_offset(clock::now())));
        }
        let changed = password || next != current;
        if changed {
            self.directory.set(id, next, self.now, self.lagging());
        }
        let key = self.directory.get(id).map_or_else(|| id.to_string(), |o| o.key(id));
        Ok(Reply::no_content().wrote("user.update", key, changed))
    }

    /// `DELETE /users/{id}`: 204, to deleted items; the name is kept there behind the id.
    pub(super) fn delete_user(&mut self, name: &str) -> Outcome {
        let id = self.locate(Kind::User, name).map_err(|e| e.without_effect(true))?;
        self.writable(id)?;
        self.unprivileged(id)?;
        let Some(object) = self.directory.get(id) else { return Err(GraphError::not_found(name)) };
        let key = object.key(id);
        let mut props = object.props.clone();
        if let Some(upn) = object.text("userPrincipalName") {
            props.insert("userPrincipalName".into(), json!(format!("{}{upn}", id.simple())));
        }
        props.insert("deletedDateTime".into(), json!(clock::date_time_offset(clock::now())));
        self.directory.set_deleted(id, true, props, self.now);
        Ok(Reply::no_content().wrote("user.delete", key, true))
    }

    /// The suffix must be a verified domain; a federated one demands an anchor.
    pub(super) fn check_upn(&self, props: &Props) -> Result<(), Box<GraphError>> {
        let upn = text(props, "userPrincipalName").unwrap_or_default();
        let Some(domain) = validate::upn_domain(upn) else { return Err(GraphError::upn()) };
        let Some(domain) = self.tenant.verified(&domain) else { return Err(GraphError::upn_domain()) };
        if domain.federated && text(props, "onPremisesImmutableId").is_none() {
            return Err(GraphError::invalid_values());
        }
        Ok(())
    }

    /// Another user that holds the anchor: live, or soft-deleted where the tenant counts those.
    pub(super) fn anchor_holder(&self, anchor: &str, but: Option<Uuid>) -> Option<Uuid> {
        let mut holders = self.directory.find(false, Kind::User, Field::ImmutableId, anchor);
        if self.knobs.deleted_holds_immutable_id {
            holders.extend(self.directory.find(true, Kind::User, Field::ImmutableId, anchor));
        }
        holders.into_iter().find(|h| Some(*h) != but)
    }

    /// Name, addresses and anchor are unique in the tenant; only what changed is looked at.
    pub(super) fn check_unique(&self, id: Option<Uuid>, was: &Props, next: &Props) -> Result<(), Box<GraphError>> {
        let new = |name: &str| text(next, name).filter(|_| was.get(name) != next.get(name));
        if let Some(upn) = new("userPrincipalName") {
            let holder = self.directory.find(false, Kind::User, Field::Upn, upn).into_iter().find(|h| Some(*h) != id);
            if let Some(other) = holder {
                return Err(GraphError::conflict("userPrincipalName", "User", other));
            }
        }
        for address in next.get("proxyAddresses").and_then(Value::as_array).into_iter().flatten() {
            let holder = address.as_str().and_then(|a| self.directory.proxy_holder(a)).filter(|h| Some(*h) != id);
            if let Some(other) = holder {
                let resource = self.directory.get(other).map_or("User", |o| o.kind.resource());
                return Err(GraphError::conflict("proxyAddresses", resource, other));
            }
        }
        if let Some(anchor) = new("onPremisesImmutableId")
            && let Some(other) = self.anchor_holder(anchor, id)
        {
            return Err(GraphError::conflict("onPremisesImmutableId", "User", other));
        }
        Ok(())
    }
}

fn check_password(body: &Props, required: bool) -> Result<(), Box<GraphError>> {
    let password = body.get("passwordProfile").and_then(|p| p.get("password"));
    let policies = text(body, "passwordPolicies");
    match password {
        Some(Value::String(password)) if validate::password_is_weak(password, policies) => {
            Err(GraphError::weak_password())
        }
        Some(Value::String(_)) => Ok(()),
        None if !required => Ok(()),
        _ => Err(GraphError::invalid_one("passwordProfile", "User")),
    }
}

/// Pushes `mail` into `proxyAddresses` as the primary address, in place of the old one.
pub(super) fn set_addresses(props: &mut Props, old_mail: Option<&str>, keep: bool) {
    let mail = text(props, "mail").map(str::to_owned);
    let list = props.get("proxyAddresses").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut addresses: Vec<String> = list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if mail.is_none() && keep {
        return;
    }
    let same = |address: &str, mail: &str| address.to_lowercase() == format!("smtp:{}", mail.to_lowercase());
    addresses.retain(|a| !a.starts_with("SMTP:"));
    addresses.retain(|a| !old_mail.is_some_and(|old| same(a, old)) && !mail.as_deref().is_some_and(|new| same(a, new)));
    if let Some(mail) = mail {
        addresses.insert(0, format!("SMTP:{mail}"));
    }
    if addresses.is_empty() {
        props.remove("proxyAddresses");
    } else {
        props.insert("proxyAddresses".into(), json!(addresses));
    }
}
