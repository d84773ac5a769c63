//! Mail addresses, as the default flow needs them.

use std::borrow::Cow;

use crate::flow::nickname;

use super::super::evaluate::{Call, Stop};
use super::super::value::Value;
use super::{Definition, Want, gives_text, gives_texts, may, need};

pub(super) const ALL: [Definition; 4] = [
    Definition::new(
        "AddressPrefix(address)",
        "what stands before the first @, or all if there is none",
        &[need(Want::Text)],
        gives_text,
        |call| {
            Ok(call.text(0)?.map(|address| match address {
                Cow::Borrowed(address) => Value::Text(Cow::Borrowed(nickname::prefix(address))),
                Cow::Owned(address) => nickname::prefix(&address).to_owned().into(),
            }))
        },
    ),
    Definition::new(
        "MailNickname(candidate1, candidate2, ...)",
        "the first candidate of which something is left without what Graph refuses in a mailNickname; at most 64 long",
        &[need(Want::Text), may(Want::Text)],
        gives_text,
        |call| {
            for index in 0..call.count() {
                let found = call.text(index)?.map(|candidate| nickname::sanitised(&candidate));
                if let Some(found) = found.filter(|found| !found.is_empty()) {
                    return Ok(Some(found.into()));
                }
            }
            Ok(None)
        },
    )
    .repeating(1),
    Definition::new(
        "PrimarySmtp(addresses)",
        "the address behind SMTP:, or Null",
        &[need(Want::List)],
        gives_text,
        |call| Ok(behind(call, "SMTP:")?.into_iter().next()),
    ),
    Definition::new(
        "SecondarySmtp(addresses)",
        "the addresses behind smtp:, in their order",
        &[need(Want::List)],
        gives_texts,
        |call| Ok(Call::from_list(behind(call, "smtp:")?)),
    ),
];

fn behind<'a>(call: &Call<'_, 'a>, prefix: &str) -> Result<Vec<Value<'a>>, Stop> {
    let mut found = Vec::new();
    for value in call.list(0)? {
        let address = match value.into_text().map_err(|kind| call.fail(kind))? {
            Cow::Borrowed(address) => address.strip_prefix(prefix).map(Cow::Borrowed),
            Cow::Owned(address) => address.strip_prefix(prefix).map(|address| Cow::Owned(address.to_owned())),
        };
        found.extend(address.filter(|address| !address.is_empty()).map(Value::Text));
    }
    Ok(found)
}
