//! The rules of each attribute.

use forestsync_domain::{AttributeValue, Attributes, Dn, Rdn};

use super::chain::{AddressRules, AddressType, Chain};
use super::{Finding, Mode, Options, Proposal, RuleId};
use crate::classify::DirectoryClass;
use crate::value::{left, text};

/// The attributes with rules, by their names.
const ATTRIBUTES: [&str; 8] = [
    "displayName",
    "givenName",
    "mail",
    "mailNickname",
    "proxyAddresses",
    "sAMAccountName",
    "targetAddress",
    "userPrincipalName",
];

const MAIL: AddressRules = AddressRules {
    format: RuleId::MailFormat,
    local: RuleId::MailLocalPart,
    domain: RuleId::MailDomainPart,
    top: RuleId::MailTopLevel,
};
const PROXY: AddressRules = AddressRules {
    format: RuleId::ProxyFormat,
    local: RuleId::ProxyLocalPart,
    domain: RuleId::ProxyDomainPart,
    top: RuleId::ProxyTopLevel,
};
const TARGET: AddressRules = AddressRules {
    format: RuleId::TargetFormat,
    local: RuleId::TargetLocalPart,
    domain: RuleId::TargetDomainPart,
    top: RuleId::TargetTopLevel,
};
const PRINCIPAL: AddressRules = AddressRules {
    format: RuleId::PrincipalFormat,
    local: RuleId::PrincipalLocalPart,
    domain: RuleId::PrincipalDomainPart,
    top: RuleId::PrincipalTopLevel,
};

/// What the object breaks of the rules that concern it alone, in the order of the attributes' names, of the values, and of
/// the rules. Nothing for a class that is not synchronized. Values that are not text are not looked at.
pub fn check(class: DirectoryClass, dn: &Dn, attributes: &Attributes, options: &Options) -> Vec<Finding> {
    let object = Object { class, dn, attributes, options };
    let mut findings = Vec::new();
    for attribute in ATTRIBUTES {
        for (index, value) in object.values(attribute) {
            for (rule, lengths) in object.chain(attribute, value).faults {
                let message = match lengths {
                    Some((length, limit)) => format!("it has {length} characters and may have {limit}"),
                    None => rule.rule().description.to_owned(),
                };
                findings.push(Finding::new(rule, index, message));
            }
        }
    }
    findings
}

/// What to write instead of the values that break a rule, one proposal for each that can be mended so that it breaks the
/// rule no more. A proposal mends what the attribute's other rules find, too.
///
/// There is none for what must be unique, nor where it takes knowledge of the world: an address without a domain.
pub fn proposals(
    rule: RuleId,
    class: DirectoryClass,
    dn: &Dn,
    attributes: &Attributes,
    options: &Options,
) -> Vec<Proposal> {
    let object = Object { class, dn, attributes, options };
    let attribute = rule.rule().attribute;
    let breaks = |chain: &Chain<'_>| chain.faults.iter().any(|(broken, _)| *broken == rule);
    let propose = |(index, value): (usize, Option<&str>)| {
        let chain = object.chain(attribute, value);
        let new = chain.result()?;
        let helps = breaks(&chain) && !breaks(&object.chain(attribute, (!new.is_empty()).then_some(new.as_str())));
        helps.then(|| Proposal { attribute, index, old: value.map(str::to_owned), new })
    };
    object.values(attribute).into_iter().filter_map(propose).collect()
}

/// An object under examination.
struct Object<'a> {
    class: DirectoryClass,
    dn: &'a Dn,
    attributes: &'a Attributes,
    options: &'a Options,
}

impl<'a> Object<'a> {
    /// The values to examine with their places: all of proxyAddresses, of others the first, or that there is none. A value
    /// of no characters is none.
    fn values(&self, attribute: &str) -> Vec<(usize, Option<&'a str>)> {
        if !self.class.is_synchronized() {
            return Vec::new();
        }
        let values = self.attributes.get(attribute).map(Vec::as_slice).unwrap_or_default();
        if attribute == "proxyAddresses" {
            let texts = values.iter().enumerate().map(|(index, value)| (index, value.as_text()));
            return texts.filter(|(_, text)| text.is_some_and(|text| !text.is_empty())).collect();
        }
        match values.first() {
            None => vec![(0, None)],
            Some(AttributeValue::Text(text)) => vec![(0, Some(text.as_str()).filter(|text| !text.is_empty()))],
            Some(AttributeValue::Binary(_)) => Vec::new(),
        }
    }

    /// A value after all rules of its attribute.
    fn chain<'v>(&self, attribute: &str, value: Option<&'v str>) -> Chain<'v> {
        let is_typed = matches!(attribute, "proxyAddresses" | "targetAddress");
        let value_or_none = value.unwrap_or_default();
        let mut chain = if is_typed { Chain::typed(value_or_none) } else { Chain::new(value_or_none) };
        let is_present = value.is_some();
        match self.options.mode {
            Mode::MultiTenant => self.multi_tenant(attribute, &mut chain, is_present),
            Mode::Dedicated => self.dedicated(attribute, &mut chain, is_present),
        }
        chain
    }

    fn multi_tenant(&self, attribute: &str, chain: &mut Chain<'_>, is_present: bool) {
        if !is_present {
            return;
        }
        match attribute {
            "displayName" => {
                chain.limit(RuleId::DisplayNameLength, 255);
                chain.not_blank(RuleId::DisplayNameBlank, self.common_name(255));
            }
            "givenName" => chain.limit(RuleId::GivenNameLength, 63),
            "mail" => chain.limit_address(RuleId::MailLength, 256),
            "mailNickname" => {
                chain.limit(RuleId::NicknameLength, 64);
                chain.no_leading_period(RuleId::NicknameLeadingPeriod);
            }
            "proxyAddresses" => proxy_address(chain),
            "sAMAccountName" => {
                chain.limit(RuleId::AccountLength, if self.class.is_user() { 20 } else { 256 });
                chain.without(RuleId::AccountCharacter, |c| r#"\"|,/[]:<>+=;?*"#.contains(c));
            }
            "targetAddress" => target_address(chain),
            "userPrincipalName" if !self.options.alternate_id => {
                chain.limit_address(RuleId::PrincipalLength, self.options.principal_limit);
                chain.without(RuleId::PrincipalCharacter, |c| {
                    c.is_whitespace() || r#"\%&*+/=?{}|<>();:,[]""#.contains(c) || "äëïöüÿÄËÏÖÜŸ".contains(c)
                });
                chain.without(RuleId::PrincipalApostrophe, |c| c == '\'');
                chain.address(&PRINCIPAL);
            }
            _ => {}
        }
    }

    fn dedicated(&self, attribute: &str, chain: &mut Chain<'_>, is_present: bool) {
        match attribute {
            "displayName" => {
                chain.limit(RuleId::DisplayNameLength, 256);
                chain.trimmed(RuleId::DisplayNameWhitespace);
                if self.class == DirectoryClass::Group {
                    chain.not_blank(RuleId::DisplayNameBlank, self.common_name(256));
                }
            }
            "mail" if is_present => {
                chain.limit_address(RuleId::MailLength, 256);
                chain.without(RuleId::MailWhitespace, char::is_whitespace);
                chain.address(&MAIL);
            }
            "mailNickname" => {
                chain.limit(RuleId::NicknameLength, 64);
                chain.without(RuleId::NicknameCharacter, is_illegal_in_nickname);
                if self.class == DirectoryClass::Contact {
                    chain.not_blank(RuleId::NicknameBlank, self.nickname());
                }
                chain.no_leading_period(RuleId::NicknameLeadingPeriod);
                chain.no_trailing_period(RuleId::NicknameTrailingPeriod);
            }
            "proxyAddresses" => {
                limit_typed(chain, RuleId::ProxyLength, 256);
                chain.one_colon(RuleId::ProxyColon);
                if chain.address_type() == AddressType::Smtp {
                    chain.address(&PROXY);
                }
            }
            "targetAddress" if is_present => {
                limit_typed(chain, RuleId::TargetLength, 256);
                let address = text(self.attributes, "mail").map(str::trim).filter(|mail| mail.contains('@'));
                chain.not_blank(RuleId::TargetBlank, address.map(|mail| format!("SMTP:{}", left(mail, 251))));
            }
            _ => {}
        }
    }

    /// The object's own name, if it has one that is not blank.
    fn common_name(&self, limit: usize) -> Option<String> {
        let name = self.dn.rdn().map(Rdn::value).map(str::trim).filter(|name| !name.is_empty())?;
        Some(left(name, limit).trim_end().to_owned())
    }

    /// A mailNickname from mail or the object's own name, of what is legal in them.
    fn nickname(&self) -> Option<String> {
        let mail = text(self.attributes, "mail").and_then(|mail| mail.split('@').next()).map(str::to_owned);
        let legal = |name: String| {
            let legal: String = name.chars().filter(|c| !is_illegal_in_nickname(*c)).collect();
            let cut = left(legal.trim_matches('.'), 64);
            Some(cut.trim_end_matches('.').to_owned()).filter(|name| !name.is_empty())
        };
        mail.and_then(legal).or_else(|| self.common_name(usize::MAX).and_then(legal))
    }
}

fn is_illegal_in_nickname(c: char) -> bool {
    c.is_whitespace() || "\\!#$%&*+/=?^`{}|~<>()';:,[]\"@".contains(c)
}

fn limit_typed(chain: &mut Chain<'_>, rule: RuleId, limit: usize) {
    match chain.address_type() {
        AddressType::Smtp => chain.limit_address(rule, limit),
        AddressType::X400OrX500 | AddressType::Other => chain.limit(rule, limit),
    }
}

fn proxy_address(chain: &mut Chain<'_>) {
    match chain.address_type() {
        AddressType::Smtp => {
            chain.without(RuleId::ProxyCharacter, |c| c.is_whitespace() || "<>();,[]\"".contains(c));
            chain.one_colon(RuleId::ProxyColon);
            chain.address(&PROXY);
        }
        AddressType::X400OrX500 => {
            chain.without(RuleId::ProxyCharacter, |c| "\u{c}\n\r\t\u{b}[]\"'".contains(c));
            chain.one_colon(RuleId::ProxyColon);
        }
        AddressType::Other => {
            chain.without(RuleId::ProxyCharacter, |c| c.is_whitespace() || "<>(),[]\"".contains(c));
            chain.one_colon(RuleId::ProxyColon);
        }
    }
    limit_typed(chain, RuleId::ProxyLength, 256);
}

fn target_address(chain: &mut Chain<'_>) {
    if chain.address_type() == AddressType::Smtp {
        chain.without(RuleId::TargetCharacter, |c| c.is_whitespace() || "\\<>();,[]\"".contains(c));
        chain.one_colon(RuleId::TargetColon);
        chain.address(&TARGET);
    } else {
        chain.without(RuleId::TargetCharacter, |c| c == ';');
        chain.one_colon(RuleId::TargetColon);
    }
    limit_typed(chain, RuleId::TargetLength, 255);
}
