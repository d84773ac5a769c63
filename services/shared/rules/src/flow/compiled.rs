//! From the rules as they are written to those that are in force.

use std::collections::{BTreeMap, BTreeSet};

use forestsync_schemas::desired::{CloudClass, ExtensionDeclared, ExtensionType};
use serde::Deserialize;

use super::form::{
    Apply, AttributeForm, Defaults, ExtensionForm, FlowClass, FlowForm, RuleForm, SyntaxForm, UnverifiedSuffix,
};
use super::target::{self, Holds};
use crate::expression::{AttributeSyntax, Expression, Kind, Schema};

/// The default flow, as it is shipped.
pub const DEFAULT_FLOW: &str = include_str!("../../default-flow.toml");

/// What begins the name of a directory extension among targets.
pub(super) const EXTENSION: &str = "extension.";

/// What is wrong with a flow as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowProblem {
    /// Where, such as `flow.rules[3].expression`.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The default flow.
    Default,
    /// The configuration: its place among `flow.rules`.
    Configuration(usize),
}

/// What a rule says.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// An attribute's value as it is, or without white space at its ends.
    Direct {
        attribute: String,
        trim: bool,
    },
    Constant(String),
    Expression(Expression),
}

/// A rule in force.
#[derive(Debug, Clone)]
pub struct FlowRule {
    pub(super) target: String,
    pub(super) holds: TargetKind,
    pub(super) body: Body,
    pub(super) when: Option<Expression>,
    pub(super) default: Option<String>,
    pub(super) apply: Apply,
    origin: Origin,
    /// The attributes that it reads, the one that it is mostly about first.
    pub(super) reads: Vec<String>,
}

/// What a rule's target holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TargetKind {
    Property { holds: Holds, is_required: bool },
    Extension { data_type: ExtensionType, multi_valued: bool },
}

impl FlowRule {
    /// Graph's name of the property, or `extension.<name>`.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Where it comes from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Whether it flows at creation only.
    pub fn is_at_creation(&self) -> bool {
        self.apply == Apply::Create
    }

    /// The value of an object that has none, at its creation.
    pub fn default(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// The directory attributes that it reads.
    pub fn reads(&self) -> &[String] {
        &self.reads
    }

    /// As it can be written.
    pub fn text(&self) -> String {
        let body = match &self.body {
            Body::Direct { attribute, trim: false } => format!("[{attribute}]"),
            Body::Direct { attribute, trim: true } => format!("Trim([{attribute}])"),
            Body::Constant(text) => format!("{text:?}"),
            Body::Expression(expression) => expression.source().to_owned(),
        };
        match &self.when {
            Some(when) => format!("{body}   when {}", when.source()),
            None => body,
        }
    }
}

/// A place in Azure AD that Graph cannot write.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotWritableRow {
    /// `user`, `group`, `contact` or `device`.
    pub class: String,
    /// Why.
    pub reason: String,
    /// The directory attributes.
    pub attributes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rules: Vec<DefaultRule>,
    by_itself: Vec<NotWritableRow>,
    not_writable: Vec<NotWritableRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DefaultRule {
    class: FlowClass,
    target: String,
    source: Option<String>,
    expression: Option<String>,
    #[serde(default)]
    minimal: bool,
}

fn default_file() -> File {
    // a test reads it
    toml::from_str(DEFAULT_FLOW).unwrap_or(File { rules: Vec::new(), by_itself: Vec::new(), not_writable: Vec::new() })
}

/// What the default flow says of attributes that no rule is about: those that are written by requests of their own, and
/// those that cannot be written.
pub fn beside_rules() -> (Vec<NotWritableRow>, Vec<NotWritableRow>) {
    let file = default_file();
    (file.by_itself, file.not_writable)
}

/// The attribute flow of a configuration.
#[derive(Debug, Clone)]
pub struct CompiledFlow {
    pub(super) rules: BTreeMap<FlowClass, Vec<FlowRule>>,
    extensions: Vec<(ExtensionDeclared, Vec<FlowClass>)>,
    pub(super) disable_expired: bool,
    pub(super) unverified_suffix: UnverifiedSuffix,
    pub(super) rewrite_suffix: BTreeMap<String, String>,
    digest: String,
}

impl Default for CompiledFlow {
    fn default() -> Self {
        Compiler::new(&FlowForm::default(), &Schema::active_directory()).build(&FlowForm::default())
    }
}

/// Whether something can flow into an attribute of users or groups, by its name there.
pub fn is_target(name: &str) -> bool {
    let is_own = |of: &target::Target| of.name == name && of.class != FlowClass::Contact;
    name.starts_with(EXTENSION) || target::TARGETS.iter().any(is_own)
}

impl CompiledFlow {
    /// Gives a flow its meaning; everything that is wrong with it at once.
    pub fn compile(form: &FlowForm) -> Result<Self, Vec<FlowProblem>> {
        let schema = schema(form);
        let mut compiler = Compiler::new(form, &schema);
        compiler.check(form);
        if compiler.problems.is_empty() { Ok(compiler.build(form)) } else { Err(compiler.problems) }
    }

    /// The rules for a class in force, those of one target in the order in which they are tried.
    pub fn rules(&self, class: FlowClass) -> &[FlowRule] {
        self.rules.get(&class).map(Vec::as_slice).unwrap_or_default()
    }

    /// The Graph names of the attributes that are kept in step for a class, sorted: one without a value in a wish shall
    /// have none in the tenant.
    pub fn managed(&self, class: CloudClass) -> Vec<String> {
        let of = match class {
            CloudClass::User => FlowClass::User,
            CloudClass::Contact => FlowClass::Contact,
            _ => FlowClass::Group,
        };
        // Graph makes the mail of a group itself, and takes none for one without
        let is_meant = |rule: &&FlowRule| !(class == CloudClass::Group && rule.target == "mail");
        let names = self.rules(of).iter().filter(|rule| rule.apply == Apply::Always).filter(is_meant);
        let names: BTreeSet<String> = names.map(|rule| rule.target.clone()).collect();
        names.into_iter().collect()
    }

    /// The directory extensions that flow for a class.
    pub fn extensions(&self, class: CloudClass) -> Vec<ExtensionDeclared> {
        let of = match class {
            CloudClass::User => FlowClass::User,
            CloudClass::Group => FlowClass::Group,
            _ => return Vec::new(),
        };
        let used = |name: &str| self.rules(of).iter().any(|rule| rule.target.strip_prefix(EXTENSION) == Some(name));
        let mut all: Vec<ExtensionDeclared> = self
            .extensions
            .iter()
            .filter(|(extension, classes)| classes.contains(&of) && used(&extension.name))
            .map(|(extension, _)| extension.clone())
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The directory attributes that the flow reads.
    pub fn attributes(&self) -> BTreeSet<String> {
        const OF_THE_OBJECT: [&str; 5] = ["cn", "dn", "distinguishedName", "objectGUID", "sourceAnchor"];
        let all = self.rules.values().flatten().flat_map(|rule| rule.reads.iter());
        all.filter(|name| !OF_THE_OBJECT.contains(&name.as_str())).cloned().collect()
    }

    /// A hash of everything that may change what flows.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// The attributes that rules may read: those that are known, and those that the configuration declares.
pub(super) fn schema(form: &FlowForm) -> Schema {
    let syntax = |syntax| match syntax {
        SyntaxForm::Text => AttributeSyntax::Text,
        SyntaxForm::Integer => AttributeSyntax::Integer,
        SyntaxForm::Boolean => AttributeSyntax::Boolean,
        SyntaxForm::Time => AttributeSyntax::GeneralizedTime,
        SyntaxForm::FileTime => AttributeSyntax::FileTime,
        SyntaxForm::Binary => AttributeSyntax::Binary,
        SyntaxForm::Reference => AttributeSyntax::Reference,
    };
    form.attributes.iter().fold(Schema::active_directory(), |schema, attribute| {
        let AttributeForm { name, syntax: of, multi_valued } = attribute;
        schema.with(name.clone(), syntax(*of), *multi_valued)
    })
}

struct Compiler<'a> {
    schema: &'a Schema,
    extensions: &'a [ExtensionForm],
    own: BTreeMap<(FlowClass, String), Vec<FlowRule>>,
    removed: BTreeSet<(FlowClass, String)>,
    problems: Vec<FlowProblem>,
}

impl<'a> Compiler<'a> {
    fn new(form: &'a FlowForm, schema: &'a Schema) -> Self {
        Self {
            schema,
            extensions: &form.extensions,
            own: BTreeMap::new(),
            removed: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    fn problem(&mut self, key: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(FlowProblem { key: key.into(), message: message.into(), hint: hint.into() });
    }

    fn check(&mut self, form: &FlowForm) {
        self.check_extensions();
        for (at, attribute) in form.attributes.iter().enumerate() {
            if attribute.name.trim().is_empty() {
                self.problem(format!("flow.attributes[{at}].name"), "it is empty", "write an lDAPDisplayName");
            }
        }
        for (at, text) in form.remove.iter().enumerate() {
            match text.split_once('.').and_then(|(class, name)| Some((parse_class(class)?, name))) {
                Some((class, name)) if target::find(class, name).is_some() => {
                    _ = self.removed.insert((class, name.to_owned()));
                }
                _ => self.problem(
                    format!("flow.remove[{at}]"),
                    format!("{text:?} is no target"),
                    "write the class and Graph's name, such as \"user.faxNumber\"",
                ),
            }
        }
        for (at, rule) in form.rules.iter().enumerate() {
            self.check_rule(at, rule);
        }
        self.check_required(form);
        for (from, to) in &form.rewrite_suffix {
            if [from, to].iter().any(|domain| domain.trim().is_empty() || domain.contains('@')) {
                self.problem("flow.rewrite_suffix", format!("{from:?} = {to:?} are no domains"), "write domains");
            }
        }
    }

    fn check_extensions(&mut self) {
        let mut seen = BTreeSet::new();
        for (at, extension) in self.extensions.iter().enumerate() {
            let key = format!("flow.extensions[{at}]");
            let is_plain = !extension.name.is_empty()
                && extension.name.len() <= 64
                && extension.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_plain {
                let message = format!("{:?} cannot be used as a name", extension.name);
                self.problem(format!("{key}.name"), message, "use letters without accents, digits and _");
            }
            if !seen.insert(extension.name.clone()) {
                self.problem(format!("{key}.name"), format!("{:?} is there twice", extension.name), "keep one");
            }
            if extension.classes.contains(&FlowClass::Contact) || extension.classes.is_empty() {
                self.problem(format!("{key}.classes"), "extensions are for users and groups", "write user, group");
            }
            if extension.multi_valued && !matches!(extension.data_type, ExtensionType::String | ExtensionType::Binary) {
                let hint = "several values can be texts or bytes; take one value, or another type";
                self.problem(format!("{key}.type"), "this type has one value", hint);
            }
        }
    }

    fn check_rule(&mut self, at: usize, form: &RuleForm) {
        let key = format!("flow.rules[{at}]");
        let Some(holds) = self.holds(form.class, &form.target) else {
            let hint = "write Graph's name of a property, or extension.<name> of one in flow.extensions";
            let message = format!("{:?} is nothing that can be written of a {}", form.target, form.class.as_str());
            return self.problem(format!("{key}.target"), message, hint);
        };
        let is_creation_only = target::find(form.class, &form.target).is_some_and(|target| target.at_creation_only);
        if is_creation_only && form.apply == Apply::Always && !form.none {
            let hint = "write apply = \"create\"";
            self.problem(format!("{key}.apply"), "Graph takes it at creation only", hint);
        }
        let given = [form.source.is_some(), form.constant.is_some(), form.expression.is_some(), form.none];
        if given.iter().filter(|given| **given).count() != 1 {
            let hint = "write one of source, constant, expression and none = true";
            return self.problem(&key, "it says nothing, or more than one thing", hint);
        }
        if form.none {
            self.removed.insert((form.class, form.target.clone()));
            return;
        }
        let Some(body) = self.body(&key, form) else { return };
        let when = match &form.when {
            Some(text) => match self.expression(&format!("{key}.when"), text) {
                Some(when) => Some(when),
                None => return,
            },
            None => None,
        };
        if let Some(when) = &when
            && !matches!(when.result_type().kind, Kind::Boolean | Kind::Any)
        {
            return self.problem(format!("{key}.when"), "it is neither true nor false", "write a comparison");
        }
        let rule = rule(form.target.clone(), holds, body, when, Origin::Configuration(at));
        let rule = FlowRule { default: form.default.clone(), apply: form.apply, ..rule };
        self.own.entry((form.class, form.target.clone())).or_default().push(rule);
    }

    fn body(&mut self, key: &str, form: &RuleForm) -> Option<Body> {
        if let Some(attribute) = &form.source {
            if self.schema.attribute(attribute).is_none() {
                // said as an expression would say it, with what was meant
                _ = self.expression(&format!("{key}.source"), &format!("[{attribute}]"))?;
            }
            return Some(Body::Direct { attribute: attribute.clone(), trim: false });
        }
        if let Some(text) = &form.constant {
            return Some(Body::Constant(text.clone()));
        }
        let text = form.expression.as_deref()?;
        self.expression(&format!("{key}.expression"), text).map(|expression| simplified(text, expression))
    }

    fn expression(&mut self, key: &str, text: &str) -> Option<Expression> {
        match Expression::compile(text, self.schema) {
            Ok(expression) => Some(expression),
            Err(error) => {
                let message = format!("at character {}: {}", error.position, error.message);
                self.problem(key, message, error.hint);
                None
            }
        }
    }

    fn holds(&self, class: FlowClass, name: &str) -> Option<TargetKind> {
        if let Some(name) = name.strip_prefix(EXTENSION) {
            let found = self.extensions.iter().find(|e| e.name == name && e.classes.contains(&class))?;
            let (data_type, multi_valued) = (found.data_type, found.multi_valued);
            return Some(TargetKind::Extension { data_type, multi_valued });
        }
        let target = target::find(class, name)?;
        Some(TargetKind::Property { holds: target.holds, is_required: target.is_required })
    }

    /// What the tenant requires must come from somewhere.
    fn check_required(&mut self, form: &FlowForm) {
        for target in target::TARGETS.iter().filter(|target| target.is_required) {
            let key = (target.class, target.name.to_owned());
            let is_gone = self.removed.contains(&key) || form.defaults == Defaults::None;
            if is_gone && !self.own.contains_key(&key) {
                let message = format!("nothing flows into {} of a {}", target.name, target.class.as_str());
                self.problem("flow", message, "Graph requires it: write a rule for it, or leave the default one");
            }
        }
    }

    fn build(self, form: &FlowForm) -> CompiledFlow {
        let Self { schema, own, removed, .. } = self;
        let mut rules: BTreeMap<FlowClass, Vec<FlowRule>> = BTreeMap::new();
        for default in default_file().rules {
            let key = (default.class, default.target.clone());
            let is_in_force = match form.defaults {
                Defaults::Full => true,
                Defaults::Minimal => default.minimal,
                Defaults::None => false,
            };
            if !is_in_force || removed.contains(&key) || own.contains_key(&key) {
                continue;
            }
            let Some(target) = target::find(default.class, &default.target) else { continue };
            let holds = TargetKind::Property { holds: target.holds, is_required: target.is_required };
            let body = match (default.source, default.expression) {
                (Some(attribute), _) => Body::Direct { attribute, trim: false },
                (None, Some(text)) => match Expression::compile(&text, schema) {
                    Ok(expression) => simplified(&text, expression),
                    Err(_) => continue,
                },
                (None, None) => continue,
            };
            rules.entry(default.class).or_default().push(rule(default.target, holds, body, None, Origin::Default));
        }
        for ((class, _), of_target) in own {
            rules.entry(class).or_default().extend(of_target);
        }
        for of_class in rules.values_mut() {
            // accountEnabled and the names first, so that what blocks is said first
            of_class.sort_by_key(|rule| (order(&rule.target), rule.target.clone(), rule.origin));
        }
        let extensions = form.extensions.iter().map(|extension| {
            let ExtensionForm { name, data_type, multi_valued, classes } = extension.clone();
            (ExtensionDeclared { name, data_type, multi_valued }, classes)
        });
        let text = format!("{} {form:?} {DEFAULT_FLOW}", super::REVISION);
        CompiledFlow {
            rules,
            extensions: extensions.collect(),
            disable_expired: form.disable_expired.unwrap_or(true),
            unverified_suffix: form.unverified_suffix,
            rewrite_suffix: form.rewrite_suffix.iter().map(|(k, v)| (k.to_lowercase(), v.clone())).collect(),
            digest: blake3::hash(text.as_bytes()).to_hex().chars().take(32).collect(),
        }
    }
}

fn order(target: &str) -> u8 {
    match target {
        "displayName" => 0,
        "accountEnabled" => 1,
        "securityEnabled" => 2,
        "mailNickname" => 4,
        // what becomes of it may depend on mailNickname
        "userPrincipalName" => 5,
        _ => 3,
    }
}

fn rule(target: String, holds: TargetKind, body: Body, when: Option<Expression>, origin: Origin) -> FlowRule {
    let mut reads: Vec<String> = match &body {
        Body::Direct { attribute, .. } => vec![attribute.clone()],
        Body::Constant(_) => Vec::new(),
        Body::Expression(expression) => in_order(expression),
    };
    reads.extend(when.iter().flat_map(in_order));
    FlowRule { target, holds, body, when, default: None, apply: Apply::Always, origin, reads }
}

/// The attributes that an expression reads, in the order in which they are written.
fn in_order(expression: &Expression) -> Vec<String> {
    let at = |name: &&String| expression.source().find(&format!("[{name}]")).unwrap_or(usize::MAX);
    let mut names: Vec<&String> = expression.attributes().iter().collect();
    names.sort_by_key(at);
    names.into_iter().cloned().collect()
}

/// `[x]` and `Trim([x])` need no evaluator.
fn simplified(text: &str, expression: Expression) -> Body {
    let bare = text.trim();
    let (inner, trim) = match bare.strip_prefix("Trim(").and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => (inner.trim(), true),
        None => (bare, false),
    };
    let name = inner.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match name.filter(|name| expression.attributes().contains(*name)) {
        Some(name) => Body::Direct { attribute: name.to_owned(), trim },
        None => Body::Expression(expression),
    }
}

fn parse_class(text: &str) -> Option<FlowClass> {
    FlowClass::ALL.into_iter().find(|class| class.as_str() == text)
}
