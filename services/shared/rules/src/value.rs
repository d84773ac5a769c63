//! How the rules read directory attributes.

use forestsync_domain::{AttributeValue, Attributes};

/// The first value, as the directory has it, unless it is blank. A value that is not text counts as none.
pub(crate) fn text<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a str> {
    let text = attributes.get(name)?.first()?.as_text()?;
    (!text.trim().is_empty()).then_some(text)
}

/// All values that are text and not blank, without white space at their ends.
pub(crate) fn texts<'a>(attributes: &'a Attributes, name: &str) -> impl Iterator<Item = &'a str> {
    let values = attributes.get(name).map(Vec::as_slice).unwrap_or_default();
    values.iter().filter_map(AttributeValue::as_text).map(str::trim).filter(|text| !text.is_empty())
}

/// Whether the attribute has a value of any kind that is not blank.
pub(crate) fn is_present(attributes: &Attributes, name: &str) -> bool {
    attributes.get(name).is_some_and(|values| {
        values.iter().any(|value| match value {
            AttributeValue::Text(text) => !text.trim().is_empty(),
            AttributeValue::Binary(bytes) => !bytes.is_empty(),
        })
    })
}

/// The value of an attribute of integer syntax; the directory writes 32-bit flags as signed numbers.
pub(crate) fn integer(attributes: &Attributes, name: &str) -> Option<i64> {
    text(attributes, name)?.trim().parse().ok()
}

/// Whether an attribute of boolean syntax is `TRUE`.
pub(crate) fn is_true(attributes: &Attributes, name: &str) -> bool {
    text(attributes, name).is_some_and(|text| text.trim().eq_ignore_ascii_case("true"))
}

/// Length as directories count it: in UTF-16 code units, so that an emoji counts two.
pub(crate) fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The first `limit` UTF-16 code units, never half a character.
pub(crate) fn left(text: &str, limit: usize) -> String {
    let mut used = 0;
    text.chars()
        .take_while(|c| {
            used += c.len_utf16();
            used <= limit
        })
        .collect()
}

/// Whether a group or contact has mail: a primary SMTP address, or a mail attribute, with an `@` in it.
pub(crate) fn is_mail_enabled(attributes: &Attributes) -> bool {
    texts(attributes, "proxyAddresses").any(|address| address.starts_with("SMTP:") && address.contains('@'))
        || text(attributes, "mail").is_some_and(|mail| mail.contains('@'))
}

/// Whether a group is a security group, from bit 31 of groupType (MS-ADTS 2.2.12); `None` if that cannot be read.
pub(crate) fn is_security_group(attributes: &Attributes) -> Option<bool> {
    integer(attributes, "groupType").map(|kind| kind & 0x8000_0000 != 0)
}
