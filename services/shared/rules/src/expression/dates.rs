//! Dates as texts: the custom format strings of .NET, and the forms that are known without one. Everything is UTC, and
//! month and day names are English, whatever the machine's language.

mod read;

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// In the order of `jiff`'s numbering from Monday.
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The forms in which a date is read where no format is given, most exact first.
pub(super) const KNOWN: [&str; 12] = [
    "yyyy-MM-ddTHH:mm:ss.FFFFFFFK",
    "yyyyMMddHHmmss.FFFFFFFK",
    "yyyy-MM-ddK",
    "yyyy-MM-ddTHH:mmK",
    "yyyy-MM-dd HH:mm:ss.FFFFFFFK",
    "yyyy-MM-dd HH:mmK",
    "yyyyMMdd",
    "M/d/yyyy",
    "M/d/yyyy H:mm",
    "M/d/yyyy H:mm:ss",
    "M/d/yyyy h:mm tt",
    "M/d/yyyy h:mm:ss tt",
];

static KNOWN_FORMATS: LazyLock<Vec<Format>> =
    LazyLock::new(|| KNOWN.iter().filter_map(|text| Format::input(text).ok()).collect());

/// Reads a date in any of the known forms, without regard to white space around it.
pub(super) fn read_any(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    KNOWN_FORMATS.iter().find_map(|format| format.read(text))
}

/// Seconds from 1601 to 1970.
const EPOCH_1601: i64 = 11_644_473_600;
/// Hundreds of nanoseconds in a second.
const TICKS: i64 = 10_000_000;

/// From hundreds of nanoseconds since 1601; `None` before that and after the year 9999.
pub(super) fn from_filetime(number: i64) -> Option<Timestamp> {
    if number < 0 {
        return None;
    }
    let nanoseconds = i32::try_from(number % TICKS * 100).ok()?;
    Timestamp::new(number / TICKS - EPOCH_1601, nanoseconds).ok()
}

/// To hundreds of nanoseconds since 1601; `None` before that.
pub(super) fn to_filetime(date: Timestamp) -> Option<i64> {
    let whole = (date.as_second() + EPOCH_1601).checked_mul(TICKS)?;
    Some(whole + i64::from(date.subsec_nanosecond() / 100)).filter(|number| *number >= 0)
}

/// Year, month, day and time of day in UTC.
pub(super) fn civil(date: Timestamp) -> DateTime {
    TimeZone::UTC.to_datetime(date)
}

/// The point in time of a year, month, day and time of day in UTC; `None` outside of the years 1 to 9999.
pub(super) fn timestamp(civil: DateTime) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(civil).ok().filter(|_| civil.year() >= 1)
}

/// A part of a format; the number is how often its letter is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Literal(char),
    Year(usize),
    Month(usize),
    Day(usize),
    Hour(usize),
    HalfDayHour(usize),
    Minute(usize),
    Second(usize),
    /// Exactly so many digits of the second.
    Fraction(usize),
    /// At most so many digits without zeros at the end, and the point before them.
    ShortFraction {
        digits: usize,
        point: bool,
    },
    HalfDay(usize),
    Era,
    Offset(usize),
    /// `Z`, an offset, or nothing.
    Zone,
}

/// A compiled format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format(Vec<Part>);

impl Format {
    /// Compiles the format of a text to be written, or says what is wrong with it.
    pub(crate) fn output(format: &str) -> Result<Self, String> {
        let mut letters = format.chars();
        let (Some(first), second) = (letters.next(), letters.next()) else { return Err("the format is empty".into()) };
        if second.is_some() {
            return custom(format);
        }
        match standard(first) {
            Some(meaning) => custom(meaning),
            None => Err(format!("{first:?} is no standard format; write %{first} for the one part")),
        }
    }

    /// Compiles the format of a text to be read: it must state the year, because what is not stated would otherwise be
    /// taken from the day of the evaluation.
    pub(crate) fn input(format: &str) -> Result<Self, String> {
        let format = Self::output(format)?;
        if format.0.iter().any(|part| matches!(part, Part::Year(_))) {
            return Ok(format);
        }
        Err("a date is read without its year, which would be the current one: not deterministic".into())
    }

    /// Writes a date.
    pub(crate) fn write(&self, date: Timestamp) -> String {
        let civil = civil(date);
        let mut text = String::with_capacity(24);
        for part in &self.0 {
            write(&mut text, *part, civil);
        }
        text
    }

    /// Reads a date; `None` if the text is not of exactly this form or there is no such day.
    pub(crate) fn read(&self, text: &str) -> Option<Timestamp> {
        read::read(&self.0, text)
    }
}

/// What the formats of one letter mean, in the invariant culture.
fn standard(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "MM/dd/yyyy",
        'D' => "dddd, dd MMMM yyyy",
        'f' => "dddd, dd MMMM yyyy HH:mm",
        'F' | 'U' => "dddd, dd MMMM yyyy HH:mm:ss",
        'g' => "MM/dd/yyyy HH:mm",
        'G' => "MM/dd/yyyy HH:mm:ss",
        'm' | 'M' => "MMMM dd",
        'o' | 'O' => "yyyy-MM-ddTHH:mm:ss.fffffffK",
        'r' | 'R' => "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
        's' => "yyyy-MM-ddTHH:mm:ss",
        't' => "HH:mm",
        'T' => "HH:mm:ss",
        'u' => "yyyy-MM-dd HH:mm:ss'Z'",
        'y' | 'Y' => "yyyy MMMM",
        _ => return None,
    })
}

fn custom(format: &str) -> Result<Format, String> {
    let mut parts = Vec::new();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => parts.push(Part::Literal(letters.next().ok_or("the format ends with \\")?)),
            '\'' | '"' => quoted(letter, &mut letters, &mut parts)?,
            '%' => {
                if matches!(letters.peek(), None | Some('%')) {
                    return Err("% stands before one part of a format".into());
                }
            }
            _ => {
                let mut count = 1;
                while is_letter(letter) && letters.next_if_eq(&letter).is_some() {
                    count += 1;
                }
                let part = part(letter, count)?;
                match (parts.last_mut(), part) {
                    (Some(last @ Part::Literal('.')), Part::ShortFraction { digits, .. }) => {
                        *last = Part::ShortFraction { digits, point: true };
                    }
                    _ => parts.push(part),
                }
            }
        }
    }
    Ok(Format(parts))
}

fn quoted(quote: char, letters: &mut Peekable<Chars<'_>>, parts: &mut Vec<Part>) -> Result<(), String> {
    loop {
        match letters.next() {
            None => return Err(format!("the format has a {quote} that does not close")),
            Some(letter) if letter == quote => return Ok(()),
            Some(letter) => parts.push(Part::Literal(letter)),
        }
    }
}

fn is_letter(letter: char) -> bool {
    "dfFghHKmMstyz".contains(letter)
}

fn part(letter: char, count: usize) -> Result<Part, String> {
    Ok(match letter {
        'd' => Part::Day(count.min(4)),
        'f' | 'F' if count > 7 => return Err("a second has at most seven digits behind the point".into()),
        'f' => Part::Fraction(count),
        'F' => Part::ShortFraction { digits: count, point: false },
        'g' => Part::Era,
        'h' => Part::HalfDayHour(count.min(2)),
        'H' => Part::Hour(count.min(2)),
        'K' => Part::Zone,
        'm' => Part::Minute(count.min(2)),
        'M' => Part::Month(count.min(4)),
        's' => Part::Second(count.min(2)),
        't' => Part::HalfDay(count.min(2)),
        'y' if count > 9 => return Err("a year has at most nine digits".into()),
        'y' => Part::Year(count),
        'z' => Part::Offset(count.min(3)),
        other => Part::Literal(other),
    })
}

fn write(text: &mut String, part: Part, civil: DateTime) {
    let day = usize::try_from(civil.weekday().to_monday_zero_offset()).unwrap_or(0);
    let day_name = DAYS.get(day).copied().unwrap_or_default();
    let month = usize::try_from(civil.month()).unwrap_or(1);
    let month_name = MONTHS.get(month - 1).copied().unwrap_or_default();
    let short = |name: &str| name.chars().take(3).collect::<String>();
    let half_day = if civil.hour() < 12 { "AM" } else { "PM" };
    let ticks = civil.subsec_nanosecond() / 100;
    let _infallible = match part {
        Part::Literal(letter) => text.write_char(letter),
        Part::Year(count @ 1..=2) => write!(text, "{:0count$}", civil.year() % 100),
        Part::Year(count) => write!(text, "{:0count$}", civil.year()),
        Part::Month(count @ 1..=2) => write!(text, "{month:0count$}"),
        Part::Month(3) => text.write_str(&short(month_name)),
        Part::Month(_) => text.write_str(month_name),
        Part::Day(count @ 1..=2) => write!(text, "{:0count$}", civil.day()),
        Part::Day(3) => text.write_str(&short(day_name)),
        Part::Day(_) => text.write_str(day_name),
        Part::Hour(count) => write!(text, "{:0count$}", civil.hour()),
        Part::HalfDayHour(count) => write!(text, "{:0count$}", (civil.hour() + 11) % 12 + 1),
        Part::Minute(count) => write!(text, "{:0count$}", civil.minute()),
        Part::Second(count) => write!(text, "{:0count$}", civil.second()),
        Part::Fraction(digits) => text.write_str(&fraction(ticks, digits)),
        Part::ShortFraction { digits, point } => {
            let digits = fraction(ticks, digits);
            let digits = digits.trim_end_matches('0');
            let point = if point && !digits.is_empty() { "." } else { "" };
            write!(text, "{point}{digits}")
        }
        Part::HalfDay(count) => text.write_str(if count == 1 { half_day.trim_end_matches('M') } else { half_day }),
        Part::Era => text.write_str("A.D."),
        Part::Offset(1) => text.write_str("+0"),
        Part::Offset(2) => text.write_str("+00"),
        Part::Offset(_) => text.write_str("+00:00"),
        Part::Zone => text.write_char('Z'),
    };
}

/// The first digits of a second's seven.
fn fraction(ticks: i32, digits: usize) -> String {
    format!("{ticks:07}").chars().take(digits).collect()
}
