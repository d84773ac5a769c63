//! Several forests that have each other's people as contacts, and what refers to people who are several objects.

use forestsync_domain::Attributes;
use forestsync_schemas::desired::{CloudClass, RemovalReason};
use serde_json::json;

use super::support::{
    CONTACT, Desired, GROUP, Source, USER, World, anchor, attributes, below, changed, deleted, first_read, guid, links,
    rules, with,
};
use crate::{ProjectorConfig, ScopeEntry};

/// Forests with their objects and memberships: the roots are 1, 101, 201.
#[derive(Debug)]
struct Forests {
    world: World,
    sources: Vec<Source>,
    config: ProjectorConfig,
}

type Content = (Vec<(u32, Attributes)>, Vec<(u32, u32)>);

impl Forests {
    async fn new(contents: Vec<Content>, form: serde_json::Value) -> Self {
        let (world, mut sources) = (World::new(), Vec::new());
        for ((objects, members), (name, base)) in contents.into_iter().zip([("w", 1), ("e", 101), ("n", 201)]) {
            let mut source = Source::new(name, &format!("DC={name}"));
            let page = first_read(&mut source, base, &objects, &members);
            world.append(&source.stream, page).await;
            sources.push(source);
        }
        let mut config = world.config("c", &sources, &[], &[]);
        rules(&mut config, form);
        Self { world, sources, config }
    }

    async fn say(&mut self, forest: usize, events: &[super::support::Event]) -> Desired {
        let page = self.sources[forest].page(events, true);
        self.world.append(&self.sources[forest].stream, page).await;
        self.settled().await
    }

    async fn settled(&self) -> Desired {
        self.world.settled(&self.config).await
    }

    async fn remove(&mut self, forest: usize, number: u32) -> Desired {
        let root = self.sources[forest].root.clone();
        self.say(forest, &[deleted(number, &root)]).await
    }

    async fn add(&mut self, forest: usize, object: (u32, Attributes)) -> Desired {
        let dn = below(&self.sources[forest].root, object.0);
        let parent = 1 + 100 * forest as u32;
        self.say(forest, &[changed(object.0, &dn, Some(parent), object.1, &[])]).await
    }
}

fn mailed(number: u32, class: &[&str], mail: &str) -> (u32, Attributes) {
    (number, with(attributes(class, &format!("n{number}")), &[("mail", mail)]))
}

fn kinds(desired: &Desired) -> Vec<(u32, CloudClass)> {
    let number = |anchor: &_| (1..300).find(|n| super::support::anchor(*n) == *anchor).unwrap();
    let mut all: Vec<_> = desired.wished.objects.iter().map(|(anchor, (class, ..))| (number(anchor), *class)).collect();
    all.sort_unstable();
    all
}

fn reasons(desired: &Desired) -> Vec<RemovalReason> {
    desired.removed.iter().map(|(_, reason)| *reason).collect()
}

const USERS: CloudClass = CloudClass::User;

/// Each forest has a user, and a contact for the user of each other one.
async fn galsync() -> Forests {
    let mails = ["w@x.example", "e@x.example", "n@x.example"];
    let content = |forest: usize| {
        let of = |(at, mail): (usize, &&str)| {
            mailed(100 * forest as u32 + 10 + at as u32, if at == forest { USER } else { CONTACT }, mail)
        };
        (mails.iter().enumerate().map(of).collect(), vec![])
    };
    Forests::new((0..3).map(content).collect(), json!({"joins": [{"rule": "mail"}]})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_full_mesh_only_the_users_are_wished_and_a_contact_that_goes_takes_nobody_along() {
    let mut mesh = galsync().await;
    let all = [(10, USERS), (111, USERS), (212, USERS)];
    assert_eq!(kinds(&mesh.settled().await), all);
    for (forest, contact) in [(1, 110), (2, 210), (0, 11)] {
        let desired = mesh.remove(forest, contact).await;
        assert_eq!((kinds(&desired), desired.removed), (all.to_vec(), vec![]));
    }
    // and a contact that comes again changes nothing either
    let again = mesh.add(1, mailed(120, CONTACT, "W@x.example")).await;
    assert_eq!((kinds(&again), again.removed), (all.to_vec(), vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_that_was_there_first_gives_way_to_the_user() {
    let group = (120, attributes(GROUP, "n120"));
    let content = vec![(vec![mailed(10, CONTACT, "a@x.example")], vec![]), (vec![group], vec![])];
    let mut forests = Forests::new(content, json!({"joins": [{"rule": "mail"}]})).await;
    assert_eq!(kinds(&forests.settled().await), [(10, CloudClass::Contact), (120, CloudClass::Group)]);
    let joined = forests.add(1, mailed(110, USER, "a@x.example")).await;
    let all = vec![(110, USERS), (120, CloudClass::Group)];
    assert_eq!(kinds(&joined), all);
    assert_eq!(joined.removed, [(anchor(10), RemovalReason::Joined)]);
    let gone = forests.remove(0, 10).await;
    assert_eq!((kinds(&gone), gone.removed.len()), (all, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_deleted_leaves_its_anchor_to_the_partner_that_stays() {
    let content =
        vec![(vec![mailed(10, USER, "a@x.example")], vec![]), (vec![mailed(110, USER, "a@x.example")], vec![])];
    let mut forests = Forests::new(content, json!({"joins": [{"rule": "mail"}]})).await;
    assert_eq!(kinds(&forests.settled().await), [(10, USERS)]);
    let stayed = forests.remove(0, 10).await;
    assert_eq!((kinds(&stayed), reasons(&stayed)), (vec![(10, USERS)], vec![]));
    let said = serde_json::to_string(&stayed.wished.objects[&anchor(10)].1).unwrap();
    assert!(said.contains("n110@x.example") && !said.contains("n10@x.example"), "{said}");
    let gone = forests.remove(1, 110).await;
    assert_eq!((kinds(&gone), reasons(&gone)), (vec![], vec![RemovalReason::Deleted]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_is_deleted_goes_although_contacts_of_it_stay() {
    let mut mesh = galsync().await;
    mesh.settled().await;
    let desired = mesh.remove(0, 10).await;
    assert_eq!(reasons(&desired), [RemovalReason::Deleted]);
    assert_eq!(kinds(&desired), [(110, CloudClass::Contact), (111, USERS), (212, USERS)]);
    mesh.remove(1, 110).await;
    let desired = mesh.remove(2, 210).await;
    assert_eq!(kinds(&desired), [(111, USERS), (212, USERS)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_a_pair_of_attributes_joins_have_the_members_of_both() {
    let group = |n: u32, name: &str| (n, with(attributes(GROUP, &format!("n{n}")), &[(name, "sales")]));
    let user = |n: u32| (n, attributes(USER, &format!("n{n}")));
    let content = vec![
        (vec![group(20, "extensionAttribute1"), user(10), user(11)], vec![(20, 10)]),
        (vec![group(120, "extensionAttribute2"), user(110)], vec![(120, 110)]),
    ];
    let joins = json!({"joins": [{"attribute": "extensionAttribute1", "with": "extensionAttribute2",
                                  "classes": ["group"]}]});
    let mut forests = Forests::new(content, joins).await;
    let members = |desired: &Desired| desired.wished.links.clone().into_iter().collect::<Vec<_>>();
    let expected = |numbers: &[u32]| {
        let mut all: Vec<_> = numbers.iter().map(|n| (anchor(20), anchor(*n))).collect();
        all.sort();
        all
    };
    assert_eq!(members(&forests.settled().await), expected(&[10, 110]));
    assert_eq!(members(&forests.say(0, &[links(None, 20, "member", &[10], &[11])]).await), expected(&[11, 110]));
    let apart = with(Attributes::new(), &[("extensionAttribute2", "other")]);
    let dn = below(&forests.sources[1].root, 120);
    let apart = forests.say(1, &[changed(120, &dn, None, apart, &[])]).await;
    let mut both = vec![(anchor(20), anchor(11)), (anchor(120), anchor(110))];
    both.sort();
    assert_eq!(members(&apart), both);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_to_any_object_of_a_person_leads_to_the_person() {
    let user = |n: u32| mailed(n, USER, &format!("n{n}@x.example"));
    let boss = |n: u32| mailed(n, USER, "boss@x.example");
    let mut stand_in = attributes(&["top", "foreignSecurityPrincipal"], "n130");
    stand_in.insert("objectSid".into(), boss(10).1["objectSid"].clone());
    let group = |n: u32| (n, attributes(GROUP, &format!("n{n}")));
    let content = vec![
        (vec![boss(10), user(11), group(20)], vec![(20, 10)]),
        (vec![boss(110), user(111), group(120), group(121), (130, stand_in)], vec![(120, 110), (121, 130)]),
    ];
    let mut forests = Forests::new(content, json!({"joins": [{"rule": "mail"}]})).await;
    forests.say(0, &[links(None, 11, "manager", &[], &[10])]).await;
    let desired = forests.say(1, &[links(None, 111, "manager", &[], &[110])]).await;
    let person = anchor(10);
    for n in [11, 111] {
        assert_eq!(desired.wished.objects[&anchor(n)].2, Some(person.clone()), "manager of {n}");
    }
    for n in [20, 120, 121] {
        assert!(desired.wished.links.contains(&(anchor(n), person.clone())), "member of {n}");
    }
    // the object that the anchor came from goes; what names the other one stays
    let desired = forests.remove(0, 10).await;
    assert_eq!(desired.wished.objects[&anchor(111)].2, Some(person.clone()));
    assert_eq!(desired.wished.objects[&anchor(11)].2, None);
    assert_eq!(desired.wished.links.into_iter().collect::<Vec<_>>(), [(anchor(120), person)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_whose_people_all_sign_in_elsewhere_is_not_empty() {
    let content =
        vec![(vec![mailed(10, USER, "a@x.example")], vec![]), (vec![mailed(110, USER, "b@x.example")], vec![])];
    let mut forests = Forests::new(content, json!({"joins": [{"rule": "mail"}]})).await;
    forests.config.sources[0].include = vec![ScopeEntry::Guid(guid(1))];
    assert_eq!(kinds(&forests.settled().await), [(10, USERS), (110, USERS)]);
    let set = with(Attributes::new(), &[("mail", "b@x.example"), ("userAccountControl", "514")]);
    let dn = below(&forests.sources[0].root, 10);
    let joined = forests.say(0, &[changed(10, &dn, None, set, &[])]).await;
    assert_eq!((joined.wished.objects.len(), reasons(&joined)), (1, vec![RemovalReason::Joined]));
}
