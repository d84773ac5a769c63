//! What happens in the directories: an initial population, then one kind of change after the other.
//!
//! Names are relative to the forest's base; `{base}` and `{domain}` in values stand for the naming context and its DNS
//! name. Forest 0 has `OU=Staff` in scope without `OU=Service,OU=Staff`, forest 1 everything, forest 2 `OU=Staff` and
//! `OU=Partners`.

/// One operation on a directory; the first number is the forest.
#[derive(Debug, Clone)]
pub enum Change {
    /// Add an object; the pairs are attributes and values.
    Add(usize, String, Vec<(String, String)>),
    /// Replace an attribute's values by one.
    Set(usize, String, String, String),
    /// Replace an attribute's values by sixteen bytes.
    SetBytes(usize, String, String, [u8; 16]),
    /// Remove an attribute's values.
    Clear(usize, String, String),
    /// Add values.
    AddValues(usize, String, String, Vec<String>),
    /// Remove values.
    RemoveValues(usize, String, String, Vec<String>),
    /// Another relative name.
    Rename(usize, String, String),
    /// Another parent: name, relative name, parent.
    Move(usize, String, String, String),
    /// Delete a leaf.
    Delete(usize, String),
    /// Delete a tree.
    DeleteTree(usize, String),
    /// Bring back by sAMAccountName to this name.
    Undelete(usize, String, String),
    /// From now on the object keeps the anchor made of its objectGUID.
    Pin(usize, String),
}

/// A step: what it is, and the operations that make it.
pub type Step = (&'static str, Vec<Change>);

fn pairs(attributes: &[(&str, &str)]) -> Vec<(String, String)> {
    attributes.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

fn ou(f: usize, dn: &str) -> Change {
    Change::Add(f, dn.into(), pairs(&[("objectClass", "organizationalUnit")]))
}

fn user(f: usize, dn: &str, sam: &str, more: &[(&str, &str)]) -> Change {
    let mut all = pairs(&[("objectClass", "user"), ("sAMAccountName", sam), ("userAccountControl", "544")]);
    if !more.iter().any(|(n, _)| *n == "userPrincipalName") {
        all.push(("userPrincipalName".into(), format!("{sam}@{{domain}}")));
    }
    all.extend(pairs(more));
    Change::Add(f, dn.into(), all)
}

fn group(f: usize, dn: &str, sam: &str, more: &[(&str, &str)]) -> Change {
    let mut all = pairs(&[("objectClass", "group"), ("sAMAccountName", sam)]);
    if !more.iter().any(|(n, _)| *n == "groupType") {
        all.push(("groupType".into(), "-2147483646".into()));
    }
    all.extend(pairs(more));
    Change::Add(f, dn.into(), all)
}

fn set(f: usize, dn: &str, attribute: &str, value: &str) -> Change {
    Change::Set(f, dn.into(), attribute.into(), value.into())
}

fn clear(f: usize, dn: &str, attribute: &str) -> Change {
    Change::Clear(f, dn.into(), attribute.into())
}

fn named(dns: &[&str]) -> Vec<String> {
    dns.iter().map(|dn| format!("{dn},{{base}}")).collect()
}

fn join(f: usize, group: &str, members: &[&str]) -> Change {
    Change::AddValues(f, group.into(), "member".into(), named(members))
}

fn leave(f: usize, group: &str, members: &[&str]) -> Change {
    Change::RemoveValues(f, group.into(), "member".into(), named(members))
}

fn rename(f: usize, dn: &str, rdn: &str) -> Change {
    Change::Rename(f, dn.into(), rdn.into())
}

fn relocate(f: usize, dn: &str, parent: &str) -> Change {
    let rdn = dn.split_once(",OU=").map_or(dn, |(rdn, _)| rdn);
    Change::Move(f, dn.into(), rdn.into(), parent.into())
}

fn delete(f: usize, dn: &str) -> Change {
    Change::Delete(f, dn.into())
}

const STAFF: &str = "OU=Staff";

/// What is there before the first synchronization, in each of the three forests.
pub fn population(f: usize) -> Vec<Change> {
    let mut all: Vec<Change> = [
        STAFF,
        "OU=Sales,OU=Staff",
        "OU=Deep,OU=Sales,OU=Staff",
        "OU=Service,OU=Staff",
        "OU=Partners",
        "OU=Outside",
        "OU=R&D\\; Dept,OU=Staff",
    ]
    .map(|dn| ou(f, dn))
    .into();
    for n in 0..30 {
        let parent = [STAFF, "OU=Sales,OU=Staff", "OU=Deep,OU=Sales,OU=Staff"][n % 3];
        let (given, number) = (format!("Given{n}"), format!("+41 44 000 {n:02}"));
        let (sam, display) = (format!("u{f}{n:03}"), format!("Given{n} Sürname{n}"));
        let mail = format!("{sam}@{{domain}}");
        all.push(user(
            f,
            &format!("CN={sam},{parent}"),
            &sam,
            &[
                ("givenName", &given),
                ("sn", &format!("Sürname{n}")),
                ("displayName", &display),
                ("mail", &mail),
                ("title", "Engineer"),
                ("department", "R&D; Dept"),
                ("company", "AT&T Ltd"),
                ("l", "Zürich"),
                ("telephoneNumber", &number),
                ("employeeID", &format!("{f}{n:05}")),
                ("streetAddress", "Street 1\r\nHouse 2"),
            ],
        ));
    }
    // names that need escapes somewhere between the directory and Graph
    for (n, (cn, display)) in [
        ("O'Brien\\, Pat", "O'Brien, Pat"),
        ("\\#hash", "#hash"),
        ("Say \\\"hello\\\"", "Say \"hello\""),
        ("plus\\+equals\\=", "plus+equals="),
        ("back\\\\slash", "back\\slash"),
        ("שלום עולם", "שלום עולם"),
        ("Émoji 🌲", "Émoji 🌲"),
        ("semi\\;colon", "semi;colon"),
        ("less\\<more\\>", "less<more>"),
        ("sixty-four-characters-is-the-limit-of-a-common-name-in-a-directo", "At the limit"),
    ]
    .into_iter()
    .enumerate()
    {
        let sam = format!("odd{f}{n}");
        all.push(user(f, &format!("CN={cn},OU=R&D\\; Dept,OU=Staff"), &sam, &[("displayName", display)]));
    }
    for n in 0..4 {
        all.push(user(f, &format!("CN=svc{f}{n},OU=Service,OU=Staff"), &format!("svc{f}{n}"), &[]));
        all.push(user(f, &format!("CN=out{f}{n},OU=Outside"), &format!("out{f}{n}"), &[]));
        all.push(user(f, &format!("CN=par{f}{n},OU=Partners"), &format!("par{f}{n}"), &[]));
    }
    all.push(set(f, &format!("CN=u{f}001,OU=Sales,OU=Staff"), "manager", &format!("CN=u{f}000,OU=Staff,{{base}}")));
    let everyone: Vec<String> = (0..25)
        .map(|n| format!("CN=u{f}{n:03},{}", [STAFF, "OU=Sales,OU=Staff", "OU=Deep,OU=Sales,OU=Staff"][n % 3]))
        .collect();
    all.push(group(f, &format!("CN=All {f},OU=Staff"), &format!("all{f}"), &[("description", "Everyone")]));
    all.push(join(f, &format!("CN=All {f},OU=Staff"), &everyone.iter().map(String::as_str).collect::<Vec<_>>()));
    all.push(group(f, &format!("CN=Nest {f},OU=Staff"), &format!("nest{f}"), &[("groupType", "-2147483640")]));
    all.push(join(
        f,
        &format!("CN=Nest {f},OU=Staff"),
        &[&format!("CN=All {f},OU=Staff"), &format!("CN=out{f}0,OU=Outside")],
    ));
    all.push(group(
        f,
        &format!("CN=List {f},OU=Staff"),
        &format!("list{f}"),
        &[("groupType", "2"), ("mail", &format!("list{f}@{{domain}}"))],
    ));
    all.push(Change::Add(
        f,
        format!("CN=Contact {f},OU=Staff"),
        pairs(&[("objectClass", "contact"), ("displayName", "A Contact"), ("mail", "contact@elsewhere.example")]),
    ));
    all
}

/// The kinds of changes, one after the other. Each may rely on those before it.
pub fn steps() -> Vec<Step> {
    let mut all = attributes();
    all.extend(names_and_places());
    all.extend(groups());
    all.extend(lives());
    all.extend(containers());
    all.extend(others());
    all
}

fn attributes() -> Vec<Step> {
    let (anna, boss) = ("CN=u0000,OU=Staff", "CN=u0001,OU=Sales,OU=Staff");
    vec![
        ("change an attribute", vec![set(0, anna, "displayName", "Anna Changed")]),
        ("set the same value again", vec![set(0, anna, "displayName", "Anna Changed")]),
        ("clear an attribute", vec![clear(0, anna, "title")]),
        ("set it again", vec![set(0, anna, "title", "Director")]),
        ("clear a telephone number", vec![clear(0, anna, "telephoneNumber")]),
        ("set a telephone number", vec![set(0, anna, "telephoneNumber", "+41 44 111 11 11")]),
        ("change the mail address", vec![set(0, anna, "mail", "anna.changed@{domain}")]),
        ("clear the mail address", vec![clear(0, boss, "mail")]),
        ("change the user principal name", vec![set(0, anna, "userPrincipalName", "anna@{domain}")]),
        ("disable a user", vec![set(0, boss, "userAccountControl", "546")]),
        ("enable a user", vec![set(0, boss, "userAccountControl", "544")]),
        (
            "several attributes of one user at once",
            vec![
                set(1, "CN=u1000,OU=Staff", "givenName", "Ånna"),
                set(1, "CN=u1000,OU=Staff", "sn", "Ærlig"),
                set(1, "CN=u1000,OU=Staff", "department", "R&D; \"Labs\" <x>"),
                clear(1, "CN=u1000,OU=Staff", "l"),
            ],
        ),
        (
            "values that are blank or padded",
            vec![set(1, "CN=u1003,OU=Staff", "title", "  padded  "), set(1, "CN=u1003,OU=Staff", "company", " ")],
        ),
        (
            "addresses that Graph cannot write",
            vec![Change::AddValues(
                0,
                anna.into(),
                "proxyAddresses".into(),
                vec!["smtp:second@{domain}".into(), "smtp:third@{domain}".into()],
            )],
        ),
        ("a change that has no place in the tenant", vec![set(0, anna, "adminDescription", "nothing")]),
        ("set the manager", vec![set(0, anna, "manager", "CN=u0003,OU=Staff,{base}")]),
        ("change the manager", vec![set(0, anna, "manager", "CN=u0006,OU=Staff,{base}")]),
        ("clear the manager", vec![clear(0, anna, "manager")]),
        ("a manager who is not in scope", vec![set(0, anna, "manager", "CN=out00,OU=Outside,{base}")]),
        ("who then comes into scope", vec![relocate(0, "CN=out00,OU=Outside", STAFF)]),
    ]
}

fn names_and_places() -> Vec<Step> {
    vec![
        ("rename a user", vec![rename(0, "CN=u0003,OU=Staff", "CN=Renamed\\, User")]),
        ("rename by case only", vec![rename(0, "CN=u0006,OU=Staff", "CN=U0006")]),
        (
            "rename a user without a display name",
            vec![user(0, "CN=Plain,OU=Staff", "plain", &[]), rename(0, "CN=Plain,OU=Staff", "CN=Plainer")],
        ),
        ("move a user within the scope", vec![relocate(0, "CN=u0009,OU=Staff", "OU=Sales,OU=Staff")]),
        ("move a user out of scope", vec![relocate(0, "CN=u0012,OU=Staff", "OU=Outside")]),
        ("move it back", vec![relocate(0, "CN=u0012,OU=Outside", STAFF)]),
        ("move a user into an excluded container", vec![relocate(0, "CN=u0015,OU=Staff", "OU=Service,OU=Staff")]),
        (
            "move a group out of scope and back",
            vec![relocate(0, "CN=Nest 0,OU=Staff", "OU=Outside"), relocate(0, "CN=Nest 0,OU=Outside", STAFF)],
        ),
    ]
}

fn groups() -> Vec<Step> {
    let many: Vec<String> = (0..30).filter(|n| n % 3 == 0).map(|n| format!("CN=u1{n:03},OU=Staff")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    vec![
        ("add a group", vec![group(1, "CN=Team,OU=Staff", "team", &[])]),
        ("add members", vec![join(1, "CN=Team,OU=Staff", &["CN=u1000,OU=Staff", "CN=u1001,OU=Sales,OU=Staff"])]),
        ("remove a member", vec![leave(1, "CN=Team,OU=Staff", &["CN=u1000,OU=Staff"])]),
        ("remove the last member", vec![leave(1, "CN=Team,OU=Staff", &["CN=u1001,OU=Sales,OU=Staff"])]),
        ("many members at once", vec![join(1, "CN=Team,OU=Staff", &many)]),
        (
            "remove and add in one go",
            vec![
                leave(1, "CN=Team,OU=Staff", &["CN=u1003,OU=Staff"]),
                join(1, "CN=Team,OU=Staff", &["CN=u1001,OU=Sales,OU=Staff"]),
                join(1, "CN=Team,OU=Staff", &["CN=u1003,OU=Staff"]),
                leave(1, "CN=Team,OU=Staff", &["CN=u1006,OU=Staff"]),
            ],
        ),
        ("rename a group", vec![rename(1, "CN=Team,OU=Staff", "CN=Team\\, renamed")]),
        ("describe a group", vec![set(1, "CN=Team\\, renamed,OU=Staff", "description", "A team")]),
        ("clear the description", vec![clear(1, "CN=Team\\, renamed,OU=Staff", "description")]),
        ("another group scope", vec![set(1, "CN=Team\\, renamed,OU=Staff", "groupType", "-2147483640")]),
        (
            "groups in groups, in a circle",
            vec![
                group(1, "CN=Ring 1,OU=Staff", "ring1", &[("groupType", "-2147483640")]),
                group(1, "CN=Ring 2,OU=Staff", "ring2", &[("groupType", "-2147483640")]),
                join(1, "CN=Ring 1,OU=Staff", &["CN=Ring 2,OU=Staff"]),
                join(1, "CN=Ring 2,OU=Staff", &["CN=Ring 1,OU=Staff"]),
            ],
        ),
        (
            "a member of another forest",
            vec![Change::AddValues(
                1,
                "CN=Ring 1,OU=Staff".into(),
                "member".into(),
                vec!["<SID=S-1-5-21-1111111111-2222222222-3333333333-1105>".into()],
            )],
        ),
        ("a contact as member", vec![join(1, "CN=Ring 2,OU=Staff", &["CN=Contact 1,OU=Staff"])]),
        ("delete a group", vec![delete(1, "CN=Ring 2,OU=Staff")]),
    ]
}

fn lives() -> Vec<Step> {
    vec![
        ("add a user", vec![user(2, "CN=New,OU=Staff", "new", &[("givenName", "New"), ("displayName", "New One")])]),
        ("into a group at once", vec![join(2, "CN=All 2,OU=Staff", &["CN=New,OU=Staff"])]),
        ("delete a user who is a member", vec![delete(2, "CN=New,OU=Staff")]),
        ("undelete the user", vec![Change::Undelete(2, "new".into(), "CN=New,OU=Staff".into())]),
        (
            "delete and add under the same name",
            vec![delete(2, "CN=New,OU=Staff"), user(2, "CN=New,OU=Staff", "new", &[("displayName", "Another One")])],
        ),
        (
            "add, change and delete before anyone looks",
            vec![
                user(2, "CN=Brief,OU=Staff", "brief", &[]),
                set(2, "CN=Brief,OU=Staff", "title", "Guest"),
                delete(2, "CN=Brief,OU=Staff"),
            ],
        ),
        (
            "a user with a consistency GUID",
            vec![
                user(2, "CN=Moved In,OU=Outside", "movedin", &[]),
                Change::SetBytes(2, "CN=Moved In,OU=Outside".into(), "mS-DS-ConsistencyGuid".into(), [0x5a; 16]),
                relocate(2, "CN=Moved In,OU=Outside", STAFF),
            ],
        ),
        (
            "a consistency GUID that comes too late",
            vec![
                Change::Pin(2, "CN=u2000,OU=Staff".into()),
                Change::SetBytes(2, "CN=u2000,OU=Staff".into(), "mS-DS-ConsistencyGuid".into(), [0x3c; 16]),
            ],
        ),
        ("a default exclusion comes", vec![set(2, "CN=u2003,OU=Staff", "adminDescription", "User_x")]),
        ("and goes", vec![clear(2, "CN=u2003,OU=Staff", "adminDescription")]),
        ("a system account", vec![user(2, "CN=MSOL_1,OU=Staff", "MSOL_1", &[])]),
        (
            "an inetOrgPerson",
            vec![Change::Add(
                2,
                "CN=Inet,OU=Staff".into(),
                pairs(&[
                    ("objectClass", "inetOrgPerson"),
                    ("sAMAccountName", "inet"),
                    ("userPrincipalName", "inet@{domain}"),
                    ("userAccountControl", "544"),
                    ("sn", "Org"),
                ]),
            )],
        ),
        (
            "a computer",
            vec![Change::Add(
                2,
                "CN=PC1,OU=Staff".into(),
                pairs(&[("objectClass", "computer"), ("sAMAccountName", "PC1$"), ("userAccountControl", "4096")]),
            )],
        ),
    ]
}

fn containers() -> Vec<Step> {
    vec![
        ("rename a container in scope", vec![rename(0, STAFF, "OU=People")]),
        ("change under the renamed container", vec![set(0, "CN=u0018,OU=People", "title", "Moved along")]),
        ("move a container out of scope", vec![relocate(2, "OU=Deep,OU=Sales,OU=Staff", "OU=Outside")]),
        ("and back", vec![relocate(2, "OU=Deep,OU=Outside", "OU=Sales,OU=Staff")]),
        (
            "move a container under an excluded one",
            vec![relocate(0, "OU=R&D\\; Dept,OU=People", "OU=Service,OU=People")],
        ),
        ("and out again", vec![relocate(0, "OU=R&D\\; Dept,OU=Service,OU=People", "OU=People")]),
        (
            "a new container with users",
            vec![
                ou(1, "OU=Fresh,OU=Staff"),
                user(1, "CN=f1,OU=Fresh,OU=Staff", "f1", &[]),
                user(1, "CN=f2,OU=Fresh,OU=Staff", "f2", &[]),
            ],
        ),
        ("rename a container within the scope", vec![rename(1, "OU=Fresh,OU=Staff", "OU=Stale")]),
        ("delete a tree", vec![Change::DeleteTree(1, "OU=Stale,OU=Staff".into())]),
    ]
}

fn others() -> Vec<Step> {
    vec![
        (
            "add a contact",
            vec![Change::Add(
                0,
                "CN=Extern,OU=People".into(),
                pairs(&[("objectClass", "contact"), ("mail", "extern@elsewhere.example")]),
            )],
        ),
        ("change a contact", vec![set(0, "CN=Extern,OU=People", "displayName", "Extern")]),
        ("delete a contact", vec![delete(0, "CN=Extern,OU=People")]),
        (
            "a mail-enabled security group",
            vec![group(0, "CN=Mail Group,OU=People", "mailgroup", &[("mail", "mailgroup@{domain}")])],
        ),
        (
            "a distribution list",
            vec![group(0, "CN=List B,OU=People", "listb", &[("groupType", "8"), ("mail", "listb@{domain}")])],
        ),
    ]
}
