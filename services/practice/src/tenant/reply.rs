//! What a Graph operation gives back: a [`Reply`], or a [`GraphError`] with the status, code, message and details that
//! Microsoft Graph uses (directory conflicts are 400, not 409).

use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The result of one operation.
pub(super) type Outcome = Result<Reply, Box<GraphError>>;

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Content {
    Empty,
    Json(Value),
    Number(u64),
}

/// What a successful write did, for the counters and the write log.
#[derive(Debug)]
pub(super) struct Write {
    pub operation: &'static str,
    pub key: String,
    pub changed: bool,
}

/// A successful answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: u16,
    pub content: Content,
    pub headers: Vec<(&'static str, String)>,
    pub write: Option<Write>,
}

impl Reply {
    pub(super) fn json(status: u16, body: Map<String, Value>) -> Self {
        Self { status, content: Content::Json(Value::Object(body)), headers: Vec::new(), write: None }
    }

    /// Adds the directory role that administrators hold to the last page of a list.
    pub(super) fn with_role(mut self) -> Self {
        if let Content::Json(body) = &mut self.content
            && body.get("@odata.nextLink").is_none()
            && let Some(values) = body.get_mut("value").and_then(Value::as_array_mut)
        {
            values.push(json!({
                "@odata.type": "#microsoft.graph.directoryRole",
                "id": "5b9f1e4c-2f0d-4b52-8c1b-9f6a1f0d7e21",
            }));
        }
        self
    }

    pub(super) fn number(n: u64) -> Self {
        Self { status: 200, content: Content::Number(n), headers: Vec::new(), write: None }
    }

    pub(super) fn no_content() -> Self {
        Self { status: 204, content: Content::Empty, headers: Vec::new(), write: None }
    }

    /// Notes what was written: the operation, the object's key, and whether anything changed.
    pub(super) fn wrote(mut self, operation: &'static str, key: String, changed: bool) -> Self {
        self.write = Some(Write { operation, key, changed });
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// The ids an answer carries.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    pub request: String,
    pub client: String,
    pub date: String,
}

/// An error answer.
#[derive(Debug)]
pub(super) struct GraphError {
    pub status: u16,
    code: &'static str,
    message: String,
    details: Vec<(&'static str, String, String)>,
    pub headers: Vec<(&'static str, String)>,
    inner: Map<String, Value>,
    /// The write asked for something that already was so.
    pub without_effect: bool,
    /// The answer has no body.
    pub bare: bool,
}

impl GraphError {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            status,
            code,
            message: message.into(),
            details: Vec::new(),
            headers: Vec::new(),
            inner: Map::new(),
            without_effect: false,
            bare: false,
        })
    }

    /// 400 `Request_BadRequest`, the directory's answer to nearly everything it does not like.
    pub(super) fn bad(message: impl Into<String>) -> Box<Self> {
        Self::new(400, "Request_BadRequest", message)
    }

    /// 400 `BadRequest`, the gateway's.
    pub(super) fn gateway(message: impl Into<String>) -> Box<Self> {
        Self::new(400, "BadRequest", message)
    }

    fn detail(mut self: Box<Self>, code: &'static str, target: impl Into<String>) -> Box<Self> {
        let message = self.message.clone();
        self.details.push((code, message, target.into()));
        self
    }

    pub(super) fn header(mut self: Box<Self>, name: &'static str, value: String) -> Box<Self> {
        self.headers.push((name, value));
        self
    }

    pub(super) fn without_effect(mut self: Box<Self>, yes: bool) -> Box<Self> {
        self.without_effect = yes;
        self
    }

    pub(super) fn unauthorized(message: &str) -> Box<Self> {
        Self::new(401, "InvalidAuthenticationToken", message).header(
            "WWW-Authenticate",
            "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\", \
             client_id=\"00000003-0000-0000-c000-000000000000\""
                .into(),
        )
    }

    pub(super) fn denied() -> Box<Self> {
        Self::new(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
    }

    pub(super) fn required(property: &str, resource: &str) -> Box<Self> {
        Self::bad(format!("A value is required for property '{property}' of resource '{resource}'."))
    }

    /// One bad value is named in the message, several are named in the details only.
    pub(super) fn invalid(properties: &[String], resource: &str) -> Box<Self> {
        let mut error = match properties {
            [one] => Self::bad(format!("Invalid value specified for property '{one}' of resource '{resource}'.")),
            _ => Self::bad("One or more properties contains invalid values."),
        };
        for property in properties {
            error = error.detail("InvalidValue", property);
        }
        error
    }

    pub(super) fn invalid_one(property: &str, resource: &str) -> Box<Self> {
        Self::invalid(&[property.to_owned()], resource)
    }

    pub(super) fn invalid_values() -> Box<Self> {
        Self::bad("One or more properties contains invalid values.")
    }

    pub(super) fn upn() -> Box<Self> {
        Self::bad("Property userPrincipalName is invalid.").detail("InvalidValue", "userPrincipalName")
    }

    pub(super) fn upn_domain() -> Box<Self> {
        Self::bad(
            "The domain portion of the userPrincipalName property is invalid. You must use one of the verified domain \
             names in your organization.",
        )
    }

    /// Another object holds the value of a unique property.
    pub(super) fn conflict(property: &str, resource: &str, other: Uuid) -> Box<Self> {
        Self::bad(format!("Another object with the same value for property {property} already exists."))
            .detail("ObjectConflict", property)
            .detail("ConflictingObjects", format!("{resource}_{other}"))
    }

    pub(super) fn weak_password() -> Box<Self> {
        Self::bad(
            "The specified password does not comply with password complexity requirements. Please provide a different \
             password.",
        )
    }

    pub(super) fn read_only(property: &str) -> Box<Self> {
        Self::bad(format!("Property '{property}' is read-only and cannot be set."))
    }

    pub(super) fn directory_synced() -> Box<Self> {
        Self::bad(
            "Unable to update the specified properties for on-premises mastered Directory Sync objects or objects \
             currently undergoing migration.",
        )
    }

    pub(super) fn external_service() -> Box<Self> {
        Self::bad(
            "Unable to update the specified properties for objects that have originated within an external service.",
        )
    }

    pub(super) fn not_found(what: &str) -> Box<Self> {
        Self::new(
            404,
            "Request_ResourceNotFound",
            format!(
                "Resource '{what}' does not exist or one of its queried reference-property objects are not present."
            ),
        )
    }

    /// An error that a test asked for.
    pub(super) fn scripted(status: u16) -> Box<Self> {
        if status == 404 {
            return Self::not_found("scripted");
        }
        Self::new(status, "UnknownError", "A test asked for this error.")
    }

    pub(super) fn bad_id(id: &str) -> Box<Self> {
        Self::bad(format!("Invalid object identifier '{id}'."))
    }

    pub(super) fn already_linked(navigation: &str) -> Box<Self> {
        Self::bad(format!(
            "One or more added object references already exist for the following modified properties: '{navigation}'."
        ))
        .without_effect(true)
    }

    pub(super) fn not_linked(navigation: &str) -> Box<Self> {
        Self::bad(format!(
            "One or more removed object references do not exist for the following modified properties: '{navigation}'."
        ))
        .without_effect(true)
    }

    pub(super) fn last_owner() -> Box<Self> {
        Self::bad("The group must have at least one owner, hence this owner cannot be removed.")
    }

    pub(super) fn too_many_links() -> Box<Self> {
        Self::bad("A resource cannot contain more than 20 link changes")
    }

    pub(super) fn link_quota(would: usize, most: usize, link: &str) -> Box<Self> {
        Self::new(
            403,
            "Directory_QuotaExceeded",
            format!(
                "Unable to perform operation as '{would}' would exceed the maximum quota count '{most}' for forward-link \
                 '{link}'."
            ),
        )
    }

    pub(super) fn object_quota() -> Box<Self> {
        Self::new(
            403,
            "Directory_QuotaExceeded",
            "The directory object quota limit for the Tenant has been exceeded. Please ask your administrator to increase \
             the quota limit or delete objects to reduce the used quota.",
        )
    }

    pub(super) fn mail_enabled_write() -> Box<Self> {
        Self::bad(
            "The service does not currently support writes of mail-enabled groups. Please ensure that the mail-enablement \
             property is unset and the security-enablement property is set.",
        )
    }

    pub(super) fn mail_enabled_members() -> Box<Self> {
        Self::bad("Cannot Update a mail-enabled security groups and or distribution list.")
    }

    pub(super) fn entity_set() -> Box<Self> {
        Self::gateway("The request is currently not supported on the targeted entity set")
    }

    pub(super) fn method() -> Box<Self> {
        Self::new(405, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
    }

    pub(super) fn segment(segment: &str) -> Box<Self> {
        Self::gateway(format!("Resource not found for the segment '{segment}'."))
    }

    pub(super) fn unsupported_query(message: impl Into<String>) -> Box<Self> {
        Self::new(400, "Request_UnsupportedQuery", message)
    }

    pub(super) fn not_in_store() -> Box<Self> {
        Self::new(501, "NotImplemented", "This operation target is not yet supported.")
    }

    pub(super) fn payload() -> Box<Self> {
        Self::gateway(
            "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON \
             format.",
        )
    }

    /// 429 with the documented inner error; the headers are the throttle's.
    pub(super) fn throttled() -> Box<Self> {
        let mut error = Self::new(429, "TooManyRequests", "Please retry again later.");
        error.inner.insert("code".into(), json!("429"));
        error.inner.insert("message".into(), json!("Please retry after"));
        error.inner.insert("status".into(), json!("429"));
        error
    }

    pub(super) fn failed_dependency() -> Box<Self> {
        Self::new(424, "FailedDependency", "A request that this request depends on failed.")
    }

    /// The error envelope; `innerError.date` has no zone.
    pub(super) fn body(&self, ids: &Ids) -> Value {
        let mut inner = self.inner.clone();
        inner.insert("date".into(), json!(ids.date));
        inner.insert("request-id".into(), json!(ids.request));
        inner.insert("client-request-id".into(), json!(ids.client));
        let mut error = Map::new();
        error.insert("code".into(), json!(self.code));
        error.insert("message".into(), json!(self.message));
        if !self.details.is_empty() {
            let details = self.details.iter();
            let details =
                details.map(|(code, message, target)| json!({"code": code, "message": message, "target": target}));
            error.insert("details".into(), details.collect());
        }
        error.insert("innerError".into(), Value::Object(inner));
        json!({ "error": error })
    }
}
