//! The table of rules.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Untidy, and without consequence in Azure AD.
    Info,
    /// Azure AD leaves the value out, changes it, or is likely to.
    Warning,
    /// Azure AD refuses the object, or cannot hold it beside another one.
    Error,
}

/// A rule. Its name is stable: configurations and reports refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[expect(missing_docs, reason = "each is described in RULES")]
pub enum RuleId {
    DisplayNameLength,
    DisplayNameBlank,
    DisplayNameWhitespace,
    GivenNameLength,
    MailLength,
    MailWhitespace,
    MailFormat,
    MailLocalPart,
    MailDomainPart,
    MailTopLevel,
    MailDuplicate,
    NicknameLength,
    NicknameCharacter,
    NicknameLeadingPeriod,
    NicknameTrailingPeriod,
    NicknameBlank,
    NicknameDuplicate,
    ProxyCharacter,
    ProxyColon,
    ProxyFormat,
    ProxyLocalPart,
    ProxyDomainPart,
    ProxyTopLevel,
    ProxyLength,
    ProxyDuplicate,
    AccountLength,
    AccountCharacter,
    AccountDuplicate,
    TargetCharacter,
    TargetColon,
    TargetFormat,
    TargetLocalPart,
    TargetDomainPart,
    TargetTopLevel,
    TargetLength,
    TargetBlank,
    TargetDuplicate,
    PrincipalLength,
    PrincipalCharacter,
    PrincipalApostrophe,
    PrincipalFormat,
    PrincipalLocalPart,
    PrincipalDomainPart,
    PrincipalTopLevel,
    PrincipalDuplicate,
    SuffixUnverified,
}

/// What there is to say of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The rule.
    pub id: RuleId,
    /// Its name, in lower case with hyphens.
    pub name: &'static str,
    /// How bad it is to break it.
    pub severity: Severity,
    /// The directory attribute that it is about.
    pub attribute: &'static str,
    /// What is wrong with a value that breaks it.
    pub description: &'static str,
    /// What to do.
    pub fix: &'static str,
}

const fn rule(
    id: RuleId,
    name: &'static str,
    severity: Severity,
    attribute: &'static str,
    description: &'static str,
    fix: &'static str,
) -> Rule {
    Rule { id, name, severity, attribute, description, fix }
}

const DISPLAY: &str = "displayName";
const MAIL: &str = "mail";
const NICKNAME: &str = "mailNickname";
const PROXY: &str = "proxyAddresses";
const ACCOUNT: &str = "sAMAccountName";
const TARGET: &str = "targetAddress";
const PRINCIPAL: &str = "userPrincipalName";

const TOO_LONG: &str = "it is longer than Azure AD takes";
const SHORTEN: &str = "shorten it";
const CHARACTERS: &str = "it has characters that Azure AD does not take in this attribute";
const REMOVE: &str = "remove them";
const WHITESPACE: &str = "it has white space";
const REMOVE_WHITESPACE: &str = "remove the white space";
const NO_ADDRESS: &str = "it is not of the form name@domain with exactly one @";
const WRITE_ADDRESS: &str = "write a complete mail address";
const LOCAL: &str =
    "the part before the @ is not letters, digits and ! # $ % & ' * + / = ? ^ _ ` { | } ~ - with single dots between";
const MEND_LOCAL: &str = "correct the part before the @";
const DOMAIN: &str = "the part after the @ is no domain name that ends in 2 to 17 letters";
const MEND_DOMAIN: &str = "correct the part after the @";
const TOP: &str = "the domain ends in a name that the internet does not have, such as .local";
const MEND_TOP: &str = "use a domain that is registered";
const COLON: &str = "it has a colon after the one that ends its prefix";
const REMOVE_COLON: &str = "remove the colon, or the second prefix";
const DUPLICATE: &str = "another object has the same value";
const CHANGE_ONE: &str = "change it on all objects but one";
const BLANK: &str = "it is blank";

/// Every rule, in the order of the attributes' names.
pub static RULES: [Rule; 46] = {
    use RuleId as R;
    use Severity::{Error, Info, Warning};
    [
        rule(R::DisplayNameLength, "displayname-length", Error, DISPLAY, TOO_LONG, SHORTEN),
        rule(
            R::DisplayNameBlank,
            "displayname-blank",
            Warning,
            DISPLAY,
            BLANK,
            "write a name; the object's own name serves",
        ),
        rule(
            R::DisplayNameWhitespace,
            "displayname-whitespace",
            Info,
            DISPLAY,
            "it has white space at an end",
            REMOVE_WHITESPACE,
        ),
        rule(R::GivenNameLength, "givenname-length", Warning, "givenName", TOO_LONG, SHORTEN),
        rule(R::MailLength, "mail-length", Warning, MAIL, TOO_LONG, SHORTEN),
        rule(R::MailWhitespace, "mail-whitespace", Warning, MAIL, WHITESPACE, REMOVE_WHITESPACE),
        rule(R::MailFormat, "mail-format", Warning, MAIL, NO_ADDRESS, WRITE_ADDRESS),
        rule(R::MailLocalPart, "mail-localpart", Warning, MAIL, LOCAL, MEND_LOCAL),
        rule(R::MailDomainPart, "mail-domainpart", Warning, MAIL, DOMAIN, MEND_DOMAIN),
        rule(R::MailTopLevel, "mail-toplevel", Warning, MAIL, TOP, MEND_TOP),
        rule(R::MailDuplicate, "mail-duplicate", Error, MAIL, DUPLICATE, CHANGE_ONE),
        rule(R::NicknameLength, "mailnickname-length", Warning, NICKNAME, TOO_LONG, SHORTEN),
        rule(R::NicknameCharacter, "mailnickname-character", Warning, NICKNAME, CHARACTERS, REMOVE),
        rule(
            R::NicknameLeadingPeriod,
            "mailnickname-leading-period",
            Warning,
            NICKNAME,
            "it begins with a period",
            "remove the period",
        ),
        rule(
            R::NicknameTrailingPeriod,
            "mailnickname-trailing-period",
            Warning,
            NICKNAME,
            "it ends with a period",
            "remove the period",
        ),
        rule(R::NicknameBlank, "mailnickname-blank", Warning, NICKNAME, "a contact has none", "write one"),
        rule(R::NicknameDuplicate, "mailnickname-duplicate", Error, NICKNAME, DUPLICATE, CHANGE_ONE),
        rule(R::ProxyCharacter, "proxyaddresses-character", Warning, PROXY, CHARACTERS, REMOVE),
        rule(R::ProxyColon, "proxyaddresses-colon", Warning, PROXY, COLON, REMOVE_COLON),
        rule(R::ProxyFormat, "proxyaddresses-format", Warning, PROXY, NO_ADDRESS, WRITE_ADDRESS),
        rule(R::ProxyLocalPart, "proxyaddresses-localpart", Warning, PROXY, LOCAL, MEND_LOCAL),
        rule(R::ProxyDomainPart, "proxyaddresses-domainpart", Warning, PROXY, DOMAIN, MEND_DOMAIN),
        rule(R::ProxyTopLevel, "proxyaddresses-toplevel", Warning, PROXY, TOP, MEND_TOP),
        rule(R::ProxyLength, "proxyaddresses-length", Warning, PROXY, TOO_LONG, SHORTEN),
        rule(R::ProxyDuplicate, "proxyaddresses-duplicate", Error, PROXY, DUPLICATE, CHANGE_ONE),
        rule(R::AccountLength, "samaccountname-length", Warning, ACCOUNT, TOO_LONG, SHORTEN),
        rule(R::AccountCharacter, "samaccountname-character", Warning, ACCOUNT, CHARACTERS, REMOVE),
        rule(
            R::AccountDuplicate,
            "samaccountname-duplicate",
            Warning,
            ACCOUNT,
            "another object has the same value, and this one has no userPrincipalName to tell them apart",
            "give it a userPrincipalName",
        ),
        rule(R::TargetCharacter, "targetaddress-character", Warning, TARGET, CHARACTERS, REMOVE),
        rule(R::TargetColon, "targetaddress-colon", Warning, TARGET, COLON, REMOVE_COLON),
        rule(R::TargetFormat, "targetaddress-format", Warning, TARGET, NO_ADDRESS, WRITE_ADDRESS),
        rule(R::TargetLocalPart, "targetaddress-localpart", Warning, TARGET, LOCAL, MEND_LOCAL),
        rule(R::TargetDomainPart, "targetaddress-domainpart", Warning, TARGET, DOMAIN, MEND_DOMAIN),
        rule(R::TargetTopLevel, "targetaddress-toplevel", Warning, TARGET, TOP, MEND_TOP),
        rule(R::TargetLength, "targetaddress-length", Warning, TARGET, TOO_LONG, SHORTEN),
        rule(
            R::TargetBlank,
            "targetaddress-blank",
            Warning,
            TARGET,
            BLANK,
            "write SMTP: and a mail address, or remove it",
        ),
        rule(R::TargetDuplicate, "targetaddress-duplicate", Warning, TARGET, DUPLICATE, CHANGE_ONE),
        rule(R::PrincipalLength, "userprincipalname-length", Error, PRINCIPAL, TOO_LONG, SHORTEN),
        rule(R::PrincipalCharacter, "userprincipalname-character", Error, PRINCIPAL, CHARACTERS, REMOVE),
        rule(
            R::PrincipalApostrophe,
            "userprincipalname-apostrophe",
            Info,
            PRINCIPAL,
            "it has an apostrophe, which Azure AD takes and some applications do not",
            "remove it where such an application is used",
        ),
        rule(
            R::PrincipalFormat,
            "userprincipalname-format",
            Error,
            PRINCIPAL,
            NO_ADDRESS,
            "write a name, an @ and a domain",
        ),
        rule(R::PrincipalLocalPart, "userprincipalname-localpart", Error, PRINCIPAL, LOCAL, MEND_LOCAL),
        rule(R::PrincipalDomainPart, "userprincipalname-domainpart", Error, PRINCIPAL, DOMAIN, MEND_DOMAIN),
        rule(
            R::PrincipalTopLevel,
            "userprincipalname-toplevel",
            Error,
            PRINCIPAL,
            TOP,
            "use a domain that can be verified",
        ),
        rule(R::PrincipalDuplicate, "userprincipalname-duplicate", Error, PRINCIPAL, DUPLICATE, CHANGE_ONE),
        rule(
            R::SuffixUnverified,
            "upn-suffix-unverified",
            Error,
            PRINCIPAL,
            "its domain is not verified in the tenant",
            "verify the domain in Azure AD, or use one that is verified",
        ),
    ]
};

impl RuleId {
    /// What there is to say of it.
    pub fn rule(self) -> &'static Rule {
        // the table is in the order of the variants, which a test holds fast
        RULES.get(self as usize).unwrap_or(&RULES[0])
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.rule().name
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownRule;

impl fmt::Display for UnknownRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no rule of this name")
    }
}

impl std::error::Error for UnknownRule {}

impl FromStr for RuleId {
    type Err = UnknownRule;

    fn from_str(text: &str) -> Result<Self, UnknownRule> {
        RULES.iter().find(|rule| rule.name == text).map(|rule| rule.id).ok_or(UnknownRule)
    }
}

impl TryFrom<String> for RuleId {
    type Error = UnknownRule;

    fn try_from(text: String) -> Result<Self, UnknownRule> {
        text.parse()
    }
}

impl From<RuleId> for String {
    fn from(id: RuleId) -> Self {
        id.name().to_owned()
    }
}
