//! Reads a text by a format.

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};

use super::{DAYS, MONTHS, Part, timestamp};

/// Years of two digits up to this one are of this century, the others of the last.
const PIVOT: i64 = 49;

/// What has been read so far.
#[derive(Default)]
struct Fields {
    year: i64,
    month: Option<i64>,
    day: Option<i64>,
    weekday: Option<usize>,
    hour: i64,
    half_day_hour: Option<i64>,
    is_afternoon: Option<bool>,
    minute: i64,
    second: i64,
    nanosecond: i64,
    offset_minutes: i64,
}

struct Reader<'t> {
    rest: &'t str,
}

pub(super) fn read(parts: &[Part], text: &str) -> Option<Timestamp> {
    let mut reader = Reader { rest: text };
    let mut fields = Fields::default();
    for part in parts {
        reader.part(*part, &mut fields)?;
    }
    if reader.rest.is_empty() { fields.date() } else { None }
}

impl Reader<'_> {
    fn take(&mut self, literal: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(literal)?;
        Some(())
    }

    /// A number of `least` to `most` digits, and how many it has.
    fn digits(&mut self, least: usize, most: usize) -> Option<(i64, usize)> {
        let count = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if count < least {
            return None;
        }
        let (digits, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some((if count == 0 { 0 } else { digits.parse().ok()? }, count))
    }

    /// One or two digits, or exactly two.
    fn number(&mut self, letters: usize) -> Option<i64> {
        self.digits(letters.min(2), 2).map(|(number, _)| number)
    }

    /// The index of a name, in full or by its first three letters, in any case.
    fn name(&mut self, names: &[&str], is_short: bool) -> Option<usize> {
        for (index, name) in names.iter().enumerate() {
            let name = if is_short { name.get(..3)? } else { name };
            if let Some((start, rest)) = self.rest.split_at_checked(name.len())
                && start.eq_ignore_ascii_case(name)
            {
                self.rest = rest;
                return Some(index);
            }
        }
        None
    }

    fn part(&mut self, part: Part, fields: &mut Fields) -> Option<()> {
        match part {
            Part::Literal(letter) => self.take(letter)?,
            Part::Year(count @ 1..=2) => {
                let year = self.number(count)?;
                fields.year = year + if year <= PIVOT { 2000 } else { 1900 };
            }
            Part::Year(count) => fields.year = self.digits(count, count.max(4))?.0,
            Part::Month(count @ 1..=2) => fields.month = Some(self.number(count)?),
            Part::Month(count) => fields.month = i64::try_from(self.name(&MONTHS, count == 3)? + 1).ok(),
            Part::Day(count @ 1..=2) => fields.day = Some(self.number(count)?),
            Part::Day(count) => fields.weekday = Some(self.name(&DAYS, count == 3)?),
            Part::Hour(count) => fields.hour = self.number(count)?,
            Part::HalfDayHour(count) => fields.half_day_hour = Some(self.number(count)?),
            Part::Minute(count) => fields.minute = self.number(count)?,
            Part::Second(count) => fields.second = self.number(count)?,
            Part::Fraction(digits) => fields.nanosecond = self.fraction(digits, digits)?,
            Part::ShortFraction { digits, point: false } => fields.nanosecond = self.fraction(0, digits)?,
            Part::ShortFraction { digits, point: true } => {
                if self.take('.').is_some() {
                    fields.nanosecond = self.fraction(1, digits)?;
                }
            }
            Part::HalfDay(1) => fields.is_afternoon = Some(self.name(&["A", "P"], false)? == 1),
            Part::HalfDay(_) => fields.is_afternoon = Some(self.name(&["AM", "PM"], false)? == 1),
            Part::Era => drop(self.name(&["A.D.", "AD"], false)?),
            Part::Offset(count) => fields.offset_minutes = self.offset(count)?,
            Part::Zone => {
                if self.take('Z').is_none() && self.rest.starts_with(['+', '-']) {
                    fields.offset_minutes = self.offset(4)?;
                }
            }
        }
        Some(())
    }

    fn fraction(&mut self, least: usize, most: usize) -> Option<i64> {
        let (number, count) = self.digits(least, most)?;
        let missing = u32::try_from(9usize.checked_sub(count)?).ok()?;
        number.checked_mul(10i64.checked_pow(missing)?)
    }

    /// Hours, and minutes if there are three letters; four stand for `K`, which takes every form of an offset.
    fn offset(&mut self, letters: usize) -> Option<i64> {
        let sign = if self.take('-').is_some() { -1 } else { self.take('+').map(|()| 1)? };
        let hours = self.number(letters.min(2))?;
        let has_minutes = match letters {
            3 => self.take(':').is_some(),
            4 => self.take(':').is_some() || self.rest.starts_with(|c: char| c.is_ascii_digit()),
            _ => false,
        };
        if letters == 3 && !has_minutes {
            return None;
        }
        let minutes = if has_minutes { self.number(2)? } else { 0 };
        (hours <= 14 && minutes < 60).then_some(sign * (60 * hours + minutes))
    }
}

impl Fields {
    fn date(self) -> Option<Timestamp> {
        let hour = match (self.half_day_hour, self.is_afternoon) {
            (Some(hour @ 1..=12), afternoon) => hour % 12 + if afternoon == Some(true) { 12 } else { 0 },
            (Some(_), _) => return None,
            (None, Some(afternoon)) if afternoon != (self.hour >= 12) => return None,
            (None, _) => self.hour,
        };
        let small = |number: i64| i8::try_from(number).ok();
        let civil = DateTime::new(
            i16::try_from(self.year).ok()?,
            small(self.month.unwrap_or(1))?,
            small(self.day.unwrap_or(1))?,
            small(hour)?,
            small(self.minute)?,
            small(self.second)?,
            i32::try_from(self.nanosecond).ok()?,
        );
        let civil = civil.ok()?;
        let weekday = usize::try_from(civil.weekday().to_monday_zero_offset()).ok();
        if self.weekday.is_some() && self.weekday != weekday {
            return None;
        }
        let date = timestamp(civil)?.checked_sub(SignedDuration::from_mins(self.offset_minutes)).ok()?;
        timestamp(super::civil(date))
    }
}
