//! A flow in the making.

use forestsync_domain::{Attributes, Dn};
use forestsync_schemas::desired::{CloudAttributes, CloudValue};

use super::nickname::nickname;
use super::table::{DISPLAY_NAME_LIMIT, NICKNAME_LIMIT, TextRow};
use super::{Problem, ProblemKind};
use crate::value::{length, text};

/// Reads one object's attributes and gathers what flows and what is wrong.
pub(super) struct Draft<'a> {
    pub(super) source: &'a Attributes,
    pub(super) attributes: CloudAttributes,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(source: &'a Attributes) -> Self {
        Self { source, attributes: CloudAttributes::new(), problems: Vec::new() }
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

    /// The attribute's first value. One that is no text is reported and counts as none.
    pub(super) fn text(&mut self, name: &str) -> Option<&'a str> {
        let is_text = self.source.get(name).and_then(|values| values.first()).is_none_or(|v| v.as_text().is_some());
        if !is_text {
            let message = format!("{name} is not valid UTF-8; enter it again in the directory");
            self.problem(name, ProblemKind::LeftOut, message);
        }
        text(self.source, name)
    }

    /// A text that flows as it is, or is left out if it is too long.
    pub(super) fn row(&mut self, row: &TextRow) {
        let Some(text) = self.text(row.source) else { return };
        let text = if row.trim { text.trim() } else { text };
        match row.limit {
            Some(limit) if length(text) > limit => {
                let message = too_long(row.source, length(text), limit);
                self.problem(row.source, ProblemKind::LeftOut, message);
            }
            _ => self.put_text(row.target, text),
        }
    }

    /// displayName, else the object's own name, which is the first part of its distinguished name.
    pub(super) fn display_name(&mut self, dn: &Dn) {
        let own = common_name(self.source, dn);
        let Some(name) = self.text("displayName").or(own) else {
            let message = "there is neither a displayName nor a name; set displayName in the directory".to_owned();
            return self.problem("displayName", ProblemKind::Blocking, message);
        };
        if length(name) > DISPLAY_NAME_LIMIT {
            let message = too_long("displayName", length(name), DISPLAY_NAME_LIMIT);
            self.problem("displayName", ProblemKind::Kept, message);
        }
        self.put_text("displayName", name);
    }

    /// mailNickname, from the first candidate of which something is left; `seed` makes one up if nothing is.
    pub(super) fn mail_nickname(&mut self, candidates: &[&str], seed: &str) {
        let own = self.text("mailNickname");
        let chosen = nickname(own.into_iter().chain(candidates.iter().copied()), seed);
        if own.is_some_and(|own| own != chosen) {
            let message = format!(
                "mailNickname has more than {NICKNAME_LIMIT} characters, or some that Azure AD does not take; \
                 another one is sent, so change it in the directory to ASCII without blanks and @ ( ) [ ] \\ \" ; : < > ,"
            );
            self.problem("mailNickname", ProblemKind::Adjusted, message);
        }
        self.put("mailNickname", CloudValue::Text(chosen));
    }

    /// mail without a look at its form, for objects that are only reported.
    pub(super) fn unchecked_mail(&mut self) {
        if let Some(mail) = self.text("mail") {
            self.put_text("mail", mail.trim());
        }
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
