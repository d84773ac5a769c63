//! One person, one cloud user: the topologies of several forests.

use super::{Stage, domain};

const ONE_TO_THREE: [usize; 3] = [0, 1, 2];

impl Stage {
    /// An attribute's only value, as bytes.
    async fn value(&mut self, n: usize, front: &str, attribute: &str) -> Vec<u8> {
        let dn = self.directories[n].dn(front);
        let entries = self.directories[n].entries().await;
        let entry = entries.iter().find(|entry| entry.dn.eq_ignore_ascii_case(&dn)).unwrap_or_else(|| panic!("{dn}"));
        let values = entry.attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
        values.unwrap_or_else(|| panic!("{dn} has {attribute}")).1[0].clone()
    }
}

/// Accounts in forest 0, their mailboxes as disabled accounts in forest 1, and a mail account of one in forest 2.
pub async fn account_and_resource_forest(stage: &mut Stage) {
    let ou = "OU=Linked";
    for n in ONE_TO_THREE {
        stage.add_containers(n, &[ou]).await;
    }
    stage.add_user(0, "ann", ou, &[("title", "Engineer")]).await;
    stage.add_user(0, "bob", ou, &[]).await;
    let upn = format!("ann@{}", domain(&stage.directories[0]));
    let sid = stage.value(0, "CN=ann,OU=Linked", "objectSid").await;
    let mail = format!("ann.mail@{}", domain(&stage.directories[1]));
    let mailbox = [("userAccountControl", "546"), ("mail", mail.as_str()), ("mailNickname", "ann.mail")];
    stage.add_user(1, "annbox", ou, &[("displayName", "Ann of Mail"), mailbox[0], mailbox[1], mailbox[2]]).await;
    let mailbox = stage.directories[1].dn("CN=annbox,OU=Linked");
    stage.directories[1].set_raw(&mailbox, "msExchMasterAccountSid", &sid).await;
    stage
        .add_user(
            2,
            "other",
            ou,
            &[("mailNickname", "bob"), ("displayName", "Bob of Three"), ("userAccountControl", "546")],
        )
        .await;

    let sources = ONE_TO_THREE.map(|n| stage.source(n, &[ou], &[]));
    let rules = "[[joins]]\nrule = \"object_sid\"\n[[joins]]\nrule = \"account_name\"\n";
    let mut show = stage.open(&sources, rules).await;
    // the mailbox says what is shown, the account how to sign in
    show.people("accounts and mailboxes are one", &["Ann of Mail", "Bob of Three"]).await;
    show.has("the account signs in", "Ann of Mail", "userPrincipalName", &upn).await;
    show.has("the mailbox receives", "Ann of Mail", "mail", &mail).await;
    show.has("what the mailbox does not say", "Ann of Mail", "jobTitle", "Engineer").await;
    let ann = show.id("Ann of Mail");

    stage.directories[1].clear(&mailbox, "msExchMasterAccountSid").await;
    show.people("without the link they are two", &["ann", "Ann of Mail", "Bob of Three"]).await;
    assert_eq!(show.id("ann"), ann, "the account keeps the cloud user");
    stage.directories[1].set_raw(&mailbox, "msExchMasterAccountSid", &sid).await;
    show.people("linked again they are one", &["Ann of Mail", "Bob of Three"]).await;
    assert_eq!(show.id("Ann of Mail"), ann);
    show.has("the account signs in", "Ann of Mail", "userPrincipalName", &upn).await;

    let account = stage.directories[0].dn("CN=ann,OU=Linked");
    stage.directories[0].set(&account, "userAccountControl", "546").await;
    stage.directories[0].set(&account, "title", "Retired").await;
    show.has("the other account still counts", "Ann of Mail", "jobTitle", "Retired").await;
    assert_eq!(show.id("Ann of Mail"), ann);

    let explained = show.pipeline.json(&["explain", &account]).to_string();
    for word in ["object_sid", "Ann of Mail"] {
        assert!(explained.contains(word), "{word}: {explained}");
    }
    show.pipeline.stop().await;
    assert_eq!(show.pipeline.output(&["replay", "--verify"]).status.code(), Some(0), "the history leads to the same");
}

/// Everybody has a mailbox in one forest and is a contact in the others.
pub async fn full_mesh_of_contacts(stage: &mut Stage) {
    let ou = "OU=Mesh";
    let names = ["kim", "lea", "mia"];
    for n in ONE_TO_THREE {
        stage.add_containers(n, &[ou]).await;
        for (home, name) in names.iter().enumerate() {
            let mail = format!("{name}@{}", domain(&stage.directories[home]));
            if home == n {
                stage.add_user(n, name, ou, &[("mail", &mail), ("mailNickname", name)]).await;
            } else {
                let dn = stage.directories[n].dn(&format!("CN={name} (contact),{ou}"));
                let contact = [("objectClass", "contact"), ("mail", mail.as_str()), ("displayName", "A contact")];
                stage.directories[n].add(&dn, &contact).await;
            }
        }
    }
    // a group of forest 1 knows a person of forest 0 as a contact
    stage.add_group(1, "mesh", ou, &[&format!("CN=kim (contact),{ou}"), &format!("CN=lea,{ou}")]).await;
    let sources = ONE_TO_THREE.map(|n| stage.source(n, &[ou], &[]));
    let mut show = stage.open(&sources, "[[joins]]\nrule = \"mail\"\n").await;
    show.people("each is one", &names).await;
    show.becomes("who is a member as a contact is one as a user", |dump| {
        let Some(group) = dump.groups.first() else { return Some("no group".to_owned()) };
        let mut members: Vec<_> =
            group.members.iter().filter_map(|id| dump.users.iter().find(|u| u.id == *id)).collect();
        members.sort_by_key(|user| super::text(&user.properties, "displayName"));
        let members: Vec<_> = members.iter().map(|user| super::text(&user.properties, "displayName")).collect();
        (members != ["kim", "lea"]).then(|| format!("members are {members:?}"))
    })
    .await;

    // who leaves in one forest and comes in another stays one person, by way of the contacts
    let contact = stage.directories[2].dn(&format!("CN=kim (contact),{ou}"));
    stage.directories[2].delete(&contact).await;
    let kim = stage.directories[0].dn(&format!("CN=kim,{ou}"));
    stage.directories[0].set(&kim, "title", "Seen").await;
    show.has("a contact more or less changes nothing", "kim", "jobTitle", "Seen").await;
    stage.directories[0].delete(&kim).await;
    show.people("contacts alone are nobody", &["lea", "mia"]).await;
    assert_eq!(show.deleted(), ["kim"]);
    show.pipeline.stop().await;
    assert_eq!(show.pipeline.output(&["replay", "--verify"]).status.code(), Some(0), "the history leads to the same");
}

/// Nobody is in two forests; a group of one has members of the others by foreign security principals.
pub async fn one_user_per_forest(stage: &mut Stage) {
    let ou = "OU=Single";
    let names = ["ned", "ola", "pia"];
    let mut sids = Vec::new();
    for (n, name) in names.iter().enumerate() {
        stage.add_containers(n, &[ou]).await;
        stage.add_user(n, name, ou, &[("employeeID", &format!("E{n}"))]).await;
        sids.push(sid_text(&stage.value(n, &format!("CN={name},{ou}"), "objectSid").await));
    }
    let ned = stage.directories[0].dn(&format!("CN=ned,{ou}"));
    let dn = stage.directories[0].dn(&format!("CN=all,{ou}"));
    // local to the domain: only such a group may have foreign members
    let group = [("objectClass", "group"), ("sAMAccountName", "all"), ("groupType", "-2147483644")];
    stage.directories[0].add(&dn, &group).await;
    let foreign = sids[1..].iter().map(|sid| format!("<SID={sid}>"));
    let members: Vec<String> = [ned].into_iter().chain(foreign).collect();
    stage.directories[0].add_values(&dn, "member", &members).await;

    let sources = ONE_TO_THREE.map(|n| stage.source(n, &[ou], &[]));
    let rules = "[[joins]]\nattribute = \"employeeID\"\nclasses = [\"user\"]\n";
    let mut show = stage.open(&sources, rules).await;
    show.people("each forest's own", &names).await;
    let count = |wanted: usize| {
        move |dump: &forestsync_practice::tenant::TenantDump| {
            let found = dump.groups.first().map(|group| group.members.len());
            (found != Some(wanted)).then(|| format!("{found:?} members"))
        }
    };
    show.becomes("the members of all forests", count(3)).await;

    // the same number in two forests makes them one, with one membership
    let pia = stage.directories[2].dn(&format!("CN=pia,{ou}"));
    stage.directories[2].set(&pia, "employeeID", "E1").await;
    show.people("two become one", &["ned", "ola"]).await;
    show.becomes("with one membership", count(2)).await;
    stage.directories[2].set(&pia, "employeeID", "E2").await;
    show.people("and two again", &names).await;
    show.becomes("with a membership each", count(3)).await;
    show.pipeline.stop().await;
    assert_eq!(show.pipeline.output(&["replay", "--verify"]).status.code(), Some(0), "the history leads to the same");
}

/// A SID in its text form (MS-DTYP 2.4.2.1).
fn sid_text(bytes: &[u8]) -> String {
    let authority = bytes[2..8].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let parts = bytes[8..].chunks_exact(4).map(|part| u32::from_le_bytes(part.try_into().unwrap()).to_string());
    format!("S-{}-{authority}-{}", bytes[0], parts.collect::<Vec<_>>().join("-"))
}
