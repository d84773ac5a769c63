//! References between objects: members and owners of groups, managers, and the views from the other end.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use url_key::key_of;
use uuid::Uuid;

use super::context::Ctx;
use super::directory::{Kind, Props};
use super::groups::{is_dynamic, is_exchange, is_unified};
use super::options::MissingMember;
use super::reply::{GraphError, Outcome, Reply};

/// The most owners a group has.
const OWNERS: usize = 100;

/// A navigation property of groups that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Members,
    Owners,
}

impl Link {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Members => "members",
            Self::Owners => "owners",
        }
    }
}

mod url_key {
    use super::Kind;

    /// The entity set and the key of an object URL: `https://…/v1.0/users/{id}` or `…/users('{id}')`.
    pub(super) fn key_of(url: &str) -> Option<(Option<Kind>, String)> {
        let path = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
        let (_, path) = path.split_once('/')?;
        let path = path.strip_prefix("v1.0/").or_else(|| path.strip_prefix("beta/"))?;
        let (set, key) = match path.split_once("('") {
            Some((set, key)) => (set, key.strip_suffix("')")?),
            None => path.split_once('/')?,
        };
        let kind = match set {
            "directoryObjects" => None,
            "users" => Some(Kind::User),
            "groups" => Some(Kind::Group),
            "devices" => Some(Kind::Device),
            "contacts" => Some(Kind::Contact),
            _ => return None,
        };
        Some((kind, key.to_owned()))
    }
}

fn dynamic_members() -> Box<GraphError> {
    GraphError::bad("Insufficient privileges to update the membership of a dynamic group.")
}

impl Ctx<'_> {
    /// The object a reference in a body points at; one just created may not be found yet.
    pub(super) fn reference(&self, value: &Value) -> Result<Uuid, Box<GraphError>> {
        let malformed = || GraphError::bad("Invalid URL format specified in payload.");
        let (kind, key) = value.as_str().and_then(key_of).ok_or_else(malformed)?;
        let id = key.parse::<Uuid>().map_err(|_| GraphError::bad_id(&key))?;
        let lag = self.lag(self.knobs.visibility.references);
        let object = self.directory.live(id).filter(|o| kind.is_none_or(|k| k == o.kind));
        match object.and_then(|o| o.seen(lag, self.now)) {
            Some(_) => Ok(id),
            None => Err(GraphError::not_found(&key)),
        }
    }

    /// The targets of `members@odata.bind` or `owners@odata.bind` (none when absent); over 20 is refused unread.
    pub(super) fn bound(&self, body: &Props, link: &str) -> Result<Vec<Uuid>, Box<GraphError>> {
        match body.get(&format!("{link}@odata.bind")) {
            None => Ok(Vec::new()),
            Some(Value::Array(all)) if all.len() > 20 => Err(GraphError::too_many_links()),
            Some(Value::Array(all)) => all.iter().map(|v| self.reference(v)).collect(),
            Some(_) => Err(GraphError::bad(format!("The value of '{link}@odata.bind' must be a list."))),
        }
    }

    /// A Microsoft 365 group takes users only.
    pub(super) fn fits_member(&self, unified: bool, member: Uuid) -> Result<(), Box<GraphError>> {
        if unified && self.directory.get(member).is_some_and(|o| o.kind != Kind::User) {
            return Err(GraphError::invalid_one("members", "Group"));
        }
        Ok(())
    }

    /// No new link may be there already, twice in the request, of a kind that does not fit, or one too many.
    pub(super) fn check_new_links(&self, id: Uuid, members: &[Uuid], owners: &[Uuid]) -> Result<(), Box<GraphError>> {
        let Some(group) = self.directory.get(id) else { return Ok(()) };
        let mut seen = BTreeSet::new();
        for member in members {
            if group.members.contains_key(member) || !seen.insert(*member) {
                return Err(GraphError::already_linked("members"));
            }
            self.fits_member(is_unified(&group.props), *member)?;
        }
        if !members.is_empty() && is_dynamic(&group.props) {
            return Err(dynamic_members());
        }
        seen.clear();
        for owner in owners {
            if group.owners.contains_key(owner) || !seen.insert(*owner) {
                return Err(GraphError::already_linked("owners"));
            }
            // users, and service principals, of which there are none here
            if self.directory.get(*owner).is_some_and(|o| o.kind != Kind::User) {
                return Err(GraphError::invalid_one("owners", "Group"));
            }
        }
        let would = group.owners.len() + owners.len();
        if would > OWNERS { Err(GraphError::link_quota(would, OWNERS, "owners")) } else { Ok(()) }
    }

    /// `POST …/members/$ref` or `…/owners/$ref`: 204.
    pub(super) fn add_link(&mut self, name: &str, link: Link) -> Outcome {
        let id = self.locate(Kind::Group, name)?;
        let body = self.request.object()?;
        if body.keys().any(|k| k != "@odata.id") {
            return Err(GraphError::entity_set());
        }
        let Some(reference) = body.get("@odata.id") else { return Err(GraphError::payload()) };
        self.links_writable(id)?;
        let target = self.reference(reference)?;
        let (operation, members, owners) = match link {
            Link::Members => ("group.member.add", vec![target], Vec::new()),
            Link::Owners => ("group.owner.add", Vec::new(), vec![target]),
        };
        self.check_new_links(id, &members, &owners)?;
        match link {
            Link::Members => self.directory.link_member(id, target, self.now),
            Link::Owners => self.directory.link_owner(id, target, self.now),
        }
        Ok(Reply::no_content().wrote(operation, self.key(id), true))
    }

    /// `DELETE …/members/{id}/$ref`: 204; removing what is not there is 404 or 400, by the knob.
    pub(super) fn remove_link(&mut self, name: &str, link: Link, target: &str) -> Outcome {
        let id = self.locate(Kind::Group, name)?;
        self.links_writable(id)?;
        let gone = || match self.knobs.missing_member {
            MissingMember::NotFound => GraphError::not_found(target).without_effect(true),
            MissingMember::BadRequest => GraphError::not_linked(link.name()),
        };
        let target_id = target.parse::<Uuid>().map_err(|_| GraphError::bad_id(target))?;
        let Some(group) = self.directory.get(id) else { return Err(GraphError::not_found(name)) };
        if link == Link::Members && is_dynamic(&group.props) {
            return Err(dynamic_members());
        }
        let linked = match link {
            Link::Members => group.members.contains_key(&target_id),
            Link::Owners => group.owners.contains_key(&target_id),
        };
        if !linked {
            return Err(gone());
        }
        let operation = match link {
            Link::Members => {
                self.directory.unlink_member(id, target_id, self.now);
                "group.member.remove"
            }
            Link::Owners if group.owners.keys().filter(|o| self.directory.live(**o).is_some()).count() == 1 => {
                return Err(GraphError::last_owner());
            }
            Link::Owners => {
                self.directory.unlink_owner(id, target_id, self.now);
                "group.owner.remove"
            }
        };
        Ok(Reply::no_content().wrote(operation, self.key(id), true))
    }

    /// `DELETE …/members/$ref?@id={object URL}`, the other form of the same.
    pub(super) fn remove_link_by_url(&mut self, name: &str, link: Link) -> Outcome {
        let url = self.request.option("@id").unwrap_or_default().to_owned();
        match key_of(&url) {
            Some((_, key)) => self.remove_link(name, link, &key),
            None => Err(GraphError::bad("Invalid URL format specified in payload.")),
        }
    }

    /// `DELETE …/members/{id}` without `/$ref`: the trap. It deletes the member object itself.
    pub(super) fn delete_through_link(&mut self, name: &str, target: &str) -> Outcome {
        self.locate(Kind::Group, name)?;
        let target_id = target.parse::<Uuid>().map_err(|_| GraphError::bad_id(target))?;
        match self.directory.live(target_id).map(|o| o.kind) {
            Some(Kind::User) => self.delete_user(target),
            Some(Kind::Group) => self.delete_group(target),
            _ => Err(GraphError::not_found(target).without_effect(true)),
        }
    }

    fn links_writable(&self, id: Uuid) -> Result<(), Box<GraphError>> {
        self.writable(id)?;
        if self.directory.get(id).is_some_and(is_exchange) {
            return Err(GraphError::mail_enabled_members());
        }
        Ok(())
    }

    fn key(&self, id: Uuid) -> String {
        self.directory.get(id).map_or_else(|| id.to_string(), |o| o.key(id))
    }

    /// The ids behind a navigation property of a group.
    pub(super) fn linked(&self, name: &str, link: Link, transitive: bool) -> Result<Vec<Uuid>, Box<GraphError>> {
        let (_, group, _) = self.read(Kind::Group, name)?;
        let mut found: BTreeSet<Uuid> = match link {
            Link::Members => group.members.keys().copied().collect(),
            Link::Owners => group.owners.keys().copied().collect(),
        };
        if transitive {
            let mut open: Vec<Uuid> = found.iter().copied().collect();
            while let Some(next) = open.pop() {
                let Some(object) = self.directory.live(next) else { continue };
                open.extend(object.members.keys().filter(|m| found.insert(**m)));
            }
        }
        Ok(found.into_iter().filter(|id| self.directory.live(*id).is_some()).collect())
    }

    /// The ids behind `memberOf`, `transitiveMemberOf` or `directReports`.
    pub(super) fn linking(&self, kind: Kind, name: &str, view: &str) -> Result<Vec<Uuid>, Box<GraphError>> {
        let (id, ..) = self.read(kind, name)?;
        let mut found: BTreeSet<Uuid> = match view {
            "directReports" => self.directory.reports_of(id).into_iter().collect(),
            _ => self.directory.groups_of(id).into_iter().collect(),
        };
        if view == "transitiveMemberOf" {
            let mut open: Vec<Uuid> = found.iter().copied().collect();
            while let Some(next) = open.pop() {
                open.extend(self.directory.groups_of(next).into_iter().filter(|g| found.insert(*g)));
            }
        }
        Ok(found.into_iter().filter(|id| self.directory.live(*id).is_some()).collect())
    }

    /// `GET /users/{id}/manager` (the object) or `…/manager/$ref` (its address); 404 when there is none.
    pub(super) fn get_manager(&self, name: &str, reference: bool) -> Outcome {
        let (_, user, _) = self.read(Kind::User, name)?;
        let manager = user.manager.and_then(|m| self.directory.live(m).map(|o| (m, o)));
        let (id, object) = manager.ok_or_else(|| GraphError::not_found("manager"))?;
        let mut answer = Props::new();
        if reference {
            answer.insert("@odata.context".into(), self.context("$ref"));
            answer.insert("@odata.id".into(), json!(self.address(id)));
        } else {
            let selection = self.mixed_selection()?;
            answer.insert("@odata.context".into(), self.context("directoryObjects/$entity"));
            answer.append(&mut self.typed(object, id, &object.props, &selection));
        }
        Ok(Reply::json(200, answer))
    }

    /// `PUT /users/{id}/manager/$ref`: 204.
    pub(super) fn put_manager(&mut self, name: &str) -> Outcome {
        let id = self.locate(Kind::User, name)?;
        let body = self.request.object()?;
        self.writable(id)?;
        let manager = self.reference(body.get("@odata.id").unwrap_or(&Value::Null))?;
        if self.directory.get(manager).is_some_and(|o| !matches!(o.kind, Kind::User | Kind::Contact)) {
            return Err(GraphError::invalid_one("manager", "User"));
        }
        let changed = self.directory.get(id).is_some_and(|o| o.manager != Some(manager));
        if changed {
            self.directory.set_manager(id, Some(manager), self.now);
        }
        Ok(Reply::no_content().wrote("user.manager", self.key(id), changed))
    }

    /// `DELETE /users/{id}/manager/$ref`: 204, 404 when there is none.
    pub(super) fn delete_manager(&mut self, name: &str) -> Outcome {
        let id = self.locate(Kind::User, name)?;
        self.writable(id)?;
        if self.directory.get(id).is_none_or(|o| o.manager.is_none()) {
            return Err(GraphError::not_found("manager").without_effect(true));
        }
        self.directory.set_manager(id, None, self.now);
        Ok(Reply::no_content().wrote("user.manager", self.key(id), true))
    }

    /// The address of an object, as `@odata.id` shows it.
    pub(super) fn address(&self, id: Uuid) -> String {
        let kind = self.directory.get(id).map_or("DirectoryObject", |o| o.kind.resource());
        let base = &self.request.base;
        format!("{base}/v2/{}/directoryObjects/{id}/Microsoft.DirectoryServices.{kind}", self.tenant.id)
    }
}
