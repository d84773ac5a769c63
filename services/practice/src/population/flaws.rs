//! Untidy objects: one for each rule by which Microsoft's tool IdFix, and forestsync after it, judge a directory.
//!
//! Every twentieth user, contact and group is one, by number alone. Each breaks one rule, whose name is the one that
//! forestsync reports; which objects break which rule is therefore known without asking forestsync.

use super::Attributes;

/// What a flaw is made of.
pub(super) struct Makings<'a> {
    /// The account's name, or one as good for an object without.
    pub(super) account: String,
    /// What follows the @ of addresses.
    pub(super) suffix: &'a str,
    /// The address of another object.
    pub(super) neighbour: String,
    /// The mailNickname of another object.
    pub(super) nickname: String,
    /// The targetAddress of another object.
    pub(super) target: String,
}

impl Makings<'_> {
    fn address(&self, local_end: &str) -> String {
        format!("{}{local_end}@{}", self.account, self.suffix)
    }

    /// An address of so many characters with its prefix.
    fn long_address(&self, prefix: &str, length: usize) -> String {
        let room = length.saturating_sub(prefix.len() + self.address("").len());
        format!("{prefix}{}", self.address(&"x".repeat(room)))
    }
}

/// The rule that is broken, the attribute, and how it is broken.
type Flaw = (&'static str, &'static str, How);

enum How {
    /// By this value.
    Value(fn(&Makings<'_>) -> String),
    /// By a value beside those that there are.
    Beside(fn(&Makings<'_>) -> String),
    /// By having none.
    Without,
}

use How::{Beside, Value, Without};

const DISPLAY: [Flaw; 2] = [
    // one more than the rule lets pass, and just what Azure AD takes
    ("displayname-length", "displayName", Value(|m| format!("{:x<256}", m.account))),
    ("displayname-blank", "displayName", Value(|_| " ".into())),
];
const PROXY: [Flaw; 8] = [
    ("proxyaddresses-character", "proxyAddresses", Beside(|m| format!("smtp:{}", m.address(" 2")))),
    ("proxyaddresses-colon", "proxyAddresses", Beside(|m| format!("smtp:smtp:{}", m.address("-2")))),
    ("proxyaddresses-format", "proxyAddresses", Beside(|m| format!("smtp:{}", m.account))),
    ("proxyaddresses-localpart", "proxyAddresses", Beside(|m| format!("smtp:{}", m.address("..2")))),
    ("proxyaddresses-domainpart", "proxyAddresses", Beside(|m| format!("smtp:{}@practice", m.account))),
    ("proxyaddresses-toplevel", "proxyAddresses", Beside(|m| format!("smtp:{}@practice.local", m.account))),
    ("proxyaddresses-length", "proxyAddresses", Beside(|m| m.long_address("smtp:", 257))),
    ("proxyaddresses-duplicate", "proxyAddresses", Beside(|m| format!("smtp:{}", m.neighbour))),
];
/// Of the Exchange schema.
const NICKNAME: [Flaw; 3] = [
    ("mailnickname-length", "mailNickname", Value(|m| format!("{}.{}", m.account, "x".repeat(64)))),
    ("mailnickname-leading-period", "mailNickname", Value(|m| format!(".{}", m.account))),
    ("mailnickname-duplicate", "mailNickname", Value(|m| m.nickname.clone())),
];
/// Of the Exchange schema.
const TARGET: [Flaw; 8] = [
    ("targetaddress-character", "targetAddress", Value(|m| format!("SMTP:{}", m.address(" 3")))),
    ("targetaddress-colon", "targetAddress", Value(|m| format!("SMTP:smtp:{}", m.address("-3")))),
    ("targetaddress-format", "targetAddress", Value(|m| format!("SMTP:{}", m.account))),
    ("targetaddress-localpart", "targetAddress", Value(|m| format!("SMTP:{}", m.address("..3")))),
    ("targetaddress-domainpart", "targetAddress", Value(|m| format!("SMTP:{}@practice", m.account))),
    ("targetaddress-toplevel", "targetAddress", Value(|m| format!("SMTP:{}@practice.local", m.account))),
    ("targetaddress-length", "targetAddress", Value(|m| m.long_address("SMTP:", 256))),
    ("targetaddress-duplicate", "targetAddress", Value(|m| m.target.clone())),
];
/// Of users only. A domain controller of Microsoft's refuses the first two; practice forests, and those that were filled
/// by other means, have them.
const USER: [Flaw; 15] = [
    ("samaccountname-length", "sAMAccountName", Value(|m| format!("{}-{}", m.account, "x".repeat(20)))),
    ("samaccountname-character", "sAMAccountName", Value(|m| format!("{}+", m.account))),
    // the account name that a population of the same prefix has in another forest
    ("samaccountname-duplicate", "userPrincipalName", Without),
    ("givenname-length", "givenName", Value(|_| "Long".repeat(16))),
    ("mail-length", "mail", Value(|m| m.long_address("", 257))),
    ("mail-duplicate", "mail", Value(|m| m.neighbour.clone())),
    ("userprincipalname-length", "userPrincipalName", Value(|m| m.long_address("", 114))),
    ("userprincipalname-character", "userPrincipalName", Value(|m| m.address("*"))),
    ("userprincipalname-apostrophe", "userPrincipalName", Value(|m| m.address("'s"))),
    ("userprincipalname-format", "userPrincipalName", Value(|m| m.account.clone())),
    ("userprincipalname-localpart", "userPrincipalName", Value(|m| m.address("..4"))),
    ("userprincipalname-domainpart", "userPrincipalName", Value(|m| format!("{}@practice", m.account))),
    ("userprincipalname-toplevel", "userPrincipalName", Value(|m| format!("{}@practice.local", m.account))),
    ("userprincipalname-duplicate", "userPrincipalName", Value(|m| m.neighbour.clone())),
    ("upn-suffix-unverified", "userPrincipalName", Value(|m| format!("{}@unverified.example", m.account))),
];

/// What kind of object it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Contact,
    Group,
}

/// The number of a flawed object among those of its kind that are flawed, if it is one. Groups are flawed where they have
/// mail.
pub(super) fn turn(kind: Kind, i: usize) -> Option<usize> {
    (i % 20 == if kind == Kind::Group { 15 } else { 14 }).then_some(i / 20)
}

/// The flaw of a kind of objects whose turn it is: each comes once before the first comes again.
fn flaw(kind: Kind, exchange_schema: bool, turn: usize) -> Option<&'static Flaw> {
    let mut lists: Vec<&'static [Flaw]> = vec![&DISPLAY];
    match kind {
        Kind::User => lists.extend([&PROXY[..], &USER]),
        Kind::Group => lists.push(&PROXY),
        Kind::Contact => {}
    }
    if exchange_schema {
        lists.push(&NICKNAME);
        if kind != Kind::Group {
            lists.push(&TARGET);
        }
    }
    let count: usize = lists.iter().map(|list| list.len()).sum();
    lists.into_iter().flatten().nth(turn.checked_rem(count)?)
}

/// The rule that the object breaks whose turn it is.
pub(super) fn rule(kind: Kind, exchange_schema: bool, turn: usize) -> Option<&'static str> {
    flaw(kind, exchange_schema, turn).map(|(rule, ..)| *rule)
}

/// Breaks it.
pub(super) fn apply(a: &mut Attributes, kind: Kind, exchange_schema: bool, turn: usize, makings: &Makings<'_>) {
    let Some((_, attribute, how)) = flaw(kind, exchange_schema, turn) else { return };
    if let Beside(value) = how {
        let value = value(makings).into_bytes();
        match a.0.iter_mut().find(|(name, _)| name == attribute) {
            Some((_, values)) => values.push(value),
            None => a.one(attribute, value),
        }
        return;
    }
    a.0.retain(|(name, _)| name != attribute);
    if let Value(value) = how {
        a.one(attribute, value(makings));
    }
}
