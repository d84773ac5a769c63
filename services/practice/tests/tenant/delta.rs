//! Delta queries: rounds, removals, membership, lost state.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Peer, peer};

/// All values of a round, and the link for the next one.
async fn round(peer: &Peer, path: &str) -> (Vec<Value>, String) {
    let (values, last) = peer.pages(path, &[]).await;
    (values, last.body["@odata.deltaLink"].as_str().unwrap().to_owned())
}

fn ids(values: &[Value]) -> BTreeSet<&str> {
    values.iter().filter_map(|v| v["id"].as_str()).collect()
}

#[tokio::test]
async fn users_change_and_go() {
    let peer = peer(|o| o.knobs.delta_page = 2).await;
    let mut all = Vec::new();
    for n in 0..5 {
        all.push(peer.add_user(&format!("u{n}")).await);
    }
    let (first, link) = round(&peer, "/users/delta?$select=displayName,onPremisesImmutableId").await;
    assert_eq!(first.len(), 5);
    assert!(first[0].get("userPrincipalName").is_none() && first[0]["onPremisesImmutableId"].is_string());
    let (nothing, link) = round(&peer, &link).await;
    assert!(nothing.is_empty());
    peer.patch(&format!("/users/{}", all[0]), json!({"displayName": "New"})).await.is(204);
    peer.delete(&format!("/users/{}", all[1])).await.is(204);
    peer.delete(&format!("/users/{}", all[2])).await.is(204);
    peer.delete(&format!("/directory/deletedItems/{}", all[2])).await.is(204);
    let (news, link) = round(&peer, &link).await;
    let about = |id: &str| news.iter().find(|v| v["id"] == id).unwrap();
    assert_eq!(news.len(), 3);
    assert_eq!(
        (&about(&all[0])["displayName"], about(&all[0]).get("onPremisesImmutableId").is_some()),
        (&json!("New"), true)
    );
    assert_eq!(about(&all[1])["@removed"]["reason"], "changed");
    assert_eq!(about(&all[2])["@removed"]["reason"], "deleted");
    peer.send("POST", &format!("/directory/deletedItems/{}/restore", all[1]), None, &[]).await.is(200);
    let (back, _) = round(&peer, &link).await;
    assert_eq!(ids(&back), BTreeSet::from([all[1].as_str()]));
    assert!(back[0].get("@removed").is_none());
}

#[tokio::test]
async fn latest_begins_now_and_a_filter_names_ids() {
    let peer = peer(|_| {}).await;
    let ada = peer.add_user("ada").await;
    let (nothing, link) = round(&peer, "/users/delta?$deltatoken=latest").await;
    assert!(nothing.is_empty());
    let bob = peer.add_user("bob").await;
    assert_eq!(ids(&round(&peer, &link).await.0), BTreeSet::from([bob.as_str()]));
    let (only, _) = round(&peer, &format!("/users/delta?$filter=id eq '{ada}' or id eq '{ada}'")).await;
    assert_eq!(ids(&only), BTreeSet::from([ada.as_str()]));
    for bad in ["$filter=displayName eq 'x'", "$top=5", "$expand=manager", "$orderby=displayName"] {
        peer.get(&format!("/users/delta?{bad}")).await.is(400);
    }
    peer.get("/users/delta?$deltatoken=nonsense").await.is(400);
    assert!(round(&peer, "/contacts/delta").await.0.is_empty());
}

#[tokio::test]
async fn membership_comes_in_parts() {
    let peer = peer(|o| o.knobs.delta_member_chunk = 3).await;
    let mut users = Vec::new();
    for n in 0..8 {
        users.push(peer.add_user(&format!("u{n}")).await);
    }
    let g = peer.add_group("g").await;
    peer.add_group("other").await;
    peer.patch(&format!("/groups/{g}"), peer.bind(&users)).await.is(204);
    let (first, link) = round(&peer, "/groups/delta").await;
    let parts: Vec<&Value> = first.iter().filter(|v| v["id"] == g.as_str()).map(|v| &v["members@delta"]).collect();
    assert_eq!(parts.len(), 3, "the same group again for the rest of its members");
    let members: BTreeSet<&str> =
        parts.iter().flat_map(|p| p.as_array().unwrap()).filter_map(|m| m["id"].as_str()).collect();
    assert_eq!(members, users.iter().map(String::as_str).collect());
    assert_eq!(ids(&first).len(), 2);

    peer.delete(&format!("/groups/{g}/members/{}/$ref", users[0])).await.is(204);
    // A soft-deleted member does not leave; a purged one does.
    peer.delete(&format!("/users/{}", users[1])).await.is(204);
    let (news, link) = round(&peer, &link).await;
    let delta = news[0]["members@delta"].as_array().unwrap();
    assert_eq!((news.len(), delta.len()), (1, 1));
    assert_eq!((&delta[0]["id"], &delta[0]["@removed"]["reason"]), (&json!(users[0]), &json!("deleted")));
    peer.delete(&format!("/directory/deletedItems/{}", users[1])).await.is(204);
    let (news, link) = round(&peer, &link).await;
    assert_eq!(news[0]["members@delta"][0]["id"], json!(users[1]));
    peer.delete(&format!("/groups/{g}")).await.is(204);
    assert_eq!(round(&peer, &link).await.0, [json!({"id": g, "@removed": {"reason": "changed"}})]);
}

#[tokio::test]
async fn items_may_be_replayed_and_pages_empty() {
    let peer = peer(|o| {
        o.knobs.delta_replays = true;
        o.knobs.empty_first_page = true;
        o.knobs.delta_page = 2;
    })
    .await;
    for n in 0..3 {
        peer.add_user(&format!("u{n}")).await;
    }
    let empty = peer.get("/users/delta").await;
    assert!(empty.values().is_empty() && empty.body["@odata.nextLink"].is_string());
    let (all, _) = round(&peer, "/users/delta").await;
    assert_eq!((all.len(), ids(&all).len()), (5, 3));
}

#[tokio::test]
async fn state_can_be_lost() {
    let peer = peer(|_| {}).await;
    peer.add_user("ada").await;
    let (_, link) = round(&peer, "/users/delta").await;
    let control = peer.tenant.control();
    control.lose_delta_state(1);
    let gone = peer.get(&link).await;
    assert_eq!(gone.is(410).code(), "syncStateNotFound");
    let fresh = gone.header("location").unwrap().to_owned();
    assert_eq!(round(&peer, &fresh).await.0.len(), 1, "the location begins a new first round");
    control.adjust(|k| k.delta_gone_body = false);
    control.lose_delta_state(1);
    assert_eq!(peer.get(&link).await.is(410).body, Value::Null);
    let other = crate::client::peer(|_| {}).await;
    let token = link.split("$deltatoken=").nth(1).unwrap();
    other.get(&format!("/users/delta?$deltatoken={token}")).await.is(410);
}

#[tokio::test]
async fn changes_show_late() {
    let peer = peer(|o| o.knobs.visibility.delta = Duration::from_hours(1)).await;
    let (_, link) = round(&peer, "/users/delta?$deltatoken=latest").await;
    peer.add_user("ada").await;
    let (now, link) = round(&peer, &link).await;
    assert!(now.is_empty());
    peer.tenant.control().adjust(|k| k.visibility.delta = Duration::ZERO);
    assert_eq!(round(&peer, &link).await.0.len(), 1);
}
