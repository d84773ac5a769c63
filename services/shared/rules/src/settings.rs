//! The rules' part of a configuration: the tables as they are written, what they mean together, and what is wrong with
//! them.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::classify::DirectoryClass;
use crate::filter::{Filter, FilterClass, FilterForm};
use crate::flow::{CompiledFlow, FlowForm, TestForm};
use crate::hygiene::Options;
use crate::join::{JoinForm, JoinRules};
use crate::precedence::{Precedence, PrecedenceForm};

/// The tables of a configuration that are the rules'.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RulesForm {
    /// Which objects are synchronized, of those in the containers and groups that the forests name.
    #[serde(default)]
    pub scope: ScopeForm,
    /// Which objects of different forests are one.
    #[serde(default)]
    pub joins: Vec<JoinForm>,
    /// Which of joined objects says what.
    #[serde(default)]
    pub precedence: Vec<PrecedenceForm>,
    /// Which attributes flow, and how.
    #[serde(default)]
    pub flow: FlowForm,
    /// How identity hygiene is judged.
    #[serde(default)]
    pub hygiene: Options,
    /// Tests of the flow.
    #[serde(default)]
    pub test: Vec<TestForm>,
}

/// `[scope]` as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeForm {
    /// The classes that are synchronized; all unless written.
    pub classes: Option<Vec<FilterClass>>,
    /// Groups of clauses, of which an object must satisfy one.
    #[serde(default)]
    pub filters: Vec<FilterForm>,
    /// The objects that are synchronized and no others: each by its objectGUID, distinguished name, userPrincipalName or
    /// sAMAccountName. Everything in scope unless written.
    pub pilot: Option<Vec<String>>,
    /// What becomes of objects that leave the scope.
    #[serde(default)]
    pub out_of_scope: OutOfScope,
    /// Groups of which objects must be members, or must not.
    #[serde(default)]
    pub groups: Vec<GroupForm>,
    /// Which members of the groups are meant.
    #[serde(default)]
    pub group_members: GroupMembers,
    /// Whether a user is a member of the group that primaryGroupID names.
    #[serde(default)]
    pub primary_groups: bool,
}

/// `[[scope.groups]]` as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupForm {
    /// The group, by its distinguished name or objectGUID.
    pub group: String,
    /// The forest that it is in.
    pub forest: String,
    /// The forests whose objects it decides about; its own unless written.
    #[serde(rename = "for")]
    pub decides: Option<Vec<String>>,
    /// Whether its members are not synchronized, instead of being those that are.
    #[serde(default)]
    pub exclude: bool,
}

/// Raised whenever a rule outside of attribute flow changes its meaning.
const REVISION: u32 = 1;

/// What becomes of objects that leave the scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutOfScope {
    /// They are removed from the tenant; one that comes back within 30 days is restored.
    #[default]
    Remove,
    /// They stay in the tenant as they are.
    Keep,
}

/// Which members of the groups in scope are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupMembers {
    /// Also those of groups that are members.
    #[default]
    Nested,
    /// Those that are members themselves.
    Direct,
}

/// What is wrong with a configuration's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleProblem {
    /// Where, such as `joins[2]`.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Which objects are synchronized, as far as no container and no group decides it.
#[derive(Debug, Clone)]
pub struct ScopeRules {
    /// The classes.
    pub classes: BTreeSet<FilterClass>,
    /// The attribute filter.
    pub filter: Filter,
    /// The objects of the pilot, where there is one.
    pub pilot: Option<Vec<String>>,
    /// What becomes of objects that leave the scope.
    pub out_of_scope: OutOfScope,
    /// Groups of which objects must be members, or must not.
    pub groups: Vec<GroupForm>,
    /// Which members of the groups are meant.
    pub group_members: GroupMembers,
    /// Whether primary groups count as memberships.
    pub primary_groups: bool,
}

impl ScopeRules {
    /// Whether objects of a class are synchronized at all.
    pub fn takes(&self, class: DirectoryClass) -> bool {
        FilterClass::of(class).is_some_and(|class| self.classes.contains(&class))
    }
}

/// The rules of a configuration. The default ones are those of a configuration that says nothing about them.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Which objects.
    pub scope: ScopeRules,
    /// Which of them are one.
    pub joins: JoinRules,
    /// Which of these says what.
    pub precedence: Precedence,
    /// Which attributes flow, and how.
    pub flow: CompiledFlow,
    /// How identity hygiene is judged.
    pub hygiene: Options,
    /// Tests of the flow.
    pub tests: Vec<TestForm>,
    /// A hash of everything above as it is written, and of the version of the rules.
    pub digest: String,
}

impl Default for Rules {
    fn default() -> Self {
        let parts = (Filter::default(), JoinRules::default(), Precedence::default(), CompiledFlow::default());
        Self::of(&RulesForm::default(), &[], parts)
    }
}

impl Rules {
    /// Gives the tables their meaning; everything that is wrong with them at once. `forests` are the names of the forests
    /// in the order of the configuration.
    pub fn compile(form: &RulesForm, forests: &[String]) -> Result<Self, Vec<RuleProblem>> {
        let mut problems = Vec::new();
        let mut add = |key: String, message: String, hint: String| problems.push(RuleProblem { key, message, hint });
        if form.scope.classes.as_ref().is_some_and(Vec::is_empty) {
            let hint = "name user, group or contact, or leave classes out".to_owned();
            add("scope.classes".into(), "no class is synchronized".into(), hint);
        }
        if form.scope.pilot.as_ref().is_some_and(|pilot| pilot.iter().any(|entry| entry.trim().is_empty())) {
            let hint = "write objectGUIDs, distinguished names, userPrincipalNames or sAMAccountNames".to_owned();
            add("scope.pilot".into(), "an entry is empty".into(), hint);
        }
        for (at, group) in form.scope.groups.iter().enumerate() {
            let decides = group.decides.iter().flatten();
            for name in std::iter::once(&group.forest).chain(decides).filter(|name| !forests.contains(name)) {
                let hint = format!("the forests are {}", forests.join(", "));
                add(format!("scope.groups[{at}]"), format!("there is no forest {name:?}"), hint);
            }
            if group.group.trim().is_empty() {
                let hint = "write a distinguished name or an objectGUID".to_owned();
                add(format!("scope.groups[{at}].group"), "it is empty".into(), hint);
            }
        }
        let filter = Filter::compile(&form.scope.filters).unwrap_or_else(|found| {
            for p in found {
                add(format!("scope.{}", p.place), p.message, p.hint);
            }
            Filter::default()
        });
        let joins = JoinRules::compile(&form.joins).unwrap_or_else(|found| {
            for p in found {
                add(format!("joins[{}]", p.rule), p.message, p.hint);
            }
            JoinRules::default()
        });
        let precedence = Precedence::compile(&form.precedence, forests).unwrap_or_else(|found| {
            for p in found {
                add(format!("precedence[{}]", p.rule), p.message, p.hint);
            }
            Precedence::default()
        });
        let flow = CompiledFlow::compile(&form.flow).unwrap_or_else(|found| {
            for p in found {
                add(p.key, p.message, p.hint);
            }
            CompiledFlow::default()
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self::of(form, forests, (filter, joins, precedence, flow)))
    }

    fn of(
        form: &RulesForm,
        forests: &[String],
        (filter, joins, precedence, flow): (Filter, JoinRules, Precedence, CompiledFlow),
    ) -> Self {
        let ScopeForm { classes, pilot, out_of_scope, groups, group_members, primary_groups, .. } = form.scope.clone();
        // everything that may change a wish, in the form in which it was written
        let RulesForm { scope, joins: of_joins, precedence: of_precedence, hygiene, .. } = form;
        let text =
            format!("{scope:?} {of_joins:?} {of_precedence:?} {hygiene:?} {forests:?} {} {}", flow.digest(), REVISION);
        Self {
            scope: ScopeRules {
                classes: classes.unwrap_or_else(|| FilterClass::ALL.to_vec()).into_iter().collect(),
                filter,
                pilot,
                out_of_scope,
                groups,
                group_members,
                primary_groups,
            },
            joins,
            precedence,
            flow,
            hygiene: form.hygiene,
            tests: form.test.clone(),
            digest: blake3::hash(text.as_bytes()).to_hex().chars().take(32).collect(),
        }
    }

    /// Every directory attribute that the rules read.
    pub fn attributes(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = crate::attributes::requested().into_iter().map(Into::into).collect();
        names.extend(self.scope.filter.attributes().iter().cloned());
        names.extend(self.joins.attributes());
        names.extend(self.flow.attributes());
        names
    }

    /// The attributes that a collector must be told of, because it does not read them by itself.
    pub fn more_attributes(&self) -> BTreeSet<String> {
        let mut names = self.attributes();
        for name in crate::attributes::requested() {
            names.remove(name);
        }
        names
    }
}
