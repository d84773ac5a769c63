//! Memberships of a group: what comes next.
//!
//! Removals before additions. Additions go twenty at a time once twenty are there or no more are coming, so that a group
//! costs few writes; a member that fails stands aside and is added by itself.

use std::sync::Arc;

use forestsync_domain::SourceAnchor;
use forestsync_rules::guard::GuardVerdict;
use forestsync_schemas::outcomes::Operation;

use super::decisions::Standing;
use super::guard::{Gate, Judged, gate, judge};
use super::pending::{LINKS, Links};
use super::plan::Plan;
use super::{Engine, NewOutcome, Purpose, Stage};
use crate::error::ProvisionerError;
use crate::store::{EdgeRow, Held, ObjectRow, Wish, Write};
use crate::target::Call;

/// A member by anchor and cloud id.
type Member = (SourceAnchor, String);

/// The pending memberships of one group.
#[derive(Debug, Default)]
struct Pending {
    /// Leave because the member is deleted next.
    leaving: Vec<Member>,
    /// Leave because the directory says so, if the guard lets them.
    open: Vec<Member>,
    /// Such removals in all, those that rest included.
    open_in_all: u64,
    /// Leave because the directory says so, and somebody approved it.
    approved: Vec<Member>,
    /// Why others stay that the directory has removed.
    kept: Option<Held>,
    added: Vec<Member>,
    singly: Vec<Member>,
    /// Members that will be there soon.
    coming: usize,
}

impl Engine {
    pub(super) fn plan_links(
        &mut self,
        anchor: &SourceAnchor,
        row: &ObjectRow,
        wish: &Wish,
    ) -> Result<Plan, ProvisionerError> {
        let Some(group) = row.live_id().map(str::to_owned) else { return Ok(Plan::Nothing) };
        if let Some(Stage::Check { .. }) = self.stages.get(anchor) {
            return Ok(Plan::Ask(Call::ListMembers { group }, Purpose::Check));
        }
        let mut pending = self.pending_links(anchor)?;
        if self.at_tail {
            let verdict = self.judge_members(anchor, pending.open_in_all)?;
            let operation = Operation::RemoveMembers;
            let passes = verdict == GuardVerdict::Pass;
            let judged = match pending.kept.take() {
                Some(kept) if passes => Judged::Held(kept),
                _ => judge(Standing::Open, verdict, "members of the group would be removed"),
            };
            match gate(operation, judged, row.held.get(&operation)) {
                Gate::Say(event) => {
                    let mut outcome = NewOutcome::of(anchor, row, wish, event);
                    // the last wish that was judged
                    outcome.offset = self.desired_next.saturating_sub(1);
                    return Ok(Plan::Report(outcome));
                }
                Gate::Closed | Gate::Open => {}
            }
            let mut out = pending.leaving;
            out.extend(pending.approved);
            if passes {
                out.extend(pending.open);
            }
            if !out.is_empty() {
                let (members, ids) = split(out);
                return Ok(Plan::Write(Call::RemoveMembers { group, members: ids }, Write::RemoveMembers { members }));
            }
        } else if self.index.links.get(anchor).is_some_and(Links::has_outs) {
            self.tail_waits.insert(anchor.clone());
        }
        let (members, each) = if pending.added.len() >= LINKS || (pending.coming == 0 && !pending.added.is_empty()) {
            (pending.added, false)
        } else {
            (pending.singly, true)
        };
        if members.is_empty() {
            return Ok(Plan::Nothing);
        }
        let (members, ids) = split(members);
        let call = if each { Call::AddEach { group, members: ids } } else { Call::AddMembers { group, members: ids } };
        Ok(Plan::Write(call, Write::AddMembers { members, each }))
    }

    /// What of the group's memberships differs and could be written now. As soon as one request of additions is full,
    /// it is enough: large groups come here once per request.
    fn pending_links(&mut self, group: &SourceAnchor) -> Result<Pending, ProvisionerError> {
        let mut pending = Pending::default();
        let Some(links) = self.index.links.remove(group) else { return Ok(pending) };
        for member in links.outs() {
            let Some((rests, edge, row)) = self.link(group, member)? else { continue };
            let Some(id) = row.live_id().filter(|_| edge.may_be_there()) else { continue };
            let link = (member.clone(), id.to_owned());
            if row.is_let_go() {
                // it keeps what it has
                continue;
            }
            if row.is_leaving() {
                // a member whose deletion is held keeps its memberships
                if !rests && self.goes_now(member, &row) {
                    pending.leaving.push(link);
                }
            } else if edge.is_stray() || (edge.wish == Some(false) && !edge.ended) {
                // one that ended with an object that is back waits for its own record, which says whether it is back too
                match self.decisions.standing(group, Operation::RemoveMembers, edge.offset) {
                    Standing::Kept(cause, decision) => {
                        // one whose time is over asks for a decision, however many others do not
                        if pending.kept.as_ref().is_none_or(|kept| kept.cause < cause) {
                            pending.kept = Some(decision.hold(cause));
                        }
                    }
                    Standing::Approved(_) if rests => {}
                    Standing::Approved(_) => pending.approved.push(link),
                    Standing::Open => {
                        pending.open_in_all += 1;
                        if !rests {
                            pending.open.push(link);
                        }
                    }
                }
            }
        }
        pending.coming = links.coming();
        for member in links.present() {
            if pending.added.len() >= LINKS {
                break;
            }
            let Some((rests, edge, row)) = self.link(group, member)? else { continue };
            let Some(id) = row.live_id().filter(|_| !rests && !edge.confirmed && row.is_wished()) else { continue };
            let link = (member.clone(), id.to_owned());
            let singly = edge.failure().is_some() || self.singly.contains(&(group.clone(), member.clone()));
            if singly { pending.singly.push(link) } else { pending.added.push(link) }
        }
        self.index.links.insert(group.clone(), links);
        Ok(pending)
    }

    /// A membership with its member, and whether it rests.
    fn link(
        &mut self,
        group: &SourceAnchor,
        member: &SourceAnchor,
    ) -> Result<Option<(bool, EdgeRow, Arc<ObjectRow>)>, ProvisionerError> {
        let Some(edge) = self.store.edge(group, member)? else { return Ok(None) };
        let Some(row) = self.store.object(member)? else { return Ok(None) };
        let rests = self.rests(group, edge.failure());
        Ok(Some((rests, edge, row)))
    }
}

fn split(mut members: Vec<Member>) -> (Vec<SourceAnchor>, Vec<String>) {
    members.truncate(LINKS);
    members.into_iter().unzip()
}
