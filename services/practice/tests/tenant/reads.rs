//! Lists, filters, paging, counts, the small resources, paths that are not there.

use serde_json::{Value, json};

use crate::client::{group, peer, user, with};

#[tokio::test]
async fn plain_filters_find() {
    let peer = peer(|_| {}).await;
    let more = json!({"mail": "Ada.L@contoso.com", "employeeId": "E1", "onPremisesImmutableId": "Ab+/c==", "department": "R&D; Dept"});
    let ada = peer.post("/users", with(user("ada"), more)).await.is(201).id();
    let bob =
        peer.post("/users", with(user("bob"), json!({"accountEnabled": false, "displayName": "O'Hara"}))).await.id();
    let cases = [
        ("onPremisesImmutableId eq 'Ab%2B/c%3D%3D'", vec![&ada]),
        ("onPremisesImmutableId eq 'ab%2B/c%3D%3D'", vec![]),
        ("onPremisesImmutableId eq 'Ab+/c=='", vec![]),
        ("userPrincipalName eq 'ADA@contoso.com'", vec![&ada]),
        ("mail eq 'ada.l@contoso.com'", vec![&ada]),
        ("proxyAddresses/any(p:p eq 'smtp:ada.l@contoso.com')", vec![&ada]),
        ("employeeId eq 'e1' and accountEnabled eq true", vec![&ada]),
        ("employeeId eq 'e1' and accountEnabled eq false", vec![]),
        ("accountEnabled eq false", vec![&bob]),
        ("displayName eq 'O''Hara'", vec![&bob]),
        ("startswith(userPrincipalName,'b')", vec![&bob]),
        ("userPrincipalName in ('ada@contoso.com','bob@contoso.com','x')", vec![&ada, &bob]),
        ("mail eq 'ada.l@contoso.com' or displayName eq 'O''Hara'", vec![&ada, &bob]),
        ("department eq 'R%26D; Dept'", vec![&ada]),
    ];
    for (filter, expected) in cases {
        let found = peer.get(&format!("/users?$select=id&$filter={filter}")).await;
        assert_eq!(found.is(200).all("id"), expected, "{filter}");
    }
    let by_id = peer.get(&format!("/users?$select=id&$filter=id in ('{ada}','{bob}')")).await;
    assert_eq!(by_id.values().len(), 2);
}

#[tokio::test]
async fn advanced_filters_need_their_parameters() {
    let peer = peer(|_| {}).await;
    peer.add_user("ada").await;
    peer.add_user("bob").await;
    let advanced = [
        "displayName ne 'The ada'",
        "not(displayName eq 'The ada')",
        "endswith(userPrincipalName,'bob@contoso.com')",
        "jobTitle eq null and displayName eq 'The bob'",
        "onPremisesSamAccountName eq 'x' or displayName eq 'The bob'",
    ];
    for filter in advanced {
        let refused = peer.get(&format!("/users?$filter={filter}")).await;
        assert_eq!(refused.is(400).code(), "Request_UnsupportedQuery", "{filter}");
        let found = peer.eventual(&format!("/users?$count=true&$filter={filter}")).await;
        assert_eq!((found.all("displayName"), &found.body["@odata.count"]), (vec!["The bob"], &json!(1)), "{filter}");
    }
    let search = peer.get("/users?$search=\"displayName:ada\"").await;
    let message = "Request with $search query parameter only works through MSGraph with a special request header: \
                   'ConsistencyLevel: eventual'";
    search.fails(400, "Request_UnsupportedQuery", message);
    peer.get("/users/$count").await.fails(400, "Request_BadRequest", "$count is not currently supported.");
    let count = peer.eventual("/users/$count").await;
    assert_eq!((&count.body, count.header("content-type")), (&json!(2), Some("text/plain")));
    for bad in ["$skip=1", "$orderby=displayName", "$filter=shoeSize eq 1", "$filter=passwordProfile eq 'x'"] {
        assert_eq!(peer.get(&format!("/users?{bad}")).await.is(400).code(), "Request_UnsupportedQuery", "{bad}");
    }
    for bad in ["$filter=((", "$top=0", "$top=1000", "$select=shoeSize", "$filter=displayName"] {
        peer.get(&format!("/users?{bad}")).await.is(400);
    }
    peer.get("/users?$select=aboutMe").await.fails(
        501,
        "NotImplemented",
        "This operation target is not yet supported.",
    );
}

#[tokio::test]
async fn lists_are_paged() {
    let peer = peer(|_| {}).await;
    for n in 0..25 {
        peer.add_user(&format!("u{n:02}")).await;
    }
    let headers = [("ConsistencyLevel", "eventual")];
    let first = peer.eventual("/users?$top=10&$select=displayName&$count=true").await;
    assert_eq!((first.values().len(), &first.body["@odata.count"]), (10, &json!(25)));
    let next = first.body["@odata.nextLink"].as_str().unwrap();
    assert!(next.starts_with(&peer.root) && next.contains("$skiptoken="));
    let second = peer.send("GET", next, None, &headers).await;
    assert!(second.body.get("@odata.count").is_none());
    let (all, last) = peer.pages("/users?$top=10&$select=displayName", &[]).await;
    let mut names: Vec<&str> = all.iter().filter_map(|v| v["displayName"].as_str()).collect();
    names.dedup();
    assert_eq!((names.len(), last.values().len()), (25, 5));
    assert_eq!(peer.get("/users").await.values().len(), 25);
    let (filtered, _) = peer.pages("/users?$top=4&$filter=startswith(displayName,'The u1')", &[]).await;
    assert_eq!(filtered.len(), 10);
    let bad = peer.get("/users?$skiptoken=nonsense").await;
    assert_eq!(bad.is(400).code(), "Directory_ExpiredPageToken");
    // The header is not remembered in the link.
    let advanced = peer.eventual("/users?$top=10&$count=true&$filter=displayName ne 'x'").await;
    let next = advanced.body["@odata.nextLink"].as_str().unwrap().to_owned();
    assert_eq!(peer.get(&next).await.is(400).code(), "Request_UnsupportedQuery");
    peer.eventual(&next).await.is(200);

    peer.tenant.control().adjust(|k| k.empty_first_page = true);
    let empty = peer.get("/users?$top=20").await;
    assert!(empty.values().is_empty() && empty.body["@odata.nextLink"].is_string());
    assert_eq!(peer.pages("/users?$top=20", &[]).await.0.len(), 25);
}

#[tokio::test]
async fn answers_may_hold_what_nobody_knows() {
    let peer = peer(|o| o.knobs.unknown_properties = true).await;
    peer.add_user("ada").await;
    let body = json!({"displayName": "T", "mailEnabled": true, "mailNickname": "t", "securityEnabled": true, "groupTypes": ["Unified"]});
    let made = peer.post("/groups", body).await;
    assert_eq!(made.is(201).body["visibility"], "unknownFutureValue");
    assert!(peer.get("/users/ada@contoso.com").await.body["practiceUnknownProperty"].is_object());
}

#[tokio::test]
async fn objects_are_found_by_id() {
    let peer = peer(|_| {}).await;
    let (ada, g) = (peer.add_user("ada").await, peer.add_group("g").await);
    let nobody = "00000000-0000-4000-8000-000000000000";
    let found = peer.post("/directoryObjects/getByIds", json!({"ids": [ada, g, nobody]})).await;
    assert_eq!(found.is(200).all("@odata.type"), ["#microsoft.graph.user", "#microsoft.graph.group"]);
    assert!(found.body["value"][0].get("onPremisesImmutableId").is_none());
    let groups = peer.post("/directoryObjects/getByIds", json!({"ids": [ada, g], "types": ["group"]})).await;
    assert_eq!(groups.all("id"), [g.as_str()]);
    peer.post("/directoryObjects/getByIds", json!({"ids": vec![nobody; 1_001]})).await.is(400);
    assert_eq!(peer.get(&format!("/directoryObjects/{g}")).await.is(200).id(), g);
    peer.delete(&format!("/directoryObjects/{g}")).await.is(204);
    peer.delete(&format!("/directoryObjects/{g}")).await.is(404);
    let counters = peer.tenant.counters();
    assert_eq!((counters.reads, counters.writes), (4, 4), "getByIds reads");
}

#[tokio::test]
async fn the_tenant_shows_its_domains() {
    let peer = peer(|_| {}).await;
    let domains = peer.get("/domains").await;
    assert_eq!(domains.all("id"), ["practice.onmicrosoft.com", "contoso.com", "fed.contoso.com", "later.contoso.com"]);
    assert_eq!(domains.all("authenticationType"), ["Managed", "Managed", "Federated", "Managed"]);
    let verified: Vec<&Value> = domains.values().iter().map(|d| &d["isVerified"]).collect();
    assert_eq!(verified, [&json!(true), &json!(true), &json!(true), &json!(false)]);
    assert_eq!(peer.get("/domains/contoso.com").await.is(200).body["isDefault"], false);
    peer.get("/domains/fabrikam.com").await.is(404);
    let organization = peer.get("/organization").await;
    assert_eq!(organization.body["value"][0]["verifiedDomains"].as_array().unwrap().len(), 3);
    let id = organization.all("id")[0];
    peer.get(&format!("/organization/{id}")).await.is(200);
}

#[tokio::test]
async fn contacts_and_devices_can_only_be_read() {
    let peer = peer(|_| {}).await;
    assert!(peer.get("/contacts").await.values().is_empty());
    assert_eq!(peer.eventual("/contacts/$count").await.body, json!(0));
    peer.get("/contacts/00000000-0000-4000-8000-000000000000").await.is(404);
    peer.post("/contacts", json!({"displayName": "x"})).await.is(405);
    assert!(peer.get("/devices?$top=5").await.values().is_empty());
    let device = json!({
        "accountEnabled": true, "alternativeSecurityIds": [{"type": 2, "key": "YQ=="}], "displayName": "pc",
        "deviceId": "4c299165-6e8f-4b45-a5ba-c5d250a707ff", "operatingSystem": "linux", "operatingSystemVersion": "1",
    });
    let refused = peer.post("/devices", device).await;
    refused.fails(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.");
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there() {
    let peer = peer(|_| {}).await;
    let ada = peer.add_user("ada").await;
    let not_allowed = "Specified HTTP method is not allowed for the request target.";
    peer.put(&format!("/users/{ada}"), json!({})).await.fails(405, "Request_BadRequest", not_allowed);
    peer.delete("/users").await.fails(405, "Request_BadRequest", not_allowed);
    peer.patch("/groups", group("x")).await.fails(405, "Request_BadRequest", not_allowed);
    peer.get("/people").await.fails(400, "BadRequest", "Resource not found for the segment 'people'.");
    peer.get(&format!("/users/{ada}/shoes")).await.fails(
        400,
        "BadRequest",
        "Resource not found for the segment 'shoes'.",
    );
    let beta = peer.get(&format!("{}/beta/users", peer.tenant.graph_url())).await;
    assert_eq!(beta.is(400).code(), "BadRequest");
    let odd = [
        "/users(",
        "/users('",
        "/groups(uniqueName=)",
        "/users/%FF",
        "/groups()",
        "//",
        "/$batch",
        "/users/('x')/y",
        "?x",
    ];
    for path in odd {
        let status = peer.get(path).await.status;
        assert!((400..500).contains(&status), "{path} {status}");
    }
    for body in ["", "{", "[]", "7", "\"x\"", "{\"requests\":7}"] {
        for path in ["/users", "/groups", "/$batch", "/directoryObjects/getByIds"] {
            let request = peer.http.post(format!("{}{path}", peer.root)).bearer_auth(&peer.token).body(body);
            let status = request.header("content-type", "application/json").send().await.unwrap().status().as_u16();
            assert_eq!(status, 400, "{path} {body}");
        }
    }
    peer.post(&format!("/users/{ada}/revokeSignInSessions"), json!({})).await.is(200);
}
