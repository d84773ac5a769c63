//! The form of mail addresses that IdFix asks for: RFC 2822's dot-atom before the `@`, host names after it.

use crate::value::{left, length};

/// What is wrong with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressFault {
    /// There is not exactly one `@`.
    Format,
    /// What stands before it.
    LocalPart,
    /// What stands after it.
    DomainPart,
    /// The last label.
    TopLevel,
}

/// Top-level domains that are not in the DNS of the internet: reserved by RFC 2606 and RFC 6762, listed in its appendix G as
/// used in private, or used so by convention (`domain`, `localdomain`). Not `example`, which no directory has by mistake and
/// every sample uses.
const PRIVATE: [&str; 12] = [
    "corp",
    "domain",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "private",
    "test",
];

fn is_atom(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~-".contains(c)
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// What is wrong with an address first, from left to right.
pub(super) fn fault(address: &str) -> Option<AddressFault> {
    let Some((local, domain)) = address.split_once('@').filter(|(_, domain)| !domain.contains('@')) else {
        return Some(AddressFault::Format);
    };
    if !local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atom)) {
        return Some(AddressFault::LocalPart);
    }
    let Some((above, top)) = domain.rsplit_once('.') else { return Some(AddressFault::DomainPart) };
    let is_top = (2..=17).contains(&top.len()) && top.chars().all(|c| c.is_ascii_alphabetic());
    if !is_top || !above.split('.').all(is_label) {
        return Some(AddressFault::DomainPart);
    }
    PRIVATE.iter().any(|private| private.eq_ignore_ascii_case(top)).then_some(AddressFault::TopLevel)
}

/// The address without what must not be in it; `None` if that makes no address, or if it is not plain where it is divided.
pub(super) fn repaired(address: &str) -> Option<String> {
    let (local, domain) = address.split_once('@').filter(|(_, domain)| !domain.contains('@'))?;
    let kept = |part: &str, legal: fn(char) -> bool, ends: &[char]| {
        let text: String = part.chars().map(plain).filter(|c| legal(*c) || *c == '.').collect();
        let pieces = text.split('.').map(|piece| piece.trim_matches(ends)).filter(|piece| !piece.is_empty());
        pieces.collect::<Vec<_>>().join(".")
    };
    let local = kept(local, is_atom, &[]);
    let domain = kept(domain, |c| c.is_ascii_alphanumeric() || c == '-', &['-']);
    let address = format!("{local}@{domain}");
    fault(&address).is_none().then_some(address)
}

/// The address with no more than `limit` UTF-16 code units, at the cost of the part before the `@`; `None` if nothing of it
/// would be left. A text without an `@` is cut.
pub(super) fn shortened(address: &str, limit: usize) -> Option<String> {
    let Some((local, domain)) = address.split_once('@') else { return Some(left(address, limit)) };
    let room = limit.checked_sub(length(domain) + 1)?;
    let local = left(local, room);
    let local = local.trim_end_matches('.');
    (!local.is_empty()).then(|| format!("{local}@{domain}"))
}

/// The letter without its mark, for the marks that western European names have; any other character as it is.
pub(super) fn plain(c: char) -> char {
    match c {
        'à'..='å' => 'a',
        'è'..='ë' => 'e',
        'ì'..='ï' => 'i',
        'ò'..='ö' | 'ø' => 'o',
        'ù'..='ü' => 'u',
        'ý' | 'ÿ' => 'y',
        'ç' => 'c',
        'ñ' => 'n',
        'À'..='Å' => 'A',
        'È'..='Ë' => 'E',
        'Ì'..='Ï' => 'I',
        'Ò'..='Ö' | 'Ø' => 'O',
        'Ù'..='Ü' => 'U',
        'Ý' | 'Ÿ' => 'Y',
        'Ç' => 'C',
        'Ñ' => 'N',
        _ => c,
    }
}
