//! What tests and the demo may ask a practice tenant: counts, the log of writes, the whole content.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::directory::{Directory, Kind, Object};

/// Counts since start or since they were reset. A batch is one request and as many items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// HTTP requests to Graph, by method; batches count under `POST`.
    pub requests: BTreeMap<String, u64>,
    /// Requests inside batches.
    pub batch_items: u64,
    /// Operations that read, alone or in a batch.
    pub reads: u64,
    /// Operations that asked to write, alone or in a batch, whatever came of them.
    pub writes: u64,
    /// Writes that changed nothing: equal values, a member already there or already gone, an object already deleted, a
    /// create refused because its anchor or `uniqueName` exists.
    pub writes_without_effect: u64,
    /// Successful writes by operation, such as `user.create` or `group.member.remove`.
    pub operations: BTreeMap<String, u64>,
    /// Users created, per `onPremisesImmutableId`.
    pub creates_by_immutable_id: HashMap<String, u64>,
    /// Groups created, per `uniqueName`.
    pub creates_by_unique_name: HashMap<String, u64>,
    /// Operations answered 429.
    pub throttled: u64,
    /// Requests and items answered 401.
    pub unauthorized: u64,
    /// Operations answered with any other error.
    pub errors: BTreeMap<u16, u64>,
    /// Answers lost on purpose after the write.
    pub answers_lost: u64,
    /// Token requests.
    pub token_requests: u64,
}

/// One write that changed something.
#[derive(Clone, Debug)]
pub struct WriteRecord {
    /// When its request had arrived whole, before any latency of the tenant.
    pub at: Instant,
    /// Such as `user.create`, `user.update`, `group.members.add`.
    pub operation: &'static str,
    /// The object's `onPremisesImmutableId` or `uniqueName`, else its id. For links, the group's or the user's.
    pub key: String,
}

/// The content of a tenant, sorted by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantDump {
    /// Live users.
    pub users: Vec<UserDump>,
    /// Live groups.
    pub groups: Vec<GroupDump>,
    /// Soft-deleted users.
    pub deleted_users: Vec<UserDump>,
    /// Soft-deleted groups.
    pub deleted_groups: Vec<GroupDump>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserDump {
    /// The object id.
    pub id: String,
    /// Every property that has a value.
    pub properties: Map<String, Value>,
    /// The manager's object id, if there is one and it is live.
    pub manager: Option<String>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDump {
    /// The object id.
    pub id: String,
    /// Every property that has a value.
    pub properties: Map<String, Value>,
    /// The object ids of its live members, sorted.
    pub members: Vec<String>,
    /// The object ids of its live owners, sorted.
    pub owners: Vec<String>,
}

impl TenantDump {
    pub(super) fn of(directory: &Directory) -> Self {
        let mut dump = Self::default();
        let mut ids: Vec<_> = directory.objects.iter().collect();
        ids.sort_unstable_by_key(|(id, _)| **id);
        for (id, object) in ids {
            let live = |id: &&uuid::Uuid| directory.live(**id).is_some();
            match object.kind {
                Kind::User => {
                    let user = UserDump {
                        id: id.to_string(),
                        properties: properties(object),
                        manager: object.manager.as_ref().filter(live).map(ToString::to_string),
                    };
                    if object.deleted.is_some() { dump.deleted_users.push(user) } else { dump.users.push(user) }
                }
                Kind::Group => {
                    let group = GroupDump {
                        id: id.to_string(),
                        properties: properties(object),
                        members: object.members.keys().filter(live).map(ToString::to_string).collect(),
                        owners: object.owners.keys().filter(live).map(ToString::to_string).collect(),
                    };
                    if object.deleted.is_some() { dump.deleted_groups.push(group) } else { dump.groups.push(group) }
                }
                Kind::Contact | Kind::Device => {}
            }
        }
        dump
    }

    /// The live user with this anchor.
    pub fn user(&self, immutable_id: &str) -> Option<&UserDump> {
        let is =
            |u: &&UserDump| u.properties.get("onPremisesImmutableId").and_then(Value::as_str) == Some(immutable_id);
        self.users.iter().find(is)
    }

    /// The live group with this `uniqueName`.
    pub fn group(&self, unique_name: &str) -> Option<&GroupDump> {
        let is = |g: &&GroupDump| g.properties.get("uniqueName").and_then(Value::as_str) == Some(unique_name);
        self.groups.iter().find(is)
    }
}

fn properties(object: &Object) -> Map<String, Value> {
    object.props.clone()
}
