//! The exchange itself, on a connection under TLS that nothing else reads yet.

use std::fs::File;
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::BytesMut;
use lber::common::TagClass;
use lber::structure::{PL, StructureTag};
use libgssapi::context::{ClientCtx, CtxFlags, SecurityContext as _};
use libgssapi::credential::{Cred, CredUsage};
use libgssapi::name::Name;
use libgssapi::oid::{GSS_MECH_KRB5, GSS_NT_HOSTBASED_SERVICE, GSS_NT_KRB5_PRINCIPAL, OidSet};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::{CACHE_VARIABLE, KEYTAB_VARIABLE, KerberosConfig, KerberosError, check_environment};
use crate::config::ControllerAddress;
use crate::error::{ConnectError, EndReason};
use crate::frame::{self, op};
use crate::transport::Secured;

/// resultCode saslBindInProgress.
const IN_PROGRESS: u32 = 14;
/// The bit of "no security layer" (RFC 4752 3.3).
const NO_LAYER: u8 = 1;
/// The largest answer to a bind that is read.
const ANSWER_BYTES: usize = 256 * 1024;
/// The most steps until both sides are sure of each other; Kerberos takes two.
const STEPS: i32 = 8;

/// What ends an exchange.
enum Stop {
    Kerberos(KerberosError),
    Ended(EndReason),
}

impl From<KerberosError> for Stop {
    fn from(error: KerberosError) -> Self {
        Self::Kerberos(error)
    }
}

impl From<frame::FrameError> for Stop {
    fn from(error: frame::FrameError) -> Self {
        Self::Ended(error.into())
    }
}

/// Binds as `account`. Each wait, those for Kerberos included, takes at most `limit`.
pub(crate) async fn bind(
    stream: &mut Secured,
    to: &ControllerAddress,
    account: &KerberosConfig,
    limit: Duration,
) -> Result<(), ConnectError> {
    let host = || to.host.clone();
    match timeout(limit * 2, talk(stream, to, account, limit)).await {
        Err(_) => Err(ConnectError::TimedOut { host: host(), step: "the Kerberos bind", after: limit * 2 }),
        Ok(Err(Stop::Kerberos(fault))) => Err(ConnectError::Kerberos { host: host(), fault }),
        Ok(Err(Stop::Ended(reason))) => Err(ConnectError::Ended { host: host(), reason }),
        Ok(Ok(())) => Ok(()),
    }
}

async fn talk(
    stream: &mut Secured,
    to: &ControllerAddress,
    account: &KerberosConfig,
    limit: Duration,
) -> Result<(), Stop> {
    let binding = channel_binding(stream);
    let (host, account) = (to.host.clone(), account.clone());
    let (mut context, mut token) = apart(limit, {
        let binding = binding.clone();
        move || {
            let mut context = begin(&account, &host)?;
            let token = step(&mut context, None, binding.as_deref())?;
            Ok((context, token))
        }
    })
    .await?;
    for id in 1..=STEPS {
        let (code, text, answer) = send(stream, id, token.as_deref()).await?;
        match code {
            // the controller asks for nothing more: it is bound without a word about layers, which RFC 4752 does not know
            0 => return Err(KerberosError::Answer("success before the layers were agreed on").into()),
            IN_PROGRESS => {}
            code => return Err(KerberosError::Refused { code, text }.into()),
        }
        if context.is_complete() {
            let layers = answer.ok_or(KerberosError::Answer("no token"))?;
            let choice = agree(&mut context, &layers)?;
            let (code, text, _) = send(stream, id + 1, Some(&choice)).await?;
            return if code == 0 { Ok(()) } else { Err(KerberosError::Refused { code, text }.into()) };
        }
        let binding = binding.clone();
        (context, token) = apart(limit, move || {
            let token = step(&mut context, answer.as_deref(), binding.as_deref())?;
            Ok((context, token))
        })
        .await?;
    }
    Err(KerberosError::Answer("the exchange does not end").into())
}

/// Runs what may wait for the network, and knows nothing of this runtime, on a thread of its own.
async fn apart<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> Result<T, KerberosError> + Send + 'static,
) -> Result<T, KerberosError> {
    let late = || KerberosError::Kdc(format!("no answer within {}", frame::seconds(limit)));
    let ended = timeout(limit, tokio::task::spawn_blocking(work)).await.map_err(|_| late())?;
    ended.map_err(|_| KerberosError::Failed("the work was dropped".to_owned()))?
}

fn begin(account: &KerberosConfig, host: &str) -> Result<ClientCtx, KerberosError> {
    let (named, cache) = (std::env::var(KEYTAB_VARIABLE).ok(), std::env::var(CACHE_VARIABLE).ok());
    check_environment(&account.keytab, named.as_deref(), cache.as_deref())?;
    File::open(&account.keytab)
        .map_err(|error| KerberosError::Keytab { path: account.keytab.clone(), detail: error.to_string() })?;
    let failed = told;
    let mut mechanisms = OidSet::new();
    mechanisms.add(GSS_MECH_KRB5).map_err(failed)?;
    let name = Name::new(account.principal.as_bytes(), Some(GSS_NT_KRB5_PRINCIPAL)).map_err(failed)?;
    let credential = Cred::acquire(Some(&name), None, CredUsage::Initiate, Some(&mechanisms)).map_err(|error| {
        let (principal, detail) = (account.principal.clone(), frame::diagnostic(&error.to_string()));
        // neither the cache nor the keytab knows the principal
        match code(error) {
            141 | 181 => KerberosError::NoKey { principal, detail },
            _ => told(error),
        }
    })?;
    let service = Name::new(format!("ldap@{host}").as_bytes(), Some(GSS_NT_HOSTBASED_SERVICE)).map_err(failed)?;
    Ok(ClientCtx::new(Some(credential), service, CtxFlags::GSS_C_MUTUAL_FLAG, Some(GSS_MECH_KRB5)))
}

fn step(
    context: &mut ClientCtx,
    token: Option<&[u8]>,
    binding: Option<&[u8]>,
) -> Result<Option<Vec<u8>>, KerberosError> {
    context.step(token, binding).map(|token| token.map(|token| token.to_vec())).map_err(told)
}

/// Chooses no layer, if that is offered: one octet of layers, three of a size that then must be 0.
fn agree(context: &mut ClientCtx, wrapped: &[u8]) -> Result<Vec<u8>, KerberosError> {
    let offered = context.unwrap(wrapped).map_err(told)?;
    match offered.first() {
        Some(layers) if layers & NO_LAYER != 0 => {}
        Some(_) => return Err(KerberosError::Answer("the controller insists on a security layer inside TLS")),
        None => return Err(KerberosError::Answer("no security layers")),
    }
    context.wrap(false, &[NO_LAYER, 0, 0, 0]).map(|choice| choice.to_vec()).map_err(told)
}

/// The code of MIT Kerberos (krb5_err.et), counted from the base of its table.
fn code(error: libgssapi::error::Error) -> i32 {
    const BASE: i32 = -1_765_328_384;
    error.minor.cast_signed().wrapping_sub(BASE)
}

/// What MIT Kerberos says.
fn told(error: libgssapi::error::Error) -> KerberosError {
    let text = frame::diagnostic(&error.to_string());
    match code(error) {
        // principal unknown, expired, key expired, revoked, not yet valid, pre-authentication failed, bad integrity
        1 | 6 | 18 | 21 | 23 | 24 | 31 => KerberosError::Account(text),
        7 => KerberosError::Service(text),
        37 => KerberosError::Skew(text),
        // realm not known, no KDC answers
        154 | 156 => KerberosError::Kdc(text),
        _ => KerberosError::Failed(text),
    }
}

/// `tls-server-end-point` (RFC 5929 4): the hash of the certificate, by the function of its signature, SHA-256 where that is
/// older.
fn channel_binding(stream: &Secured) -> Option<Vec<u8>> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    let algorithm =
        match signature_algorithm(certificate)? {
            // ecdsa-with-SHA384, sha384WithRSAEncryption
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03]
            | [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c] => &digest::SHA384,
            // ecdsa-with-SHA512, sha512WithRSAEncryption
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04]
            | [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d] => &digest::SHA512,
            _ => &digest::SHA256,
        };
    Some([b"tls-server-end-point:", digest::digest(algorithm, certificate).as_ref()].concat())
}

/// Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { algorithm OBJECT IDENTIFIER … }, … }.
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (_, content, _) = frame::element(certificate).ok()?;
    let (_, _, rest) = frame::element(content).ok()?;
    let (_, algorithm, _) = frame::element(rest).ok()?;
    frame::element(algorithm).ok().filter(|(tag, _, _)| *tag == 0x06).map(|(_, oid, _)| oid)
}

fn primitive(class: TagClass, id: u64, bytes: &[u8]) -> StructureTag {
    StructureTag { class, id, payload: PL::P(bytes.to_vec()) }
}

fn request(id: i32, token: Option<&[u8]>) -> Option<BytesMut> {
    let node = |class, id, parts| StructureTag { class, id, payload: PL::C(parts) };
    let mut sasl = vec![primitive(TagClass::Universal, 4, b"GSSAPI")];
    sasl.extend(token.map(|token| primitive(TagClass::Universal, 4, token)));
    let bind = vec![
        primitive(TagClass::Universal, 2, &[3]),
        primitive(TagClass::Universal, 4, b""),
        node(TagClass::Context, 3, sasl),
    ];
    let id = u8::try_from(id).ok()?;
    let message = vec![primitive(TagClass::Universal, 2, &[id]), node(TagClass::Application, 0, bind)];
    let mut out = BytesMut::new();
    lber::write::encode_into(&mut out, node(TagClass::Universal, 16, message)).ok()?;
    Some(out)
}

/// Sends one step; result code, text and token of the answer.
async fn send(stream: &mut Secured, id: i32, token: Option<&[u8]>) -> Result<(u32, String, Option<Vec<u8>>), Stop> {
    let network = |error: std::io::Error| Stop::Ended(EndReason::Network(error.to_string()));
    let request = request(id, token).ok_or(KerberosError::Answer("a token that cannot be sent"))?;
    stream.write_all(&request).await.map_err(network)?;
    stream.flush().await.map_err(network)?;
    let mut answer = Vec::new();
    loop {
        match frame::message_length(&answer)? {
            Some(length) if length > ANSWER_BYTES => return Err(frame::FrameError::TooLarge(length as u64).into()),
            Some(length) if answer.len() > length => return Err(frame::FrameError::Overrun.into()),
            Some(length) if answer.len() == length => break,
            _ => {}
        }
        if stream.read_buf(&mut answer).await.map_err(network)? == 0 {
            return Err(Stop::Ended(EndReason::Closed));
        }
    }
    let message = frame::message(&answer)?;
    let (code, text) = frame::result(message.body);
    if message.op == op::EXTENDED_RESPONSE && message.id == 0 {
        return Err(Stop::Ended(EndReason::Notice { code, text }));
    }
    if message.op != op::BIND_RESPONSE || message.id != i64::from(id) {
        return Err(frame::FrameError::Operation(message.op).into());
    }
    frame::check_result(&answer)?;
    Ok((code, text, token_of(message.body)))
}

/// serverSaslCreds [7] of a BindResponse.
fn token_of(mut body: &[u8]) -> Option<Vec<u8>> {
    while !body.is_empty() {
        let (tag, content, rest) = frame::element(body).ok()?;
        if tag == 0x87 {
            return Some(content.to_vec());
        }
        body = rest;
    }
    None
}
