//! Notices as mails in plain text (RFC 5321, RFC 5322).

use std::time::Duration;

use forestsync_runtime::secret::ExposeSecret as _;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use super::{DeliveryError, MailConfig, MailTls, Notice, with_cause};

/// How long a server may take for each of its answers.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn send(config: &MailConfig, notice: &Notice) -> Result<(), DeliveryError> {
    let message = message(config, notice)?;
    transport(config)?.send(message).await.map_err(|e| DeliveryError::Mail(with_cause(&e)))?;
    Ok(())
}

fn message(config: &MailConfig, notice: &Notice) -> Result<Message, DeliveryError> {
    let subject = format!("[forestsync {}] {}", notice.configuration, notice.title);
    let mut message = Message::builder().from(mailbox("mail.from", &config.from)?).subject(subject);
    for to in &config.to {
        message = message.to(mailbox("mail.to", to)?);
    }
    let message = message.header(ContentType::TEXT_PLAIN).message_id(None);
    message.body(notice.text()).map_err(|e| DeliveryError::Mail(e.to_string()))
}

/// An address, with or without a name before it.
pub(super) fn mailbox(key: &'static str, text: &str) -> Result<Mailbox, DeliveryError> {
    text.parse().map_err(|e| DeliveryError::Setting { key, problem: format!("{text:?} is no mail address: {e}") })
}

fn transport(config: &MailConfig) -> Result<AsyncSmtpTransport<Tokio1Executor>, DeliveryError> {
    let tls = match config.tls {
        MailTls::Implicit => Tls::Wrapper(parameters(config)?),
        MailTls::Starttls => Tls::Required(parameters(config)?),
        MailTls::None => Tls::None,
    };
    // "dangerous" is no TLS, and TLS is set right here
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
        .port(config.port)
        .tls(tls)
        .timeout(Some(PATIENCE));
    if let Some((user, place)) = &config.login {
        let password = place.read("mail.password", &config.base)?;
        builder = builder.credentials(Credentials::new(user.clone(), password.expose_secret().trim_end().to_owned()));
    }
    Ok(builder.build())
}

fn parameters(config: &MailConfig) -> Result<TlsParameters, DeliveryError> {
    let refuse = |problem: String| DeliveryError::Setting { key: "mail.ca_file", problem };
    let mut builder = TlsParameters::builder(config.host.clone());
    if let Some(path) = &config.ca_file {
        let pem = std::fs::read(path).map_err(|e| refuse(format!("{}: {e}", path.display())))?;
        let certificate =
            Certificate::from_pem(&pem).map_err(|e| refuse(format!("{} is not PEM: {e}", path.display())))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    builder.build().map_err(|e| DeliveryError::Mail(with_cause(&e)))
}
