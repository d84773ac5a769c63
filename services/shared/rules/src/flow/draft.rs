//! A flow in the making.

use forestsync_domain::{Attributes, Dn};
use forestsync_schemas::desired::{CloudAttributes, CloudValue};

use super::table::NICKNAME_LIMIT;
use super::{Problem, ProblemKind};
use crate::value::text;

/// Reads one object's attributes and gathers what flows and what is wrong.
pub(super) struct Draft<'a> {
    pub(super) source: &'a Attributes,
    pub(super) attributes: CloudAttributes,
    pub(super) at_creation: CloudAttributes,
    /// Targets that stay as they are.
    pub(super) ignored: Vec<String>,
    pub(super) problems: Vec<Problem>,
    /// Targets that something blocking was said of.
    pub(super) blocked: Vec<String>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(source: &'a Attributes) -> Self {
        Self {
            source,
            attributes: CloudAttributes::new(),
            at_creation: CloudAttributes::new(),
            ignored: Vec::new(),
            problems: Vec::new(),
            blocked: Vec::new(),
        }
    }

    pub(super) fn problem(&mut self, attribute: &str, kind: ProblemKind, message: String) {
        self.problems.push(Problem { attribute: attribute.to_owned(), kind, message });
    }

    pub(super) fn put(&mut self, target: &str, value: CloudValue) {
        self.attributes.insert(target.to_owned(), value);
    }

    pub(super) fn put_text(&mut self, target: &str, text: &str) {
        self.put(target, CloudValue::Text(text.to_owned()));
    }

    /// A problem for which the object must not be sent, in the place of a value.
    pub(super) fn blocking_for(&mut self, attribute: &str, target: &str, message: String) {
        self.blocked.push(target.to_owned());
        self.problem(attribute, ProblemKind::Blocking, message);
    }

    /// Says that the directory's mailNickname is not what is sent.
    pub(super) fn adjusted_nickname(&mut self) {
        let message = format!(
            "mailNickname has more than {NICKNAME_LIMIT} characters, or some that Azure AD does not take; \
             another one is sent, so change it in the directory to ASCII without blanks and @ ( ) [ ] \\ \" ; : < > ,"
        );
        self.problem("mailNickname", ProblemKind::Adjusted, message);
    }
}

/// The object's own name: cn, which is the value of the first part of the distinguished name.
pub(super) fn common_name<'a>(source: &'a Attributes, dn: &'a Dn) -> Option<&'a str> {
    let own = dn.rdn().map(forestsync_domain::Rdn::value).filter(|value| !value.trim().is_empty());
    own.or_else(|| text(source, "name"))
}

/// What to say of a value that is too long.
pub(super) fn too_long(name: &str, length: usize, limit: usize) -> String {
    format!("{name} has {length} characters and Azure AD takes {limit}; shorten it in the directory")
}
