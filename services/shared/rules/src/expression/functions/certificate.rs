//! Certificates in DER, such as the values of userCertificate.

use x509_parser::certificate::X509Certificate;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::super::error::EvalErrorKind;
use super::super::evaluate::{Call, Evaluated, LIST_LIMIT};
use super::super::types::{Kind, Type};
use super::super::value::Value;
use super::encoding::to_hex;
use super::{Definition, Parameter, Want, gives_boolean, gives_integer, gives_text, gives_texts, need};

const CERTIFICATE: &[Parameter] = &[need(Want::Binary)];

pub(super) const ALL: [Definition; 16] = [
    Definition::new(
        "CertExtensionOids(certificate)",
        "the object identifiers of a certificate's extensions",
        CERTIFICATE,
        gives_texts,
        |call| {
            read(call, |certificate| {
                let oids = certificate.extensions().iter().take(LIST_LIMIT);
                Call::from_list(oids.map(|extension| extension.oid.to_id_string().into()).collect())
            })
        },
    ),
    Definition::new("CertFormat(certificate)", "X509 for every certificate", CERTIFICATE, gives_text, |call| {
        read(call, |_| Some("X509".to_owned().into()))
    }),
    Definition::new(
        "CertIssuer(certificate)",
        "the distinguished name of who issued it",
        CERTIFICATE,
        gives_text,
        |call| read(call, |certificate| Some(name(certificate.issuer()).into())),
    ),
    Definition::new("CertIssuerDN(certificate)", "the same as CertIssuer", CERTIFICATE, gives_text, |call| {
        read(call, |certificate| Some(name(certificate.issuer()).into()))
    }),
    Definition::new(
        "CertKeyAlgorithm(certificate)",
        "the object identifier of the key's algorithm",
        CERTIFICATE,
        gives_text,
        key_algorithm,
    ),
    Definition::new("CertNotAfter(certificate)", "when it ceases to be valid", CERTIFICATE, gives_date, |call| {
        read(call, |certificate| date(certificate.validity().not_after))
    }),
    Definition::new("CertNotBefore(certificate)", "when it begins to be valid", CERTIFICATE, gives_date, |call| {
        read(call, |certificate| date(certificate.validity().not_before))
    }),
    Definition::new(
        "CertPublicKeyOid(certificate)",
        "the same as CertKeyAlgorithm",
        CERTIFICATE,
        gives_text,
        key_algorithm,
    ),
    Definition::new(
        "CertPublicKeyParametersOid(certificate)",
        "the object identifier among the key's parameters, such as that of its curve, or Null",
        CERTIFICATE,
        gives_text,
        |call| {
            read(call, |certificate| {
                let parameters = certificate.public_key().algorithm.parameters.as_ref()?;
                Some(parameters.as_oid().ok()?.to_id_string().into())
            })
        },
    ),
    Definition::new(
        "CertSerialNumber(certificate)",
        "its serial number in upper-case hexadecimal",
        CERTIFICATE,
        gives_text,
        |call| read(call, |certificate| Some(to_hex(certificate.raw_serial()).into())),
    ),
    Definition::new(
        "CertSignatureAlgorithmOid(certificate)",
        "the object identifier of the algorithm it is signed by",
        CERTIFICATE,
        gives_text,
        |call| read(call, |certificate| Some(certificate.signature_algorithm.algorithm.to_id_string().into())),
    ),
    Definition::new(
        "CertSubject(certificate)",
        "the distinguished name of its owner",
        CERTIFICATE,
        gives_text,
        |call| read(call, |certificate| Some(name(certificate.subject()).into())),
    ),
    Definition::new("CertSubjectNameDN(certificate)", "the same as CertSubject", CERTIFICATE, gives_text, |call| {
        read(call, |certificate| Some(name(certificate.subject()).into()))
    }),
    Definition::new("CertVersion(certificate)", "1 to 3", CERTIFICATE, gives_integer, |call| {
        read(call, |certificate| Some((i64::from(certificate.version().0) + 1).into()))
    }),
    Definition::new(
        "IsCert(value)",
        "whether a value is a certificate; False for Null",
        &[need(Want::One)],
        gives_boolean,
        |call| {
            let value = call.value(0)?.and_then(Value::first);
            let is_certificate = matches!(&value, Some(Value::Binary(bytes)) if parsed(bytes).is_some());
            Ok(Some(is_certificate.into()))
        },
    ),
    Definition::new(
        "CertNameInfo(certificate, SimpleName|EmailName|DnsName)",
        "its owner's common name, or the first mail address or host name of its alternative names; Null if there is none",
        &[need(Want::Binary), need(Want::Word(&["SimpleName", "EmailName", "DnsName"]))],
        gives_text,
        |call| {
            let Some(which) = call.text(1)? else { return Ok(None) };
            read(call, |certificate| name_info(certificate, &which).map(Value::from))
        },
    ),
];

fn gives_date(_: &[Type]) -> Type {
    Type::single(Kind::Date)
}

fn parsed(bytes: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(bytes).ok().map(|(_, certificate)| certificate)
}

fn read<'a>(call: &Call<'_, 'a>, read: impl FnOnce(&X509Certificate<'_>) -> Option<Value<'a>>) -> Evaluated<'a> {
    let Some(bytes) = call.binary(0)? else { return Ok(None) };
    let certificate = parsed(&bytes).ok_or_else(|| call.fail(EvalErrorKind::NotACertificate))?;
    Ok(read(&certificate))
}

fn key_algorithm<'a>(call: &Call<'_, 'a>) -> Evaluated<'a> {
    read(call, |certificate| Some(certificate.public_key().algorithm.algorithm.to_id_string().into()))
}

fn date<'a>(time: ASN1Time) -> Option<Value<'a>> {
    jiff::Timestamp::from_second(time.timestamp()).ok().map(Value::Date)
}

/// The most specific part first, as Windows shows names.
fn name(name: &X509Name<'_>) -> String {
    let parts: Vec<&AttributeTypeAndValue<'_>> = name.iter_attributes().collect();
    let parts = parts.into_iter().rev().map(|part| {
        let oid = part.attr_type();
        let kind = match oid2abbrev(oid, oid_registry()) {
            Ok("ST") => "S".to_owned(),
            Ok("emailAddress") => "E".to_owned(),
            Ok(known) => known.to_owned(),
            Err(_) => format!("OID.{}", oid.to_id_string()),
        };
        let value = part.as_str().map_or_else(|_| format!("#{}", to_hex(part.as_slice())), str::to_owned);
        let needs_quotes = value.contains([',', '+', '"', '=', ';', '<', '>', '#', '\n']) || value.trim() != value;
        if needs_quotes { format!("{kind}=\"{}\"", value.replace('"', "\"\"")) } else { format!("{kind}={value}") }
    });
    parts.collect::<Vec<_>>().join(", ")
}

fn name_info(certificate: &X509Certificate<'_>, which: &str) -> Option<String> {
    use x509_parser::extensions::GeneralName;
    let subject = certificate.subject();
    if which == "SimpleName" {
        return subject.iter_common_name().next()?.as_str().ok().map(str::to_owned);
    }
    let names = certificate.subject_alternative_name().ok().flatten()?;
    names.value.general_names.iter().find_map(|name| match (which, name) {
        ("EmailName", GeneralName::RFC822Name(address)) => Some((*address).to_owned()),
        ("DnsName", GeneralName::DNSName(host)) => Some((*host).to_owned()),
        _ => None,
    })
}
