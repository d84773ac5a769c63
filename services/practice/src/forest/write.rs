//! Requests that change the directory, and the few others that are not searches.

use ldap3_proto::LdapResultCode as Rc;
use ldap3_proto::proto::{LdapExtendedResponse, LdapOp, LdapResult};

use super::add::{Given, Outside};
use super::codec::RawControl;
use super::object::Id;
use super::outlet::{refused, success};
use super::request::Controls;
use super::server::{Counters, Shared};
use super::store::{Refusal, Store};

/// Does what a request says; the result goes to [`answer_to`].
pub(crate) fn handle(shared: &Shared, account: Option<usize>, op: &LdapOp, controls: &[RawControl]) -> LdapResult {
    let result = Controls::read(controls).and_then(|controls| change(shared, account, op, &controls));
    match result {
        Ok(()) => {
            Counters::add(&shared.counters.writes, 1);
            success()
        }
        Err(refusal) => refused(refusal),
    }
}

fn change(shared: &Shared, account: Option<usize>, op: &LdapOp, controls: &Controls) -> Result<(), Refusal> {
    match op {
        LdapOp::AddRequest(_) | LdapOp::ModifyRequest(_) | LdapOp::ModifyDNRequest(_) | LdapOp::DelRequest(_) => {}
        LdapOp::CompareRequest(_) => {
            return Err(Refusal::new(Rc::UnwillingToPerform, "the practice forest does not compare; search instead"));
        }
        _ => return Err(Refusal::new(Rc::ProtocolError, "the request is not supported")),
    }
    if account.is_none() {
        let message = "000004DC: Operation unavailable without authentication";
        return Err(Refusal::new(Rc::OperationsError, message));
    }
    if !shared.access(account).admin {
        return Err(Refusal::new(Rc::InsufficentAccessRights, "00000005: the account may not change the directory"));
    }
    shared.write(|store, out| apply(store, op, controls, out))
}

fn apply(store: &mut Store, op: &LdapOp, controls: &Controls, out: &mut Outside<'_>) -> Result<(), Refusal> {
    match op {
        LdapOp::AddRequest(request) => {
            let given: Vec<Given> = request.attributes.iter().map(|a| (a.atype.clone(), a.vals.clone())).collect();
            store.add(&request.dn, &given, out).map(|_| ())
        }
        LdapOp::ModifyRequest(request) => {
            // An undelete finds its tombstone by itself, as on Samba.
            let undelete = request.changes.iter().any(|c| c.modification.atype.eq_ignore_ascii_case("isDeleted"));
            let id = existing(store, &request.dn, controls.show_deleted || undelete)?;
            store.modify(id, &request.changes, controls.permissive, out)
        }
        LdapOp::ModifyDNRequest(request) => {
            let id = existing(store, &request.dn, controls.show_deleted)?;
            store.rename(id, &request.newrdn, request.deleteoldrdn, request.new_superior.as_deref(), out)
        }
        LdapOp::DelRequest(dn) => {
            let id = existing(store, dn, controls.show_deleted)?;
            store.delete(id, controls.tree_delete, out)
        }
        _ => Err(Refusal::new(Rc::ProtocolError, "the request is not supported")),
    }
}

/// The object that a request is about; a deleted one only when the request says that it may be.
fn existing(store: &Store, dn: &str, show_deleted: bool) -> Result<Id, Refusal> {
    store
        .resolve(dn)?
        .filter(|id| show_deleted || !store.get(*id).deleted)
        .ok_or_else(|| Refusal::new(Rc::NoSuchObject, format!("0000208D: no such object: {dn}")))
}

/// The response that belongs to a request, or `None` when it has none.
pub(crate) fn answer_to(op: &LdapOp, result: LdapResult) -> Option<LdapOp> {
    Some(match op {
        LdapOp::AddRequest(_) => LdapOp::AddResponse(result),
        LdapOp::ModifyRequest(_) => LdapOp::ModifyResponse(result),
        LdapOp::ModifyDNRequest(_) => LdapOp::ModifyDNResponse(result),
        LdapOp::DelRequest(_) => LdapOp::DelResponse(result),
        LdapOp::CompareRequest(_) => LdapOp::CompareResult(result),
        LdapOp::SearchRequest(_) => LdapOp::SearchResultDone(result),
        LdapOp::ExtendedRequest(_) => {
            LdapOp::ExtendedResponse(LdapExtendedResponse { res: result, name: None, value: None })
        }
        _ => return None,
    })
}
