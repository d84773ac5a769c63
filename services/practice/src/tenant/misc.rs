//! The smaller resources: domains, organization, extension properties, objects by id, contacts and devices (read only).

use serde_json::{Value, json};
use uuid::Uuid;

use super::context::{Ctx, Domain};
use super::directory::{Kind, Props};
use super::reply::{GraphError, Outcome, Reply};

const TYPES: &[&str] = &["Binary", "Boolean", "DateTime", "Integer", "LargeInteger", "String"];
const TARGETS: &[&str] = &["User", "Group", "Organization", "Device", "Application", "AdministrativeUnit"];

fn domain(d: &Domain) -> Props {
    let body = json!({
        "id": d.name,
        "authenticationType": if d.federated { "Federated" } else { "Managed" },
        "availabilityStatus": null,
        "isAdminManaged": true,
        "isDefault": d.initial,
        "isInitial": d.initial,
        "isRoot": true,
        "isVerified": d.verified,
        "supportedServices": if d.verified { json!(["Email", "OfficeCommunicationsOnline"]) } else { json!([]) },
        "passwordValidityPeriodInDays": null,
        "passwordNotificationWindowInDays": null,
        "state": null,
    });
    into_props(body)
}

fn into_props(value: Value) -> Props {
    match value {
        Value::Object(map) => map,
        _ => Props::new(),
    }
}

impl Ctx<'_> {
    fn collection(&self, what: &str, values: Vec<Value>) -> Reply {
        let mut answer = Props::new();
        answer.insert("@odata.context".into(), self.context(what));
        answer.insert("value".into(), Value::Array(values));
        Reply::json(200, answer)
    }

    fn entity(&self, what: &str, mut body: Props) -> Reply {
        body.insert("@odata.context".into(), self.context(what));
        Reply::json(200, body)
    }

    pub(super) fn list_domains(&self) -> Reply {
        let all = self.tenant.domains.iter().map(|d| Value::Object(domain(d))).collect();
        self.collection("domains", all)
    }

    pub(super) fn get_domain(&self, name: &str) -> Outcome {
        let found = self.tenant.domains.iter().find(|d| d.name.eq_ignore_ascii_case(name));
        let found = found.ok_or_else(|| GraphError::not_found(name))?;
        Ok(self.entity("domains/$entity", domain(found)))
    }

    fn organization(&self) -> Props {
        let domains = self.tenant.domains.iter().filter(|d| d.verified);
        let domains: Vec<Value> = domains
            .map(|d| {
                json!({
                    "capabilities": "Email, OfficeCommunicationsOnline",
                    "isDefault": d.initial,
                    "isInitial": d.initial,
                    "name": d.name,
                    "type": if d.federated { "Federated" } else { "Managed" },
                })
            })
            .collect();
        into_props(json!({
            "id": self.tenant.id,
            "displayName": "Practice tenant",
            "tenantType": "AAD",
            "onPremisesSyncEnabled": null,
            "businessPhones": [],
            "assignedPlans": [],
            "provisionedPlans": [],
            "technicalNotificationMails": [],
            "verifiedDomains": domains,
        }))
    }

    pub(super) fn list_organization(&self) -> Reply {
        self.collection("organization", vec![Value::Object(self.organization())])
    }

    pub(super) fn get_organization(&self, id: &str) -> Outcome {
        if id.eq_ignore_ascii_case(&self.tenant.id) {
            Ok(self.entity("organization/$entity", self.organization()))
        } else {
            Err(GraphError::not_found(id))
        }
    }

    /// `POST /applications/{id}/extensionProperties`: 201 with the full name.
    pub(super) fn create_extension(&mut self, application: &str) -> Outcome {
        let app = application.parse::<Uuid>().map_err(|_| GraphError::bad_id(application))?;
        let body = self.request.object()?;
        if let Some(missing) = ["name", "dataType", "targetObjects"].iter().find(|n| !body.contains_key(**n)) {
            return Err(GraphError::required(missing, "ExtensionProperty"));
        }
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let targets = body.get("targetObjects").and_then(Value::as_array).cloned().unwrap_or_default();
        let known = !targets.is_empty() && targets.iter().all(|t| t.as_str().is_some_and(|t| TARGETS.contains(&t)));
        let named = !text("name").is_empty() && text("name").bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !named || !TYPES.contains(&text("dataType")) || !known {
            return Err(GraphError::invalid_values());
        }
        let client = self.tenant.client_id.replace('-', "").to_lowercase();
        let full = format!("extension_{client}_{}", text("name"));
        let mine = self.directory.extensions.entry(app.to_string()).or_default();
        if mine.iter().any(|e| e.get("name").and_then(Value::as_str) == Some(&full)) {
            let message = format!("An extension property exists with the name {full}.");
            return Err(GraphError::bad(message).without_effect(true));
        }
        let definition = into_props(json!({
            "id": Uuid::new_v4().to_string(),
            "deletedDateTime": null,
            "appDisplayName": "practice",
            "dataType": text("dataType"),
            "isMultiValued": body.get("isMultiValued") == Some(&Value::Bool(true)),
            "isSyncedFromOnPremises": false,
            "name": full,
            "targetObjects": targets,
        }));
        mine.push(definition.clone());
        self.directory.extensions_dirty = true;
        let reply = self.entity(&format!("applications('{app}')/extensionProperties/$entity"), definition);
        Ok(Reply { status: 201, ..reply }.wrote("extension.create", full, true))
    }

    pub(super) fn list_extensions(&self, application: &str) -> Outcome {
        let app = application.parse::<Uuid>().map_err(|_| GraphError::bad_id(application))?;
        let all = self.directory.extensions.get(&app.to_string()).into_iter().flatten().cloned().map(Value::Object);
        Ok(self.collection(&format!("applications('{app}')/extensionProperties"), all.collect()))
    }

    pub(super) fn get_extension(&self, application: &str, id: &str) -> Outcome {
        let all = self.directory.extensions.get(application).into_iter().flatten();
        let found = all.into_iter().find(|e| e.get("id").and_then(Value::as_str) == Some(id));
        let found = found.ok_or_else(|| GraphError::not_found(id))?;
        Ok(self.entity(&format!("applications('{application}')/extensionProperties/$entity"), found.clone()))
    }

    pub(super) fn delete_extension(&mut self, application: &str, id: &str) -> Outcome {
        let all = self.directory.extensions.entry(application.to_owned()).or_default();
        let before = all.len();
        all.retain(|e| e.get("id").and_then(Value::as_str) != Some(id));
        if all.len() == before {
            return Err(GraphError::not_found(id).without_effect(true));
        }
        self.directory.extensions_dirty = true;
        Ok(Reply::no_content().wrote("extension.delete", id.to_owned(), true))
    }

    /// `POST /directoryObjects/getAvailableExtensionProperties`.
    pub(super) fn available_extensions(&self) -> Reply {
        let all = self.directory.extensions.values().flatten().cloned().map(Value::Object);
        self.collection("Collection(extensionProperty)", all.collect())
    }

    /// `POST /directoryObjects/getByIds`: those of up to 1,000 ids that there are.
    pub(super) fn get_by_ids(&self) -> Outcome {
        let body = self.request.object()?;
        let Some(ids) = body.get("ids").and_then(Value::as_array) else {
            return Err(GraphError::required("ids", "getByIds"));
        };
        if ids.len() > 1_000 {
            return Err(GraphError::bad("Too many identifiers specified. The maximum number is 1000."));
        }
        let types = body.get("types").and_then(Value::as_array);
        let wanted = |kind: Kind| {
            types.is_none_or(|t| {
                t.is_empty()
                    || t.iter()
                        .filter_map(Value::as_str)
                        .any(|t| t == "directoryObject" || t.eq_ignore_ascii_case(kind.resource()))
            })
        };
        let lag = self.lag(self.knobs.visibility.key_reads);
        let selection = super::context::Selection::Default;
        let mut values = Vec::new();
        for id in ids {
            let Some(id) = id.as_str().and_then(|t| t.parse::<Uuid>().ok()) else {
                return Err(GraphError::bad_id(id.as_str().unwrap_or_default()));
            };
            let object = self.directory.live(id).filter(|o| wanted(o.kind));
            if let Some((object, props)) = object.and_then(|o| o.seen(lag, self.now).map(|p| (o, p))) {
                values.push(Value::Object(self.typed(object, id, props, &selection)));
            }
        }
        Ok(self.collection("directoryObjects", values))
    }

    /// `GET /directoryObjects/{id}`.
    pub(super) fn get_object(&self, name: &str) -> Outcome {
        let id = name.parse::<Uuid>().map_err(|_| GraphError::bad_id(name))?;
        let selection = self.mixed_selection()?;
        let lag = self.lag(self.knobs.visibility.key_reads);
        let object = self.directory.live(id).and_then(|o| o.seen(lag, self.now).map(|p| (o, p)));
        let (object, props) = object.ok_or_else(|| GraphError::not_found(name))?;
        let shown = self.typed(object, id, props, &selection);
        Ok(self.entity("directoryObjects/$entity", shown))
    }

    /// `DELETE /directoryObjects/{id}`.
    pub(super) fn delete_object(&mut self, name: &str) -> Outcome {
        let id = name.parse::<Uuid>().map_err(|_| GraphError::bad_id(name))?;
        match self.directory.live(id).map(|o| o.kind) {
            Some(Kind::User) => self.delete_user(name),
            Some(Kind::Group) => self.delete_group(name),
            _ => Err(GraphError::not_found(name).without_effect(true)),
        }
    }

    /// `POST /users/{id}/revokeSignInSessions`.
    pub(super) fn revoke_sessions(&self, name: &str) -> Outcome {
        let id = self.locate(Kind::User, name)?;
        self.unprivileged(id)?;
        let key = self.directory.get(id).map_or_else(|| id.to_string(), |o| o.key(id));
        let body = into_props(json!({"value": true}));
        Ok(self.entity("Edm.Boolean", body).wrote("user.revoke-sessions", key, true))
    }
}
