//! Which syntax a directory attribute has. Decided by name, so that a value's form never depends on its content.

/// Attributes of link syntax that are followed, by their schema name.
pub const LINKS: [&str; 3] = ["member", "manager", "managedBy"];

/// Attributes of binary syntax, by their schema name. Everything else that is not a link is text.
pub const BINARY: [&str; 9] = [
    "mS-DS-ConsistencyGuid",
    "msExchMasterAccountSid",
    "msRTCSIP-OriginatorSid",
    "objectGUID",
    "objectSid",
    "parentGUID",
    "thumbnailPhoto",
    "userCertificate",
    "userSMIMECertificate",
];

/// Secrets and what leads to them. Never asked for, never kept, whatever a configuration says.
pub const SECRET: [&str; 12] = [
    "dBCSPwd",
    "initialAuthIncoming",
    "initialAuthOutgoing",
    "lmPwdHistory",
    "msDS-ManagedPassword",
    "msFVE-RecoveryPassword",
    "ms-Mcs-AdmPwd",
    "ntPwdHistory",
    "supplementalCredentials",
    "trustAuthIncoming",
    "trustAuthOutgoing",
    "unicodePwd",
];

/// Whether values of the attribute are links to other objects.
pub fn is_link(name: &str) -> bool {
    LINKS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether values of the attribute are bytes.
pub fn is_binary(name: &str) -> bool {
    BINARY.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether the attribute holds a secret.
pub fn is_secret(name: &str) -> bool {
    SECRET.iter().any(|known| known.eq_ignore_ascii_case(name))
}
