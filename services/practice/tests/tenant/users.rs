//! Users: what a create and an update take, and each way they are refused.

use serde_json::{Value, json};

use crate::client::{peer, user, with, without};

const CONFLICT: &str = "Another object with the same value for property";

#[tokio::test]
async fn a_created_user_shows_its_default_properties_only() {
    let peer = peer(|_| {}).await;
    let created =
        peer.post("/users", with(user("ada"), json!({"employeeId": "4711", "mail": "ada@contoso.com"}))).await;
    created.is(201);
    let mut names: Vec<&String> = created.body.as_object().unwrap().keys().collect();
    names.sort();
    let expected = [
        "@odata.context",
        "businessPhones",
        "displayName",
        "givenName",
        "id",
        "jobTitle",
        "mail",
        "mobilePhone",
        "officeLocation",
        "preferredLanguage",
        "surname",
        "userPrincipalName",
    ];
    assert_eq!(names, expected);
    let by_name = peer.get("/users/ada@contoso.com").await;
    assert_eq!(by_name.is(200).id(), created.id());
    assert!(by_name.body.get("onPremisesImmutableId").is_none());
    let selected = peer
        .get(&format!(
            "/users('{}')?$select=onPremisesImmutableId,employeeId,proxyAddresses,faxNumber,passwordProfile",
            created.id()
        ))
        .await;
    let body = &selected.is(200).body;
    assert_eq!(body["onPremisesImmutableId"], "anchor-ada");
    assert_eq!(body["employeeId"], "4711");
    assert_eq!(body["proxyAddresses"], json!(["SMTP:ada@contoso.com"]));
    assert_eq!((&body["faxNumber"], &body["passwordProfile"]), (&Value::Null, &Value::Null));
    assert!(body.get("displayName").is_none());
}

#[tokio::test]
async fn answers_carry_the_ids_of_the_request() {
    let peer = peer(|_| {}).await;
    let mine = "0d1b2c3d-0000-4000-8000-000000000001";
    let answer = peer.send("GET", "/users/nobody@contoso.com", None, &[("client-request-id", mine)]).await;
    let absent = "Resource 'nobody@contoso.com' does not exist or one of its queried reference-property objects are not present.";
    answer.fails(404, "Request_ResourceNotFound", absent);
    assert_eq!(answer.header("client-request-id"), Some(mine));
    assert_eq!(answer.body["error"]["innerError"]["client-request-id"], mine);
    assert_eq!(answer.header("request-id"), answer.body["error"]["innerError"]["request-id"].as_str());
    assert!(answer.header("date").is_some() && answer.header("x-ms-ags-diagnostic").is_some());
    let own = peer.get("/users").await;
    assert_eq!(own.header("request-id"), own.header("client-request-id"));
    assert_eq!(own.header("x-ms-resource-unit"), Some("2"));
}

#[tokio::test]
async fn required_properties_are_named() {
    let peer = peer(|_| {}).await;
    for name in ["accountEnabled", "displayName", "mailNickname", "passwordProfile", "userPrincipalName"] {
        let message = format!("A value is required for property '{name}' of resource 'User'.");
        peer.post("/users", without(user("ada"), name)).await.fails(400, "Request_BadRequest", &message);
        peer.post("/users", with(user("ada"), json!({name: null}))).await.fails(400, "Request_BadRequest", &message);
    }
    assert_eq!(peer.tenant.dump().users.len(), 0);
}

#[tokio::test]
async fn bad_values_are_named() {
    let peer = peer(|_| {}).await;
    let id = peer.add_user("ada").await;
    let long = "x".repeat(65);
    let bad = [
        json!({"businessPhones": ["1", "2"]}),
        json!({"usageLocation": "Germany"}),
        json!({"usageLocation": null}),
        json!({"displayName": null}),
        json!({"accountEnabled": null}),
        json!({"accountEnabled": "yes"}),
        json!({"givenName": long}),
        json!({"jobTitle": ""}),
        json!({"employeeId": "12345678901234567"}),
        json!({"mailNickname": "a b"}),
        json!({"onPremisesImmutableId": "a$b"}),
        json!({"onPremisesImmutableId": "a_b"}),
        json!({"onPremisesImmutableId": ""}),
        json!({"mail": "nonsense"}),
        json!({"employeeHireDate": "tomorrow"}),
        json!({"otherMails": vec!["a@b.example"; 251]}),
        json!({"onPremisesExtensionAttributes": {"extensionAttribute16": "x"}}),
        json!({"department": 7}),
    ];
    for body in bad {
        let name = body.as_object().unwrap().keys().next().unwrap().clone();
        let answer = peer.patch(&format!("/users/{id}"), body).await;
        let message = format!("Invalid value specified for property '{name}' of resource 'User'.");
        answer.fails(400, "Request_BadRequest", &message);
        assert_eq!(answer.details(), [format!("InvalidValue {name}")]);
    }
    let two = peer.patch(&format!("/users/{id}"), json!({"jobTitle": "", "city": 1, "country": "ok"})).await;
    two.fails(400, "Request_BadRequest", "One or more properties contains invalid values.");
    assert_eq!(two.details(), ["InvalidValue city", "InvalidValue jobTitle"]);
    let unknown = peer.patch(&format!("/users/{id}"), json!({"shoeSize": 45})).await;
    unknown.fails(400, "Request_BadRequest", "Invalid property 'shoeSize'.");
    assert_eq!(peer.get(&format!("/users/{id}?$select=country")).await.body["country"], Value::Null);
}

#[tokio::test]
async fn read_only_properties_are_refused() {
    let peer = peer(|_| {}).await;
    let id = peer.add_user("ada").await;
    for name in
        ["onPremisesSyncEnabled", "proxyAddresses", "imAddresses", "createdDateTime", "onPremisesSamAccountName", "id"]
    {
        let message = format!("Property '{name}' is read-only and cannot be set.");
        peer.patch(&format!("/users/{id}"), json!({name: true})).await.fails(400, "Request_BadRequest", &message);
        peer.post("/users", with(user("bob"), json!({name: true}))).await.fails(400, "Request_BadRequest", &message);
    }
    let denied = peer.patch(&format!("/users/{id}"), json!({"aboutMe": "x"})).await;
    denied.fails(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.");
}

#[tokio::test]
async fn names_need_allowed_characters_and_a_verified_domain() {
    let peer = peer(|_| {}).await;
    for bad in ["a b@contoso.com", "ä@contoso.com", "a+b@contoso.com", "nothing", "@contoso.com", "a@b@contoso.com"] {
        let answer = peer.post("/users", with(user("ada"), json!({"userPrincipalName": bad}))).await;
        answer.fails(400, "Request_BadRequest", "Property userPrincipalName is invalid.");
        assert_eq!(answer.details(), ["InvalidValue userPrincipalName"]);
    }
    let domain = "The domain portion of the userPrincipalName property is invalid. You must use one of the verified domain \
                  names in your organization.";
    for bad in ["ada@fabrikam.com", "ada@later.contoso.com"] {
        let answer = peer.post("/users", with(user("ada"), json!({"userPrincipalName": bad}))).await;
        answer.fails(400, "Request_BadRequest", domain);
    }
    let odd = with(user("ada"), json!({"userPrincipalName": "O'Hara.a-b_c!#^~@contoso.com"}));
    peer.post("/users", odd).await.is(201);
}

#[tokio::test]
async fn federated_users_need_an_anchor() {
    let peer = peer(|_| {}).await;
    let federated = with(user("ada"), json!({"userPrincipalName": "ada@fed.contoso.com"}));
    let answer = peer.post("/users", without(federated.clone(), "onPremisesImmutableId")).await;
    answer.fails(400, "Request_BadRequest", "One or more properties contains invalid values.");
    let id = peer.post("/users", federated).await.is(201).id();
    let clear = peer.patch(&format!("/users/{id}"), json!({"onPremisesImmutableId": null})).await;
    clear.fails(400, "Request_BadRequest", "One or more properties contains invalid values.");
    let move_away = json!({"onPremisesImmutableId": null, "userPrincipalName": "ada@contoso.com"});
    peer.patch(&format!("/users/{id}"), move_away).await.is(204);
    let managed = without(user("bob"), "onPremisesImmutableId");
    peer.post("/users", managed).await.is(201);
}

#[tokio::test]
async fn weak_passwords_are_refused() {
    let peer = peer(|_| {}).await;
    let message = "The specified password does not comply with password complexity requirements. Please provide a different password.";
    for weak in ["short1!", "alllowercase", "ALLUPPER123"] {
        let body = with(user("ada"), json!({"passwordProfile": {"password": weak}}));
        peer.post("/users", body).await.fails(400, "Request_BadRequest", message);
    }
    let allowed = json!({"passwordProfile": {"password": "alllowercase"}, "passwordPolicies": "DisableStrongPassword"});
    peer.post("/users", with(user("ada"), allowed)).await.is(201);
}

#[tokio::test]
async fn unique_values_conflict_and_name_the_other() {
    let peer = peer(|_| {}).await;
    let ada = peer.post("/users", with(user("ada"), json!({"mail": "ada@contoso.com"}))).await.is(201).id();
    let bob = peer.add_user("bob").await;
    let cases = [
        ("userPrincipalName", "userPrincipalName", "ADA@contoso.com"),
        ("onPremisesImmutableId", "onPremisesImmutableId", "anchor-ada"),
        ("mail", "proxyAddresses", "Ada@Contoso.com"),
    ];
    for (property, target, value) in cases {
        let details = [format!("ObjectConflict {target}"), format!("ConflictingObjects User_{ada}")];
        let message = format!("{CONFLICT} {target} already exists.");
        let create = peer.post("/users", with(user("eve"), json!({property: value}))).await;
        assert_eq!(create.fails(400, "Request_BadRequest", &message).details(), details);
        let update = peer.patch(&format!("/users/{bob}"), json!({property: value})).await;
        assert_eq!(update.fails(400, "Request_BadRequest", &message).details(), details);
    }
    let unchanged = peer.get(&format!("/users/{bob}")).await;
    assert_eq!(
        (&unchanged.body["mail"], &unchanged.body["userPrincipalName"]),
        (&Value::Null, &json!("bob@contoso.com"))
    );
    // An anchor keeps its case.
    peer.patch(&format!("/users/{bob}"), json!({"onPremisesImmutableId": "ANCHOR-ada"})).await.is(204);
    assert_eq!(peer.tenant.counters().writes_without_effect, 1, "the create whose anchor exists");
}

#[tokio::test]
async fn updates_merge_clear_and_follow_the_mail() {
    let peer = peer(|_| {}).await;
    let id = peer.add_user("ada").await;
    let at = format!("/users/{id}");
    let body = json!({
        "mail": "first@contoso.com", "jobTitle": "Baker", "businessPhones": ["1"], "usageLocation": "DE",
        "onPremisesExtensionAttributes": {"extensionAttribute1": "a", "extensionAttribute2": "b"},
    });
    peer.patch(&at, body.clone()).await.is(204);
    peer.patch(&at, body).await.is(204);
    let counters = peer.tenant.counters();
    assert_eq!((counters.writes, counters.writes_without_effect), (3, 1));
    let next = json!({
        "mail": "second@contoso.com", "jobTitle": null, "businessPhones": [],
        "onPremisesExtensionAttributes": {"extensionAttribute1": null},
    });
    peer.patch(&at, next).await.is(204);
    let dump = peer.tenant.dump();
    let ada = &dump.user("anchor-ada").unwrap().properties;
    assert_eq!(ada["proxyAddresses"], json!(["SMTP:second@contoso.com"]));
    assert_eq!(ada["onPremisesExtensionAttributes"], json!({"extensionAttribute2": "b"}));
    assert!(!ada.contains_key("jobTitle") && !ada.contains_key("businessPhones"));
    assert!(!serde_json::to_string(ada).unwrap().contains("xWwvJ"), "no password is kept");
    peer.post("/users", with(user("bob"), json!({"mail": "first@contoso.com"}))).await.is(201);
    peer.patch(&at, json!({"mail": null})).await.is(204);
    assert!(!peer.tenant.dump().user("anchor-ada").unwrap().properties.contains_key("proxyAddresses"));
}

#[tokio::test]
async fn clearing_mail_may_keep_the_address() {
    let peer = peer(|o| o.knobs.clearing_mail_keeps_addresses = true).await;
    let id = peer.post("/users", with(user("ada"), json!({"mail": "ada@contoso.com"}))).await.is(201).id();
    peer.patch(&format!("/users/{id}"), json!({"mail": null})).await.is(204);
    let other = peer.post("/users", with(user("bob"), json!({"mail": "ada@contoso.com"}))).await;
    other.fails(400, "Request_BadRequest", &format!("{CONFLICT} proxyAddresses already exists."));
}

#[tokio::test]
async fn clearing_the_anchor_is_allowed_or_not() {
    let peer = peer(|_| {}).await;
    let id = peer.add_user("ada").await;
    peer.tenant.control().adjust(|k| k.clear_immutable_id_refused = true);
    let refused = peer.patch(&format!("/users/{id}"), json!({"onPremisesImmutableId": null})).await;
    let message = "Invalid value specified for property 'onPremisesImmutableId' of resource 'User'.";
    refused.fails(400, "Request_BadRequest", message);
    peer.tenant.control().adjust(|k| k.clear_immutable_id_refused = false);
    peer.patch(&format!("/users/{id}"), json!({"onPremisesImmutableId": null})).await.is(204);
    assert!(peer.tenant.dump().user("anchor-ada").is_none());
}

#[tokio::test]
async fn synced_external_and_privileged_users_are_protected() {
    let peer = peer(|_| {}).await;
    let control = peer.tenant.control();
    let other = json!({"userPrincipalName": "dir@contoso.com", "displayName": "Dir", "onPremisesSyncEnabled": true});
    let synced = control.seed_user(other).unwrap();
    let message = "Unable to update the specified properties for on-premises mastered Directory Sync objects or objects \
                   currently undergoing migration.";
    peer.patch(&format!("/users/{synced}"), json!({"jobTitle": "x"})).await.fails(400, "Request_BadRequest", message);
    peer.delete(&format!("/users/{synced}")).await.fails(400, "Request_BadRequest", message);
    let seen = peer.get("/users/dir@contoso.com?$select=onPremisesSyncEnabled").await;
    assert_eq!(seen.body["onPremisesSyncEnabled"], true);
    let other = json!({"userPrincipalName": "exo@contoso.com", "displayName": "Exo", "practiceExternal": true});
    let external = control.seed_user(other).unwrap();
    let message =
        "Unable to update the specified properties for objects that have originated within an external service.";
    peer.patch(&format!("/users/{external}"), json!({"jobTitle": "x"})).await.fails(400, "Request_BadRequest", message);

    let admin = peer.add_user("root").await;
    let denied = "Insufficient privileges to complete the operation.";
    for body in [json!({"accountEnabled": false}), json!({"mobilePhone": "1"}), json!({"onPremisesImmutableId": "x"})] {
        peer.patch(&format!("/users/{admin}"), body).await.fails(403, "Authorization_RequestDenied", denied);
    }
    peer.delete(&format!("/users/{admin}")).await.fails(403, "Authorization_RequestDenied", denied);
    peer.patch(&format!("/users/{admin}"), json!({"jobTitle": "x"})).await.is(204);
    let late = peer.add_user("late").await;
    control.set_privileged(&late, true).unwrap();
    peer.delete(&format!("/users/{late}")).await.fails(403, "Authorization_RequestDenied", denied);
    control.set_privileged(&late, false).unwrap();
    peer.delete(&format!("/users/{late}")).await.is(204);
}

#[tokio::test]
async fn extensions_must_be_registered() {
    let peer = peer(|_| {}).await;
    let app = "11111111-2222-4333-8444-555555555555";
    let unknown = "extension_11111111222243338444555555555555_x";
    let refused = peer.post("/users", with(user("ada"), json!({unknown: "v"}))).await;
    refused.fails(
        400,
        "Request_BadRequest",
        &format!("The following extension properties are not available: {unknown}."),
    );
    let at = format!("/applications/{app}/extensionProperties");
    let made =
        peer.post(&at, json!({"name": "anchor", "dataType": "String", "targetObjects": ["User", "Group"]})).await;
    let name = made.is(201).body["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("extension_") && name.ends_with("_anchor"));
    peer.post(&at, json!({"name": "anchor", "dataType": "String", "targetObjects": ["User"]})).await.is(400);
    peer.post(&at, json!({"name": "b", "dataType": "Text", "targetObjects": ["User"]})).await.is(400);
    assert_eq!(peer.get(&at).await.all("name"), [name.as_str()]);
    let id = peer.post("/users", with(user("ada"), json!({name.as_str(): "v1"}))).await.is(201).id();
    let path = format!("/users?$filter={name} eq 'v1'&$select=id,{name}");
    let found = peer.get(&path).await;
    assert_eq!((found.all("id"), found.all(&name)), (vec![id.as_str()], vec!["v1"]));
    peer.delete(&format!("{at}/{}", made.id())).await.is(204);
    peer.get(&format!("{at}/{}", made.id())).await.is(404);
}

#[tokio::test]
async fn the_quota_of_objects_is_kept() {
    let peer = peer(|o| o.knobs.object_quota = Some(1)).await;
    peer.add_user("ada").await;
    let refused = peer.post("/users", user("bob")).await;
    assert_eq!((refused.is(403).code(), peer.tenant.dump().users.len()), ("Directory_QuotaExceeded", 1));
}

#[tokio::test]
async fn one_object_can_be_refused() {
    let peer = peer(|_| {}).await;
    let control = peer.tenant.control();
    control.refuse_writes("anchor-ada", Some("department"));
    let message = "Invalid value specified for property 'department' of resource 'User'.";
    peer.post("/users", user("ada")).await.fails(400, "Request_BadRequest", message);
    peer.add_user("bob").await;
    control.refuse_writes("anchor-ada", None);
    peer.add_user("ada").await;
}
