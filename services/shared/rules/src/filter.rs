//! Filters by attribute: which of the objects in scope are synchronized, by what the directory says of them.
//!
//! A filter is a list of groups. Groups are ORed, the clauses of a group ANDed, as in both Microsoft products. A group
//! speaks of the classes it names and of no others, and a class of which no group speaks passes. The order of groups,
//! clauses and values means nothing to the question whether an object passes.
//!
//! The operators are those of both products. What they share, and what they leave open, is decided here so:
//! - **No value**: a clause about an attribute without a value does not hold, whatever it asks, except
//!   [`Operator::IsNull`]. So it is in cloud sync. To let objects without a value pass, write a group for them.
//! - A value of no characters is no value; one of white space is a value, since comparison is exact.
//! - A value that an operator cannot read counts as none for it: bytes where it compares text, and anything that is no
//!   integer where it compares integers.
//! - **Several values**: an operator that asks for something holds if any value has it, and its negation holds if no
//!   value has it. Cloud sync refuses such attributes, Connect takes them.
//! - **Text** is compared as it is, or without regard to case where `ignore_case` is set (the lower case that Unicode
//!   gives each character, in no language).
//! - **Regular expressions** are found anywhere in a value unless anchored, as in .NET. They are linear in the length of
//!   the value, and so have neither look-around nor back-references; one that uses them is refused when it is compiled.
//!   `$` is the very end, where .NET also takes the place before a last line feed.
//! - **Bits**: masks are of 64 bits. A negative mask of 32 bits is the same as the unsigned one that the directory shows
//!   elsewhere: -2147483648 is 2147483648.
//! - **Membership** asks for direct membership in any of the groups named, and never fails for want of a value. Primary
//!   groups are no memberships.

mod compile;
mod evaluate;
mod form;
mod operator;

use std::collections::BTreeSet;

use forestsync_domain::{AttributeValue, Attributes};

use crate::classify::DirectoryClass;
pub use compile::FilterProblem;
use compile::Group;
pub use form::{Clause, ClauseValue, FilterClass, FilterForm};
pub use operator::{Operator, UnknownOperator};

/// A compiled filter. The default passes everything.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    groups: Vec<Group>,
    attributes: BTreeSet<String>,
    named: Vec<String>,
}

/// What a filter asks of an object.
pub trait FilterInput {
    /// The values of an attribute of [`Filter::attributes`], empty if it has none. An attribute of link syntax is asked
    /// for its presence only.
    fn values(&self, attribute: &str) -> &[AttributeValue];

    /// Whether the object is a direct member of the group at this place of [`Filter::groups`].
    fn is_member_of(&self, group: usize) -> bool;
}

/// An object's attributes and the places in [`Filter::groups`] of the groups that it is a direct member of.
#[derive(Debug, Clone, Copy)]
pub struct FilterObject<'a> {
    /// Its attributes.
    pub attributes: &'a Attributes,
    /// The groups.
    pub groups: &'a BTreeSet<usize>,
}

impl FilterInput for FilterObject<'_> {
    fn values(&self, attribute: &str) -> &[AttributeValue] {
        self.attributes.get(attribute).map(Vec::as_slice).unwrap_or_default()
    }

    fn is_member_of(&self, group: usize) -> bool {
        self.groups.contains(&group)
    }
}

/// What a filter says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FilterVerdict {
    /// It passes.
    Passes,
    /// It does not. The group that it came nearest to is the one of which the fewest clauses do not hold, the first of
    /// equals.
    Fails {
        /// The group's place among the forms.
        group: usize,
        /// The place in it of its first clause that does not hold.
        clause: usize,
    },
}

impl Filter {
    /// Gives the forms their meaning, or says everything that is wrong with them, in their order.
    pub fn compile(forms: &[FilterForm]) -> Result<Self, Vec<FilterProblem>> {
        compile::compile(forms)
    }

    /// The attributes that the filter reads, by lDAPDisplayName: those that the rules know in the schema's case, others
    /// as they were first written.
    pub fn attributes(&self) -> &BTreeSet<String> {
        &self.attributes
    }

    /// The groups of which membership is asked, each once, as they are written: an objectGUID or a distinguished name.
    pub fn groups(&self) -> &[String] {
        &self.named
    }

    /// Whether there is nothing that it could refuse.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// What the filter says of an object. Classes that are not synchronized anyway pass.
    pub fn verdict(&self, class: DirectoryClass, input: &dyn FilterInput) -> FilterVerdict {
        let Some(class) = FilterClass::of(class) else { return FilterVerdict::Passes };
        let mut nearest: Option<(usize, FilterVerdict)> = None;
        for (group, of) in self.groups.iter().enumerate().filter(|(_, of)| of.classes.contains(&class)) {
            // counted no further than it takes to know that another group came nearer
            let bound = nearest.map_or(usize::MAX, |(count, _)| count);
            let mut failing = of.clauses.iter().enumerate().filter(|(_, clause)| !clause.holds(input));
            let Some((clause, _)) = failing.next() else { return FilterVerdict::Passes };
            let count = 1 + failing.take(bound.saturating_sub(1)).count();
            if count < bound {
                nearest = Some((count, FilterVerdict::Fails { group, clause }));
            }
        }
        nearest.map_or(FilterVerdict::Passes, |(_, verdict)| verdict)
    }
}
