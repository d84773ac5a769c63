//! A few LDAP writes (RFC 4511) over TLS: what an administrator's tool would send to the forests of the demo.
//!
//! Only that: simple bind, add, modify, modrdn, delete, one request at a time, each answered within a time limit. Reading
//! a directory is the collector's business.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(30);

/// The largest answer taken: results of writes are small.
const LARGEST_ANSWER: usize = 64 * 1024;

/// LDAP_SERVER_SHOW_DELETED_OID (MS-ADTS 3.1.1.3.4.1.14): lets a request name a tombstone.
const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const ENUMERATED: u8 = 0x0a;

/// What a modify does with an attribute.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    /// Adds values.
    Add,
    /// Removes values, all if none are given.
    Delete,
    /// Replaces all values.
    Replace,
}

/// A bound connection.
#[derive(Debug)]
pub(super) struct Directory {
    stream: TlsStream<TcpStream>,
    next_id: u32,
}

/// One part of a message: tag, length, content.
fn part(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    if let Ok(short @ 0..=127) = u8::try_from(content.len()) {
        out.push(short);
    } else {
        out.push(0x84);
        out.extend_from_slice(&(content.len() as u32).to_be_bytes());
    }
    out.extend_from_slice(content);
    out
}

fn join(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    part(tag, &parts.concat())
}

fn integer(tag: u8, value: u32) -> Vec<u8> {
    // a leading zero keeps it positive
    let mut bytes = vec![0];
    bytes.extend_from_slice(&value.to_be_bytes());
    let start = bytes.windows(2).take_while(|w| matches!(w, [0, next] if *next < 0x80)).count();
    part(tag, bytes.get(start..).unwrap_or_default())
}

fn octets(text: &str) -> Vec<u8> {
    part(OCTETS, text.as_bytes())
}

fn values(values: &[&str]) -> Vec<u8> {
    join(SET, &values.iter().map(|v| octets(v)).collect::<Vec<_>>())
}

/// Splits off one part: tag, content, rest.
fn split(bytes: &[u8]) -> Result<(u8, &[u8], &[u8])> {
    let broken = || anyhow::anyhow!("the directory's answer is cut short");
    let (tag, rest) = bytes.split_first().ok_or_else(broken)?;
    let (first, rest) = rest.split_first().ok_or_else(broken)?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f)).ok_or_else(broken)?;
        ensure!(digits.len() <= 4, "the directory's answer is too long");
        (digits.iter().fold(0, |n, d| n << 8 | usize::from(*d)), rest)
    };
    let (content, rest) = rest.split_at_checked(length).ok_or_else(broken)?;
    Ok((*tag, content, rest))
}

impl Directory {
    /// Connects to `address`, expecting a certificate for `host` signed by `ca` (PEM), and binds.
    pub(super) async fn connect(
        address: SocketAddr,
        host: &str,
        ca: &str,
        account: &str,
        password: &str,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate.context("the practice CA's certificate cannot be read")?)?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from(host.to_owned())?;
        let connect = async {
            let tcp = TcpStream::connect(address).await?;
            TlsConnector::from(Arc::new(config)).connect(name, tcp).await
        };
        let stream = tokio::time::timeout(ANSWER, connect).await??;
        let mut directory = Self { stream, next_id: 1 };
        let simple = part(0x80, password.as_bytes());
        let bind = join(0x60, &[integer(INTEGER, 3), octets(account), simple]);
        directory.request(bind, false).await.context("the practice forest refused its administrator")?;
        Ok(directory)
    }

    /// Adds an object.
    pub(super) async fn add(&mut self, dn: &str, attributes: &[(&str, &[&str])]) -> Result<()> {
        let list = attributes.iter().map(|(name, all)| join(SEQUENCE, &[octets(name), values(all)]));
        let list = join(SEQUENCE, &list.collect::<Vec<_>>());
        self.request(join(0x68, &[octets(dn), list]), false).await.with_context(|| format!("adding {dn}"))
    }

    /// Changes attributes of an object, all or none.
    pub(super) async fn modify(&mut self, dn: &str, changes: &[(Change, &str, &[&str])]) -> Result<()> {
        self.request(modify(dn, changes), false).await.with_context(|| format!("changing {dn}"))
    }

    /// Renames an object, and moves it where `parent` is given.
    pub(super) async fn rename(&mut self, dn: &str, rdn: &str, parent: Option<&str>) -> Result<()> {
        let mut parts = vec![octets(dn), octets(rdn), part(BOOLEAN, &[0xff])];
        parts.extend(parent.map(|parent| part(0x80, parent.as_bytes())));
        self.request(join(0x6c, &parts), false).await.with_context(|| format!("renaming {dn}"))
    }

    /// Deletes an object without children.
    pub(super) async fn delete(&mut self, dn: &str) -> Result<()> {
        self.request(part(0x4a, dn.as_bytes()), false).await.with_context(|| format!("deleting {dn}"))
    }

    /// Brings a tombstone back as `dn` (MS-ADTS 3.1.1.5.3.7). `tombstone` may be `<GUID=…>`.
    pub(super) async fn undelete(&mut self, tombstone: &str, dn: &str) -> Result<()> {
        let changes: [(Change, &str, &[&str]); 2] =
            [(Change::Delete, "isDeleted", &[]), (Change::Replace, "distinguishedName", &[dn])];
        self.request(modify(tombstone, &changes), true).await.with_context(|| format!("bringing back {dn}"))
    }

    /// Sends one request and waits for its result.
    async fn request(&mut self, operation: Vec<u8>, show_deleted: bool) -> Result<()> {
        let id = self.next_id;
        self.next_id += 1;
        let mut parts = vec![integer(INTEGER, id), operation];
        if show_deleted {
            let control = join(SEQUENCE, &[octets(SHOW_DELETED), part(BOOLEAN, &[0xff])]);
            parts.push(part(0xa0, &control));
        }
        self.stream.write_all(&join(SEQUENCE, &parts)).await?;
        self.stream.flush().await?;
        let answer = tokio::time::timeout(ANSWER, self.answer()).await.context("no answer from the directory")??;
        let (_, id_bytes, rest) = split(&answer)?;
        ensure!(id_bytes.iter().fold(0, |n, d| n << 8 | u32::from(*d)) == id, "the answer belongs to another request");
        let (_, result, _) = split(rest)?;
        let (tag, code, rest) = split(result)?;
        ensure!(tag == ENUMERATED, "the directory's answer is no result");
        if code != [0] {
            let (_, _, rest) = split(rest)?;
            let (_, message, _) = split(rest)?;
            bail!("result {code:?}: {}", String::from_utf8_lossy(message));
        }
        Ok(())
    }

    /// The content of the next message.
    async fn answer(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            if bytes.len() > 6
                && let Ok((SEQUENCE, content, _)) = split(&bytes)
            {
                return Ok(content.to_vec());
            }
            ensure!(bytes.len() < LARGEST_ANSWER, "the directory's answer is too long");
            let n = self.stream.read_buf(&mut bytes).await?;
            ensure!(n > 0, "the directory closed the connection");
        }
    }
}

fn modify(dn: &str, changes: &[(Change, &str, &[&str])]) -> Vec<u8> {
    let change = |(change, name, all): &(Change, &str, &[&str])| {
        let kind = match change {
            Change::Add => 0,
            Change::Delete => 1,
            Change::Replace => 2,
        };
        join(SEQUENCE, &[integer(ENUMERATED, kind), join(SEQUENCE, &[octets(name), values(all)])])
    };
    let list = join(SEQUENCE, &changes.iter().map(change).collect::<Vec<_>>());
    join(0x66, &[octets(dn), list])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lengths_are_minimal_and_positive() {
        assert_eq!(integer(INTEGER, 0), [2, 1, 0]);
        assert_eq!(integer(INTEGER, 127), [2, 1, 127]);
        assert_eq!(integer(INTEGER, 128), [2, 2, 0, 128]);
        assert_eq!(integer(INTEGER, 0x1234), [2, 2, 0x12, 0x34]);
        let long = part(OCTETS, &[7; 200]);
        let (tag, content, rest) = split(&long).unwrap();
        assert_eq!((tag, content.len(), rest.len()), (OCTETS, 200, 0));
        assert!(split(&long[..100]).is_err());
    }
}
