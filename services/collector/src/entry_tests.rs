use proptest::prelude::*;

use super::*;

const GUID: &str = "00112233-4455-6677-8899-aabbccddeeff";

/// BER: tag, length in the long form that Active Directory writes, content.
fn ber(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag, 0x84];
    out.extend((content.len() as u32).to_be_bytes());
    out.extend(content);
    out
}

fn entry_of(dn: &str, attributes: &[(String, Vec<Vec<u8>>)]) -> Entry {
    let attributes: Vec<u8> = attributes
        .iter()
        .flat_map(|(name, values)| {
            let values: Vec<u8> = values.iter().flat_map(|value| ber(OCTET_STRING, value)).collect();
            ber(SEQUENCE, &[ber(OCTET_STRING, name.as_bytes()), ber(SET, &values)].concat())
        })
        .collect();
    let body = [ber(OCTET_STRING, dn.as_bytes()), ber(SEQUENCE, &attributes)].concat();
    Entry::parse(body.into()).unwrap()
}

fn raw(dn: &str, attributes: &[(&str, &[&[u8]])]) -> Entry {
    let bytes = GUID.parse::<ObjectGuid>().unwrap().as_bytes().to_vec();
    let mut all = vec![("objectGUID".to_owned(), vec![bytes])];
    all.extend(attributes.iter().map(|(n, v)| ((*n).to_owned(), v.iter().map(|b| b.to_vec()).collect())));
    entry_of(dn, &all)
}

fn wanted() -> Wanted {
    let names = ["displayName", "mail", "member", "manager", "thumbnailPhoto", "msDS-cloudExtensionAttribute1"];
    let mut wanted = Wanted::new(&names.map(str::to_owned));
    wanted.set_unreadable(["MSDS-cloudExtensionAttribute1".to_owned()]);
    wanted
}

fn decode(attributes: &[(&str, &[&[u8]])]) -> Result<Changes, DecodeError> {
    Changes::decode(&raw("<GUID=00112233-4455-6677-8899-aabbccddeeff>;CN=A,DC=x", attributes), &wanted())
}

fn link(text: &str) -> Vec<u8> {
    format!("<GUID={text}>;<SID=S-1-5-21-1>;CN=not looked at \\").into_bytes()
}

#[test]
fn attributes_follow_the_request() {
    let names = vec!["DisplayName".to_owned(), "unicodePwd".to_owned(), "NAME".to_owned(), "displayname".to_owned()];
    let wanted = Wanted::new(&names);
    assert_eq!(
        wanted.names(),
        ["DisplayName", "isDeleted", "name", "objectClass", "objectGUID", "objectSid", "parentGUID"]
    );
    let read = Changes::decode(&raw("CN=A,DC=x", &[("DISPLAYNAME", &[b"A"]), ("unicodePwd", &[])]), &wanted).unwrap();
    assert_eq!(read.set.keys().collect::<Vec<_>>(), ["DisplayName"]);
    assert!(read.cleared.is_empty() && read.withheld.is_empty());
}

#[test]
fn form_follows_the_name_and_emptiness_is_not_always_cleared() {
    let read = decode(&[
        ("displayName", &["Müller".as_bytes()]),
        ("objectClass", &[b"top", b"person", b"\xff\xfe"]),
        ("thumbnailPhoto", &[b"text"]),
        ("mail", &[]),
        ("msDS-CloudExtensionAttribute1", &[]),
        ("somethingElse", &[b"x"]),
    ])
    .unwrap();
    assert_eq!(read.set["displayName"][0].as_text(), Some("Müller"));
    assert_eq!(read.set["objectClass"][1].as_text(), Some("person"));
    assert_eq!(read.set["objectClass"][2], AttributeValue::Binary(vec![0xff, 0xfe]));
    assert_eq!(read.set["thumbnailPhoto"][0], AttributeValue::Binary(b"text".to_vec()));
    assert_eq!(read.cleared, ["mail"]);
    assert_eq!(read.withheld, ["msDS-cloudExtensionAttribute1"]);
    assert_eq!(read.set.len(), 3);
    assert_eq!(read.dn.to_string(), "CN=A,DC=x");
}

#[test]
fn links_come_and_go() {
    let (a, b) = ("11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222");
    let read =
        decode(&[("member;range=1-1", &[&link(a)]), ("MEMBER;range=0-0", &[&link(b)]), ("manager", &[&link(b)])])
            .unwrap();
    assert_eq!(read.links[0].attribute, "member");
    assert_eq!(read.links[0].added, [a.parse().unwrap()]);
    assert_eq!(read.links[0].removed, [b.parse().unwrap()]);
    assert!(!read.links[0].whole && read.links[1].whole);
    assert!(!read.states_attributes());
    let hex = b"<GUID=33221100554477668899aabbccddeeff>;CN=b,DC=x".as_slice();
    assert_eq!(decode(&[("member;range=1-1", &[hex])]).unwrap().links[0].added, [GUID.parse().unwrap()]);
}

#[test]
fn what_comes_in_ranges_is_a_part() {
    let read = |attributes: &[(&str, &[&[u8]])]| {
        Changes::image(&raw("<GUID=00112233-4455-6677-8899-aabbccddeeff>;CN=A,DC=x", attributes), &wanted())
    };
    let one = link(GUID);
    let members: [&[u8]; 2] = [&one, &one];
    let image =
        read(&[("member", &[]), ("member;range=0-1", &members), ("mail", &[]), ("displayName", &[b"A"])]).unwrap();
    assert!(image.is_cut() && image.cleared.is_empty());
    assert_eq!((image.links[0].added.len(), image.links[0].whole, image.links[0].next), (2, true, Some(2)));
    let image = read(&[("member;range=0-*", &members)]).unwrap();
    assert!(!image.is_cut() && image.links[0].whole);
    let image = read(&[("displayName", &[]), ("displayName;Range=0-1", &[b"A", b"B"])]).unwrap();
    assert_eq!((image.cut, image.set["displayName"].len()), (vec![("displayName".to_owned(), 2)], 2));
    // one value each in a DirSync answer, a part of all here
    assert_eq!(read(&[("member;range=0-0", &[&one])]).unwrap().links[0].next, Some(1));
    assert!(decode(&[("displayName;range=0-1", &[b"A"])]).is_err());
    assert!(decode(&[("member;range=0-1499", &members)]).unwrap().is_cut());
}

#[test]
fn errors_name_object_and_attribute() {
    let message = |attributes: &[(&str, &[&[u8]])]| decode(attributes).unwrap_err().to_string();
    let plain = b"CN=b,DC=x".as_slice();
    assert_eq!(message(&[("member;range=1-1", &[plain])]), "object CN=A,DC=x: a value of member has no readable GUID");
    assert!(message(&[("member;range=5-1499", &[])]).contains("member;range=5-1499"));
    assert!(message(&[("displayName;lang-de", &[b"x"])]).contains("displayName;lang-de"));
    assert!(message(&[("parentGUID", &[b"short"])]).contains("parentGUID"));
    assert!(message(&[("isDeleted", &[b"maybe"])]).contains("isDeleted"));
    let nameless = entry_of("CN=A,DC=x", &[]);
    assert!(matches!(Changes::decode(&nameless, &wanted()), Err(DecodeError::Missing { attribute: "objectGUID", .. })));
    assert!(matches!(Changes::decode(&raw("A", &[]), &wanted()), Err(DecodeError::Name { .. })));
}

#[test]
fn life_is_stated_by_is_deleted() {
    assert_eq!(decode(&[("isDeleted", &[b"TRUE"])]).unwrap().life, Life::Deleted);
    assert_eq!(decode(&[("isDeleted", &[])]).unwrap().life, Life::Restored);
    assert_eq!(decode(&[]).unwrap().life, Life::Unstated);
    assert!(decode(&[("instanceType", &[b"5"])]).unwrap().nc_head);
}

#[test]
fn refuses_what_is_no_entry() {
    let shape = |body: Vec<u8>| Entry::parse(body.into()).unwrap_err().to_string();
    assert_eq!(shape(vec![]), "an entry has no sound name");
    assert_eq!(shape(ber(OCTET_STRING, b"\xff")), "an entry has no sound name");
    assert_eq!(shape(ber(OCTET_STRING, b"DC=x")), "an entry has no sound attribute list");
    let with = |list: &[u8]| [ber(OCTET_STRING, b"DC=x"), ber(SEQUENCE, list)].concat();
    assert_eq!(shape(with(&[4, 0])), "an entry has no sound attribute");
    assert_eq!(shape(with(&ber(SEQUENCE, &ber(OCTET_STRING, b"mail")))), "an entry has no sound value list");
    let nested = ber(SEQUENCE, &[ber(OCTET_STRING, b"mail"), ber(SET, &ber(SET, b""))].concat());
    assert_eq!(shape(with(&nested)), "an entry has no sound value");
}

/// Arbitrary BER trees of the tags that occur in entries.
fn tree() -> impl Strategy<Value = Vec<u8>> {
    let interesting = prop_oneof![
        any::<Vec<u8>>(),
        Just(b"member;range=1-1".to_vec()),
        Just(b"objectGUID".to_vec()),
        Just(b"<GUID=00112233-4455-6677-8899-aabbccddeeff>;CN=A,DC=x".to_vec()),
        Just(vec![7; 16]),
        Just("<GUID=é".as_bytes().to_vec()),
    ];
    let leaf = interesting.prop_map(|bytes| ber(OCTET_STRING, &bytes));
    leaf.prop_recursive(6, 64, 6, |inner| {
        let tag = prop_oneof![Just(SEQUENCE), Just(SET)];
        (tag, prop::collection::vec(inner, 0..6)).prop_map(|(tag, parts)| ber(tag, &parts.concat()))
    })
}

proptest! {
    #[test]
    fn never_panics(parts in prop::collection::vec(tree(), 0..4)) {
        if let Ok(entry) = Entry::parse(parts.concat().into()) {
            let _any = Changes::decode(&entry, &wanted());
        }
    }

    #[test]
    fn never_panics_on_any_bytes(body in any::<Vec<u8>>()) {
        let _any = Entry::parse(body.into());
    }

    #[test]
    fn never_panics_on_any_attribute(name in "[a-zA-Z;=0-9-]{0,20}|member;range=[01]-[01]|parentGUID|isDeleted",
                                     values in prop::collection::vec(any::<Vec<u8>>(), 0..3)) {
        let guid = ("objectGUID".to_owned(), vec![vec![7; 16]]);
        let _any = Changes::decode(&entry_of("CN=A,DC=x", &[guid, (name, values)]), &wanted());
    }
}
