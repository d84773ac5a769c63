//! Deleted items: read, restore, purge.

use serde_json::{Value, json};
use uuid::Uuid;

use super::context::{Ctx, Selection};
use super::directory::{Field, Kind, Props};
use super::reply::{GraphError, Outcome, Reply};
use super::request::Payload;

impl Ctx<'_> {
    fn deleted(&self, name: &str) -> Result<Uuid, Box<GraphError>> {
        let id = name.parse::<Uuid>().map_err(|_| GraphError::bad_id(name))?;
        let found = self.directory.get(id).is_some_and(|o| o.deleted.is_some());
        if found { Ok(id) } else { Err(GraphError::not_found(name)) }
    }

    /// `GET /directory/deletedItems/{id}`.
    pub(super) fn get_deleted(&self, name: &str) -> Outcome {
        let selection = self.mixed_selection()?;
        let id = self.deleted(name)?;
        let Some(object) = self.directory.get(id) else { return Err(GraphError::not_found(name)) };
        let mut answer = Props::new();
        answer.insert("@odata.context".into(), self.context("directoryObjects/$entity"));
        answer.append(&mut self.typed(object, id, &object.props, &selection));
        Ok(Reply::json(200, answer))
    }

    /// `POST /directory/deletedItems/{id}/restore`: 200 with the object. Conflicts with live objects are 400, unless the
    /// body gives another name (`newUserPrincipalName`) or lets addresses go (`autoReconcileProxyConflict`).
    pub(super) fn restore(&mut self, name: &str) -> Outcome {
        let id = self.deleted(name).map_err(|e| e.without_effect(true))?;
        let body = match &self.request.payload {
            Payload::None => Props::new(),
            _ => self.request.object()?,
        };
        self.unprivileged(id)?;
        let Some(object) = self.directory.get(id) else { return Err(GraphError::not_found(name)) };
        let kind = object.kind;
        let mut props = object.props.clone();
        props.remove("deletedDateTime");
        if kind == Kind::User {
            self.restored_names(id, &mut props, &body)?;
        }
        if let Some(unique) = props.get("uniqueName").and_then(Value::as_str)
            && let Some(other) = self.directory.find_one(false, Kind::Group, Field::UniqueName, unique)
        {
            return Err(GraphError::conflict("uniqueName", "Group", other));
        }
        let reconcile = body.get("autoReconcileProxyConflict") == Some(&Value::Bool(true));
        self.restored_addresses(id, &mut props, reconcile)?;
        self.directory.set_deleted(id, false, props, self.now);
        let Some(object) = self.directory.get(id) else { return Err(GraphError::not_found(name)) };
        let mut answer = Props::new();
        answer.insert("@odata.context".into(), self.context("directoryObjects/$entity"));
        answer.append(&mut self.typed(object, id, &object.props, &Selection::Default));
        let operation = if kind == Kind::User { "user.restore" } else { "group.restore" };
        Ok(Reply::json(200, answer).wrote(operation, object.key(id), true))
    }

    fn restored_names(&self, id: Uuid, props: &mut Props, body: &Props) -> Result<(), Box<GraphError>> {
        let kept = props.get("userPrincipalName").and_then(Value::as_str).unwrap_or_default();
        let own = kept.strip_prefix(&id.simple().to_string()).unwrap_or(kept).to_owned();
        let upn = body.get("newUserPrincipalName").and_then(Value::as_str).map_or(own, str::to_owned);
        if let Some(other) = self.directory.find_one(false, Kind::User, Field::Upn, &upn) {
            return Err(GraphError::conflict("userPrincipalName", "User", other));
        }
        props.insert("userPrincipalName".into(), json!(upn));
        self.check_upn(props)?;
        if let Some(anchor) = props.get("onPremisesImmutableId").and_then(Value::as_str)
            && let Some(other) = self.directory.find_one(false, Kind::User, Field::ImmutableId, anchor)
        {
            return Err(GraphError::conflict("onPremisesImmutableId", "User", other));
        }
        Ok(())
    }

    fn restored_addresses(&self, id: Uuid, props: &mut Props, reconcile: bool) -> Result<(), Box<GraphError>> {
        let all = props.get("proxyAddresses").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut kept = Vec::new();
        for address in all {
            let holder = address.as_str().and_then(|a| self.directory.proxy_holder(a)).filter(|h| *h != id);
            match holder {
                None => kept.push(address),
                Some(_) if reconcile => {
                    if address.as_str().is_some_and(|a| a.starts_with("SMTP:")) {
                        props.remove("mail");
                    }
                }
                Some(other) => {
                    let resource = self.directory.get(other).map_or("User", |o| o.kind.resource());
                    return Err(GraphError::conflict("proxyAddresses", resource, other));
                }
            }
        }
        if kept.is_empty() {
            props.remove("proxyAddresses");
        } else {
            props.insert("proxyAddresses".into(), Value::Array(kept));
        }
        Ok(())
    }

    /// `DELETE /directory/deletedItems/{id}`: 204, gone for good.
    pub(super) fn purge(&mut self, name: &str) -> Outcome {
        let id = self.deleted(name).map_err(|e| e.without_effect(true))?;
        self.unprivileged(id)?;
        let key = self.directory.get(id).map_or_else(|| id.to_string(), |o| o.key(id));
        self.directory.purge(id, self.now);
        Ok(Reply::no_content().wrote("purge", key, true))
    }
}
