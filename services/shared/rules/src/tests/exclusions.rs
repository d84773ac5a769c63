use super::{attributes, dn};
use crate::classify::DirectoryClass::{
    self, Computer, Contact, Container, ForeignSecurityPrincipal, Group, InetOrgPerson, Other, User,
};
use crate::exclusion::Exclusion::{
    self, CriticalSystemObject, CriticalityStated, ExchangeSystemObject, LinkedMailbox, NoAccountName, NotMailEnabled,
    ReplicationVictim, WrittenBack,
};
use crate::exclusion::exclusion;

/// The verdict on an object that no rule excludes, but for the entries, which replace what it has.
fn of(class: DirectoryClass, entries: &[(&str, &str)]) -> Option<Exclusion> {
    let mut object = attributes(match class {
        Group => &[("sAMAccountName", &["staff"]), ("groupType", &["-2147483646"])],
        Contact => &[("mail", &["kim@example.net"])],
        _ => &[("sAMAccountName", &["kim"])],
    });
    for (name, value) in entries {
        object.remove(*name);
        object.extend(attributes(&[(*name, &[*value])]));
    }
    exclusion(class, &dn("CN=Kim,DC=lab,DC=local"), &object)
}

fn is_system(found: Option<Exclusion>) -> bool {
    matches!(found, Some(Exclusion::SystemAccount(_)))
}

#[test]
fn ordinary_objects_stay() {
    for class in [User, InetOrgPerson, Group, Contact] {
        assert_eq!(of(class, &[]), None, "{class:?}");
    }
}

#[test]
fn critical_objects_go_in_both_meanings() {
    for class in [User, InetOrgPerson, Group, Contact] {
        assert_eq!(of(class, &[("isCriticalSystemObject", "TRUE")]), Some(CriticalSystemObject), "{class:?}");
        assert_eq!(of(class, &[("isCriticalSystemObject", "true")]), Some(CriticalSystemObject), "{class:?}");
        assert_eq!(of(class, &[("isCriticalSystemObject", "FALSE")]), Some(CriticalityStated), "{class:?}");
    }
}

#[test]
fn written_back_objects_go_by_the_prefix_of_their_class() {
    for class in [User, InetOrgPerson] {
        assert_eq!(of(class, &[("adminDescription", "User_4711")]), Some(WrittenBack));
        assert_eq!(of(class, &[("adminDescription", "Group_4711")]), None);
    }
    assert_eq!(of(Group, &[("adminDescription", "Group_4711")]), Some(WrittenBack));
    assert_eq!(of(Group, &[("adminDescription", "User_4711")]), None);
    assert_eq!(of(Group, &[("adminDescription", "the Group_ of")]), None);
}

#[test]
fn system_accounts_of_users() {
    for class in [User, InetOrgPerson] {
        assert_eq!(of(class, &[("sAMAccountName", " ")]), Some(NoAccountName));
        for (name, value) in [
            ("sAMAccountName", "SUPPORT_388945a0"),
            ("mailNickname", "SystemMailbox{1f05a927}"),
            ("sAMAccountName", "AAD_1234"),
            ("mailNickname", "CAS_{1234}"),
            ("sAMAccountName", "CAS_{1234}"),
            ("sAMAccountName", "MSOL_1234"),
        ] {
            assert!(is_system(of(class, &[(name, value)])), "{name} {value}");
        }
        for (name, value) in [
            ("sAMAccountName", "SUPPORT_388945a0x"),
            ("mailNickname", "SystemMailbox"),
            ("mailNickname", "aSystemMailbox{"),
            ("sAMAccountName", "aad_1234"),
            ("sAMAccountName", "CAS_smith"),
            ("mailNickname", "CAS_smith"),
            ("sAMAccountName", "xMSOL_1"),
        ] {
            assert_eq!(of(class, &[(name, value)]), None, "{name} {value}");
        }
    }
}

#[test]
fn exchange_objects_by_type_details() {
    let details = |class, bits: i64| of(class, &[("msExchRecipientTypeDetails", &bits.to_string())]);
    for bit in 0..33 {
        let expected = match bit {
            1 => Some(LinkedMailbox),
            12 | 13 | 14 | 22 | 23 | 24 | 29 => Some(ExchangeSystemObject),
            _ => None,
        };
        assert_eq!(details(User, 1 << bit), expected, "bit {bit} of a user");
        let expected = (bit == 30).then_some(ExchangeSystemObject);
        assert_eq!(details(Group, 1 << bit), expected, "bit {bit} of a group");
    }
    assert_eq!(details(User, 0x1001), Some(ExchangeSystemObject));
    assert_eq!(details(User, 3), None);
}

#[test]
fn system_objects_of_groups_and_contacts() {
    assert!(is_system(of(Group, &[("sAMAccountName", "MSOL_AD_Sync_RichCoexistence")])));
    assert_eq!(of(Group, &[("sAMAccountName", "MSOL_other")]), None);
    assert!(is_system(of(Contact, &[("mailNickname", "CAS_{1}")])));
    let hidden = [("displayName", "Kim (MSOL)"), ("msExchHideFromAddressLists", "TRUE")];
    assert!(is_system(of(Contact, &hidden)));
    assert_eq!(of(Contact, &[hidden[0]]), None);
    assert_eq!(of(Contact, &[hidden[1]]), None);
    assert_eq!(of(Contact, &[hidden[0], ("msExchHideFromAddressLists", "FALSE")]), None);
}

#[test]
fn recipients_need_mail_unless_they_are_security_groups() {
    assert_eq!(of(Group, &[("groupType", "2")]), Some(NotMailEnabled));
    assert_eq!(of(Group, &[("groupType", "2"), ("mail", "no address")]), Some(NotMailEnabled));
    assert_eq!(of(Group, &[("groupType", "2"), ("mail", "a@b")]), None);
    assert_eq!(of(Group, &[("groupType", "2"), ("proxyAddresses", "SMTP:a@b")]), None);
    assert_eq!(of(Group, &[("groupType", "2"), ("proxyAddresses", "smtp:a@b")]), Some(NotMailEnabled));
    assert_eq!(of(Group, &[("groupType", "?")]), None, "what cannot be read is not excluded but reported by the flow");
    assert_eq!(of(Contact, &[("mail", " ")]), Some(NotMailEnabled));
    assert_eq!(of(Contact, &[("mail", " "), ("proxyAddresses", "SMTP:a@b")]), None);
}

#[test]
fn replication_victims_go_by_a_line_feed_in_their_name() {
    let object = attributes(&[("sAMAccountName", &["kim"]), ("mail", &["a@b"])]);
    let guid = "01010101-0101-0101-0101-010101010101";
    for class in [User, InetOrgPerson, Group, Contact] {
        let victim = dn(&format!(r"CN=Kim\0ACNF:{guid},DC=lab,DC=local"));
        assert_eq!(exclusion(class, &victim, &object), Some(ReplicationVictim), "{class:?}");
        let child = dn(&format!(r"CN=Kim,OU=Staff\0ACNF:{guid},DC=lab,DC=local"));
        assert_eq!(exclusion(class, &child, &object), None, "{class:?} below a victim");
        assert_eq!(exclusion(class, &dn(&format!("CN=Kim CNF:{guid},DC=lab")), &object), None, "{class:?}");
    }
}

#[test]
fn other_classes_are_not_asked_about() {
    for class in [Container, ForeignSecurityPrincipal, Computer, Other] {
        assert_eq!(exclusion(class, &dn("CN=x,DC=lab"), &attributes(&[])), None);
    }
}

#[test]
fn every_reason_can_be_read() {
    let reasons = [
        CriticalSystemObject,
        CriticalityStated,
        WrittenBack,
        NoAccountName,
        Exclusion::SystemAccount("sAMAccountName starts with AAD_"),
        ExchangeSystemObject,
        LinkedMailbox,
        ReplicationVictim,
        NotMailEnabled,
    ];
    let texts: std::collections::BTreeSet<String> = reasons.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), reasons.len());
    assert!(texts.iter().all(|text| !text.ends_with('.')));
    assert!(texts.contains("it is a system account: sAMAccountName starts with AAD_"));
}
