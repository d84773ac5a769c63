//! The changes of the demo: what happens in directories in a week, one of each kind, over LDAP.

use anyhow::{Context as _, Result};
use forestsync_domain::{Dn, ObjectGuid};

use super::ldap::Change;
use super::world::{Forest, World};

const EMEA: usize = 0;
const APAC: usize = 1;
const AMER: usize = 2;

/// The group that comes and goes.
const TEAM: &str = "Launch & Recovery; \"Team\" #1";

/// Its later name.
const TEAM_RENAMED: &str = "Launch & Recovery, Zürich";

/// One change. The order of [`Step::ALL`] matters: some undo an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    CreateUser,
    ChangeAttributes,
    ClearAttributes,
    RenameUser,
    ChangeUserPrincipalName,
    SetManager,
    Disable,
    MoveOutOfScope,
    MoveBack,
    CreateGroup,
    AddMembers,
    RemoveMember,
    NestGroup,
    RenameGroup,
    RenameUnit,
    CreateContact,
    DeleteUser,
    BringBackUser,
    DeleteGroup,
}

impl Step {
    /// All of them, in order.
    pub(super) const ALL: [Self; 19] = [
        Self::CreateUser,
        Self::ChangeAttributes,
        Self::ClearAttributes,
        Self::RenameUser,
        Self::ChangeUserPrincipalName,
        Self::SetManager,
        Self::Disable,
        Self::MoveOutOfScope,
        Self::MoveBack,
        Self::CreateGroup,
        Self::AddMembers,
        Self::RemoveMember,
        Self::NestGroup,
        Self::RenameGroup,
        Self::RenameUnit,
        Self::CreateContact,
        Self::DeleteUser,
        Self::BringBackUser,
        Self::DeleteGroup,
    ];
}

/// Makes a change and says what was done.
pub(super) async fn make(world: &mut World, step: Step) -> Result<String> {
    match step {
        Step::CreateUser => create_user(world.forest(EMEA)?).await,
        Step::ChangeAttributes => change_attributes(world.forest(APAC)?).await,
        Step::ClearAttributes => clear_attributes(world.forest(AMER)?).await,
        Step::RenameUser => rename_user(world.forest(EMEA)?).await,
        Step::ChangeUserPrincipalName => change_principal_name(world.forest(APAC)?).await,
        Step::SetManager => set_manager(world.forest(APAC)?).await,
        Step::Disable => disable(world.forest(AMER)?).await,
        Step::MoveOutOfScope => move_out(world.forest(EMEA)?).await,
        Step::MoveBack => move_back(world.forest(EMEA)?).await,
        Step::CreateGroup => create_group(world.forest(APAC)?).await,
        Step::AddMembers => add_members(world.forest(AMER)?).await,
        Step::RemoveMember => remove_member(world.forest(AMER)?).await,
        Step::NestGroup => nest_group(world.forest(APAC)?).await,
        Step::RenameGroup => rename_group(world.forest(APAC)?).await,
        Step::RenameUnit => rename_unit(world.forest(EMEA)?).await,
        Step::CreateContact => create_contact(world.forest(EMEA)?).await,
        Step::DeleteUser => delete_user(world.forest(AMER)?).await,
        Step::BringBackUser => bring_back(world.forest(AMER)?).await,
        Step::DeleteGroup => delete_group(world.forest(APAC)?).await,
    }
}

/// The name of a child, escaped as it must be.
fn child(parent: &str, kind: &str, name: &str) -> Result<String> {
    Ok(parent.parse::<Dn>()?.child(kind, name).to_string())
}

/// A relative name, escaped as it must be.
fn relative(kind: &str, name: &str) -> String {
    Dn::default().child(kind, name).to_string()
}

/// The unescaped name of an object.
fn name_of(dn: &str) -> Result<String> {
    let dn: Dn = dn.parse()?;
    Ok(dn.rdn().context("the name is empty")?.value().to_owned())
}

async fn create_user(forest: &mut Forest) -> Result<String> {
    let name = "Lovelace, Ada \"the Countess\" + friends";
    let dn = child(forest.population.unit_dn(2), "CN", name)?;
    let principal = format!("ada@{}", forest.domain);
    let classes: &[&str] = &["top", "person", "organizationalPerson", "user"];
    let attributes: [(&str, &[&str]); 9] = [
        ("objectClass", classes),
        ("sAMAccountName", &["ada"]),
        ("userPrincipalName", &[&principal]),
        ("displayName", &[name]),
        ("givenName", &["Ada"]),
        ("sn", &["Lovelace"]),
        ("title", &["Enchantress of Numbers"]),
        ("telephoneNumber", &["+44 20 7946 0018"]),
        ("userAccountControl", &["512"]),
    ];
    forest.admin.add(&dn, &attributes).await?;
    Ok(format!("{}: user {name} created", forest.name))
}

async fn change_attributes(forest: &mut Forest) -> Result<String> {
    let dn = forest.population.user_dn(5);
    let changes: [(Change, &str, &[&str]); 3] = [
        (Change::Replace, "title", &["Head of \u{1f332} & R&D; \u{5d0}\u{5d1}\u{5d9}"]),
        (Change::Replace, "department", &["AT&T Ltd"]),
        (Change::Replace, "l", &["Łódź"]),
    ];
    forest.admin.modify(&dn, &changes).await?;
    Ok(format!("{}: title, department and city of {} changed", forest.name, name_of(&dn)?))
}

async fn clear_attributes(forest: &mut Forest) -> Result<String> {
    let dn = forest.population.user_dn(5);
    let object = forest.object(&dn)?;
    let present = ["telephoneNumber", "title", "department"].into_iter().filter(|name| object.text(name).is_some());
    let changes: Vec<(Change, &str, &[&str])> = present.map(|name| (Change::Replace, name, [].as_slice())).collect();
    let names = changes.iter().map(|(_, name, _)| *name).collect::<Vec<_>>().join(", ");
    forest.admin.modify(&dn, &changes).await?;
    Ok(format!("{}: {names} of {} cleared", forest.name, name_of(&dn)?))
}

async fn rename_user(forest: &mut Forest) -> Result<String> {
    let dn = forest.population.user_dn(2);
    let (old, new) = (name_of(&dn)?, "Øster-Nuñez, Zoë");
    forest.admin.rename(&dn, &relative("CN", new), None).await?;
    let renamed = child(forest.population.unit_dn(2), "CN", new)?;
    let changes: [(Change, &str, &[&str]); 2] =
        [(Change::Replace, "sn", &["Øster-Nuñez"]), (Change::Replace, "displayName", &[new])];
    forest.admin.modify(&renamed, &changes).await?;
    Ok(format!("{}: user {old} renamed to {new}", forest.name))
}

async fn change_principal_name(forest: &mut Forest) -> Result<String> {
    let dn = forest.population.user_dn(6);
    let principal = format!("first.contact@{}", forest.domain);
    forest.admin.modify(&dn, &[(Change::Replace, "userPrincipalName", &[&principal])]).await?;
    Ok(format!("{}: userPrincipalName of {} changed", forest.name, name_of(&dn)?))
}

async fn set_manager(forest: &mut Forest) -> Result<String> {
    let (dn, manager) = (forest.population.user_dn(7), forest.population.user_dn(8));
    forest.admin.modify(&dn, &[(Change::Replace, "manager", &[&manager])]).await?;
    Ok(format!("{}: manager of {} set to {}", forest.name, name_of(&dn)?, name_of(&manager)?))
}

async fn disable(forest: &mut Forest) -> Result<String> {
    // the first one that is not disabled already
    for number in 0..10 {
        let dn = forest.population.user_dn(number);
        let control: u32 = forest.object(&dn)?.text("userAccountControl").unwrap_or("512").parse()?;
        if control & 2 == 0 {
            let disabled = (control | 2).to_string();
            forest.admin.modify(&dn, &[(Change::Replace, "userAccountControl", &[&disabled])]).await?;
            return Ok(format!("{}: user {} disabled", forest.name, name_of(&dn)?));
        }
    }
    anyhow::bail!("the practice population has only disabled users")
}

async fn move_out(forest: &mut Forest) -> Result<String> {
    let dn = forest.population.user_dn(3);
    let (name, target) = (name_of(&dn)?, World::excluded_unit(forest)?);
    forest.admin.rename(&dn, &relative("CN", &name), Some(&target)).await?;
    Ok(format!("{}: user {name} moved out of scope", forest.name))
}

async fn move_back(forest: &mut Forest) -> Result<String> {
    let name = name_of(&forest.population.user_dn(3))?;
    let dn = child(&World::excluded_unit(forest)?, "CN", &name)?;
    let target = forest.population.unit_dn(3).to_owned();
    forest.admin.rename(&dn, &relative("CN", &name), Some(&target)).await?;
    Ok(format!("{}: user {name} moved back into scope", forest.name))
}

fn team(forest: &Forest, name: &str) -> Result<String> {
    child(forest.population.unit_dn(1), "CN", name)
}

async fn create_group(forest: &mut Forest) -> Result<String> {
    let dn = team(forest, TEAM)?;
    let (first, second) = (forest.population.user_dn(5), forest.population.user_dn(6));
    let attributes: [(&str, &[&str]); 6] = [
        ("objectClass", &["top", "group"]),
        ("sAMAccountName", &["launch-team"]),
        ("displayName", &[TEAM]),
        ("description", &["comes and goes with the demo"]),
        ("groupType", &["-2147483646"]),
        ("member", &[&first, &second]),
    ];
    forest.admin.add(&dn, &attributes).await?;
    Ok(format!("{}: group {TEAM} created with 2 members", forest.name))
}

/// A security group without mail of the population.
fn plain_group(forest: &Forest) -> String {
    forest.population.group_dn(0)
}

async fn add_members(forest: &mut Forest) -> Result<String> {
    let dn = plain_group(forest);
    let members = forest.object(&dn)?.links.into_iter().find(|(name, _)| *name == "member").map(|(_, m)| m);
    let members = members.unwrap_or_default();
    let objects = forest.objects();
    let scope: Dn = forest.population.top_dn().parse()?;
    let outside = objects.iter().filter(|o| o.class == "user" && !members.contains(&o.guid));
    let inside_scope = outside.filter(|o| o.dn.parse::<Dn>().is_ok_and(|dn| dn.is_within(&scope)));
    let new: Vec<&str> = inside_scope.take(2).map(|o| o.dn.as_str()).collect();
    forest.admin.modify(&dn, &[(Change::Add, "member", &new)]).await?;
    Ok(format!("{}: {} members added to group {}", forest.name, new.len(), name_of(&dn)?))
}

async fn remove_member(forest: &mut Forest) -> Result<String> {
    let dn = plain_group(forest);
    let object = forest.object(&dn)?;
    let members = object.links.iter().find(|(name, _)| *name == "member").map(|(_, m)| m.as_slice());
    let objects = forest.objects();
    let gone = members.unwrap_or_default().iter().find_map(|guid| objects.iter().find(|o| o.guid == *guid));
    let gone = gone.context("the group has no members")?.dn.clone();
    forest.admin.modify(&dn, &[(Change::Delete, "member", &[&gone])]).await?;
    Ok(format!("{}: {} removed from group {}", forest.name, name_of(&gone)?, name_of(&dn)?))
}

async fn nest_group(forest: &mut Forest) -> Result<String> {
    let (outer, inner) = (plain_group(forest), team(forest, TEAM)?);
    forest.admin.modify(&outer, &[(Change::Add, "member", &[&inner])]).await?;
    Ok(format!("{}: group {TEAM} became a member of {}", forest.name, name_of(&outer)?))
}

async fn rename_group(forest: &mut Forest) -> Result<String> {
    let dn = team(forest, TEAM)?;
    forest.admin.rename(&dn, &relative("CN", TEAM_RENAMED), None).await?;
    let renamed = team(forest, TEAM_RENAMED)?;
    forest.admin.modify(&renamed, &[(Change::Replace, "displayName", &[TEAM_RENAMED])]).await?;
    Ok(format!("{}: group {TEAM} renamed to {TEAM_RENAMED}", forest.name))
}

async fn rename_unit(forest: &mut Forest) -> Result<String> {
    let dn = World::excluded_unit(forest)?;
    let new = "Excluded, but renamed";
    forest.admin.rename(&dn, &relative("OU", new), None).await?;
    Ok(format!("{}: the excluded unit {} renamed, and still excluded", forest.name, name_of(&dn)?))
}

async fn create_contact(forest: &mut Forest) -> Result<String> {
    let dn = child(forest.population.unit_dn(0), "CN", "External Counsel")?;
    let attributes: [(&str, &[&str]); 3] = [
        ("objectClass", &["top", "person", "organizationalPerson", "contact"]),
        ("displayName", &["External Counsel"]),
        ("mail", &["counsel@partner.example"]),
    ];
    forest.admin.add(&dn, &attributes).await?;
    Ok(format!("{}: contact created, which Graph cannot write", forest.name))
}

async fn delete_user(forest: &mut Forest) -> Result<String> {
    let dn = forest.population.user_dn(7);
    let id = ObjectGuid::from_bytes(forest.object(&dn)?.guid);
    forest.admin.delete(&dn).await?;
    forest.deleted = Some((id, dn.clone()));
    Ok(format!("{}: user {} deleted", forest.name, name_of(&dn)?))
}

async fn bring_back(forest: &mut Forest) -> Result<String> {
    let (id, dn) = forest.deleted.take().context("nothing was deleted before")?;
    forest.admin.undelete(&format!("<GUID={id}>"), &dn).await?;
    Ok(format!("{}: user {} brought back from the deleted objects", forest.name, name_of(&dn)?))
}

async fn delete_group(forest: &mut Forest) -> Result<String> {
    let dn = team(forest, TEAM_RENAMED)?;
    forest.admin.delete(&dn).await?;
    Ok(format!("{}: group {TEAM_RENAMED} deleted", forest.name))
}
