use forestsync_domain::{AttributeValue, Attributes};
use forestsync_schemas::desired::{CloudClass, CloudValue};

use super::{attributes, dn};
use crate::classify::DirectoryClass::{Contact, Group, InetOrgPerson, Other, User};
use crate::flow::{CompiledFlow, FlowClass, Flowed, ProblemKind, digest, flow, managed};

/// Attributes as a test writes them.
type Entries<'a> = &'a [(&'a str, &'a [&'a str])];

fn text(text: &str) -> CloudValue {
    CloudValue::Text(text.into())
}

fn user(entries: Entries<'_>) -> Flowed {
    let mut object = attributes(&[("sAMAccountName", &["kim"]), ("userAccountControl", &["512"])]);
    object.extend(attributes(entries));
    flow(User, &dn("CN=Kim Lee,OU=Staff,DC=lab,DC=local"), &dn("DC=lab,DC=local"), &object)
}

fn group(entries: Entries<'_>) -> Flowed {
    let mut object = attributes(&[("sAMAccountName", &["staff"]), ("groupType", &["-2147483646"])]);
    object.extend(attributes(entries));
    flow(Group, &dn("CN=All Staff,DC=lab,DC=local"), &dn("DC=lab,DC=local"), &object)
}

fn value(flowed: &Flowed, name: &str) -> String {
    match flowed.attributes.get(name) {
        Some(CloudValue::Text(text)) => text.clone(),
        other => panic!("{name} is {other:?}"),
    }
}

fn problems(flowed: &Flowed) -> Vec<(&str, ProblemKind)> {
    flowed.problems.iter().map(|p| (p.attribute.as_str(), p.kind)).collect()
}

#[test]
fn the_barest_user_can_be_created() {
    let flowed = user(&[]);
    assert_eq!(flowed.class, CloudClass::User);
    let expected = [
        ("accountEnabled", CloudValue::Bool(true)),
        ("displayName", text("Kim Lee")),
        ("mailNickname", text("kim")),
        ("userPrincipalName", text("kim@lab.local")),
    ];
    assert_eq!(flowed.attributes, expected.map(|(n, v)| (n.to_owned(), v)).into());
    assert_eq!((flowed.problems, flowed.not_writable), (Vec::new(), Vec::new()));
}

/// The rules of users that take one attribute as it is: source, target, whether it is trimmed.
fn direct_rules() -> Vec<(String, String, bool)> {
    let flow = CompiledFlow::default();
    let own = ["mail", "businessPhones"];
    let rules = flow.rules(FlowClass::User).iter().filter(|rule| !own.contains(&rule.target()));
    let found: Vec<_> = rules
        .filter_map(|rule| {
            let text = rule.text();
            let trimmed = text.strip_prefix("Trim([").and_then(|rest| rest.strip_suffix("])"));
            let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            let source = trimmed.or(bare)?.to_owned();
            Some((source, rule.target().to_owned(), trimmed.is_some()))
        })
        .collect();
    assert_eq!(found.len(), 30);
    found
}

#[test]
fn every_direct_rule_flows() {
    for (source, target, trim) in direct_rules() {
        let flowed = user(&[(&source, &[" a b ", "second"])]);
        let expected = if trim { "a b" } else { " a b " };
        assert_eq!(value(&flowed, &target), expected, "{source}");
        assert_eq!(problems(&flowed), [], "{source}");
        let blank = user(&[(&source, &["  "])]);
        assert_eq!(blank.attributes.get(&target), None, "{source}");
        assert!(managed(CloudClass::User).contains(&target));
    }
}

#[test]
fn what_is_too_long_is_left_out_and_said() {
    let limits = [
        ("l", "city", 128),
        ("company", "companyName", 64),
        ("co", "country", 128),
        ("department", "department", 64),
        ("employeeID", "employeeId", 16),
        ("givenName", "givenName", 64),
        ("title", "jobTitle", 128),
        ("mobile", "mobilePhone", 64),
        ("postalCode", "postalCode", 40),
        ("st", "state", 128),
        ("streetAddress", "streetAddress", 1024),
        ("sn", "surname", 64),
    ];
    for (source, target, limit) in limits {
        let fits = "ä".repeat(limit);
        assert_eq!(value(&user(&[(source, &[&fits])]), target), fits);
        let long = "x".repeat(limit + 1);
        let flowed = user(&[(source, &[&long])]);
        assert_eq!(flowed.attributes.get(target), None, "{source}");
        assert_eq!(problems(&flowed), [(source, ProblemKind::LeftOut)]);
        assert!(flowed.problems[0].message.contains(&limit.to_string()) && !flowed.problems[0].message.contains("xx"));
        assert_eq!(flowed.blocking(), None);
    }
    // an emoji counts two, as in the directory
    assert_eq!(problems(&user(&[("givenName", &[&"😀".repeat(33)])])), [("givenName", ProblemKind::LeftOut)]);
    assert_eq!(problems(&user(&[("givenName", &[&"😀".repeat(32)])])), []);
    let long = "x".repeat(257);
    let kept = user(&[("displayName", &[&long])]);
    assert_eq!((value(&kept, "displayName"), problems(&kept)), (long, vec![("displayName", ProblemKind::Kept)]));
}

#[test]
fn own_rules_of_users() {
    for (flags, enabled) in [("512", true), ("514", false), ("66048", true), ("66050", false), ("-2147483646", false)] {
        let flowed = user(&[("userAccountControl", &[flags])]);
        assert_eq!(flowed.attributes["accountEnabled"], CloudValue::Bool(enabled), "{flags}");
    }
    let flowed = user(&[
        ("displayName", &["Lee, Kim"]),
        ("telephoneNumber", &[" +41 44 ", "second"]),
        ("mail", &[" kim.lee@lab.example "]),
        ("userPrincipalName", &["Kim.O'Lee-1_#!^~@Lab.example"]),
    ]);
    assert_eq!(value(&flowed, "displayName"), "Lee, Kim");
    assert_eq!(flowed.attributes["businessPhones"], CloudValue::List(vec!["+41 44".into()]));
    assert_eq!(value(&flowed, "mail"), "kim.lee@lab.example");
    assert_eq!(value(&flowed, "userPrincipalName"), "Kim.O'Lee-1_#!^~@Lab.example");
    assert_eq!(problems(&flowed), []);
    assert_eq!(value(&user(&[("displayName", &["  "])]), "displayName"), "Kim Lee");
    for name in ["accountEnabled", "businessPhones", "displayName", "mail", "mailNickname", "userPrincipalName"] {
        assert!(managed(CloudClass::User).contains(&name.to_owned()), "{name}");
    }
}

#[test]
fn inet_org_persons_are_users() {
    let object = attributes(&[("sAMAccountName", &["kim"]), ("userAccountControl", &["512"]), ("l", &["Bern"])]);
    let (name, root) = (dn("CN=Kim,DC=lab"), dn("DC=lab"));
    assert_eq!(flow(InetOrgPerson, &name, &root, &object), flow(User, &name, &root, &object));
}

#[test]
fn sign_in_names_that_graph_refuses_block() {
    for name in ["müller@lab.example", "kim lee@lab.example", "kim@", "@lab.example", "kim", "a@b@c", "a&b@c", " kim@c"]
    {
        let flowed = user(&[("userPrincipalName", &[name])]);
        assert_eq!(problems(&flowed), [("userPrincipalName", ProblemKind::Blocking)], "{name}");
        assert!(flowed.blocking().is_some_and(|problem| !problem.message.contains(name)));
        assert!(!flowed.attributes.contains_key("userPrincipalName"));
    }
    let flowed = user(&[("sAMAccountName", &["kim lee"])]);
    assert_eq!(problems(&flowed), [("sAMAccountName", ProblemKind::Blocking)]);
    let long = format!("{}@{}", "a".repeat(64), "b".repeat(49));
    let flowed = user(&[("userPrincipalName", &[&long])]);
    assert_eq!(problems(&flowed), [("userPrincipalName", ProblemKind::Kept)]);
    assert_eq!(value(&flowed, "userPrincipalName"), long);
}

#[test]
fn what_cannot_be_read_blocks() {
    let name = dn("CN=Kim,DC=lab");
    let nothing = flow(User, &name, &dn("DC=lab"), &Attributes::new());
    assert_eq!(
        problems(&nothing),
        [("userAccountControl", ProblemKind::Blocking), ("userPrincipalName", ProblemKind::Blocking)]
    );
    let nothing = flow(Group, &name, &dn("DC=lab"), &Attributes::new());
    assert_eq!(problems(&nothing), [("groupType", ProblemKind::Blocking)]);
    let nameless = flow(Group, &dn(""), &dn("DC=lab"), &attributes(&[("groupType", &["-2147483646"])]));
    assert_eq!(problems(&nameless), [("displayName", ProblemKind::Blocking)]);
    assert!(flow(Other, &name, &dn("DC=lab"), &Attributes::new()).blocking().is_some());
    // no domain to make a sign-in name of
    let rootless =
        flow(User, &name, &dn(""), &attributes(&[("sAMAccountName", &["kim"]), ("userAccountControl", &["1"])]));
    assert_eq!(problems(&rootless), [("sAMAccountName", ProblemKind::Blocking)]);
}

#[test]
fn mail_that_is_none_is_left_out() {
    for mail in ["kim", "@x", "kim@", "a@b@c", "a b@c", "kim@läb.example"] {
        let flowed = user(&[("mail", &[mail])]);
        assert_eq!(problems(&flowed), [("mail", ProblemKind::LeftOut)], "{mail}");
        assert!(!flowed.attributes.contains_key("mail"));
    }
}

#[test]
fn bytes_where_text_should_be_are_said() {
    let mut object = attributes(&[("sAMAccountName", &["kim"]), ("userAccountControl", &["512"])]);
    object.insert("department".into(), vec![AttributeValue::Binary(vec![0xff])]);
    let flowed = flow(User, &dn("CN=Kim,DC=lab"), &dn("DC=lab"), &object);
    assert_eq!(problems(&flowed), [("department", ProblemKind::LeftOut)]);
}

#[test]
fn nicknames_of_users_in_the_order_of_azure_ad() {
    let all: [(&str, &[&str]); 4] = [
        ("mailNickname", &["nick"]),
        ("proxyAddresses", &["smtp:second@x", "SMTP:first@x"]),
        ("mail", &["mail@x"]),
        ("userPrincipalName", &["upn@x"]),
    ];
    let nickname = |from: usize| value(&user(&all[from..]), "mailNickname");
    assert_eq!([nickname(0), nickname(1), nickname(2), nickname(3)], ["nick", "first", "mail", "upn"]);
    // a blocked sign-in name leaves the other addresses
    let flowed = user(&[("proxyAddresses", &["smtp:second@x"]), ("userPrincipalName", &["ü@x"])]);
    assert_eq!(value(&flowed, "mailNickname"), "second");
    let flowed = user(&[("userPrincipalName", &["ü@x"])]);
    assert!(value(&flowed, "mailNickname").starts_with("object"));
}

#[test]
fn nicknames_are_what_graph_takes() {
    let flowed = user(&[("mailNickname", &[r#"a b@()\[]";:<>,ü!c"#])]);
    assert_eq!(value(&flowed, "mailNickname"), "ab!c");
    assert_eq!(problems(&flowed), [("mailNickname", ProblemKind::Adjusted)]);
    let flowed = user(&[("mailNickname", &["日本"]), ("mail", &["nihon@x"])]);
    assert_eq!(value(&flowed, "mailNickname"), "nihon");
    assert_eq!(problems(&flowed), [("mailNickname", ProblemKind::Adjusted)]);
    let flowed = user(&[("mailNickname", &[&"n".repeat(65)])]);
    assert_eq!(value(&flowed, "mailNickname"), "n".repeat(64));
}

#[test]
fn the_kind_of_group_follows_from_type_and_mail() {
    let cases: [(&str, Entries<'_>, CloudClass); 8] = [
        ("-2147483646", &[], CloudClass::Group),
        ("-2147483644", &[], CloudClass::Group),
        ("2147483650", &[], CloudClass::Group),
        ("-2147483640", &[("mail", &["a@x"])], CloudClass::MailEnabledGroup),
        ("-2147483640", &[("proxyAddresses", &["SMTP:a@x"])], CloudClass::MailEnabledGroup),
        ("-2147483640", &[("proxyAddresses", &["smtp:a@x", "SMTP:none"])], CloudClass::Group),
        ("8", &[("mail", &["a@x"])], CloudClass::DistributionList),
        ("8", &[], CloudClass::DistributionList),
    ];
    for (kind, entries, class) in cases {
        let mut entries = entries.to_vec();
        let kind = [kind];
        entries.push(("groupType", &kind));
        let flowed = group(&entries);
        assert_eq!(flowed.class, class, "{entries:?}");
        let is_security = matches!(class, CloudClass::Group | CloudClass::MailEnabledGroup);
        assert_eq!(flowed.attributes["securityEnabled"], CloudValue::Bool(is_security));
    }
}

#[test]
fn own_rules_of_groups() {
    let flowed = group(&[]);
    let expected = [
        ("displayName", text("All Staff")),
        ("mailEnabled", CloudValue::Bool(false)),
        ("mailNickname", text("staff")),
        ("securityEnabled", CloudValue::Bool(true)),
    ];
    assert_eq!(flowed.attributes, expected.map(|(n, v)| (n.to_owned(), v)).into());
    let long = format!(" {}😀tail", "d".repeat(447));
    let flowed = group(&[("description", &[&long, "second"]), ("displayName", &["Staff"])]);
    assert_eq!(value(&flowed, "description"), "d".repeat(447), "half an emoji is none");
    assert_eq!(problems(&flowed), []);
    let nickname = |entries: Entries<'_>| value(&group(entries), "mailNickname");
    assert_eq!(nickname(&[("mailNickname", &["nick"]), ("mail", &["m@x"])]), "nick");
    assert_eq!(nickname(&[("mail", &["m@x"])]), "m");
    assert_eq!(nickname(&[("sAMAccountName", &["日本"])]), "AllStaff");
    assert_eq!(managed(CloudClass::Group), ["description", "displayName", "mailNickname", "securityEnabled"]);
}

#[test]
fn contacts_are_for_the_report() {
    let object = attributes(&[("mail", &[" a@x "]), ("proxyAddresses", &["SMTP:a@x", "smtp:b@x"])]);
    let flowed = flow(Contact, &dn("CN=Ann,DC=lab"), &dn("DC=lab"), &object);
    assert_eq!(flowed.class, CloudClass::Contact);
    assert_eq!(flowed.attributes, [("displayName".into(), text("Ann")), ("mail".into(), text("a@x"))].into());
    assert_eq!(managed(CloudClass::Contact), ["displayName", "mail"]);
    assert!(flowed.not_writable.is_empty());
}

#[test]
fn what_graph_cannot_write_is_named() {
    let flowed = user(&[("targetAddress", &["SMTP:a@x"]), ("c", &["CH"]), ("description", &["x"]), ("info", &["x"])]);
    assert_eq!(flowed.not_writable, ["c", "description", "targetAddress"]);
    let mail: (&str, &[&str]) = ("mail", &["kim@x"]);
    for (addresses, expected) in [
        (&["SMTP:Kim@X"][..], &[][..]),
        (&["smtp:kim@x"], &[]),
        (&["SMTP:kim@x", "smtp:lee@x"], &["proxyAddresses"]),
        (&["SIP:kim@x"], &["proxyAddresses"]),
        (&["x500:/o=lab"], &["proxyAddresses"]),
    ] {
        assert_eq!(user(&[mail, ("proxyAddresses", addresses)]).not_writable, expected, "{addresses:?}");
    }
    assert_eq!(user(&[("proxyAddresses", &["SMTP:kim@x"])]).not_writable, ["proxyAddresses"]);
    let flowed = group(&[("extensionAttribute10", &["x"]), ("extensionAttribute2", &["x"]), ("mail", &["none"])]);
    assert_eq!(flowed.not_writable, ["extensionAttribute10", "extensionAttribute2", "mail"]);
    assert!(group(&[("mail", &["a@x"]), ("extensionAttribute2", &["x"])]).not_writable.is_empty());
}

#[test]
fn managed_names_are_sorted_and_the_digest_is_stable() {
    for class in CloudClass::ALL {
        assert!(managed(class).is_sorted_by(|a, b| a < b), "{class:?}");
    }
    assert_eq!(digest(), digest());
    assert!(digest().len() == 32 && digest().chars().all(|c| c.is_ascii_hexdigit()));
}
