//! Users.

use forestsync_domain::Dn;
use forestsync_schemas::desired::{CloudClass, CloudValue};

use super::ProblemKind;
use super::draft::{Draft, common_name, too_long};
use super::nickname::prefix;
use super::table::{PRINCIPAL_LIMIT, USER};
use crate::value::{integer, length, texts};

/// Bit of userAccountControl of a disabled account (MS-ADTS 2.2.16, ADS_UF_ACCOUNT_DISABLE).
const ACCOUNT_DISABLED: i64 = 2;

pub(super) fn flow(draft: &mut Draft<'_>, dn: &Dn, naming_context: &Dn) -> CloudClass {
    draft.display_name(dn);
    account_enabled(draft);
    let principal = principal_name(draft, naming_context);
    for row in &USER {
        draft.row(row);
    }
    if let Some(phone) = draft.text("telephoneNumber") {
        // Graph takes exactly one value in this collection
        draft.put("businessPhones", CloudValue::List(vec![phone.trim().to_owned()]));
    }
    mail(draft);
    mail_nickname(draft, dn, principal.as_deref());
    CloudClass::User
}

/// An account whose state cannot be read is neither enabled nor disabled by guess.
fn account_enabled(draft: &mut Draft<'_>) {
    if let Some(flags) = integer(draft.source, "userAccountControl") {
        return draft.put("accountEnabled", CloudValue::Bool(flags & ACCOUNT_DISABLED == 0));
    }
    let message = "userAccountControl cannot be read, so it is not known whether the account is enabled; \
                   give the reader's account the right to read it"
        .to_owned();
    draft.problem("userAccountControl", ProblemKind::Blocking, message);
}

/// The directory's userPrincipalName, else sAMAccountName at the domain's DNS name. One that Graph refuses is not sent:
/// it does not fall back to another name as the synchronization service of Azure AD does.
fn principal_name(draft: &mut Draft<'_>, naming_context: &Dn) -> Option<String> {
    let (attribute, principal) = if let Some(principal) = draft.text("userPrincipalName") {
        ("userPrincipalName", principal.to_owned())
    } else if let Some(account) = draft.text("sAMAccountName") {
        ("sAMAccountName", format!("{account}@{}", naming_context.domain_name()))
    } else {
        let message = "there is neither a userPrincipalName nor a sAMAccountName; \
                       set userPrincipalName in the directory"
            .to_owned();
        draft.problem("userPrincipalName", ProblemKind::Blocking, message);
        return None;
    };
    if !is_principal_name(&principal) {
        let message = "the sign-in name is not of the form name@domain, or has characters that Azure AD refuses; \
                       set userPrincipalName in the directory to one of letters without accents, digits and \
                       ' . - _ ! # ^ ~ before the @"
            .to_owned();
        draft.problem(attribute, ProblemKind::Blocking, message);
        return None;
    }
    if length(&principal) > PRINCIPAL_LIMIT {
        draft.problem(attribute, ProblemKind::Kept, too_long(attribute, length(&principal), PRINCIPAL_LIMIT));
    }
    draft.put_text("userPrincipalName", &principal);
    Some(principal)
}

/// Whether Graph takes it, apart from the question whether the domain is verified.
fn is_principal_name(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, domain)| {
        let local_ok = local.chars().all(|c| c.is_ascii_alphanumeric() || "'.-_!#^~".contains(c));
        let domain_ok = domain.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
        local_ok && domain_ok && !local.is_empty() && !domain.is_empty()
    })
}

/// Graph makes the primary SMTP address of it and takes no accents.
fn mail(draft: &mut Draft<'_>) {
    let Some(mail) = draft.text("mail").map(str::trim) else { return };
    let is_address = mail.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && mail.chars().all(|c| c.is_ascii_graphic()) && !domain.contains('@')
    });
    if is_address {
        draft.put_text("mail", mail);
    } else {
        let message = "mail is no mail address in ASCII without blanks; correct it in the directory".to_owned();
        draft.problem("mail", ProblemKind::LeftOut, message);
    }
}

/// In the order of Azure AD: mailNickname, primary SMTP address, mail, userPrincipalName, other SMTP addresses.
fn mail_nickname(draft: &mut Draft<'_>, dn: &Dn, principal: Option<&str>) {
    let source = draft.source;
    let smtp =
        |kind: &'static str| texts(source, "proxyAddresses").filter_map(move |address| address.strip_prefix(kind));
    let mail = texts(source, "mail").take(1);
    let candidates: Vec<&str> = smtp("SMTP:").chain(mail).chain(principal).chain(smtp("smtp:")).map(prefix).collect();
    let account = texts(source, "sAMAccountName").next();
    let seed = principal.or(account).or(common_name(source, dn)).unwrap_or_default();
    draft.mail_nickname(&candidates, seed);
}
