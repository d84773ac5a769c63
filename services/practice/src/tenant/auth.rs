//! The token endpoint (client credentials, by secret or by assertion) and the check of bearer tokens.
//!
//! Errors have the form and the codes of the Microsoft identity platform: `error` is for control flow, the AADSTS
//! numbers are for people. Tokens look like JWTs and mean nothing outside this tenant.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::clock;
use super::context::Tenant;
use super::credentials::Credentials;
use super::reply::GraphError;

/// The permissions in a token.
pub(super) type Roles = Arc<BTreeSet<String>>;

#[derive(Debug)]
struct Access {
    expires: Instant,
    roles: Roles,
    /// Operations it was used for.
    used: u64,
}

/// The tokens given out.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    issued: HashMap<String, Access>,
    pub granted: Roles,
}

/// How many unexpired tokens are kept; the oldest ones go.
const MOST: usize = 10_000;

impl Tokens {
    pub(super) fn issue(&mut self, tenant: &Tenant, scope: &str, lifetime: Duration, now: Instant) -> String {
        self.issued.retain(|_, a| a.expires > now);
        if self.issued.len() >= MOST {
            self.issued.clear();
        }
        let at = clock::now().as_second();
        let header = json!({"typ": "JWT", "alg": "RS256", "kid": "practice"});
        let payload = json!({
            "aud": scope.strip_suffix("/.default").unwrap_or(scope),
            "iss": format!("https://sts.windows.net/{}/", tenant.id),
            "iat": at,
            "nbf": at,
            "exp": at + i64::try_from(lifetime.as_secs()).unwrap_or(0),
            "appid": tenant.client_id,
            "idtyp": "app",
            "roles": self.granted.iter().collect::<Vec<_>>(),
            "tid": tenant.id,
            "uti": Uuid::new_v4().to_string(),
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signature = URL_SAFE_NO_PAD.encode([Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat());
        let token = format!("{}.{}.{signature}", part(&header), part(&payload));
        self.issued
            .insert(token.clone(), Access { expires: now + lifetime, roles: Arc::clone(&self.granted), used: 0 });
        token
    }

    /// The permissions of the request's token, else 401.
    pub(super) fn check(&self, authorization: Option<&str>, now: Instant) -> Result<Roles, Box<GraphError>> {
        let Some(token) = bearer(authorization) else {
            return Err(GraphError::unauthorized("Access token is empty."));
        };
        match self.issued.get(token) {
            None => Err(GraphError::unauthorized("CompactToken validation failed with reason code: 80049228.")),
            Some(access) if access.expires <= now => {
                Err(GraphError::unauthorized("Lifetime validation failed, the token is expired."))
            }
            Some(access) => Ok(Arc::clone(&access.roles)),
        }
    }

    /// Counts an operation of the request's token, which ends with the last one it lasts for.
    pub(super) fn spend(&mut self, authorization: Option<&str>, lasts: Option<u64>, now: Instant) {
        let Some(lasts) = lasts else { return };
        if let Some(access) = bearer(authorization).and_then(|token| self.issued.get_mut(token)) {
            access.used += 1;
            if access.used >= lasts {
                access.expires = access.expires.min(now);
            }
        }
    }

    /// Ends every token at once.
    pub(super) fn expire(&mut self, now: Instant) {
        for access in self.issued.values_mut() {
            access.expires = now;
        }
    }

    /// Replaces the permissions, in new tokens or in all.
    pub(super) fn grant(&mut self, roles: BTreeSet<String>, at_once: bool) {
        self.granted = Arc::new(roles);
        if at_once {
            for access in self.issued.values_mut() {
                access.roles = Arc::clone(&self.granted);
            }
        }
    }
}

/// The token in an `Authorization` header.
fn bearer(authorization: Option<&str>) -> Option<&str> {
    let (kind, token) = authorization?.split_once(' ')?;
    kind.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A refusal of the token endpoint.
#[derive(Debug)]
pub(super) struct Refused {
    status: u16,
    error: &'static str,
    code: u32,
    text: String,
}

pub(super) fn refused(status: u16, error: &'static str, code: u32, text: impl Into<String>) -> Refused {
    Refused { status, error, code, text: text.into() }
}

/// The refusal a test asked for by its number.
fn by_code(code: u32) -> Refused {
    match code {
        7_000_222 => refused(401, "invalid_client", code, "The provided client secret keys are expired."),
        700_027 => {
            refused(401, "invalid_client", code, "The certificate used to sign the client assertion is not registered.")
        }
        53_003 => refused(400, "invalid_grant", code, "Access has been blocked by Conditional Access policies."),
        50_196 => refused(
            400,
            "invalid_request",
            code,
            "The server terminated an operation because it encountered a client request loop.",
        ),
        90_033 => refused(503, "temporarily_unavailable", code, "A transient error has occurred. Please try again."),
        _ => refused(400, "invalid_request", code, "The request was refused."),
    }
}

/// A token request: the tenant and the endpoint that its path names, and its form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub name: &'a str,
    pub endpoint: &'a str,
    pub form: &'a HashMap<String, String>,
}

/// Answers a token request: status and body.
pub(super) fn token(
    (tokens, credentials): (&mut Tokens, &mut Credentials),
    tenant: &Tenant,
    asked: Asked<'_>,
    lifetime: Duration,
    fault: Option<u32>,
    now: Instant,
) -> (u16, Value) {
    let checked = match fault {
        Some(code) => Err(by_code(code)),
        None => check(credentials, tenant, asked),
    };
    match checked {
        Ok(scope) => {
            let token = tokens.issue(tenant, &scope, lifetime, now);
            let seconds = lifetime.as_secs().saturating_sub(1);
            let body = json!({"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token});
            (200, body)
        }
        Err(refused) => (refused.status, refusal_body(&refused)),
    }
}

fn refusal_body(refused: &Refused) -> Value {
    let (trace, correlation) = (Uuid::new_v4(), Uuid::new_v4());
    let at = clock::date_time_offset(clock::now()).replace('T', " ");
    let code = refused.code;
    json!({
        "error": refused.error,
        "error_description": format!(
            "AADSTS{code}: {}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {at}", refused.text
        ),
        "error_codes": [code],
        "timestamp": at,
        "trace_id": trace.to_string(),
        "correlation_id": correlation.to_string(),
        "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
    })
}

fn check(credentials: &mut Credentials, tenant: &Tenant, asked: Asked<'_>) -> Result<String, Refused> {
    let Asked { name, endpoint, form } = asked;
    if !name.eq_ignore_ascii_case(&tenant.id) && tenant.verified(name).is_none() {
        let text = format!("Tenant '{name}' not found. Check to make sure you have the correct tenant ID.");
        return Err(refused(400, "invalid_request", 90_002, text));
    }
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    for name in ["grant_type", "client_id", "scope"] {
        if field(name).is_empty() {
            let text = format!("The request body must contain the following parameter: '{name}'.");
            return Err(refused(400, "invalid_request", 900_144, text));
        }
    }
    if field("grant_type") != "client_credentials" {
        let text = format!("The app requested an unsupported grant type '{}'.", field("grant_type"));
        return Err(refused(400, "unsupported_grant_type", 70_003, text));
    }
    let client = field("client_id");
    if !client.eq_ignore_ascii_case(&tenant.client_id) {
        let text = format!("Application with identifier '{client}' was not found in the directory '{}'.", tenant.id);
        return Err(refused(400, "unauthorized_client", 700_016, text));
    }
    let scope = field("scope");
    if !scope.ends_with("/.default") || scope.contains(' ') {
        let text = format!(
            "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier."
        );
        return Err(refused(400, "invalid_scope", 1_002_012, text));
    }
    if !form.contains_key("client_secret") && !form.contains_key("client_assertion") {
        let text = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
        return Err(refused(401, "invalid_client", 7_000_218, text));
    }
    if let Some(secret) = form.get("client_secret") {
        if !credentials.takes_secret(secret) {
            let text = format!(
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{client}'."
            );
            return Err(refused(401, "invalid_client", 7_000_215, text));
        }
    } else {
        credentials.check(field("client_assertion_type"), field("client_assertion"), client, endpoint)?;
    }
    Ok(scope.to_owned())
}
