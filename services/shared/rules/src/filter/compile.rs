//! From forms to tests, and what is wrong with the forms.

use std::collections::BTreeSet;
use std::fmt;

use forestsync_domain::{Dn, ObjectGuid, syntax};
use forestsync_schemas::attributes::REQUESTED;
use regex::RegexBuilder;

use super::evaluate::{IntegerMatcher, Matcher, Place, Test};
use super::form::{Clause, ClauseValue, FilterClass, FilterForm};
use super::operator::Asks;
use super::{Filter, Operator};

/// The longest that a compiled regular expression may be, in bytes.
const REGEX_LIMIT: usize = 1 << 20;

/// Something that is wrong with a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterProblem {
    /// Where, counted from zero, such as `filters[0].where[1].value`.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for FilterProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.message, self.hint)
    }
}

/// A compiled group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) classes: BTreeSet<FilterClass>,
    pub(super) clauses: Vec<Test>,
}

pub(super) fn compile(forms: &[FilterForm]) -> Result<Filter, Vec<FilterProblem>> {
    let mut compiler = Compiler::default();
    for (g, form) in forms.iter().enumerate() {
        compiler.place = format!("filters[{g}]");
        if form.classes.is_empty() {
            compiler.problem("classes", "it speaks of no class", "name user, group or contact, or leave classes out");
        }
        if form.clauses.is_empty() {
            compiler.problem(
                "where",
                "a group without clauses passes every object",
                "add a clause or remove the group",
            );
        }
        let mut clauses = Vec::new();
        for (c, clause) in form.clauses.iter().enumerate() {
            compiler.place = format!("filters[{g}].where[{c}]");
            clauses.extend(compiler.clause(clause));
        }
        compiler.filter.groups.push(Group { classes: form.classes.iter().copied().collect(), clauses });
    }
    if compiler.problems.is_empty() { Ok(compiler.filter) } else { Err(compiler.problems) }
}

#[derive(Default)]
struct Compiler {
    filter: Filter,
    problems: Vec<FilterProblem>,
    /// Where the compiler stands.
    place: String,
}

impl Compiler {
    fn problem(&mut self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        let place = format!("{}.{key}", self.place);
        self.problems.push(FilterProblem { place, message: message.into(), hint: hint.into() });
    }

    /// A clause; none if something is wrong with it, which is then among the problems.
    fn clause(&mut self, clause: &Clause) -> Option<Test> {
        let asks = clause.operator.asks();
        if clause.ignore_case && !matches!(asks, Asks::Text { .. }) {
            let message = format!("{} does not compare text", clause.operator);
            self.problem("ignore_case", message, "remove ignore_case");
        }
        // what is wrong with the attribute does not hide what is wrong with the value
        let attribute = if matches!(asks, Asks::Membership { .. }) { None } else { self.attribute(clause) };
        match asks {
            Asks::Text { negated } => {
                let matcher = self.matcher(clause)?;
                Some(Test::Text { attribute: attribute?, matcher, negated })
            }
            Asks::Integer { negated } => {
                let matcher = self.integer(clause)?;
                Some(Test::Integer { attribute: attribute?, matcher, negated })
            }
            Asks::Truth { expected } => {
                self.none(clause)?;
                let texts = BTreeSet::from([expected.to_string()]);
                let matcher = Matcher::Among { texts, ignore_case: true };
                Some(Test::Text { attribute: attribute?, matcher, negated: false })
            }
            Asks::Presence { expected } => {
                self.none(clause)?;
                Some(Test::Presence { attribute: attribute?, expected })
            }
            Asks::Membership { negated } => self.member(clause, negated),
        }
    }

    /// The attribute, in the schema's case where that is known.
    fn attribute(&mut self, clause: &Clause) -> Option<String> {
        let Some(name) = clause.attribute.as_deref() else {
            self.problem("attribute", "no attribute is named", "name one by its lDAPDisplayName, such as department");
            return None;
        };
        let mut letters = name.chars();
        let is_name = letters.next().is_some_and(|c| c.is_ascii_alphabetic())
            && letters.all(|c| c.is_ascii_alphanumeric() || c == '-');
        let is_presence = matches!(clause.operator.asks(), Asks::Presence { .. });
        if !is_name {
            let hint = "write the lDAPDisplayName: letters, digits and hyphens, a letter first";
            self.problem("attribute", format!("{name:?} is no attribute's name"), hint);
        } else if syntax::is_secret(name) {
            self.problem("attribute", format!("{name} is a secret and is never read"), "use another attribute");
        } else if name.eq_ignore_ascii_case("cn") || name.eq_ignore_ascii_case("distinguishedName") {
            let hint = "use name for the object's own name, and include and exclude for the containers it lies in";
            self.problem("attribute", format!("directories do not tell changes of {name}"), hint);
        } else if syntax::is_link(name) && !is_presence {
            let hint = "use is_member_of for groups; is_null and is_not_null take any attribute";
            self.problem("attribute", format!("{name} refers to objects, whose names change"), hint);
        } else if syntax::is_binary(name) && !is_presence {
            let message = format!("{name} holds bytes, which {} cannot read", clause.operator);
            self.problem("attribute", message, "only is_null and is_not_null take such an attribute");
        } else {
            let is_it = |known: &&str| known.eq_ignore_ascii_case(name);
            let known = REQUESTED.into_iter().find(is_it);
            let known = known.or_else(|| self.filter.attributes.iter().map(String::as_str).find(is_it));
            let name = known.unwrap_or(name).to_owned();
            self.filter.attributes.insert(name.clone());
            return Some(name);
        }
        None
    }

    /// That there is no value.
    fn none(&mut self, clause: &Clause) -> Option<()> {
        if clause.value.is_none() && clause.values.is_none() {
            return Some(());
        }
        let key = if clause.value.is_some() { "value" } else { "values" };
        self.problem(key, format!("{} takes no value", clause.operator), format!("remove {key}"));
        None
    }

    /// The one value.
    fn one<'a>(&mut self, clause: &'a Clause) -> Option<&'a ClauseValue> {
        let operator = clause.operator;
        if clause.values.is_some() {
            self.problem("values", format!("{operator} takes one value"), "write value instead of values");
            return None;
        }
        if clause.value.is_none() {
            self.problem("value", format!("{operator} takes a value"), "add value");
        }
        clause.value.as_ref()
    }

    /// The values of an operator that takes any number from one upwards.
    fn several<'a>(&mut self, clause: &'a Clause) -> Option<&'a [ClauseValue]> {
        let operator = clause.operator;
        match (&clause.value, clause.values.as_deref()) {
            (Some(value), None) => Some(std::slice::from_ref(value)),
            (None, Some(values)) if !values.is_empty() => Some(values),
            (Some(_), Some(_)) => {
                self.problem("value", "there are both value and values", "write values only");
                None
            }
            _ => {
                self.problem("values", format!("{operator} takes at least one value"), "add values = [...]");
                None
            }
        }
    }

    fn matcher(&mut self, clause: &Clause) -> Option<Matcher> {
        use Operator as O;
        let (values, place) = match clause.operator {
            O::RegexMatch | O::NotRegexMatch => return self.regex(clause),
            O::IsIn | O::IsNotIn => (self.several(clause)?, None),
            O::Contains | O::NotContains => (std::slice::from_ref(self.one(clause)?), Some(Place::Anywhere)),
            O::StartsWith | O::NotStartsWith => (std::slice::from_ref(self.one(clause)?), Some(Place::Start)),
            O::EndsWith | O::NotEndsWith => (std::slice::from_ref(self.one(clause)?), Some(Place::End)),
            _ => (std::slice::from_ref(self.one(clause)?), None),
        };
        let ignore_case = clause.ignore_case;
        let text = |value: &ClauseValue| {
            let text = value.to_string();
            if ignore_case { text.to_lowercase() } else { text }
        };
        let texts: BTreeSet<String> = values.iter().map(text).collect();
        if texts.contains("") {
            let key = if clause.value.is_some() { "value" } else { "values" };
            self.problem(key, "a directory holds no empty text", "to ask whether there is a value, use is_null");
            return None;
        }
        match place {
            None => Some(Matcher::Among { texts, ignore_case }),
            Some(place) => texts.into_iter().next().map(|part| Matcher::Part { place, part, ignore_case }),
        }
    }

    fn regex(&mut self, clause: &Clause) -> Option<Matcher> {
        let pattern = self.one(clause)?.to_string();
        let built = RegexBuilder::new(&pattern).case_insensitive(clause.ignore_case).size_limit(REGEX_LIMIT).build();
        match built {
            Ok(regex) => return Some(Matcher::Regex(regex)),
            Err(regex::Error::CompiledTooBig(_)) => {
                let message = format!("the regular expression needs more than {REGEX_LIMIT} bytes");
                self.problem("value", message, "use smaller repetition counts");
            }
            Err(error) => {
                // the parser draws a picture over several lines, whose last one tells
                let text = error.to_string();
                let last = text.lines().next_back().unwrap_or_default().trim_start_matches("error: ").to_owned();
                let hint = "look-around and back-references are not supported, everything else is written as in .NET";
                self.problem("value", format!("the regular expression cannot be read: {last}"), hint);
            }
        }
        None
    }

    fn integer(&mut self, clause: &Clause) -> Option<IntegerMatcher> {
        use IntegerMatcher as M;
        use Operator as O;
        let operator = clause.operator;
        let Some(value) = self.one(clause)?.as_integer() else {
            self.problem("value", format!("{operator} takes an integer"), "write one without quotes, such as 2");
            return None;
        };
        Some(match operator {
            O::LessThan => M::Less(value),
            O::LessThanOrEqual => M::LessOrEqual(value),
            O::GreaterThan => M::Greater(value),
            O::GreaterThanOrEqual => M::GreaterOrEqual(value),
            _ => M::Bits(self.mask(operator, value)?),
        })
    }

    fn mask(&mut self, operator: Operator, value: i64) -> Option<i64> {
        // a mask copied from a directory tool is signed at 32 bits
        let mask = i32::try_from(value).map_or(value, |value| i64::from(value.cast_unsigned()));
        let is_single = matches!(operator, Operator::IsBitSet | Operator::IsBitNotSet);
        if mask == 0 {
            self.problem("value", "a mask of no bits", "write the bit's value, such as 2 for a disabled account");
        } else if is_single && mask.count_ones() != 1 {
            let message = format!("{operator} asks for one bit and the mask has {}", mask.count_ones());
            self.problem("value", message, "write a clause for each bit, or use bits_and to ask for any of them");
        } else {
            return Some(mask);
        }
        None
    }

    fn member(&mut self, clause: &Clause, negated: bool) -> Option<Test> {
        if clause.attribute.is_some() {
            self.problem("attribute", "membership is the object's own", "remove attribute; name the groups in values");
        }
        let mut groups = Vec::new();
        for value in self.several(clause)? {
            let name = value.to_string().trim().to_owned();
            let is_name =
                name.parse::<ObjectGuid>().is_ok() || name.parse::<Dn>().is_ok_and(|dn| !dn.rdns().is_empty());
            if !is_name {
                let hint = "write the group's objectGUID or its distinguished name";
                self.problem("values", format!("{name:?} names no group"), hint);
                return None;
            }
            let known = self.filter.named.iter().position(|known| *known == name);
            groups.push(known.unwrap_or_else(|| {
                self.filter.named.push(name);
                self.filter.named.len() - 1
            }));
        }
        clause.attribute.is_none().then_some(Test::Member { groups, negated })
    }
}
