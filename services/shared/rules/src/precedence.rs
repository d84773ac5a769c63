//! Precedence: which of several joined objects says what.
//!
//! Per attribute, the objects are put in an order by predicates, and the first one with a value counts. By default the
//! attributes of signing in come from the enabled account and all others from the object with the mailbox; what two
//! objects have in common is decided by the order of their forests in the configuration. Users come before contacts
//! whatever the predicates say. Nothing depends on which object was there first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::classify::DirectoryClass;

/// A rule of precedence as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrecedenceForm {
    /// The directory attributes it is for; none for all that no other rule names.
    #[serde(default)]
    pub attributes: Vec<String>,
    /// `"enabled_account"`, `"mailbox"` or `"forest:<name>"`, the strongest first.
    pub order: Vec<String>,
}

/// What is wrong with a rule as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrecedenceProblem {
    /// Which rule, from 0.
    pub rule: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Predicate {
    EnabledAccount,
    Mailbox,
    Forest(usize),
}

/// What precedence is decided by, of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contributor {
    /// Its class.
    pub class: DirectoryClass,
    /// The place of its forest in the configuration.
    pub forest: usize,
    /// Whether its account is enabled.
    pub is_enabled: bool,
    /// Whether it has a mailbox: mailNickname has a value.
    pub has_mailbox: bool,
}

/// The rules of precedence of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Precedence {
    orders: Vec<Vec<Predicate>>,
    /// Which of the orders is that of an attribute.
    named: BTreeMap<String, usize>,
    /// Which one is that of all others.
    rest: usize,
}

/// What an account signs in with, and what says where it is.
const SIGN_IN: [&str; 12] = [
    "accountExpires",
    "cn",
    "distinguishedName",
    "dn",
    "name",
    "objectGUID",
    "objectSid",
    "pwdLastSet",
    "sAMAccountName",
    "sourceAnchor",
    "userAccountControl",
    "userPrincipalName",
];

impl Default for Precedence {
    fn default() -> Self {
        let named = SIGN_IN.iter().map(|name| ((*name).to_owned(), 0)).collect();
        let orders = vec![vec![Predicate::EnabledAccount], vec![Predicate::Mailbox, Predicate::EnabledAccount]];
        Self { orders, named, rest: 1 }
    }
}

impl Precedence {
    /// Gives rules their meaning; everything that is wrong with them at once. `forests` are the names in the order of the
    /// configuration.
    pub fn compile(forms: &[PrecedenceForm], forests: &[String]) -> Result<Self, Vec<PrecedenceProblem>> {
        let Self { mut orders, mut named, mut rest } = Self::default();
        let mut problems = Vec::new();
        let mut seen: BTreeSet<Option<&str>> = BTreeSet::new();
        for (rule, form) in forms.iter().enumerate() {
            let mut problem = |message: String, hint: &str| {
                problems.push(PrecedenceProblem { rule, message, hint: hint.to_owned() });
            };
            let mut order = Vec::with_capacity(form.order.len());
            for text in &form.order {
                match predicate(text, forests) {
                    Ok(predicate) => order.push(predicate),
                    Err(hint) => problem(format!("{text:?} is no predicate"), &hint),
                }
            }
            let place = orders.len();
            orders.push(order);
            if form.attributes.is_empty() {
                rest = place;
            }
            let attributes = form.attributes.iter().map(|name| Some(name.as_str()));
            for name in attributes.chain(form.attributes.is_empty().then_some(None)) {
                if !seen.insert(name) {
                    let what = name.map_or("everything else".to_owned(), |name| format!("{name:?}"));
                    problem(format!("{what} has a rule already"), "keep one of them");
                }
                if let Some(name) = name {
                    named.insert(name.to_owned(), place);
                }
            }
        }
        if problems.is_empty() { Ok(Self { orders, named, rest }) } else { Err(problems) }
    }

    /// The orders that the contributors come in, each as places in `contributors`, for [`Precedence::order_of`]. Those
    /// that nothing tells apart stay as they are.
    pub fn orders(&self, contributors: &[Contributor]) -> Vec<Vec<usize>> {
        let by = |order: &Vec<Predicate>| {
            let mut places: Vec<usize> = (0..contributors.len()).collect();
            places.sort_by_cached_key(|at| {
                let contributor = contributors.get(*at);
                let holds = |predicate: &Predicate| {
                    contributor.is_some_and(|c| match predicate {
                        Predicate::EnabledAccount => c.class.is_user() && c.is_enabled,
                        Predicate::Mailbox => c.class.is_user() && c.has_mailbox,
                        Predicate::Forest(forest) => c.forest == *forest,
                    })
                };
                let predicates: Vec<Reverse<bool>> = order.iter().map(|p| Reverse(holds(p))).collect();
                let is_contact = contributor.is_none_or(|c| c.class == DirectoryClass::Contact);
                (is_contact, predicates, contributor.map(|c| c.forest))
            });
            places
        };
        self.orders.iter().map(by).collect()
    }

    /// Which of [`Precedence::orders`] is that of an attribute.
    pub fn order_of(&self, attribute: &str) -> usize {
        self.named.get(attribute).copied().unwrap_or(self.rest)
    }

    /// Which of [`Precedence::orders`] is that of signing in.
    pub const SIGN_IN: usize = 0;
}

fn predicate(text: &str, forests: &[String]) -> Result<Predicate, String> {
    match text {
        "enabled_account" => return Ok(Predicate::EnabledAccount),
        "mailbox" => return Ok(Predicate::Mailbox),
        _ => {}
    }
    let forest = text.strip_prefix("forest:").and_then(|name| forests.iter().position(|forest| forest == name));
    forest.map(Predicate::Forest).ok_or_else(|| {
        format!("write \"enabled_account\", \"mailbox\", or \"forest:<name>\" with one of {}", forests.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: DirectoryClass = DirectoryClass::User;

    fn contributor(class: DirectoryClass, forest: usize, is_enabled: bool, has_mailbox: bool) -> Contributor {
        Contributor { class, forest, is_enabled, has_mailbox }
    }

    fn first(precedence: &Precedence, attribute: &str, contributors: &[Contributor]) -> usize {
        precedence.orders(contributors)[precedence.order_of(attribute)][0]
    }

    #[test]
    fn accounts_say_how_to_sign_in_and_mailboxes_the_rest() {
        let precedence = Precedence::default();
        let account = contributor(USER, 1, true, false);
        let mailbox = contributor(USER, 0, false, true);
        let contact = contributor(DirectoryClass::Contact, 0, true, true);
        let all = [contact, mailbox, account];
        assert_eq!(first(&precedence, "userPrincipalName", &all), 2);
        assert_eq!(first(&precedence, "userAccountControl", &all), 2);
        assert_eq!(first(&precedence, "telephoneNumber", &all), 1);
        assert_eq!(precedence.orders(&all)[0], [2, 1, 0], "contacts come last");
        let twins = [contributor(USER, 1, true, true), contributor(USER, 0, true, true)];
        assert_eq!(first(&precedence, "title", &twins), 1, "the first forest of the configuration");
    }

    #[test]
    fn rules_are_for_the_attributes_that_they_name() {
        let forms = [
            PrecedenceForm { attributes: vec!["employeeID".into()], order: vec!["forest:hr".into()] },
            PrecedenceForm { attributes: vec![], order: vec!["forest:hr".into(), "mailbox".into()] },
            PrecedenceForm { attributes: vec!["mail".into()], order: vec!["mailbox".into()] },
        ];
        let precedence = Precedence::compile(&forms, &["emea".into(), "hr".into()]).unwrap();
        let emea = contributor(USER, 0, true, true);
        let hr = contributor(USER, 1, false, false);
        for (attribute, expected) in [("employeeID", 1), ("title", 1), ("mail", 0), ("userPrincipalName", 0)] {
            assert_eq!(first(&precedence, attribute, &[emea, hr]), expected, "{attribute}");
        }
    }

    #[test]
    fn a_rule_that_cannot_be_meant_is_refused() {
        let forests = ["emea".to_owned()];
        let twice = |name: &str| PrecedenceForm { attributes: vec![name.into()], order: vec!["mailbox".into()] };
        let problems = Precedence::compile(&[twice("mail"), twice("mail")], &forests).unwrap_err();
        assert_eq!((problems.len(), problems[0].rule), (1, 1));
        let form = PrecedenceForm { attributes: vec![], order: vec!["forest:apac".into(), "first".into()] };
        let problems = Precedence::compile(&[form], &forests).unwrap_err();
        assert!(problems.iter().all(|p| p.hint.contains("emea")) && problems.len() == 2, "{problems:?}");
    }
}
