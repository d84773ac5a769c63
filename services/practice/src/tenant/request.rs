//! One Graph request, alone or inside a batch, taken apart: path segments, query options, the headers that matter, body.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::directory::Props;
use super::reply::GraphError;

/// A request body.
#[derive(Debug)]
pub(super) enum Payload {
    None,
    Json(Value),
    Unreadable,
}

/// One request.
#[derive(Debug)]
pub(super) struct GraphRequest {
    pub method: String,
    /// Scheme, host and port the caller used, for links in answers.
    pub base: String,
    /// The path after the version, still encoded.
    pub raw_path: String,
    pub segments: Vec<String>,
    /// The key of `groups(uniqueName='…')`; the second segment is then `*`.
    pub unique_name: Option<String>,
    raw_query: String,
    options: Vec<(String, String)>,
    pub eventual: bool,
    pub prefer: String,
    pub payload: Payload,
}

/// What the headers of a request say, by name and without case.
pub(super) type Headers<'a> = &'a dyn Fn(&str) -> Option<String>;

impl GraphRequest {
    /// Takes the path after the version and the query apart.
    pub(super) fn new(
        method: &str,
        base: &str,
        target: &str,
        headers: Headers<'_>,
        payload: Payload,
    ) -> Result<Self, Box<GraphError>> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut segments = Vec::new();
        for segment in split_path(path) {
            segments.push(decode(&segment)?);
        }
        let mut options = Vec::new();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // As in a form, an unencoded plus is a space: an anchor in base64 must be encoded.
            options.push((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?));
        }
        let mut request = Self {
            method: method.to_ascii_uppercase(),
            base: base.to_owned(),
            raw_path: path.to_owned(),
            segments: Vec::new(),
            unique_name: None,
            raw_query: query.to_owned(),
            options,
            eventual: headers("consistencylevel").is_some_and(|v| v.eq_ignore_ascii_case("eventual")),
            prefer: headers("prefer").unwrap_or_default().to_lowercase(),
            payload,
        };
        request.keys(segments);
        Ok(request)
    }

    /// `users('x')` becomes `users`, `x`; `groups(uniqueName='x')` becomes `groups`, `*` with the key apart.
    fn keys(&mut self, segments: Vec<String>) {
        for segment in segments {
            match segment.split_once('(') {
                Some((name, key)) if key.ends_with(')') && key.len() > 1 && self.segments.is_empty() => {
                    let key = key.strip_suffix(')').unwrap_or(key);
                    let quoted = |text: &str| {
                        let inner = text.strip_prefix('\'').and_then(|t| t.strip_suffix('\''));
                        inner.map(|t| t.replace("''", "'"))
                    };
                    self.segments.push(name.to_owned());
                    if let Some(unique) = key.strip_prefix("uniqueName=").and_then(quoted) {
                        self.unique_name = Some(unique);
                        self.segments.push("*".into());
                    } else {
                        self.segments.push(quoted(key).unwrap_or_else(|| key.to_owned()));
                    }
                }
                _ => self.segments.push(segment),
            }
        }
    }

    /// A query option, by name without case.
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The same address with the option set, and the named options gone: for next and delta links.
    pub(super) fn link(&self, without: &[&str], name: &str, value: &str) -> String {
        let kept = self.raw_query.split('&').filter(|pair| {
            let key = pair.split('=').next().unwrap_or(pair);
            let key = percent_decode_str(key).decode_utf8_lossy();
            !pair.is_empty() && !without.iter().any(|w| w.eq_ignore_ascii_case(&key))
        });
        let mut pairs: Vec<String> = kept.map(str::to_owned).collect();
        pairs.push(format!("{name}={value}"));
        format!("{}/v1.0/{}?{}", self.base, self.raw_path.trim_start_matches('/'), pairs.join("&"))
    }

    /// The body as an object.
    pub(super) fn object(&self) -> Result<Props, Box<GraphError>> {
        match &self.payload {
            Payload::Json(Value::Object(map)) => Ok(map.clone()),
            _ => Err(GraphError::payload()),
        }
    }
}

/// Splits at slashes that are not inside the quotes of a key.
fn split_path(path: &str) -> Vec<String> {
    let mut segments = vec![String::new()];
    let mut quoted = false;
    let mut inside = false;
    for c in path.chars() {
        match c {
            '(' => inside = true,
            ')' if !quoted => inside = false,
            '\'' if inside => quoted = !quoted,
            _ => {}
        }
        if c == '/' && !quoted {
            segments.push(String::new());
        } else if let Some(last) = segments.last_mut() {
            last.push(c);
        }
    }
    segments.retain(|s| !s.is_empty());
    segments
}

fn decode(text: &str) -> Result<String, Box<GraphError>> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| GraphError::gateway("The request URI is not valid UTF-8."))
}
