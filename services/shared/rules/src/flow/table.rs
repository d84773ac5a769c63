//! Limits of Graph's properties that several rules share.

/// The longest displayName that Graph takes.
pub(crate) const DISPLAY_NAME_LIMIT: usize = 256;
/// The longest mailNickname that Graph takes.
pub(crate) const NICKNAME_LIMIT: usize = 64;
/// The longest userPrincipalName that Azure AD takes: 64 characters, an `@` and 48 more.
pub(crate) const PRINCIPAL_LIMIT: usize = 113;
