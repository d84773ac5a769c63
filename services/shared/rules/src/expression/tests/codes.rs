//! Functions of dates, encodings and certificates.

use super::support::functions;

functions! {
    CDate: [
        (r#"CDate("2012-03-16")"#, "2012-03-16T00:00:00Z"),
        (r#"CDate("2012-03-16-07:00")"#, "2012-03-16T07:00:00Z"),
        (r#"CDate("2012-03-16T01:02:03.5+01:00")"#, "2012-03-16T00:02:03.5Z"),
        (r#"CDate("20240131235959.0Z")"#, "2024-01-31T23:59:59Z"),
        (r#"CDate("3/6/2012 7:08:09 PM")"#, "2012-03-06T19:08:09Z"),
        (r#"CDate("20240131")"#, "2024-01-31T00:00:00Z"),
        ("CDate([whenCreated])", "2024-01-31T23:59:59Z"),
        ("CDate([c])", "NotADate"),
        ("CDate([co])", "Null"),
        (r#"CDate("2023-02-29")"#, "compile: at character 7: argument 1 of CDate must be a date"),
        ("CDate([pwdLastSet])", "compile: at character 7: argument 1 of CDate must be a date and is a number (hint: DateFromNum"),
    ];
    DateAdd: [
        (r#"DateAdd("d",7,CDate("2024-02-25"))"#, "2024-03-03T00:00:00Z"),
        (r#"DateAdd("m",3,CDate("2001-01-01"))"#, "2001-04-01T00:00:00Z"),
        (r#"DateAdd("m",1,"2024-01-31")"#, "2024-02-29T00:00:00Z"),
        (r#"DateAdd("yyyy",-1,"2024-02-29")"#, "2023-02-28T00:00:00Z"),
        (r#"DateAdd("ww",1,"2024-01-01")"#, "2024-01-08T00:00:00Z"),
        (r#"DateAdd("h",-1,"2024-01-01")"#, "2023-12-31T23:00:00Z"),
        (r#"DateAdd("n",90,"2024-01-01")"#, "2024-01-01T01:30:00Z"),
        (r#"DateAdd("s",1,"2024-01-01")"#, "2024-01-01T00:00:01Z"),
        (r#"DateAdd("yyyy",9000,[whenCreated])"#, "OutOfRange"),
        (r#"DateAdd("ww",9223372036854775807,[whenCreated])"#, "OutOfRange"),
        (r#"DateAdd("d",1,[co])"#, "Null"),
        (r#"DateAdd("w",1,[whenCreated])"#, "compile: at character 9: argument 1 of DateAdd is none of the words"),
    ];
    DateDiff: [
        (r#"DateDiff("d",CDate("2021-08-18"),CDate("2021-08-31"))"#, "13"),
        (r#"DateDiff("d","2024-01-02","2024-01-01T12:00:00")"#, "0"),
        (r#"DateDiff("yyyy","2023-12-31","2024-01-01")"#, "1"),
        (r#"DateDiff("m","2023-12-31","2024-02-01")"#, "2"),
        (r#"DateDiff("ww","2024-01-06","2024-01-07")"#, "1"),
        (r#"DateDiff("ww","2024-01-07","2024-01-13")"#, "0"),
        (r#"DateDiff("h","2024-01-01","2024-01-02")"#, "24"),
        (r#"DateDiff("n","2024-01-02","2024-01-01")"#, "-1440"),
        (r#"DateDiff("s",[whenCreated],"2024-02-01")"#, "1"),
        (r#"DateDiff("s",[co],"2024-02-01")"#, "Null"),
    ];
    DateFromNum: [
        ("DateFromNum(116444736000000000)", "1970-01-01T00:00:00Z"),
        ("DateFromNum(129699324000000000)", "2012-01-01T23:00:00Z"),
        ("DateFromNum(0)", "1601-01-01T00:00:00Z"),
        ("DateFromNum([pwdLastSet])", "2023-12-30T00:00:00Z"),
        ("DateFromNum([lastLogon])", "Null"),
        ("DateFromNum(BitOr([groupType],0))", "OutOfRange"),
        ("DateFromNum(9223372036854775807)", "compile: at character 1: DateFromNum fails for every object"),
    ];
    FormatDateTime: [
        (r#"FormatDateTime("20240131","yyyyMMdd","dd.MM.yyyy")"#, "\"31.01.2024\""),
        (r#"FormatDateTime("20240131", ,"yyyyMMdd","dd.MM.yyyy")"#, "\"31.01.2024\""),
        (r#"FormatDateTime(" 20240131 ",AllowWhiteSpaces,"yyyyMMdd","s")"#, "compile: at character 29: AllowWhiteSpaces means nothing here"),
        (r#"FormatDateTime(" 20240131 ","AllowWhiteSpaces","yyyyMMdd","s")"#, "\"2024-01-31T00:00:00\""),
        (r#"FormatDateTime(" 20240131 ","yyyyMMdd","s")"#, "compile: at character 1: FormatDateTime fails for every object"),
        (r#"FormatDateTime("20240131","Sometimes","yyyyMMdd","s")"#, "compile: at character 27: FormatDateTime: \"Sometimes\" is no DateTimeStyles"),
        (r#"FormatDateTime(DateFromNum([pwdLastSet]),"yyyyMMddHHmmss.0Z")"#, "\"20231230000000.0Z\""),
        (r#"FormatDateTime([whenCreated],"yyyy-MM-dd")"#, "\"2024-01-31\""),
        (r#"FormatDateTime([whenCreated], ,"yyyy-MM-dd")"#, "\"2024-01-31\""),
        (r#"FormatDateTime("2024-03-05T07:08:09.1200000Z","d/M/yy h:m:s tt fff FFF 'at' dddd ddd MMM MMMM zzz K")"#, "\"5/3/24 7:8:9 AM 120 12 at Tuesday Tue Mar March +00:00 Z\""),
        (r#"FormatDateTime("2024-03-05","hh:mm t gg \\d %d")"#, "\"12:00 A A.D. d 5\""),
        (r#"FormatDateTime("2024-03-05T00:00:00.5Z","o")"#, "\"2024-03-05T00:00:00.5000000Z\""),
        (r#"FormatDateTime("2024-03-05","s.FFF")"#, "\"0\""),
        (r#"FormatDateTime("5/3/99 1:02 PM","d/M/yy h:mm tt","yyyy-MM-dd HH:mm")"#, "\"1999-03-05 13:02\""),
        (r#"FormatDateTime("12:30 am 5 MAY 2024","hh:mm tt d MMM yyyy","s")"#, "\"2024-05-05T00:30:00\""),
        (r#"FormatDateTime("Mon, 05 Feb 2024","ddd, dd MMM yyyy","yyyyMMdd")"#, "\"20240205\""),
        (r#"FormatDateTime("Tue, 05 Feb 2024","ddd, dd MMM yyyy","yyyyMMdd")"#, "compile: at character 1: FormatDateTime fails"),
        (r#"FormatDateTime("2024-01-01 00:30 +01:00","yyyy-MM-dd HH:mm zzz","s")"#, "\"2023-12-31T23:30:00\""),
        (r#"FormatDateTime([c],"yyyyMMdd","s")"#, "NotADate"),
        (r#"FormatDateTime([co],"yyyyMMdd","s")"#, "Null"),
        (r#"FormatDateTime([c],"HH:mm","s")"#, "compile: at character 20: FormatDateTime: a date is read without its year"),
        (r#"FormatDateTime([c],"yyyy")"#, "NotADate"),
        (r#"FormatDateTime([pwdLastSet],"yyyy")"#, "compile: at character 16: FormatDateTime: a number is no date (hint: DateFromNum"),
        (r#"FormatDateTime([whenCreated],"x")"#, "compile: at character 30: FormatDateTime: 'x' is no standard format"),
        (r#"FormatDateTime([whenCreated],"yyyy'")"#, "compile: at character 30: FormatDateTime: the format has a ' that does not close"),
        (r#"FormatDateTime([whenCreated],"ffffffff")"#, "compile: at character 30: FormatDateTime: a second has at most seven digits"),
        ("FormatDateTime([whenCreated])", "compile: at character 16: FormatDateTime: the output format is missing"),
        ("FormatDateTime([whenCreated],[c])", "compile: at character 30: argument 2 of FormatDateTime must be a literal text"),
    ];
    IsDate: [(r#"IsDate("2024-01-31")"#, "True"), ("IsDate([whenCreated])", "True"), ("IsDate([c])", "False"), ("IsDate([co])", "False")];
    NumFromDate: [
        (r#"NumFromDate("2012-01-01T23:00:00Z")"#, "129699324000000000"),
        ("NumFromDate(DateFromNum([pwdLastSet]))", "133483680000000000"),
        (r#"NumFromDate(CDate("1600-01-01"))"#, "compile: at character 1: NumFromDate fails for every object"),
        ("NumFromDate([co])", "Null"),
    ];
    CGuid: [
        (r#"CGuid("03020100-0504-0706-0809-0a0b0c0d0e0f")"#, "[00, 01, 02, 03, 04, 05, 06, 07, 08, 09, 0A, 0B, 0C, 0D, 0E, 0F]"),
        (r#"StringFromGuid(CGuid("{03020100-0504-0706-0809-0A0B0C0D0E0F}"))"#, "\"03020100-0504-0706-0809-0a0b0c0d0e0f\""),
        ("CGuid([c])", "NotAGuid"),
        ("CGuid([co])", "Null"),
    ];
    ConvertFromBase64: [
        (r#"ConvertFromBase64("QUI=",UTF8)"#, "\"AB\""),
        (r#"ConvertFromBase64("QQBCAA==")"#, "\"AB\""),
        (r#"ConvertFromBase64("QQBCAA==","Unicode")"#, "\"AB\""),
        (r#"ConvertFromBase64("QUI=",ASCII)"#, "\"AB\""),
        ("ConvertFromBase64(Item([description],1))", "NotEncoded"),
        ("ConvertFromBase64([co])", "Null"),
        (r#"ConvertFromBase64("QUI=",Utf8)"#, "compile: at character 26: argument 2 of ConvertFromBase64 is none of the words that may stand here (hint: upper and lower case matter: write UTF8)"),
        ("ConvertFromBase64(ConvertToBase64([objectSid]),UTF8)", "\"\\u{1}\\u{1}\\0\\0\\0\\0\\0\\u{5}\\u{12}\\0\\0\\0\""),
        (r#"ConvertFromBase64("/w==",ASCII)"#, "compile: at character 1: ConvertFromBase64 fails for every object: a value is not text"),
    ];
    ConvertFromUTF8Hex: [
        (r#"ConvertFromUTF8Hex("48656C6C6F20776F726C6421")"#, "\"Hello world!\""),
        (r#"ConvertFromUTF8Hex("c3a4")"#, "\"ä\""),
        ("ConvertFromUTF8Hex([sAMAccountName])", "NotEncoded"),
        (r#"ConvertFromUTF8Hex("ff")"#, "compile: at character 1: ConvertFromUTF8Hex fails for every object: a value is not text"),
        ("ConvertFromUTF8Hex([co])", "Null"),
    ];
    ConvertToBase64: [
        (r#"ConvertToBase64("A")"#, "\"QQA=\""),
        ("ConvertToBase64([objectGUID])", "\"AAECAwQFBgcICQoLDA0ODw==\""),
        ("ConvertToBase64(IIF(IsPresent([mS-DS-ConsistencyGuid]),[mS-DS-ConsistencyGuid],[objectGUID]))", "\"AAECAwQFBgcICQoLDA0ODw==\""),
        ("ConvertToBase64([co])", "Null"),
    ];
    ConvertToUTF8Hex: [(r#"ConvertToUTF8Hex("Az")"#, "\"417A\""), (r#"ConvertToUTF8Hex("ä")"#, "\"C3A4\""), ("ConvertToUTF8Hex([co])", "Null")];
    IsGuid: [
        (r#"IsGuid("03020100-0504-0706-0809-0a0b0c0d0e0f")"#, "True"),
        (r#"IsGuid("{03020100-0504-0706-0809-0A0B0C0D0E0F}")"#, "True"),
        (r#"IsGuid("{03020100-0504-0706-0809-0A0B0C0D0E0F")"#, "False"),
        (r#"IsGuid("030201000504070608090A0B0C0D0E0F")"#, "False"),
        ("IsGuid([co])", "False"),
    ];
    StringFromGuid: [
        ("StringFromGuid([objectGUID])", "\"03020100-0504-0706-0809-0a0b0c0d0e0f\""),
        ("StringFromGuid([objectSid])", "NotAGuid"),
        ("StringFromGuid([mS-DS-ConsistencyGuid])", "Null"),
        ("StringFromGuid([c])", "compile: at character 16: argument 1 of StringFromGuid must be binary and is text"),
    ];
    StringFromSid: [("StringFromSid([objectSid])", "\"S-1-5-18\""), ("StringFromSid([objectGUID])", "NotASid"), ("StringFromSid([msExchMasterAccountSid])", "Null")];
    IsCert: [("IsCert(Item([userCertificate],1))", "True"), ("IsCert([objectGUID])", "False"), ("IsCert([co])", "False")];
    CertExtensionOids: [("CertExtensionOids(Item([userCertificate],1))", r#"{"2.5.29.17", "2.5.29.14"}"#)];
    CertFormat: [("CertFormat(Item([userCertificate],1))", "\"X509\""), ("CertFormat([objectGUID])", "NotACertificate")];
    CertIssuer: [("CertIssuer(Item([userCertificate],1))", r#""CN=Ann, O=\"Lab, Inc.\", C=DE""#)];
    CertIssuerDN: [("CertIssuerDN(Item([userCertificate],1))", r#""CN=Ann, O=\"Lab, Inc.\", C=DE""#)];
    CertKeyAlgorithm: [("CertKeyAlgorithm(Item([userCertificate],1))", "\"1.2.840.10045.2.1\"")];
    CertNameInfo: [
        ("CertNameInfo(Item([userCertificate],1),SimpleName)", "\"Ann\""),
        ("CertNameInfo(Item([userCertificate],1),EmailName)", "\"ann@lab.test\""),
        ("CertNameInfo(Item([userCertificate],1),DnsName)", "\"host.lab.test\""),
    ];
    CertNotAfter: [
        ("CertNotAfter(Item([userCertificate],1))", "2034-01-01T00:00:00Z"),
        (r#"Count(Where($item,[userCertificate],CertNotAfter($item)>CDate("2030-01-01")))"#, "1"),
        ("CertNotAfter(ItemOrNull([userCertificate],2))", "Null"),
    ];
    CertNotBefore: [("CertNotBefore(Item([userCertificate],1))", "2024-01-01T00:00:00Z")];
    CertPublicKeyOid: [("CertPublicKeyOid(Item([userCertificate],1))", "\"1.2.840.10045.2.1\"")];
    CertPublicKeyParametersOid: [("CertPublicKeyParametersOid(Item([userCertificate],1))", "\"1.2.840.10045.3.1.7\"")];
    CertSerialNumber: [("CertSerialNumber(Item([userCertificate],1))", "\"0ABC\"")];
    CertSignatureAlgorithmOid: [("CertSignatureAlgorithmOid(Item([userCertificate],1))", "\"1.2.840.10045.4.3.2\"")];
    CertSubject: [("CertSubject(Item([userCertificate],1))", r#""CN=Ann, O=\"Lab, Inc.\", C=DE""#)];
    CertSubjectNameDN: [("CertSubjectNameDN(Item([userCertificate],1))", r#""CN=Ann, O=\"Lab, Inc.\", C=DE""#)];
    CertVersion: [("CertVersion(Item([userCertificate],1))", "3")];
}
