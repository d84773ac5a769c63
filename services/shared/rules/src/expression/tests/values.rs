//! Functions of choices, lists, numbers and names.

use super::support::functions;

functions! {
    BitAnd: [
        ("BitAnd(12,10)", "8"),
        ("BitAnd([userAccountControl],2)", "2"),
        ("BitAnd([groupType],-2147483648)", "-2147483648"),
        ("BitAnd([groupType],&H80000000)", "2147483648"),
        ("BitAnd([co],2)", "Null"),
        ("BitAnd([employeeID],2)", "2"),
        ("BitAnd([codePage],2)", "Null"),
        ("BitAnd([adminCount],2)", "NotANumber"),
        ("BitAnd(True,2)", "compile: at character 8: argument 1 of BitAnd must be a number and is true or false"),
    ];
    BitOr: [("BitOr(12,10)", "14"), ("BitOr([codePage],1)", "Null")];
    CNum: [
        (r#"CNum("42")"#, "42"),
        (r#"CNum(" -7 ")"#, "-7"),
        ("CNum([employeeID])", "42"),
        ("CNum([c])", "NotANumber"),
        ("CNum([co])", "Null"),
        (r#"CNum("4.2")"#, "compile: at character 6: argument 1 of CNum must be a whole number"),
    ];
    IsBitSet: [("IsBitSet(&HF,4)", "True"), ("IsBitSet(&HF,16)", "False"), ("IsBitSet([codePage],1)", "Null")];
    IsNumeric: [
        (r#"IsNumeric("42")"#, "True"),
        ("IsNumeric([employeeID])", "True"),
        ("IsNumeric([c])", "False"),
        ("IsNumeric([co])", "False"),
    ];
    CBool: [
        ("CBool(BitAnd([groupType],2))", "True"),
        ("CBool(BitAnd([groupType],-2147483648))", "True"),
        ("CBool(0)", "False"),
        (r#"CBool("True")"#, "True"),
        (r#"CBool([c]="DE")"#, "True"),
        (r#"CBool("yes")"#, "False"),
        ("CBool([codePage])", "False"),
    ];
    Coalesce: [
        ("Coalesce([co],[c],[title])", "\"DE\""),
        ("Coalesce([co],[title],[c])", "\"\""),
        (r#"Coalesce([co],[l],"none")"#, "\"none\""),
        ("Coalesce([co],[l])", "Null"),
        ("Coalesce([co],[proxyAddresses])", r#"{"smtp:a@lab.test", "SMTP:Ann@lab.test", "smtp:b@lab.test", "X500:/o=x"}"#),
        ("Coalesce([co],IgnoreThisFlow)", "Ignore"),
        ("Coalesce([co])", "Null"),
        ("Coalesce()", "compile: at character 1: Coalesce takes 1 or more arguments, not 0"),
    ];
    DefaultDomain: [("DefaultDomain()", "\"lab.onmicrosoft.test\""), ("DefaultDomain([c])", "compile: at character 1: DefaultDomain takes 0 arguments")];
    Error: [
        (r#"Error("no name")"#, "Raised(\"no name\")"),
        (r#"Error("no name for " & [cn] & "!")"#, "Raised(\"no name for …!\")"),
        (r#"Error(Append("of ",[cn]))"#, "Raised(\"of …\")"),
        (r#"IIF(IsPresent([c]),[c],Error("no c"))"#, "\"DE\""),
        (r#"IIF(IsPresent([co]),[co],Error("no co"))"#, "Raised(\"no co\")"),
    ];
    IIF: [
        (r#"IIF([c]="DE","yes","no")"#, "\"yes\""),
        (r#"IIF([co]="Peru","PE","XX")"#, "\"XX\""),
        (r#"IIF([co]<>"Peru","PE","XX")"#, "\"PE\""),
        ("IIF(BitAnd([userAccountControl],2)=0,True,False)", "False"),
        (r#"IIF([msExchHideFromAddressLists],"hidden","shown")"#, "\"hidden\""),
        (r#"IIF([autoReply],"a","b")"#, "\"b\""),
        (r#"IIF(NULL,"a","b")"#, "\"b\""),
        (r#"IIF([c],"a","b")"#, "NotABoolean"),
        (r#"IIF(BitAnd([userAccountControl],2),"a","b")"#, "compile: at character 5: argument 1 of IIF must be a condition and is a number (hint: compare it"),
        (r#"IIF([c]="DE",NULL,"x")"#, "Null"),
        (r#"IIF([c]="DE",AuthoritativeNull,"x")"#, "Clear"),
        (r#"IIF([c]="DE",IgnoreThisFlow,"x")"#, "Ignore"),
        (r#"IIF([c]="DE","x")"#, "compile: at character 1: IIF takes 3 arguments, not 2"),
        (r#"iif([c]="DE","x","y")"#, "compile: at character 1: there is no function iif (hint: upper and lower case matter: write IIF)"),
    ];
    IgnoreFlowIfNullOrEmpty: [
        ("IgnoreFlowIfNullOrEmpty([co])", "Ignore"),
        ("IgnoreFlowIfNullOrEmpty([title])", "Ignore"),
        ("IgnoreFlowIfNullOrEmpty([c])", "\"DE\""),
        ("Trim(IgnoreFlowIfNullOrEmpty([co]))", "Ignore"),
    ];
    ImportedValue: [
        (r#"ImportedValue("c")"#, "\"DE\""),
        (r#"RemoveDuplicates(Trim(ImportedValue("otherMobile")))"#, r#"{"1", "2"}"#),
        (r#"ImportedValue("C")"#, "compile: at character 15: there is no attribute C (hint: upper and lower case matter: write c)"),
        ("ImportedValue([c])", "compile: at character 1: ImportedValue takes the name"),
    ];
    IsEmpty: [("IsEmpty([title])", "True"), ("IsEmpty([co])", "False"), ("IsEmpty([c])", "False")];
    IsNull: [("IsNull([co])", "True"), ("IsNull([title])", "False"), ("IsNull([c])", "False"), ("IsNull(NULL)", "True")];
    IsNullOrEmpty: [("IsNullOrEmpty([co])", "True"), ("IsNullOrEmpty([title])", "True"), ("IsNullOrEmpty([c])", "False"), ("IsNullOrEmpty([description])", "False")];
    IsPresent: [("IsPresent([co])", "False"), ("IsPresent([title])", "False"), ("IsPresent([objectGUID])", "True"), ("IsPresent(Trim([otherMobile]))", "True")];
    IsString: [("IsString([c])", "True"), ("IsString(1)", "True"), ("IsString([objectGUID])", "False"), ("IsString([co])", "False")];
    Not: [
        (r#"Not("True")"#, "False"),
        (r#"Not("true")"#, "True"),
        (r#"Not("x")"#, "True"),
        (r#"Not([c]="DE")"#, "False"),
        ("Not([co])", "True"),
        ("CStr(Not([msExchHideFromAddressLists]))", "\"False\""),
    ];
    Redact: [("Redact([c])", "\"DE\""), ("Redact([co])", "Null")];
    Select: [
        (r#"Select($item,[otherMobile],Trim($item) & "!")"#, r#"{"1!", "2!", "1!"}"#),
        (r#"Select($item,[description],Replace($item,"s","-"))"#, r#"{"fir-t", "-econd"}"#),
        ("Select($item,[otherPager],$item)", "Null"),
        ("Select($a,[description],Select($b,[otherMobile],$a & $b))", r#"{"first 1 ", "first2", "first 1 ", "second 1 ", "second2", "second 1 "}"#),
        ("Select($item,[c],$item)", "\"DE\""),
        ("Select($item,[c],$itm)", "compile: at character 18: $itm has no value here"),
        (r#"Select([c],[c],"x")"#, "compile: at character 8: argument 1 of Select is a variable"),
        ("Select($item,[c],$item) & $item", "compile: at character 1: an operand of & may have several values"),
        ("[c] & $item", "compile: at character 7: $item has no value here"),
    ];
    Switch: [
        (r#"Switch([c],"EU","US","NA")"#, "\"EU\""),
        (r#"Switch([c],"EU","US","NA","DE","Germany")"#, "\"Germany\""),
        (r#"Switch([c],"EU","de","Germany")"#, "\"EU\""),
        (r#"Switch([c], ,"US","NA")"#, "Null"),
        (r#"Switch([co],"none","US","NA")"#, "\"none\""),
        (r#"Switch([title],"none","","empty")"#, "\"empty\""),
        (r#"Switch([userAccountControl],"on","514","off")"#, "\"off\""),
        (r#"Switch([msExchHideFromAddressLists],"shown","True","hidden")"#, "\"hidden\""),
        (r#"Switch([c],"EU",[co],"x","DE","y")"#, "\"y\""),
        (r#"Switch([c],"EU","DE",Error("no"))"#, "Raised(\"no\")"),
        (r#"Switch([c],"EU","DE")"#, "compile: at character 1: Switch takes 4 or more arguments, not 3"),
        (r#"Switch([c],"EU","US","NA","DE")"#, "compile: at character 1: Switch takes an even number of arguments, not 5"),
        (r#"Switch([c],"EU", ,"NA")"#, "compile: at character 1: argument 3 of Switch is missing"),
    ];
    Where: [
        (r#"Where($item,[proxyAddresses],InStr($item,"smtp:")=1)"#, r#"{"smtp:a@lab.test", "smtp:b@lab.test"}"#),
        (r#"Where($item,[proxyAddresses],InStr($item,"SIP:")=1)"#, "Null"),
        ("Where($item,[otherPager],True)", "Null"),
    ];
    With: [
        (r#"With($x,Trim([displayName]),IIF(Len($x)>3,$x,"short"))"#, "\"Ann  Müller\""),
        (r#"With($x,Where($i,[proxyAddresses],InStr($i,"smtp:")=1),IIF(Count($x)>0,$x,NULL))"#, r#"{"smtp:a@lab.test", "smtp:b@lab.test"}"#),
        ("With($x,[co],IsNull($x))", "True"),
        (r#"With($x,"a",With($y,"b",$x & $y & With($x,"c",$x)))"#, "\"abc\""),
    ];
    Contains: [
        (r#"Contains([proxyAddresses],"SMTP:")"#, "2"),
        (r#"Contains([proxyAddresses],"smtp:b")"#, "3"),
        (r#"Contains([proxyAddresses],"SMTP:",CaseInsensitive)"#, "1"),
        (r#"Contains([proxyAddresses],"sip:")"#, "0"),
        (r#"Contains([memberOf],"CN=G2,DC=lab,DC=test")"#, "2"),
        (r#"Contains([memberOf],"G2")"#, "0"),
        (r#"Contains([otherPager],"x")"#, "0"),
        (r#"IIF(Contains([proxyAddresses],"SMTP:")>0,"y","n")"#, "\"y\""),
        ("Contains([proxyAddresses],[co])", "Null"),
    ];
    Count: [("Count([proxyAddresses])", "4"), ("Count([c])", "1"), ("Count([co])", "0"), (r#"Count(Split("a;b",";"))"#, "2")];
    ValueCount: [("ValueCount([proxyAddresses])", "4"), ("ValueCount([co])", "0")];
    Item: [
        ("Item([otherMobile],2)", "\"2\""),
        ("Item([otherMobile],4)", "OutOfRange"),
        ("Item([c],1)", "\"DE\""),
        ("Item([otherPager],1)", "Null"),
        ("Item([otherMobile],0)", "compile: at character 20: Item: places are counted from 1"),
        ("Item([otherMobile],[codePage])", "Null"),
    ];
    ItemOrNull: [("ItemOrNull([otherMobile],2)", "\"2\""), ("ItemOrNull([otherMobile],4)", "Null"), ("ItemOrNull([otherPager],1)", "Null")];
    Join: [
        (r#"Join(".","a","b")"#, "\"a.b\""),
        (r#"Join(".",[c],[co],[sAMAccountName])"#, "\"DE.ann\""),
        (r#"Join(", ",[description],"x")"#, "\"first, second, x\""),
        (r#"Join(".",[co])"#, "Null"),
        (r#"Join(".",[title],"b")"#, "\".b\""),
        (r#"Join("",1,True)"#, "\"1True\""),
        (r#"Join([co],"a","b")"#, "Null"),
    ];
    RemoveDuplicates: [
        ("RemoveDuplicates([otherMobile])", r#"{" 1 ", "2"}"#),
        (r#"RemoveDuplicates(Split("a,A,a",","))"#, r#"{"a", "A"}"#),
        (r#"RemoveDuplicates(Split("a,a",","))"#, "\"a\""),
        ("RemoveDuplicates([co])", "Null"),
    ];
    Split: [
        (r#"Split("a;b",";")"#, r#"{"a", "b"}"#),
        (r#"Split("a","; ")"#, "\"a\""),
        (r#"Split("a;;b",";")"#, r#"{"a", "", "b"}"#),
        (r#"Split("a;b;c",";",2)"#, r#"{"a", "b;c"}"#),
        (r#"Split([co],";")"#, "Null"),
        (r#"Split("a","")"#, "compile: at character 11: Split: the delimiter is empty"),
        (r#"Split("a",";",0)"#, "compile: at character 15: Split: the limit must be 1 or more"),
    ];
    AddressPrefix: [
        (r#"AddressPrefix("ann@lab.test")"#, "\"ann\""),
        (r#"AddressPrefix("ann")"#, "\"ann\""),
        (r#"AddressPrefix("@x")"#, "\"\""),
        ("AddressPrefix([co])", "Null"),
    ];
    MailNickname: [
        (r#"MailNickname([mailNickname],[title],"@(),",[cn],"x")"#, "\"AnnMller\""),
        (r#"MailNickname("a b@c")"#, "\"abc\""),
        ("MailNickname([co],[title])", "Null"),
        (r#"Len(MailNickname("0123456789012345678901234567890123456789012345678901234567890123456789"))"#, "64"),
    ];
    PrimarySmtp: [
        ("PrimarySmtp([proxyAddresses])", "\"Ann@lab.test\""),
        (r#"PrimarySmtp("smtp:a@b")"#, "Null"),
        (r#"PrimarySmtp("SMTP:")"#, "Null"),
        ("PrimarySmtp([co])", "Null"),
    ];
    SecondarySmtp: [
        ("SecondarySmtp([proxyAddresses])", r#"{"a@lab.test", "b@lab.test"}"#),
        (r#"SecondarySmtp("smtp:a@b")"#, "\"a@b\""),
        ("SecondarySmtp([co])", "Null"),
    ];
    CRef: [("CRef([dn])", r#""CN=Ann\\, the first,OU=X,DC=lab,DC=test""#), ("CRef([co])", "Null")];
    DNComponent: [
        ("DNComponent([dn],1)", "\"Ann, the first\""),
        ("DNComponent(CRef([dn]),2)", "\"X\""),
        (r#"DNComponent("cn=Ann,ou=X",2)"#, "\"X\""),
        ("DNComponent([dn],9)", "Null"),
        ("DNComponent([co],1)", "Null"),
        ("DNComponent([c],1)", "NotADistinguishedName"),
        ("DNComponent([dn],0)", "compile: at character 18: DNComponent: parts are counted from 1"),
    ];
    DNComponentRev: [
        (r#"DNComponentRev("cn=Joe,ou=Atlanta,ou=GA,ou=US, dc=contoso,dc=com",3)"#, "\"US\""),
        (r#"DNComponentRev("cn=Joe,ou=Atlanta,ou=GA,ou=US, dc=contoso,dc=com",1,"DC")"#, "\"US\""),
        ("DNComponentRev([dn],1)", "\"test\""),
        ("DNComponentRev([dn],9)", "Null"),
    ];
    EscapeDNComponent: [
        (r#"EscapeDNComponent("cn=Ann, the first")"#, r#""cn=Ann\\, the first""#),
        (r#"EscapeDNComponent("Ann, the first")"#, r#""Ann\\, the first""#),
        (r#"EscapeDNComponent("cn=plain")"#, "\"cn=plain\""),
        (r#"EscapeDNComponent("=a+b")"#, r#""\\=a\\+b""#),
        ("EscapeDNComponent([co])", "Null"),
    ];
}
