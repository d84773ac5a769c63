//! From a path and a method to an operation, with the permission it needs.
//!
//! A path that is not there is 400 from the gateway, a method that is not there 405, as Graph answers.

use super::context::Ctx;
use super::directory::Kind;
use super::links::Link;
use super::lists::Source;
use super::reply::{GraphError, Outcome};

const USER_READ: &[&str] = &["User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"];
const USER_WRITE: &[&str] = &["User.ReadWrite.All", "Directory.ReadWrite.All"];
const USER_DELETE: &[&str] = &["User.DeleteRestore.All", "User.ReadWrite.All", "Directory.ReadWrite.All"];
const GROUP_READ: &[&str] =
    &["Group.Read.All", "Group.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All", "GroupMember.Read.All"];
const GROUP_WRITE: &[&str] = &["Group.ReadWrite.All", "Directory.ReadWrite.All"];
const MEMBER_WRITE: &[&str] = &["GroupMember.ReadWrite.All", "Group.ReadWrite.All", "Directory.ReadWrite.All"];
const ANY_READ: &[&str] = &[
    "User.Read.All",
    "User.ReadWrite.All",
    "Group.Read.All",
    "Group.ReadWrite.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
];
const CONTACT_READ: &[&str] = &["OrgContact.Read.All", "Directory.Read.All", "Directory.ReadWrite.All"];
const DEVICE_READ: &[&str] = &["Device.Read.All", "Directory.Read.All", "Directory.ReadWrite.All"];
const DEVICE_WRITE: &[&str] = &["Device.ReadWrite.All", "Directory.ReadWrite.All"];
const TENANT_READ: &[&str] =
    &["Organization.Read.All", "Domain.Read.All", "Directory.Read.All", "Directory.ReadWrite.All", "User.Read.All"];
const EXTENSION_WRITE: &[&str] = &["Application.ReadWrite.All", "Directory.ReadWrite.All"];

/// What an application of this product is granted in a practice tenant unless a test says otherwise.
pub(super) const GRANTED: &[&str] = &[
    "User.ReadWrite.All",
    "User.DeleteRestore.All",
    "Group.ReadWrite.All",
    "Directory.Read.All",
    "OrgContact.Read.All",
    "Domain.Read.All",
    "Organization.Read.All",
    "Application.ReadWrite.All",
];

fn is_delta(segment: &str) -> bool {
    matches!(segment, "delta" | "delta()" | "microsoft.graph.delta" | "microsoft.graph.delta()")
}

fn cast(segment: &str) -> Option<Kind> {
    match segment.strip_prefix("microsoft.graph.").or_else(|| segment.strip_prefix("graph."))? {
        "user" => Some(Kind::User),
        "group" => Some(Kind::Group),
        "device" => Some(Kind::Device),
        "orgContact" => Some(Kind::Contact),
        _ => None,
    }
}

const fn live(kind: Kind) -> Source {
    Source { kind, deleted: false }
}

impl Ctx<'_> {
    /// Carries out the request.
    pub(super) fn route(&mut self) -> Outcome {
        let request = self.request;
        let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
        let method = request.method.as_str();
        let Some((set, rest)) = segments.split_first() else {
            return Err(GraphError::segment(""));
        };
        match *set {
            "users" => self.users(method, rest),
            "groups" => self.groups(method, rest),
            "directory" => self.directory_paths(method, rest),
            "directoryObjects" => self.objects(method, rest),
            "contacts" => self.contacts(method, rest),
            "devices" => self.devices(method, rest),
            "domains" | "organization" => self.tenant_paths(set, method, rest),
            "applications" => self.applications(method, rest),
            "$batch" => Err(GraphError::gateway("A batch cannot hold another batch.")),
            other => Err(GraphError::segment(other)),
        }
    }

    fn users(&mut self, method: &str, rest: &[&str]) -> Outcome {
        if method == "GET" {
            self.need(USER_READ)?;
        }
        match (method, rest) {
            ("GET", []) => self.list(live(Kind::User)),
            ("POST", []) => {
                self.need(USER_WRITE)?;
                self.create_user()
            }
            ("GET", ["$count"]) => self.count(live(Kind::User)),
            ("GET", [delta]) if is_delta(delta) => self.delta(Kind::User),
            ("GET", [id]) => self.get_user(id),
            ("PATCH", [id]) => {
                self.need(USER_WRITE)?;
                self.patch_user(id)
            }
            ("DELETE", [id]) => {
                self.need(USER_DELETE)?;
                self.delete_user(id)
            }
            ("GET", [id, "manager"]) => self.get_manager(id, false),
            ("GET", [id, "manager", "$ref"]) => self.get_manager(id, true),
            ("PUT", [id, "manager", "$ref"]) => {
                self.need(USER_WRITE)?;
                self.put_manager(id)
            }
            ("DELETE", [id, "manager", "$ref"]) => {
                self.need(USER_WRITE)?;
                self.delete_manager(id)
            }
            ("GET", [id, view @ ("memberOf" | "transitiveMemberOf" | "directReports"), tail @ ..]) => {
                let ids = self.linking(Kind::User, id, view)?;
                let reply = self.view(&ids, tail)?;
                let holds_role = *view != "directReports" && tail.is_empty() && self.holds_role(id)?;
                Ok(if holds_role { reply.with_role() } else { reply })
            }
            ("POST", [id, "revokeSignInSessions"]) => {
                self.need(USER_WRITE)?;
                self.revoke_sessions(id)
            }
            (_, [] | [_] | [_, "manager"] | [_, "manager", "$ref"]) => Err(GraphError::method()),
            (_, [_, other, ..]) => Err(GraphError::segment(other)),
        }
    }

    fn groups(&mut self, method: &str, rest: &[&str]) -> Outcome {
        if method == "GET" {
            self.need(GROUP_READ)?;
        }
        match (method, rest) {
            ("GET", []) => self.list(live(Kind::Group)),
            ("POST", []) => {
                self.need(GROUP_WRITE)?;
                self.create_group()
            }
            ("GET", ["$count"]) => self.count(live(Kind::Group)),
            ("GET", [delta]) if is_delta(delta) => self.delta(Kind::Group),
            ("GET", [id]) => self.get_group(id),
            ("PATCH", [id]) => {
                let members_only = self.request.object().is_ok_and(|b| b.keys().all(|k| k == "members@odata.bind"));
                self.need(if members_only { MEMBER_WRITE } else { GROUP_WRITE })?;
                match self.request.unique_name.clone() {
                    Some(unique) => self.upsert_group(&unique),
                    None => self.patch_group(id),
                }
            }
            ("DELETE", [id]) => {
                self.need(GROUP_WRITE)?;
                self.delete_group(id)
            }
            (_, [id, "members", tail @ ..]) => self.group_links(method, id, Link::Members, tail),
            (_, [id, "owners", tail @ ..]) => self.group_links(method, id, Link::Owners, tail),
            ("GET", [id, "transitiveMembers", tail @ ..]) => {
                let ids = self.linked(id, Link::Members, true)?;
                self.view(&ids, tail)
            }
            ("GET", [id, view @ ("memberOf" | "transitiveMemberOf"), tail @ ..]) => {
                let ids = self.linking(Kind::Group, id, view)?;
                self.view(&ids, tail)
            }
            (_, [] | [_]) => Err(GraphError::method()),
            (_, [_, other, ..]) => Err(GraphError::segment(other)),
        }
    }

    fn group_links(&mut self, method: &str, id: &str, link: Link, tail: &[&str]) -> Outcome {
        if method != "GET" {
            self.need(MEMBER_WRITE)?;
        }
        match (method, tail) {
            ("GET", ["$ref"]) => {
                let ids = self.linked(id, link, false)?;
                self.list_references(&ids)
            }
            ("GET", tail) => {
                let ids = self.linked(id, link, false)?;
                self.view(&ids, tail)
            }
            ("POST", ["$ref"]) => self.add_link(id, link),
            ("DELETE", ["$ref"]) => self.remove_link_by_url(id, link),
            ("DELETE", [target, "$ref"]) => self.remove_link(id, link, target),
            ("DELETE", [target]) if *target != "$count" => {
                self.need(USER_DELETE)?;
                self.delete_through_link(id, target)
            }
            ("PATCH" | "PUT", ["$ref"]) => Err(GraphError::entity_set()),
            _ => Err(GraphError::method()),
        }
    }

    /// A list of linked objects: all, of one kind by cast, or their number.
    fn view(&self, ids: &[uuid::Uuid], tail: &[&str]) -> Outcome {
        match tail {
            [] => self.list_mixed(ids, None),
            ["$count"] if !self.request.eventual => Err(GraphError::bad("$count is not currently supported.")),
            ["$count"] => Ok(super::reply::Reply::number(ids.len() as u64)),
            [segment] => match cast(segment) {
                Some(kind) => self.list_mixed(ids, Some(kind)),
                None => Err(GraphError::segment(segment)),
            },
            [_, other, ..] => Err(GraphError::segment(other)),
        }
    }

    fn directory_paths(&mut self, method: &str, rest: &[&str]) -> Outcome {
        let Some(("deletedItems", rest)) = rest.split_first().map(|(first, rest)| (*first, rest)) else {
            return Err(GraphError::segment(rest.first().unwrap_or(&"directory")));
        };
        match (method, rest) {
            ("GET", []) => Err(GraphError::bad(
                "The type of the deleted items must be given, as in deletedItems/microsoft.graph.user.",
            )),
            ("GET", [segment]) if cast(segment).is_some() => {
                let kind = cast(segment).unwrap_or(Kind::User);
                self.need(if kind == Kind::Group { GROUP_READ } else { USER_READ })?;
                self.list(Source { kind, deleted: true })
            }
            ("GET", [segment, "$count"]) if cast(segment).is_some() => {
                self.need(USER_READ)?;
                self.count(Source { kind: cast(segment).unwrap_or(Kind::User), deleted: true })
            }
            ("GET", [id]) => {
                self.need(ANY_READ)?;
                self.get_deleted(id)
            }
            ("DELETE", [id]) => {
                self.need_for_deleted(id)?;
                self.purge(id)
            }
            ("POST", [id, "restore" | "microsoft.graph.restore"]) => {
                self.need_for_deleted(id)?;
                self.restore(id)
            }
            (_, [] | [_] | [_, "restore"]) => Err(GraphError::method()),
            (_, [_, other, ..]) => Err(GraphError::segment(other)),
        }
    }

    fn need_for_deleted(&self, id: &str) -> Result<(), Box<GraphError>> {
        let object = id.parse().ok().and_then(|id| self.directory.get(id));
        let group = object.is_some_and(|o| o.kind == Kind::Group);
        self.need(if group { GROUP_WRITE } else { USER_DELETE })
    }

    fn objects(&mut self, method: &str, rest: &[&str]) -> Outcome {
        match (method, rest) {
            ("POST", ["getByIds" | "microsoft.graph.getByIds"]) => {
                self.need(ANY_READ)?;
                self.get_by_ids()
            }
            ("POST", ["getAvailableExtensionProperties" | "microsoft.graph.getAvailableExtensionProperties"]) => {
                self.need(ANY_READ)?;
                Ok(self.available_extensions())
            }
            ("GET", [id]) => {
                self.need(ANY_READ)?;
                self.get_object(id)
            }
            ("DELETE", [id]) => {
                self.need(USER_DELETE)?;
                self.delete_object(id)
            }
            (_, [_]) => Err(GraphError::method()),
            (_, [_, other, ..]) => Err(GraphError::segment(other)),
            (_, []) => Err(GraphError::segment("directoryObjects")),
        }
    }

    /// Contacts: no application can create them through Graph, so there are none.
    fn contacts(&mut self, method: &str, rest: &[&str]) -> Outcome {
        if method != "GET" {
            return Err(GraphError::method());
        }
        self.need(CONTACT_READ)?;
        self.read_rarely(Kind::Contact, rest)
    }

    /// Devices: whether an application may create them is a knob (graph.md section 4).
    fn devices(&mut self, method: &str, rest: &[&str]) -> Outcome {
        match (method, rest) {
            ("GET", [id]) if *id != "$count" && !is_delta(id) => {
                self.need(DEVICE_READ)?;
                self.get_device(id)
            }
            ("GET", rest) => {
                self.need(DEVICE_READ)?;
                self.read_rarely(Kind::Device, rest)
            }
            ("POST", []) if self.knobs.device_create_refused => Err(GraphError::denied()),
            ("POST", []) => {
                self.need(DEVICE_WRITE)?;
                self.create_device()
            }
            ("DELETE", [id]) => {
                self.need(DEVICE_WRITE)?;
                self.delete_device(id)
            }
            (_, [] | [_]) => Err(GraphError::method()),
            (_, [_, other, ..]) => Err(GraphError::segment(other)),
        }
    }

    /// What can be read of kinds that hardly anybody writes.
    fn read_rarely(&mut self, kind: Kind, rest: &[&str]) -> Outcome {
        match rest {
            [] => self.list(live(kind)),
            ["$count"] => self.count(live(kind)),
            [delta] if is_delta(delta) => self.delta(kind),
            [id] => Err(GraphError::not_found(id)),
            [_, other, ..] => Err(GraphError::segment(other)),
        }
    }

    fn tenant_paths(&mut self, set: &str, method: &str, rest: &[&str]) -> Outcome {
        if method != "GET" {
            return Err(GraphError::method());
        }
        self.need(TENANT_READ)?;
        match (set, rest) {
            ("domains", []) => Ok(self.list_domains()),
            ("domains", [name]) => self.get_domain(name),
            ("organization", []) => Ok(self.list_organization()),
            ("organization", [id]) => self.get_organization(id),
            (_, [_, other, ..]) => Err(GraphError::segment(other)),
            (other, _) => Err(GraphError::segment(other)),
        }
    }

    fn applications(&mut self, method: &str, rest: &[&str]) -> Outcome {
        match (method, rest) {
            ("GET", [app, "extensionProperties"]) => {
                self.need(ANY_READ)?;
                self.list_extensions(app)
            }
            ("POST", [app, "extensionProperties"]) => {
                self.need(EXTENSION_WRITE)?;
                self.create_extension(app)
            }
            ("GET", [app, "extensionProperties", id]) => {
                self.need(ANY_READ)?;
                self.get_extension(app, id)
            }
            ("DELETE", [app, "extensionProperties", id]) => {
                self.need(EXTENSION_WRITE)?;
                self.delete_extension(app, id)
            }
            (_, [_, "extensionProperties", ..]) => Err(GraphError::method()),
            (_, [_, other, ..]) => Err(GraphError::segment(other)),
            (_, _) => Err(GraphError::segment("applications")),
        }
    }
}
