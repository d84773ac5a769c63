//! One answer of Graph, alone or inside a batch, and what it means.

use std::time::Duration;

use forestsync_runtime::clock;
use serde_json::Value;

use crate::target::{Done, Failure, FailureKind};

/// An answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub status: u16,
    pub request_id: Option<String>,
    pub retry_after: Option<Duration>,
    /// Null if there is none or it is not JSON.
    pub body: Value,
}

impl Answer {
    /// Reads the headers through `header`, which knows names without regard to case.
    pub(super) fn new<'a>(status: u16, header: impl Fn(&str) -> Option<&'a str>, body: Value) -> Self {
        let inner = body.pointer("/error/innerError/request-id").and_then(Value::as_str);
        let request_id = header("request-id").or(inner).map(str::to_owned);
        Self { status, request_id, retry_after: header("Retry-After").and_then(retry_after), body }
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// As a write that took effect.
    pub(super) fn done(&self) -> Done {
        let id = self.body.get("id").and_then(Value::as_str).map(str::to_owned);
        Done { status: self.status, request_id: self.request_id.clone(), id }
    }

    /// As a failure: by status, `error.code` and `details` (graph.md section 1), never by message.
    pub(super) fn failure(&self) -> Failure {
        let error = self.body.get("error");
        let code = error.and_then(|e| e.get("code")).and_then(Value::as_str).unwrap_or_default();
        let details = error.and_then(|e| e.get("details")).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let target_of = |wanted: &str| {
            let detail = details.iter().find(|d| text(d, "code").eq_ignore_ascii_case(wanted))?;
            Some(text(detail, "target").to_owned()).filter(|t| !t.is_empty())
        };
        let conflict = details.iter().any(|d| {
            let code = text(d, "code");
            code.eq_ignore_ascii_case("ObjectConflict") || code.eq_ignore_ascii_case("ConflictingObjects")
        });
        let is = |wanted: &str| code.eq_ignore_ascii_case(wanted);
        let kind = match self.status {
            429 => FailureKind::Throttled,
            401 => FailureKind::Unauthorized,
            404 => FailureKind::NotFound,
            403 if is("Directory_QuotaExceeded") => FailureKind::Invalid,
            403 => FailureKind::Denied,
            _ if is("Request_ThrottledTemporarily") => FailureKind::Throttled,
            _ if is("Directory_ConcurrencyViolation") => FailureKind::Busy,
            _ if is("Request_MultipleObjectsWithSameKeyValue") => FailureKind::Conflict,
            408 | 500..=599 => FailureKind::Uncertain,
            409 | 423 | 425 => FailureKind::Busy,
            _ if conflict => FailureKind::Conflict,
            _ => FailureKind::Invalid,
        };
        Failure {
            kind,
            status: Some(self.status),
            code: if code.is_empty() { format!("http_{}", self.status) } else { code.to_owned() },
            attribute: target_of("ObjectConflict")
                .or_else(|| target_of("InvalidValue"))
                .or_else(|| target_of("PropertyConflict")),
            other: target_of("ConflictingObjects"),
            retry_after: self.retry_after,
            request_id: self.request_id.clone(),
        }
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The longest wait that is believed, so that no sum of times overflows: ten years.
const LONGEST_WAIT: Duration = Duration::from_hours(10 * 365 * 24);

/// `Retry-After`: whole seconds, seconds with a fraction, or an HTTP date. Never shortened below [`LONGEST_WAIT`].
pub(super) fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return (seconds >= 0.0)
            .then(|| Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let wait: Duration = at.duration_since(clock::now()).try_into().unwrap_or_default();
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn failure(status: u16, code: &str, details: &Value) -> Failure {
        let body = json!({"error": {"code": code, "message": "x", "details": details}});
        Answer::new(status, |_| None, body).failure()
    }

    #[test]
    fn every_form_of_retry_after() {
        assert_eq!(retry_after("17"), Some(Duration::from_secs(17)));
        assert_eq!(retry_after("2.128"), Some(Duration::from_millis(2_128)));
        assert_eq!(retry_after("604800"), Some(Duration::from_hours(7 * 24)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let ahead = clock::now() + jiff::SignedDuration::from_secs(90);
        let printed = ahead.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let waits = retry_after(&printed).unwrap();
        assert!((85..=90).contains(&waits.as_secs()), "{printed}: {waits:?}");
        for absurd in ["1e18", "99999999999999999999999", "inf", "31 Dec 9998 23:59:59 GMT"] {
            let waits = retry_after(absurd).unwrap();
            assert_eq!(waits, LONGEST_WAIT, "{absurd}");
            assert!(tokio::time::Instant::now().checked_add(waits).is_some());
        }
        for nonsense in ["", "soon", "-3", "NaN"] {
            assert_eq!(retry_after(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn decides_by_status_code_and_details() {
        let none = json!([]);
        let conflict = json!([
            {"code": "ObjectConflict", "target": "userPrincipalName"},
            {"code": "ConflictingObjects", "target": "User_1"},
        ]);
        let found = failure(400, "Request_BadRequest", &conflict);
        assert_eq!(found.kind, FailureKind::Conflict);
        assert_eq!((found.attribute.as_deref(), found.other.as_deref()), (Some("userPrincipalName"), Some("User_1")));
        let invalid = failure(400, "Request_BadRequest", &json!([{"code": "invalidvalue", "target": "mailNickname"}]));
        assert_eq!((invalid.kind, invalid.attribute.as_deref()), (FailureKind::Invalid, Some("mailNickname")));
        for (status, code, kind) in [
            (400, "Request_BadRequest", FailureKind::Invalid),
            (400, "Directory_ConcurrencyViolation", FailureKind::Busy),
            (401, "InvalidAuthenticationToken", FailureKind::Unauthorized),
            (403, "Authorization_RequestDenied", FailureKind::Denied),
            (403, "Directory_QuotaExceeded", FailureKind::Invalid),
            (404, "Request_ResourceNotFound", FailureKind::NotFound),
            (409, "Request_MultipleObjectsWithSameKeyValue", FailureKind::Conflict),
            (409, "", FailureKind::Busy),
            (429, "TooManyRequests", FailureKind::Throttled),
            (500, "Service_InternalServerError", FailureKind::Uncertain),
            (503, "", FailureKind::Uncertain),
            (504, "", FailureKind::Uncertain),
        ] {
            assert_eq!(failure(status, code, &none).kind, kind, "{status} {code}");
        }
        assert_eq!(failure(503, "", &none).code, "http_503");
    }
}
