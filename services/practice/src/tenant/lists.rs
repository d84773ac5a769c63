//! Lists: `$filter`, `$select`, `$top`, `$count`, paging with `@odata.nextLink`, and the rules for advanced queries.

use std::ops::Bound;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::context::{Ctx, Selection, table};
use super::directory::{Kind, Props};
use super::filter::{self, Filter, Probe};
use super::reply::{GraphError, Outcome, Reply};
use super::schema::{self, Access};

const PAGE: usize = 100;
const MOST: usize = 999;
const TOKEN: &str = "$skiptoken";

/// Properties whose filters always need the advanced query parameters.
const ADVANCED: &[&str] = &[
    "onPremisesSamAccountName",
    "onPremisesUserPrincipalName",
    "onPremisesDistinguishedName",
    "onPremisesDomainName",
    "companyName",
    "officeLocation",
    "employeeType",
    "mobilePhone",
    "postalCode",
    "streetAddress",
    "preferredLanguage",
    "passwordPolicies",
    "description",
];

/// Properties no filter takes.
const UNFILTERABLE: &[&str] = &["passwordProfile", "employeeOrgData", "customSecurityAttributes", "signInActivity"];

/// What a list is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub kind: Kind,
    pub deleted: bool,
}

/// How far a list has come.
struct Place {
    after: u64,
    /// An empty page was given already.
    started: bool,
}

impl Ctx<'_> {
    /// `GET` of an entity set or of deleted items of a kind.
    pub(super) fn list(&self, source: Source) -> Outcome {
        self.refuse_options(&["$skip", "$orderby"])?;
        let selection = self.list_selection(source.kind)?;
        let filter = self.filter(source.kind)?;
        if source.deleted && filter.is_some() && self.knobs.deleted_filter_refused {
            return Err(GraphError::unsupported_query("Filter is not supported for deleted items."));
        }
        let place = self.place()?;
        let top = self.top()?;
        let mut answer = self.head(match (source.deleted, source.kind) {
            (false, kind) => kind.set(),
            (true, _) => "directoryObjects",
        });
        if self.request.eventual && self.asks_count() && !place.started && place.after == 0 {
            answer.insert("@odata.count".into(), json!(self.matching(source, filter.as_ref()).count()));
        }
        if self.knobs.empty_first_page && !place.started {
            return Ok(self.page(answer, Vec::new(), Some(0)));
        }
        let mut found = self.matching(source, filter.as_ref()).filter(|(order, ..)| *order > place.after);
        let mut values = Vec::new();
        let mut last = 0;
        for (order, id, props) in found.by_ref().take(top) {
            let mut shown = self.shape(source.kind, id, props, &selection);
            if source.deleted {
                shown.insert("@odata.type".into(), json!(source.kind.odata_type()));
            }
            values.push(Value::Object(shown));
            last = order;
        }
        let more = found.next().is_some().then_some(last);
        Ok(self.page(answer, values, more))
    }

    /// `GET …/$count`: a number as text; always an advanced query.
    pub(super) fn count(&self, source: Source) -> Outcome {
        if !self.request.eventual {
            return Err(GraphError::bad("$count is not currently supported."));
        }
        let filter = match self.request.option("$filter") {
            Some(text) => Some(filter::parse(text).map_err(GraphError::gateway)?),
            None => None,
        };
        Ok(Reply::number(self.matching(source, filter.as_ref()).count() as u64))
    }

    /// A list of objects of any kind, in the order of their ids: members, owners, memberOf, reports.
    pub(super) fn list_mixed(&self, ids: &[Uuid], only: Option<Kind>) -> Outcome {
        self.refuse_options(&["$skip", "$orderby"])?;
        let selection = self.mixed_selection()?;
        let filter = match self.request.option("$filter") {
            Some(_) if !(self.request.eventual && self.asks_count()) => return Err(needs_advanced()),
            Some(text) => Some(filter::parse(text).map_err(GraphError::gateway)?),
            None => None,
        };
        if only.is_some() && self.request.option("$filter").is_some() && !self.request.eventual {
            return Err(needs_advanced());
        }
        let wanted: Vec<Uuid> = ids
            .iter()
            .copied()
            .filter(|id| {
                self.directory.get(*id).is_some_and(|o| {
                    only.is_none_or(|k| k == o.kind) && filter.as_ref().is_none_or(|f| f.matches(*id, &o.props))
                })
            })
            .collect();
        let place = self.place()?;
        let top = self.top()?;
        let mut answer = self.head("directoryObjects");
        if self.request.eventual && self.asks_count() && place.after == 0 {
            answer.insert("@odata.count".into(), json!(wanted.len()));
        }
        if self.knobs.empty_first_page && !place.started {
            return Ok(self.page(answer, Vec::new(), Some(0)));
        }
        let done = place.after as usize;
        let shown = wanted.iter().skip(done).take(top);
        let values: Vec<Value> = shown
            .filter_map(|id| self.directory.get(*id).map(|o| Value::Object(self.typed(o, *id, &o.props, &selection))))
            .collect();
        let end = done + values.len();
        Ok(self.page(answer, values, (end < wanted.len()).then_some(end as u64)))
    }

    /// The addresses only: `…/members/$ref`.
    pub(super) fn list_references(&self, ids: &[Uuid]) -> Outcome {
        let place = self.place()?;
        let top = self.top()?;
        if self.knobs.empty_first_page && !place.started {
            return Ok(self.page(self.head("Collection($ref)"), Vec::new(), Some(0)));
        }
        let done = place.after as usize;
        let shown = ids.iter().skip(done).take(top);
        let values: Vec<Value> = shown.map(|id| json!({"@odata.id": self.address(*id)})).collect();
        let end = done + values.len();
        Ok(self.page(self.head("Collection($ref)"), values, (end < ids.len()).then_some(end as u64)))
    }

    fn head(&self, what: &str) -> Props {
        let mut answer = Props::new();
        answer.insert("@odata.context".into(), self.context(what));
        answer
    }

    fn page(&self, mut answer: Props, values: Vec<Value>, more: Option<u64>) -> Reply {
        if let Some(after) = more {
            let token = URL_SAFE_NO_PAD.encode(format!("page:{after}"));
            answer.insert("@odata.nextLink".into(), json!(self.request.link(&[TOKEN], TOKEN, &token)));
        }
        answer.insert("value".into(), Value::Array(values));
        Reply::json(200, answer)
    }

    fn place(&self) -> Result<Place, Box<GraphError>> {
        let Some(token) = self.request.option(TOKEN) else { return Ok(Place { after: 0, started: false }) };
        let bytes = URL_SAFE_NO_PAD.decode(token).ok().and_then(|b| String::from_utf8(b).ok());
        let after = bytes.as_deref().and_then(|t| t.strip_prefix("page:")).and_then(|n| n.parse().ok());
        match after {
            Some(after) => Ok(Place { after, started: true }),
            None => {
                Err(GraphError::new(400, "Directory_ExpiredPageToken", "The specified page token value has expired."))
            }
        }
    }

    fn top(&self) -> Result<usize, Box<GraphError>> {
        match self.request.option("$top") {
            None => Ok(PAGE),
            Some(text) => match text.parse::<usize>() {
                Ok(top) if (1..=MOST).contains(&top) => Ok(top),
                _ => Err(GraphError::bad(format!(
                    "Invalid page size specified: '{text}'. Must be between 1 and {MOST} inclusive."
                ))),
            },
        }
    }

    fn asks_count(&self) -> bool {
        self.request.option("$count").is_some_and(|c| c.eq_ignore_ascii_case("true"))
    }

    pub(super) fn refuse_options(&self, names: &[&str]) -> Result<(), Box<GraphError>> {
        if self.request.option("$search").is_some() {
            let message = if self.request.eventual {
                "$search is not supported here."
            } else {
                "Request with $search query parameter only works through MSGraph with a special request header: \
                 'ConsistencyLevel: eventual'"
            };
            return Err(GraphError::unsupported_query(message));
        }
        match names.iter().find(|n| self.request.option(n).is_some()) {
            Some(name) => Err(GraphError::unsupported_query(format!("'{name}' is not supported by the service."))),
            None => Ok(()),
        }
    }

    /// `$select` of a list; what is kept outside the directory store answers 501.
    fn list_selection(&self, kind: Kind) -> Result<Selection, Box<GraphError>> {
        let selection = self.selection(kind)?;
        if let Selection::Named(names) = &selection {
            let outside = |n: &String| schema::find(table(kind), n).is_some_and(|p| p.access == Access::NotByApp);
            if names.iter().any(outside) {
                return Err(GraphError::not_in_store());
            }
        }
        Ok(selection)
    }

    fn filter(&self, kind: Kind) -> Result<Option<Filter>, Box<GraphError>> {
        let Some(text) = self.request.option("$filter") else { return Ok(None) };
        let filter = filter::parse(text).map_err(GraphError::gateway)?;
        let mut unknown = None;
        let extensions = self.extension_names(kind);
        filter.properties(&mut |name| {
            let known = schema::find(table(kind), name).is_some() || extensions.iter().any(|known| known == name);
            if !known || UNFILTERABLE.contains(&name) {
                unknown = Some(name.to_owned());
            }
        });
        if let Some(name) = unknown {
            let resource = kind.resource();
            return Err(GraphError::unsupported_query(format!(
                "Unsupported or invalid query filter clause specified for property '{name}' of resource '{resource}'."
            )));
        }
        if filter.is_advanced(ADVANCED) && !(self.request.eventual && self.asks_count()) {
            return Err(needs_advanced());
        }
        Ok(Some(filter))
    }

    /// The visible objects that match, in list order: from indexes where the filter allows it.
    fn matching<'s>(
        &'s self,
        source: Source,
        filter: Option<&'s Filter>,
    ) -> Box<dyn Iterator<Item = (u64, Uuid, &'s Props)> + 's> {
        let lag = self.lag(self.knobs.visibility.filters);
        let candidates: Box<dyn Iterator<Item = Uuid> + 's> = if let Some(probes) = filter.and_then(Filter::probes) {
            Box::new(self.probe(source, &probes).into_iter())
        } else {
            let all = self.directory.listing(source.kind, source.deleted);
            let after = self.place().map_or(0, |p| p.after);
            Box::new(all.range((Bound::Excluded(after), Bound::Unbounded)).map(|(_, id)| *id))
        };
        Box::new(candidates.filter_map(move |id| {
            let object = self.directory.get(id)?;
            if object.kind != source.kind || object.deleted.is_some() != source.deleted {
                return None;
            }
            let props = match object.deleted {
                Some(at) => (self.now >= at + lag).then_some(&object.props)?,
                None => object.seen(lag, self.now)?,
            };
            filter.is_none_or(|f| f.matches(id, props)).then_some((object.order, id, props))
        }))
    }

    fn probe(&self, source: Source, probes: &[Probe]) -> Vec<Uuid> {
        let Source { kind, deleted } = source;
        let mut found: Vec<(u64, Uuid)> = Vec::new();
        for probe in probes {
            let ids = match probe {
                Probe::Id(id) => vec![*id],
                Probe::Equal(field, value) => self.directory.find(deleted, kind, *field, value),
                Probe::Prefix(field, value) => self.directory.find_prefix(deleted, kind, *field, value),
            };
            found.extend(ids.into_iter().filter_map(|id| self.directory.get(id).map(|o| (o.order, id))));
        }
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(|(_, id)| id).collect()
    }
}

fn needs_advanced() -> Box<GraphError> {
    GraphError::unsupported_query(
        "The request uses a filter that is only supported with the header 'ConsistencyLevel: eventual' and $count=true.",
    )
}
