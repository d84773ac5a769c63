//! Groups.

use forestsync_domain::Dn;
use forestsync_schemas::desired::{CloudClass, CloudValue};

use super::ProblemKind;
use super::draft::{Draft, common_name};
use super::nickname::prefix;
use super::table::DESCRIPTION_CUT;
use crate::value::{is_mail_enabled, is_security_group, left, texts};

pub(super) fn flow(draft: &mut Draft<'_>, dn: &Dn) -> CloudClass {
    draft.display_name(dn);
    let is_mail_enabled = is_mail_enabled(draft.source);
    draft.put("mailEnabled", CloudValue::Bool(is_mail_enabled));
    let is_security = is_security_group(draft.source);
    if let Some(is_security) = is_security {
        draft.put("securityEnabled", CloudValue::Bool(is_security));
    } else {
        let message = "groupType cannot be read, so it is not known what kind of group it is; \
                       give the reader's account the right to read it"
            .to_owned();
        draft.problem("groupType", ProblemKind::Blocking, message);
    }
    if let Some(description) = draft.text("description") {
        let cut = left(description.trim(), DESCRIPTION_CUT);
        draft.put("description", CloudValue::Text(cut));
    }
    mail_nickname(draft, dn);
    let class = class(is_security.unwrap_or(true), is_mail_enabled);
    if class != CloudClass::Group {
        draft.unchecked_mail();
    }
    class
}

/// A distribution group without mail is excluded before it comes here; as a distribution list it cannot be written
/// either.
fn class(is_security: bool, is_mail_enabled: bool) -> CloudClass {
    match (is_security, is_mail_enabled) {
        (true, false) => CloudClass::Group,
        (true, true) => CloudClass::MailEnabledGroup,
        (false, _) => CloudClass::DistributionList,
    }
}

/// From mailNickname, mail, sAMAccountName, and the group's own name.
fn mail_nickname(draft: &mut Draft<'_>, dn: &Dn) {
    let source = draft.source;
    let mail = texts(source, "mail").take(1).map(prefix);
    let account = texts(source, "sAMAccountName").take(1);
    let own = common_name(source, dn);
    let candidates: Vec<&str> = mail.chain(account).chain(own).collect();
    let seed = candidates.last().copied().unwrap_or_default();
    draft.mail_nickname(&candidates, seed);
}
