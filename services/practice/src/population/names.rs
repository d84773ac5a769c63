//! Words that populations are made of, and names made of them.

pub(super) const GIVEN: &[&str] = &[
    "Anna",
    "Bert",
    "Carla",
    "Derya",
    "Emil",
    "Fatma",
    "Göran",
    "Hélène",
    "Igor",
    "Jörg",
    "Katarzyna",
    "Luís",
    "Maria",
    "Noah",
    "Olga",
    "Pär",
    "Quentin",
    "Rosa",
    "Søren",
    "Théa",
    "Uwe",
    "Vera",
    "Wei",
    "Ximena",
    "Yusuf",
    "Zoë",
    "Aiko",
    "Björn",
    "Chloé",
    "Dmitri",
    "Eleni",
    "François",
    "Grace",
    "Hiroshi",
    "Inês",
    "Jan",
    "Kofi",
    "Léa",
];

pub(super) const SURNAMES: &[&str] = &[
    "Müller",
    "Nowak",
    "García",
    "Rossi",
    "Jensen",
    "Øster",
    "O'Brien",
    "van der Berg",
    "Strauß",
    "Yılmaz",
    "Kowalczyk",
    "Fernández",
    "Dubois",
    "Novák",
    "Petrov",
    "Tanaka",
    "Okafor",
    "Silva",
    "Lindström",
    "Ångström",
    "Papadopoulos",
    "Schmidt-Rottluff",
    "Håkansson",
    "MacDonald",
    "Nguyen",
    "Kim",
    "Ćosić",
    "Łukasik",
    "Weiß",
    "D'Angelo",
];

pub(super) const UNITS: &[&str] = &[
    "AT&T Ltd",
    "R&D; Dept",
    "Sales, North",
    "Vertrieb Süd",
    "Finance + Controlling",
    "Legal \"Special\"",
    "#1 Support",
    "משאבי אנוש",
    "営業部",
    "Émigrés",
    "Research <New>",
    "A=B Testing",
    "Back\\Office",
    "🌲 Forestry",
    "Operations",
    "Quality",
    "Logistics",
    "Board",
    "Interns",
    "Facilities",
];

pub(super) const DEPARTMENTS: &[&str] = &[
    "R&D; Dept",
    "Sales",
    "Finance",
    "Legal",
    "Human Resources",
    "Information Technology",
    "Marketing",
    "Operations",
    "Logistics",
    "Customer Support",
    "Quality Assurance",
    "Procurement",
];

pub(super) const COMPANIES: &[&str] = &[
    "AT&T Ltd",
    "Example \"Holding\" GmbH",
    "Fjord & Sønner A/S",
    "Contoso, Inc.",
    "株式会社見本",
    "Société d'Exemple",
];

pub(super) const TITLES: &[&str] = &[
    "Engineer",
    "Senior Engineer",
    "Head of Department",
    "Assistant",
    "Analyst",
    "Accountant",
    "Director",
    "Clerk",
    "Vice President",
    "Trainee",
    "Consultant",
    "Geschäftsführer",
];

pub(super) const LANGUAGES: &[&str] = &["de-DE", "en-GB", "en-US", "fr-FR", "ja-JP", "he-IL", "pl-PL"];

/// City, state, country, ISO 3166 code.
pub(super) const CITIES: &[(&str, &str, &str, &str)] = &[
    ("Berlin", "Berlin", "Germany", "DE"),
    ("München", "Bayern", "Germany", "DE"),
    ("Paris", "Île-de-France", "France", "FR"),
    ("Kraków", "Małopolskie", "Poland", "PL"),
    ("London", "England", "United Kingdom", "GB"),
    ("Tel Aviv", "Tel Aviv", "Israel", "IL"),
    ("東京", "東京都", "Japan", "JP"),
    ("New York", "NY", "United States", "US"),
    ("São Paulo", "SP", "Brazil", "BR"),
    ("København", "Hovedstaden", "Denmark", "DK"),
];

/// The element of that number, if there is one.
pub(super) fn pick<T: Copy>(list: &[T], number: usize) -> Option<T> {
    list.get(number.checked_rem(list.len())?).copied()
}

pub(super) fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

pub(super) fn unit_name(i: usize) -> String {
    let name = pick(UNITS, i).unwrap_or("Unit");
    if i < UNITS.len() { name.to_owned() } else { format!("{name} {i}") }
}

pub(super) fn group_name(i: usize) -> String {
    let name = pick(UNITS, i + 3).unwrap_or("Group");
    if i % 10 == 9 { truncated(&format!("{i} {}", "Long Group Name ".repeat(8))) } else { format!("{name} team {i}") }
}

/// At most 64 characters, the most that a common name may have, none of them a space at the end.
pub(super) fn truncated(name: &str) -> String {
    let cut: String = name.chars().take(64).collect();
    let ends_with_space = cut.ends_with(' ');
    if ends_with_space { cut.chars().take(63).chain(['x']).collect() } else { cut }
}

/// Lower-case ASCII letters of a name, for addresses.
pub(super) fn plain(name: &str) -> String {
    let letters: String = name
        .chars()
        .map(|c| match c {
            'ä' | 'á' | 'à' | 'å' | 'ã' => 'a',
            'é' | 'è' | 'ê' | 'ë' => 'e',
            'í' | 'ı' | 'î' => 'i',
            'ö' | 'ó' | 'ø' | 'ô' => 'o',
            'ü' | 'ú' => 'u',
            'ñ' | 'ń' => 'n',
            'ł' => 'l',
            'ç' | 'ć' => 'c',
            'ß' | 'ş' | 'š' => 's',
            'ž' => 'z',
            c => c,
        })
        .filter(char::is_ascii_alphabetic)
        .collect();
    if letters.is_empty() { "x".into() } else { letters.to_ascii_lowercase() }
}
