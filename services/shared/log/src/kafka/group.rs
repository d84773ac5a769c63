//! A group as others see it, without joining.

use std::sync::Arc;

use bytes::Buf;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tokio::time::{Duration, Instant};

use super::Shared;
use super::client::{Context, as_io};
use crate::membership::{GroupMember, GroupStatus, Report};
use crate::{ReadError, StreamName};

/// How long a question may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Between two questions, while a coordinator is not ready to answer.
const PAUSE: Duration = Duration::from_millis(100);

/// Members and reports of a group. A coordinator that has just begun is waited for.
pub(super) async fn status(shared: &Arc<Shared>, group: &str) -> Result<GroupStatus, ReadError> {
    let name = shared.settings.named(group);
    let place = format!("group {name}");
    let deadline = Instant::now() + LIMIT;
    loop {
        let (shared, name) = (Arc::clone(shared), name.clone());
        match tokio::task::spawn_blocking(move || look(&shared, &name)).await {
            Ok(Ok(status)) => return Ok(status),
            Ok(Err(error)) if is_passing(&error) && Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            Ok(Err(error)) => return Err(ReadError::List { place, source: as_io(&error) }),
            Err(lost) => return Err(ReadError::List { place, source: std::io::Error::other(lost) }),
        }
    }
}

/// Whether the coordinator has just begun, or just moved: it answers in a moment.
fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(Code::CoordinatorLoadInProgress | Code::CoordinatorNotAvailable | Code::NotCoordinator)
    )
}

fn look(shared: &Shared, group: &str) -> Result<GroupStatus, KafkaError> {
    let mut status = GroupStatus::default();
    let list = shared.newest.client().fetch_group_list(Some(group), LIMIT)?;
    let Some(found) = list.groups().iter().find(|found| found.name() == group) else { return Ok(status) };
    for member in found.members() {
        let topics = member.assignment().and_then(topics).unwrap_or_default();
        let own = |topic: &String| topic.strip_prefix(&shared.settings.prefix).map(ToOwned::to_owned);
        let mut streams: Vec<String> = topics.iter().filter_map(own).collect();
        streams.sort();
        let host = member.client_host().trim_start_matches('/').to_owned();
        status.members.push(GroupMember { instance: member.client_id().to_owned(), host, streams });
    }
    status.members.sort_by(|a, b| a.instance.cmp(&b.instance));
    let streams = shared.streams()?;
    if !streams.is_empty() {
        reports(shared, group, &streams, &mut status)?;
    }
    Ok(status)
}

/// Reads what owners said with their last commit.
fn reports(shared: &Shared, group: &str, streams: &[StreamName], status: &mut GroupStatus) -> Result<(), KafkaError> {
    let mut config = shared.settings.consumer("read_committed");
    config.set("group.id", group);
    let client: BaseConsumer<Context> = config.create_with_context(shared.settings.context())?;
    let mut list = TopicPartitionList::new();
    for stream in streams {
        list.add_partition(&shared.topic(stream), 0);
    }
    let committed = client.committed_offsets(list, LIMIT);
    super::retire(client);
    let committed = committed?;
    for part in committed.elements() {
        let Ok(report) = serde_json::from_str::<Report>(part.metadata()) else { continue };
        let stream = part.topic().strip_prefix(&shared.settings.prefix).unwrap_or_default();
        status.reports.insert(stream.to_owned(), report);
    }
    Ok(())
}

/// The topics of an assignment, as the consumer protocol writes it: a version, then topics, each with its partitions.
fn topics(mut bytes: &[u8]) -> Option<Vec<String>> {
    let _version = bytes.try_get_i16().ok()?;
    let count = usize::try_from(bytes.try_get_i32().ok()?).ok()?;
    let mut topics = Vec::new();
    for _ in 0..count {
        let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        let (name, rest) = bytes.split_at_checked(length)?;
        topics.push(String::from_utf8(name.to_vec()).ok()?);
        bytes = rest;
        let partitions = usize::try_from(bytes.try_get_i32().ok()?).ok()?;
        bytes = bytes.get(partitions.checked_mul(4)?..)?;
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::{Code, KafkaError, is_passing, topics};

    #[test]
    fn a_coordinator_that_has_just_begun_is_waited_for() {
        for code in [Code::CoordinatorLoadInProgress, Code::CoordinatorNotAvailable, Code::NotCoordinator] {
            assert!(is_passing(&KafkaError::GroupListFetch(code)));
        }
        assert!(!is_passing(&KafkaError::GroupListFetch(Code::GroupAuthorizationFailed)));
    }

    #[test]
    fn an_assignment_is_read_and_a_broken_one_is_none() {
        let bytes = b"\0\x01\0\0\0\x02\0\x01a\0\0\0\x01\0\0\0\0\0\x02bc\0\0\0\x01\0\0\0\0\xff\xff\xff\xff";
        assert_eq!(topics(bytes).unwrap(), ["a", "bc"]);
        for end in 0..bytes.len() - 4 {
            assert!(topics(bytes.get(..end).unwrap()).is_none(), "cut at {end}");
        }
        assert!(topics(b"\0\x01\xff\xff\xff\xff").is_none());
    }
}
