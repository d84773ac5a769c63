//! Groups: create, upsert, update, delete.

use serde_json::{Value, json};

use crate::client::{group, peer, with, without};

#[tokio::test]
async fn an_upsert_creates_once_and_updates_after() {
    let peer = peer(|_| {}).await;
    let created = peer.upsert("fs-1", group("one")).await;
    created.is(201);
    assert_eq!((&created.body["uniqueName"], &created.body["mailEnabled"]), (&json!("fs-1"), &json!(false)));
    peer.upsert("fs-1", with(group("one"), json!({"description": "d"}))).await.is(204);
    peer.upsert("fs-1", json!({"description": "d"})).await.is(204);
    let counters = peer.tenant.counters();
    assert_eq!((counters.creates_by_unique_name["fs-1"], counters.writes_without_effect), (1, 1));
    let read = peer.get("/groups(uniqueName='fs-1')?$select=id,description").await;
    assert_eq!((read.is(200).id(), &read.body["description"]), (created.id(), &json!("d")));
    let missing = peer.patch("/groups(uniqueName='fs-2')", group("two")).await;
    assert_eq!(missing.is(404).code(), "Request_ResourceNotFound");
    let short = peer.upsert("fs-2", json!({"displayName": "x"})).await;
    short.fails(400, "Request_BadRequest", "A value is required for property 'mailEnabled' of resource 'Group'.");
    peer.upsert("a%2Fb'' %2B%C3%A9", group("odd")).await.is(201);
    let odd = peer.get("/groups?$filter=uniqueName eq 'a/b'' %2B%C3%A9'").await;
    assert_eq!(odd.all("uniqueName"), ["a/b' +é"]);
    peer.delete("/groups(uniqueName='fs-1')").await.is(204);
    peer.get("/groups(uniqueName='fs-1')").await.is(404);
}

#[tokio::test]
async fn a_group_is_validated() {
    let peer = peer(|_| {}).await;
    for name in ["displayName", "mailEnabled", "mailNickname", "securityEnabled"] {
        let message = format!("A value is required for property '{name}' of resource 'Group'.");
        peer.post("/groups", without(group("a"), name)).await.fails(400, "Request_BadRequest", &message);
    }
    let mail = "The service does not currently support writes of mail-enabled groups. Please ensure that the mail-enablement \
                property is unset and the security-enablement property is set.";
    peer.post("/groups", with(group("a"), json!({"mailEnabled": true}))).await.fails(400, "Request_BadRequest", mail);
    for bad in ["a b", "a@b", "a;b", "ä", "(a)", ""] {
        let answer = peer.post("/groups", with(group("a"), json!({"mailNickname": bad}))).await;
        let message = "Invalid value specified for property 'mailNickname' of resource 'Group'.";
        assert_eq!(answer.fails(400, "Request_BadRequest", message).details(), ["InvalidValue mailNickname"]);
    }
    for name in ["uniqueName", "mail", "allowExternalSenders", "onPremisesExtensionAttributes"] {
        let answer = peer.post("/groups", with(group("a"), json!({name: "x"}))).await;
        answer.fails(400, "Request_BadRequest", &format!("Property '{name}' is read-only and cannot be set."));
    }
    let id = peer.add_group("g").await;
    let late = peer.patch(&format!("/groups/{id}"), json!({"isAssignableToRole": true})).await;
    late.fails(400, "Request_BadRequest", "Property 'isAssignableToRole' is read-only and cannot be set.");
    peer.patch(&format!("/groups/{id}"), json!({"displayName": null})).await.is(400);
    peer.get("/groups/nonsense").await.fails(400, "Request_BadRequest", "Invalid object identifier 'nonsense'.");
    // Neither name is unique among security groups: a blind retry makes a second one.
    peer.post("/groups", group("same")).await.is(201);
    peer.post("/groups", group("same")).await.is(201);
}

#[tokio::test]
async fn a_microsoft_365_group_has_an_address_and_takes_users_only() {
    let peer = peer(|_| {}).await;
    let body = json!({
        "displayName": "Team", "mailEnabled": true, "mailNickname": "team", "securityEnabled": false, "groupTypes": ["Unified"],
    });
    let made = peer.post("/groups", body.clone()).await;
    assert_eq!(made.is(201).body["mail"], "team@practice.onmicrosoft.com");
    assert_eq!(peer.post("/groups", body).await.is(400).details()[0], "ObjectConflict mailNickname");
    let inner = peer.add_group("inner").await;
    let ada = peer.add_user("ada").await;
    let at = format!("/groups/{}/members/$ref", made.id());
    peer.post(&at, peer.reference(&inner)).await.is(400);
    peer.post(&at, peer.reference(&ada)).await.is(204);
}

#[tokio::test]
async fn exchange_groups_are_read_only() {
    let peer = peer(|_| {}).await;
    let ada = peer.add_user("ada").await;
    let list = json!({"displayName": "DL", "mailEnabled": true, "securityEnabled": false, "mailNickname": "dl"});
    let id = peer.tenant.control().seed_group(list, std::slice::from_ref(&ada)).unwrap();
    let message = "Cannot Update a mail-enabled security groups and or distribution list.";
    let links = format!("/groups/{id}/members");
    peer.post(&format!("{links}/$ref"), peer.reference(&ada)).await.fails(400, "Request_BadRequest", message);
    peer.delete(&format!("{links}/{ada}/$ref")).await.fails(400, "Request_BadRequest", message);
    peer.patch(&format!("/groups/{id}"), peer.bind(&[ada])).await.fails(400, "Request_BadRequest", message);
    assert!(
        peer.patch(&format!("/groups/{id}"), json!({"description": "x"}))
            .await
            .is(400)
            .message()
            .contains("mail-enabled")
    );
    assert_eq!(peer.get(&links).await.values().len(), 1);
}

#[tokio::test]
async fn security_groups_are_deleted_softly_or_for_good() {
    let peer = peer(|_| {}).await;
    let soft = peer.add_group("soft").await;
    peer.delete(&format!("/groups/{soft}")).await.is(204);
    let bin = peer.get("/directory/deletedItems/microsoft.graph.group").await;
    assert_eq!((bin.all("id"), bin.all("@odata.type")), (vec![soft.as_str()], vec!["#microsoft.graph.group"]));
    peer.tenant.control().adjust(|k| k.soft_delete_security_groups = false);
    let hard = peer.add_group("hard").await;
    peer.delete(&format!("/groups/{hard}")).await.is(204);
    peer.get(&format!("/directory/deletedItems/{hard}")).await.is(404);
    peer.delete(&format!("/groups/{hard}")).await.is(404);
    assert_eq!(peer.tenant.counters().writes_without_effect, 1);
}

#[tokio::test]
async fn a_deleted_group_holds_its_unique_name_or_not() {
    let peer = peer(|_| {}).await;
    let first = peer.add_group("g").await;
    peer.delete(&format!("/groups/{first}")).await.is(204);
    peer.tenant.control().adjust(|k| k.deleted_holds_unique_name = true);
    let held = peer.upsert("g", group("g")).await;
    assert_eq!(
        held.is(400).details(),
        ["ObjectConflict uniqueName".to_owned(), format!("ConflictingObjects Group_{first}")]
    );
    peer.tenant.control().adjust(|k| k.deleted_holds_unique_name = false);
    peer.upsert("g", group("g")).await.is(201);
    let back = peer.send("POST", &format!("/directory/deletedItems/{first}/restore"), None, &[]).await;
    assert_eq!(back.is(400).details()[0], "ObjectConflict uniqueName");
    assert_eq!(peer.get("/groups?$filter=displayName eq 'Group g'").await.values().len(), 1);
    assert_eq!(peer.get("/groups?$select=membershipRule").await.body["value"][0]["membershipRule"], Value::Null);
}

#[tokio::test]
async fn some_groups_are_not_an_applications_to_write() {
    let peer = peer(|_| {}).await;
    let seed = |more: Value| peer.tenant.control().seed_group(with(group("a"), more), &[]).unwrap();
    let user =
        peer.tenant.control().seed_user(json!({"userPrincipalName": "u@contoso.com", "displayName": "U"})).unwrap();
    let roles = seed(json!({"isAssignableToRole": true}));
    let member = json!({"@odata.id": format!("https://graph.microsoft.com/v1.0/directoryObjects/{user}")});
    for (path, body) in [(format!("/groups/{roles}/members/$ref"), member.clone())] {
        assert_eq!(peer.post(&path, body).await.is(403).code(), "Authorization_RequestDenied");
    }
    peer.patch(&format!("/groups/{roles}"), json!({"description": "x"})).await.is(403);
    peer.delete(&format!("/groups/{roles}")).await.is(403);
    let dynamic = json!({"groupTypes": ["DynamicMembership"], "membershipRule": "user.city -eq \"Bern\""});
    let dynamic = seed(dynamic);
    peer.post(&format!("/groups/{dynamic}/members/$ref"), member).await.is(400);
    peer.delete(&format!("/groups/{dynamic}/members/{user}/$ref")).await.is(400);
    peer.patch(&format!("/groups/{dynamic}"), json!({"description": "x"})).await.is(204);
    // of an extension that nobody has defined it knows nothing
    let unknown = "extension_2b9d4e6081c74f35a0be6d1f7c92e483_anchor";
    let answer = peer.get(&format!("/groups?$filter={unknown} eq 'x'")).await;
    assert_eq!(answer.is(400).code(), "Request_UnsupportedQuery");
}
