//! Functions of texts.

use super::support::functions;

functions! {
    Append: [
        (r#"Append([sAMAccountName],"@lab.test")"#, "\"ann@lab.test\""),
        (r#"Append("x7","@lab.test")"#, "\"x7@lab.test\""),
        (r#"Append([co],"x")"#, "Null"),
        ("Append([c],[co])", "Null"),
        ("Append([c])", "compile: at character 1: Append takes 2 arguments, not 1"),
        ("Append([c],)", "compile: at character 1: argument 2 of Append is missing"),
        (r#"Append([objectGUID],"x")"#, "compile: at character 8: argument 1 of Append must be text and is binary"),
        (r#"Append([proxyAddresses],"x")"#, "compile: at character 8: argument 1 of Append may have several values"),
    ];
    CStr: [
        ("CStr(42)", "\"42\""),
        ("CStr([userAccountControl])", "\"514\""),
        ("CStr([msExchHideFromAddressLists])", "\"True\""),
        ("CStr(1=2)", "\"False\""),
        ("CStr([dn])", r#""CN=Ann\\, the first,OU=X,DC=lab,DC=test""#),
        ("CStr(DateFromNum([pwdLastSet]))", "\"2023-12-30T00:00:00Z\""),
        ("CStr([co])", "Null"),
        ("CStr([objectSid])", "compile: at character 6: argument 1 of CStr must be text and is binary"),
    ];
    LCase: [(r#"LCase("ÄBC İ")"#, "\"äbc İ\""), ("LCase([c])", "\"de\""), ("LCase([co])", "Null")];
    LTrim: [(r#"LTrim(" a ")"#, "\"a \""), ("LTrim([displayName])", "\"Ann  Müller \""), ("LTrim([co])", "Null")];
    NormalizeDiacritics: [
        (r#"NormalizeDiacritics("Müßig")"#, "\"Mussig\""),
        (r#"NormalizeDiacritics("ÄÖÜäöü")"#, "\"AOUaou\""),
        (r#"NormalizeDiacritics("æÆœøØ")"#, "\"aeAEoeoeOE\""),
        (r#"NormalizeDiacritics("Łukasz ı İ")"#, "\"Lukasz i I\""),
        (r#"NormalizeDiacritics("çéñőşţžŸ")"#, "\"cenostzY\""),
        ("NormalizeDiacritics(\"a\u{304}\u{301}b\")", "\"ab\""),
        ("NormalizeDiacritics(\"и\u{306}\")", "\"и\\u{306}\""),
        (r#"NormalizeDiacritics("日本 đ")"#, "\"日本 đ\""),
        ("NormalizeDiacritics([co])", "Null"),
    ];
    PCase: [
        (r#"PCase("pablo gonçalves (second shift)")"#, "\"Pablo Gonçalves (Second Shift)\""),
        (r#"PCase("TEsT")"#, "\"Test\""),
        (r#"PCase("IBM deutschland")"#, "\"IBM Deutschland\""),
        (r#"PCase("o'neil jean-luc 1st")"#, "\"O'neil Jean-Luc 1St\""),
        (r#"PCase("jean-luc PICARD","-")"#, "\"Jean-Luc picard\""),
        (r#"PCase("jean-luc PICARD"," -")"#, "\"Jean-Luc Picard\""),
        ("PCase([co])", "Null"),
    ];
    RTrim: [(r#"RTrim(" a ")"#, "\" a\""), ("RTrim([co])", "Null")];
    StripSpaces: [
        (r#"StripSpaces(" a b ")"#, "\"ab\""),
        ("StripSpaces(\"a\u{a0}b\tc\")", "\"a\\u{a0}b\\tc\""),
        ("StripSpaces([co])", "Null"),
    ];
    ToLower: [
        (r#"ToLower("ÀBC")"#, "\"àbc\""),
        (r#"ToLower("I")"#, "\"i\""),
        (r#"ToLower("İ")"#, "\"İ\""),
        (r#"ToLower("I","tr-TR")"#, "\"ı\""),
        (r#"ToLower("İ","az")"#, "\"i\""),
        (r#"ToLower("I","de-DE")"#, "\"i\""),
        (r#"ToLower("Ì","lt-LT")"#, "\"i\\u{307}\\u{300}\""),
        ("ToLower(\"J\u{301}\",\"lt\")", "\"j\\u{307}\\u{301}\""),
        (r#"ToLower("ΟΔΟΣ")"#, "\"οδοσ\""),
        (r#"ToLower([co],"tr-TR")"#, "Null"),
        (r#"ToLower("I","turkish!")"#, "compile: at character 13: ToLower: this is no culture"),
        ("ToLower(\"I\",[c])", "compile: at character 13: argument 2 of ToLower must be a literal text"),
        (r#"tolower("I")"#, "compile: at character 1: there is no function tolower (hint: upper and lower case matter: write ToLower)"),
    ];
    ToUpper: [
        (r#"ToUpper("àbc")"#, "\"ÀBC\""),
        (r#"ToUpper("straße")"#, "\"STRAßE\""),
        (r#"ToUpper("ı")"#, "\"ı\""),
        (r#"ToUpper("iı","tr")"#, "\"İI\""),
        ("ToUpper(\"i\u{307}\u{300}\",\"lt\")", "\"I\\u{300}\""),
        ("ToUpper([co])", "Null"),
    ];
    Trim: [
        ("Trim([displayName])", "\"Ann  Müller\""),
        ("Trim([otherMobile])", "{\"1\", \"2\", \"1\"}"),
        ("Trim(\"\u{3000}a\t\")", "\"a\""),
        (r#"Trim("  ")"#, "\"\""),
        ("Trim([title])", "\"\""),
        ("Trim([co])", "Null"),
    ];
    UCase: [(r#"UCase("äß")"#, "\"Äß\""), ("UCase([co])", "Null")];
    InStr: [
        (r#"InStr("a-b","-")"#, "2"),
        (r#"InStr("abc","z")"#, "0"),
        (r#"InStr("abcabc","b",3)"#, "5"),
        (r#"InStr("abc","a",9)"#, "0"),
        (r#"InStr("abc","",2)"#, "2"),
        (r#"InStr("ABC","b")"#, "0"),
        (r#"InStr("ABC","b",1,vbTextCompare)"#, "2"),
        (r#"InStr("ABC","b", ,vbTextCompare)"#, "2"),
        (r#"InStr("ABC","b",1,vbBinaryCompare)"#, "0"),
        (r#"InStr("😀x","x")"#, "3"),
        (r#"InStr([co],"x")"#, "Null"),
        (r#"InStr("a","a",0)"#, "compile: at character 15: InStr: positions are counted from 1"),
        (r#"InStr("a","a",BitAnd([groupType],0))"#, "OutOfRange"),
        (r#"InStr("a","a",1,vbtextcompare)"#, "compile: at character 17: argument 4 of InStr is none of the words that may stand here (hint: upper and lower case matter: write vbTextCompare)"),
    ];
    InStrRev: [
        (r#"InStrRev("abbcdbbbef","bb")"#, "7"),
        (r#"InStrRev("abcabc","c",5)"#, "3"),
        (r#"InStrRev("abcabc","C",6,vbTextCompare)"#, "6"),
        (r#"InStrRev("abc","z")"#, "0"),
        (r#"InStrRev([co],"z")"#, "Null"),
    ];
    Left: [
        (r#"Left("abc",2)"#, "\"ab\""),
        (r#"Left("abc",0)"#, "\"\""),
        (r#"Left("abc",-1)"#, "\"abc\""),
        (r#"Left("abc",9)"#, "\"abc\""),
        ("Left([co],2)", "\"\""),
        (r#"Left("a😀b",2)"#, "\"a\""),
        (r#"Left("a😀b",3)"#, "\"a😀\""),
        (r#"Left("äöü",2)"#, "\"äö\""),
        (r#"Left("abc","2")"#, "\"ab\""),
        (r#"Left("abc","two")"#, "compile: at character 12: argument 2 of Left must be a whole number"),
        ("Left([c],[adminCount])", "NotANumber"),
    ];
    Len: [(r#"Len("a😀")"#, "3"), ("Len([title])", "0"), ("Len([co])", "Null")];
    Mid: [
        (r#"Mid("abcd",2,2)"#, "\"bc\""),
        (r#"Mid("abcd",3,9)"#, "\"cd\""),
        (r#"Mid("abcd",9,1)"#, "\"\""),
        (r#"Mid("abcd",2,0)"#, "\"\""),
        (r#"Mid("😀bc",2,2)"#, "\"b\""),
        (r#"Mid("abcd",1,9223372036854775807)"#, "\"abcd\""),
        ("Mid([co],1,1)", "Null"),
        (r#"Mid("abcd",0,1)"#, "compile: at character 12: Mid: positions are counted from 1"),
        (r#"Mid("abcd",1,-1)"#, "compile: at character 14: Mid: the length is negative"),
        ("Mid([c],BitAnd([groupType],0),1)", "OutOfRange"),
        (r#"Mid("abcd",2)"#, "compile: at character 1: Mid takes 3 arguments, not 2"),
    ];
    PadLeft: [
        (r#"PadLeft("User",10,"0")"#, "\"000000User\""),
        (r#"PadLeft("User",2,"0")"#, "\"User\""),
        (r#"PadLeft([co],3,"0")"#, "\"\""),
        (r#"PadLeft("a",3,"ab")"#, "compile: at character 15: PadLeft: padding takes one character"),
        (r#"PadLeft([c],99999999,"0")"#, "TooLarge"),
        ("PadLeft([c],9,[title])", "OutOfRange"),
    ];
    PadRight: [(r#"PadRight("User",6,"0")"#, "\"User00\""), (r#"PadRight([co],3,"0")"#, "\"\"")];
    Right: [
        (r#"Right("abc",2)"#, "\"bc\""),
        (r#"Right("abc",0)"#, "\"\""),
        (r#"Right("abc",-1)"#, "\"abc\""),
        (r#"Right("abc",9)"#, "\"abc\""),
        (r#"Right("a😀",1)"#, "\"\""),
        ("Right([co],2)", "\"\""),
    ];
    Word: [
        (r#"Word("a b,c",3," ,")"#, "\"c\""),
        (r#"Word("a  b",2," ")"#, "\"b\""),
        (r#"Word(",a,",1,",")"#, "\"a\""),
        (r#"Word("a b",3," ")"#, "\"\""),
        (r#"Word("a b",0," ")"#, "\"\""),
        (r#"Word("a b",-1," ")"#, "\"\""),
        (r#"Word([co],1," ")"#, "\"\""),
        (r#"Word("ä–ö",2,"–")"#, "\"ö\""),
        (r#"Word("ab",1,"")"#, "\"ab\""),
    ];
    Replace: [
        (r#"Replace("ann@old.test", "@old.test", , ,"@new.test", , )"#, "\"ann@new.test\""),
        (r#"Replace("aXbX","X","-")"#, "\"a-b-\""),
        (r#"Replace([sAMAccountName],"%", , , , ,"<%|%>")"#, "\"<ann|ann>\""),
        (r#"Replace("ann@x.test", , "@.*$", ,"@y", , )"#, "\"ann@y\""),
        (r#"Replace("Müller, Ann", , "^(?<last>[^,]+), (?<first>.+)$", , "${first} ${last}", , )"#, "\"Ann Müller\""),
        (r#"Replace("ab", , "(a)(b)", , "$2$1$$$x", , )"#, "\"ba$$x\""),
        (r#"Replace("ab", , "(?<n>a)(b)", , "[$1${n}$&]", , )"#, "\"[baab]\""),
        (r#"Replace("ab", , "a", , "$1", , )"#, "compile: at character 24: Replace: the regular expression has no group 1"),
        (r#"Replace("x12y3", , "\\d", , "", , )"#, "\"xy\""),
        (r#"Replace("abc", , "x*", , "-", , )"#, "\"-a-b-c-\""),
        (r#"Replace("a@b.c", , "(?<Suffix>@(.)*)", "Suffix", "", , )"#, "\"a\""),
        (r#"Replace("a1b2", , "[a-z](?<d>\\d)", "d", "-", , )"#, "\"a-b-\""),
        (r#"Replace("ab", , "a(?<d>\\d)?b", "d", "-", , )"#, "\"ab\""),
        (r#"Replace("ab", , "b", "d", "-", , )"#, "compile: at character 22: Replace: the regular expression has no group d"),
        (r#"Replace([c], , "^(?<u>[^ ]+)", "u", , [cn], )"#, "\"DE\""),
        (r#"Replace([co], , "^(?<u>[^ ]+)", "u", , [cn], )"#, "\"Ann\""),
        (r#"Replace([title], , "^(?<u>[^ ]+)", "u", , [cn], )"#, "\"Ann\""),
        (r#"Replace([co], , "^(?<u>\\d+)", "u", , [cn], )"#, "Null"),
        (r#"Replace([c], , "D", , [sAMAccountName], , )"#, "\"annE\""),
        (r#"Replace([co], "a", , ,"b", , )"#, "Null"),
        (r#"Replace([c], , [c], , "x", , )"#, "compile: at character 16: Replace: the regular expression must be a literal text"),
        (r#"Replace([c], , "(", , "x", , )"#, "compile: at character 16: Replace: the regular expression is not usable: unclosed group"),
        (r#"Replace([c], , "(?=a)", , "x", , )"#, "compile: at character 16: Replace: the regular expression is not usable: look-around, including look-ahead and look-behind, is not supported (hint: match what lies around as well"),
        (r#"Replace([c], , "(a)\\1", , "x", , )"#, "compile: at character 16: Replace: the regular expression is not usable: backreferences are not supported (hint: a group cannot"),
        (r#"Replace([c], , "[a-z-[aeiou]]", , "x", , )"#, "compile: at character 16: Replace: there is a [ within brackets"),
        (r#"Replace([c], , "[a&&b]", , "x", , )"#, "compile: at character 16: Replace: there is && within brackets"),
        (r#"Replace([c], , "\\w{1000}{1000}", , "x", , )"#, "compile: at character 16: Replace: the regular expression is not usable"),
        (r#"Replace([c],"D", , , , , )"#, "compile: at character 9: Replace: these arguments together mean nothing"),
        (r#"Replace([c],"", , ,"x", , )"#, "compile: at character 13: Replace: the text to replace is empty"),
        (r#"Replace([c],"D","x","y")"#, "compile: at character 9: Replace: these arguments together mean nothing"),
    ];
    ReplaceChars: [
        (r#"ReplaceChars("Größe ’x’","ö:oe, ß:ss, ’:")"#, "\"Groesse x\""),
        (r#"ReplaceChars("abc","x:y")"#, "\"abc\""),
        (r#"ReplaceChars([co],"x:y")"#, "Null"),
        (r#"ReplaceChars("a","ab:c")"#, "compile: at character 18: ReplaceChars: the pattern is not of the form"),
        (r#"ReplaceChars("a","a")"#, "compile: at character 18: ReplaceChars: the pattern is not of the form"),
        (r#"ReplaceChars("a",[c])"#, "compile: at character 18: argument 2 of ReplaceChars must be a literal text"),
    ];
}
