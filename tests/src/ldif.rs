//! Reading what `ldbsearch` prints.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use forestsync_practice::oracle::Entry;

/// The entries of an LDIF text; comments and referrals are skipped.
pub fn entries(text: &str) -> Vec<Entry> {
    let mut unfolded: Vec<String> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix(' ') {
            Some(rest) if unfolded.last().is_some_and(|l| !l.is_empty()) => unfolded.last_mut().unwrap().push_str(rest),
            _ => unfolded.push(line.to_owned()),
        }
    }
    let (mut all, mut current) = (Vec::new(), None::<Entry>);
    for line in unfolded.iter().chain([&String::new()]) {
        if line.is_empty() {
            all.extend(current.take());
        } else if !line.starts_with('#') {
            let (name, value) = value(line);
            if name == "dn" {
                current = Some(Entry { dn: String::from_utf8(value).unwrap(), attributes: HashMap::new() });
            } else if let Some(entry) = &mut current {
                entry.attributes.entry(name).or_default().push(value);
            }
        }
    }
    all
}

fn value(line: &str) -> (String, Vec<u8>) {
    let (name, rest) = line.split_once(':').unwrap_or((line, ""));
    let bytes = match rest.strip_prefix(':') {
        Some(encoded) => STANDARD.decode(encoded.trim()).unwrap(),
        None => rest.strip_prefix(' ').unwrap_or(rest).as_bytes().to_vec(),
    };
    (name.to_ascii_lowercase(), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfolds_and_decodes() {
        let text =
            "# record 1\ndn:: Q049w4Q=\nname: a b\n c\nmember: x\nmember: y\n\n# Referral\nref: ldap://x\n\ndn: CN=b\n";
        let all = entries(text);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].dn, "CN=Ä");
        assert_eq!(all[0].attributes["name"], [b"a bc".to_vec()]);
        assert_eq!(all[0].attributes["member"].len(), 2);
        assert_eq!(all[1].dn, "CN=b");
    }
}
