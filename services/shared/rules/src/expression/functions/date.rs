//! Dates.

use jiff::{SignedDuration, Span, Timestamp};

use super::super::check::Arguments;
use super::super::dates::{self, Format};
use super::super::error::{CompileError, EvalErrorKind};
use super::super::evaluate::{Call, Evaluated};
use super::super::types::{Kind, Type};
use super::super::value::Value;
use super::{Definition, Prepared, Want, gives_boolean, gives_integer, gives_text, may, need};

const UNITS: Want = Want::Word(&["yyyy", "m", "d", "ww", "h", "n", "s"]);

pub(super) const ALL: [Definition; 7] = [
    Definition::new(
        "CDate(text)",
        "the date that a text is; UTC unless it states an offset",
        &[need(Want::Date)],
        gives_date,
        |call| Ok(call.date(0)?.map(Into::into)),
    ),
    Definition::new(
        "DateAdd(unit, number, date)",
        "the date so many years (yyyy), months (m), days (d), weeks (ww), hours (h), minutes (n) or seconds (s) later",
        &[need(UNITS), need(Want::Integer), need(Want::Date)],
        gives_date,
        |call| {
            let (Some(unit), Some(number), Some(date)) = (call.text(0)?, call.integer(1)?, call.date(2)?) else {
                return Ok(None);
            };
            let later = later(&unit, number, date).ok_or_else(|| call.fail(EvalErrorKind::OutOfRange))?;
            Ok(Some(later.into()))
        },
    ),
    Definition::new(
        "DateDiff(unit, date1, date2)",
        "how many units it is from the first date to the second: whole ones, but calendar years, months and weeks",
        &[need(UNITS), need(Want::Date), need(Want::Date)],
        gives_integer,
        |call| {
            let (Some(unit), Some(from), Some(to)) = (call.text(0)?, call.date(1)?, call.date(2)?) else {
                return Ok(None);
            };
            Ok(Some(difference(&unit, from, to).into()))
        },
    ),
    Definition::new(
        "DateFromNum(number)",
        "the date that is so many hundreds of nanoseconds after 1601, as the directory counts",
        &[need(Want::Integer)],
        gives_date,
        |call| {
            let Some(number) = call.integer(0)? else { return Ok(None) };
            let date = dates::from_filetime(number).ok_or_else(|| call.fail(EvalErrorKind::OutOfRange))?;
            Ok(Some(date.into()))
        },
    ),
    Definition::new(
        "FormatDateTime(source, [styles], [inputFormat], outputFormat)",
        "a date, or a text read by the one format, as text of the other; also (date, format) and (text, format, format)",
        &[need(Want::Text), may(Want::Literal), may(Want::Literal), may(Want::Literal)],
        gives_text,
        format,
    )
    .preparing(prepare_format),
    Definition::new(
        "IsDate(value)",
        "whether a value is a date or can be read as one; False for Null",
        &[need(Want::One)],
        gives_boolean,
        |call| Ok(Some(call.value(0)?.is_some_and(|value| value.to_date().is_ok()).into())),
    ),
    Definition::new(
        "NumFromDate(date)",
        "hundreds of nanoseconds from 1601 to the date, as the directory counts",
        &[need(Want::Date)],
        gives_integer,
        |call| {
            let Some(date) = call.date(0)? else { return Ok(None) };
            let number = dates::to_filetime(date).ok_or_else(|| call.fail(EvalErrorKind::OutOfRange))?;
            Ok(Some(number.into()))
        },
    ),
];

fn gives_date(_: &[Type]) -> Type {
    Type::single(Kind::Date)
}

/// A month's last days become the last day of a shorter month.
fn later(unit: &str, number: i64, date: Timestamp) -> Option<Timestamp> {
    let seconds = match unit {
        "yyyy" | "m" => {
            let months = if unit == "m" { number } else { number.checked_mul(12)? };
            let span = Span::new().try_months(months).ok()?;
            return dates::timestamp(dates::civil(date).checked_add(span).ok()?);
        }
        "ww" => 7 * 86_400,
        "d" => 86_400,
        "h" => 3_600,
        "n" => 60,
        _ => 1,
    };
    let later = date.checked_add(SignedDuration::from_secs(number.checked_mul(seconds)?)).ok()?;
    dates::timestamp(dates::civil(later))
}

/// Years and months by the calendar, weeks by their Sundays, everything shorter by the time between, as Visual Basic
/// counts.
fn difference(unit: &str, from: Timestamp, to: Timestamp) -> i64 {
    let (first, second) = (dates::civil(from), dates::civil(to));
    let years = i64::from(second.year()) - i64::from(first.year());
    let seconds = to.duration_since(from).as_secs();
    match unit {
        "yyyy" => years,
        "m" => 12 * years + i64::from(second.month()) - i64::from(first.month()),
        "ww" => (week(to) - week(from)) / 7,
        "d" => seconds / 86_400,
        "h" => seconds / 3_600,
        "n" => seconds / 60,
        _ => seconds,
    }
}

/// The number of the Sunday that begins the date's week, counted in days.
fn week(date: Timestamp) -> i64 {
    date.as_second().div_euclid(86_400) - i64::from(dates::civil(date).weekday().to_sunday_zero_offset())
}

/// What `FormatDateTime` made of its formats.
#[derive(Debug, Clone)]
pub(crate) struct Formats {
    /// `None` reads any of the known forms.
    input: Option<Format>,
    /// Whether white space around the text is allowed.
    trims: bool,
    output: Format,
}

/// The names of .NET's DateTimeStyles. Those that concern time zones change nothing: all times are UTC.
const STYLES: [&str; 10] = [
    "None",
    "AllowLeadingWhite",
    "AllowTrailingWhite",
    "AllowInnerWhite",
    "AllowWhiteSpaces",
    "NoCurrentDateDefault",
    "AdjustToUniversal",
    "AssumeLocal",
    "AssumeUniversal",
    "RoundtripKind",
];

fn prepare_format(arguments: &Arguments<'_>) -> Result<Prepared, CompileError> {
    let count = arguments.given.len();
    let output = arguments.text(count - 1).filter(|_| count > 1);
    let Some(output) = output else {
        return Err(arguments.wrong(0, "the output format is missing", "write FormatDateTime(date, \"yyyy-MM-dd\")"));
    };
    let input = if count > 2 { arguments.text(count - 2) } else { None };
    let styles = if count == 4 { arguments.text(1) } else { None };
    if let Some(style) = styles.into_iter().flat_map(|styles| styles.split(',')).find(|s| !STYLES.contains(&s.trim())) {
        let message = format!("{:?} is no DateTimeStyles", style.trim());
        return Err(arguments.wrong(1, message, format!("there are {}", STYLES.join(", "))));
    }
    if input.is_none() && arguments.get(0).is_some_and(|source| source.of.kind == Kind::Integer) {
        return Err(arguments.wrong(0, "a number is no date", "DateFromNum makes a date of a number"));
    }
    let hint = "formats are those of .NET: yyyy, MM, dd, HH, mm, ss";
    let compiled =
        |at: usize, result: Result<Format, String>| result.map_err(|message| arguments.wrong(at, message, hint));
    let input = input.map(|input| compiled(count - 2, Format::input(input))).transpose()?;
    let trims = input.is_none() || styles.is_some_and(|styles| styles.contains("White"));
    let output = compiled(count - 1, Format::output(output))?;
    Ok(Prepared::Formats(Box::new(Formats { input, trims, output })))
}

fn format<'a>(call: &Call<'_, 'a>) -> Evaluated<'a> {
    let (Some(source), Prepared::Formats(formats)) = (call.value(0)?.and_then(Value::first), call.prepared()) else {
        return Ok(None);
    };
    let date = match (source, &formats.input) {
        (Value::Date(date), _) => Some(date),
        (source, input) => {
            let text = source.into_text().map_err(|kind| call.fail(kind))?;
            let text = if formats.trims { text.trim() } else { &text };
            match input {
                Some(input) => input.read(text),
                None => dates::read_any(text),
            }
        }
    };
    let date = date.ok_or_else(|| call.fail(EvalErrorKind::NotADate))?;
    Ok(Some(formats.output.write(date).into()))
}
