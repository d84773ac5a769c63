//! The state file and the record file.

use std::sync::Arc;

use forestsync_practice::tenant::{PracticeTenant, TenantOptions};
use forestsync_practice::tls::PrivateCa;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{Peer, group, keeps_contract, peer, trusting, until, user, with};

#[tokio::test]
async fn the_content_outlives_the_tenant() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.jsonl");
    let first = peer(|o| o.state_file = Some(file.clone())).await;
    let (ada, bob, g) = (first.add_user("ada").await, first.add_user("bob").await, first.add_group("g").await);
    first.patch(&format!("/groups/{g}"), first.bind(&[ada.clone(), bob.clone()])).await.is(204);
    first.put(&format!("/users/{ada}/manager/$ref"), first.reference(&bob)).await.is(204);
    let eve = first.add_user("eve").await;
    first.delete(&format!("/users/{eve}")).await.is(204);
    let (_, last) = first.pages("/users/delta", &[]).await;
    let link = last.body["@odata.deltaLink"].as_str().unwrap().to_owned();
    let before = first.tenant.dump();
    first.tenant.stop().await.unwrap();
    assert!(!std::fs::read_to_string(&file).unwrap().contains("xWwvJ"), "no password in the state file");

    let second = peer(|o| o.state_file = Some(file.clone())).await;
    assert_eq!(second.tenant.dump(), before);
    let conflict = second.post("/users", user("ada")).await;
    assert_eq!(conflict.is(400).details()[1], format!("ConflictingObjects User_{ada}"));
    second.delete(&format!("/groups/{g}/members/{ada}/$ref")).await.is(204);
    second.patch(&format!("/users/{bob}"), json!({"jobTitle": "x"})).await.is(204);
    let token = link.split("$deltatoken=").nth(1).unwrap();
    let news = second.get(&format!("/users/delta?$deltatoken={token}")).await;
    assert_eq!(news.is(200).all("id"), [bob.as_str()], "delta tokens outlive it too");

    // A change reaches the file without a stop, and a torn line is dropped.
    until(|| async { std::fs::read_to_string(&file).unwrap().contains("jobTitle") }).await;
    let copy = dir.path().join("copy.jsonl");
    let mut text = std::fs::read_to_string(&file).unwrap();
    text.push_str("{\"object\":{\"id\":\"tor");
    std::fs::write(&copy, text).unwrap();
    let third = peer(|o| o.state_file = Some(copy)).await;
    assert_eq!(third.tenant.dump(), second.tenant.dump());
}

/// One of nearly everything a synchronizer does.
async fn session(peer: &Peer) {
    let ada = peer
        .post("/users", with(user("ada"), json!({"mail": "ada@contoso.com", "usageLocation": "DE"})))
        .await
        .is(201)
        .id();
    let bob = peer.add_user("bob").await;
    let g = peer.add_group("fs-1").await;
    peer.upsert("fs-1", json!({"description": "d"})).await.is(204);
    peer.get("/groups(uniqueName='fs-1')").await.is(200);
    peer.post("/groups", group("plain")).await.is(201);
    peer.post("/users", user("ada")).await.is(400);
    peer.patch(&format!("/users/{ada}"), json!({"jobTitle": "Baker", "mobilePhone": null})).await.is(204);
    peer.patch(&format!("/groups/{g}"), peer.bind(std::slice::from_ref(&ada))).await.is(204);
    peer.post(&format!("/groups/{g}/members/$ref"), peer.reference(&bob)).await.is(204);
    peer.post(&format!("/groups/{g}/owners/$ref"), peer.reference(&bob)).await.is(204);
    peer.put(&format!("/users/{ada}/manager/$ref"), peer.reference(&bob)).await.is(204);
    for path in [
        "/users",
        "/users?$top=1",
        "/groups",
        "/domains",
        "/organization",
        "/contacts",
        "/devices",
        "/users/delta",
        "/groups/delta",
        "/users?$filter=onPremisesImmutableId eq 'anchor-ada'&$select=id,onPremisesImmutableId,proxyAddresses,accountEnabled",
        "/directory/deletedItems/microsoft.graph.user",
        "/directory/deletedItems/microsoft.graph.group",
        "/users/nobody@contoso.com",
    ] {
        peer.get(path).await;
    }
    let all = "accountEnabled,ageGroup,assignedLicenses,assignedPlans,birthday,businessPhones,city,companyName,country,\
               createdDateTime,deletedDateTime,department,displayName,employeeHireDate,employeeId,employeeOrgData,faxNumber,\
               givenName,hireDate,id,identities,imAddresses,interests,jobTitle,mail,mailNickname,mobilePhone,officeLocation,\
               onPremisesExtensionAttributes,onPremisesImmutableId,onPremisesProvisioningErrors,onPremisesSyncEnabled,otherMails,\
               passwordPolicies,passwordProfile,postalCode,proxyAddresses,schools,signInActivity,skills,state,surname,\
               usageLocation,userPrincipalName,userType";
    peer.get(&format!("/users/{ada}?$select={all}")).await.is(200);
    peer.get(&format!("/users/{ada}/manager")).await.is(200);
    peer.get(&format!("/users/{ada}/manager/$ref")).await.is(200);
    peer.get(&format!("/users/{ada}/memberOf")).await.is(200);
    peer.get(&format!("/groups/{g}/members")).await.is(200);
    peer.get(&format!("/groups/{g}/members/$ref")).await.is(200);
    peer.get(&format!("/groups/{g}/owners")).await.is(200);
    peer.get(&format!("/directoryObjects/{g}")).await.is(200);
    peer.eventual("/users/$count").await.is(200);
    peer.eventual("/users?$count=true&$filter=endswith(mail,'contoso.com')").await.is(200);
    peer.post("/directoryObjects/getByIds", json!({"ids": [ada, g]})).await.is(200);
    let app = "/applications/11111111-2222-4333-8444-555555555555/extensionProperties";
    peer.post(app, json!({"name": "a", "dataType": "String", "targetObjects": ["User"]})).await.is(201);
    peer.get(app).await.is(200);
    peer.tenant.control().throttle_next_writes(1, std::time::Duration::from_secs(1));
    let body = json!({"Content-Type": "application/json"});
    let batch = json!({"requests": [
        {"id": "1", "method": "POST", "url": "/users", "headers": body, "body": user("eve")},
        {"id": "2", "method": "POST", "url": "/users", "headers": body, "body": user("kim")},
        {"id": "3", "method": "GET", "url": "/users/$count", "headers": {"ConsistencyLevel": "eventual"}},
        {"id": "4", "method": "GET", "url": "/users/nobody@contoso.com"},
    ]});
    peer.post("/$batch", batch).await.is(200);
    peer.delete(&format!("/users/{ada}/manager/$ref")).await.is(204);
    peer.delete(&format!("/groups/{g}/members/{bob}/$ref")).await.is(204);
    peer.delete(&format!("/users/{ada}")).await.is(204);
    peer.get("/directory/deletedItems/microsoft.graph.user?$select=id,userPrincipalName").await.is(200);
    peer.get(&format!("/directory/deletedItems/{ada}")).await.is(200);
    peer.send("POST", &format!("/directory/deletedItems/{ada}/restore"), None, &[]).await.is(200);
    peer.delete(&format!("/groups/{g}")).await.is(204);
    peer.delete(&format!("/directory/deletedItems/{g}")).await.is(204);
    peer.get("/groups/delta").await.is(200);
    peer.tenant.control().unavailable_next(1);
    peer.get("/users").await.is(503);
}

#[tokio::test]
async fn every_exchange_is_recorded_and_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("record.jsonl");
    let peer = peer(|o| o.record_file = Some(file.clone())).await;
    session(&peer).await;
    let requests: u64 = peer.tenant.counters().requests.values().sum();
    let token = peer.token.clone();
    peer.tenant.stop().await.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count() as u64, requests);
    assert!(!text.contains("xWwvJ") && !text.contains(&token) && !text.to_lowercase().contains("\"authorization\""));
    let create: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&create["method"], &create["status"]), (&json!("POST"), &json!(201)));
    assert!(create["request_body"]["passwordProfile"]["password"].is_string());

    keeps_contract(&[file], &[]);
}

#[tokio::test]
async fn a_request_that_is_cut_off_was_never_made_and_one_that_is_too_long_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("record.jsonl");
    let ca = PrivateCa::new().unwrap();
    let options = TenantOptions { record_file: Some(file.clone()), ..TenantOptions::default() };
    let tenant = PracticeTenant::start(options, &ca).await.unwrap();
    let url: reqwest::Url = tenant.graph_url().parse().unwrap();
    let (host, port) = (url.host_str().unwrap().to_owned(), url.port().unwrap());

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let socket = TcpStream::connect((host.as_str(), port)).await.unwrap();
    let name = ServerName::try_from(host.clone()).unwrap();
    let mut cut = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
    let head =
        format!("POST /v1.0/users HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-length: 100\r\n\r\n{{\"displayName\":");
    cut.write_all(head.as_bytes()).await.unwrap();
    cut.shutdown().await.unwrap();
    // whatever is answered to half a request, the connection is over
    let mut rest = Vec::new();
    drop(cut.read_to_end(&mut rest).await);

    let root = format!("{}/v1.0", tenant.graph_url());
    let peer = Peer { tenant, http: trusting(&ca), token: String::new(), root };
    let answer = peer.ask_token(&[]).await;
    let token = answer.body["access_token"].as_str().unwrap();
    let long = peer.http.post(format!("{}/users", peer.root)).bearer_auth(token);
    let long = long.body(vec![b' '; 5 * 1_024 * 1_024]).send().await.unwrap();
    assert_eq!(long.status(), 413);
    peer.tenant.stop().await.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let statuses = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["status"].clone());
    assert_eq!(statuses.collect::<Vec<_>>(), [413], "nothing else is recorded");
}
