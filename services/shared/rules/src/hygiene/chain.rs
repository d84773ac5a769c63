//! The rules of one value, applied one after the other.

use std::borrow::Cow;

use super::RuleId;
use super::address::{self, AddressFault};
use crate::value::{left, length};

/// A value on its way through the rules, and those that it broke.
pub(super) struct Chain<'a> {
    /// The type of a typed address with its colon; empty otherwise.
    prefix: Cow<'a, str>,
    value: Cow<'a, str>,
    /// The rules broken, in order, with length and limit where it is about those.
    pub(super) faults: Vec<(RuleId, Option<(usize, usize)>)>,
}

/// What the rules about the form of an address are called for an attribute.
pub(super) struct AddressRules {
    pub(super) format: RuleId,
    pub(super) local: RuleId,
    pub(super) domain: RuleId,
    pub(super) top: RuleId,
}

/// What kind of address a typed one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressType {
    Smtp,
    X400OrX500,
    Other,
}

/// Whether a text is the name of an address type that people write twice by mistake.
fn is_type(text: &str) -> bool {
    ["smtp", "sip", "x400", "x500", "eum"].iter().any(|known| known.eq_ignore_ascii_case(text.trim()))
}

impl<'a> Chain<'a> {
    pub(super) fn new(value: &'a str) -> Self {
        Self { prefix: Cow::Borrowed(""), value: Cow::Borrowed(value), faults: Vec::new() }
    }

    /// Of a typed address such as `SMTP:name@domain`.
    pub(super) fn typed(value: &'a str) -> Self {
        let mut chain = Self::new(value);
        if let Some((prefix, rest)) = value.find(':').and_then(|colon| value.split_at_checked(colon + 1)) {
            (chain.prefix, chain.value) = (Cow::Borrowed(prefix), Cow::Borrowed(rest));
        }
        chain
    }

    pub(super) fn address_type(&self) -> AddressType {
        match self.prefix.trim_end_matches(':').trim().to_ascii_lowercase().as_str() {
            "smtp" => AddressType::Smtp,
            "x400" | "x500" => AddressType::X400OrX500,
            _ => AddressType::Other,
        }
    }

    /// What is proposed by now; nothing if only the prefix of an address is left.
    pub(super) fn result(&self) -> Option<String> {
        (self.prefix.is_empty() || !self.value.trim().is_empty()).then(|| format!("{}{}", self.prefix, self.value))
    }

    fn broke(&mut self, rule: RuleId) {
        self.faults.push((rule, None));
    }

    /// Replaces the value.
    fn put(&mut self, value: impl Into<String>) {
        self.value = Cow::Owned(value.into());
    }

    /// At most so many UTF-16 code units; else it is cut.
    pub(super) fn limit(&mut self, rule: RuleId, limit: usize) {
        self.limited(rule, limit, |value, room| Some(left(value, room)));
    }

    /// At most so many UTF-16 code units; else the part before the `@` is cut.
    pub(super) fn limit_address(&mut self, rule: RuleId, limit: usize) {
        self.limited(rule, limit, address::shortened);
    }

    fn limited(&mut self, rule: RuleId, limit: usize, cut: impl Fn(&str, usize) -> Option<String>) {
        let (prefix, value) = (length(&self.prefix), length(&self.value));
        if prefix + value > limit {
            self.faults.push((rule, Some((prefix + value, limit))));
            if let Some(value) = limit.checked_sub(prefix).and_then(|room| cut(&self.value, room)) {
                self.put(value);
            }
        }
    }

    /// None of these characters; they are removed. A letter with a mark loses the mark if that helps.
    pub(super) fn without(&mut self, rule: RuleId, illegal: impl Fn(char) -> bool) {
        let has = |text: &str| text.chars().any(&illegal);
        let legal = |text: &str| -> String {
            let mended = text.chars().map(|c| if illegal(c) { address::plain(c) } else { c });
            mended.filter(|c| !illegal(*c)).collect()
        };
        if has(&self.prefix) || has(&self.value) {
            let (prefix, value) = (legal(&self.prefix), legal(&self.value));
            self.broke(rule);
            self.prefix = Cow::Owned(prefix);
            self.put(value);
        }
    }

    /// No colon beside the one of the prefix. What stands before the last one goes if it is a prefix too, else the colons.
    pub(super) fn one_colon(&mut self, rule: RuleId) {
        if self.prefix.is_empty() || !self.value.contains(':') {
            return;
        }
        let last = self.value.rsplit_once(':').filter(|(before, _)| before.split(':').all(is_type));
        let value = last.map_or_else(|| self.value.replace(':', ""), |(_, last)| last.to_owned());
        self.broke(rule);
        self.put(value);
    }

    /// It is a mail address; else what must not be in it is removed, where that makes one.
    pub(super) fn address(&mut self, rules: &AddressRules) {
        let rule = match address::fault(&self.value) {
            None => return,
            Some(AddressFault::Format) => rules.format,
            Some(AddressFault::LocalPart) => rules.local,
            Some(AddressFault::DomainPart) => rules.domain,
            Some(AddressFault::TopLevel) => rules.top,
        };
        self.broke(rule);
        if let Some(value) = address::repaired(&self.value) {
            self.put(value);
        }
    }

    /// No white space at the ends.
    pub(super) fn trimmed(&mut self, rule: RuleId) {
        let trimmed = self.value.trim();
        if trimmed.len() != self.value.len() {
            let trimmed = trimmed.to_owned();
            self.broke(rule);
            self.put(trimmed);
        }
    }

    /// Not blank; else something takes its place, if there is something.
    pub(super) fn not_blank(&mut self, rule: RuleId, instead: Option<String>) {
        if self.value.trim().is_empty() && self.prefix.trim().is_empty() {
            self.broke(rule);
            if let Some(value) = instead {
                self.put(value);
            }
        }
    }

    /// No period in front.
    pub(super) fn no_leading_period(&mut self, rule: RuleId) {
        if self.value.starts_with('.') {
            let value = self.value.trim_start_matches('.').to_owned();
            self.broke(rule);
            self.put(value);
        }
    }

    /// No period at the end.
    pub(super) fn no_trailing_period(&mut self, rule: RuleId) {
        if self.value.ends_with('.') {
            let value = self.value.trim_end_matches('.').to_owned();
            self.broke(rule);
            self.put(value);
        }
    }
}
