use std::collections::BTreeSet;

use forestsync_domain::{AttributeValue, Attributes};

use super::attributes;
use crate::classify::DirectoryClass::{Computer, Contact, Container, Group, InetOrgPerson, Other, User};
use crate::filter::FilterVerdict::{Fails, Passes};
use crate::filter::{Filter, FilterForm, FilterObject, FilterProblem, Operator};

#[derive(serde::Deserialize)]
struct Scope {
    filters: Vec<FilterForm>,
}

fn forms(toml: &str) -> Vec<FilterForm> {
    toml::from_str::<Scope>(toml).unwrap_or_else(|e| panic!("{toml}: {e}")).filters
}

fn filter(toml: &str) -> Filter {
    Filter::compile(&forms(toml)).unwrap_or_else(|problems| panic!("{toml}: {problems:?}"))
}

/// The answer of one clause, written without its braces.
fn holds(clause: &str, object: &Attributes) -> bool {
    let filter = filter(&format!("[[filters]]\nwhere = [{{ {clause} }}]"));
    filter.verdict(User, &FilterObject { attributes: object, groups: &BTreeSet::new() }) == Passes
}

fn problems(toml: &str) -> Vec<FilterProblem> {
    Filter::compile(&forms(toml)).err().unwrap_or_default()
}

/// Objects of which each has one attribute, `x`: with no value, an empty one, one, several.
fn of(values: &[&str]) -> Attributes {
    attributes(&[("x", values)])
}

/// A clause, the values that it holds for, and those that it does not hold for.
type Case<'a> = (&'a str, &'a [&'a [&'a str]], &'a [&'a [&'a str]]);

#[test]
fn text_operators() {
    // no value and an empty one are among the latter everywhere
    let cases: [Case<'_>; 16] = [
        (r#"operator = "equals", value = "Sales""#, &[&["Sales"], &["x", "Sales"]], &[&["sales"], &["Sales "]]),
        (r#"operator = "not_equals", value = "Sales""#, &[&["sales"], &["a", "b"]], &[&["Sales"], &["a", "Sales"]]),
        (r#"operator = "equals", value = "SÄLES", ignore_case = true"#, &[&["säles"]], &[&["sales"]]),
        (r#"operator = "not_equals", value = "Sales", ignore_case = true"#, &[&["x"]], &[&["SALES"]]),
        (r#"operator = "is_in", values = ["DE", "FR"]"#, &[&["DE"], &["FR"], &["x", "FR"]], &[&["de"], &["DE,FR"]]),
        (r#"operator = "is_not_in", values = ["DE", "FR"]"#, &[&["de"], &["x", "y"]], &[&["DE"], &["x", "FR"]]),
        (r#"operator = "is_in", values = [7, true]"#, &[&["7"], &["TRUE"]], &[&["07"], &["true"]]),
        (r#"operator = "contains", value = "le""#, &[&["Sales"], &["le"], &["x", "ale"]], &[&["saLEs"]]),
        (r#"operator = "not_contains", value = "le""#, &[&["saLEs"], &["x", "y"]], &[&["x", "ale"]]),
        (r#"operator = "starts_with", value = "Sa""#, &[&["Sales"], &["Sa"]], &[&["ASa"], &["sales"], &["S"]]),
        (r#"operator = "not_starts_with", value = "Sa""#, &[&["ASa"]], &[&["Sales"], &["x", "Sa"]]),
        (r#"operator = "ends_with", value = "es""#, &[&["Sales"], &["es"]], &[&["esx"], &["SalES"]]),
        (r#"operator = "not_ends_with", value = "es""#, &[&["esx"]], &[&["Sales"], &["x", "es"]]),
        (r#"operator = "regex_match", value = "[1-9][0-9]""#, &[&["a10b"], &["99"], &["x", "42"]], &[&["9"], &["x"]]),
        (r#"operator = "regex_match", value = "^ab$", ignore_case = true"#, &[&["AB"]], &[&["abc"], &["ab\n"]]),
        (r#"operator = "not_regex_match", value = "^a""#, &[&["ba"], &["b", "c"]], &[&["a"], &["b", "ab"]]),
    ];
    for (clause, yes, no) in cases {
        let clause = format!(r#"attribute = "x", {clause}"#);
        for values in yes {
            assert!(holds(&clause, &of(values)), "{clause} of {values:?}");
        }
        for values in no.iter().chain(&[&[][..], &[""]]) {
            assert!(!holds(&clause, &of(values)), "{clause} of {values:?}");
        }
    }
}

#[test]
fn integer_operators() {
    let cases: [Case<'_>; 13] = [
        (r#""less_than", value = 5"#, &[&["4"], &["-9"], &["9", "4"], &["4", "x"]], &[&["5"], &["6"]]),
        (r#""less_than_or_equal", value = 5"#, &[&["5"], &["4"]], &[&["6"]]),
        (r#""greater_than", value = 5"#, &[&["6"], &["9223372036854775807"]], &[&["5"], &["-6"]]),
        (r#""greater_than_or_equal", value = "5""#, &[&["5"], &["6"]], &[&["4"], &["9223372036854775808"]]),
        (r#""is_bit_set", value = 2"#, &[&["514"], &["2"], &["512", "2"]], &[&["512"], &["0"]]),
        (r#""is_bit_not_set", value = 2"#, &[&["512"], &["0"]], &[&["514"], &["512", "2"]]),
        (r#""is_bit_set", value = 2147483648"#, &[&["-2147483646"], &["2147483648"]], &[&["2"]]),
        (r#""is_bit_set", value = -2147483648"#, &[&["-2147483646"], &["2147483648"]], &[&["2"], &["4294967296"]]),
        (r#""bits_and", value = 6"#, &[&["2"], &["4"], &["7"]], &[&["1"], &["8"]]),
        (r#""&", value = 2"#, &[&["514"]], &[&["512"]]),
        (r#""!&", value = 6"#, &[&["1"], &["8"], &["x", "8"]], &[&["2"], &["4"], &["1", "4"]]),
        (r#""is_true""#, &[&["TRUE"], &["true"], &["FALSE", "TRUE"]], &[&["FALSE"], &["1"]]),
        (r#""is_false""#, &[&["FALSE"], &["False"]], &[&["TRUE"], &["0"]]),
    ];
    for (clause, yes, no) in cases {
        let clause = format!(r#"attribute = "x", operator = {clause}"#);
        for values in yes {
            assert!(holds(&clause, &of(values)), "{clause} of {values:?}");
        }
        for values in no.iter().chain(&[&[][..], &[""], &["x"], &["1.5"], &["0x10"]]) {
            assert!(!holds(&clause, &of(values)), "{clause} of {values:?}");
        }
    }
}

#[test]
fn presence() {
    let bytes = Attributes::from([("x".to_owned(), vec![AttributeValue::Binary(vec![0])])]);
    let none = Attributes::from([("x".to_owned(), Vec::new())]);
    for (object, present) in [(of(&[]), false), (none, false), (of(&[""]), false), (of(&[" "]), true), (bytes, true)] {
        for (operator, expected) in
            [("is_null", !present), ("is_not_present", !present), ("is_not_null", present), ("is_present", present)]
        {
            let clause = format!(r#"attribute = "x", operator = "{operator}""#);
            assert_eq!(holds(&clause, &object), expected, "{operator} {object:?}");
        }
    }
    // links are asked for their presence only
    let object = attributes(&[("manager", &["CN=Kim,DC=lab"])]);
    assert!(holds(r#"attribute = "manager", operator = "is_not_null""#, &object));
}

#[test]
fn bytes_are_no_text() {
    let object = Attributes::from([("x".to_owned(), vec![AttributeValue::Binary(b"Sales".to_vec())])]);
    for clause in [r#""equals", value = "Sales""#, r#""not_equals", value = "a""#, r#""!&", value = 1"#, r#""is_true""#]
    {
        assert!(!holds(&format!(r#"attribute = "x", operator = {clause}"#), &object), "{clause}");
    }
}

#[test]
fn membership_is_asked_by_place() {
    let guid = "00112233-4455-6677-8899-aabbccddeeff";
    let filter = filter(&format!(
        r#"
        [[filters]]
        classes = ["user"]
        where = [{{ operator = "is_member_of", values = ["CN=Sales,DC=lab", "{guid}"] }}]
        [[filters]]
        classes = ["user"]
        where = [{{ operator = "ISNOTMEMBEROF", value = "CN=Sales,DC=lab" }}, {{ attribute = "c", operator = "ISNOTNULL" }}]
        "#
    ));
    assert_eq!(filter.groups(), ["CN=Sales,DC=lab", guid]);
    let with = attributes(&[("c", &["DE"])]);
    let without = Attributes::new();
    let verdict = |attributes, groups: &[usize]| {
        filter.verdict(User, &FilterObject { attributes, groups: &groups.iter().copied().collect() })
    };
    assert_eq!(verdict(&without, &[0]), Passes);
    assert_eq!(verdict(&without, &[1, 7]), Passes);
    assert_eq!(verdict(&with, &[]), Passes);
    assert_eq!(verdict(&without, &[]), Fails { group: 0, clause: 0 });
}

#[test]
fn every_spelling_of_both_products_is_known() {
    let spellings = [
        "&",
        "!&",
        "ENDS_WITH",
        "EQUALS",
        "Greater_Than",
        "Greater_Than_OR_EQUALS",
        "Includes",
        "IS FALSE",
        "IS NOT NULL",
        "IS NULL",
        "IS TRUE",
        "NOT EQUALS",
        "NOT REGEX MATCH",
        "REGEX MATCH",
        "EQUAL",
        "NOTEQUAL",
        "LESSTHAN",
        "LESSTHAN_OR_EQUAL",
        "GREATERTHAN",
        "GREATERTHAN_OR_EQUAL",
        "CONTAINS",
        "NOTCONTAINS",
        "STARTSWITH",
        "NOTSTARTSWITH",
        "ENDSWITH",
        "NOTENDSWITH",
        "ISNULL",
        "ISNOTNULL",
        "ISIN",
        "ISNOTIN",
        "ISBITSET",
        "ISBITNOTSET",
        "ISMEMBEROF",
        "ISNOTMEMBEROF",
        "is_not_present",
    ];
    let named: BTreeSet<Operator> = spellings.iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(named, Operator::all().collect());
    for operator in Operator::all() {
        assert_eq!(operator.to_string().parse(), Ok(operator));
        assert_eq!(serde_json::to_string(&operator).unwrap(), format!("\"{operator}\""));
    }
    let error = "like".parse::<Operator>().unwrap_err().to_string();
    assert!(error.contains("equals, not_equals") && !error.contains("like"), "{error}");
}

#[test]
fn groups_are_ored_and_clauses_anded() {
    let filter = filter(
        r#"
        [[filters]]
        classes = ["user"]
        where = [
            { attribute = "Department", operator = "equals", value = "Sales" },
            { attribute = "userAccountControl", operator = "is_bit_not_set", value = 2 },
            { attribute = "c", operator = "is_in", values = ["DE", "FR"] },
        ]
        [[filters]]
        classes = ["user", "contact"]
        where = [
            { attribute = "department", operator = "equals", value = "IT" },
            { attribute = "costCentre", operator = "is_not_null" },
            { attribute = "COSTCENTRE", operator = "less_than", value = 9 },
        ]
        "#,
    );
    assert_eq!(
        filter.attributes().iter().map(String::as_str).collect::<Vec<_>>(),
        ["c", "costCentre", "department", "userAccountControl"]
    );
    let sales = [("department", &["Sales"][..]), ("userAccountControl", &["512"]), ("c", &["FR"])];
    let it = [("department", &["IT"][..]), ("costCentre", &["3"])];
    let verdict = |class, entries: &[(&str, &[&str])]| {
        filter.verdict(class, &FilterObject { attributes: &attributes(entries), groups: &BTreeSet::new() })
    };
    for class in [User, InetOrgPerson] {
        assert_eq!(verdict(class, &sales), Passes);
        assert_eq!(verdict(class, &it), Passes);
        // the nearest group is the one with the fewest clauses that do not hold
        assert_eq!(verdict(class, &sales[..2]), Fails { group: 0, clause: 2 });
        assert_eq!(verdict(class, &it[1..]), Fails { group: 1, clause: 0 });
        assert_eq!(verdict(class, &[]), Fails { group: 0, clause: 0 });
        assert_eq!(verdict(class, &it[..1]), Fails { group: 1, clause: 1 });
    }
    assert_eq!(verdict(Contact, &it), Passes);
    assert_eq!(verdict(Contact, &sales), Fails { group: 1, clause: 0 });
    // of groups no filter speaks, and other classes are not asked about
    for class in [Group, Computer, Container, Other] {
        assert_eq!(verdict(class, &[]), Passes, "{class:?}");
    }
    assert!(!filter.is_empty() && Filter::default().is_empty());
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let cases = [
        (r#"{ operator = "equals", value = "a" }"#, "attribute"),
        (r#"{ attribute = "", operator = "is_null" }"#, "attribute"),
        (r#"{ attribute = "a b", operator = "is_null" }"#, "attribute"),
        (r#"{ attribute = "member;range=0-1", operator = "is_null" }"#, "attribute"),
        (r#"{ attribute = "unicodePwd", operator = "is_null" }"#, "attribute"),
        (r#"{ attribute = "CN", operator = "is_null" }"#, "attribute"),
        (r#"{ attribute = "member", operator = "contains", value = "CN=a" }"#, "attribute"),
        (r#"{ attribute = "objectSid", operator = "equals", value = "S-1" }"#, "attribute"),
        (r#"{ attribute = "a", operator = "equals" }"#, "value"),
        (r#"{ attribute = "a", operator = "equals", value = "" }"#, "value"),
        (r#"{ attribute = "a", operator = "equals", values = ["a"] }"#, "values"),
        (r#"{ attribute = "a", operator = "is_in", values = [] }"#, "values"),
        (r#"{ attribute = "a", operator = "is_in", values = ["", "a"] }"#, "values"),
        (r#"{ attribute = "a", operator = "is_in" }"#, "values"),
        (r#"{ attribute = "a", operator = "is_in", value = "a", values = ["b"] }"#, "value"),
        (r#"{ attribute = "a", operator = "is_null", value = "a" }"#, "value"),
        (r#"{ attribute = "a", operator = "is_true", values = ["a"] }"#, "values"),
        (r#"{ attribute = "a", operator = "greater_than", value = "5.0" }"#, "value"),
        (r#"{ attribute = "a", operator = "greater_than", value = true }"#, "value"),
        (r#"{ attribute = "a", operator = "less_than", value = 5, ignore_case = true }"#, "ignore_case"),
        (r#"{ attribute = "a", operator = "is_bit_set", value = 3 }"#, "value"),
        (r#"{ attribute = "a", operator = "is_bit_set", value = 0 }"#, "value"),
        (r#"{ attribute = "a", operator = "&", value = 0 }"#, "value"),
        (r#"{ attribute = "a", operator = "regex_match", value = "(" }"#, "value"),
        (r#"{ attribute = "a", operator = "regex_match", value = "(?=a)" }"#, "value"),
        (r#"{ attribute = "a", operator = "regex_match", value = "(\\w{500}){500}" }"#, "value"),
        (r#"{ attribute = "a", operator = "is_member_of", value = "CN=a" }"#, "attribute"),
        (r#"{ operator = "is_member_of", value = "Sales" }"#, "values"),
        (r#"{ operator = "is_member_of", value = "" }"#, "values"),
        (r#"{ operator = "is_member_of" }"#, "values"),
    ];
    for (clause, key) in cases {
        let toml = format!("[[filters]]\nwhere = [{{ attribute = \"c\", operator = \"is_null\" }}, {clause}]");
        let found = problems(&toml);
        let places: Vec<&str> = found.iter().map(|problem| problem.place.as_str()).collect();
        assert_eq!(places, [format!("filters[0].where[1].{key}")], "{clause}: {found:?}");
        let text = found[0].to_string();
        assert!(!found[0].hint.is_empty() && !text.ends_with('.') && !text.contains('\n'), "{text}");
    }
    let found = problems("[[filters]]\nclasses = []\nwhere = []");
    assert_eq!(found.iter().map(|p| p.place.as_str()).collect::<Vec<_>>(), ["filters[0].classes", "filters[0].where"]);
    // all of them at once
    let found = problems(r#"filters = [{ where = [{ attribute = "cn", operator = "equals" }] }, { where = [] }]"#);
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn unknown_keys_are_refused() {
    for toml in [
        "[[filters]]\nwhen = []",
        "[[filters]]\nwhere = []\nclasses = [\"computer\"]",
        "[[filters]]\nwhere = [{ attribute = \"a\", operator = \"is_null\", ignorecase = true }]",
        "[[filters]]\nwhere = [{ attribute = \"a\", operator = \"like\", value = \"b\" }]",
        "[[filters]]\nwhere = [{ attribute = \"a\", operator = \"equals\", value = 1.5 }]",
    ] {
        assert!(toml::from_str::<Scope>(toml).is_err(), "{toml}");
    }
}
