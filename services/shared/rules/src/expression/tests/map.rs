//! The expressions of Microsoft's default rules, and what they give.

use super::super::{AttributeSyntax, Expression, Schema};
use super::support::check;

#[test]
fn the_default_rules_mean_what_they_mean_there() {
    check(&[
        ("IIF(BitAnd([userAccountControl],2)=0,True,False)", "False"),
        ("Trim([c])", "\"DE\""),
        ("Trim([otherMobile])", r#"{"1", "2", "1"}"#),
        ("IIF(IsNullOrEmpty([description]),NULL,Left(Trim(Item([description],1)),448))", "\"first\""),
        ("IIF(IsNullOrEmpty([postOfficeBox]),NULL,Left(Trim(Item([postOfficeBox],1)),448))", "Null"),
        ("IIF(IsNullOrEmpty([url]),NULL,Left(Trim(Item([url],1)),448))", "Null"),
        ("IIF(IsNullOrEmpty([displayName]),[cn],[displayName])", "\"  Ann  Müller \""),
        (r#""CN={" & ConvertToUTF8Hex([sourceAnchor]) & "}""#, "\"CN={}\""),
        (r#""CN={" & ConvertToUTF8Hex("Az") & "}""#, "\"CN={417A}\""),
        ("%Domain.FQDN%", "\"corp.lab.test\""),
        ("%Domain.Netbios%", "\"CORP\""),
        ("Left(Trim([info]),448)", "\"\""),
        (
            r#"IIF(IsPresent([pwdLastSet]),CStr(FormatDateTime(DateFromNum([pwdLastSet]),"yyyyMMddHHmmss.0Z")),NULL)"#,
            "\"20231230000000.0Z\"",
        ),
        (r#"RemoveDuplicates(Trim(ImportedValue("otherMobile")))"#, r#"{"1", "2"}"#),
        (
            "IIF([msExchRecipientTypeDetails]=2,NULL,ConvertToBase64(IIF(IsPresent([mS-DS-ConsistencyGuid]),\
             [mS-DS-ConsistencyGuid],[objectGUID])))",
            "\"AAECAwQFBgcICQoLDA0ODw==\"",
        ),
        (
            r#"IIF(IsPresent([userPrincipalName]),[userPrincipalName], IIF(IsPresent([sAMAccountName]),([sAMAccountName]&"@"&%Domain.FQDN%),Error("AccountName is not present")))"#,
            "\"ann@corp.lab.test\"",
        ),
        ("CBool(BitAnd([groupType],-2147483648))", "True"),
        ("IIF(IsPresent([mailNickname]), [mailNickname], [cn])", "\"Ann Müller\""),
        ("IIF(IsPresent([legacyExchangeDN]), [legacyExchangeDN], NULL)", "Null"),
        (r#""ServerAd""#, "\"ServerAd\""),
        (r#"IIF(InStr([userPrincipalName],"@partners")>0,"Guest","Member")"#, "\"Member\""),
        ("CStr([dn])", r#""CN=Ann\\, the first,OU=X,DC=lab,DC=test""#),
    ]);
}

#[test]
fn attributes_of_the_cloud_are_declared() {
    let schema = Schema::active_directory();
    let text = r#"IIF(IsNullOrEmpty([cloudLegacyExchangeDN]),NULL,"x500:"&[cloudLegacyExchangeDN])"#;
    assert_eq!(Expression::compile(text, &schema).unwrap_err().position, 19);
    let schema = schema.with("cloudLegacyExchangeDN", AttributeSyntax::Text, false).with(
        "usageLocation",
        AttributeSyntax::Text,
        false,
    );
    Expression::compile(text, &schema).unwrap();
    Expression::compile("IIF(IsNullOrEmpty([usageLocation]),IgnoreThisFlow,[usageLocation])", &schema).unwrap();
}

#[test]
fn the_schema_is_sorted_and_holds_no_secret() {
    let schema = Schema::active_directory();
    let table = super::super::active_directory::ATTRIBUTES;
    assert!(table.is_sorted_by(|a, b| a.0 < b.0));
    for (name, syntax, _) in table {
        assert!(!forestsync_domain::syntax::is_secret(name), "{name}");
        assert_eq!(schema.attribute(name).map(|found| found.0), Some(syntax), "{name}");
        if forestsync_domain::syntax::is_binary(name) {
            assert_eq!(syntax, AttributeSyntax::Binary, "{name}");
        }
    }
    for name in crate::attributes::requested() {
        assert!(schema.attribute(name).is_some(), "{name} is read by the rules and not known");
    }
}
