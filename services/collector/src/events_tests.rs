use forestsync_domain::{AttributeValue, Attributes};

use forestsync_schemas::ChangeRecord;

use super::*;

const ID: SnapshotId = SnapshotId(Uuid::from_bytes([1; 16]));
const FIRST: Mode = Mode::Snapshot { id: ID, first_page: true };
const LATER: Mode = Mode::Snapshot { id: ID, first_page: false };

fn guid(n: u8) -> ObjectGuid {
    ObjectGuid::from_bytes([n; 16])
}

fn changes(life: Life) -> Changes {
    Changes {
        object: guid(1),
        dn: "CN=a,DC=x".parse().unwrap(),
        parent: None,
        nc_head: false,
        life,
        set: Attributes::new(),
        cleared: Vec::new(),
        links: Vec::new(),
        withheld: Vec::new(),
        cut: Vec::new(),
    }
}

fn links(removed: Vec<ObjectGuid>, added: Vec<ObjectGuid>) -> Links {
    Links { attribute: "member".into(), removed, added, whole: false, next: None }
}

fn kinds(events: &[ChangeEvent]) -> Vec<&'static str> {
    events.iter().map(forestsync_schemas::EventBody::type_name).collect()
}

#[test]
fn a_delta_says_only_what_changed() {
    assert!(translate(changes(Life::Unstated), Mode::Delta).is_empty());
    let mut group = changes(Life::Unstated);
    group.links = vec![links(vec![guid(2)], vec![guid(3)])];
    let events = translate(group.clone(), Mode::Delta);
    assert_eq!(kinds(&events), ["LinkValuesChanged"]);
    group.parent = Some(guid(9));
    assert_eq!(kinds(&translate(group.clone(), Mode::Delta)), ["ObjectChanged", "LinkValuesChanged"]);
    group.life = Life::Deleted;
    assert_eq!(kinds(&translate(group.clone(), Mode::Delta)), ["ObjectDeleted"]);
    group.life = Life::Restored;
    assert_eq!(kinds(&translate(group, Mode::Delta)), ["ObjectRestored", "LinkValuesChanged"]);
}

#[test]
fn the_first_page_of_a_snapshot_shows_what_is() {
    let mut group = changes(Life::Unstated);
    group.links = vec![links(vec![guid(2)], vec![guid(3)])];
    let events = translate(group, FIRST);
    assert_eq!(kinds(&events), ["ObjectObserved", "LinkValuesChanged"]);
    let ChangeEvent::LinkValuesChanged(links) = &events[1] else { panic!("{events:?}") };
    assert!(links.removed.is_empty(), "former members are history");
    assert_eq!((links.snapshot, links.added.as_slice()), (Some(ID), [guid(3)].as_slice()));
    assert!(translate(changes(Life::Deleted), FIRST).is_empty());
}

#[test]
fn a_later_page_of_a_snapshot_does_not_lose_what_happened_meanwhile() {
    assert_eq!(kinds(&translate(changes(Life::Deleted), LATER)), ["ObjectDeleted"]);
    assert_eq!(kinds(&translate(changes(Life::Restored), LATER)), ["ObjectRestored", "ObjectObserved"]);
    let mut changed = changes(Life::Unstated);
    changed.set.insert("mail".into(), vec![AttributeValue::from("a@x")]);
    changed.cleared = vec!["title".into()];
    changed.links = vec![links(vec![guid(2)], Vec::new())];
    let events = translate(changed, LATER);
    assert_eq!(kinds(&events), ["ObjectObserved", "ObjectChanged", "LinkValuesChanged"]);
    let mut members = changes(Life::Unstated);
    members.links = vec![links(Vec::new(), vec![guid(3)])];
    assert_eq!(kinds(&translate(members, LATER)), ["LinkValuesChanged"]);
}

#[test]
fn many_links_are_split_with_removals_first() {
    let mut group = changes(Life::Unstated);
    group.links = vec![links(vec![guid(2); 1_500], vec![guid(3); 2_001])];
    let sizes: Vec<(usize, usize)> = translate(group, Mode::Delta)
        .iter()
        .map(|event| match event {
            ChangeEvent::LinkValuesChanged(links) => (links.removed.len(), links.added.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sizes, [(1_000, 0), (500, 0), (0, 1_000), (0, 1_000), (0, 1)]);
}

#[test]
fn a_page_read_again_has_the_same_ids() {
    let stream: StreamName = "changes.f.x".parse().unwrap();
    let new = || Scribe::new("f", &"DC=x".parse().unwrap(), &stream, None);
    let (mut scribe, mut again) = (new(), new());
    assert_ne!(scribe.trace, again.trace);
    assert_eq!(scribe.trace.len(), 55);
    let deleted = || translate(changes(Life::Deleted), Mode::Delta).remove(0);
    let id = |scribe: &mut Scribe, anchor: &[u8], object| {
        let record = scribe.record(anchor, Some(object), &deleted()).unwrap();
        assert_eq!(record.headers[0].1.as_ref(), b"ObjectDeleted");
        assert_eq!(record.key.as_deref(), Some(object.to_string().as_bytes()));
        ChangeRecord::decode(&record.value).unwrap().id
    };
    assert_eq!(id(&mut scribe, b"a", guid(1)), id(&mut again, b"a", guid(1)));
    assert_ne!(id(&mut scribe, b"a", guid(1)), id(&mut scribe, b"b", guid(1)));
    assert_ne!(id(&mut scribe, b"a", guid(1)), id(&mut scribe, b"a", guid(2)));
}

#[test]
fn records_have_the_form_of_the_schema() {
    for mut sample in forestsync_schemas::samples::changes() {
        let context = &sample.context;
        let (stream, controller) = ("changes.f.x".parse().unwrap(), context.controller.clone());
        let mut scribe = Scribe::new(&context.forest, &context.naming_context, &stream, controller);
        let record = scribe.record(b"anchor", context.object, &sample.event).unwrap();
        let read = ChangeRecord::decode(&record.value).unwrap();
        sample.context.trace.clone_from(&read.context.trace);
        sample.id = read.id;
        sample.time = read.time;
        assert_eq!(sample.encode().unwrap(), record.value);
    }
}
