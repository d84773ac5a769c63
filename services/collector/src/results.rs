//! What a controller's refusals mean: which cause they are, whether they pass by themselves, and what a person can do.
//! Pure.
//!
//! ```text
//!  result code                                what the collector does
//!  3, 11, 51, 52, 53                          backs off and asks again; the controller of the cursor is waited for, else the
//!                                             next one is asked
//!  1, 4, and what is not named here           the same, with a session of its own; told as something that needs a look
//!  10, 32                                     asks another controller: this one does not hold what is read
//!  50                                         asks again and concludes nothing from what it does not see
//!  7, 8, 48, 49 (sub-codes in the text)       knocks again only after `credentials_retry`, then twice as long each time
//! ```

use forestsync_schemas::changes::StopCause;

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) cause: StopCause,
    /// It may pass by itself so soon that nobody should be told at the first time.
    pub(crate) passing: bool,
    /// What a person can do.
    pub(crate) hint: &'static str,
}

const fn passing(cause: StopCause, hint: &'static str) -> Meaning {
    Meaning { cause, passing: true, hint }
}

const fn lasting(cause: StopCause, hint: &'static str) -> Meaning {
    Meaning { cause, passing: false, hint }
}

const BUSY: Meaning =
    passing(StopCause::Unreachable, "the controller is busy or going down; asked again by itself, then another one");

/// Result codes that say "not now" (busy, unavailable).
pub(crate) fn is_busy(code: u32) -> bool {
    matches!(code, 51 | 52)
}

/// Whether a refused bind is about the account, so that knocking again may lock it.
pub(crate) fn blames_the_account(code: u32) -> bool {
    matches!(code, 7 | 8 | 48 | 49)
}

/// A search was answered with `code`.
pub(crate) fn of_search(code: u32) -> Meaning {
    match code {
        1 => passing(
            StopCause::Protocol,
            "the controller had a fault of its own, or forgot the bind; asked again in a new session; look at its event log",
        ),
        3 => passing(
            StopCause::Unreachable,
            "the controller's time limit was reached (MaxQueryDuration); asked again by itself; lower its load or raise the limit",
        ),
        4 => passing(
            StopCause::Protocol,
            "the controller's size limit was reached although it was not asked for one; raise MaxPageSize in its query policy",
        ),
        8 | 49 => lasting(
            StopCause::Credentials,
            "the controller no longer accepts the session; check the account, then its policy for signing and channel binding",
        ),
        10 | 32 => lasting(
            StopCause::NamingContext,
            "the controller does not hold it and refers elsewhere; check `domains` and `controllers` against each other",
        ),
        11 => passing(
            StopCause::Unreachable,
            "a limit of the controller's query policy was reached; asked again by itself; raise the limit, or lower its load",
        ),
        50 => lasting(
            StopCause::Rights,
            "grant the account Replicating Directory Changes on the naming context, or set object_security = true",
        ),
        51 | 52 => BUSY,
        53 => passing(
            StopCause::Unreachable,
            "the controller is unwilling; asked again by itself; look at its limits, its restrictions on clients and its event log",
        ),
        _ => lasting(StopCause::Protocol, "the controller answers what cannot be used; report it with this message"),
    }
}

/// A bind was answered with `code` and `text`.
pub(crate) fn of_bind(code: u32, text: &str) -> Meaning {
    let hint = match code {
        7 | 48 => {
            "the controller does not take this kind of bind; use `kerberos`, or a name and a password that it takes"
        }
        8 => {
            "the controller wants a stronger bind inside TLS; use `kerberos`, and look at its policy for signing and channel binding"
        }
        49 => of_account(text),
        1 | 3 | 11 | 53 => {
            return passing(
                StopCause::Unreachable,
                "the controller does not take binds now; asked again by itself; look at its event log",
            );
        }
        51 | 52 => return BUSY,
        _ => {
            return lasting(
                StopCause::Protocol,
                "the controller answers the bind with what cannot be used; report it with this message",
            );
        }
    };
    lasting(StopCause::Credentials, hint)
}

/// The sub-code of invalidCredentials, a Windows error in hexadecimal digits after `data`.
fn sub_code(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("data ")?;
    u32::from_str_radix(rest.split(|c: char| !c.is_ascii_hexdigit()).next()?, 16).ok()
}

fn of_account(text: &str) -> &'static str {
    match sub_code(text) {
        Some(0x525) => "there is no such account; correct `bind`, then restart the collector",
        Some(0x52e) => "name or password is wrong; give the right ones and restart the collector",
        Some(0x52f) => "the account is restricted; lift its restrictions in the directory",
        Some(0x530) => "the account may not log on at this time; widen its logon hours; retried by itself",
        Some(0x531) => "the account may not log on from here; add this machine to its workstations, or lift the limit",
        Some(0x532) => {
            "the password is expired; set a new one, best one that does not expire, and restart the collector"
        }
        Some(0x533) => "the account is disabled; enable it; retried by itself",
        Some(0x701) => "the account is expired; move its end date; retried by itself",
        Some(0x773) => {
            "the account must change its password first; set one without that flag and restart the collector"
        }
        Some(0x775) => "the account is locked; unlock it and find out who sends wrong passwords; retried by itself",
        _ => "check the account's name, password, lock and expiry; after a new password restart the collector",
    }
}

/// The controller ended the connection with a notice (RFC 4511 4.4.1).
pub(crate) fn of_notice(code: u32) -> Meaning {
    match code {
        2 => lasting(StopCause::Protocol, "the controller cannot read what it was sent; report it with this message"),
        8 => passing(
            StopCause::Unreachable,
            "the session's security ended at the controller; a new session is made by itself; look at its policies if it goes on",
        ),
        52 => passing(StopCause::Unreachable, "the controller goes down; it is waited for, then another one is read"),
        _ => passing(
            StopCause::Unreachable,
            "the controller ended the connection; made again by itself; look at its limits",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_codes_of_a_refused_account_are_told_apart() {
        let text = |data: &str| {
            format!("80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, {data}, v1db1")
        };
        let mut hints = std::collections::HashSet::new();
        for data in ["525", "52e", "52f", "530", "531", "532", "533", "701", "773", "775", "999"] {
            let meaning = of_bind(49, &text(&format!("data {data}")));
            assert_eq!((meaning.cause, meaning.passing), (StopCause::Credentials, false), "{data}");
            assert!(hints.insert(meaning.hint), "{data} has a hint of its own");
        }
        assert_eq!(of_bind(49, "").hint, of_bind(49, "data zz").hint);
    }

    #[test]
    fn only_what_is_about_the_account_is_blamed_on_it() {
        for code in 0..=90 {
            let credentials = of_bind(code, "").cause == StopCause::Credentials;
            assert_eq!(credentials, blames_the_account(code), "{code}");
            assert!(!is_busy(code) || of_search(code).passing);
        }
    }
}
