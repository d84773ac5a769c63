//! Groups: create, upsert by `uniqueName`, read, update, delete.
//!
//! Only security groups and Microsoft 365 groups can be written; distribution lists and mail-enabled security groups
//! belong to Exchange. `uniqueName` is set by the upsert only.

use serde_json::{Value, json};
use uuid::Uuid;

use super::clock;
use super::context::{Ctx, Selection, security_identifier};
use super::directory::{Field, Kind, Object, Props};
use super::reply::{GraphError, Outcome, Reply};
use super::schema::GROUP;
use super::validate::{self, Mode};

const REQUIRED: &[&str] = &["displayName", "mailEnabled", "mailNickname", "securityEnabled"];

/// Whether it is a Microsoft 365 group.
pub(super) fn is_unified(props: &Props) -> bool {
    let types = props.get("groupTypes").and_then(Value::as_array);
    types.is_some_and(|t| t.iter().any(|v| v.as_str() == Some("Unified")))
}

/// Whether a rule chooses its members.
pub(super) fn is_dynamic(props: &Props) -> bool {
    let types = props.get("groupTypes").and_then(Value::as_array);
    types.is_some_and(|t| t.iter().any(|v| v.as_str() == Some("DynamicMembership")))
}

/// Whether Exchange is its master: a distribution list or a mail-enabled security group.
pub(super) fn is_exchange(object: &Object) -> bool {
    object.flag("mailEnabled") && !is_unified(&object.props)
}

impl Ctx<'_> {
    /// `POST /groups`: 201.
    pub(super) fn create_group(&mut self) -> Outcome {
        let body = self.request.object()?;
        self.new_group(&body, None)
    }

    /// `PATCH /groups(uniqueName='…')`: 204, or with `Prefer: create-if-missing` 201 when there was none.
    pub(super) fn upsert_group(&mut self, unique: &str) -> Outcome {
        if self.directory.find_one(false, Kind::Group, Field::UniqueName, unique).is_some() {
            return self.patch_group("*");
        }
        if !self.request.prefer.contains("create-if-missing") {
            return Err(GraphError::not_found(unique));
        }
        let holder = self.directory.find_one(true, Kind::Group, Field::UniqueName, unique);
        if let Some(other) = holder.filter(|_| self.knobs.deleted_holds_unique_name) {
            return Err(GraphError::conflict("uniqueName", "Group", other).without_effect(true));
        }
        let body = self.request.object()?;
        self.new_group(&body, Some(unique))
    }

    fn new_group(&mut self, body: &Props, unique: Option<&str>) -> Outcome {
        if let Some(missing) = REQUIRED.iter().find(|name| body.get(**name).is_none_or(Value::is_null)) {
            return Err(GraphError::required(missing, "Group"));
        }
        validate::check(GROUP, "Group", body, Mode::Create, &self.extension_names(Kind::Group))?;
        let mut props = validate::merge(GROUP, &Props::new(), body);
        check_kind(&props)?;
        if let Some(property) = unique.and_then(|u| self.faults.refused.get(u)) {
            return Err(GraphError::invalid_one(property, "Group"));
        }
        let members = self.bound(body, "members")?;
        let owners = self.bound(body, "owners")?;
        if members.len() + owners.len() > 20 {
            return Err(GraphError::too_many_links());
        }
        for member in &members {
            self.fits_member(is_unified(&props), *member)?;
        }
        let id = Uuid::new_v4();
        self.complete_group(id, &mut props, unique)?;
        self.directory.insert(id, Kind::Group, props, self.now);
        for member in members {
            self.directory.link_member(id, member, self.now);
        }
        for owner in owners {
            self.directory.link_owner(id, owner, self.now);
        }
        let Some(object) = self.directory.get(id) else { return Err(GraphError::not_found("group")) };
        let answer = self.whole("groups", Kind::Group, id, &object.props, &Selection::Default);
        let location = format!(
            "{}/v2/{}/directoryObjects/{id}/Microsoft.DirectoryServices.Group",
            self.request.base, self.tenant.id
        );
        Ok(Reply::json(201, answer).header("Location", location).wrote("group.create", object.key(id), true))
    }

    /// What the service adds to a new group.
    fn complete_group(&self, id: Uuid, props: &mut Props, unique: Option<&str>) -> Result<(), Box<GraphError>> {
        let created = clock::date_time_offset(clock::now());
        props.insert("createdDateTime".into(), json!(created));
        props.insert("renewedDateTime".into(), json!(created));
        props.insert("securityIdentifier".into(), json!(security_identifier(id)));
        if let Some(unique) = unique {
            props.insert("uniqueName".into(), json!(unique));
        }
        if is_unified(props) {
            let nickname = props.get("mailNickname").and_then(Value::as_str).unwrap_or_default();
            let mail = format!("{nickname}@{}", self.tenant.initial_domain());
            let address = format!("SMTP:{mail}");
            if let Some(other) = self.directory.proxy_holder(&address) {
                let resource = self.directory.get(other).map_or("Group", |o| o.kind.resource());
                return Err(GraphError::conflict("mailNickname", resource, other));
            }
            props.insert("mail".into(), json!(mail));
            props.insert("proxyAddresses".into(), json!([address]));
            props.entry("visibility").or_insert_with(|| json!("Public"));
        }
        Ok(())
    }

    /// `GET /groups/{id}` or by `uniqueName`.
    pub(super) fn get_group(&self, name: &str) -> Outcome {
        let selection = self.selection(Kind::Group)?;
        let (id, object, props) = self.read(Kind::Group, name)?;
        let mut answer = self.whole("groups", Kind::Group, id, props, &selection);
        if self.request.option("$expand").is_some_and(|e| e.starts_with("members")) {
            let members = object.members.keys().filter_map(|m| self.directory.live(*m).map(|o| (*m, o)));
            let members = members.take(20).map(|(m, o)| Value::Object(self.typed(o, m, &o.props, &Selection::Default)));
            answer.insert("members".into(), members.collect());
        }
        Ok(Reply::json(200, answer))
    }

    /// `PATCH /groups/{id}`: properties and up to 20 new links, all or nothing. 204.
    pub(super) fn patch_group(&mut self, name: &str) -> Outcome {
        let id = self.locate(Kind::Group, name)?;
        let body = self.request.object()?;
        self.writable(id)?;
        let Some(object) = self.directory.get(id) else { return Err(GraphError::not_found(name)) };
        let (current, key, exchange) = (object.props.clone(), object.key(id), is_exchange(object));
        let links = body.keys().any(|k| k.ends_with("@odata.bind"));
        if exchange {
            return Err(if links { GraphError::mail_enabled_members() } else { GraphError::mail_enabled_write() });
        }
        validate::check(GROUP, "Group", &body, Mode::Update, &self.extension_names(Kind::Group))?;
        let next = validate::merge(GROUP, &current, &body);
        check_kind(&next)?;
        let members = self.bound(&body, "members")?;
        let owners = self.bound(&body, "owners")?;
        if members.len() + owners.len() > 20 {
            return Err(GraphError::too_many_links());
        }
        self.check_new_links(id, &members, &owners)?;
        let changed = next != current || links;
        if next != current {
            self.directory.set(id, next, self.now, self.lagging());
        }
        for member in members {
            self.directory.link_member(id, member, self.now);
        }
        for owner in owners {
            self.directory.link_owner(id, owner, self.now);
        }
        Ok(Reply::no_content().wrote(if links { "group.members.add" } else { "group.update" }, key, changed))
    }

    /// `DELETE /groups/{id}`: Microsoft 365 and (by the knob) cloud security groups go to deleted items.
    pub(super) fn delete_group(&mut self, name: &str) -> Outcome {
        let id = self.locate(Kind::Group, name).map_err(|e| e.without_effect(true))?;
        self.writable(id)?;
        let Some(object) = self.directory.get(id) else { return Err(GraphError::not_found(name)) };
        if is_exchange(object) {
            return Err(GraphError::mail_enabled_write());
        }
        let key = object.key(id);
        if is_unified(&object.props) || self.knobs.soft_delete_security_groups {
            let mut props = object.props.clone();
            props.insert("deletedDateTime".into(), json!(clock::date_time_offset(clock::now())));
            self.directory.set_deleted(id, true, props, self.now);
        } else {
            self.directory.purge(id, self.now);
        }
        Ok(Reply::no_content().wrote("group.delete", key, true))
    }
}

/// Only security groups without mail and Microsoft 365 groups with it.
fn check_kind(props: &Props) -> Result<(), Box<GraphError>> {
    let flag = |name: &str| props.get(name) == Some(&Value::Bool(true));
    if is_unified(props) {
        return if flag("mailEnabled") { Ok(()) } else { Err(GraphError::invalid_one("mailEnabled", "Group")) };
    }
    if flag("mailEnabled") || !flag("securityEnabled") {
        return Err(GraphError::mail_enabled_write());
    }
    Ok(())
}
