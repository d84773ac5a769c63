//! Letting a flow run over one object.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use forestsync_schemas::desired::{CloudClass, CloudValue, ExtensionType};

use super::compiled::{Body, CompiledFlow, EXTENSION, FlowRule, Origin, TargetKind};
use super::draft::{Draft, common_name, too_long};
use super::form::{Apply, FlowClass, UnverifiedSuffix};
use super::subject::Subject;
use super::target::Holds;
use super::{Flowed, ProblemKind, nickname, not_writable};
use crate::classify::DirectoryClass;
use crate::expression::{EvalErrorKind, Input as _, Output, Value};
use crate::hygiene::is_suffix_verified;
use crate::value::{is_mail_enabled, is_security_group, left, length};

/// The longest text of a directory extension, in UTF-16 code units; what is longer is cut, as both products do.
const EXTENSION_CUT: usize = 250;
/// The most bytes of a directory extension.
const EXTENSION_BYTES: usize = 256;
/// Directory extensions that one object may have.
const MAX_EXTENSIONS: usize = 100;

/// What became of a rule for one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Graph's name of the property.
    pub target: String,
    /// The rule as it can be written.
    pub rule: String,
    /// Where the rule comes from.
    pub origin: Origin,
    /// The directory attributes that it reads.
    pub reads: Vec<String>,
    /// The value, if it gave one.
    pub value: Option<CloudValue>,
    /// Whether the value is for the creation only.
    pub at_creation: bool,
    /// What it said otherwise.
    pub outcome: &'static str,
}

/// What a rule said.
enum Said<'a> {
    Value(Value<'a>),
    Nothing,
    Clear,
    Ignore,
    NotMeant,
    Failed,
}

/// What the rules of one target said together.
struct Spoken<'a> {
    rule: &'a FlowRule,
    said: Said<'a>,
}

impl CompiledFlow {
    /// What Azure AD should hold of an object of a class that [`DirectoryClass::is_synchronized`]. Of any other class the
    /// answer has a blocking problem.
    pub fn flow(&self, class: DirectoryClass, subject: &Subject<'_>) -> Flowed {
        let mut draft = Draft::new(subject.attributes());
        let (of, cloud) = match class {
            DirectoryClass::User | DirectoryClass::InetOrgPerson => (FlowClass::User, CloudClass::User),
            DirectoryClass::Group => (FlowClass::Group, group_class(subject)),
            DirectoryClass::Contact => (FlowClass::Contact, CloudClass::Contact),
            _ => {
                let message = "objects of this class are not synchronized".to_owned();
                draft.problem("objectClass", ProblemKind::Blocking, message);
                return finish(draft, CloudClass::Contact);
            }
        };
        let rules = self.rules(of);
        let mut at = 0;
        while let Some(first) = rules.get(at) {
            let count = rules.iter().skip(at).take_while(|rule| rule.target == first.target).count();
            let of_target = rules.get(at..at + count).unwrap_or_default();
            at += count;
            // Graph makes the mail of a group that it can write itself
            if cloud == CloudClass::Group && first.target == "mail" {
                continue;
            }
            let spoken = speak(first, of_target, subject, &mut draft);
            self.settle(&spoken, of_target, subject, &mut draft);
        }
        if cloud == CloudClass::User {
            self.apply_suffix_policy(subject, &mut draft);
        }
        if of == FlowClass::Group {
            draft.put("mailEnabled", CloudValue::Bool(is_mail_enabled(subject.attributes())));
        }
        limit_extensions(&mut draft);
        finish(draft, cloud)
    }

    /// What became of each rule for an object.
    pub fn explain(&self, class: DirectoryClass, subject: &Subject<'_>) -> Vec<Explained> {
        let of = match class {
            DirectoryClass::Group => FlowClass::Group,
            DirectoryClass::Contact => FlowClass::Contact,
            _ => FlowClass::User,
        };
        let flowed = self.flow(class, subject);
        let explained = |rule: &FlowRule| {
            let mut draft = Draft::new(subject.attributes());
            let said = run(rule, subject, &mut draft);
            let outcome = match said {
                Said::Value(_) => "value",
                Said::Nothing => "no value",
                Said::Clear => "cleared",
                Said::Ignore => "left as it is",
                Said::NotMeant => "its condition does not hold",
                Said::Failed => "failed",
            };
            let has_value = matches!(said, Said::Value(_));
            let from = if rule.apply == Apply::Create { &flowed.at_creation } else { &flowed.attributes };
            let earlier = self.rules(of).iter().take_while(|other| !std::ptr::eq(*other, rule));
            let is_beaten = earlier.filter(|other| other.target == rule.target).any(|other| {
                matches!(run(other, subject, &mut Draft::new(subject.attributes())), Said::Value(_) | Said::Clear)
            });
            Explained {
                target: rule.target.clone(),
                rule: rule.text(),
                origin: rule.origin(),
                reads: rule.reads.clone(),
                value: from.get(&rule.target).filter(|_| !is_beaten).cloned(),
                at_creation: rule.apply == Apply::Create,
                outcome: if is_beaten && has_value { "an earlier rule has a value" } else { outcome },
            }
        };
        self.rules(of).iter().map(explained).collect()
    }

    /// Puts what was said of a target where it belongs.
    fn settle(&self, spoken: &Spoken<'_>, all: &[FlowRule], subject: &Subject<'_>, draft: &mut Draft<'_>) {
        let rule = spoken.rule;
        let value = match &spoken.said {
            Said::Value(value) => convert(rule, value, draft),
            Said::Ignore => {
                draft.ignored.push(rule.target.clone());
                return;
            }
            _ => None,
        };
        let value = match (rule.holds, value) {
            (TargetKind::Property { holds: Holds::Enabled, .. }, Some(_))
                if self.disable_expired && subject.is_expired =>
            {
                Some(CloudValue::Bool(false))
            }
            (TargetKind::Property { holds: Holds::Nickname, .. }, value) => {
                Some(nicknamed(value.as_ref(), subject, draft))
            }
            (_, value) => value,
        };
        let at_creation = rule.apply == Apply::Create;
        match value {
            Some(value) if at_creation => _ = draft.at_creation.insert(rule.target.clone(), value),
            Some(value) => draft.put(&rule.target, value),
            None => {
                let default = all.iter().find_map(|rule| rule.default.as_deref().map(|text| (rule, text)));
                if let Some((rule, text)) = default {
                    let value = convert(rule, &Value::Text(text.into()), draft);
                    draft.at_creation.extend(value.map(|value| (rule.target.clone(), value)));
                }
                missing(rule, subject, draft);
            }
        }
    }

    /// A sign-in name whose domain is not verified in the tenant is refused there; what becomes of it is the
    /// configuration's choice.
    fn apply_suffix_policy(&self, subject: &Subject<'_>, draft: &mut Draft<'_>) {
        let Some(tenant) = subject.tenant.filter(|tenant| !tenant.verified.is_empty()) else { return };
        let Some(CloudValue::Text(principal)) = draft.attributes.get("userPrincipalName").cloned() else { return };
        if is_suffix_verified(&principal, &tenant.verified) {
            return;
        }
        let Some((local, suffix)) = principal.rsplit_once('@') else { return };
        let rewritten = match self.unverified_suffix {
            UnverifiedSuffix::Fail => None,
            UnverifiedSuffix::InitialDomain => match (draft.attributes.get("mailNickname"), &tenant.initial) {
                (Some(CloudValue::Text(nickname)), Some(initial)) => Some(format!("{nickname}@{initial}")),
                _ => None,
            },
            UnverifiedSuffix::Rewrite => {
                let to = self.rewrite_suffix.get(&suffix.to_lowercase());
                to.map(|to| format!("{local}@{to}")).filter(|name| is_suffix_verified(name, &tenant.verified))
            }
        };
        if let Some(name) = rewritten {
            draft.put_text("userPrincipalName", &name);
            let message = "the domain of the sign-in name is not verified in the tenant, so another name is sent; \
                           verify the domain, or change the name in the directory";
            draft.problem("userPrincipalName", ProblemKind::Adjusted, message.to_owned());
        } else {
            draft.attributes.remove("userPrincipalName");
            let message = "the domain of the sign-in name is not verified in the tenant; verify it there, change the \
                           name in the directory, or choose another flow.unverified_suffix";
            draft.problem("userPrincipalName", ProblemKind::Blocking, message.to_owned());
        }
    }
}

fn finish(draft: Draft<'_>, class: CloudClass) -> Flowed {
    let not_writable = not_writable::of(class, draft.source);
    let Draft { attributes, at_creation, mut ignored, problems, .. } = draft;
    ignored.sort_unstable();
    Flowed { class, attributes, at_creation, ignored, not_writable, problems }
}

/// A group whose kind cannot be read counts as a security group; that blocks it.
fn group_class(subject: &Subject<'_>) -> CloudClass {
    let attributes = subject.attributes();
    match (is_security_group(attributes).unwrap_or(true), is_mail_enabled(attributes)) {
        (true, false) => CloudClass::Group,
        (true, true) => CloudClass::MailEnabledGroup,
        (false, _) => CloudClass::DistributionList,
    }
}

/// Asks the rules of one target in turn: the first with a value, or with the word that there is to be none, is heard.
fn speak<'a>(
    first: &'a FlowRule,
    rules: &'a [FlowRule],
    subject: &'a Subject<'_>,
    draft: &mut Draft<'_>,
) -> Spoken<'a> {
    let mut last = Spoken { rule: first, said: Said::Nothing };
    for rule in rules {
        last = Spoken { rule, said: run(rule, subject, draft) };
        if matches!(last.said, Said::Value(_) | Said::Clear | Said::Ignore) {
            break;
        }
    }
    last
}

fn run<'a>(rule: &'a FlowRule, subject: &'a Subject<'_>, draft: &mut Draft<'_>) -> Said<'a> {
    if let Some(when) = &rule.when {
        match when.evaluate(subject) {
            Ok(Output::Value(Value::Boolean(true))) => {}
            Ok(_) => return Said::NotMeant,
            Err(error) => return failed(rule, &error.kind, &error.to_string(), draft),
        }
    }
    match &rule.body {
        Body::Constant(text) => Said::Value(Value::Text(text.as_str().into())),
        Body::Direct { attribute, trim } => direct(rule, attribute, *trim, subject, draft),
        Body::Expression(expression) => match expression.evaluate(subject) {
            Ok(Output::Value(value)) => Said::Value(value),
            Ok(Output::Null) => Said::Nothing,
            Ok(Output::Clear) => Said::Clear,
            Ok(Output::Ignore) => Said::Ignore,
            Err(error) => failed(rule, &error.kind, &error.to_string(), draft),
        },
    }
}

/// The values of an attribute as they are. Bytes are for targets that take bytes.
fn direct<'a>(
    rule: &FlowRule,
    attribute: &str,
    trim: bool,
    subject: &'a Subject<'_>,
    draft: &mut Draft<'_>,
) -> Said<'a> {
    let takes_bytes = matches!(rule.holds, TargetKind::Extension { data_type: ExtensionType::Binary, .. });
    let values = subject.values(attribute);
    let wants_all = match rule.holds {
        TargetKind::Property { holds, .. } => holds == Holds::Texts,
        TargetKind::Extension { multi_valued, .. } => multi_valued,
    };
    let mut all = Vec::new();
    for value in values.iter().take(if wants_all { 2_000 } else { 1 }) {
        match value.as_text() {
            Some(text) => all.push(Value::Text(if trim { text.trim() } else { text }.into())),
            None if takes_bytes => all.push(Value::Binary(value.as_bytes().into())),
            None => {
                let message = format!("{attribute} is not valid UTF-8; enter it again in the directory");
                draft.problem(attribute, ProblemKind::LeftOut, message);
            }
        }
    }
    match all.len() {
        0 => Said::Nothing,
        1 => all.pop().map_or(Said::Nothing, Said::Value),
        _ => Said::Value(Value::List(all)),
    }
}

fn failed<'a>(rule: &FlowRule, kind: &EvalErrorKind, message: &str, draft: &mut Draft<'_>) -> Said<'a> {
    let attribute = rule.reads.first().map_or(rule.target.as_str(), String::as_str);
    // Error() says that the object is wrong, whatever it is about
    if matches!(kind, EvalErrorKind::Raised(_)) {
        draft.blocking_for(attribute, &rule.target, format!("{}: {message}", rule.target));
    } else if !is_required(rule) {
        let message = format!("{} has no value, because {message}; correct it in the directory", rule.target);
        draft.problem(attribute, ProblemKind::LeftOut, message);
    }
    Said::Failed
}

fn is_required(rule: &FlowRule) -> bool {
    matches!(rule.holds, TargetKind::Property { is_required: true, .. })
}

/// What to say of an object that has no value where the tenant requires one.
fn missing(rule: &FlowRule, subject: &Subject<'_>, draft: &mut Draft<'_>) {
    let TargetKind::Property { holds, is_required: true } = rule.holds else { return };
    if draft.blocked.contains(&rule.target) {
        return;
    }
    let (attribute, message) = match holds {
        Holds::Enabled => (
            "userAccountControl",
            "userAccountControl cannot be read, so it is not known whether the account is enabled; \
             give the reader's account the right to read it",
        ),
        Holds::Security => (
            "groupType",
            "groupType cannot be read, so it is not known what kind of group it is; \
             give the reader's account the right to read it",
        ),
        Holds::Principal => (
            "userPrincipalName",
            "there is neither a userPrincipalName nor a sAMAccountName; \
             set userPrincipalName in the directory",
        ),
        _ if subject.values("cn").is_empty() => {
            ("displayName", "there is neither a displayName nor a name; set displayName in the directory")
        }
        _ => ("displayName", "there is no value for a property that Azure AD requires; correct it in the directory"),
    };
    draft.problem(attribute, ProblemKind::Blocking, message.to_owned());
}

/// The attribute that a value most likely comes from.
fn source_of<'r>(rule: &'r FlowRule, draft: &Draft<'_>) -> &'r str {
    let has_value = |name: &&String| crate::value::is_present(draft.source, name);
    rule.reads.iter().find(has_value).or(rule.reads.first()).map_or(rule.target.as_str(), String::as_str)
}

/// A value in the form that its target takes; none if it is blank, or does not fit.
fn convert(rule: &FlowRule, value: &Value<'_>, draft: &mut Draft<'_>) -> Option<CloudValue> {
    match rule.holds {
        TargetKind::Property { holds, .. } => property(rule, holds, value, draft),
        TargetKind::Extension { data_type, multi_valued: false } => extension(rule, data_type, first(value)?, draft),
        TargetKind::Extension { data_type, multi_valued: true } => {
            let values = all(value).into_iter().filter_map(|value| extension(rule, data_type, value, draft));
            let texts = values.filter_map(|value| match value {
                CloudValue::Text(text) => Some(text),
                _ => None,
            });
            let texts: Vec<String> = texts.collect();
            (!texts.is_empty()).then_some(CloudValue::List(texts))
        }
    }
}

fn first<'v, 'a>(value: &'v Value<'a>) -> Option<&'v Value<'a>> {
    match value {
        Value::List(values) => values.first(),
        single => Some(single),
    }
}

fn all<'v, 'a>(value: &'v Value<'a>) -> Vec<&'v Value<'a>> {
    match value {
        Value::List(values) => values.iter().collect(),
        single => vec![single],
    }
}

fn text(value: &Value<'_>) -> Option<String> {
    let text = match value {
        Value::Text(text) => text.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(value) => if *value { "True" } else { "False" }.to_owned(),
        Value::Date(date) => date.to_string(),
        Value::Binary(bytes) => STANDARD.encode(bytes),
        Value::List(values) => return values.first().and_then(text),
    };
    (!text.trim().is_empty()).then_some(text)
}

fn boolean(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Boolean(value) => Some(*value),
        Value::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn left_out(rule: &FlowRule, draft: &mut Draft<'_>, what: &str) {
    let attribute = source_of(rule, draft).to_owned();
    let message = format!("{} takes {what}; correct {attribute} in the directory", rule.target);
    draft.problem(&attribute, ProblemKind::LeftOut, message);
}

fn property(rule: &FlowRule, holds: Holds, value: &Value<'_>, draft: &mut Draft<'_>) -> Option<CloudValue> {
    match holds {
        Holds::Enabled | Holds::Security => {
            let value = boolean(first(value)?);
            if value.is_none() && !is_required(rule) {
                left_out(rule, draft, "True or False");
            }
            value.map(CloudValue::Bool)
        }
        Holds::OneText => text(value).map(|text| CloudValue::List(vec![text])),
        Holds::Texts => {
            let texts: Vec<String> = all(value).into_iter().filter_map(text).collect();
            (!texts.is_empty()).then_some(CloudValue::List(texts))
        }
        Holds::Date => date(rule, first(value)?, draft),
        Holds::Word(words) => {
            let text = text(value)?;
            let known = words.contains(&text.as_str());
            if !known {
                left_out(rule, draft, &format!("one of {}", words.join(", ")));
            }
            known.then_some(CloudValue::Text(text))
        }
        Holds::Mail => mail(&text(value)?, rule, draft),
        Holds::Principal => principal(text(value)?, rule, draft),
        Holds::Nickname => text(value).map(CloudValue::Text),
        Holds::Text(_) | Holds::DisplayName => {
            let text = text(value)?;
            let limit = holds.limit().filter(|limit| length(&text) > *limit);
            if let Some(limit) = limit {
                let attribute = source_of(rule, draft).to_owned();
                let kind = if holds == Holds::DisplayName { ProblemKind::Kept } else { ProblemKind::LeftOut };
                draft.problem(&attribute, kind, too_long(&attribute, length(&text), limit));
                if kind == ProblemKind::LeftOut {
                    return None;
                }
            }
            Some(CloudValue::Text(text))
        }
    }
}

fn date(rule: &FlowRule, value: &Value<'_>, draft: &mut Draft<'_>) -> Option<CloudValue> {
    let date = match value {
        Value::Date(date) => Some(date.to_string()),
        other => text(other)?.trim().parse::<jiff::Timestamp>().ok().map(|date| date.to_string()),
    };
    if date.is_none() {
        left_out(rule, draft, "a date such as CDate gives");
    }
    date.map(CloudValue::Text)
}

/// Graph makes the primary SMTP address of it and takes no accents.
fn mail(text: &str, rule: &FlowRule, draft: &mut Draft<'_>) -> Option<CloudValue> {
    let mail = text.trim();
    let is_address = mail.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && mail.chars().all(|c| c.is_ascii_graphic()) && !domain.contains('@')
    });
    if !is_address {
        let attribute = source_of(rule, draft).to_owned();
        let message = format!("{attribute} is no mail address in ASCII without blanks; correct it in the directory");
        draft.problem(&attribute, ProblemKind::LeftOut, message);
    }
    is_address.then(|| CloudValue::Text(mail.to_owned()))
}

/// One that Graph refuses is not sent: it does not fall back to another name by itself.
fn principal(name: String, rule: &FlowRule, draft: &mut Draft<'_>) -> Option<CloudValue> {
    let attribute = source_of(rule, draft).to_owned();
    if !is_principal_name(&name) {
        let message = "the sign-in name is not of the form name@domain, or has characters that Azure AD refuses; \
                       set userPrincipalName in the directory to one of letters without accents, digits and \
                       ' . - _ ! # ^ ~ before the @";
        draft.blocking_for(&attribute, &rule.target, message.to_owned());
        return None;
    }
    if let Some(limit) = Holds::Principal.limit().filter(|limit| length(&name) > *limit) {
        draft.problem(&attribute, ProblemKind::Kept, too_long(&attribute, length(&name), limit));
    }
    Some(CloudValue::Text(name))
}

/// Whether Graph takes it, apart from the question whether the domain is verified.
fn is_principal_name(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, domain)| {
        let local_ok = local.chars().all(|c| c.is_ascii_alphanumeric() || "'.-_!#^~".contains(c));
        let domain_ok = domain.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
        local_ok && domain_ok && !local.is_empty() && !domain.is_empty()
    })
}

/// What Graph takes of a mailNickname, made up if nothing is left; says so if the directory's own was another one.
fn nicknamed(value: Option<&CloudValue>, subject: &Subject<'_>, draft: &mut Draft<'_>) -> CloudValue {
    let candidate = match value {
        Some(CloudValue::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let attributes = subject.attributes();
    let account = ["userPrincipalName", "sAMAccountName"].into_iter().find_map(|n| crate::value::text(attributes, n));
    let seed = account.or(common_name(attributes, subject.dn())).unwrap_or_default();
    let chosen = nickname::nickname(candidate, seed);
    let own = crate::value::text(attributes, "mailNickname");
    if own.is_some_and(|own| own != chosen) && (candidate == own || candidate.is_none() || own_is_read(candidate, own))
    {
        draft.adjusted_nickname();
    }
    CloudValue::Text(chosen)
}

/// Whether the value was made of the directory's own mailNickname, or took its place because nothing of it was left.
fn own_is_read(candidate: Option<&str>, own: Option<&str>) -> bool {
    let left = own.map(nickname::sanitised).unwrap_or_default();
    left.is_empty() || candidate == Some(left.as_str())
}

fn extension(
    rule: &FlowRule,
    data_type: ExtensionType,
    value: &Value<'_>,
    draft: &mut Draft<'_>,
) -> Option<CloudValue> {
    match data_type {
        ExtensionType::String => {
            let text = text(value)?;
            if length(&text) <= EXTENSION_CUT {
                return Some(CloudValue::Text(text));
            }
            let attribute = source_of(rule, draft).to_owned();
            let message = format!("{attribute} is cut at {EXTENSION_CUT} characters for {}", rule.target);
            draft.problem(&attribute, ProblemKind::Adjusted, message);
            Some(CloudValue::Text(left(&text, EXTENSION_CUT)))
        }
        ExtensionType::Boolean => {
            let value = boolean(value);
            if value.is_none() {
                left_out(rule, draft, "True or False");
            }
            value.map(CloudValue::Bool)
        }
        ExtensionType::DateTime => date(rule, value, draft),
        ExtensionType::Integer | ExtensionType::LargeInteger => {
            let number = match value {
                Value::Integer(number) => Some(*number),
                other => text(other)?.trim().parse().ok(),
            };
            let fits = |n: &i64| data_type == ExtensionType::LargeInteger || i32::try_from(*n).is_ok();
            let number = number.filter(fits);
            if number.is_none() {
                left_out(rule, draft, "a whole number of its size");
            }
            number.map(CloudValue::Integer)
        }
        ExtensionType::Binary => {
            let bytes: Vec<u8> = match value {
                Value::Binary(bytes) => bytes.to_vec(),
                other => text(other)?.into_bytes(),
            };
            if bytes.len() > EXTENSION_BYTES {
                left_out(rule, draft, "at most 256 bytes");
                return None;
            }
            Some(CloudValue::Text(STANDARD.encode(bytes)))
        }
    }
}

/// Graph keeps so many extension values of an object and no more.
fn limit_extensions(draft: &mut Draft<'_>) {
    let count = |value: &CloudValue| if let CloudValue::List(values) = value { values.len() } else { 1 };
    let mut total = 0;
    let beyond: Vec<String> = draft
        .attributes
        .iter()
        .filter(|(name, _)| name.starts_with(EXTENSION))
        .filter(|(_, value)| {
            total += count(value);
            total > MAX_EXTENSIONS
        })
        .map(|(name, _)| name.clone())
        .collect();
    for name in beyond {
        draft.attributes.remove(&name);
        let message = format!("{name} is left out: an object has at most {MAX_EXTENSIONS} values of extensions");
        draft.problem(&name, ProblemKind::LeftOut, message);
    }
}
