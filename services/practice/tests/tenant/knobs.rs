//! Every knob of the list shows on the wire, and a plain tenant does not show it.

use std::time::Duration;

use forestsync_practice::tenant::{Expected, Knob, LATE, Subjects, TenantOptions};
use serde_json::{Value, json};

use crate::client::{Answer, Peer, group, keeps_contract, peer, user, with, without};

fn subjects() -> Subjects {
    Subjects {
        privileged: vec!["boss@contoso.com".into()],
        synced_users: vec![("anchor-sync".into(), "sync@contoso.com".into())],
        synced_groups: vec!["sync-group".into()],
        mail_enabled_groups: vec!["mail-group".into()],
        federated_domain: "maybe.contoso.com".into(),
        unverified_domain: "unsure.contoso.com".into(),
        object_quota: 2,
    }
}

/// A tenant with these knobs turned. What is late stays late for as long as a test takes.
async fn turned(knobs: &[Knob], change: impl FnOnce(&mut TenantOptions)) -> Peer {
    peer(|options| {
        options.verified_domains.extend(["maybe.contoso.com".into(), "unsure.contoso.com".into()]);
        for knob in knobs {
            knob.apply(options, &subjects());
        }
        let late = &mut options.knobs.visibility;
        for delay in [&mut late.key_reads, &mut late.filters, &mut late.delta, &mut late.references] {
            if *delay == LATE {
                *delay = Duration::from_hours(1);
            }
        }
        change(options);
    })
    .await
}

/// A batch of twenty reads.
async fn batch(peer: &Peer) -> Answer {
    let get = |n: u32| json!({"id": n.to_string(), "method": "GET", "url": "/domains"});
    peer.post("/$batch", json!({"requests": (0..20).map(get).collect::<Vec<_>>()})).await
}

/// The answers in a batch's answer, in their order: id and status.
fn items(answer: &Answer) -> Vec<(String, u64)> {
    let items = answer.body["responses"].as_array().cloned().unwrap_or_default();
    items.iter().map(|r| (r["id"].as_str().unwrap().to_owned(), r["status"].as_u64().unwrap())).collect()
}

/// The first answer with this status among so many.
async fn among(peer: &Peer, requests: usize, status: u16) -> Option<Answer> {
    for _ in 0..requests {
        let answer = peer.get("/domains").await;
        if answer.status == status {
            return Some(answer);
        }
    }
    None
}

/// How long the next throttled answer asks to wait: no answer, or what its header says.
async fn retry_after(peer: &Peer) -> Option<String> {
    let answer = among(peer, 67, 429).await?;
    Some(answer.header("retry-after").unwrap_or("nothing").to_owned())
}

async fn link(peer: &Peer, path: &str) -> String {
    peer.pages(path, &[]).await.1.body["@odata.deltaLink"].as_str().unwrap().to_owned()
}

/// The body of a 410 among four delta queries with a token.
async fn gone(peer: &Peer) -> Option<Value> {
    let mut at = link(peer, "/users/delta?$deltatoken=latest").await;
    for _ in 0..4 {
        let answer = peer.get(&at).await;
        if answer.status == 410 {
            assert!(answer.header("location").unwrap().ends_with("/users/delta?$deltatoken="));
            return Some(answer.body);
        }
        answer.is(200).body["@odata.deltaLink"].as_str().unwrap().clone_into(&mut at);
    }
    None
}

async fn device(peer: &Peer) -> bool {
    peer.tenant.control().grant_permission("Device.ReadWrite.All", true);
    let device = json!({
        "accountEnabled": true, "alternativeSecurityIds": [{"type": 2, "key": "YQ=="}], "displayName": "pc",
        "deviceId": "4c299165-6e8f-4b45-a5ba-c5d250a707ff", "operatingSystem": "linux", "operatingSystemVersion": "1",
    });
    let made = peer.post("/devices", device.clone()).await;
    if made.status != 201 {
        made.fails(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.");
        return false;
    }
    let at = format!("/devices/{}", made.id());
    assert_eq!(peer.get(&at).await.is(200).body["displayName"], "pc");
    assert_eq!(peer.get("/devices").await.all("id"), [made.id()]);
    assert_eq!(peer.post("/devices", device.clone()).await.is(400).details()[0], "ObjectConflict deviceId");
    peer.delete(&at).await.is(204);
    peer.delete(&at).await.is(404);
    peer.tenant.control().revoke_permission("Device.ReadWrite.All", true);
    peer.post("/devices", device).await.is(403);
    true
}

/// Whether objects or links of the directory show the knob.
async fn in_content(knob: Knob, peer: &Peer) -> bool {
    let bin = "/directory/deletedItems/microsoft.graph";
    match knob {
        Knob::DeletedFreesImmutableId => {
            let ada = peer.add_user("ada").await;
            peer.delete(&format!("/users/{ada}")).await.is(204);
            peer.post("/users", user("ada")).await.status == 201
        }
        Knob::DeletedHoldsUniqueName => {
            let g = peer.add_group("g").await;
            peer.delete(&format!("/groups/{g}")).await.is(204);
            peer.upsert("g", group("g")).await.status == 400
        }
        Knob::GroupsDeletedForGood => {
            let g = peer.add_group("g").await;
            peer.delete(&format!("/groups/{g}")).await.is(204);
            peer.get(&format!("{bin}.group")).await.values().is_empty()
        }
        Knob::DeletedFilterRefused => {
            let path = format!("{bin}.user?$filter=onPremisesImmutableId eq 'a'&$select=id");
            peer.get(&path).await.status == 400
        }
        Knob::ClearImmutableIdRefused => {
            let ada = peer.add_user("ada").await;
            peer.patch(&format!("/users/{ada}"), json!({"onPremisesImmutableId": null})).await.status == 400
        }
        Knob::ClearingMailKeepsAddresses => {
            let ada = peer.post("/users", with(user("ada"), json!({"mail": "ada@contoso.com"}))).await.is(201).id();
            peer.patch(&format!("/users/{ada}"), json!({"mail": null})).await.is(204);
            let read = peer.get(&format!("/users/{ada}?$select=proxyAddresses")).await;
            read.body["proxyAddresses"] == json!(["SMTP:ada@contoso.com"])
        }
        Knob::MissingMemberBadRequest => {
            let (ada, g) = (peer.add_user("ada").await, peer.add_group("g").await);
            peer.delete(&format!("/groups/{g}/members/{ada}/$ref")).await.status == 400
        }
        Knob::PrivilegedUsers => {
            let boss = peer.add_user("boss").await;
            peer.patch(&format!("/users/{boss}"), json!({"jobTitle": "Boss"})).await.is(204);
            peer.patch(&format!("/users/{boss}"), json!({"accountEnabled": false})).await.status == 403
        }
        Knob::SyncedUsers => {
            let found = peer.get("/users?$filter=onPremisesImmutableId eq 'anchor-sync'&$select=id").await;
            let Some(id) = found.values().first().map(|v| v["id"].as_str().unwrap().to_owned()) else { return false };
            peer.patch(&format!("/users/{id}"), json!({"jobTitle": "x"})).await.is(400);
            peer.delete(&format!("/users/{id}")).await.status == 400
        }
        Knob::SyncedGroups => {
            let at = "/groups(uniqueName='sync-group')";
            peer.patch(at, json!({"description": "x"})).await.status == 400
                && peer.get(&format!("{at}?$select=onPremisesSyncEnabled")).await.body["onPremisesSyncEnabled"] == true
        }
        Knob::MailEnabledGroups => {
            let at = "/groups(uniqueName='mail-group')";
            peer.patch(at, json!({"description": "x"})).await.status == 400
                && peer.get(at).await.is(200).body["mailEnabled"] == true
        }
        Knob::FederatedDomain => {
            let ada = without(user("ada"), "onPremisesImmutableId");
            let name = json!({"userPrincipalName": "ada@maybe.contoso.com"});
            peer.post("/users", with(ada, name)).await.status == 400
        }
        Knob::UnverifiedDomain => {
            let name = json!({"userPrincipalName": "ada@unsure.contoso.com"});
            peer.post("/users", with(user("ada"), name)).await.status == 400
        }
        Knob::DevicesByApplication => device(peer).await,
        Knob::ObjectQuota => {
            peer.add_user("ada").await;
            peer.add_user("bob").await;
            peer.post("/users", user("eve")).await.status == 403
        }
        _ => unreachable!("{knob:?}"),
    }
}

/// Whether answers show the knob.
async fn in_answers(knob: Knob, peer: &Peer) -> bool {
    match knob {
        Knob::ThrottledSeconds => retry_after(peer).await.is_some_and(|wait| wait == "1"),
        Knob::ThrottledFraction => retry_after(peer).await.is_some_and(|wait| wait == "0.030"),
        Knob::ThrottledDate => retry_after(peer).await.is_some_and(|wait| wait.ends_with(" GMT")),
        Knob::ThrottledSilently => retry_after(peer).await.is_some_and(|wait| wait == "nothing"),
        Knob::ThrottledBatch424 => {
            let mut statuses = Vec::new();
            for _ in 0..4 {
                let answer = batch(peer).await;
                assert_eq!(items(&answer).len(), 20);
                statuses.push(answer.status);
            }
            statuses.contains(&424)
        }
        Knob::Quota => among(peer, 250, 429)
            .await
            .is_some_and(|answer| answer.header("x-ms-throttle-information") == Some("ResourceUnitLimitExceeded")),
        Knob::BatchInOrder => items(&batch(peer).await).iter().map(|(id, _)| id.parse::<u64>().unwrap()).eq(0..20),
        Knob::TokenEndsInBatch => {
            let mut ends = false;
            for _ in 0..9 {
                let statuses: Vec<u64> = items(&batch(peer).await).into_iter().map(|(_, status)| status).collect();
                ends |= statuses.contains(&200) && statuses.contains(&401);
            }
            ends
        }
        Knob::TokenShort => peer.ask_token(&[]).await.body["expires_in"].as_u64().unwrap() < 60,
        Knob::AnswersLost => {
            let mut lost = 0;
            for n in 0..7 {
                let name = format!("u{n}");
                lost += usize::from(peer.try_send("POST", "/users", Some(user(&name)), &[]).await.is_err());
                assert!(peer.tenant.dump().user(&format!("anchor-{name}")).is_some(), "written all the same");
            }
            lost == 1
        }
        Knob::Unavailable => among(peer, 17, 503).await.is_some(),
        Knob::Slow => {
            let mut fastest = Duration::MAX;
            for _ in 0..20 {
                let begun = tokio::time::Instant::now();
                peer.get("/domains").await.is(200);
                fastest = fastest.min(begun.elapsed());
            }
            fastest >= Duration::from_millis(5)
        }
        Knob::DeltaGone => gone(peer).await.is_some_and(|body| body["error"]["code"] == "syncStateNotFound"),
        Knob::DeltaGoneBare => gone(peer).await.is_some_and(|body| body.is_null()),
        Knob::UnknownProperties => {
            peer.add_user("ada").await;
            peer.get("/users").await.body["value"][0]["practiceUnknownProperty"].is_object()
        }
        _ => unreachable!("{knob:?}"),
    }
}

/// Whether what is read, and when, shows the knob.
async fn in_reads(knob: Knob, peer: &Peer) -> bool {
    match knob {
        Knob::LateKeyReads => peer.get(&format!("/users/{}", peer.add_user("ada").await)).await.status == 404,
        Knob::LateFilters => {
            peer.add_user("ada").await;
            peer.get("/users?$filter=onPremisesImmutableId eq 'anchor-ada'&$select=id").await.values().is_empty()
        }
        Knob::LateDelta => {
            let at = link(peer, "/users/delta?$deltatoken=latest").await;
            peer.add_user("ada").await;
            peer.get(&at).await.is(200).values().is_empty()
        }
        Knob::LateReferences => {
            let (ada, g) = (peer.add_user("ada").await, peer.add_group("g").await);
            peer.post(&format!("/groups/{g}/members/$ref"), peer.reference(&ada)).await.status == 404
        }
        Knob::TwoReplicas => {
            let at = format!("/users/{}", peer.add_user("ada").await);
            let mut seen = [peer.get(&at).await.status, peer.get(&at).await.status];
            seen.sort_unstable();
            seen == [200, 404]
        }
        Knob::DeltaSmallPages => {
            for n in 0..3 {
                peer.add_user(&format!("u{n}")).await;
            }
            let first = peer.get("/users/delta").await;
            first.values().len() == 2 && first.body["@odata.nextLink"].is_string()
        }
        Knob::DeltaReplays => {
            let ada = peer.add_user("ada").await;
            peer.get("/users/delta").await.all("id") == [ada.as_str(), ada.as_str()]
        }
        Knob::EmptyFirstPage => {
            let (ada, g) = (peer.add_user("ada").await, peer.add_group("g").await);
            peer.post(&format!("/groups/{g}/members/$ref"), peer.reference(&ada)).await.is(204);
            let mut empty = 0;
            for path in
                ["/users", "/users/delta", &format!("/groups/{g}/members"), &format!("/groups/{g}/members/$ref")]
            {
                let first = peer.get(path).await;
                empty += usize::from(first.values().is_empty() && first.body["@odata.nextLink"].is_string());
                assert_eq!(peer.pages(path, &[]).await.0.len(), 1, "{path}");
            }
            empty == 4
        }
        _ => unreachable!("{knob:?}"),
    }
}

async fn shows(knob: Knob, peer: &Peer) -> bool {
    match knob {
        Knob::LateKeyReads
        | Knob::LateFilters
        | Knob::LateDelta
        | Knob::LateReferences
        | Knob::TwoReplicas
        | Knob::DeltaSmallPages
        | Knob::DeltaReplays
        | Knob::EmptyFirstPage => in_reads(knob, peer).await,
        Knob::DeletedFreesImmutableId
        | Knob::DeletedHoldsUniqueName
        | Knob::GroupsDeletedForGood
        | Knob::DeletedFilterRefused
        | Knob::ClearImmutableIdRefused
        | Knob::ClearingMailKeepsAddresses
        | Knob::MissingMemberBadRequest
        | Knob::PrivilegedUsers
        | Knob::SyncedUsers
        | Knob::SyncedGroups
        | Knob::MailEnabledGroups
        | Knob::FederatedDomain
        | Knob::UnverifiedDomain
        | Knob::DevicesByApplication
        | Knob::ObjectQuota => in_content(knob, peer).await,
        Knob::ThrottledSeconds
        | Knob::ThrottledFraction
        | Knob::ThrottledDate
        | Knob::ThrottledSilently
        | Knob::ThrottledBatch424
        | Knob::Quota
        | Knob::BatchInOrder
        | Knob::TokenEndsInBatch
        | Knob::TokenShort
        | Knob::AnswersLost
        | Knob::Unavailable
        | Knob::Slow
        | Knob::DeltaGone
        | Knob::DeltaGoneBare
        | Knob::UnknownProperties => in_answers(knob, peer).await,
    }
}

/// The violations of the contract that a knob is there to cause.
fn breaks(knob: Knob) -> &'static [&'static str] {
    match knob {
        Knob::UnknownProperties => &["response-unknown-property"],
        Knob::DeltaGoneBare => &["response-error-shape"],
        _ => &[],
    }
}

#[tokio::test]
async fn each_knob_shows_and_a_plain_tenant_shows_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut records: std::collections::BTreeMap<_, Vec<_>> = std::collections::BTreeMap::new();
    for knob in Knob::ALL {
        let record = folder.path().join(format!("{knob:?}.jsonl"));
        let peer = turned(&[knob], |o| o.record_file = Some(record.clone())).await;
        assert!(shows(knob, &peer).await, "{knob:?} does not show");
        peer.tenant.stop().await.unwrap();
        records.entry(breaks(knob)).or_default().push(record);
        assert!(!shows(knob, &turned(&[], |_| {}).await).await, "{knob:?} shows in a plain tenant");
    }
    for (ignore, records) in records {
        keeps_contract(&records, ignore);
    }
}

#[test]
fn each_knob_turns_something_of_its_own() {
    let with = |knobs: &[Knob]| {
        let mut options = TenantOptions::default();
        for knob in knobs {
            knob.apply(&mut options, &subjects());
        }
        format!("{options:?}")
    };
    let all: std::collections::BTreeSet<String> = Knob::ALL.iter().map(|knob| with(&[*knob])).collect();
    assert_eq!(all.len(), Knob::ALL.len());
    assert!(!all.contains(&with(&[])));
}

#[test]
fn mixes_can_be_repeated_and_hold_every_knob() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let mix = Knob::mix(seed);
        assert_eq!(mix, Knob::mix(seed));
        for (place, knob) in mix.iter().enumerate() {
            assert!(mix[place + 1..].iter().all(|other| other != knob && !other.contradicts(*knob)), "{seed}: {mix:?}");
        }
        seen.extend(mix);
    }
    assert_eq!(seen.len(), Knob::ALL.len());
    let kept = Knob::ALL.iter().filter(|knob| knob.expected() != Expected::Everything).count();
    assert_eq!(kept, 6);
}
