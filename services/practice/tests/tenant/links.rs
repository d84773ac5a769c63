//! Members, owners, managers.

use std::collections::BTreeSet;

use forestsync_practice::tenant::MissingMember;
use serde_json::json;

use crate::client::{group, peer, user, with};

#[tokio::test]
async fn members_come_and_go_one_by_one() {
    let peer = peer(|_| {}).await;
    let (ada, inner, outer) =
        (peer.add_user("ada").await, peer.add_group("inner").await, peer.add_group("outer").await);
    let at = format!("/groups/{outer}/members");
    peer.post(&format!("{at}/$ref"), peer.reference(&ada)).await.is(204);
    peer.post(&format!("{at}/$ref"), peer.reference(&inner)).await.is(204);
    let again = peer.post(&format!("{at}/$ref"), peer.reference(&ada)).await;
    let message = "One or more added object references already exist for the following modified properties: 'members'.";
    again.fails(400, "Request_BadRequest", message);
    let read = peer.get(&at).await;
    let types: BTreeSet<&str> = read.all("@odata.type").into_iter().collect();
    assert_eq!(types, BTreeSet::from(["#microsoft.graph.group", "#microsoft.graph.user"]));
    assert_eq!(peer.get(&format!("{at}/microsoft.graph.user?$select=id")).await.all("id"), [ada.as_str()]);
    assert_eq!(peer.get(&format!("{at}/$ref")).await.values().len(), 2);
    peer.get(&format!("{at}/$count")).await.fails(400, "Request_BadRequest", "$count is not currently supported.");
    assert_eq!(peer.eventual(&format!("{at}/$count")).await.body, json!(2));
    assert_eq!(peer.get(&format!("/users/{ada}/memberOf?$select=id")).await.all("id"), [outer.as_str()]);
    peer.tenant.control().set_privileged(&ada, true).unwrap();
    let read = peer.get(&format!("/users/{ada}/memberOf?$select=id")).await;
    assert_eq!(read.all("@odata.type"), ["#microsoft.graph.group", "#microsoft.graph.directoryRole"]);
    assert_eq!(peer.get(&format!("/users/{ada}/memberOf/microsoft.graph.group")).await.values().len(), 1);
    peer.tenant.control().set_privileged(&ada, false).unwrap();

    peer.delete(&format!("{at}/{ada}/$ref")).await.is(204);
    let gone = peer.delete(&format!("{at}/{ada}/$ref")).await;
    assert_eq!(gone.is(404).code(), "Request_ResourceNotFound");
    peer.tenant.control().adjust(|k| k.missing_member = MissingMember::BadRequest);
    let gone = peer.delete(&format!("{at}/{ada}/$ref")).await;
    let message =
        "One or more removed object references do not exist for the following modified properties: 'members'.";
    gone.fails(400, "Request_BadRequest", message);
    assert_eq!(peer.tenant.counters().writes_without_effect, 3);
    let by_url = format!("{at}/$ref?@id={}/directoryObjects/{inner}", peer.root);
    peer.delete(&by_url).await.is(204);
    assert!(peer.get(&at).await.values().is_empty());
}

#[tokio::test]
async fn a_patch_adds_up_to_twenty_or_none() {
    let peer = peer(|_| {}).await;
    let mut ids = Vec::new();
    for n in 0..22 {
        ids.push(peer.add_user(&format!("u{n}")).await);
    }
    let id = peer.add_group("g").await;
    let at = format!("/groups/{id}");
    let count = || peer.tenant.dump().group("g").unwrap().members.len();
    let many = peer.patch(&at, peer.bind(&ids[..21])).await;
    many.fails(400, "Request_BadRequest", "A resource cannot contain more than 20 link changes");
    peer.patch(&at, peer.bind(&ids[..20])).await.is(204);
    assert_eq!(count(), 20);
    let overlap = peer.patch(&at, peer.bind(&ids[19..22])).await;
    let message = "One or more added object references already exist for the following modified properties: 'members'.";
    overlap.fails(400, "Request_BadRequest", message);
    let nobody = "00000000-0000-4000-8000-000000000000".to_owned();
    let unknown =
        peer.patch(&at, with(peer.bind(&[ids[20].clone(), nobody.clone()]), json!({"description": "x"}))).await;
    assert!(unknown.is(404).message().contains(&nobody));
    peer.patch(&at, json!({"members@odata.bind": ["ftp://nonsense"]})).await.is(400);
    assert_eq!(count(), 20);
    assert!(!peer.tenant.dump().group("g").unwrap().properties.contains_key("description"), "all or nothing");
    let wrong = peer.send("PATCH", &format!("{at}/members/$ref"), Some(peer.bind(&ids[20..])), &[]).await;
    wrong.fails(400, "BadRequest", "The request is currently not supported on the targeted entity set");
    let post = peer.post(&format!("{at}/members/$ref"), peer.bind(&ids[20..])).await;
    assert_eq!(post.is(400).code(), "BadRequest");
    let new = with(group("n"), peer.bind(&ids[..3]));
    assert_eq!(peer.upsert("n", new).await.is(201).id().len(), 36);
    assert_eq!(peer.tenant.dump().group("n").unwrap().members.len(), 3);
    let (paged, _) = peer.pages(&format!("{at}/members?$top=7&$select=id"), &[]).await;
    assert_eq!(paged.len(), 20);
}

#[tokio::test]
async fn forgetting_ref_deletes_the_member_itself() {
    let peer = peer(|_| {}).await;
    let (ada, g) = (peer.add_user("ada").await, peer.add_group("g").await);
    peer.post(&format!("/groups/{g}/members/$ref"), peer.reference(&ada)).await.is(204);
    peer.delete(&format!("/groups/{g}/members/{ada}")).await.is(204);
    peer.get(&format!("/users/{ada}")).await.is(404);
    assert_eq!(peer.tenant.dump().deleted_users[0].id, ada);
}

#[tokio::test]
async fn nested_groups_are_followed() {
    let peer = peer(|_| {}).await;
    let (ada, a, b, c) =
        (peer.add_user("ada").await, peer.add_group("a").await, peer.add_group("b").await, peer.add_group("c").await);
    for (group, member) in [(&a, &b), (&b, &c), (&c, &a), (&c, &ada)] {
        peer.post(&format!("/groups/{group}/members/$ref"), peer.reference(member)).await.is(204);
    }
    let all = peer.get(&format!("/groups/{a}/transitiveMembers?$select=id")).await;
    assert_eq!(all.values().len(), 4);
    let up = peer.get(&format!("/users/{ada}/transitiveMemberOf/microsoft.graph.group?$select=id")).await;
    assert_eq!(up.values().len(), 3);
}

#[tokio::test]
async fn owners_have_limits() {
    let peer = peer(|_| {}).await;
    let g = peer.add_group("g").await;
    let mut ids = Vec::new();
    for n in 0..101 {
        ids.push(peer.add_user(&format!("u{n}")).await);
    }
    let at = format!("/groups/{g}/owners");
    for id in &ids[..100] {
        peer.post(&format!("{at}/$ref"), peer.reference(id)).await.is(204);
    }
    let quota = peer.post(&format!("{at}/$ref"), peer.reference(&ids[100])).await;
    let message =
        "Unable to perform operation as '101' would exceed the maximum quota count '100' for forward-link 'owners'.";
    quota.fails(403, "Directory_QuotaExceeded", message);
    let again = peer.post(&format!("{at}/$ref"), peer.reference(&ids[0])).await;
    assert!(again.is(400).message().ends_with("'owners'."));
    for id in &ids[1..100] {
        peer.delete(&format!("{at}/{id}/$ref")).await.is(204);
    }
    let last_owner = "The group must have at least one owner, hence this owner cannot be removed.";
    let last = peer.delete(&format!("{at}/{}/$ref", ids[0])).await;
    last.fails(400, "Request_BadRequest", last_owner);
    assert_eq!(peer.tenant.dump().group("g").unwrap().owners, [ids[0].clone()]);
    // one that is deleted does not count
    peer.post(&format!("{at}/$ref"), peer.reference(&ids[1])).await.is(204);
    peer.delete(&format!("/users/{}", ids[1])).await.is(204);
    assert_eq!(peer.delete(&format!("{at}/{}/$ref", ids[0])).await.is(400).message(), last_owner);
}

#[tokio::test]
async fn owners_are_users() {
    let peer = peer(|_| {}).await;
    let (g, h) = (peer.add_group("g").await, peer.add_group("h").await);
    peer.post(&format!("/groups/{g}/owners/$ref"), peer.reference(&h)).await.is(400);
    assert!(peer.tenant.dump().group("g").unwrap().owners.is_empty());
}

#[tokio::test]
async fn managers_are_references() {
    let peer = peer(|_| {}).await;
    let (ada, bob) = (peer.add_user("ada").await, peer.add_user("bob").await);
    let at = format!("/users/{ada}/manager");
    let none = "Resource 'manager' does not exist or one of its queried reference-property objects are not present.";
    peer.get(&at).await.fails(404, "Request_ResourceNotFound", none);
    peer.delete(&format!("{at}/$ref")).await.fails(404, "Request_ResourceNotFound", none);
    peer.put(&format!("{at}/$ref"), peer.reference(&bob)).await.is(204);
    peer.put(&format!("{at}/$ref"), peer.reference(&bob)).await.is(204);
    assert_eq!(peer.tenant.counters().writes_without_effect, 2);
    let read = peer.get(&at).await;
    assert_eq!((read.is(200).id(), &read.body["@odata.type"]), (bob.clone(), &json!("#microsoft.graph.user")));
    assert!(peer.get(&format!("{at}/$ref")).await.body["@odata.id"].as_str().unwrap().contains(&bob));
    let expanded = peer.get(&format!("/users/{ada}?$expand=manager")).await;
    assert_eq!(expanded.body["manager"]["id"], json!(bob));
    assert_eq!(peer.get(&format!("/users/{bob}/directReports?$select=id")).await.all("id"), [ada.as_str()]);
    let unknown = peer.put(&format!("{at}/$ref"), peer.reference("00000000-0000-4000-8000-000000000000")).await;
    unknown.is(404);
    peer.patch(&format!("/users/{ada}"), json!({"manager@odata.bind": "x"})).await.is(400);

    peer.delete(&format!("/users/{bob}")).await.is(204);
    peer.get(&at).await.is(404);
    peer.send("POST", &format!("/directory/deletedItems/{bob}/restore"), None, &[]).await.is(200);
    assert_eq!(peer.get(&at).await.id(), bob, "a restored manager is a manager again");
    peer.delete(&format!("{at}/$ref")).await.is(204);
    let born = with(user("eve"), json!({"manager@odata.bind": format!("{}/users/{bob}", peer.root)}));
    peer.post("/users", born).await.is(201);
    assert_eq!(peer.tenant.dump().user("anchor-eve").unwrap().manager, Some(bob));
}
