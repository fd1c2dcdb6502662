//! One mail over SMTP.

use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use tidewire_shared::Secret;
use tidewire_shared::channel::{Mail, MailSecurity};

use super::Letter;
use super::send::{ATTEMPT, Refused, Secrets};

/// Sends a message to every receiver.
///
/// # Errors
/// When the server cannot be reached or did not take it.
pub(super) async fn send(to: &Mail, secrets: &Secrets, letter: &Letter) -> Result<(), Refused> {
    let mail = written(to, letter)?;
    let Some((host, port)) = host_and_port(&to.server) else {
        return Err(Refused::for_good("`server` is not host:port"));
    };
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .port(port)
        .timeout(Some(ATTEMPT))
        .tls(encryption(to.security, host, secrets.ca.as_ref())?);
    if let Some(password) = &secrets.password {
        let password = password.expose().to_owned();
        transport = transport.credentials(Credentials::new(to.user.clone(), password));
    }
    let transport = transport.build::<Tokio1Executor>();
    let sent = transport.send(mail).await;
    sent.map(drop).map_err(|error| refused(&error, &to.server))
}

fn host_and_port(server: &str) -> Option<(&str, u16)> {
    let (host, port) = server.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host, port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
}

fn encryption(security: MailSecurity, host: &str, ca: Option<&Secret>) -> Result<Tls, Refused> {
    if security == MailSecurity::None {
        return Ok(Tls::None);
    }
    let unusable = |_: Error| Refused::for_good("`ca` holds no certificate in PEM");
    let mut parameters = TlsParameters::builder(host.to_owned());
    parameters = match ca {
        None => parameters.certificate_store(CertificateStore::WebpkiRoots),
        Some(pem) => {
            let certificate = Certificate::from_pem(pem.expose().as_bytes()).map_err(unusable)?;
            parameters.certificate_store(CertificateStore::None).add_root_certificate(certificate)
        }
    };
    let parameters = parameters.build_rustls().map_err(unusable)?;
    Ok(match security {
        MailSecurity::StartTls => Tls::Required(parameters),
        MailSecurity::Tls | MailSecurity::None => Tls::Wrapper(parameters),
    })
}

fn written(to: &Mail, letter: &Letter) -> Result<Message, Refused> {
    let from: Mailbox = mailbox("from", &to.from)?;
    // The same whenever it is sent, so that a mail that came twice is shown once.
    let id = format!("<tidewire-{}@{}>", letter.id, from.email.domain());
    let mut mail = Message::builder()
        .from(from)
        .subject(letter.subject.clone())
        .message_id(Some(id))
        .date(date(letter.at_ms))
        .header(ContentType::TEXT_PLAIN);
    for receiver in &to.to {
        mail = mail.to(mailbox("to", receiver)?);
    }
    // No answer of an absent person is wanted.
    let mut mail = mail
        .body(letter.text.clone())
        .map_err(|error| Refused::for_good(format!("it makes no mail: {error}")))?;
    let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
    mail.headers_mut().insert_raw(HeaderValue::new(automatic, "auto-generated".to_owned()));
    Ok(mail)
}

fn date(at_ms: i64) -> std::time::SystemTime {
    let since = std::time::Duration::from_millis(u64::try_from(at_ms).unwrap_or(0));
    std::time::SystemTime::UNIX_EPOCH + since
}

fn mailbox(key: &str, text: &str) -> Result<Mailbox, Refused> {
    text.parse().map_err(|_| {
        Refused::for_good(format!("`{key}`: {text} is no mailbox like ops@example.com"))
    })
}

/// What the server says is told; it answers to our commands, of which only the login holds a secret.
fn refused(error: &Error, server: &str) -> Refused {
    let why = format!("{server}: {error}");
    // 5xx means never; without an encryption that we asked for, or with a server that we do not trust,
    // it would be the same again.
    if error.is_permanent() || error.is_tls() || error.is_client() {
        Refused::for_good(why)
    } else {
        Refused::at_present(why)
    }
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::letter;
    use super::*;

    fn mail() -> Mail {
        Mail {
            server: "smtp.example.com:587".to_owned(),
            security: MailSecurity::StartTls,
            user: String::new(),
            password: None,
            from: "Tidewire <tidewire@example.com>".to_owned(),
            to: vec!["ops@example.com".to_owned(), "Ö <o@example.com>".to_owned()],
            ca: None,
        }
    }

    #[test]
    fn a_mail_has_all_its_headers() {
        let text = String::from_utf8(written(&mail(), &letter()).expect("a mail").formatted());
        let text = text.expect("UTF-8");
        for line in [
            "From: Tidewire <tidewire@example.com>",
            "Subject: [FIRED] task orders: late (delay above 30s for 1m)",
            "Message-ID: <tidewire-c1-42@example.com>",
            "Date: Mon, 21 Sep 2026 14:14:20 +0000",
            "Content-Type: text/plain; charset=utf-8",
            "Auto-Submitted: auto-generated",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in {text}");
        }
        let wrong = Mail { to: vec!["nobody".to_owned()], ..mail() };
        assert!(written(&wrong, &letter()).expect_err("refused").why.contains("nobody"));
    }

    #[test]
    fn a_server_is_host_and_port() {
        assert_eq!(host_and_port("[::1]:25"), Some(("::1", 25)));
        assert_eq!(host_and_port("smtp.example.com:587"), Some(("smtp.example.com", 587)));
        for bad in ["smtp", ":25", "smtp:x"] {
            assert_eq!(host_and_port(bad), None, "{bad}");
        }
    }
}
