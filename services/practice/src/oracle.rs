//! The oracle: what a tenant should hold, computed from a reading of the directories by other means than the pipeline.
//!
//! It takes entries as plain searches or `ldbsearch` show them, decides scope by comparing names (the pipeline goes by
//! objectGUID and parents), and maps attributes from one table. It shares no code with the rules, so that a mistake
//! would have to be made twice to stay unseen.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::forest::LiveObject;
use crate::tenant::TenantDump;

/// An entry of a directory: its name and its attributes, names in any case, values as bytes.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// The name as the directory writes it.
    pub dn: String,
    /// Attributes by lower-case name.
    pub attributes: HashMap<String, Vec<Vec<u8>>>,
}

/// One forest as read, and what of it is in scope.
#[derive(Debug, Clone, Default)]
pub struct ForestReading {
    /// The naming context.
    pub base: String,
    /// All live entries under it.
    pub entries: Vec<Entry>,
    /// Names of included containers as the directory writes them today; none means everything.
    pub include: Vec<String>,
    /// Names of excluded containers.
    pub exclude: Vec<String>,
    /// Anchors made of objectGUID that stay, although the object got an ms-DS-ConsistencyGuid since.
    pub pinned: BTreeSet<String>,
}

/// A user or group, as expected or as found. Properties without a value are absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Object {
    /// Graph properties, those of complex ones by dotted path.
    pub properties: BTreeMap<String, Value>,
    /// The manager's anchor, of a user.
    pub manager: Option<String>,
    /// The members' anchors, of a group.
    pub members: BTreeSet<String>,
}

/// What a tenant holds of what we manage, by anchor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Holdings {
    /// Users by onPremisesImmutableId.
    pub users: BTreeMap<String, Object>,
    /// Groups by the base64 form of their anchor.
    pub groups: BTreeMap<String, Object>,
    /// How many objects in scope Graph cannot write: contacts, distribution lists, mail-enabled groups.
    pub not_writable: usize,
}

/// Properties by dotted path; what has no value is left out.
fn flatten(properties: &Map<String, Value>, prefix: &str, into: &mut BTreeMap<String, Value>) {
    for (name, value) in properties {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Object(inner) => flatten(inner, &path, into),
            Value::Null => {}
            Value::Array(values) if values.is_empty() => {}
            value => _ = into.insert(path, value.clone()),
        }
    }
}

/// The base64 form of an anchor, of the form that group names have.
fn from_unique_name(name: &str) -> String {
    let base64 = name.replace('-', "+").replace('_', "/");
    let padding = (4 - base64.len() % 4) % 4;
    base64 + &"=".repeat(padding)
}

impl Holdings {
    /// What a practice tenant holds. Objects without an anchor are none of ours.
    pub fn of(dump: &TenantDump) -> Self {
        let (mut holdings, mut anchors) = (Self::default(), HashMap::new());
        let text = |properties: &Map<String, Value>, name: &str| {
            properties.get(name).and_then(Value::as_str).map(str::to_owned)
        };
        for user in &dump.users {
            anchors.extend(text(&user.properties, "onPremisesImmutableId").map(|anchor| (user.id.as_str(), anchor)));
        }
        for group in &dump.groups {
            let anchor = text(&group.properties, "uniqueName").map(|name| from_unique_name(&name));
            anchors.extend(anchor.map(|anchor| (group.id.as_str(), anchor)));
        }
        let object = |properties: &Map<String, Value>| {
            let mut object = Object::default();
            flatten(properties, "", &mut object.properties);
            object
        };
        let named = |id: &String| anchors.get(id.as_str()).cloned().unwrap_or_else(|| format!("unknown object {id}"));
        for user in &dump.users {
            let Some(anchor) = anchors.get(user.id.as_str()) else { continue };
            let manager = user.manager.as_ref().map(named);
            holdings.users.insert(anchor.clone(), Object { manager, ..object(&user.properties) });
        }
        for group in &dump.groups {
            let Some(anchor) = anchors.get(group.id.as_str()) else { continue };
            let members = group.members.iter().map(named).collect();
            holdings.groups.insert(anchor.clone(), Object { members, ..object(&group.properties) });
        }
        holdings
    }
}

/// The live objects of a practice forest as entries, for whoever has the forest in the same process.
pub fn entries(objects: &[LiveObject]) -> Vec<Entry> {
    let names: HashMap<[u8; 16], &str> = objects.iter().map(|o| (o.guid, o.dn.as_str())).collect();
    let entry = |object: &LiveObject| {
        let links = object.links.iter().map(|(name, targets)| {
            let dns = targets.iter().filter_map(|guid| names.get(guid)).map(|dn| dn.as_bytes().to_vec());
            ((*name).to_owned(), dns.collect::<Vec<_>>())
        });
        let own = [("objectGUID".to_owned(), vec![object.guid.to_vec()])];
        let stored = object.attributes.iter().map(|(name, values)| ((*name).to_owned(), values.clone()));
        Entry::new(&object.dn, stored.chain(links).chain(own).collect::<Vec<_>>())
    };
    objects.iter().map(entry).collect()
}

const TRIMMED: [(&str, &str); 17] = [
    ("l", "city"),
    ("company", "companyName"),
    ("co", "country"),
    ("department", "department"),
    ("employeeid", "employeeId"),
    ("facsimiletelephonenumber", "faxNumber"),
    ("givenname", "givenName"),
    ("mail", "mail"),
    ("mobile", "mobilePhone"),
    ("physicaldeliveryofficename", "officeLocation"),
    ("postalcode", "postalCode"),
    ("preferredlanguage", "preferredLanguage"),
    ("st", "state"),
    ("streetaddress", "streetAddress"),
    ("sn", "surname"),
    ("title", "jobTitle"),
    ("userprincipalname", "userPrincipalName"),
];

impl Entry {
    /// An entry from text values.
    pub fn new(dn: &str, attributes: impl IntoIterator<Item = (String, Vec<Vec<u8>>)>) -> Self {
        let attributes = attributes.into_iter().map(|(name, values)| (name.to_ascii_lowercase(), values));
        Self { dn: dn.to_owned(), attributes: attributes.filter(|(_, values)| !values.is_empty()).collect() }
    }

    /// The first value with the blanks it has, unless it is nothing but blanks.
    fn untrimmed(&self, name: &str) -> Option<String> {
        let value = self.attributes.get(name)?.first()?;
        let text = String::from_utf8_lossy(value).into_owned();
        (!text.trim().is_empty()).then_some(text)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.untrimmed(name).map(|text| text.trim().to_owned())
    }

    fn number(&self, name: &str) -> i64 {
        self.text(name).and_then(|t| t.parse().ok()).unwrap_or_default()
    }

    fn texts(&self, name: &str) -> Vec<String> {
        let values = self.attributes.get(name).map(Vec::as_slice).unwrap_or_default();
        values.iter().map(|v| String::from_utf8_lossy(v).into_owned()).collect()
    }

    fn is(&self, class: &str) -> bool {
        self.texts("objectclass").iter().any(|c| c.eq_ignore_ascii_case(class))
    }

    /// objectGUID in base64.
    pub fn object_guid(&self) -> Option<String> {
        self.guid("objectguid")
    }

    fn anchor(&self, pinned: &BTreeSet<String>) -> Option<String> {
        let own = self.object_guid();
        if own.as_ref().is_some_and(|own| pinned.contains(own)) {
            return own;
        }
        self.guid("ms-ds-consistencyguid").or(own)
    }

    /// The base64 of the raw sixteen bytes, which `ldbsearch` shows as text.
    fn guid(&self, attribute: &str) -> Option<String> {
        let raw = self.attributes.get(attribute)?.first()?;
        if raw.len() == 16 {
            return Some(STANDARD.encode(raw));
        }
        let digits: Vec<u8> =
            raw.iter().filter_map(|b| char::from(*b).to_digit(16)).map(|d| d as u8).collect::<Vec<_>>();
        let mut bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        if bytes.len() != 16 {
            return None;
        }
        bytes[0..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        Some(STANDARD.encode(bytes))
    }

    fn addresses(&self) -> (Option<String>, Option<String>) {
        let all = self.texts("proxyaddresses");
        let after = |prefix: &str| all.iter().find_map(|a| a.trim().strip_prefix(prefix).map(str::to_owned));
        (after("SMTP:"), after("smtp:"))
    }

    fn is_mail_enabled(&self) -> bool {
        let primary = self.addresses().0.is_some_and(|a| a.contains('@'));
        primary || self.text("mail").is_some_and(|m| m.contains('@'))
    }

    fn excluded(&self) -> bool {
        let starts = |name: &str, prefix: &str| self.text(name).is_some_and(|t| t.starts_with(prefix));
        let sam = self.text("samaccountname");
        let nickname = self.text("mailnickname").unwrap_or_default();
        let details = self.number("msexchrecipienttypedetails");
        let victim = self.dn.split(',').next().unwrap_or_default().to_uppercase().contains("\\0ACNF:");
        if victim || self.attributes.contains_key("iscriticalsystemobject") {
            return true;
        }
        if self.is("group") {
            return starts("admindescription", "Group_")
                || sam.as_deref() == Some("MSOL_AD_Sync_RichCoexistence")
                || details & 0x4000_0000 > 0;
        }
        if self.is("contact") {
            let cas = nickname.starts_with("CAS_") && nickname.contains('}');
            let hidden = self.text("msexchhidefromaddresslists").is_some_and(|t| t.eq_ignore_ascii_case("true"));
            return cas || (hidden && self.text("displayname").is_some_and(|d| d.contains("(MSOL)")));
        }
        let Some(sam) = sam else { return true };
        let cas = |text: &str| text.starts_with("CAS_") && text.contains('}');
        starts("admindescription", "User_")
            || sam == "SUPPORT_388945a0"
            || nickname.starts_with("SystemMailbox{")
            || ["AAD_", "MSOL_"].iter().any(|p| sam.starts_with(p))
            || cas(&sam)
            || cas(&nickname)
            || details & 0x21C0_7000 > 0
            || details == 2
    }
}

/// Whether `dn` is `container` or lies under it.
fn under(dn: &str, container: &str) -> bool {
    let (dn, container) = (dn.to_lowercase(), container.to_lowercase());
    dn == container || dn.strip_suffix(container.as_str()).is_some_and(|front| front.ends_with(','))
}

impl ForestReading {
    fn in_scope(&self, dn: &str) -> bool {
        let deepest = |list: &[String]| list.iter().filter(|c| under(dn, c)).map(String::len).max();
        let included = if self.include.is_empty() { Some(0) } else { deepest(&self.include) };
        match (included, deepest(&self.exclude)) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(inside), Some(outside)) => inside > outside,
        }
    }

    fn domain(&self) -> String {
        let labels = self.base.split(',').filter_map(|part| part.split_once('='));
        labels.map(|(_, label)| label.to_lowercase()).collect::<Vec<_>>().join(".")
    }
}

fn sanitised(nickname: &str) -> String {
    let legal = |c: &char| c.is_ascii_graphic() && !r#"@()\[]";:<>,"#.contains(*c);
    nickname.chars().filter(legal).take(64).collect()
}

fn local(address: &str) -> String {
    address.split('@').next().unwrap_or_default().to_owned()
}

fn common_name(entry: &Entry) -> Option<String> {
    // the one text that flows as it is
    ["displayname", "cn", "name"].into_iter().find_map(|name| entry.untrimmed(name))
}

fn user(entry: &Entry, domain: &str) -> Object {
    let mut properties = BTreeMap::new();
    for (from, to) in TRIMMED {
        if let Some(text) = entry.text(from) {
            properties.insert(to.to_owned(), json!(text));
        }
    }
    for n in 1..=15 {
        if let Some(text) = entry.text(&format!("extensionattribute{n}")) {
            properties.insert(format!("onPremisesExtensionAttributes.extensionAttribute{n}"), json!(text));
        }
    }
    if let Some(text) = entry.text("telephonenumber") {
        properties.insert("businessPhones".into(), json!([text]));
    }
    if let Some(text) = common_name(entry) {
        properties.insert("displayName".into(), json!(text));
    }
    properties.insert("accountEnabled".into(), json!(entry.number("useraccountcontrol") & 2 == 0));
    let sam = entry.text("samaccountname").unwrap_or_default();
    let upn = entry.text("userprincipalname").unwrap_or_else(|| format!("{sam}@{domain}"));
    properties.insert("userPrincipalName".into(), json!(upn));
    let (primary, secondary) = entry.addresses();
    let nickname = entry.text("mailnickname").or(primary.map(|a| local(&a)));
    let nickname = nickname.or(entry.text("mail").map(|m| local(&m))).or(Some(local(&upn)));
    let nickname = nickname.or(secondary.map(|a| local(&a))).unwrap_or_default();
    properties.insert("mailNickname".into(), json!(sanitised(&nickname)));
    Object { properties, ..Object::default() }
}

fn group(entry: &Entry) -> Object {
    let mut properties = BTreeMap::new();
    if let Some(text) = common_name(entry) {
        properties.insert("displayName".into(), json!(text));
    }
    if let Some(text) = entry.text("description") {
        let cut: String = text.chars().take(448).collect();
        properties.insert("description".into(), json!(cut));
    }
    let nickname = entry.text("mailnickname").or(entry.text("mail").map(|m| local(&m)));
    let nickname = nickname.or(entry.text("samaccountname")).or(entry.text("cn")).unwrap_or_default();
    properties.insert("mailNickname".into(), json!(sanitised(&nickname)));
    properties.insert("securityEnabled".into(), json!(true));
    properties.insert("mailEnabled".into(), json!(false));
    Object { properties, ..Object::default() }
}

/// What the tenant should hold for these forests.
pub fn expected(forests: &[ForestReading]) -> Holdings {
    let mut holdings = Holdings::default();
    for forest in forests {
        let (mut by_dn, mut chosen) = (HashMap::new(), Vec::new());
        for entry in &forest.entries {
            let (is_group, is_contact) = (entry.is("group"), entry.is("contact"));
            let is_user = entry.is("user") && !entry.is("computer");
            if !(is_group || is_contact || is_user) || !forest.in_scope(&entry.dn) || entry.excluded() {
                continue;
            }
            let security = entry.number("grouptype") & 0x8000_0000 != 0;
            if is_contact || (is_group && (entry.is_mail_enabled() || !security)) {
                holdings.not_writable += usize::from(entry.is_mail_enabled());
                continue;
            }
            let Some(anchor) = entry.anchor(&forest.pinned) else { continue };
            by_dn.insert(entry.dn.to_lowercase(), (anchor.clone(), is_user));
            chosen.push((entry, anchor, is_user));
        }
        let domain = forest.domain();
        for (entry, anchor, is_user) in chosen {
            let names = |attribute: &str| {
                let texts = entry.texts(attribute);
                texts.into_iter().filter_map(|dn| by_dn.get(&dn.to_lowercase()).cloned()).collect::<Vec<_>>()
            };
            if is_user {
                let mut object = user(entry, &domain);
                object.manager = names("manager").into_iter().find(|(_, user)| *user).map(|(anchor, _)| anchor);
                holdings.users.insert(anchor, object);
            } else {
                let mut object = group(entry);
                object.members = names("member").into_iter().map(|(anchor, _)| anchor).collect();
                holdings.groups.insert(anchor, object);
            }
        }
    }
    holdings
}

/// Where `found` differs from `expected`, a line each, naming object and property but no more than 200 of them. What the
/// tenant holds beside the expected properties of an object is not compared: Azure AD adds some of its own.
pub fn differences(expected: &Holdings, found: &Holdings, managed: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = differing(expected, found, managed).into_values().flatten().collect();
    lines.truncate(200);
    lines
}

/// The same by object: the anchors of those that differ, each with a line for each difference.
pub fn differing(expected: &Holdings, found: &Holdings, managed: &[&str]) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for (what, expected, found) in [("user", &expected.users, &found.users), ("group", &expected.groups, &found.groups)]
    {
        for (anchor, object) in expected {
            let mut lines = Vec::new();
            match found.get(anchor) {
                None => lines.push(format!("{what} {anchor} is missing in the tenant")),
                Some(held) => compare(&mut lines, &format!("{what} {anchor}"), object, held, managed),
            }
            if !lines.is_empty() {
                all.insert(anchor.clone(), lines);
            }
        }
        for anchor in found.keys().filter(|anchor| !expected.contains_key(*anchor)) {
            all.insert(anchor.clone(), vec![format!("{what} {anchor} is in the tenant and should not be")]);
        }
    }
    all
}

fn compare(lines: &mut Vec<String>, what: &str, expected: &Object, found: &Object, managed: &[&str]) {
    let names: BTreeSet<&str> = expected.properties.keys().map(String::as_str).chain(managed.iter().copied()).collect();
    for name in names {
        let (wish, have) = (expected.properties.get(name), found.properties.get(name));
        if wish != have {
            lines.push(format!("{what}: {name} is {have:?}, expected {wish:?}"));
        }
    }
    if expected.manager != found.manager {
        lines.push(format!("{what}: manager is {:?}, expected {:?}", found.manager, expected.manager));
    }
    for missing in expected.members.difference(&found.members) {
        lines.push(format!("{what}: member {missing} is missing"));
    }
    for extra in found.members.difference(&expected.members) {
        lines.push(format!("{what}: member {extra} should not be there"));
    }
}

/// The properties of a user that are compared even where nothing is expected of them: there must be no value then.
pub fn managed_user_properties() -> Vec<&'static str> {
    TRIMMED.iter().map(|(_, to)| *to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_goes_by_the_deepest_container() {
        let forest = ForestReading {
            base: "DC=x".into(),
            include: vec!["OU=a,DC=x".into(), "OU=c,OU=b,OU=a,DC=x".into()],
            exclude: vec!["OU=b,OU=a,DC=x".into()],
            ..ForestReading::default()
        };
        assert!(forest.in_scope("CN=u,OU=A,DC=x"));
        assert!(!forest.in_scope("CN=u,OU=b,OU=a,DC=x"));
        assert!(forest.in_scope("CN=u,OU=c,OU=b,OU=a,DC=x"));
        assert!(!forest.in_scope("CN=u,OU=aa,DC=x"));
        assert!(!forest.in_scope("CN=u,DC=x"));
    }

    #[test]
    fn anchors_read_both_forms_of_a_guid() {
        let raw = [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
        for value in [raw.to_vec(), b"00112233-4455-6677-8899-aabbccddeeff".to_vec()] {
            let entry = Entry::new("CN=x", [("objectGUID".to_owned(), vec![value])]);
            assert_eq!(entry.object_guid().as_deref(), Some("MyIRAFVEd2aImaq7zN3u/w=="));
        }
    }
}
