//! What the tenant holds of the values that must be unique: who of ours wishes for a name or an address that a cloud object
//! has which is not the one of its anchor.

use forestsync_domain::SourceAnchor;
use forestsync_rules::hygiene::{TenantHolder, UniqueKind};

use crate::StoreError;
use crate::engine::Engine;
use crate::query::{FindingView, LintFilter, LintRow};
use crate::round::Round;
use crate::unique::hash_of;

type Result<T> = std::result::Result<T, StoreError>;

/// How a wish and a cloud object that has its value stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clash {
    /// Another source anchor has it.
    Anchored,
    /// Azure AD Connect has it.
    Synced,
    /// It has no anchor, and a soft match may take it over.
    Matched,
    /// It has no anchor, and no soft match looks at this value.
    Free,
}

impl Engine {
    /// The findings on our objects that these cloud objects give reason to.
    pub(crate) fn taken(&self, holders: &[TenantHolder], filter: &LintFilter) -> Result<Vec<LintRow>> {
        let mut round = self.round()?;
        let mut rows = Vec::new();
        for holder in holders {
            for (kind, value) in holder.values() {
                round.taken(holder, kind, &value, filter, &mut rows)?;
            }
        }
        rows.truncate(filter.limit);
        Ok(rows)
    }
}

impl Round<'_> {
    fn taken(
        &mut self,
        holder: &TenantHolder,
        kind: UniqueKind,
        value: &str,
        filter: &LintFilter,
        rows: &mut Vec<LintRow>,
    ) -> Result<()> {
        let (space, hash) = hash_of(kind, value);
        for anchor in self.holders(space, &hash)? {
            if is_its_own(holder, &anchor) {
                continue;
            }
            let Some(wish) = self.wish(&anchor)? else { continue };
            let is_primary = matches!(kind, UniqueKind::PrincipalName | UniqueKind::Mail);
            let clash = match (&holder.anchor, holder.is_synced) {
                (Some(_), _) => Clash::Anchored,
                (None, true) => Clash::Synced,
                (None, false) if holder.is_user && is_primary => Clash::Matched,
                (None, false) => Clash::Free,
            };
            let view = finding(holder, kind, clash);
            let Some(source) = self.plan.source(wish.object.source).filter(|_| filter.takes(&view)) else { continue };
            let forest = source.config.forest.clone();
            if filter.forest.as_ref().is_some_and(|wanted| *wanted != forest) {
                continue;
            }
            let dn = match self.head(wish.object)? {
                Some(head) => self.name_of(wish.object, &head.dn, head.parent)?.to_string(),
                None => String::new(),
            };
            rows.push(LintRow {
                forest,
                object: wish.object.guid.to_string(),
                dn,
                rule: view.rule,
                severity: view.severity,
                attribute: view.attribute,
                message: view.message,
                value: filter.values.then(|| value.to_owned()),
                fix: None,
            });
        }
        Ok(())
    }
}

/// Whether the cloud object is the one that stands for this anchor.
fn is_its_own(holder: &TenantHolder, anchor: &SourceAnchor) -> bool {
    holder.anchor.as_deref().is_some_and(|held| held == anchor.as_str() || held == anchor.unique_name())
}

fn finding(holder: &TenantHolder, kind: UniqueKind, clash: Clash) -> FindingView {
    let attribute = match kind {
        UniqueKind::PrincipalName => "userPrincipalName",
        UniqueKind::Mail => "mail",
        UniqueKind::Nickname => "mailNickname",
        _ => "proxyAddresses",
    };
    let what = if holder.is_user { "user" } else { "group" };
    let id = &holder.id;
    let (severity, message) = match clash {
        // nothing in Azure AD keeps aliases apart
        Clash::Anchored | Clash::Synced | Clash::Free if kind == UniqueKind::Nickname => {
            ("info", format!("{what} {id} of the tenant has the same alias"))
        }
        Clash::Anchored => (
            "error",
            format!("{what} {id} of the tenant has it and stands for another directory object; change one of them"),
        ),
        Clash::Synced => {
            ("error", format!("{what} {id} of the tenant has it and belongs to Azure AD Connect; it is left alone"))
        }
        Clash::Matched => (
            "info",
            format!("{what} {id} of the tenant has it and no source anchor; it is taken over where soft match is on"),
        ),
        Clash::Free => {
            ("warning", format!("{what} {id} of the tenant has it, and nothing takes it over; change one of them"))
        }
    };
    let rule = if clash == Clash::Matched { "tenant-match" } else { "tenant-taken" };
    FindingView { rule: rule.to_owned(), severity: severity.to_owned(), attribute: attribute.to_owned(), message }
}
