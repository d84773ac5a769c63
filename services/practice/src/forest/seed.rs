//! What a new forest holds before anybody adds to it: naming contexts, the standard containers, well-known accounts
//! and groups, the schema, and the controller's own objects.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::add::{Outside, account_type, text_attr};
use super::dn::{self, fold};
use super::object::{Attr, Birth, Context, Id, NOBODY};
use super::schema::{
    ACCOUNT_EXPIRES, AttrId, CLASSES, CODE_PAGE, CONFIDENTIAL, COUNTRY_CODE, ClassId, DESCRIPTION, DNS_HOST_NAME,
    DNS_ROOT, GROUP_TYPE, IS_CRITICAL, IS_DELETED, Kind, LDAP_DISPLAY_NAME, MEMBER, NC_NAME, NETBIOS_NAME,
    OBJECT_CATEGORY, OBJECT_SID, PRIMARY_GROUP_ID, PWD_LAST_SET, SAM_ACCOUNT_NAME, SAM_ACCOUNT_TYPE, SEARCH_FLAGS,
    SYSTEM_FLAGS, USER_ACCOUNT_CONTROL, USER_PRINCIPAL_NAME, schema,
};
use super::store::{Names, Store};
use super::text;

/// `searchFlags` bit: read only with a right of its own (MS-ADTS 3.1.1.2.3).
pub(crate) const CONFIDENTIAL_BIT: i64 = 128;

/// Groups below CN=Users: name, RID, groupType.
const DOMAIN_GROUPS: &[(&str, u32, i64)] = &[
    ("Enterprise Read-only Domain Controllers", 498, -2_147_483_640),
    ("Domain Admins", 512, -2_147_483_646),
    ("Domain Users", 513, -2_147_483_646),
    ("Domain Guests", 514, -2_147_483_646),
    ("Domain Computers", 515, -2_147_483_646),
    ("Domain Controllers", 516, -2_147_483_646),
    ("Cert Publishers", 517, -2_147_483_644),
    ("Schema Admins", 518, -2_147_483_640),
    ("Enterprise Admins", 519, -2_147_483_640),
    ("Group Policy Creator Owners", 520, -2_147_483_646),
    ("Read-only Domain Controllers", 521, -2_147_483_646),
    ("RAS and IAS Servers", 553, -2_147_483_644),
    ("Allowed RODC Password Replication Group", 571, -2_147_483_644),
    ("Denied RODC Password Replication Group", 572, -2_147_483_644),
];

/// Groups below CN=Builtin: name, RID below S-1-5-32.
const BUILTIN_GROUPS: &[(&str, u32)] = &[
    ("Administrators", 544),
    ("Users", 545),
    ("Guests", 546),
    ("Account Operators", 548),
    ("Server Operators", 549),
    ("Print Operators", 550),
    ("Backup Operators", 551),
    ("Replicator", 552),
    ("Pre-Windows 2000 Compatible Access", 554),
    ("Remote Desktop Users", 555),
    ("Event Log Readers", 573),
];

/// What the seed needs to know.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) base: &'a str,
    pub(crate) host: &'a str,
    pub(crate) netbios: String,
    /// The roots of the forest's other domains.
    pub(crate) other_domains: &'a [String],
    pub(crate) seed: u64,
    pub(crate) now: i64,
    /// Accounts to make in CN=Users, the first being the built-in administrator.
    pub(crate) accounts: Vec<&'a str>,
}

struct Seeder<'a> {
    store: Store,
    out: Outside<'a>,
}

/// A directory as a fresh installation has it, and the source of its further identifiers.
pub(crate) fn plant(plan: &Plan<'_>) -> anyhow::Result<(Store, ChaCha8Rng)> {
    let mut random = ChaCha8Rng::seed_from_u64(plan.seed);
    let steps = dn::parse(plan.base).unwrap_or_default();
    if steps.is_empty() || !steps.iter().all(|s| s.kind.eq_ignore_ascii_case("DC")) {
        anyhow::bail!("{:?} is not the root of a domain; give one such as DC=emea,DC=example", plan.base);
    }
    let mut out = Outside { random: &mut random, now: plan.now };
    let mut parts = [0u32; 3];
    for part in &mut parts {
        let raw = out.guid();
        *part = 1_000_000_000 + u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]) % 3_000_000_000;
    }
    let domain_sid = text::parse_sid(&format!("S-1-5-21-{}-{}-{}", parts[0], parts[1], parts[2])).unwrap_or_default();
    let names = Names {
        base: plan.base.to_owned(),
        steps: steps.iter().map(|s| (fold(&s.kind), fold(&s.value))).collect(),
        dns_domain: steps.iter().map(|s| s.value.clone()).collect::<Vec<_>>().join("."),
        netbios: plan.netbios.clone(),
        host: plan.host.to_owned(),
        domain_sid,
    };
    let invocation = out.guid();
    let mut seeder = Seeder { store: Store::new(names, invocation), out };
    seeder.contexts(steps.first().map_or("", |s| s.value.as_str()));
    seeder.containers();
    seeder.schema();
    seeder.partitions(plan.other_domains);
    seeder.controller(plan.host);
    seeder.accounts(&plan.accounts);
    Ok((seeder.store, random))
}

impl Seeder<'_> {
    fn put(&mut self, parent: Id, class: &str, name: &str, attrs: Vec<Attr>) -> Id {
        let context = if parent == NOBODY { Context::Domain } else { self.store.get(parent).context };
        self.put_in(context, parent, class, name, attrs)
    }

    fn put_in(&mut self, context: Context, parent: Id, class: &str, name: &str, mut attrs: Vec<Attr>) -> Id {
        let class = ClassId::named(class).unwrap_or(ClassId(0));
        let usn = self.store.next_usn();
        attrs.push(Attr { id: OBJECT_CATEGORY, usn: 0, values: vec![vec![class.0]] });
        for attr in &mut attrs {
            attr.usn = usn;
        }
        let (guid, now) = (self.out.guid(), self.out.now);
        self.store.insert(Birth { guid, parent, context, class, name: name.to_owned(), usn, now }, &attrs)
    }

    fn contexts(&mut self, domain: &str) {
        let sid = Attr { id: OBJECT_SID, usn: 0, values: vec![self.store.names.domain_sid.clone()] };
        let root = self.put(NOBODY, "domainDNS", domain, vec![critical(), sid]);
        self.store.landmarks.domain = root;
        let configuration = self.put_in(Context::Configuration, root, "configuration", "Configuration", vec![]);
        self.store.landmarks.configuration = configuration;
        self.store.landmarks.schema = self.put_in(Context::Schema, configuration, "dMD", "Schema", vec![]);
    }

    fn containers(&mut self) {
        let root = self.store.landmarks.domain;
        let flags = || text_attr(SYSTEM_FLAGS, "-1946157056");
        self.store.landmarks.users = self.put(root, "container", "Users", vec![critical(), flags()]);
        for (class, name) in [
            ("container", "Computers"),
            ("container", "System"),
            ("container", "Program Data"),
            ("container", "Managed Service Accounts"),
            ("organizationalUnit", "Domain Controllers"),
            ("builtinDomain", "Builtin"),
            ("lostAndFound", "LostAndFound"),
        ] {
            self.put(root, class, name, vec![critical(), flags()]);
        }
        self.store.landmarks.foreign =
            self.put(root, "container", "ForeignSecurityPrincipals", vec![critical(), flags()]);
        let mark = text_attr(IS_DELETED, "TRUE");
        self.store.landmarks.deleted = self.put(root, "container", "Deleted Objects", vec![critical(), flags(), mark]);
    }

    fn schema(&mut self) {
        let top = self.store.landmarks.schema;
        for (id, def) in schema().all() {
            let confidential = CONFIDENTIAL.contains(&def.name);
            if confidential {
                self.store.confidential.insert(id);
            }
            let flags = if confidential { CONFIDENTIAL_BIT } else { 0 };
            let attrs = vec![text_attr(LDAP_DISPLAY_NAME, def.name), text_attr(SEARCH_FLAGS, &flags.to_string())];
            self.put(top, "attributeSchema", def.name, attrs);
        }
        for class in CLASSES {
            if self.store.child(top, class.category).is_none() {
                let attrs = vec![text_attr(LDAP_DISPLAY_NAME, class.name())];
                self.put(top, "classSchema", class.category, attrs);
            }
        }
    }

    /// The cross references by which a client finds the partitions of the forest (MS-ADTS 6.1.1.2.1.1).
    fn partitions(&mut self, other_domains: &[String]) {
        let configuration = self.store.landmarks.configuration;
        let container = self.put(configuration, "crossRefContainer", "Partitions", vec![]);
        let (domain, schema) = (self.store.landmarks.domain, self.store.landmarks.schema);
        for (name, root) in [("Enterprise Configuration", configuration), ("Enterprise Schema", schema)] {
            let root = self.store.dn(root);
            self.cross_reference(container, name, &root, None);
        }
        let (root, netbios) = (self.store.dn(domain), self.store.names.netbios.clone());
        self.cross_reference(container, &netbios, &root, Some(&netbios));
        for root in other_domains {
            let steps = dn::parse(root).unwrap_or_default();
            let name = steps.first().map_or_else(String::new, |step| step.value.to_uppercase());
            self.cross_reference(container, &name, root, Some(&name));
        }
    }

    /// With a NetBIOS name: a domain.
    fn cross_reference(&mut self, container: Id, name: &str, root: &str, netbios: Option<&str>) {
        let steps = dn::parse(root).unwrap_or_default();
        let labels = steps.iter().filter(|s| s.kind.eq_ignore_ascii_case("DC")).map(|s| s.value.as_str());
        let dns = labels.collect::<Vec<_>>().join(".");
        let flags = if netbios.is_some() { "3" } else { "1" };
        let mut attrs = vec![text_attr(NC_NAME, root), text_attr(DNS_ROOT, &dns), text_attr(SYSTEM_FLAGS, flags)];
        attrs.extend(netbios.map(|name| text_attr(NETBIOS_NAME, name)));
        self.put(container, "crossRef", name, attrs);
    }

    fn controller(&mut self, host: &str) {
        let name = host.split('.').next().unwrap_or(host).to_uppercase();
        let computers = self.store.child(self.store.landmarks.domain, "Domain Controllers").unwrap_or(NOBODY);
        let attrs = vec![
            critical(),
            text_attr(DNS_HOST_NAME, host),
            text_attr(USER_ACCOUNT_CONTROL, "532480"),
            text_attr(PRIMARY_GROUP_ID, "516"),
        ];
        self.principal(computers, "computer", &name, &format!("{name}$"), None, attrs);
        let sites = self.put(self.store.landmarks.configuration, "sitesContainer", "Sites", vec![]);
        let site = self.put(sites, "site", "Default-First-Site-Name", vec![]);
        let servers = self.put(site, "serversContainer", "Servers", vec![]);
        let server = self.put(servers, "server", &name, vec![text_attr(DNS_HOST_NAME, host)]);
        self.store.landmarks.ntds = self.put(server, "nTDSDSA", "NTDS Settings", vec![]);
    }

    fn accounts(&mut self, accounts: &[&str]) {
        let users = self.store.landmarks.users;
        let mut administrator = NOBODY;
        for (at, name) in accounts.iter().enumerate() {
            let principal = format!("{name}@{}", self.store.names.dns_domain);
            let mut attrs = user_attrs("512");
            attrs.push(text_attr(USER_PRINCIPAL_NAME, &principal));
            if at == 0 {
                attrs.push(critical());
            }
            let id = self.principal(users, "user", name, name, (at == 0).then_some(500), attrs);
            if at == 0 {
                administrator = id;
            }
        }
        for (name, rid, control) in [("Guest", 501, "66082"), ("krbtgt", 502, "514")] {
            let mut attrs = user_attrs(control);
            attrs.push(critical());
            self.principal(users, "user", name, name, Some(rid), attrs);
        }
        self.groups(administrator);
    }

    fn groups(&mut self, administrator: Id) {
        let users = self.store.landmarks.users;
        let built_in = self.store.child(self.store.landmarks.domain, "Builtin").unwrap_or(users);
        for (name, rid, kind) in DOMAIN_GROUPS {
            let attrs = vec![critical(), text_attr(GROUP_TYPE, &kind.to_string())];
            let id = self.principal(users, "group", name, name, Some(*rid), attrs);
            if matches!(rid, 512 | 518 | 519 | 520) {
                self.join(id, administrator);
            }
        }
        let attrs = vec![text_attr(GROUP_TYPE, "-2147483644"), text_attr(DESCRIPTION, "DNS Administrators Group")];
        self.principal(users, "group", "DnsAdmins", "DnsAdmins", None, attrs);
        for (name, rid) in BUILTIN_GROUPS {
            let sid = text::parse_sid(&format!("S-1-5-32-{rid}")).unwrap_or_default();
            let attrs = vec![
                critical(),
                text_attr(GROUP_TYPE, "-2147483643"),
                text_attr(SAM_ACCOUNT_NAME, name),
                text_attr(SAM_ACCOUNT_TYPE, "536870912"),
                Attr { id: OBJECT_SID, usn: 0, values: vec![sid] },
            ];
            let id = self.put(built_in, "group", name, attrs);
            if *rid == 544 {
                self.join(id, administrator);
            }
            for member in match *rid {
                544 => vec!["Domain Admins", "Enterprise Admins"],
                545 => vec!["Domain Users"],
                546 => vec!["Guest", "Domain Guests"],
                _ => vec![],
            } {
                if let Some(member) = self.store.by_account(member) {
                    self.join(id, member);
                }
            }
            // Interactive and authenticated users are members of Users, from no domain.
            for sid in ["S-1-5-4", "S-1-5-11"].into_iter().filter(|_| *rid == 545).filter_map(text::parse_sid) {
                if let Ok(member) = self.store.add_foreign(sid, &mut self.out) {
                    self.join(id, member);
                }
            }
        }
    }

    fn principal(
        &mut self,
        parent: Id,
        class: &str,
        name: &str,
        account: &str,
        rid: Option<u32>,
        mut attrs: Vec<Attr>,
    ) -> Id {
        let rid = rid.unwrap_or_else(|| {
            self.store.next_rid += 1;
            self.store.next_rid - 1
        });
        let class_id = ClassId::named(class).unwrap_or(ClassId(0));
        let kind = account_type(class_id, super::add::number_of(&attrs, GROUP_TYPE));
        attrs.push(text_attr(SAM_ACCOUNT_NAME, account));
        attrs.push(text_attr(SAM_ACCOUNT_TYPE, &kind.to_string()));
        let sid = text::sid_below(&self.store.names.domain_sid, rid);
        attrs.push(Attr { id: OBJECT_SID, usn: 0, values: vec![sid] });
        self.put(parent, class, name, attrs)
    }

    fn join(&mut self, group: Id, member: Id) {
        if group != NOBODY && member != NOBODY {
            let usn = self.store.next_usn();
            self.store.link(group, MEMBER, member, true, usn);
            self.store.touch(group, usn, self.out.now);
        }
    }
}

fn critical() -> Attr {
    text_attr(IS_CRITICAL, "TRUE")
}

fn user_attrs(control: &str) -> Vec<Attr> {
    vec![
        text_attr(USER_ACCOUNT_CONTROL, control),
        text_attr(PRIMARY_GROUP_ID, "513"),
        text_attr(PWD_LAST_SET, "0"),
        text_attr(ACCOUNT_EXPIRES, "9223372036854775807"),
        text_attr(CODE_PAGE, "0"),
        text_attr(COUNTRY_CODE, "0"),
    ]
}

/// The attributes of which a schema entry exists, for the control that marks one confidential.
pub(crate) fn mark_confidential(store: &mut Store, attr: AttrId, on: bool, now: i64) {
    let name = schema().def(attr).name;
    if on {
        store.confidential.insert(attr);
    } else {
        store.confidential.remove(&attr);
    }
    if let Some(entry) = store.child(store.landmarks.schema, name) {
        let usn = store.next_usn();
        let mut attrs = store.get(entry).unpack();
        let flags = if on { CONFIDENTIAL_BIT } else { 0 };
        if let Some(attr) = attrs.iter_mut().find(|a| a.id == SEARCH_FLAGS) {
            attr.values = vec![flags.to_string().into_bytes()];
            attr.usn = usn;
        }
        store.replace_attrs(entry, &attrs);
        store.touch(entry, usn, now);
    }
}

/// True for attributes whose values a client never gets.
pub(crate) fn is_secret(attr: AttrId) -> bool {
    schema().def(attr).kind == Kind::Secret
}
