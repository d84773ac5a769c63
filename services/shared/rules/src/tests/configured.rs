//! Attribute flow as configurations change it.

use forestsync_schemas::desired::{CloudClass, CloudValue};

use super::{attributes, dn};
use crate::classify::DirectoryClass;
use crate::flow::{
    CompiledFlow, DEFAULT_FLOW, FlowClass, FlowForm, Flowed, Origin, ProblemKind, Subject, TenantDomains, TestForm,
    beside_rules, run_tests,
};

type Entries<'a> = &'a [(&'a str, &'a [&'a str])];

fn compiled(text: &str) -> CompiledFlow {
    CompiledFlow::compile(&toml::from_str::<FlowForm>(text).unwrap()).unwrap()
}

fn refused(text: &str) -> Vec<(String, String)> {
    let problems = CompiledFlow::compile(&toml::from_str::<FlowForm>(text).unwrap()).unwrap_err();
    problems.into_iter().map(|p| (p.key, format!("{}; {}", p.message, p.hint))).collect()
}

fn user(flow: &CompiledFlow, entries: Entries<'_>, tenant: Option<&TenantDomains>, is_expired: bool) -> Flowed {
    let mut object = attributes(&[("sAMAccountName", &["kim"]), ("userAccountControl", &["512"])]);
    object.extend(attributes(entries));
    let name = dn("CN=Kim Lee,OU=Staff,DC=lab,DC=local");
    let mut subject = Subject::new(&object, &name, &dn("DC=lab,DC=local"));
    (subject.tenant, subject.is_expired) = (tenant, is_expired);
    flow.flow(DirectoryClass::User, &subject)
}

fn text(flowed: &Flowed, name: &str) -> Option<String> {
    match flowed.attributes.get(name) {
        Some(CloudValue::Text(text)) => Some(text.clone()),
        None => None,
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn a_rule_takes_the_place_of_the_default_one() {
    let flow = compiled(
        "[[rules]]\nclass = \"user\"\ntarget = \"jobTitle\"\nsource = \"description\"\n\
         [[rules]]\nclass = \"user\"\ntarget = \"companyName\"\nconstant = \"Contoso\"\n\
         [[rules]]\nclass = \"user\"\ntarget = \"city\"\nexpression = 'ToUpper([l])'\n\
         [[rules]]\nclass = \"user\"\ntarget = \"faxNumber\"\nnone = true\n",
    );
    let flowed = user(&flow, &[("title", &["x"]), ("description", &["Boss"]), ("l", &["Bern"])], None, false);
    assert_eq!(text(&flowed, "jobTitle").as_deref(), Some("Boss"));
    assert_eq!(text(&flowed, "companyName").as_deref(), Some("Contoso"));
    assert_eq!(text(&flowed, "city").as_deref(), Some("BERN"));
    assert!(!flow.managed(CloudClass::User).contains(&"faxNumber".to_owned()));
    assert_eq!(flow.managed(CloudClass::User).len(), CompiledFlow::default().managed(CloudClass::User).len() - 1);
}

#[test]
fn rules_of_one_target_are_tried_in_order() {
    let flow = compiled(
        "[[rules]]\nclass = \"user\"\ntarget = \"department\"\nsource = \"department\"\n\
         when = '[company] = \"Contoso\"'\n\
         [[rules]]\nclass = \"user\"\ntarget = \"department\"\n\
         expression = 'IIF([title] = \"none\", AuthoritativeNull, [title])'\n\
         [[rules]]\nclass = \"user\"\ntarget = \"department\"\nconstant = \"unknown\"\n",
    );
    let department = |entries: Entries<'_>| text(&user(&flow, entries, None, false), "department");
    assert_eq!(department(&[("company", &["Contoso"]), ("department", &["A"]), ("title", &["B"])]).unwrap(), "A");
    assert_eq!(department(&[("company", &["Other"]), ("department", &["A"]), ("title", &["B"])]).unwrap(), "B");
    assert_eq!(department(&[("company", &["Contoso"]), ("title", &["none"])]), None, "the word that there is none");
    assert_eq!(department(&[]).unwrap(), "unknown");
}

#[test]
fn what_is_for_the_creation_is_not_managed() {
    let flow = compiled(
        "[[rules]]\nclass = \"user\"\ntarget = \"usageLocation\"\nsource = \"c\"\napply = \"create\"\ndefault = \"CH\"\n\
         [[rules]]\nclass = \"user\"\ntarget = \"jobTitle\"\nsource = \"title\"\ndefault = \"Employee\"\n",
    );
    assert!(!flow.managed(CloudClass::User).contains(&"usageLocation".to_owned()));
    let flowed = user(&flow, &[], None, false);
    assert_eq!(flowed.at_creation["usageLocation"], CloudValue::Text("CH".into()));
    assert_eq!(flowed.at_creation["jobTitle"], CloudValue::Text("Employee".into()));
    assert_eq!(text(&flowed, "jobTitle"), None, "a default is for the creation only");
    let flowed = user(&flow, &[("c", &["DE"]), ("title", &["Boss"])], None, false);
    assert_eq!(flowed.at_creation["usageLocation"], CloudValue::Text("DE".into()));
    assert!(!flowed.at_creation.contains_key("jobTitle"));
}

#[test]
fn extensions_hold_what_their_type_says() {
    let flow = compiled(
        "[[extensions]]\nname = \"costCenter\"\ntype = \"Integer\"\n\
         [[extensions]]\nname = \"badges\"\ntype = \"String\"\nmulti_valued = true\n\
         [[extensions]]\nname = \"sid\"\ntype = \"Binary\"\n\
         [[attributes]]\nname = \"contosoCost\"\nsyntax = \"integer\"\n\
         [[rules]]\nclass = \"user\"\ntarget = \"extension.costCenter\"\nsource = \"contosoCost\"\n\
         [[rules]]\nclass = \"user\"\ntarget = \"extension.badges\"\nexpression = '[otherMobile]'\n\
         [[rules]]\nclass = \"user\"\ntarget = \"extension.sid\"\nconstant = \"ab\"\n",
    );
    let long = "x".repeat(251);
    let entries: Entries<'_> = &[("contosoCost", &["4711"]), ("otherMobile", &["1", &long])];
    let flowed = user(&flow, entries, None, false);
    assert_eq!(flowed.attributes["extension.costCenter"], CloudValue::Integer(4711));
    assert_eq!(flowed.attributes["extension.badges"], CloudValue::List(vec!["1".into(), "x".repeat(250)]));
    assert_eq!(flowed.attributes["extension.sid"], CloudValue::Text("YWI=".into()));
    assert_eq!(flowed.problems.iter().map(|p| p.kind).collect::<Vec<_>>(), [ProblemKind::Adjusted]);
    let flowed = user(&flow, &[("contosoCost", &["3000000000"])], None, false);
    assert_eq!(flowed.problems[0].kind, ProblemKind::LeftOut, "it has 32 bits");
    let names: Vec<String> = flow.extensions(CloudClass::User).into_iter().map(|e| e.name).collect();
    assert_eq!(names, ["badges", "costCenter", "sid"]);
    assert!(flow.attributes().contains("contosoCost") && flow.extensions(CloudClass::Group).is_empty());
}

#[test]
fn an_expired_account_is_disabled_unless_told_otherwise() {
    let enabled = |flow: &CompiledFlow| user(flow, &[], None, true).attributes["accountEnabled"].clone();
    assert_eq!(enabled(&CompiledFlow::default()), CloudValue::Bool(false));
    assert_eq!(enabled(&compiled("disable_expired = false\n")), CloudValue::Bool(true));
}

#[test]
fn a_suffix_that_is_not_verified_is_handled_as_configured() {
    let tenant = TenantDomains {
        verified: ["contoso.com".to_owned(), "contoso.onmicrosoft.com".to_owned()].into(),
        initial: Some("contoso.onmicrosoft.com".into()),
        default: Some("contoso.com".into()),
    };
    let of = |flow: &CompiledFlow, name: &str| user(flow, &[("userPrincipalName", &[name])], Some(&tenant), false);
    let fail = CompiledFlow::default();
    assert_eq!(text(&of(&fail, "kim@Contoso.com"), "userPrincipalName").unwrap(), "kim@Contoso.com");
    assert!(of(&fail, "kim@corp.local").blocking().is_some());
    assert!(user(&fail, &[("userPrincipalName", &["kim@corp.local"])], None, false).blocking().is_none());
    let fallback = compiled("unverified_suffix = \"initial_domain\"\n");
    let flowed = of(&fallback, "kim.lee@corp.local");
    assert_eq!(text(&flowed, "userPrincipalName").unwrap(), "kim.lee@contoso.onmicrosoft.com");
    assert_eq!(flowed.problems[0].kind, ProblemKind::Adjusted);
    let rewrite = compiled("unverified_suffix = \"rewrite\"\nrewrite_suffix = { \"Corp.local\" = \"contoso.com\" }\n");
    assert_eq!(text(&of(&rewrite, "kim@corp.LOCAL"), "userPrincipalName").unwrap(), "kim@contoso.com");
    assert!(of(&rewrite, "kim@other.local").blocking().is_some());
}

#[test]
fn less_can_flow_than_by_default() {
    let minimal = compiled("defaults = \"minimal\"\n");
    assert_eq!(
        minimal.managed(CloudClass::User),
        ["accountEnabled", "displayName", "mailNickname", "userPrincipalName"]
    );
    assert_eq!(minimal.managed(CloudClass::Group), ["displayName", "mailNickname", "securityEnabled"]);
    let without = compiled("remove = [\"user.mail\", \"user.businessPhones\"]\n");
    assert!(!without.managed(CloudClass::User).contains(&"mail".to_owned()));
    assert_eq!(refused("defaults = \"none\"\n").len(), 8, "what Graph requires must come from somewhere");
}

#[test]
fn everything_wrong_is_told_at_once_with_its_place() {
    let told = refused(
        "remove = [\"user.nickname\"]\n\
         [[rules]]\nclass = \"user\"\ntarget = \"title\"\nsource = \"title\"\n\
         [[rules]]\nclass = \"user\"\ntarget = \"jobTitle\"\nexpression = 'Trim([titel])'\n\
         [[rules]]\nclass = \"user\"\ntarget = \"city\"\nsource = \"l\"\nconstant = \"x\"\n\
         [[rules]]\nclass = \"user\"\ntarget = \"city\"\nsource = \"L\"\n\
         [[rules]]\nclass = \"user\"\ntarget = \"city\"\nsource = \"l\"\nwhen = '[l]'\n\
         [[rules]]\nclass = \"user\"\ntarget = \"preferredDataLocation\"\nsource = \"c\"\n\
         [[extensions]]\nname = \"a-b\"\ntype = \"String\"\n\
         [[extensions]]\nname = \"n\"\ntype = \"Integer\"\nmulti_valued = true\n",
    );
    let keys: Vec<&str> = told.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "flow.extensions[0].name",
            "flow.extensions[1].type",
            "flow.remove[0]",
            "flow.rules[0].target",
            "flow.rules[1].expression",
            "flow.rules[2]",
            "flow.rules[3].source",
            "flow.rules[4].when",
            "flow.rules[5].apply",
        ]
    );
    assert!(told[4].1.contains("at character 6") && told[4].1.contains("title"), "{:?}", told[4]);
}

#[test]
fn failures_of_an_expression_stay_with_their_attribute() {
    let flow = compiled(
        "[[rules]]\nclass = \"user\"\ntarget = \"city\"\nexpression = 'Item(Split([l], \";\"), 3)'\n\
         [[rules]]\nclass = \"user\"\ntarget = \"department\"\n\
         expression = 'IIF(IsNullOrEmpty([department]), Error(\"no department\"), [department])'\n",
    );
    let flowed = user(&flow, &[("l", &["a;b"]), ("department", &["x"])], None, false);
    assert_eq!((flowed.problems[0].attribute.as_str(), flowed.problems[0].kind), ("l", ProblemKind::LeftOut));
    let flowed = user(&flow, &[], None, false);
    assert!(flowed.blocking().is_some_and(|problem| problem.message.contains("no department")));
}

#[test]
fn configurations_bring_their_own_tests() {
    #[derive(serde::Deserialize)]
    struct File {
        test: Vec<TestForm>,
    }
    let file: File = toml::from_str(
        "[[test]]\nname = \"title\"\nobject = { title = \" Boss \", proxyAddresses = [\"SMTP:kim@x.example\"] }\n\
         expect = { jobTitle = \"Boss\", mailNickname = \"kim\" }\nabsent = [\"city\"]\nfindings = []\n\
         [[test]]\nname = \"wrong\"\nobject = { l = \"Bern\" }\nexpect = { city = \"Basel\" }\n\
         [[test]]\nname = \"refused\"\nobject = { userPrincipalName = \"ü@x\" }\nblocked = true\n\
         findings = [\"userPrincipalName\"]\n\
         [[test]]\nname = \"group\"\nclass = \"group\"\ndn = \"CN=All,DC=x\"\nobject = {}\n\
         expect = { displayName = \"All\", securityEnabled = true }\n",
    )
    .unwrap();
    let results = run_tests(&CompiledFlow::default(), &file.test);
    let failed: Vec<&str> = results.iter().filter(|r| !r.failures.is_empty()).map(|r| r.name.as_str()).collect();
    assert_eq!(failed, ["wrong"], "{results:?}");
    assert_eq!(results[1].failures, ["city is \"Bern\", not \"Basel\""]);
}

#[test]
fn every_default_rule_compiles_and_is_shown_with_its_origin() {
    let count = DEFAULT_FLOW.matches("[[rules]]").count();
    let flow = CompiledFlow::default();
    let rules: Vec<_> = FlowClass::ALL.into_iter().flat_map(|class| flow.rules(class)).collect();
    assert_eq!(rules.len(), count);
    assert!(rules.iter().all(|rule| rule.origin() == Origin::Default && !rule.text().is_empty()));
    let (by_itself, not_writable) = beside_rules();
    assert!(!by_itself.is_empty() && not_writable.iter().map(|row| row.attributes.len()).sum::<usize>() > 150);
}
