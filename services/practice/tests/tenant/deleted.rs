//! Soft deletion, restore, purge.

use serde_json::{Value, json};

use crate::client::{Peer, peer, user, with};

async fn restore(peer: &Peer, id: &str, body: Option<Value>) -> crate::client::Answer {
    peer.send("POST", &format!("/directory/deletedItems/{id}/restore"), body, &[]).await
}

#[tokio::test]
async fn a_deleted_user_is_found_and_restored_with_its_memberships() {
    let peer = peer(|_| {}).await;
    let (ada, g) = (peer.add_user("ada").await, peer.add_group("g").await);
    peer.post(&format!("/groups/{g}/members/$ref"), peer.reference(&ada)).await.is(204);
    peer.delete(&format!("/users/{ada}")).await.is(204);
    peer.delete(&format!("/users/{ada}")).await.is(404);
    assert!(peer.get("/users").await.values().is_empty());
    assert!(peer.get(&format!("/groups/{g}/members")).await.values().is_empty());
    let again = peer.post(&format!("/groups/{g}/members/$ref"), peer.reference(&ada)).await;
    again.is(404);

    let path = "/directory/deletedItems/microsoft.graph.user?$filter=onPremisesImmutableId eq 'anchor-ada'&$select=id,userPrincipalName,deletedDateTime";
    let found = peer.get(path).await;
    assert_eq!(found.all("id"), [ada.as_str()]);
    assert_eq!(found.all("userPrincipalName"), [format!("{}ada@contoso.com", ada.replace('-', ""))]);
    assert!(found.body["value"][0]["deletedDateTime"].is_string());
    peer.get("/directory/deletedItems").await.is(400);
    assert_eq!(peer.get(&format!("/directory/deletedItems/{ada}")).await.body["@odata.type"], "#microsoft.graph.user");

    let restored = restore(&peer, &ada, None).await;
    assert_eq!(restored.is(200).body["userPrincipalName"], "ada@contoso.com");
    assert_eq!(peer.get(&format!("/groups/{g}/members?$select=id")).await.all("id"), [ada.as_str()]);
    restore(&peer, &ada, None).await.is(404);
    let counters = peer.tenant.counters();
    assert_eq!((counters.operations["user.restore"], counters.creates_by_immutable_id["anchor-ada"]), (1, 1));
}

#[tokio::test]
async fn filters_on_deleted_items_may_be_refused() {
    let peer = peer(|o| o.knobs.deleted_filter_refused = true).await;
    let ada = peer.add_user("ada").await;
    peer.delete(&format!("/users/{ada}")).await.is(204);
    let at = "/directory/deletedItems/microsoft.graph.user";
    let refused = peer.get(&format!("{at}?$filter=onPremisesImmutableId eq 'anchor-ada'")).await;
    assert_eq!(refused.is(400).code(), "Request_UnsupportedQuery");
    assert_eq!(
        peer.get(&format!("{at}?$select=id,onPremisesImmutableId")).await.all("onPremisesImmutableId"),
        ["anchor-ada"]
    );
}

#[tokio::test]
async fn a_deleted_user_holds_its_anchor_or_not() {
    for holds in [true, false] {
        let peer = peer(|o| o.knobs.deleted_holds_immutable_id = holds).await;
        let ada = peer.add_user("ada").await;
        peer.delete(&format!("/users/{ada}")).await.is(204);
        let again = peer.post("/users", user("ada")).await;
        if holds {
            let details = ["ObjectConflict onPremisesImmutableId".to_owned(), format!("ConflictingObjects User_{ada}")];
            assert_eq!(again.is(400).details(), details);
            assert_eq!(peer.tenant.counters().writes_without_effect, 1);
            peer.delete(&format!("/directory/deletedItems/{ada}")).await.is(204);
            peer.post("/users", user("ada")).await.is(201);
        } else {
            again.is(201);
            assert_eq!(peer.tenant.counters().creates_by_immutable_id["anchor-ada"], 2);
        }
    }
}

#[tokio::test]
async fn restoring_can_conflict() {
    let peer = peer(|o| o.knobs.deleted_holds_immutable_id = false).await;
    let ada = peer.post("/users", with(user("ada"), json!({"mail": "ada@contoso.com"}))).await.is(201).id();
    peer.delete(&format!("/users/{ada}")).await.is(204);
    let other = with(user("ada"), json!({"onPremisesImmutableId": "other", "mail": "ada@contoso.com"}));
    let other = peer.post("/users", other).await.is(201).id();
    let conflict = restore(&peer, &ada, None).await;
    assert_eq!(
        conflict.is(400).details(),
        ["ObjectConflict userPrincipalName".to_owned(), format!("ConflictingObjects User_{other}")]
    );
    let renamed = restore(&peer, &ada, Some(json!({"newUserPrincipalName": "ada2@contoso.com"}))).await;
    assert_eq!(renamed.is(400).details()[0], "ObjectConflict proxyAddresses");
    let both = json!({"newUserPrincipalName": "ada2@contoso.com", "autoReconcileProxyConflict": true});
    let restored = restore(&peer, &ada, Some(both)).await;
    assert_eq!(restored.is(200).body["userPrincipalName"], "ada2@contoso.com");
    assert_eq!(restored.body["mail"], Value::Null);
}

#[tokio::test]
async fn a_purge_is_final() {
    let peer = peer(|_| {}).await;
    let (ada, bob, g) = (peer.add_user("ada").await, peer.add_user("bob").await, peer.add_group("g").await);
    peer.post(&format!("/groups/{g}/members/$ref"), peer.reference(&ada)).await.is(204);
    peer.put(&format!("/users/{bob}/manager/$ref"), peer.reference(&ada)).await.is(204);
    peer.delete(&format!("/directory/deletedItems/{ada}")).await.is(404);
    peer.delete(&format!("/users/{ada}")).await.is(204);
    peer.delete(&format!("/directory/deletedItems/{ada}")).await.is(204);
    peer.delete(&format!("/directory/deletedItems/{ada}")).await.is(404);
    restore(&peer, &ada, None).await.is(404);
    let dump = peer.tenant.dump();
    assert!(dump.deleted_users.is_empty() && dump.group("g").unwrap().members.is_empty());
    assert_eq!(dump.user("anchor-bob").unwrap().manager, None);
    peer.tenant.control().revoke_permission("User.DeleteRestore.All", true);
    peer.delete(&format!("/users/{bob}")).await.is(204);
}
