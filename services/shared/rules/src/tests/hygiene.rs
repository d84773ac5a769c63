use std::collections::BTreeSet;

use forestsync_domain::{AttributeValue, Attributes};

use super::{attributes, dn};
use crate::classify::DirectoryClass::{self, Computer, Contact, Group, InetOrgPerson, Other, User};
use crate::hygiene::Mode::{Dedicated, MultiTenant};
use crate::hygiene::{
    Mode, Options, RULES, RuleId as R, Skipped, UniqueKind as U, check, duplicate, is_suffix_verified, proposals,
    skipped, unique_values, unverified_suffix,
};

const NAME: &str = "CN=Kim Lee,OU=Staff,DC=lab,DC=local";

fn options(mode: Mode) -> Options {
    Options { mode, ..Options::default() }
}

fn broken(class: DirectoryClass, mode: Mode, object: &Attributes) -> Vec<R> {
    check(class, &dn(NAME), object, &options(mode)).into_iter().map(|finding| finding.rule).collect()
}

/// A value, the rules it breaks, and what is proposed for the first of them.
type Case<'a> = (&'a str, &'a [R], Option<&'a str>);

fn table(class: DirectoryClass, mode: Mode, attribute: &str, cases: &[Case<'_>]) {
    for (value, rules, proposed) in cases {
        let object = attributes(&[(attribute, &[value])]);
        let mut found = broken(class, mode, &object);
        found.retain(|rule| rule.rule().attribute == attribute);
        assert_eq!(found, *rules, "{attribute} {value:?} in {mode:?}");
        let Some(rule) = rules.first() else { continue };
        let found = proposals(*rule, class, &dn(NAME), &object, &options(mode));
        let new = found.first().map(|proposal| proposal.new.as_str());
        assert_eq!(new, *proposed, "{attribute} {value:?} in {mode:?}");
        assert!(
            found.iter().all(|proposal| proposal.old.as_deref() == Some(*value) && proposal.attribute == attribute)
        );
    }
}

fn long(length: usize) -> String {
    "x".repeat(length)
}

/// An address of so many characters, with what stands before it counted.
fn address(prefix: &str, length: usize) -> String {
    format!("{prefix}{}@lab.example", long(length - prefix.len() - "@lab.example".len()))
}

#[test]
fn display_name() {
    let (fits, over) = (long(255), long(256));
    let cases: [Case<'_>; 5] = [
        (&fits, &[], None),
        (&over, &[R::DisplayNameLength], Some(&fits)),
        ("  ", &[R::DisplayNameBlank], Some("Kim Lee")),
        ("", &[], None),
        (" x ", &[], None),
    ];
    for class in [User, InetOrgPerson, Group, Contact] {
        table(class, MultiTenant, "displayName", &cases);
        assert_eq!(broken(class, MultiTenant, &Attributes::new()), []);
    }
    let (fits, over) = (long(256), long(257));
    let cases: [Case<'_>; 4] = [
        (&fits, &[], None),
        (&over, &[R::DisplayNameLength], Some(&fits)),
        (" x", &[R::DisplayNameWhitespace], Some("x")),
        ("x\t", &[R::DisplayNameWhitespace], Some("x")),
    ];
    for class in [User, InetOrgPerson, Group, Contact] {
        table(class, Dedicated, "displayName", &cases);
    }
    table(User, Dedicated, "displayName", &[(" ", &[R::DisplayNameWhitespace], Some("")), ("", &[], None)]);
    let cases: [Case<'_>; 1] = [(" ", &[R::DisplayNameWhitespace, R::DisplayNameBlank], Some("Kim Lee"))];
    table(Group, Dedicated, "displayName", &cases);
    assert_eq!(broken(Group, Dedicated, &Attributes::new()), [R::DisplayNameBlank]);
    assert_eq!(broken(User, Dedicated, &Attributes::new()), []);
    // an emoji counts two, as in the directory
    assert_eq!(
        broken(User, MultiTenant, &attributes(&[("displayName", &[&"😀".repeat(128)])])),
        [R::DisplayNameLength]
    );
}

#[test]
fn given_name() {
    let (fits, over) = (long(63), long(64));
    table(User, MultiTenant, "givenName", &[(&fits, &[], None), (&over, &[R::GivenNameLength], Some(&fits))]);
    table(User, Dedicated, "givenName", &[(&over, &[], None)]);
}

#[test]
fn mail() {
    let (fits, over) = (address("", 256), address("", 257));
    table(
        User,
        MultiTenant,
        "mail",
        &[(&fits, &[], None), (&over, &[R::MailLength], Some(&fits)), ("no address", &[], None)],
    );
    let top = format!("a@b.{}", long(17));
    let too_long = format!("a@b.{}", long(18));
    let cases: [Case<'_>; 22] = [
        (&fits, &[], None),
        (&over, &[R::MailLength], Some(&fits)),
        ("a b@lab.example", &[R::MailWhitespace], Some("ab@lab.example")),
        ("ab", &[R::MailFormat], None),
        ("a@b@lab.example", &[R::MailFormat], None),
        ("a.b@lab.example", &[], None),
        ("!#$%&'*+/=?^_`{|}~-@lab.example", &[], None),
        ("a..b@lab.example", &[R::MailLocalPart], Some("a.b@lab.example")),
        (".a@lab.example", &[R::MailLocalPart], Some("a@lab.example")),
        ("müller,a@lab.example", &[R::MailLocalPart], Some("mullera@lab.example")),
        ("@lab.example", &[R::MailLocalPart], None),
        ("(@lab.example", &[R::MailLocalPart], None),
        ("a@lab", &[R::MailDomainPart], None),
        ("a@lab.e", &[R::MailDomainPart], None),
        ("a@lab.ex", &[], None),
        ("a@lab.e1", &[R::MailDomainPart], None),
        ("a@-lab.example", &[R::MailDomainPart], Some("a@lab.example")),
        ("a@la-b.example", &[], None),
        ("a@la_b..example", &[R::MailDomainPart], Some("a@lab.example")),
        (&top, &[], None),
        (&too_long, &[R::MailDomainPart], None),
        ("a@lab.Local", &[R::MailTopLevel], None),
    ];
    table(User, Dedicated, "mail", &cases);
}

#[test]
fn mail_nickname() {
    let (fits, over) = (long(64), long(65));
    let cases: [Case<'_>; 5] = [
        (&fits, &[], None),
        (&over, &[R::NicknameLength], Some(&fits)),
        (".kim", &[R::NicknameLeadingPeriod], Some("kim")),
        ("k.im.", &[], None),
        ("k (im)", &[], None),
    ];
    table(User, MultiTenant, "mailNickname", &cases);
    let cases: [Case<'_>; 6] = [
        (&fits, &[], None),
        (&over, &[R::NicknameLength], Some(&fits)),
        ("k (im)", &[R::NicknameCharacter], Some("kim")),
        ("k.im-_1", &[], None),
        (".kim", &[R::NicknameLeadingPeriod], Some("kim")),
        ("kim.", &[R::NicknameTrailingPeriod], Some("kim")),
    ];
    table(User, Dedicated, "mailNickname", &cases);
    for c in "\\!#$%&*+/=?^`{}|~<>()';:,[]\"@ \t".chars() {
        let object = attributes(&[("mailNickname", &[&format!("a{c}b")])]);
        assert_eq!(broken(Contact, Dedicated, &object), [R::NicknameCharacter], "{c:?}");
    }
    let proposed = |object: &Attributes| proposals(R::NicknameBlank, Contact, &dn(NAME), object, &options(Dedicated));
    assert_eq!(broken(Contact, Dedicated, &Attributes::new()), [R::NicknameBlank]);
    assert_eq!(broken(Contact, MultiTenant, &Attributes::new()), []);
    assert_eq!(broken(User, Dedicated, &Attributes::new()), []);
    let none = proposed(&Attributes::new());
    assert_eq!((none[0].old.as_deref(), none[0].new.as_str()), (None, "KimLee"));
    assert_eq!(proposed(&attributes(&[("mail", &["k.lee@x.example"])]))[0].new, "k.lee");
}

#[test]
fn proxy_addresses() {
    let (fits, over) = (address("SMTP:", 256), address("SMTP:", 257));
    let (x_fits, x_over) = (format!("x500:{}", long(251)), format!("x500:{}", long(252)));
    let cases: [Case<'_>; 22] = [
        (&fits, &[], None),
        (&over, &[R::ProxyLength], Some(&fits)),
        (&x_fits, &[], None),
        (&x_over, &[R::ProxyLength], Some(&x_fits)),
        ("smtp:a b@lab.example", &[R::ProxyCharacter], Some("smtp:ab@lab.example")),
        ("smtp:<a@lab.example>", &[R::ProxyCharacter], Some("smtp:a@lab.example")),
        ("SMTP:a'b@lab.example", &[], None),
        ("SMTP:SMTP:a@lab.example", &[R::ProxyColon], Some("SMTP:a@lab.example")),
        ("SMTP:a:b@lab.example", &[R::ProxyColon], Some("SMTP:ab@lab.example")),
        ("smtp:kim", &[R::ProxyFormat], None),
        ("smtp:a b", &[R::ProxyCharacter, R::ProxyFormat], Some("smtp:ab")),
        ("smtp:a..b@lab.example", &[R::ProxyLocalPart], Some("smtp:a.b@lab.example")),
        ("smtp:a@lab", &[R::ProxyDomainPart], None),
        ("smtp:a@lab.local", &[R::ProxyTopLevel], None),
        ("smtp:a@lab.example", &[], None),
        ("X500:/o=Lab (x)/cn=a b;,<>", &[], None),
        ("X500:/o=Lab [x]\n", &[R::ProxyCharacter], Some("X500:/o=Lab x")),
        ("x400:c=de:x", &[R::ProxyColon], Some("x400:c=dex")),
        ("SIP:kim;@lab.local", &[], None),
        ("SIP:kim lee@lab", &[R::ProxyCharacter], Some("SIP:kimlee@lab")),
        ("SIP:sip:kim", &[R::ProxyColon], Some("SIP:kim")),
        ("smtp: ", &[R::ProxyCharacter, R::ProxyFormat], None),
    ];
    table(User, MultiTenant, "proxyAddresses", &cases);
    for c in "<>();,[]\" \t".chars() {
        let object = attributes(&[("proxyAddresses", &[&format!("smtp:a{c}b@lab.example")])]);
        assert_eq!(broken(Group, MultiTenant, &object), [R::ProxyCharacter], "{c:?}");
    }
    for c in "\u{c}\n\r\t\u{b}[]\"'".chars() {
        let object = attributes(&[("proxyAddresses", &[&format!("x400:a{c}b")])]);
        assert_eq!(broken(Group, MultiTenant, &object), [R::ProxyCharacter], "{c:?}");
    }
    let cases: [Case<'_>; 8] = [
        (&fits, &[], None),
        (&over, &[R::ProxyLength], Some(&fits)),
        ("SMTP:smtp:a@lab.example", &[R::ProxyColon], Some("SMTP:a@lab.example")),
        ("smtp:a b@lab.example", &[R::ProxyLocalPart], Some("smtp:ab@lab.example")),
        ("smtp:a@lab", &[R::ProxyDomainPart], None),
        ("smtp:a@lab.lan", &[R::ProxyTopLevel], None),
        ("smtp:a", &[R::ProxyFormat], None),
        ("X500:[x]", &[], None),
    ];
    table(User, Dedicated, "proxyAddresses", &cases);
}

#[test]
fn each_proxy_address_has_its_place() {
    let mut object = attributes(&[("proxyAddresses", &["SMTP:a@lab.example", "smtp:b", "smtp:c d@lab.example"])]);
    object.get_mut("proxyAddresses").unwrap().insert(0, AttributeValue::Binary(vec![0xff]));
    let found = check(User, &dn(NAME), &object, &options(MultiTenant));
    let places: Vec<_> = found.iter().map(|finding| (finding.index, finding.rule)).collect();
    assert_eq!(places, [(2, R::ProxyFormat), (3, R::ProxyCharacter)]);
    let proposed = proposals(R::ProxyCharacter, User, &dn(NAME), &object, &options(MultiTenant));
    assert_eq!((proposed.len(), proposed[0].index, proposed[0].new.as_str()), (1, 3, "smtp:cd@lab.example"));
}

#[test]
fn account_name() {
    let (fits, over) = (long(20), long(21));
    for class in [User, InetOrgPerson] {
        let cases: [Case<'_>; 2] = [(&fits, &[], None), (&over, &[R::AccountLength], Some(&fits))];
        table(class, MultiTenant, "sAMAccountName", &cases);
    }
    let (fits, over) = (long(256), long(257));
    let cases: [Case<'_>; 3] = [(&fits, &[], None), (&over, &[R::AccountLength], Some(&fits)), ("a b", &[], None)];
    table(Group, MultiTenant, "sAMAccountName", &cases);
    for c in "\\\"|,/[]:<>+=;?*".chars() {
        let cases: [Case<'_>; 1] = [(&format!("a{c}b"), &[R::AccountCharacter], Some("ab"))];
        table(User, MultiTenant, "sAMAccountName", &cases);
        assert_eq!(broken(User, Dedicated, &attributes(&[("sAMAccountName", &[&format!("a{c}b")])])), []);
    }
}

#[test]
fn target_address() {
    let (fits, over) = (address("SMTP:", 255), address("SMTP:", 256));
    let cases: [Case<'_>; 12] = [
        (&fits, &[], None),
        (&over, &[R::TargetLength], Some(&fits)),
        ("SMTP:a\\b@lab.example", &[R::TargetCharacter], Some("SMTP:ab@lab.example")),
        ("SMTP:a'b@lab.example", &[], None),
        ("SMTP:smtp:a@lab.example", &[R::TargetColon], Some("SMTP:a@lab.example")),
        ("SMTP:a", &[R::TargetFormat], None),
        ("SMTP:a..b@lab.example", &[R::TargetLocalPart], Some("SMTP:a.b@lab.example")),
        ("SMTP:a@lab", &[R::TargetDomainPart], None),
        ("SMTP:a@lab.local", &[R::TargetTopLevel], None),
        ("X400:a;b", &[R::TargetCharacter], Some("X400:ab")),
        ("X400:a b[", &[], None),
        ("X400:a:b", &[R::TargetColon], Some("X400:ab")),
    ];
    table(Contact, MultiTenant, "targetAddress", &cases);
    let (fits, over) = (address("SMTP:", 256), address("SMTP:", 257));
    let cases: [Case<'_>; 4] = [
        (&fits, &[], None),
        (&over, &[R::TargetLength], Some(&fits)),
        (" ", &[R::TargetBlank], None),
        ("SMTP:a", &[], None),
    ];
    table(Contact, Dedicated, "targetAddress", &cases);
    let object = attributes(&[("targetAddress", &[" "]), ("mail", &["a@lab.example"])]);
    let found = proposals(R::TargetBlank, Contact, &dn(NAME), &object, &options(Dedicated));
    assert_eq!(found[0].new, "SMTP:a@lab.example");
}

#[test]
fn principal_name() {
    let (fits, over) = (address("", 113), address("", 114));
    let cases: [Case<'_>; 12] = [
        (&fits, &[], None),
        (&over, &[R::PrincipalLength], Some(&fits)),
        ("kim lee@lab.example", &[R::PrincipalCharacter], Some("kimlee@lab.example")),
        ("müller@lab.example", &[R::PrincipalCharacter], Some("muller@lab.example")),
        ("ÄËÏÖÜŸ@lab.example", &[R::PrincipalCharacter], Some("AEIOUY@lab.example")),
        ("o'brien@lab.example", &[R::PrincipalApostrophe], Some("obrien@lab.example")),
        ("Kim.Lee-1_#!^~$`@lab.example", &[], None),
        ("kim", &[R::PrincipalFormat], None),
        ("josé@lab.example", &[R::PrincipalLocalPart], Some("jose@lab.example")),
        ("kim@lab", &[R::PrincipalDomainPart], None),
        ("kim@lab.local", &[R::PrincipalTopLevel], None),
        ("kim lee", &[R::PrincipalCharacter, R::PrincipalFormat], Some("kimlee")),
    ];
    table(User, MultiTenant, "userPrincipalName", &cases);
    for c in "\\%&*+/=?{}|<>();:,[]\" \u{a0}ïÿ".chars() {
        let object = attributes(&[("userPrincipalName", &[&format!("a{c}b@lab.example")])]);
        assert_eq!(broken(User, MultiTenant, &object), [R::PrincipalCharacter], "{c:?}");
        assert_eq!(broken(User, Dedicated, &object), []);
        let alternate = Options { alternate_id: true, ..Options::default() };
        assert_eq!(check(User, &dn(NAME), &object, &alternate), []);
    }
    let short = Options { principal_limit: 20, ..Options::default() };
    let object = |length| attributes(&[("userPrincipalName", &[&address("", length)])]);
    assert_eq!(check(User, &dn(NAME), &object(20), &short), []);
    assert_eq!(check(User, &dn(NAME), &object(21), &short)[0].message, "it has 21 characters and may have 20");
}

#[test]
fn suffixes_are_verified_one_by_one() {
    let verified = BTreeSet::from(["lab.example".to_owned()]);
    assert!(is_suffix_verified("kim@Lab.Example", &verified));
    assert_eq!(unverified_suffix("kim@LAB.example", &verified), None);
    for principal in ["kim@sub.lab.example", "kim@example", "kim@", "kim@lab.example@x"] {
        let finding = unverified_suffix(principal, &verified).unwrap();
        assert_eq!((finding.rule, finding.attribute.as_str()), (R::SuffixUnverified, "userPrincipalName"));
    }
    assert_eq!(unverified_suffix("kim", &verified), None);
    assert!(!is_suffix_verified("kim", &verified));
}

#[test]
fn what_must_be_unique() {
    let object = attributes(&[
        ("userPrincipalName", &["Kim@Lab.example"]),
        ("sAMAccountName", &["kim"]),
        ("mail", &[" KIM@lab.example "]),
        ("proxyAddresses", &["SMTP:kim@lab.example", "smtp:Second@lab.example", "X500:/o=Lab", "smtp:", "X500:/O=lab"]),
        ("mailNickname", &["Kim"]),
        ("targetAddress", &["SMTP:Kim@elsewhere.example"]),
    ]);
    let expected = [
        (U::PrincipalName, "kim@lab.example"),
        (U::Mail, "kim@lab.example"),
        (U::ProxyAddress, "second@lab.example"),
        (U::ProxyAddress, "x500:/o=lab"),
        (U::Nickname, "kim"),
        (U::TargetAddress, "kim@elsewhere.example"),
    ];
    for class in [User, InetOrgPerson, Group, Contact] {
        let found = unique_values(class, &object);
        assert_eq!(found.iter().map(|(kind, value)| (*kind, value.as_str())).collect::<Vec<_>>(), expected);
    }
    let account = attributes(&[("sAMAccountName", &["KIM"])]);
    assert_eq!(unique_values(User, &account), [(U::AccountName, "kim".to_owned())]);
    assert_eq!(unique_values(Group, &account), []);
    assert_eq!(unique_values(Computer, &object), []);
    // addresses clash whichever attribute they are in, and not with sign-in names
    assert_eq!(U::Mail.space(), U::ProxyAddress.space());
    assert_ne!(U::Mail.space(), U::PrincipalName.space());
    for (kind, rule) in [
        (U::PrincipalName, R::PrincipalDuplicate),
        (U::Mail, R::MailDuplicate),
        (U::ProxyAddress, R::ProxyDuplicate),
        (U::Nickname, R::NicknameDuplicate),
        (U::TargetAddress, R::TargetDuplicate),
        (U::AccountName, R::AccountDuplicate),
    ] {
        assert_eq!((duplicate(kind, 0), duplicate(kind, 1)), (None, None));
        let finding = duplicate(kind, 3).unwrap();
        assert_eq!((finding.rule, finding.severity), (rule, rule.rule().severity));
        assert!(finding.message.starts_with("2 other objects have"));
    }
}

#[test]
fn the_table_is_complete_and_stable() {
    for (place, rule) in RULES.iter().enumerate() {
        assert_eq!((rule.id as usize, rule.id.rule().name), (place, rule.name));
        assert_eq!(rule.name.parse(), Ok(rule.id));
        assert!(rule.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", rule.name);
        assert!(!rule.description.ends_with('.') && !rule.fix.ends_with('.'), "{}", rule.name);
        let json = serde_json::to_string(&rule.id).unwrap();
        assert_eq!(
            (json.as_str(), serde_json::from_str(&json).ok()),
            (format!("\"{}\"", rule.name).as_str(), Some(rule.id))
        );
    }
    assert_eq!(RULES.iter().map(|rule| rule.name).collect::<BTreeSet<_>>().len(), RULES.len());
    assert!("displayname".parse::<R>().is_err());
}

#[test]
fn objects_that_are_nobodys_are_skipped() {
    let ordinary = attributes(&[("mail", &["a@lab.example"]), ("proxyAddresses", &["SMTP:a@lab.example"])]);
    let by_name = |class, name: &str| skipped(class, &dn("DC=lab").child("CN", name), &ordinary);
    for name in [
        "Administrator",
        "CAS_{1}",
        "DiscoverySearchMailbox x",
        "FederatedEmail.1",
        "guest",
        "HTTPConnector1",
        "krbtgt_1",
        "IUSR_web",
        "IWAM_web",
        "MSOL_1",
        "SUPPORT_1",
        "SystemMailbox{1}",
        "WWIOadmini",
        "HealthMailbox1",
        "Exchange Online-ApplicationAccount",
        "HOST$",
    ] {
        for class in [User, InetOrgPerson, Group, Contact] {
            assert_eq!(by_name(class, name), Some(Skipped::SystemObject), "{name}");
        }
    }
    for name in ["Kim", "Adm", "CAS_1", "My Guest", "a$b", "Ünï"] {
        assert_eq!(by_name(User, name), None, "{name}");
    }
    assert_eq!(by_name(User, "Kim\nCNF:00112233"), Some(Skipped::ConflictObject));
    assert_eq!(by_name(Other, "Kim"), Some(Skipped::OtherClass));
    let with = |class, entries: &[(&str, &str)]| {
        let entries: Vec<(&str, Vec<&str>)> = entries.iter().map(|(name, value)| (*name, vec![*value])).collect();
        let entries: Vec<(&str, &[&str])> = entries.iter().map(|(name, values)| (*name, values.as_slice())).collect();
        skipped(class, &dn(NAME), &attributes(&entries))
    };
    assert_eq!(with(User, &[("isCriticalSystemObject", "TRUE")]), Some(Skipped::CriticalSystemObject));
    assert_eq!(with(User, &[("isCriticalSystemObject", "FALSE")]), None);
    for (name, value) in [
        ("sAMAccountName", "CAS_x"),
        ("sAMAccountName", "support_x"),
        ("sAMAccountName", "MSOL_x"),
        ("mailNickname", "CAS_x"),
        ("mailNickname", "SystemMailboxX"),
    ] {
        assert_eq!(with(User, &[(name, value)]), Some(Skipped::SystemObject), "{name} {value}");
        assert_eq!(with(Contact, &[(name, value)]), None, "{name} {value}");
    }
    let hidden = [("displayName", "MSOL x"), ("msExchHideFromAddressLists", "TRUE")];
    assert_eq!(with(User, &hidden), Some(Skipped::SystemObject));
    assert_eq!(with(User, &hidden[..1]), None);
    for details in ["4096", "8192", "16384", "4194304", "8388608", "16777216", "536870912"] {
        assert_eq!(with(User, &[("msExchRecipientTypeDetails", details)]), Some(Skipped::SystemObject), "{details}");
    }
    for details in ["1", "2", "4097", "2147483648", "0"] {
        assert_eq!(with(User, &[("msExchRecipientTypeDetails", details)]), None, "{details}");
    }
    let (security, distribution) = (("groupType", "-2147483646"), ("groupType", "2"));
    assert_eq!(with(Group, &[security]), Some(Skipped::GroupWithoutMail));
    assert_eq!(with(Group, &[security, ("mail", "a@b")]), None);
    assert_eq!(with(Group, &[distribution, ("mail", "a@b")]), Some(Skipped::GroupWithoutMail));
    assert_eq!(with(Group, &[distribution, ("proxyAddresses", "smtp:a@b")]), None);
}

#[test]
fn other_classes_and_bytes_are_not_examined() {
    let object = attributes(&[("mail", &[&long(300)])]);
    assert_eq!(check(Computer, &dn(NAME), &object, &options(MultiTenant)), []);
    assert_eq!(proposals(R::MailLength, Computer, &dn(NAME), &object, &options(MultiTenant)), []);
    let bytes = Attributes::from([("displayName".to_owned(), vec![AttributeValue::Binary(vec![0xff; 300])])]);
    assert_eq!(check(User, &dn(NAME), &bytes, &options(MultiTenant)), []);
}
