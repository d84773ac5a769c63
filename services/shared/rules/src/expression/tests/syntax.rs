//! How expressions are written, and what is said of those that are not.

use super::super::parser::DEPTH_LIMIT;
use super::super::{Expression, Kind, Schema, Type};
use super::support::{check, show};

#[test]
fn literals_and_operators() {
    check(&[
        (r#""a\\b\"c""#, r#""a\\b\"c""#),
        ("42", "42"),
        ("-2147483648", "-2147483648"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("&HF", "15"),
        ("BitAnd(&HFF, &hf)", "15"),
        ("[c]", "\"DE\""),
        ("[ c ]", "\"DE\""),
        ("[co]", "Null"),
        ("[msExchHideFromAddressLists]", "True"),
        ("[userAccountControl]", "514"),
        ("[adminCount]", "\"many\""),
        ("True", "True"),
        ("NULL", "Null"),
        ("AuthoritativeNull", "Clear"),
        ("IgnoreThisFlow", "Ignore"),
        (r#""a" & "b" & [c]"#, "\"abDE\""),
        ("[c]&[c]", "\"DEDE\""),
        ("1 & 2", "\"12\""),
        ("[c]&&True", "NotABoolean"),
        ("  [c]\n", "\"DE\""),
        ("%Forest.FQDN% & %Forest.Netbios%", "\"lab.testLAB\""),
        ("%Connector.ID%", "NoParameter"),
    ]);
}

#[test]
fn operators_bind_in_their_order() {
    check(&[
        // & before a comparison, a comparison before NOT, NOT before AND, AND before OR
        (r#""a" & "b"="ab""#, "True"),
        (r#"NOT [c]="FR""#, "True"),
        (r#"NOT [c]="DE" AND False"#, "False"),
        ("True OR True AND False", "True"),
        ("(True OR True) AND False", "False"),
        ("True || False && False", "True"),
        ("NOT NOT True", "True"),
        (r#"[c]="FR" OR [c]="DE" && [co]="x""#, "False"),
        // what is not needed is not evaluated
        (r#"True OR Error("no")"#, "True"),
        (r#"False AND Error("no")"#, "False"),
        (r#"[c]="DE" AND Error("no")"#, "Raised(\"no\")"),
    ]);
}

#[test]
fn comparisons() {
    check(&[
        (r#""a"="a""#, "True"),
        (r#""a"="A""#, "False"),
        (r#""a"<"b""#, "True"),
        (r#""B"<"a""#, "True"),
        ("2<10", "True"),
        (r#""2"<"10""#, "False"),
        ("[employeeID]=42", "False"),
        ("[employeeID]<43", "True"),
        ("[userAccountControl]>=514", "True"),
        (r#"[userAccountControl]="514""#, "True"),
        (
            r#"[userAccountControl]="on""#,
            "compile: at character 22: an operand of = is compared with a number and must be a whole number",
        ),
        ("[adminCount]=1", "False"),
        ("[adminCount]>1", "NotANumber"),
        (r#"[msExchHideFromAddressLists]="TRUE""#, "True"),
        ("[msExchHideFromAddressLists]=False", "False"),
        ("True<False", "compile: at character 1: true or false cannot be compared with true or false by <"),
        (r#"CDate("2024-01-01")<CDate("2024-01-02")"#, "True"),
        (r#"CDate("2024-01-01")="2024-01-01""#, "True"),
        (
            r#"CDate([whenCreated])>"2024""#,
            "compile: at character 22: an operand of > is compared with a date and must be a date",
        ),
        ("CDate([whenCreated])=1", "compile: at character 1: a date cannot be compared with a number by ="),
        (r#"[objectGUID]=CGuid("03020100-0504-0706-0809-0a0b0c0d0e0f")"#, "True"),
        ("[objectGUID]=\"x\"", "compile: at character 1: binary cannot be compared with text by ="),
        ("[c]=NULL", "compile: at character 5: nothing is equal to NULL (hint: use IsNull(...)"),
        (
            "[proxyAddresses]=\"x\"",
            "compile: at character 1: an operand of = may have several values (hint: take one with Item",
        ),
    ]);
}

/// The table of the module's documentation.
#[test]
fn null_propagates_as_documented() {
    check(&[
        ("[co]=\"x\"", "False"),
        ("[co]=[co]", "False"),
        ("[co]<>\"x\"", "True"),
        ("[co]<>[co]", "True"),
        ("[co]<\"x\"", "False"),
        ("[co]>=[co]", "False"),
        ("NOT [autoReply]", "True"),
        ("[autoReply] AND True", "False"),
        ("[autoReply] OR True", "True"),
        ("[c]&[co]", "\"DE\""),
        ("[co]&[l]", "Null"),
        (r#"[co] & """#, "\"\""),
        ("Trim(NULL)", "Null"),
        (r#"Append(NULL,"x")"#, "Null"),
        ("BitAnd([codePage],1)=0", "False"),
        ("Left(NULL,1)", "\"\""),
        ("Count(NULL)", "0"),
        (r#"Join(",",NULL,"a")"#, "\"a\""),
        (r#"Switch(NULL,"default","a","b")"#, "\"default\""),
    ]);
}

#[test]
fn errors_say_where() {
    check(&[
        ("", "compile: at character 1: the expression is empty"),
        ("  ", "compile: at character 3: the expression is empty"),
        ("\"a", "compile: at character 1: the text that begins here does not end"),
        (r#""a\d""#, r"compile: at character 3: \ escapes only \ and "),
        ("[c", "compile: at character 1: the attribute name that begins here does not end"),
        ("[]", "compile: at character 1: the attribute has no name"),
        ("[c] [c]", "compile: at character 5: an operator is missing here"),
        ("Trim([c]", "compile: at character 9: a ) is missing at the end (hint: the parenthesis at character 5"),
        ("Trim([c] [c])", "compile: at character 10: a comma, an operator or a ) is missing here"),
        ("Trim([c]))", "compile: at character 10: this ) closes nothing"),
        ("[c],[c]", "compile: at character 4: a comma outside"),
        ("[c] & ", "compile: at character 7: the expression ends where a value is expected"),
        ("& [c]", "compile: at character 1: an operator without a value before it"),
        ("[c] = AND", "compile: at character 7: an operator without"),
        ("1<2<3", "compile: at character 4: comparisons cannot be chained"),
        ("[c]==[c]", "compile: at character 4: == is no operator"),
        ("[c]!=[c]", "compile: at character 4: ! is no operator"),
        ("[c]|[c]", "compile: at character 4: | is no operator"),
        ("1+2", "compile: at character 2: + is no operator"),
        ("'a'", "compile: at character 1: this quotation mark"),
        ("“a”", "compile: at character 1: this quotation mark"),
        ("1.5", "compile: at character 1: only whole numbers are known"),
        ("99999999999999999999", "compile: at character 1: the number does not fit into 64 bits"),
        ("&HFFFFFFFFFFFFFFFF", "compile: at character 1: the number does not fit into 64 bits"),
        ("&HXY", "compile: at character 1: &H begins a hexadecimal number"),
        ("%Domain%", "compile: at character 1: there is no parameter %Domain%"),
        (
            "%domain.fqdn%",
            "compile: at character 1: there is no parameter %domain.fqdn% (hint: upper and lower case matter: write %Domain.FQDN%)",
        ),
        ("%x", "compile: at character 1: the parameter that begins here does not end"),
        ("$", "compile: at character 1: the variable has no name"),
        ("true", "compile: at character 1: true means nothing here (hint: upper and lower case matter: write True)"),
        ("Trim", "compile: at character 1: Trim means nothing here (hint: Trim is a function: write Trim(...))"),
        ("mail", "compile: at character 1: mail means nothing here (hint: attributes stand in brackets"),
        (
            "[samAccountName]",
            "compile: at character 1: there is no attribute samAccountName (hint: upper and lower case matter: write sAMAccountName)",
        ),
        ("[displayNam]", "compile: at character 1: there is no attribute displayNam (hint: did you mean displayName?)"),
        ("[zzzzzzz]", "compile: at character 1: there is no attribute zzzzzzz (hint: declare it"),
        (r#""ä" & Trmi([c])"#, "compile: at character 7: there is no function Trmi (hint: did you mean Trim?)"),
        ("BitAnd(\"x\",1)", "compile: at character 8: argument 1 of BitAnd must be a whole number"),
        (
            "Now()",
            "compile: at character 1: Now is not available: not deterministic; a replay would give another value (hint: compare",
        ),
    ]);
}

#[test]
fn limits_are_errors() {
    let nested = |depth: usize| format!("{}[c]{}", "Trim(".repeat(depth), ")".repeat(depth));
    assert_eq!(show(&nested(DEPTH_LIMIT)), "\"DE\"");
    assert!(show(&nested(DEPTH_LIMIT + 1)).starts_with("compile: at character 325: more than 64 calls"));
    assert!(show(&"(".repeat(16_000)).starts_with("compile: at character 65: more than 64"));
    assert!(show(&"NOT ".repeat(4_000)).starts_with("compile"));
    let worst = format!("{}[c]=[c]{}", "False OR True AND NOT (".repeat(32), ")".repeat(32));
    assert!(!show(&worst).starts_with("compile"), "{}", show(&worst));
    assert!(show(&format!("\"{}\"", "a".repeat(16 * 1024))).starts_with("compile: at character 1: the expression has"));
    let long = format!("[c]{}", "&[c]".repeat(4_000));
    assert_eq!(show(&long).len(), 2 * 4_001 + 2);
    // 64 KiB, from few letters
    let double = |inner: String| format!("With($x,{inner},$x & $x)");
    let doubled = (0..17).fold("[c]".to_owned(), |inner, _| double(inner));
    assert_eq!(show(&doubled), "TooLarge");
    assert_eq!(show(r#"Replace(PadLeft([c],30000,"a"),"a","bcd")"#), "TooLarge");
    assert_eq!(show(r#"Count(Split(PadLeft([c],30000,"a"),"a"))"#), "TooLarge");
    assert_eq!(show(r#"Join(PadLeft([c],30000,"a"),"a","b","c","d","e")"#), "TooLarge");
    assert_eq!(show(r#"Replace(PadLeft([c],60000,"a"), , "a", , "b", , )"#), "TooLarge");
    assert_eq!(show(r#"Len(Replace(PadLeft([c],4000,"a"), , "a", , "b", , ))"#), "4000");
    let many = r#"Split(PadLeft([c],1500,"a"),"a")"#;
    assert_eq!(show(&format!("Count(Select($a,{many},Count(Select($b,{many},1))))")), "TooLarge");
}

#[test]
fn knows_what_it_reads_and_gives() {
    let compile = |text: &str| Expression::compile(text, &Schema::active_directory()).unwrap();
    let expression = compile(r#"IIF([c]="x",Trim([proxyAddresses]),ImportedValue("mail"))"#);
    assert_eq!(expression.attributes().iter().collect::<Vec<_>>(), ["c", "mail", "proxyAddresses"]);
    assert_eq!(expression.source(), r#"IIF([c]="x",Trim([proxyAddresses]),ImportedValue("mail"))"#);
    assert_eq!(expression, expression.clone());
    for (text, kind, is_multi) in [
        (expression.source(), Kind::Text, true),
        ("[userAccountControl]", Kind::Integer, false),
        ("IIF(True,[userAccountControl],NULL)", Kind::Integer, false),
        ("IIF(True,[userAccountControl],[c])", Kind::Any, false),
        ("[c]=\"x\"", Kind::Boolean, false),
        ("CDate([whenCreated])", Kind::Date, false),
        ("[objectGUID]", Kind::Binary, false),
        ("NULL", Kind::Nothing, false),
        ("Item([proxyAddresses],1)", Kind::Text, false),
        ("Switch([c],1,\"a\",2)", Kind::Integer, false),
    ] {
        assert_eq!(compile(text).result_type(), Type { kind, is_multi }, "{text}");
    }
}

#[test]
fn an_expression_can_be_shared() {
    fn is_shareable<T: Send + Sync + Clone>(_: &T) {}
    is_shareable(&Expression::compile("[c]", &Schema::active_directory()).unwrap());
}

#[test]
fn debug_and_errors_hide_values() {
    let expression = Expression::compile("[displayName]", &Schema::active_directory()).unwrap();
    let object = super::support::object();
    assert_eq!(format!("{:?}", expression.evaluate(&object)), "Ok(Value(Text(15 bytes)))");
    let expression = Expression::compile("CNum([c])", &Schema::active_directory()).unwrap();
    let error = expression.evaluate(&object).unwrap_err().to_string();
    assert_eq!(error, "CNum at character 1: a value is not a whole number of 64 bits");
}
